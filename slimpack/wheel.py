"""A wheel: the files it would install, checked against RECORD.

Nothing is unpacked: opening reads the zip's directory and a few small files of the dist-info folder, every
other entry is read when it is asked for.

Formats: PEP 427 (wheel), PEP 376 (RECORD), PEP 440, PEP 503, PEP 508 (METADATA).
"""

from __future__ import annotations

import base64
import csv
import email.parser
import hashlib
import io
import re
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Self

from packaging.metadata import parse_email
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, NormalizedName, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from slimpack import paths, unzip
from slimpack.model import InventoryFile
from slimpack.unzip import DAMAGED, HOSTILE, REBUILD, Archive, Fault, Limits

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from packaging.tags import Tag

__all__ = ["Limits", "Wheel"]

_HASHES = {"sha256": 43, "sha384": 64, "sha512": 86}
"""What RECORD may hash with, sha256 or better (PEP 427), and how long a digest is in base64, unpadded."""

_SIGNATURES = ("RECORD.jws", "RECORD.p7s")
"""Files of the dist-info folder that sign RECORD, and so are not in it (PEP 427)."""

_RECORD_LINE = 1024
"""Bytes that RECORD may have for each entry; a line is the name and some hundred bytes."""

_TEXT = 2**22
"""Bytes that another file of the dist-info folder may have to be read as text; METADATA seldom has 2**18."""


class Wheel:
    """An open wheel that was found well-formed; a context manager.

    ``read`` may be called from several threads at once.
    """

    def __init__(self, *, record: _Record, identity: _Identity, metadata: _Metadata) -> None:
        self._record = record
        self.filename = record.archive.filename
        """The wheel's file name."""
        self.name = identity.name
        """Canonical distribution name (PEP 503)."""
        self.version = str(identity.version)
        """PEP 440 version, normalised."""
        self.tags = identity.tags
        """Compatibility tags of the file name (PEP 425)."""
        self.requires = metadata.requires
        """``Requires-Dist`` of METADATA, in its order."""
        self.extras = metadata.extras
        """``Provides-Extra`` of METADATA, canonical names in its order."""
        self.entry_points = metadata.entry_points
        """Text of ``entry_points.txt``; None if there is none."""
        self.root_is_purelib = metadata.root_is_purelib
        """``Root-Is-Purelib`` of WHEEL."""
        self.files = tuple(sorted(_files(record, identity.name), key=lambda file: file.path))
        """What ``pip install --target`` would take from it, sorted by path; ``_place`` has the rules.

        That is every entry that is no folder, with RECORD as it is in the wheel. Scripts of ``.data/scripts``
        are executable and have the wheel's content; pip would turn a first line ``#!python`` into the path of
        the interpreter that runs pip.
        """

    @classmethod
    def open(cls, path: Path, limits: Limits | None = None) -> Self:
        """Opens a wheel and checks all that can be checked without reading its content.

        Args:
            path: The wheel; its name tells distribution, version and tags.
            limits: What it may ask of the machine; None for the defaults.

        Raises:
            WheelError: It cannot be read, is no wheel, is damaged or hostile. All faults of the zip come in
                one error, and so do all disagreements of zip and RECORD.
        """
        identity = _Identity.parse(path.name)
        place = partial(_place, distribution=identity.name)
        with ExitStack() as stack:
            archive = Archive.open(path, limits=limits or Limits(), place=place, stack=stack)
            record = _Record.parse(archive, identity)
            wheel = cls(record=record, identity=identity, metadata=_Metadata.parse(record, identity))
            stack.pop_all()
        return wheel

    def read(self, file: InventoryFile) -> bytes:
        """Returns the content of one file, checked against its size, its CRC and its hash.

        Args:
            file: One of ``files``.

        Raises:
            WheelError: The entry is truncated or damaged, or is not what RECORD says.
        """
        return self._record.read(file.entry)

    def sha256(self, file: InventoryFile) -> str:
        """Returns the hexadecimal SHA-256 of one file; reads it only if RECORD does not tell.

        Args:
            file: One of ``files``.

        Raises:
            WheelError: As ``read``.
        """
        return file.sha256 or hashlib.sha256(self.read(file)).hexdigest()

    def close(self) -> None:
        """Closes the file; nothing can be read any more."""
        self._record.archive.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Identity:
    """What the file name tells."""

    name: NormalizedName
    """Canonical distribution name."""
    version: Version
    """Its version."""
    tags: frozenset[Tag]
    """Its tags."""

    @classmethod
    def parse(cls, filename: str) -> Self:
        try:
            name, version, _, tags = parse_wheel_filename(filename)
        except InvalidWheelFilename as problem:
            fix = "Give it the name that it had on the index: name-version-python-abi-platform.whl."
            fault = Fault(entry=None, what="has a name that is no file name of a wheel (PEP 427)", fix=fix)
            raise unzip.error(filename, fault) from problem
        return cls(name=name, version=version, tags=tags)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A line of RECORD without its path (PEP 376)."""

    algorithm: str
    """One of ``_HASHES``; empty if the line has no hash."""
    digest: bytes
    """What the content must hash to."""
    size: int | None
    """Bytes of the content, if the line tells."""

    @classmethod
    def parse(cls, fields: Sequence[str]) -> Self:
        """Returns a line; raises ``ValueError`` with a phrase about its path."""
        try:
            _, text, size = fields
        except ValueError:
            raise ValueError(f"has a line in RECORD with {len(fields)} fields, not three") from None
        algorithm, _, encoded = text.rstrip("=").partition("=")
        if text and not (len(encoded) == _HASHES.get(algorithm) and re.fullmatch(r"[A-Za-z0-9_-]+", encoded)):
            raise ValueError(f"has a hash in RECORD that is no sha256 or better: {paths.shown(text)}")
        if size and not re.fullmatch(r"[0-9]{1,20}", size):
            raise ValueError(f"has a size in RECORD that is no number: {paths.shown(size)}")
        digest = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
        return cls(algorithm=algorithm, digest=digest, size=int(size) if size else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    """The RECORD of a wheel, in agreement with its zip."""

    archive: Archive
    """The zip."""
    folder: str
    """Name of the dist-info folder."""
    rows: Mapping[str, _Row]
    """What each entry must be, by name; RECORD's own row is what it is, its signatures have none."""

    @classmethod
    def parse(cls, archive: Archive, identity: _Identity) -> Self:
        folder = _dist_info(archive, identity)
        faults: list[Fault] = []
        rows: dict[str, _Row] = {}
        _refuse_large(archive, f"{folder}/RECORD", _TEXT + _RECORD_LINE * len(archive.entries))
        content = archive.read(f"{folder}/RECORD")
        for fields in _lines(archive, f"{folder}/RECORD", content):
            path = fields[0]
            try:
                row = _Row.parse(fields)
            except ValueError as problem:
                faults.append(Fault(entry=path, what=str(problem), fix=REBUILD))
                continue
            if rows.setdefault(path, row) != row:
                faults.append(Fault(entry=path, what="has two lines in RECORD that differ", fix=HOSTILE))
        for file in _SIGNATURES:
            rows.pop(f"{folder}/{file}", None)
        own = hashlib.sha256(content).digest()
        rows[f"{folder}/RECORD"] = _Row(algorithm="sha256", digest=own, size=len(content))
        record = cls(archive=archive, folder=folder, rows=rows)
        if faults := [*faults, *record._disagreements()]:
            raise unzip.error(archive.filename, *faults)
        return record

    def read(self, entry: str) -> bytes:
        """Returns the content of an entry, checked."""
        content = self.archive.read(entry)
        row = self.rows.get(entry)
        if row is not None and hashlib.new(row.algorithm, content).digest() != row.digest:
            raise self.archive.damaged(entry, "has another hash than RECORD says")
        return content

    def text(self, file: str) -> str:
        """Returns the text of a file of the dist-info folder."""
        entry = f"{self.folder}/{file}"
        _refuse_large(self.archive, entry, _TEXT)
        return _text(self.archive, entry, self.read(entry))

    def _disagreements(self) -> Iterator[Fault]:
        """Yields where the zip and RECORD differ."""
        signatures = {f"{self.folder}/{file}" for file in _SIGNATURES}
        for name, info in self.archive.entries.items():
            row = self.rows.get(name)
            if row is None and name not in signatures:
                yield Fault(entry=name, what="is not in RECORD", fix=HOSTILE)
            elif row is not None and not row.algorithm:
                yield Fault(entry=name, what="has no hash in RECORD", fix=REBUILD)
            elif row is not None and row.size not in {None, info.file_size}:
                what = f"has {info.file_size} bytes, but {row.size} by RECORD"
                yield Fault(entry=name, what=what, fix=HOSTILE)
        for name in self.rows:
            if name not in self.archive.entries and not name.endswith("/"):
                yield Fault(entry=name, what="is in RECORD, but not in the wheel", fix=DAMAGED)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Metadata:
    """What METADATA, WHEEL and entry_points.txt tell."""

    requires: tuple[Requirement, ...]
    """``Requires-Dist``."""
    extras: tuple[str, ...]
    """``Provides-Extra``."""
    entry_points: str | None
    """Text of ``entry_points.txt``."""
    root_is_purelib: bool
    """``Root-Is-Purelib``."""

    @classmethod
    def parse(cls, record: _Record, identity: _Identity) -> Self:
        entry = f"{record.folder}/METADATA"
        try:
            metadata, _ = parse_email(record.text("METADATA"))
            requires = tuple(Requirement(text) for text in metadata.get("requires_dist", ()))
        except InvalidRequirement as problem:
            what = f"has a Requires-Dist that is no requirement: {paths.shown(str(problem).splitlines()[0])}"
            raise record.archive.damaged(entry, what, REBUILD) from problem
        except RecursionError as problem:
            raise record.archive.damaged(entry, "is nested too deeply to be read", HOSTILE) from problem
        name, version = metadata.get("name", ""), metadata.get("version", "")
        if canonicalize_name(name) != identity.name or not _is_version(version, identity.version):
            what = f"is of {paths.shown(f'{name} {version}')!r}, which contradicts the file name"
            raise record.archive.damaged(entry, what, HOSTILE)
        has_points = f"{record.folder}/entry_points.txt" in record.archive.entries
        return cls(
            requires=requires,
            extras=tuple(canonicalize_name(extra) for extra in metadata.get("provides_extra", ())),
            entry_points=record.text("entry_points.txt") if has_points else None,
            root_is_purelib=_root_is_purelib(record),
        )


def _place(entry: str, distribution: str) -> str | None:
    """Returns where an entry is installed; None if it has no place.

    As ``pip install --target`` does it (pip 23.2 and 26.3, run and looked at): ``.data/purelib``,
    ``.data/platlib`` and ``.data/data`` go to the root, ``.data/scripts`` to ``bin``, ``.data/headers`` to
    ``include/python/<name>``, and ``.data/data/lib/python`` to the root as well, because pip's temporary home
    has its packages there. pip takes any folder for ``.data`` that is at the top and whose name ends so.

    We differ where pip depends on the machine or loses files: from a virtual environment, pip puts headers
    into ``include/site/python3.X``, after the interpreter that runs it; and it does not take along the rest of
    ``.data/data/lib`` (pip issue 10399), nor a folder of ``.data/data`` that is in the root too.
    """
    top, _, below = entry.partition("/")
    if not top.endswith(".data"):
        return entry
    kind, _, path = below.partition("/")
    folder = {
        "purelib": "",
        "platlib": "",
        "data": "",
        "scripts": "bin/",
        "headers": f"include/python/{distribution}/",
    }.get(kind)
    if folder is None or not path:
        return None
    return folder + (path.removeprefix("lib/python/") if kind == "data" else path)


def _files(record: _Record, owner: str) -> Iterator[InventoryFile]:
    for name, info in record.archive.entries.items():
        row = record.rows.get(name)
        top, _, below = name.partition("/")
        script = top.endswith(".data") and below.startswith("scripts/")
        yield InventoryFile(
            path=record.archive.places[name],
            size=info.file_size,
            owner=owner,
            entry=name,
            sha256=row.digest.hex() if row is not None and row.algorithm == "sha256" else None,
            executable=script or bool(info.external_attr >> 16 & 0o111),
        )


def _dist_info(archive: Archive, identity: _Identity) -> str:
    """Returns the name of the dist-info folder; like pip, it need not be spelt as in the file name."""
    tops = {name.partition("/")[0] for name in archive.entries if "/" in name}
    folders = [top for top in tops if top.endswith(".dist-info")]
    if len(folders) != 1:
        what = f"has {len(folders) or 'no'} dist-info folders, not one"
        raise unzip.error(archive.filename, Fault(entry=None, what=what, fix=REBUILD))
    folder = folders[0]
    if not canonicalize_name(folder).startswith(f"{identity.name}-"):
        raise archive.damaged(folder, "is of another distribution than the file name says", HOSTILE)
    needed = (f"{folder}/{file}" for file in ("METADATA", "RECORD", "WHEEL"))
    missing = [
        Fault(entry=name, what="is missing", fix=REBUILD) for name in needed if name not in archive.entries
    ]
    if missing:
        raise unzip.error(archive.filename, *missing)
    return folder


def _lines(archive: Archive, entry: str, content: bytes) -> Iterator[list[str]]:
    """Yields the fields of each line of RECORD that is not empty."""
    try:
        yield from filter(None, csv.reader(io.StringIO(_text(archive, entry, content), newline="")))
    except csv.Error as problem:
        raise archive.damaged(entry, f"is no table of comma-separated values ({problem})") from problem


def _is_version(text: str, version: Version) -> bool:
    try:
        return Version(text) == version
    except ValueError:  # InvalidVersion, or a number of more digits than int() takes
        return False


def _root_is_purelib(record: _Record) -> bool:
    """Returns ``Root-Is-Purelib``, after a look at ``Wheel-Version``: a new major one means a new format."""
    wheel = email.parser.HeaderParser().parsestr(record.text("WHEEL"))
    version = str(wheel.get("Wheel-Version", "")).strip()
    if not re.fullmatch(r"1(\.[0-9]+)*", version):
        what = f"has the Wheel-Version {paths.shown(version)!r}; only 1.x is known"
        raise record.archive.damaged(f"{record.folder}/WHEEL", what, REBUILD)
    return str(wheel.get("Root-Is-Purelib", "")).strip().lower() == "true"


def _refuse_large(archive: Archive, entry: str, at_most: int) -> None:
    """Keeps a text from being parsed whose size no honest wheel needs; parsers take time and memory."""
    if (size := archive.entries[entry].file_size) > at_most:
        raise archive.damaged(entry, f"has {size} bytes, too many for what it is", HOSTILE)


def _text(archive: Archive, entry: str, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as problem:
        raise archive.damaged(entry, "is not UTF-8") from problem

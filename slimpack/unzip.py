"""The zip inside a wheel: a checked directory of entries, and the bytes of one entry at a time.

zlib-ng inflates an entry in one go; ``zipfile`` does it in steps and takes three times the time and twice the
memory for a library of hundreds of megabytes. ``zipfile`` reads the directory, and no more.

Format: PKWARE's APPNOTE.TXT 6.3; the sections named below are its.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from zlib_ng import zlib_ng

from slimpack import paths
from slimpack.errors import WheelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import ExitStack
    from pathlib import Path

_ENCRYPTED = 0x0001 | 0x0040 | 0x2000
"""Flags of an entry that is encrypted, strongly encrypted, or has a masked header (4.4.4)."""

_PATCHED = 0x0020
"""Flag of an entry that holds a difference to another file (4.4.4)."""

_UTF8 = 0x0800
"""Flag of a name in UTF-8; without it a name is in code page 437 (appendix D)."""

_HEADER = struct.Struct("<4s5H3I2H")
"""Signature, version, flags, method, time, date, CRC, two sizes, lengths of name and extra field (4.3.7)."""

_SIGNATURE = b"PK\x03\x04"
"""What a header before the data of an entry begins with (4.3.7)."""

_ENTRY_SIGNATURE = b"PK\x01\x02"
"""What an entry of the directory begins with (4.3.12)."""

_DIRECTORY_ENTRY = 256
"""Bytes of the directory that an entry may take, on average; it is 46 and the name's (4.3.12)."""

_READ_AT_ONCE = 2**30
"""Bytes to ask of one system call; Linux returns 2,147,479,552 at most."""

_NAMED = 5
"""Faults that one message names; it counts the rest."""

DAMAGED = "Download the wheel again; if it stays so, take another release and tell the package's maintainers."
"""Fix for what a broken download explains."""

HOSTILE = "Don't install this wheel; take another release and tell the package's maintainers."
"""Fix for what no honest tool makes."""

REBUILD = "Take another release, or build the wheel again with a current build backend."
"""Fix for what a tool of old may have made."""

OVER_SIZE = "Raise --max-wheel-size if you trust this wheel; otherwise take another release."
OVER_RATIO = "Raise --max-wheel-ratio if you trust this wheel; otherwise take another release."
"""Fix for what asks too much of the disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a wheel may ask of the machine; one that asks for more counts as a zip bomb.

    In 91 popular wheels no entry above ``ratio_floor`` is compressed more than 5 to 1; small ones are, up to
    250 to 1 (padding, tables of zeros). Deflate ends at 1,032 to 1.
    """

    size: int = 8 * 2**30
    """Bytes of all entries together, uncompressed."""
    entries: int = 250_000
    """Files and folders; tensorflow has 15,700."""
    ratio: int = 250
    """Uncompressed bytes of an entry for each compressed one."""
    ratio_floor: int = 16 * 2**20
    """Uncompressed bytes of an entry up to which its ratio does not matter."""
    links: bool = False
    """Whether there may be symbolic links, as in a bundle that is only looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something wrong with a wheel."""

    entry: str | None
    """Name of the entry; None for the wheel as a whole."""
    what: str
    """What is wrong, a phrase to put after the name."""
    fix: str
    """What the user can do."""


def error(filename: str, *faults: Fault) -> WheelError:
    """Returns the error to raise for the faults of a wheel.

    Args:
        filename: The wheel's file name.
        faults: At least one. The first few are named and the rest counted; the fix is that of the first.
    """
    wheel, first = paths.shown(filename), faults[0]
    if len(faults) == 1:
        where = wheel if first.entry is None else f"{wheel}: {paths.shown(first.entry)}"
        return WheelError(first.what, where=where, fix=first.fix)
    named = "; ".join(
        one.what if one.entry is None else f"{paths.shown(one.entry)} {one.what}" for one in faults[:_NAMED]
    )
    rest = f"; and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
    return WheelError(f"has {len(faults)} faults: {named}{rest}", where=wheel, fix=first.fix)


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """An open zip whose directory was found sound. ``read`` may be called from several threads at once."""

    file: io.BufferedReader
    """The open file."""
    filename: str
    """Its name."""
    entries: Mapping[str, zipfile.ZipInfo]
    """Files, by name; folders are checked and left out."""
    places: Mapping[str, str]
    """Where a file goes in the installed tree, by name of the entry."""
    ends: Mapping[str, int]
    """Offset in the file that the data of an entry ends before, by name."""

    @classmethod
    def open(
        cls, path: Path, *, limits: Limits, place: Callable[[str], str | None], stack: ExitStack
    ) -> Self:
        """Opens a zip and checks its directory.

        Args:
            path: The file.
            limits: What it may ask of the machine.
            place: Returns where an entry goes in the installed tree; None if it has no place there.
            stack: Closes the file.

        Raises:
            WheelError: It cannot be read, is no zip, or has faults; they are told all at once.
        """
        file = stack.enter_context(_open(path, limits))
        try:
            with zipfile.ZipFile(file) as directory:
                infos, end = directory.infolist(), directory.start_dir
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, struct.error) as problem:
            what = f"is no zip file, or a truncated one ({problem})"
            raise error(path.name, Fault(entry=None, what=what, fix=DAMAGED)) from problem
        files = {info.orig_filename: info for info in infos if not info.orig_filename.endswith("/")}
        places = {name: place(name) for name in files}
        faults = [
            *_size_faults(infos, limits),
            *(fault for info in infos for fault in _entry_faults(info, limits)),
            *_overlaps(infos, end),
            *_place_faults(infos, places),
        ]
        if faults:
            raise error(path.name, *faults)
        return cls(
            file=file,
            filename=path.name,
            entries=files,
            places={name: place for name, place in places.items() if place is not None},
            ends={info.orig_filename: bound for info, bound in _bounds(infos, end)},
        )

    def read(self, name: str) -> bytes:
        """Returns the content of an entry, checked against its size and CRC.

        Args:
            name: One of ``entries``.

        Raises:
            WheelError: The entry is truncated or damaged, or its own header contradicts the directory.
        """
        info = self.entries[name]
        content = self._raw(info)
        if info.compress_type == zipfile.ZIP_DEFLATED:
            content = self._inflated(info, content)
        if len(content) != info.file_size:
            raise self.damaged(name, f"does not have the {info.file_size} bytes that it declares")
        if zlib_ng.crc32(content) != info.CRC:
            raise self.damaged(name, "does not have the CRC that it declares")
        return content

    def damaged(self, name: str, what: str, fix: str = DAMAGED) -> WheelError:
        """Returns the error to raise for one entry."""
        return error(self.filename, Fault(entry=name, what=what, fix=fix))

    def _inflated(self, info: zipfile.ZipInfo, raw: bytes) -> bytes:
        try:
            # a bare stream (RFC 1951) with the largest window, inflated to one byte more than declared: memory
            # is bounded, and what is too long shows
            return zlib_ng.decompressobj(-15).decompress(raw, info.file_size + 1)
        except zlib_ng.error as problem:  # type: ignore[misc]  # the stub declares the class an instance
            raise self.damaged(info.orig_filename, f"cannot be decompressed ({problem})") from problem

    def _raw(self, info: zipfile.ZipInfo) -> bytes:
        name = info.orig_filename
        header = self._at(info.header_offset, _HEADER.size, name)
        signature, *_, name_length, extra_length = _HEADER.unpack(header)
        start = info.header_offset + _HEADER.size
        if signature != _SIGNATURE or self._at(start, name_length, name) != _raw_name(info):
            raise self.damaged(name, "has a header that contradicts the zip's directory", HOSTILE)
        start += name_length + extra_length
        if start + info.compress_size > self.ends[name]:
            raise self.damaged(name, "overlaps what comes after it", HOSTILE)
        return self._at(start, info.compress_size, name)

    def _at(self, offset: int, count: int, name: str) -> bytes:
        pieces = []
        while count:
            try:
                piece = os.pread(self.file.fileno(), min(count, _READ_AT_ONCE), offset)
            except OSError as problem:
                raise self.damaged(name, f"cannot be read ({problem.strerror})") from problem
            if not piece:
                raise self.damaged(name, "is truncated")
            pieces.append(piece)
            offset += len(piece)
            count -= len(piece)
        return b"".join(pieces)


class _BoundedReader(io.BufferedReader):
    """A file of which zipfile reads no more than a bound at once.

    zipfile takes in the whole directory in one call and makes an object of every entry, before anyone can ask
    how many there are.
    """

    def __init__(self, raw: io.FileIO, *, bound: int, entries: int, filename: str) -> None:
        super().__init__(raw)
        self._bound = bound
        self._entries = entries
        self._filename = filename

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > self._bound:
            raise error(self._filename, Fault(entry=None, what="has too many entries", fix=HOSTILE))
        found = super().read(size)
        if (count := found.count(_ENTRY_SIGNATURE)) > self._entries:
            raise error(self._filename, _too_many(count, self._entries))
        return found


def _open(path: Path, limits: Limits) -> _BoundedReader:
    try:
        # checked first, because opening a named pipe waits for somebody to write into it
        if not stat.S_ISREG(path.stat().st_mode):
            what = "is no regular file"
            raise error(path.name, Fault(entry=None, what=what, fix="Give the path of a wheel."))
        raw = io.FileIO(path)
    except OSError as problem:
        what = f"cannot be read: {problem.strerror}"
        fix = "Check its path and its permissions."
        raise error(path.name, Fault(entry=None, what=what, fix=fix)) from problem
    bound = max(limits.entries * _DIRECTORY_ENTRY, 2**20)
    return _BoundedReader(raw, bound=bound, entries=limits.entries, filename=path.name)


def _too_many(count: int, limit: int) -> Fault:
    return Fault(entry=None, what=f"has {count} entries, more than the limit of {limit}", fix=HOSTILE)


def _size_faults(infos: Sequence[zipfile.ZipInfo], limits: Limits) -> Iterator[Fault]:
    if len(infos) > limits.entries:
        yield _too_many(len(infos), limits.entries)
    if (size := sum(info.file_size for info in infos)) > limits.size:
        what = f"unpacks to {size} bytes, more than the limit of {limits.size}"
        yield Fault(entry=None, what=what, fix=OVER_SIZE)


def _entry_faults(info: zipfile.ZipInfo, limits: Limits) -> Iterator[Fault]:
    name = info.orig_filename
    if (what := paths.fault(name.removesuffix("/"))) is not None:
        yield Fault(entry=name, what=what, fix=HOSTILE)
    elif info.filename != name:
        # newer Pythons take the name in Info-ZIP's Unicode path field (0x7075), other readers don't
        yield Fault(entry=name, what="has two names", fix=HOSTILE)
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind == stat.S_IFLNK and not limits.links:
        yield Fault(entry=name, what="is a symbolic link, which no wheel may hold (PEP 427)", fix=HOSTILE)
    elif kind not in {0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK}:
        yield Fault(entry=name, what="is a special file, which no wheel may hold", fix=HOSTILE)
    if info.flag_bits & _ENCRYPTED:
        yield Fault(entry=name, what="is encrypted", fix=REBUILD)
    elif info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED} or info.flag_bits & _PATCHED:
        what = f"is compressed by method {info.compress_type}, neither stored nor deflated"
        yield Fault(entry=name, what=what, fix=REBUILD)
    if info.file_size > limits.ratio_floor and info.file_size > limits.ratio * info.compress_size:
        what = (
            f"unpacks {info.compress_size} bytes to {info.file_size}, beyond the limit of {limits.ratio} to 1"
        )
        yield Fault(entry=name, what=what, fix=OVER_RATIO)


def _overlaps(infos: Sequence[zipfile.ZipInfo], end: int) -> Iterator[Fault]:
    """Yields entries that reach into the next; the extra field of a header is left to ``Archive.read``."""
    for info, bound in _bounds(infos, end):
        least = _HEADER.size + len(_raw_name(info)) + info.compress_size
        if info.header_offset < 0 or info.header_offset + least > bound:
            yield Fault(entry=info.orig_filename, what="overlaps what comes after it", fix=HOSTILE)


def _place_faults(infos: Sequence[zipfile.ZipInfo], places: Mapping[str, str | None]) -> Iterator[Fault]:
    """Yields entries that have no place in the installed tree, or whose place another one takes."""
    placed: list[str] = []
    folders: list[str] = []
    entries: dict[str, str] = {}
    for info in infos:
        name = info.orig_filename
        if name.endswith("/"):
            folders.append(name.rstrip("/"))
        elif (place := places[name]) is None:
            yield Fault(entry=name, what="is in a .data folder that no installer knows", fix=REBUILD)
        else:
            placed.append(place)
            entries[place] = name
    for clash in paths.clashes(placed, folders):
        what = clash.what if clash.other == clash.path else f"{clash.what}, {paths.shown(clash.other)}"
        yield Fault(entry=entries[clash.path], what=what, fix=HOSTILE)


def _bounds(infos: Sequence[zipfile.ZipInfo], end: int) -> Iterator[tuple[zipfile.ZipInfo, int]]:
    """Yields each entry with the offset at which the next one begins, or the directory."""
    inorder = sorted(infos, key=lambda info: info.header_offset)
    yield from zip(inorder, [*(info.header_offset for info in inorder[1:]), end], strict=False)


def _raw_name(info: zipfile.ZipInfo) -> bytes:
    return info.orig_filename.encode("utf-8" if info.flag_bits & _UTF8 else "cp437")

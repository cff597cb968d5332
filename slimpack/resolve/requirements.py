"""Requirements: what the user wrote, read as pip reads it, with the place of every line."""

from __future__ import annotations

import codecs
import optparse
import os
import re
import shlex
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from slimpack import paths, redact
from slimpack.errors import RequirementsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from packaging.markers import Marker

_LARGEST = 64 * 1024 * 1024
"""Bytes; a lock of a thousand packages has two megabytes."""

_LONGEST = 2**17
"""Characters of a line; one with the hashes of seventy wheels has six thousand. pip takes quadratic time."""

_LARGEST_NUMBER = 2**64
"""What a number of a version must stay below for uv."""

_MOST = 20_000
"""Requirements and constraints; beyond that, resolvers take hours over what nobody wrote by hand."""

_ARCHIVES = (".whl", ".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tar.xz", ".tar")
_PROJECT = ("pyproject.toml", "setup.py")
_URL = re.compile(
    r"(?:(?:git|hg|bzr|svn)\+)?(?:https?|file|ftp|ssh|git|sftp|lp|svn)(?:\+[a-z]+)?:", re.IGNORECASE
)
_VARIABLE = re.compile(
    r"\$\{([A-Z0-9_]+)\}"
)  # the only form that pip knows, so that it is the same everywhere
_COMMENT = re.compile(r"(?:^|\s)#.*$")
_CODING = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")  # PEP 263
_HASH = re.compile(r"(?:sha256|sha384|sha512):[0-9a-fA-F]+")
_EXTRAS = re.compile(r"(?P<base>.+)\[(?P<extras>[^\[\]]+)\]")
_EGG = re.compile(r"(?:^|&)egg=([A-Za-z0-9._-]+)")
_FIX = "Write a requirement like name>=1.0, the path of a wheel, or a URL."
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requested:
    """One requirement, or one constraint."""

    place: str
    """File relative to the main one's folder, and line: ``requirements.txt:3``."""
    text: str
    """The requirement without options, variables filled in, local paths made absolute. May hold credentials."""
    name: str | None
    """Canonical distribution name; None where only the source itself knows."""
    extras: frozenset[str]
    """Canonical names of the extras asked for."""
    hashes: frozenset[str]
    """Allowed hashes, such as ``sha256:...``; empty for any."""
    specifier: str
    """PEP 440 specifiers; empty for any release."""
    marker: Marker | None
    """Where it holds; None for everywhere."""
    link: str | None
    """URL of a direct reference (``file:`` for a local one), which may hold credentials; else None."""
    constraint: bool
    """Whether it only narrows what others ask for."""

    @property
    def is_source(self) -> bool:
        """Whether it names something that has to be built: a folder, a repository, a source archive."""
        return self.link is not None and not urlsplit(self.link).path.lower().endswith(".whl")

    @property
    def local(self) -> Path | None:
        """The local file or project folder that it names, if it does."""
        return local_path(self.link) if self.link else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """A requirements file with all that it includes."""

    path: Path
    """The main file."""
    requested: tuple[Requested, ...]
    """Requirements and constraints, in order."""
    options: Mapping[str, str]
    """Index options in the files, under pip's names; lists are separated by blanks. May hold credentials."""
    remote: tuple[str, ...]
    """``-r URL`` and ``-c URL`` lines, which only the resolvers follow."""
    lines: tuple[str, ...]
    """Every effective line with its place, for the digest of what was read. May hold credentials."""

    @property
    def checks_hashes(self) -> bool:
        """Whether every distribution needs an allowed hash, as one has or an option says (pip's hash-checking mode)."""
        return "require-hashes" in self.options or any(one.hashes for one in self.requested)

    @property
    def sources(self) -> tuple[Requested, ...]:
        """The requirements that name something that has to be built."""
        return tuple(one for one in self.requested if one.is_source)

    def flat(self) -> tuple[str, str]:
        """Returns the text of one requirements and one constraints file that mean the same, without sources."""
        wanted = [one.text for one in self.requested if not one.constraint and not one.is_source]
        narrowed = [one.text for one in self.requested if one.constraint]
        return "\n".join([*wanted, *self.remote, ""]), "\n".join([*narrowed, ""])


def read(path: Path, environment: Mapping[str, str]) -> Requirements:
    """Reads a requirements file and the files that it includes.

    The form is pip's: https://pip.pypa.io/en/stable/reference/requirements-file-format/

    Args:
        path: The file.
        environment: Values for ``${VARIABLES}``.

    Raises:
        RequirementsError: A file is missing or no text, a line is none that pip knows, or nothing is required.
    """
    reader = _Reader(root=path, environment=environment)
    reader.include(path, asked_by=None, constraint=False)
    if not reader.remote and all(one.constraint for one in reader.requested):
        raise RequirementsError(
            "the file requires nothing", where=str(path), fix="Write at least one package into it."
        )
    return Requirements(
        path=path,
        requested=tuple(reader.requested),
        options=reader.options,
        remote=tuple(reader.remote),
        lines=tuple(reader.lines),
    )


def local_path(link: str) -> Path | None:
    """Returns the path of a ``file:`` URL; None for other URLs."""
    parts = urlsplit(link)
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else None


class _OptionError(Exception):
    """An option that pip does not know in a requirements file."""


class _Options(optparse.OptionParser):
    def error(self, msg: str) -> NoReturn:
        raise _OptionError(msg)


def _option_parser() -> _Options:
    parser = _Options(add_help_option=False, prog="")
    names: tuple[str, ...]
    for names in (
        ("-r", "--requirement", "--requirements"),
        ("-c", "--constraint", "--constraints"),
        ("-e", "--editable"),
        ("-i", "--index-url", "--pypi-url"),
    ):
        parser.add_option(*names, action="store")
    for names in (
        ("--extra-index-url",),
        ("-f", "--find-links"),
        ("--no-binary",),
        ("--only-binary",),
        ("--trusted-host",),
        ("--use-feature",),
        ("--all-releases",),
        ("--only-final",),
        ("--hash",),
        ("-C", "--config-setting", "--config-settings"),
        ("--global-option",),
    ):
        parser.add_option(*names, action="append")
    for name in ("--no-index", "--require-hashes", "--pre", "--prefer-binary"):
        parser.add_option(name, action="store_true")
    return parser


_PARSER = _option_parser()


def _options(text: str) -> optparse.Values:
    options, strangers = _PARSER.parse_args(shlex.split(text))
    if strangers:
        raise _OptionError(f"unexpected {strangers[0]!r}")
    return options


_LISTS = ("extra_index_url", "find_links", "no_binary", "only_binary", "trusted_host")
_FLAGS = ("no_index", "require_hashes", "pre", "prefer_binary")


@dataclass(slots=True, kw_only=True)
class _Reader:
    root: Path
    environment: Mapping[str, str]
    requested: list[Requested] = field(default_factory=list)
    options: dict[str, str] = field(default_factory=dict)
    remote: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    open: list[Path] = field(default_factory=list)

    def include(self, path: Path, *, asked_by: str | None, constraint: bool) -> None:
        """Reads a file; ``asked_by`` is the place of the line that includes it."""
        text = content(path, asked_by)
        real = path.resolve()
        if real in self.open:
            raise RequirementsError("the file includes itself", where=asked_by, fix="Take the line out.")
        self.open.append(real)
        for number, line in enumerate(text.splitlines(), start=1):
            if len(line) > _LONGEST:
                raise _too_long(f"{path}:{number}")
        shown = Path(os.path.relpath(path, self.root.parent)).as_posix()
        for number, line in _logical_lines(text):
            if len(self.requested) >= _MOST:
                raise _too_long(f"{path}:{number}")
            filled = _VARIABLE.sub(lambda match: self.environment.get(match[1], "") or match[0], line)
            self.lines.append(f"{shown}:{number} {filled}")
            where = f"{path}:{number}"
            try:
                self._line(filled, path, place=f"{shown}:{number}", where=where, constraint=constraint)
            except ValueError as problem:  # of urllib
                raise RequirementsError(
                    f"not a valid URL: {problem}", where=where, fix="Correct the URL."
                ) from problem
            except OSError as problem:  # of a path that no file system takes
                raise RequirementsError(
                    f"not a valid path: {problem.strerror}", where=where, fix="Correct the path."
                ) from problem
        self.open.pop()

    def _line(self, line: str, path: Path, *, place: str, where: str, constraint: bool) -> None:
        words, rest = _split_options(line)
        try:
            options = _options(rest)
        except (_OptionError, ValueError) as problem:
            raise RequirementsError(
                f"no line of a requirements file: {problem}",
                where=where,
                fix="Correct the option; pip's documentation of the requirements file format lists all.",
            ) from problem
        if options.editable:
            raise RequirementsError(
                "a bundle has no editable packages",
                where=where,
                fix="Write the path or URL without -e, so that a wheel is built from it.",
            )
        if words:
            self.requested.append(
                _requested(words, options.hash or (), place=place, where=where, constraint=constraint)
            )
            return
        self._index_options(options, path)
        for included, narrows in ((options.requirement, constraint), (options.constraint, True)):
            if included is None:
                continue
            _check_url(included)
            if _URL.match(included) or _URL.match(str(path)):
                self.remote.append(f"{'-c' if narrows else '-r'} {included}")
            else:
                self.include(path.parent / included, asked_by=where, constraint=narrows)

    def _index_options(self, options: optparse.Values, path: Path) -> None:
        if options.index_url:
            _check_url(options.index_url)
            self.options["index-url"] = options.index_url
        for flag in _FLAGS:
            if getattr(options, flag):
                self.options[flag.replace("_", "-")] = "1"
        for name in _LISTS:
            for value in getattr(options, name) or ():
                _check_url(value)
                beside = (
                    path.parent / value
                )  # pip takes a find-links path relative to the file, if it exists there
                told = str(beside.resolve()) if name == "find_links" and beside.exists() else value
                key = name.replace("_", "-")
                self.options[key] = f"{self.options.get(key, '')} {told}".strip()


def content(path: Path, asked_by: str | None = None) -> str:
    """Returns the text of a file that the user names.

    Args:
        path: The file.
        asked_by: Place of the line that names it; None for one that the command line names.

    Raises:
        RequirementsError: It is missing, unreadable, no text, or too large.
    """
    where, it = (asked_by, f"{path}") if asked_by else (str(path), "this")
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise RequirementsError(f"{it} is a folder", where=where, fix="Name a requirements file in it.")
        if not stat.S_ISREG(status.st_mode):
            raise RequirementsError(f"{it} is no regular file", where=where, fix="Name a requirements file.")
        if status.st_size > _LARGEST:
            raise RequirementsError(
                f"{it} is too large for requirements", where=where, fix="Correct the path."
            )
        return _decoded(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as problem:
        raise RequirementsError(
            f"there is no file {path}", where=where, fix="Correct the path, or write the file."
        ) from problem
    except OSError as problem:
        raise RequirementsError(
            f"{it} cannot be read: {problem.strerror}",
            where=where,
            fix="Correct the path, or make the file readable.",
        ) from problem
    except (UnicodeError, LookupError) as problem:
        raise RequirementsError(
            "this is no text in UTF-8", where=str(path), fix="Save it in UTF-8, or correct the path."
        ) from problem


def _decoded(content: bytes) -> str:
    for mark, encoding in _BOMS:
        if content.startswith(mark):
            return content.decode(encoding)
    for line in content.split(b"\n", 2)[:2]:
        if declared := _CODING.match(line):
            return content.decode(declared[1].decode("ascii"))
    text = content.decode("utf-8")
    if "\0" in text:
        raise UnicodeError("a NUL byte")
    return text


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yields first line number and text of what backslashes join, without comments and empty lines."""
    started, parts = 0, list[str]()
    for number, line in enumerate([*text.splitlines(), ""], start=1):
        started = started if parts else number
        comment = line.lstrip().startswith("#")
        if line.endswith("\\") and not comment:
            parts.append(line.removesuffix("\\"))
            continue
        parts.append(f" {line}" if comment else line)
        if joined := _COMMENT.sub("", "".join(parts)).strip():
            yield started, joined
        parts.clear()


def _too_long(where: str) -> RequirementsError:
    return RequirementsError("too long for requirements", where=where, fix="Correct the path, or the file.")


def _split_options(line: str) -> tuple[str, str]:
    """Splits a line into the requirement and the options, which begin at the first word with a dash."""
    words = line.split(" ")
    first = next((i for i, word in enumerate(words) if word.startswith("-")), len(words))
    return " ".join(words[:first]).strip(), " ".join(words[first:])


def _requested(text: str, hashes: Sequence[str], *, place: str, where: str, constraint: bool) -> Requested:
    for one in hashes:
        if not _HASH.fullmatch(one):
            raise RequirementsError(
                f"{one!r} is no hash", where=where, fix="Write it like --hash=sha256:0123abcd..."
            )
    body, semicolon, condition = text.partition("; " if _URL.match(text) else ";")
    link, extras = _direct(body.strip(), where)
    name = _name_in(link, where) if link else None
    if link and name is None:
        parsed = _parsed(f"source{semicolon}{condition}", where)  # only the source itself knows its name
    else:
        if link:
            text = f"{name}[{extras}] @ {link}" if extras else f"{name} @ {link}"
            text += f" ; {condition.strip()}" if semicolon else ""
        parsed = _parsed(text, where)
        name, link, extras = canonicalize_name(parsed.name), parsed.url, ",".join(parsed.extras)
    if link and not _URL.match(link):
        raise RequirementsError(
            f"{link!r} is no URL", where=where, fix="Write a path as file:///folder/x.whl."
        )
    _check_url(link or "")
    _check_specifiers(parsed, where)
    return Requested(
        place=place,
        text=text,
        name=name,
        extras=frozenset(canonicalize_name(extra.strip()) for extra in extras.split(",") if extra.strip()),
        hashes=frozenset(one.lower() for one in hashes),
        specifier=str(parsed.specifier),
        marker=parsed.marker,
        link=link,
        constraint=constraint,
    )


def _parsed(text: str, where: str) -> Requirement:
    try:
        return Requirement(text)
    except InvalidRequirement as problem:
        reason = str(problem).partition("\n")[0].rstrip(".")
        raise RequirementsError(
            f"{_shown(text)} is no requirement: {reason[:1].lower()}{reason[1:]}", where=where, fix=_FIX
        ) from problem
    except RecursionError as problem:
        raise RequirementsError("nested too deeply to be read", where=where, fix=_FIX) from problem


def _check_specifiers(parsed: Requirement, where: str) -> None:
    """Refuses what PEP 440 lets follow ``===`` and no wheel's version can be, and numbers beyond all limits."""
    for one in parsed.specifier:
        try:
            numbers = Version(one.version.removesuffix(".*")).release
            if max(numbers) >= _LARGEST_NUMBER:
                raise ValueError(one.version)  # noqa: TRY301 -- it is the same fault
        except ValueError as problem:  # InvalidVersion, or a number of more digits than int() takes
            reason = f"{_shown(one.version)} is no version" if one.version else "the version is missing"
            raise RequirementsError(
                f"{_shown(f'{parsed.name}{one}')} is no requirement: {reason}", where=where, fix=_FIX
            ) from problem


def _shown(text: str) -> str:
    return repr(paths.shown(redact.text(text)))


def _check_url(place: str) -> None:
    """Raises ``ValueError`` for what looks like a URL of a server, and is none."""
    if place.startswith(("http:", "https:")) and not (urlsplit(place).hostname and urlsplit(place).port != 0):
        raise ValueError("it names no server")


def _direct(body: str, where: str) -> tuple[str | None, str]:
    """Returns URL and extras of a requirement that is a URL or a local path; no URL if it is a name."""
    match = _EXTRAS.fullmatch(body)
    base, extras = (match["base"], match["extras"]) if match else (body, "")
    if _URL.match(body):
        return base, extras
    path = Path(base)
    looks_like_path = os.sep in base or base.startswith(".")
    if looks_like_path and path.is_dir():
        if not any((path / file).is_file() for file in _PROJECT):
            raise RequirementsError(
                f"the folder {base} is no Python project",
                where=where,
                fix=f"Name a wheel, or a folder that has a {' or a '.join(_PROJECT)}.",
            )
        return path.resolve().as_uri(), extras
    if base.lower().endswith(_ARCHIVES) and "@" not in base.partition(os.sep)[0]:
        if not path.is_file():
            raise RequirementsError(f"there is no file {base}", where=where, fix="Correct the path.")
        return path.resolve().as_uri(), extras
    if looks_like_path and "@" not in base:
        raise RequirementsError(
            f"there is no wheel, source archive or folder {base}", where=where, fix="Correct the path."
        )
    return None, ""


def _name_in(link: str, where: str) -> str | None:
    """Returns the canonical name that a wheel's URL, or ``#egg=name``, tells."""
    parts = urlsplit(link)
    filename = unquote(parts.path).rpartition("/")[2]
    if not filename.lower().endswith(".whl"):
        egg = _EGG.search(parts.fragment)
        return canonicalize_name(egg[1]) if egg else None
    try:
        return parse_wheel_filename(filename)[0]
    except InvalidWheelFilename as problem:
        raise RequirementsError(
            f"{filename} is no name of a wheel",
            where=where,
            fix="Give the file the name that it was built with: name-version-python-abi-platform.whl.",
        ) from problem

"""The app's own source: the files of a folder, less what ignore files and the tools of developers put there.

``read_source`` documents which file stays; the patterns are git's (``gitignore(5)``), matched by pathspec.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pathspec.patterns.gitignore import GitIgnorePatternError
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from slimpack import paths
from slimpack.errors import SourceError
from slimpack.model import APP, InventoryFile
from slimpack.rules import TOO_MANY_STARS, has_too_many_stars

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

IGNORE_FILES = (".gitignore", ".slimpackignore")
"""Names of ignore files; the later one has the last word."""

ALWAYS_EXCLUDED = (
    ".git",
    ".hg/",
    ".svn/",
    "__pycache__/",
    "*.pyc",
    ".venv/",
    "venv/",
    "node_modules/",
    ".mypy_cache/",
    ".ruff_cache/",
    ".pytest_cache/",
    ".tox/",
    ".nox/",
    ".idea/",
    ".vscode/",
    ".DS_Store",
)
"""Patterns of what never goes into a bundle; so do ignore files and folders with a ``pyvenv.cfg``."""

_FIX_LINK = "Put a copy in its place, or list it in .slimpackignore."
_FIX_SPECIAL = "Delete it, or list it in .slimpackignore."

_ENVIRONMENT = "pyvenv.cfg"
"""The file that makes a folder a virtual environment (PEP 405)."""


def read_source(
    root: Path,
    *,
    ignore_files: Sequence[str] = IGNORE_FILES,
    always_excluded: Sequence[str] = ALWAYS_EXCLUDED,
) -> tuple[InventoryFile, ...]:
    """Returns the files of the app's folder, sorted by path; ``entry`` is the path, ``sha256`` is None.

    The rule for what stays, with the default names:

    1. What ``always_excluded`` matches, the ignore files themselves and any virtual environment are left out.
    2. For the rest, ``.gitignore`` files count as in git: each one for its folder and what is below, a deeper
       one before a higher one, in one file the last line that matches. With a folder that is left out
       everything in it is, and a ``!`` line cannot bring it back. Only files below ``root`` count: no
       ``.gitignore`` above it, no ``.git/info/exclude``, no configuration of the user.
    3. ``.slimpackignore`` files count in the same way, but a line of theirs that matches a path decides over
       all lines of ``.gitignore``. So ``!model.joblib`` brings back a model that git ignores, and
       ``!models/`` a folder (what is in it is then judged on its own). That goes for a file in a folder that
       git ignores, too; only ignore files in such a folder are not read.

    A symbolic link counts as what it points to, a file or a folder, if that lies below ``root``.

    Args:
        root: The folder.
        ignore_files: Names of ignore files; each one has the last word over those before it.
        always_excluded: Patterns of what is left out whatever the ignore files say.

    Raises:
        SourceError: The folder or a file in it cannot be read; a link that leaves the folder, leads nowhere
            or back to where it is; a pipe, socket or device; a name that no zip can hold, or that differs
            from another only in case.
    """
    try:
        is_folder = stat.S_ISDIR(root.stat().st_mode)
    except OSError as problem:
        what = f"cannot be read: {problem.strerror}"
        raise SourceError(what, where=paths.shown(str(root)), fix="Give the app's folder.") from problem
    if not is_folder or _is_file(root / _ENVIRONMENT):
        what = "is a virtual environment" if is_folder else "is no folder"
        raise SourceError(what, where=paths.shown(str(root)), fix="Give the folder with the app's code.")
    excluded = _Patterns.parse("", always_excluded, where="always_excluded")
    walk = _Walk(root=root, real=os.path.realpath(root), names=tuple(ignore_files), excluded=excluded)
    files = sorted(walk.files(), key=lambda file: file.path)
    for clash in paths.clashes(file.path for file in files):
        raise walk.error(clash.path, f"{clash.what}, {paths.shown(clash.other)}", "Rename one of the two.")
    return tuple(files)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Patterns:
    """The lines of one ignore file."""

    folder: str
    """Folder that they are relative to, below the root; empty for the root."""
    lines: tuple[tuple[GitIgnoreSpecPattern, bool], ...]
    """Patterns, and whether they are for folders only."""

    @classmethod
    def parse(cls, folder: str, lines: Iterable[str], *, where: str) -> Self:
        parsed = []
        for number, line in enumerate(lines, start=1):
            text = line if line.endswith("\\ ") else line.rstrip()
            if has_too_many_stars(text) and not text.startswith("#"):
                what = f"{paths.shown(text)!r} {TOO_MANY_STARS}"
                raise SourceError(what, where=f"{where}:{number}", fix="Write it with fewer.")
            try:
                # without the slash at the end, a pattern tells a folder from what is below it
                pattern = GitIgnoreSpecPattern(text.removesuffix("/"))
            except (GitIgnorePatternError, re.error) as problem:
                what = f"{paths.shown(text)!r} is no pattern"
                raise SourceError(
                    what, where=f"{where}:{number}", fix="Correct or delete the line."
                ) from problem
            if pattern.include is not None:
                parsed.append((pattern, text.endswith("/")))
        return cls(folder=folder, lines=tuple(parsed))

    def decide(self, path: str, *, is_folder: bool) -> bool | None:
        """Returns whether to leave a path out, by the last line that matches it; None if no line does."""
        relative = path[len(self.folder) + 1 :] if self.folder else path
        for pattern, folders_only in reversed(self.lines):
            found = pattern.match_file(relative) if is_folder or not folders_only else None
            # pathspec also finds what is below a match, and tells so by this group. git doesn't: it judges the
            # folder first, and by that time the folder may have been brought back.
            if found is not None and not found.match.groupdict().get("ps_d"):
                return pattern.include
        return None

    @property
    def brings_back(self) -> bool:
        """Whether there is a line with ``!``."""
        return any(pattern.include is False for pattern, _ in self.lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Folder:
    """A folder that the walk comes to."""

    path: str
    """Below the root; empty for the root."""
    real: tuple[str, ...]
    """Where it really is, after the folders it is in."""
    patterns: tuple[tuple[_Patterns, ...], ...]
    """The ignore files that count in it: for each name, those from the root down."""
    left_out_by: int | None
    """Index of the name whose patterns leave the folder out; None if it stays."""

    def judge(self, path: str, *, is_folder: bool) -> int | None:
        """Returns by which name's patterns a path in the folder is left out; None if it stays."""
        for index in reversed(range(len(self.patterns))):
            if index == self.left_out_by:
                break
            for patterns in reversed(self.patterns[index]):
                leave_out = patterns.decide(path, is_folder=is_folder)
                if leave_out is not None:
                    return index if leave_out else None
        return self.left_out_by

    def can_hold(self, left_out_by: int | None) -> bool:
        """Returns whether something can stay of a folder in this one that is left out by a name's patterns."""
        if left_out_by is None:
            return True
        later = self.patterns[left_out_by + 1 :]
        return any(patterns.brings_back for several in later for patterns in several)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Walk:
    """A walk through the app's folder."""

    root: Path
    """The folder as the user names it."""
    real: str
    """Where it really is."""
    names: tuple[str, ...]
    """Names of ignore files."""
    excluded: _Patterns
    """What is always left out."""

    def files(self) -> Iterator[InventoryFile]:
        """Yields the files that stay, in any order."""
        top = _Folder(path="", real=(self.real,), patterns=((),) * len(self.names), left_out_by=None)
        pending = [self._with_patterns(top)]
        while pending:
            folder = pending.pop()
            for entry in self._scan(folder.path):
                path = f"{folder.path}/{entry.name}" if folder.path else entry.name
                is_folder = _is_folder(entry)
                if entry.name in self.names or self.excluded.decide(path, is_folder=is_folder):
                    continue
                left_out_by = folder.judge(path, is_folder=is_folder)
                if not is_folder and left_out_by is None:
                    yield self._file(entry, path)
                elif (
                    is_folder
                    and folder.can_hold(left_out_by)
                    and not _is_file(Path(entry.path, _ENVIRONMENT))
                ):
                    real = self._real_folder(entry, path, folder)
                    pending.append(
                        self._with_patterns(replace(folder, path=path, real=real, left_out_by=left_out_by))
                    )

    def error(self, path: str, what: str, fix: str) -> SourceError:
        """Returns the error to raise for a path."""
        return SourceError(what, where=paths.shown(str(self.root / path)), fix=fix)

    def _scan(self, path: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self.root / path) as entries:
                return list(entries)
        except OSError as problem:
            raise self._unreadable(path, problem) from problem

    def _with_patterns(self, folder: _Folder) -> _Folder:
        """Returns a folder with its own ignore files added, unless it is left out."""
        if folder.left_out_by is not None:
            return folder
        patterns = [
            (*several, *self._ignore_file(folder.path, name))
            for several, name in zip(folder.patterns, self.names, strict=True)
        ]
        return replace(folder, patterns=tuple(patterns))

    def _ignore_file(self, folder: str, name: str) -> Iterator[_Patterns]:
        place = f"{folder}/{name}" if folder else name
        file = self.root / place
        if not _is_file(file):
            return
        try:
            text = file.read_text(encoding="utf-8-sig")  # git skips a byte order mark as well
        except OSError as problem:
            raise self._unreadable(place, problem) from problem
        except UnicodeDecodeError as problem:
            raise self.error(place, "is not UTF-8", "Save it as UTF-8.") from problem
        yield _Patterns.parse(folder, text.split("\n"), where=paths.shown(str(file)))

    def _real_folder(self, entry: os.DirEntry[str], path: str, folder: _Folder) -> tuple[str, ...]:
        real = self._followed(entry, path) if entry.is_symlink() else f"{folder.real[-1]}/{entry.name}"
        if real in folder.real:
            raise self.error(path, "is a link that leads back to a folder it is in", _FIX_LINK)
        return (*folder.real, real)

    def _file(self, entry: os.DirEntry[str], path: str) -> InventoryFile:
        if (what := paths.fault(path)) is not None:
            raise self.error(path, what, "Rename it.")
        if entry.is_symlink():
            self._followed(entry, path)
        try:
            info = entry.stat()
            if not stat.S_ISREG(info.st_mode):
                raise self.error(path, "is a pipe, a socket or a device", _FIX_SPECIAL)
            with open(entry.path, "rb"):  # noqa: PTH123 -- to see that it can be read
                pass
        except OSError as problem:
            raise self._unreadable(path, problem) from problem
        return InventoryFile(
            path=path,
            size=info.st_size,
            owner=APP,
            entry=path,
            sha256=None,
            executable=bool(info.st_mode & 0o111),
        )

    def _followed(self, link: os.DirEntry[str], path: str) -> str:
        """Returns where a link really leads."""
        try:
            real = os.path.realpath(link.path, strict=True)
        except OSError as problem:
            raise self.error(
                path, f"is a link that leads nowhere ({problem.strerror})", _FIX_LINK
            ) from problem
        if real != self.real and not real.startswith(f"{self.real}/"):
            raise self.error(path, "is a link that leaves the folder", _FIX_LINK)
        return real

    def _unreadable(self, path: str, problem: OSError) -> SourceError:
        fix = "Make it readable, or list it in .slimpackignore."
        return self.error(path, f"cannot be read: {problem.strerror}", fix)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads in a circle
        return False


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # in a folder that cannot be searched, which the walk finds out next
        return False

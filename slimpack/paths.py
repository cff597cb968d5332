"""The path of a file in an installed tree: what it must not look like, and which two cannot both be there."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_DRIVE = re.compile(r"[A-Za-z]:")

_SHOWN = 160
"""Characters of a hostile name that a message shows at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clash:
    """A path that cannot be in one tree with another."""

    path: str
    """The path, as it came."""
    other: str
    """What it clashes with, as it came."""
    what: str
    """What is wrong with ``path``, a phrase to put after its name."""


def fault(path: str) -> str | None:
    """Returns why a path has no safe place below a root, a phrase to put after it; None if it has one.

    Refused are paths that leave the root or that no file can have, and those that one system reads
    differently from another: a bundle is written here, read on Lambda and unpacked by anyone.
    """
    parts = path.split("/")
    faults = (
        (not path.isprintable() and _has(path, "Cs"), "has a name that is not UTF-8"),
        (not path.isprintable() and _has(path, "Cc"), "has a control character in its name"),
        ("\\" in path, "has a backslash in its name"),
        (path.startswith("/"), "has an absolute path"),
        (_DRIVE.match(path) is not None, "has a path that begins with a drive letter"),
        (".." in parts, "has a path that leaves the root"),
        ("" in parts or "." in parts, "has a path with an empty part, or with a dot for one"),
    )
    return next((words for found, words in faults if found), None)


def clashes(files: Iterable[str], folders: Iterable[str] = ()) -> Iterator[Clash]:
    """Yields what keeps files from lying in one tree.

    Those are: one path twice, two paths that a file system without case (or with another Unicode form)
    takes for one, and a file where another one needs a folder.

    Args:
        files: Paths of files.
        folders: Paths of folders that are named on their own, such as the folder entries of a zip.
    """
    seen: dict[str, str] = {}
    above: dict[str, str] = {}
    for folder in folders:
        _put_folders(f"{_folded(folder)}/", folder, above)
    for path in files:
        folded = _folded(path)
        if folded not in seen:
            seen[folded] = path
            _put_folders(folded, path, above)
        elif seen[folded] == path:
            yield Clash(path=path, other=path, what="is there twice")
        else:
            yield Clash(
                path=path, other=seen[folded], what="differs from another only in case or Unicode form"
            )
    for folded, path in seen.items():
        if folded in above:
            yield Clash(path=path, other=above[folded], what="is a file where another needs a folder")


def shown(path: str) -> str:
    """Returns a path fit for a message: one line of printable characters, shortened if it is very long."""
    text = path if path.isprintable() else ascii(path)[1:-1]
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _has(path: str, category: str) -> bool:
    return any(unicodedata.category(char) == category for char in path)


def _put_folders(folded: str, path: str, above: dict[str, str]) -> None:
    while "/" in folded:
        folded = folded.rpartition("/")[0]
        if folded in above:
            return
        above[folded] = path


def _folded(path: str) -> str:
    # Unicode's canonical caseless match (definition D145), with the composed form at the end
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())

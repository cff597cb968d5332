"""Ties: what the files of a bundle need of each other's symbols, so that it is known which exports nobody needs."""

from __future__ import annotations

import mmap
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from slimpack import workers
from slimpack.elf.layout import ElfError, is_elf
from slimpack.elf.symbols import Exchange, exchange, mentions

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

_INTERPRETER = (b"Py", b"_Py")
"""How the names begin that the interpreter offers."""
_SECONDS = 3600
"""After this long the task counts as hung; the largest known bundles take some ten seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ties:
    """What ties a shared object to the rest of its bundle."""

    needed: frozenset[bytes]
    """Names of the symbols of its own that others use, or define as well, or mention."""
    eager: bool
    """Whether all that it uses is defined by it, by what it depends on, or by the target's own libraries."""


def find(root: Path, paths: Collection[str]) -> Mapping[str, Ties]:
    """Finds what ties the shared objects of a bundle to each other.

    It holds as long as nobody else is in the process: no library of another layer, none that is loaded from
    elsewhere or out of an archive.

    Args:
        root: Folder of the bundle.
        paths: All of its files, relative to the folder.

    Returns:
        The ties of each shared object; none if they could not be found.
    """
    for _, found in workers.run(_find, [(root, tuple(paths))], jobs=1, timeout_seconds=_SECONDS):
        return {} if isinstance(found, workers.Crashed) else found
    return {}


def _find(task: tuple[Path, Sequence[str]]) -> dict[str, Ties]:
    """Finds the ties; runs in a worker process, whose memory is gone afterwards."""
    root, paths = task
    exchanges: dict[str, Exchange] = {}
    mentioned: set[bytes] = set()
    for path in paths:
        content = _content(root / path)
        if content is None or not is_elf(content[:4]):
            mentioned.update(mentions(content or b"", own=True))
            continue
        try:
            exchanges[path] = exchange(content)
            mentioned.update(mentions(content, own=False))
        except ElfError:  # what it needs is among its names
            mentioned.update(mentions(content, own=True))
    return _tie(exchanges, mentioned)


def _content(path: Path) -> mmap.mmap | None:
    """Returns the content of a file, which is closed as soon as nothing refers to it; None for an empty file."""
    with path.open("rb") as file:
        if not path.stat().st_size:
            return None
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _tie(exchanges: Mapping[str, Exchange], mentioned: set[bytes]) -> dict[str, Ties]:
    offers = Counter(name for one in exchanges.values() for name in one.offered)
    wanted = mentioned.union(*(one.wanted for one in exchanges.values()))
    names: dict[bytes, set[str]] = defaultdict(set)
    for path, one in exchanges.items():
        names[PurePosixPath(path).name.encode()].add(path)
        if one.soname:
            names[one.soname].add(path)
    return {
        path: Ties(
            needed=frozenset(name for name in one.offered if offers[name] > 1 or name in wanted),
            eager=_all_there(path, exchanges, names),
        )
        for path, one in exchanges.items()
    }


def _all_there(path: str, exchanges: Mapping[str, Exchange], names: Mapping[bytes, set[str]]) -> bool:
    """Whether all that a file uses is there once it and what it depends on are loaded."""
    one = exchanges[path]
    missing = {name for name in one.wanted - one.promised if not name.startswith(_INTERPRETER)}
    reached, waiting = {path}, [path]
    while waiting and missing:
        found = exchanges[waiting.pop()]
        missing -= found.offered
        new = {other for library in found.libraries for other in names.get(library, ())} - reached
        reached |= new
        waiting += new
    return not missing

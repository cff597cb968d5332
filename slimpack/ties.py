"""Ties: what the files of a bundle need of each other's symbols, so that it is known which exports nobody needs."""

from __future__ import annotations

import mmap
from bisect import bisect_left
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from slimpack import workers
from slimpack.elf.layout import ElfError, is_elf
from slimpack.elf.symbols import LONGEST_MENTION, Exchange, exchange, mentions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

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
    """Whether all that it uses is there once it is loaded: it is defined by it, by what it depends on in the bundle,
    by the target's own libraries, or by the interpreter, if nothing loads it without one."""


def find(places: Mapping[str, Path]) -> Mapping[str, Ties] | None:
    """Finds what ties the shared objects of a bundle to each other.

    It holds as long as nobody else is in the process: no library of another layer, none that is loaded from
    elsewhere or out of an archive.

    Args:
        places: Where each of its files lies, by any name.

    Returns:
        The ties of each shared object by its name; None if the process that looked for them died.
    """
    for _, found in workers.run(_find, [dict(places)], jobs=1, timeout_seconds=_SECONDS):
        return None if isinstance(found, workers.Crashed) else found
    return None


def _find(places: dict[str, Path]) -> dict[str, Ties]:
    """Finds the ties; runs in a worker process, whose memory is gone afterwards."""
    exchanges: dict[str, Exchange] = {}
    mentioned: set[bytes] = set()
    for path, place in places.items():
        content = _content(place)
        if content is None or not is_elf(content[:4]):
            mentioned.update(mentions(content or b"", own=True))
            continue
        try:
            exchanges[path] = exchange(content)
            mentioned.update(mentions(content, own=False))
        except ElfError:  # what it needs is among its names
            mentioned.update(mentions(content, own=True))
    return _tie(exchanges, sorted(mentioned))


def _content(path: Path) -> mmap.mmap | None:
    """Returns the content of a file, which is closed as soon as nothing refers to it; None for an empty file."""
    with path.open("rb") as file:
        if not path.stat().st_size:
            return None
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _tie(exchanges: Mapping[str, Exchange], mentioned: Sequence[bytes]) -> dict[str, Ties]:
    """Returns the ties.

    Args:
        exchanges: What files offer and want, by their names.
        mentioned: What begins like a name anywhere, ascending.
    """
    offers = Counter(name for one in exchanges.values() for name in one.offered)
    wanted = frozenset[bytes]().union(*(one.wanted for one in exchanges.values()))
    named: dict[bytes, set[str]] = defaultdict(set)
    for path, one in exchanges.items():
        named[PurePosixPath(path).name.encode()].add(path)
        if one.soname:
            named[one.soname].add(path)

    def is_needed(name: bytes) -> bool:
        if offers[name] > 1 or name in wanted:
            return True
        at = bisect_left(mentioned, name[:LONGEST_MENTION])
        return at < len(mentioned) and mentioned[at].startswith(name[:LONGEST_MENTION])

    programs = [path for path, one in exchanges.items() if one.program]
    without_interpreter = set().union(*(_reached(path, exchanges, named) for path in programs))
    ties: dict[str, Ties] = {}
    for path, one in exchanges.items():
        missing = one.wanted - one.weak - one.versioned  # the loader checks versions by itself
        if path not in without_interpreter:
            missing = frozenset(name for name in missing if not name.startswith(_INTERPRETER))
        for other in _reached(path, exchanges, named):
            missing -= exchanges[other].offered
        ties[path] = Ties(needed=frozenset(filter(is_needed, one.offered)), eager=not missing)
    return ties


def _reached(path: str, exchanges: Mapping[str, Exchange], named: Mapping[bytes, set[str]]) -> set[str]:
    """Returns a file and what it depends on in the bundle."""
    reached, waiting = {path}, [path]
    while waiting:
        libraries = exchanges[waiting.pop()].libraries
        files = (library.rpartition(b"/")[2] for library in libraries)
        new = {other for file in files for other in named.get(file, ())} - reached
        reached |= new
        waiting += new
    return reached

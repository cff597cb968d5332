"""Usage: what a cold start needs of a bundle, as a profile shows or as the handler's imports tell. Pure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from slimpack.modules.reach import reached
from slimpack.profile import PAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from slimpack.model import ElfFacts
    from slimpack.profile import LibraryRecord, Profile

_NEVER_SEEN = 0.005
"""Share of starts that are taken to need what no run of a profile has needed."""

_NOT_REACHED = 0.02
"""Share of starts that are taken to need a module that the handler does not seem to import."""

_NOT_LINKED = 0.2
"""The same of a shared object: programs load some by names that no source shows."""

_READ_AT_MOST = 0.5
"""If a start opened more of the sources that it imported than this share, it did so to compile them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a cold start needs, its first event included."""

    source: str
    """Where that is known from, in words."""
    shares: Mapping[str, float] = field(default_factory=dict)
    """Share of starts that need a file, 0 to 1, by place in the installed tree."""
    others_module: float = 1.0
    """The same of modules that are not listed."""
    others_library: float = 1.0
    """The same of shared objects that are not listed."""
    order: tuple[str, ...] = ()
    """Modules in the order in which they are imported, as far as that is known."""
    read: frozenset[str] = frozenset()
    """Modules whose source lines a start reads."""
    touched: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Addresses of the pages of code that starts were seen to touch, ascending, by shared object."""

    def module(self, path: str) -> float:
        """Returns the share of starts that import a module."""
        return self.shares.get(path, self.others_module)

    def library(self, path: str) -> float:
        """Returns the share of starts that load a shared object."""
        return self.shares.get(path, self.others_library)


def of_profile(profile: Profile, *, prefix: str) -> Usage:
    """Returns what a profile's runs needed.

    Args:
        profile: Of the same handler. What it saw in other releases of a package does no harm: it is only less use.
        prefix: Folder of the bundle that the installed tree is in.
    """
    seen: list[tuple[str | None, int]] = [(one.file, one.init + one.invoke) for one in profile.modules]
    seen += ((one.path, one.init + one.invoke) for one in profile.libraries)
    shares: dict[str, float] = {}
    for file, runs in seen:
        if file is not None and file.startswith(prefix):
            path = file.removeprefix(prefix)
            shares[path] = max(min(1.0, runs / max(profile.times, 1)), shares.get(path, 0.0))
    order = tuple(
        dict.fromkeys(
            one.file.removeprefix(prefix)
            for one in profile.modules
            if one.file is not None and one.file.startswith(prefix) and one.file.endswith(".py")
        )
    )
    opened = {one.path.removeprefix(prefix) for one in profile.files if one.path.endswith(".py")}
    read = opened.intersection(order)
    return Usage(
        source=f"a profile of {profile.times} run{'s' if profile.times > 1 else ''}",
        shares=shares,
        others_module=_NEVER_SEEN,
        others_library=_NEVER_SEEN,
        order=order,
        read=frozenset(read if len(read) <= _READ_AT_MOST * len(order) else ()),
        touched={
            one.path.removeprefix(prefix): touched
            for one in profile.libraries
            if one.path.startswith(prefix) and (touched := _touched(one))
        },
    )


def of_handler(
    handler: str,
    paths: Collection[str],
    elf: Iterable[ElfFacts],
    source: Callable[[str], bytes],
) -> Usage:
    """Returns what a handler seems to need, by the imports in sources and what the libraries name.

    Args:
        handler: ``module.function``, or with slashes as Lambda allows it.
        paths: Places of all files in the installed tree.
        elf: What its shared objects say of themselves.
        source: Returns the content of a module.
    """
    module = handler.rpartition(".")[0].replace("/", ".")
    found = reached(module, paths, source) if module else ()
    if not found:
        return Usage(source="nothing: all counts as needed")
    linked = _linked((path for path in found if not path.endswith(".py")), tuple(elf))
    return Usage(
        source=f"what {module} imports",
        shares=dict.fromkeys((*found, *linked), 1.0),
        others_module=_NOT_REACHED,
        others_library=_NOT_LINKED,
        order=tuple(path for path in found if path.endswith(".py")),
    )


def _linked(start: Iterable[str], elf: Sequence[ElfFacts]) -> set[str]:
    """Returns the paths of what some shared objects need, directly or not."""
    by_name: dict[str, list[str]] = defaultdict(list)
    for one in elf:
        for name in {one.soname or "", PurePosixPath(one.path).name} - {""}:
            by_name[name].append(one.path)
    needed = {one.path: one.needed for one in elf}
    found: set[str] = set()
    waiting = list(start)
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += (other for name in needed.get(path, ()) for other in by_name[name])
    return found


def _touched(library: LibraryRecord) -> tuple[int, ...]:
    """Returns the addresses of the pages of code that were touched."""
    pages = {
        segment.address + number * PAGE
        for segment in library.segments
        if segment.executable
        for first, count, _ in (*segment.init, *segment.invoke)
        for number in range(first, first + count)
    }
    return tuple(sorted(pages))

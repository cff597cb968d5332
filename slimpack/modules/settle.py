"""Settling: whether modules get bytecode, and whether it lies beside their sources or is packed with them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from slimpack import findings
from slimpack.bytecode import compile_all, home, place
from slimpack.manifest import BytecodeRecord
from slimpack.model import APP, Addition
from slimpack.modules.archive import LOADER, Tier
from slimpack.modules.pack import LOADER_FILE, pack
from slimpack.modules.reach import reached
from slimpack.output import writing

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from slimpack.bytecode import Bytecode
    from slimpack.model import Finding, Staged, Target
    from slimpack.modules.pack import Outcome
    from slimpack.progress import Progress

Wanted = Literal["auto", "all", "none", "hot"]
"""Which modules get bytecode: all for which there is room, all, none, or what the handler imports."""

RULE = "bytecode"
"""Stands as rule at the files that were compiled."""

_FITS = "it fits beside the sources"

_NOT_IMPORTED = (".dist-info/", ".data/")
"""Ends of folders whose files nobody imports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What was settled; nothing of it is in the sandbox yet."""

    additions: tuple[Addition, ...] = ()
    """Bytecode, or the archive of packed modules and its loader, or both."""
    packed: Mapping[str, Staged] = field(default_factory=dict)
    """What is packed, as the stubs that will be there, by path."""
    stubs: Mapping[str, bytes] = field(default_factory=dict)
    """Their content."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Why a source is not packed or has no bytecode, by path."""
    findings: tuple[Finding, ...] = ()
    """Why there is no bytecode."""
    record: BytecodeRecord | None = None
    """How there is some; None if there is none."""

    def size(self, staged: Mapping[str, Staged]) -> int:
        """Returns the bytes of the sandbox with all of this in it.

        Args:
            staged: What is in it now.
        """
        kept = sum(self.packed.get(path, one).size for path, one in staged.items())
        return kept + sum(len(one.content or b"") for one in self.additions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What there is, and what may become of it."""

    root: Path
    """Folder of the sandbox that the installed tree is in."""
    staged: Mapping[str, Staged]
    """What is in it."""
    owners: Mapping[str, str]
    """Who brings each of its files."""
    kept: Collection[str]
    """Paths that are to stay as they are."""
    target: Target
    """Where the bundle will run."""
    added: int
    """Bytes of what is in the bundle besides."""
    handler: str
    """What Lambda calls; empty if that is not known."""
    compiler: Path | None
    """A CPython of the target's version that runs here; None if there is none."""

    def has(self, settled: Settled) -> bool:
        """Returns whether the bundle stays below the limit."""
        return settled.size(self.staged) + self.added < self.target.size_limit


def settle(
    room: Room, wanted: Wanted, packing: Literal["auto", "never", "all"], *, jobs: int, progress: Progress
) -> Settled:
    """Returns what is to become of the bundle's modules: the least that gives them their bytecode.

    Args:
        room: What there is.
        wanted: Which modules get bytecode.
        packing: Whether modules may be packed: if it would not fit otherwise, not at all, or all of them.
        jobs: Processes at a time.
        progress: Whom to tell.

    Raises:
        BooksError: The archive would not give back what was put in.
        OutputError: The sandbox cannot be read.
    """
    sources = [path for path in room.staged if _is_imported(path, room)]
    if wanted == "none" or not sources:
        return Settled()
    hot = _hot(room, sources) if wanted == "hot" else None
    chosen = sources if hot is None else sorted(hot)
    with progress.phase("compiling Python files"):
        made = compile_all(
            {path: room.root / path for path in chosen} | {LOADER: LOADER_FILE},
            python=room.target.python,
            interpreter=room.compiler,
            home=home(room.target.kind),
            jobs=jobs,
            progress=progress.advance,
        )
    if made.unavailable is not None:
        return Settled(findings=(findings.NO_BYTECODE.at(room.target.runtime, made.unavailable),))
    if packing == "never":
        return _unpacked(room, wanted, made, sources)
    beside = _beside(room, made, chosen, _FITS)
    if packing == "auto" and room.has(beside):
        return beside
    over = beside.size(room.staged) + room.added - room.target.size_limit + 1
    reason = f"beside the sources it is {over:,} bytes too much"
    if packing == "all":
        reason = "all is to be packed"
    elif not room.has(Settled()):
        reason = "the bundle is over its limit without it"
    with progress.phase("packing modules"):
        packed = _packed(room, made, chosen, hot=hot or _hot(room, sources), reason=reason, jobs=jobs)
    if packed.packed and (wanted != "auto" or room.has(packed) or packed.size(room.staged) < _sizes(room)):
        return packed
    return beside if room.has(beside) else _too_large(beside, wanted, over)


def _unpacked(room: Room, wanted: Wanted, made: Bytecode, sources: Sequence[str]) -> Settled:
    """Returns what is done where nothing may be packed: as much as there is room for, in the end nothing."""
    some = _beside(room, made, sources, _FITS)
    if wanted == "auto" and not room.has(some):
        some = _beside(room, made, _hot(room, sources), f"for what the handler imports {_FITS}")
    over = some.size(room.staged) + room.added - room.target.size_limit + 1
    return some if over <= 0 else _too_large(some, wanted, over)


def _too_large(some: Settled, wanted: Wanted, over: int) -> Settled:
    """Returns what is done with bytecode that does not fit: it is there if the user insists."""
    if wanted != "auto":
        record = replace(some.record, reason="it is wanted, and does not fit") if some.record else None
        return replace(some, record=record)
    problem = findings.NO_BYTECODE.at(
        "bytecode",
        f"the bundle would be {over:,} bytes too large",
        fix="Make room, or let modules be packed: --pack auto.",
    )
    return Settled(findings=(problem,))


def _sizes(room: Room) -> int:
    return sum(one.size for one in room.staged.values())


def _is_imported(path: str, room: Room) -> bool:
    """Returns whether a file can be a module that needs bytecode."""
    return (
        path.endswith(".py")
        and not path.startswith("bin/")
        and not any(mark in path for mark in _NOT_IMPORTED)
        and place(path, room.target.python) not in room.staged
    )


def _hot(room: Room, sources: Sequence[str]) -> tuple[str, ...]:
    """Returns those of the sources that the handler imports; all of them where that cannot be told."""
    module = room.handler.rpartition(".")[0].replace("/", ".")
    paths = [path for path in room.staged if path.endswith(".py")]
    wanted = set(sources)
    with writing(room.root):
        found = reached(module, paths, lambda path: (room.root / path).read_bytes()) if module else ()
    return tuple(path for path in found or sources if path in wanted)


def _beside(room: Room, made: Bytecode, sources: Iterable[str], reason: str) -> Settled:
    return Settled(
        additions=tuple(_pyc(room, made, path) for path in sources if path in made.pycs),
        notes={path: f"no bytecode: {why}" for path, why in made.skipped.items()},
        record=BytecodeRecord(compiler=made.compiler or "", lies="beside", reason=reason),
    )


def _packed(
    room: Room, made: Bytecode, sources: Sequence[str], *, hot: Sequence[str], reason: str, jobs: int
) -> Settled:
    """Packs all that may be; what stays has its bytecode beside it."""
    may = {path for path in sources if room.owners[path] != APP and path not in room.kept}
    tiers = dict.fromkeys((path for path in hot if path in may), Tier.HOT)
    tiers |= dict.fromkeys((path for path in sources if path in may and path not in tiers), Tier.COLD)
    outcome: Outcome = pack(
        room.staged,
        root=room.root,
        wanted=tiers,
        read=(),
        bytecode=made,
        python=room.target.python,
        jobs=jobs,
    )
    rest = _beside(room, made, (path for path in sources if path not in outcome.packed), reason)
    left = {path: f"not packed: {why}" for path, why in outcome.left.items() if path not in rest.notes}
    return replace(
        rest,
        additions=(*outcome.additions, *rest.additions),
        packed=outcome.packed,
        stubs=outcome.stubs,
        notes={**left, **rest.notes},
        record=replace(rest.record, lies="packed") if rest.record else None,
    )


def _pyc(room: Room, made: Bytecode, path: str) -> Addition:
    return Addition(
        path=place(path, room.target.python),
        rule=RULE,
        reason=f"It is the bytecode of {path} by {made.compiler}.",
        content=made.pycs[path],
        owner=room.owners[path],
    )

"""Settling: which form each module and each shared object of a bundle gets, and giving it to them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING, Literal

from slimpack import findings, prices, usage
from slimpack.bytecode import Bytecode, compile_all, home, place
from slimpack.elf.layout import EM_AARCH64, EM_X86_64, LARGEST_PAGES
from slimpack.elf.pack import block_size_of
from slimpack.fit import Fit, Part, Way, fit, spend
from slimpack.manifest import BytecodeRecord, ChoiceRecord, FitRecord
from slimpack.model import APP, Addition
from slimpack.modules.archive import LOADER
from slimpack.modules.pack import LOADER_FILE, Outcome, Stock, examine, pack, put
from slimpack.output import writing
from slimpack.packing import LARGE, Packer, Wanted, pager
from slimpack.prices import LIBRARY_FORMS, TIERS, Touched
from slimpack.warm import degrees

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from slimpack.fit import Form, FormName
    from slimpack.model import Finding, Staged, Target
    from slimpack.modules.archive import Module
    from slimpack.packing import Outcome as Libraries
    from slimpack.packing import Pack
    from slimpack.prices import Ratios
    from slimpack.profile import Profile
    from slimpack.progress import Progress
    from slimpack.usage import Usage

Compiled = Literal["auto", "all", "none", "hot"]
"""Which modules get bytecode: those where it is worth its bytes, all, none, or what a start needs."""

RULE = "bytecode"
"""Stands as rule at the files that were compiled."""

_NOT_IMPORTED = (".dist-info/", ".data/")
"""Ends of folders whose files nobody imports."""

_ROUNDS = 6
"""Tries to come below the limit where modules turn out larger than expected; the last takes the smallest choice."""

_NEEDED = 0.5
"""Share of starts from which on a module counts as hot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What there is, and what may become of it."""

    root: Path
    """Folder of the sandbox that the installed tree is in."""
    staged: Mapping[str, Staged]
    """What is in it."""
    owners: Mapping[str, str]
    """Who brings each of its files."""
    kept: Mapping[str, str]
    """Paths that are to stay as they are, and who says so."""
    target: Target
    """Where the bundle will run."""
    others: Mapping[str, Path]
    """What is in the bundle besides, and where it lies, by any names."""
    added: int
    """Bytes of that."""
    handler: str
    """What Lambda calls; empty if that is not known."""
    compiler: Path | None
    """A CPython of the target's version that runs here; None if there is none."""
    profile: Profile | None = None
    """What runs of the handler have used; None if nobody looked."""
    prune: bool = True
    """Whether exports go, of what is packed, that nobody in the bundle needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What was settled, and done."""

    staged: Mapping[str, Staged]
    """All files, what has another form now as it is now."""
    additions: tuple[Addition, ...] = ()
    """What goes with it: bytecode, the archive of packed modules and its loader, the pager."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Why a source is not packed or has no bytecode, by path."""
    findings: tuple[Finding, ...] = ()
    """Why there is no bytecode, or why something could not be packed or pruned."""
    bytecode: BytecodeRecord | None = None
    """How there is bytecode; None if there is none."""
    fit: FitRecord | None = None
    """How all this was chosen; None if there was nothing to choose."""


def settle(room: Room, wanted: Compiled, packing: Pack, *, jobs: int, progress: Progress) -> Settled:
    """Gives each module and each shared object the form with which the bundle fits and starts soonest.

    Args:
        room: What there is.
        wanted: Which modules get bytecode.
        packing: Whether modules and shared objects may be packed: where that is better, not at all, or all of them.
        jobs: Processes at a time.
        progress: Whom to tell.

    Raises:
        BooksError: The archive of modules would not give back what was put in.
        OutputError: The sandbox cannot be read or written.
    """
    used = _usage(room)
    sources = _in_order(used, [path for path in sorted(room.staged) if _is_imported(path, room)])
    compiled = sources if wanted != "hot" else [path for path in sources if used.module(path) >= _NEEDED]
    made = _compile(room, compiled if wanted != "none" else [], jobs, progress)
    stock = Stock(modules={}, left={})
    if packing != "never" and made.pycs:
        may = [path for path in compiled if room.owners[path] != APP and path not in room.kept]
        stock = examine(room.staged, root=room.root, wanted=may, bytecode=made)
        kept = {path: room.kept[path] for path in compiled if path in room.kept}
        stock = replace(stock, left={**stock.left, **kept})
    modules = {path: replace(one, read=path in used.read) for path, one in stock.modules.items()}
    with Packer(
        room.staged,
        root=room.root,
        target=room.target,
        others=room.others,
        kept=room.kept,
        prune=room.prune,
        jobs=jobs,
    ) as packer:
        work = _Work(
            room=room,
            wanted=wanted,
            packing=packing,
            used=used,
            sources=sources,
            made=made,
            modules=modules,
            ratios=prices.ratios(list(modules.values())) if modules else None,
            packer=packer,
            jobs=jobs,
            progress=progress,
        )
        chosen, outcome = work.choose()
        libraries = packer.take(work.libraries(chosen))
    put(outcome.stubs, root=room.root)
    return _settled(work, chosen, outcome, stock.left, libraries)


def _usage(room: Room) -> Usage:
    if room.profile is not None:
        return usage.of_profile(room.profile, prefix=room.target.prefix)
    elf = [one.elf for one in room.staged.values() if one.elf is not None]
    with writing(room.root):
        return usage.of_handler(room.handler, room.staged, elf, lambda path: (room.root / path).read_bytes())


def _in_order(used: Usage, sources: Sequence[str]) -> list[str]:
    """Returns sources in the order in which a start imports them, as far as that is known."""
    known = {path: number for number, path in enumerate(used.order)}
    return sorted(sources, key=lambda path: known.get(path, len(known)))


def _is_imported(path: str, room: Room) -> bool:
    """Returns whether a file can be a module that needs bytecode."""
    return (
        path.endswith(".py")
        and not path.startswith("bin/")
        and not any(mark in path for mark in _NOT_IMPORTED)
        and place(path, room.target.python) not in room.staged
    )


def _compile(room: Room, sources: Sequence[str], jobs: int, progress: Progress) -> Bytecode:
    if not sources:
        return Bytecode()
    with progress.phase("compiling Python files"):
        return compile_all(
            {path: room.root / path for path in sources} | {LOADER: LOADER_FILE},
            python=room.target.python,
            interpreter=room.compiler,
            home=home(room.target.kind),
            jobs=jobs,
            progress=progress.advance,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What there is to choose from, and what was learnt of it."""

    room: Room
    """What there is."""
    wanted: Compiled
    """Which modules get bytecode."""
    packing: Pack
    """Whether anything may be packed."""
    used: Usage
    """What a start needs."""
    sources: Sequence[str]
    """All modules, in the order of a start."""
    made: Bytecode
    """What came of compiling them."""
    modules: Mapping[str, Module]
    """Those that can be packed."""
    ratios: Ratios | None
    """How small they become; None if there are none."""
    packer: Packer
    """What packs shared objects."""
    jobs: int
    """Processes at a time."""
    progress: Progress
    """Whom to tell."""
    touched: dict[str, Touched] = field(default_factory=dict)
    """What is known of the code of shared objects that a start touches, as far as it was asked."""

    def choose(self) -> tuple[Fit, Outcome]:
        """Returns the form of everything, and the packed modules; shared objects are packed, and not yet in place.

        What packing brings is known once it is done. So the best choice by what is expected is looked at more closely,
        until it holds.
        """
        over = 0
        for left in reversed(range(_ROUNDS)):
            chosen = self._fitted(over)
            while new := self._unknown(chosen):
                with self.progress.phase("packing shared objects"):
                    self.packer.pack(new, self.progress.advance)
                chosen = self._fitted(over)
            outcome = self._packed(chosen)
            more = self._size(chosen, outcome) - self._limit()
            if more <= 0 or not chosen.fits or not outcome.packed:
                break
            over += more if left > 1 else self._limit()
        return replace(chosen, fits=more <= 0), outcome

    def libraries(self, chosen: Fit) -> list[Wanted]:
        """Returns which of the shared objects are packed, and how."""
        return [
            self._as_wanted(one.path, form.name, form.degree)
            for one in self.packer.candidates
            if (form := chosen.forms[one.path]).name != "plain"
        ]

    def parts(self, *, dense: bool) -> Iterator[Part]:
        """Yields what there is to choose, as far as it is known by now.

        Args:
            dense: Whether shared objects may be packed in large blocks as well.
        """
        for path in self.sources:
            yield Part(path=path, forms=self._module(path))
        for one in self.packer.candidates:
            yield Part(path=one.path, forms=self._library(one, dense=dense))

    def _fitted(self, over: int) -> Fit:
        """Returns the best choice by what is known.

        Args:
            over: Bytes that modules have turned out to take more than expected.
        """
        ways = self._ways(over, dense=False)
        room = self._limit() - self._fixed()
        quickest = fit(ways[0].parts, room=2**63)
        if not ways[0].extra and quickest.size <= room:
            return quickest
        chosen = self._spent(ways, over, room)
        if over and not chosen.fits:
            # what a larger choice has taken more than expected, the smallest need not
            return self._spent(self._ways(0, dense=False), 0, -1)
        return chosen

    def _spent(self, ways: Sequence[Way], over: int, room: int) -> Fit:
        """Returns the best choice by some ways, or by denser ones if they are wanted."""
        chosen = spend(ways, room=room)
        # Packing takes long: it is not done twice unless all is known of the first time, and does not do.
        if self.packing == "auto" and not self._unknown(chosen):
            chosen = spend(ways, room=room, denser=self._ways(over, dense=True))
        return chosen

    def _ways(self, over: int, *, dense: bool) -> list[Way]:
        """Returns what there is to choose from, with what unpacks it: first if nothing is packed, where that may be."""
        parts = list(self.parts(dense=dense))
        ways: list[Way] = []
        for modules, libraries in product((False, True), repeat=2):
            left_out = {*(() if modules else TIERS), *(() if libraries else LIBRARY_FORMS)}
            some = tuple(
                replace(part, forms=tuple(form for form in part.forms if form.name not in left_out))
                for part in parts
            )
            names = {form.name for part in some for form in part.forms}
            extra = (self._loader() + over if names & set(TIERS) else 0) + (
                self._pager() if names & set(LIBRARY_FORMS) else 0
            )
            way = Way(parts=some, extra=extra)
            if all(part.forms for part in some) and way not in ways:
                ways.append(way)
        return ways

    def _limit(self) -> int:
        """Returns the most bytes that the bundle may have."""
        return self.room.target.room - 1

    def _fixed(self) -> int:
        """Returns the bytes of all that there is nothing to choose about."""
        parts = {*self.sources, *(one.path for one in self.packer.candidates)}
        return self.room.added + sum(one.size for path, one in self.room.staged.items() if path not in parts)

    def _loader(self) -> int:
        """Returns the bytes of what loads packed modules, with its bytecode."""
        return LOADER_FILE.stat().st_size + len(self.made.pycs.get(LOADER, b""))

    def _pager(self) -> int:
        """Returns the bytes of what loads the packed parts of shared objects."""
        return len(pager(self.room.target).content or b"")

    def _size(self, chosen: Fit, outcome: Outcome) -> int:
        """Returns the bytes that the bundle has with a choice."""
        forms = (form.size for path, form in chosen.forms.items() if path not in outcome.packed)
        return self._fixed() + sum(forms) + outcome.size + (self._pager() if self.libraries(chosen) else 0)

    def _unknown(self, chosen: Fit) -> list[Wanted]:
        """Returns which shared objects of a choice have to be packed to know more: large ones one after another."""
        new = [one for one in self.libraries(chosen) if one not in self.packer.results]
        return new[:1] if new and self.room.staged[new[0].path].size >= LARGE else new

    def _as_wanted(self, path: str, form: FormName, degree: int) -> Wanted:
        return Wanted(
            path=path,
            hot=self._touched(path).degrees[degree].runs if form == "warm" else (),
            block_size=prices.DENSE if form == "dense" else None,
        )

    def _touched(self, path: str) -> Touched:
        """Returns what is known of the code of a shared object that a start touches."""
        if path not in self.touched:
            seen = bool(self.used.touched)
            pages = self.used.touched.get(path, ()) if seen else self.packer.told(path).run_by_loaders
            self.touched[path] = Touched(
                pages=pages,
                seen=seen,
                degrees=degrees(
                    pages,
                    block=block_size_of(self.room.staged[path].size),
                    page=LARGEST_PAGES[EM_AARCH64 if self.room.target.machine == "aarch64" else EM_X86_64],
                ),
            )
        return self.touched[path]

    def _module(self, path: str) -> tuple[Form, ...]:
        code = self.made.pycs.get(path)
        share = self.used.module(path)
        allowed: tuple[FormName, ...] = ("plain", "compiled", "raw", "hot", "cold")
        if self.packing == "all" and path in self.modules:
            allowed = ("hot",) if share >= _NEEDED else ("cold",)
        elif self.wanted in {"all", "hot"} and code is not None:
            allowed = allowed[1:]
        return prices.module(
            source=self.room.staged[path].size,
            code=None if code is None else len(code),
            packable=self.modules.get(path),
            share=share,
            ratios=self.ratios,
            allowed=allowed,
        )

    def _library(self, one: Staged, *, dense: bool) -> tuple[Form, ...]:
        if self.packing == "never":
            return prices.as_it_is(one.size)
        touched = self._touched(one.path)
        forms: list[tuple[FormName, int]] = [("warm", number) for number in range(len(touched.degrees))]
        forms += (("packed", 0), ("dense", 0))
        tried = {form: self.packer.results.get(self._as_wanted(one.path, *form)) for form in forms}
        return prices.library(
            size=one.size,
            estimate=self.packer.told(one.path).expected_size,
            results={form: (result.size, result.facts) for form, result in tried.items() if result},
            share=self.used.library(one.path),
            touched=touched,
            allowed=(
                *(("plain",) if self.packing == "auto" else ()),
                *LIBRARY_FORMS[: None if dense else -1],
            ),
        )

    def _packed(self, chosen: Fit) -> Outcome:
        modules = [
            replace(self.modules[path], tier=TIERS[name])
            for path in self.sources
            if (name := chosen.forms[path].name) in TIERS
        ]
        if not modules:
            return Outcome()
        with self.progress.phase("packing modules"):
            return pack(
                self.room.staged,
                modules,
                bytecode=self.made,
                python=self.room.target.python,
                jobs=self.jobs,
            )


def _packs(chosen: Fit) -> bool:
    return any(form.name not in {"plain", "compiled"} for form in chosen.forms.values())


def _settled(
    work: _Work, chosen: Fit, outcome: Outcome, left: Mapping[str, str], libraries: Libraries
) -> Settled:
    """Returns what was settled, in the words of the account."""
    room, made = work.room, work.made
    compiled = [path for path in work.sources if chosen.forms[path].name == "compiled"]
    notes = {path: f"not packed: {why}" for path, why in left.items()} if outcome.packed else {}
    notes |= {path: f"no bytecode: {why}" for path, why in made.skipped.items()}
    found = [findings.NOT_PACKED.at(path, why) for path, why in libraries.refused.items()]
    found += (findings.NOT_PRUNED.at(path, why) for path, why in libraries.unpruned.items())
    if made.unavailable is not None:
        found.append(findings.NO_BYTECODE.at(room.target.runtime, made.unavailable))
    elif made.pycs and not compiled and not outcome.packed:
        found.append(
            findings.NO_BYTECODE.at(
                "bytecode",
                "there is no room for it below the limit",
                fix="Make room, or let modules be packed: --pack auto.",
            )
        )
    return Settled(
        staged={**room.staged, **libraries.staged, **outcome.packed},
        additions=(*outcome.additions, *(_pyc(room, made, path) for path in compiled), *libraries.additions),
        notes=notes,
        findings=tuple(found),
        bytecode=_record(work, chosen, outcome) if compiled or outcome.packed else None,
        fit=_account(work, chosen),
    )


def _pyc(room: Room, made: Bytecode, path: str) -> Addition:
    return Addition(
        path=place(path, room.target.python),
        rule=RULE,
        reason=f"It is the bytecode of {path} by {made.compiler}.",
        content=made.pycs[path],
        owner=room.owners[path],
    )


def _record(work: _Work, chosen: Fit, outcome: Outcome) -> BytecodeRecord:
    if work.packing == "all" and outcome.packed:
        reason = "all is to be packed"
    elif not chosen.fits:
        reason = "it is the smallest there is, and the bundle is over its limit"
    elif outcome.packed or _packs(chosen):
        reason = f"this is what starts soonest below the limit, judged by {work.used.source}"
    else:
        reason = "it fits beside the sources"
    return BytecodeRecord(
        compiler=work.made.compiler or "", lies="packed" if outcome.packed else "beside", reason=reason
    )


def _account(work: _Work, chosen: Fit) -> FitRecord | None:
    """Returns how the forms were chosen: what each costs more than the smallest, and what it saves."""
    choices = []
    dense = any(form.name == "dense" for form in chosen.forms.values())
    for part in work.parts(dense=dense):
        if len(part.forms) > 1:
            form = chosen.forms[part.path]
            smallest = min(part.forms, key=lambda one: (one.size, one.cost))
            choices.append(
                ChoiceRecord(
                    path=work.room.target.prefix + part.path,
                    form=form.name,
                    price=form.size - smallest.size,
                    worth=round(smallest.cost - form.cost, 3),
                )
            )
    if not choices:
        return None
    return FitRecord(
        usage=work.used.source,
        room=work.room.target.room,
        milliseconds=round(chosen.cost, 1),
        choices=tuple(sorted(choices, key=lambda one: one.path)),
    )

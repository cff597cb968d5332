"""Packing: shared objects of the sandbox are packed beside themselves, and take their places if that is chosen."""

from __future__ import annotations

import hashlib
import mmap
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal, Self

from slimpack import ties, workers
from slimpack.elf.inspect import examine
from slimpack.elf.layout import ElfError
from slimpack.elf.pack import NoGainError, expected_size, pack
from slimpack.elf.packed import PAGER
from slimpack.elf.prune import Pruning, prune
from slimpack.elf.start import run_by_loaders
from slimpack.elf.symbols import exchange
from slimpack.elf.unpack import unpack
from slimpack.model import Addition, PackedFile
from slimpack.output import writing

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from slimpack.model import ElfFacts, Staged, Target
    from slimpack.ties import Ties

Pack = Literal["auto", "never", "all"]
"""Whether shared objects are packed: as far as the bundle would not fit otherwise, not at all, or all of them."""

FOLDER = "slimpack.libs"
"""Folder of the installed tree that the pager is in."""

_SMALLEST = 64 * 1024
"""Bytes; what is smaller is not packed."""

LARGE = 32 * 2**20
"""Bytes from which the blocks of a file are compressed side by side, and not the file beside others."""

_SECONDS = 3600
"""After this long a task counts as hung; the largest known library takes a minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A shared object, and how it is to be packed."""

    path: str
    """Place in the installed tree."""
    hot: tuple[tuple[int, int], ...] = ()
    """Runs of addresses, ends excluded, that stay as they are."""
    block_size: int | None = None
    """Bytes of a block that is loaded on touch; None for what suits the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """A file to pack."""

    wanted: Wanted
    """Which one, and how."""
    place: Path
    """Where it lies."""
    new: Path
    """Where the outcome is to lie."""
    size: int
    """Bytes."""
    jobs: int
    """Blocks that are compressed at a time."""
    ties: Ties | None
    """What of it others need; None if its exports are to stay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """What became of a file."""

    size: int
    """Bytes as written."""
    sha256: str = ""
    """Hash of it, hexadecimal."""
    facts: PackedFile | None = None
    """What was done; None if it is as it was."""
    elf: ElfFacts | None = None
    """What it says of itself since then; None if it is as it was."""
    refused: str | None = None
    """Why it could not be packed; None if it was, or was not worth it."""
    unpruned: str | None = None
    """Why its exports stay; None if that was not tried or did no harm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a file tells before it is packed."""

    expected_size: int
    """Bytes that it is expected to have then, judged by some of it."""
    run_by_loaders: tuple[int, ...] = ()
    """Addresses of the pages of its code that loaders run, ascending, as far as it tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What packing has done."""

    staged: Mapping[str, Staged]
    """What is packed, as it is now, by path."""
    refused: Mapping[str, str]
    """Why files could not be packed, by path."""
    unpruned: Mapping[str, str]
    """Why files could not be pruned, by path."""
    additions: tuple[Addition, ...]
    """The pager, if anything is packed."""


class Packer:
    """Packs shared objects of a sandbox beside themselves, so that it can be seen what that brings before it is done.

    Each outcome is checked before it is told: loaders have to take it, and unpacked it has to be the file that it was
    made from.
    """

    def __init__(
        self,
        staged: Mapping[str, Staged],
        *,
        root: Path,
        target: Target,
        others: Mapping[str, Path],
        kept: Collection[str],
        prune: bool,
        jobs: int,
    ) -> None:
        """Notes what there is.

        Args:
            staged: What is in the sandbox.
            root: Folder of the sandbox that the installed tree is in.
            target: Where the bundle will run.
            others: What else the bundle has, and where it lies, by any names.
            kept: Paths that are to stay as they are.
            prune: Whether exports go that nobody in the sandbox needs.
            jobs: Worker processes.
        """
        self._staged, self._root, self._target, self._others = staged, root, target, others
        self._prune, self._jobs = prune, jobs
        self._ties: Mapping[str, Ties] | None = None
        self._lost_ties = False
        self._numbers: dict[Wanted, int] = {}
        self._told: dict[str, Told] = {}
        self.candidates = tuple(
            one
            for one in sorted(staged.values(), key=lambda one: (-one.size, one.path))
            if one.size >= _SMALLEST and one.path not in kept and _is_library(one, target)
        )
        """What can be packed, as far as that is known: the largest first."""
        self.results: dict[Wanted, Packed] = {}
        """What came of packing so far."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for wanted in self._numbers:
            self._new(wanted).unlink(missing_ok=True)

    def told(self, path: str) -> Told:
        """Returns what a candidate tells of itself; all of them are asked at once, side by side.

        Raises:
            OutputError: The sandbox cannot be read.
        """
        if not self._told:
            places = {self._root / one.path: one for one in self.candidates}
            with writing(self._root):
                for place, told in workers.run(_told, places, jobs=self._jobs, timeout_seconds=_SECONDS):
                    one = places[place]
                    if isinstance(told, workers.Crashed):
                        told = Told(expected_size=one.size)  # noqa: PLW2901 -- it tells nothing
                    self._told[one.path] = told
        return self._told[path]

    def pack(self, wanted: Sequence[Wanted], progress: Callable[[int, int], None]) -> None:
        """Packs files, large ones one by one, block beside block, and then small ones side by side.

        Args:
            wanted: Candidates, and how.
            progress: Called with the bytes that are done and those of all that are wanted.

        Raises:
            OutputError: The sandbox cannot be written.
        """
        if self._prune and self._ties is None and not self._lost_ties:
            self._ties = ties.find({path: self._root / path for path in self._staged} | dict(self._others))
            self._lost_ties = self._ties is None
        for one in wanted:
            self._numbers.setdefault(one, len(self._numbers))
        tasks = [self._task(one) for one in wanted]
        total, done = sum(task.size for task in tasks), 0
        large, small = [task for task in tasks if task.jobs > 1], [task for task in tasks if task.jobs == 1]
        for some, jobs in ((large, 1), (small, self._jobs)):
            for task, result in workers.run(_pack, some, jobs=jobs, timeout_seconds=_SECONDS):
                done += task.size
                progress(done, total)
                self.results[task.wanted] = self._result(task, result)

    def take(self, chosen: Collection[Wanted]) -> Outcome:
        """Puts what was packed into the places of the files that it was made from.

        Args:
            chosen: Which of what was packed.

        Raises:
            OutputError: The sandbox cannot be written.
        """
        after: dict[str, Staged] = {}
        for one in chosen:
            result = self.results[one]
            if result.facts is not None:
                with writing(self._root):
                    self._new(one).replace(self._root / one.path)
                after[one.path] = replace(
                    self._staged[one.path],
                    size=result.size,
                    sha256=result.sha256,
                    packed=result.facts,
                    elf=result.elf,
                )
        in_order = sorted(self.results.items(), key=lambda item: item[0] in chosen)  # what was chosen counts
        tried = {one.path: result for one, result in in_order if one in chosen or result.refused}
        return Outcome(
            staged=after,
            refused={
                path: one.refused for path, one in sorted(tried.items()) if one.refused and path not in after
            },
            unpruned={path: one.unpruned for path, one in sorted(tried.items()) if one.unpruned},
            additions=(pager(self._target),) if after else (),
        )

    def _new(self, wanted: Wanted) -> Path:
        """Returns where a file is written before it takes its place."""
        place = self._root / wanted.path
        return place.with_name(f".{place.name}.packed{self._numbers[wanted]}")

    def _task(self, wanted: Wanted) -> _Task:
        size = self._staged[wanted.path].size
        return _Task(
            wanted=wanted,
            place=self._root / wanted.path,
            new=self._new(wanted),
            size=size,
            jobs=self._jobs if size >= LARGE else 1,
            ties=self._ties.get(wanted.path) if self._ties else None,
        )

    def _result(self, task: _Task, result: Packed | workers.Crashed) -> Packed:
        if isinstance(result, workers.Crashed):
            return Packed(size=task.size, refused=f"the process that packed it died: {result.reason}")
        if self._lost_ties and result.facts is not None:
            return replace(result, unpruned="the process that looked for what needs it died")
        return result


def _is_library(one: Staged, target: Target) -> bool:
    facts = one.elf
    return (
        facts is not None
        and facts.type == "DYN"
        and facts.interpreter is None
        and facts.machine == target.machine
        and not one.problems
    )


def _told(place: Path) -> Told:
    """Returns what a file tells; runs in a worker process."""
    image = place.read_bytes()
    try:
        return Told(expected_size=expected_size(image), run_by_loaders=run_by_loaders(image))
    except ElfError:
        return Told(expected_size=len(image))


def _pack(task: _Task) -> Packed:
    """Packs one file; runs in a worker process."""
    depth = len(PurePosixPath(task.wanted.path).parts) - 1
    folder = "/".join(("$ORIGIN", *[".."] * depth, FOLDER))
    with writing(task.new), task.place.open("rb") as file:
        try:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as image:
                return _checked(task, image, folder)
        except NoGainError:
            return Packed(size=task.size)
        except ElfError as problem:
            task.new.unlink(missing_ok=True)
            return Packed(size=task.size, refused=problem.reason)


def _checked(task: _Task, image: mmap.mmap, folder: str) -> Packed:
    """Packs a file beside itself, if that is sound.

    Raises:
        ElfError: It cannot be packed.
    """
    pruning, unpruned = _pruned(bytes(image), task.ties)
    content = pruning.image
    packing = pack(
        content,
        pager_folder=folder,
        hot=task.wanted.hot,
        block_size=task.wanted.block_size,
        jobs=task.jobs,
        symbols=pruning.symbols,
        pruned=pruning.size,
    )
    digest = hashlib.sha256()
    with task.new.open("wb") as output:
        for chunk in packing.chunks:
            digest.update(chunk)
            output.write(chunk)
    facts, problems = examine(task.new, task.wanted.path)
    if problems:
        raise ElfError(f"packed, {problems[0]}")
    if unpack(task.new.read_bytes()) != content:
        raise ElfError("packed, it would differ")
    task.new.chmod(task.place.stat().st_mode & 0o777)
    return Packed(
        size=packing.size,
        sha256=digest.hexdigest(),
        facts=PackedFile(
            size_before=task.size,
            stored=packing.stored,
            loaded=sum(one.size for one in packing.ranges),
            pruned=pruning.size,
            symbols=pruning.symbols,
        ),
        elf=facts,
        unpruned=unpruned,
    )


def _pruned(content: bytes, tied: Ties | None) -> tuple[Pruning, str | None]:
    """Returns a file without the exports that nobody needs, or as it was and why."""
    unchanged = Pruning(image=content, symbols=0, size=0)
    if tied is None:
        return unchanged, None
    try:
        pruning = prune(content, needed=tied.needed, eager=tied.eager)
        before, after = exchange(content), exchange(pruning.image)
    except ElfError as problem:
        return unchanged, problem.reason
    lost = (before.offered & tied.needed) - after.offered
    if lost or replace(after, offered=before.offered) != before:
        return unchanged, "pruned, it would offer or want something else"
    return pruning, None


def pager(target: Target) -> Addition:
    """Returns what a bundle needs that has packed files."""
    name = f"libslimpager-{target.machine}.so.1"
    content = resources.files("slimpack").joinpath("pager", name).read_bytes()
    return Addition(
        path=f"{FOLDER}/{PAGER}",
        rule="pack",
        reason="It loads the packed parts of shared objects when they are touched.",
        content=content,
    )

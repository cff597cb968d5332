"""Packing: shared objects of the sandbox are packed, as many as are wanted, largest first."""

from __future__ import annotations

import hashlib
import mmap
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from slimpack import ties, workers
from slimpack.elf.inspect import layout_problems
from slimpack.elf.layout import ElfError
from slimpack.elf.pack import NoGainError, pack
from slimpack.elf.packed import PAGER
from slimpack.elf.prune import Pruning, prune
from slimpack.elf.symbols import exchange
from slimpack.elf.unpack import unpack
from slimpack.model import Addition, PackedFile
from slimpack.output import writing

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from slimpack.model import Staged, Target
    from slimpack.ties import Ties

Pack = Literal["auto", "never", "all"]
"""Whether shared objects are packed: as far as the bundle would not fit otherwise, not at all, or all of them."""

FOLDER = "slimpack.libs"
"""Folder of the installed tree that the pager is in."""

_SMALLEST = 64 * 1024
"""Bytes; what is smaller is not packed."""

_LARGE = 32 * 2**20
"""Bytes from which the blocks of a file are compressed side by side, and not the file beside others."""

_SECONDS = 3600
"""After this long a task counts as hung; the largest known library takes a minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """A file to pack."""

    path: str
    """Place in the installed tree."""
    place: Path
    """Where it lies."""
    size: int
    """Bytes."""
    jobs: int
    """Blocks that are compressed at a time."""
    ties: Ties | None
    """What of it others need; None if its exports are to stay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Packed:
    """What became of a file."""

    size: int
    """Bytes as written."""
    sha256: str = ""
    """Hash of it, hexadecimal."""
    facts: PackedFile | None = None
    """What was done; None if it is as it was."""
    refused: str | None = None
    """Why it could not be packed; None if it was, or was not worth it."""
    unpruned: str | None = None
    """Why its exports stay; None if that was not tried or did no harm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What packing has done."""

    staged: Mapping[str, Staged]
    """All files, those that were packed with their new sizes."""
    refused: Mapping[str, str]
    """Why files could not be packed, by path."""
    unpruned: Mapping[str, str]
    """Why files could not be pruned, by path."""
    additions: tuple[Addition, ...]
    """The pager, if anything was packed."""


def pack_all(
    staged: Mapping[str, Staged],
    *,
    root: Path,
    target: Target,
    others: Mapping[str, Path],
    kept: Collection[str],
    prune: bool,
    needed: int | None,
    jobs: int,
    progress: Callable[[int, int], None],
) -> Outcome:
    """Packs shared objects in place, the largest first, until as much is saved as is needed.

    Each outcome is checked before it takes the place of a file: loaders have to take it, and unpacked it has to be the
    file that it was made from.

    Args:
        staged: What is in the sandbox.
        root: Folder of the sandbox that the installed tree is in.
        target: Where the bundle will run.
        others: What else the bundle has, and where it lies, by any names.
        kept: Paths that are to stay as they are.
        prune: Whether exports go that nobody in the sandbox needs.
        needed: Bytes to save; None for as many as can be.
        jobs: Worker processes.
        progress: Called with the bytes that are done and those of all candidates.

    Raises:
        OutputError: The sandbox cannot be written.
    """
    tied: Mapping[str, Ties] | None = {}
    if prune:
        tied = ties.find({path: root / path for path in staged} | dict(others))
    waiting = [
        _Task(
            path=one.path,
            place=root / one.path,
            size=one.size,
            jobs=jobs if one.size >= _LARGE else 1,
            ties=None if tied is None else tied.get(one.path),
        )
        for one in sorted(staged.values(), key=lambda one: (-one.size, one.path))
        if one.size >= _SMALLEST and one.path not in kept and _is_library(one, target)
    ]
    total, done, saved = sum(task.size for task in waiting), 0, 0
    after, refused, unpruned = dict(staged), dict[str, str](), dict[str, str]()
    while waiting and (needed is None or saved < needed):
        batch = _certain(waiting, None if needed is None else needed - saved)
        del waiting[: len(batch)]
        for task, result in _packed(batch, jobs):
            done += task.size
            progress(done, total)
            if isinstance(result, workers.Crashed):
                refused[task.path] = f"the process that packed it died: {result.reason}"
                _new(task).unlink(missing_ok=True)
                continue
            if tied is None:
                result = replace(result, unpruned="the process that looked for what needs it died")  # noqa: PLW2901
            if result.refused is not None:
                refused[task.path] = result.refused
            if result.unpruned is not None:
                unpruned[task.path] = result.unpruned
            if result.facts is not None:
                saved += task.size - result.size
                after[task.path] = replace(
                    staged[task.path], size=result.size, sha256=result.sha256, packed=result.facts
                )
    return Outcome(
        staged=after,
        refused=dict(sorted(refused.items())),
        unpruned=dict(sorted(unpruned.items())),
        additions=(pager(target),) if saved else (),
    )


def _is_library(one: Staged, target: Target) -> bool:
    facts = one.elf
    return (
        facts is not None
        and facts.type == "DYN"
        and facts.interpreter is None
        and facts.machine == target.machine
        and not one.problems
    )


def _certain(waiting: Sequence[_Task], needed: int | None) -> list[_Task]:
    """Returns the first files that are all needed, however small they become: the same ones on any machine.

    Args:
        waiting: Files, the largest first.
        needed: Bytes to save; None for all that can be.
    """
    if needed is None:
        return list(waiting)
    batch: list[_Task] = []
    for task in waiting:
        if sum(one.size for one in batch) >= needed:
            break
        batch.append(task)
    return batch


def _packed(batch: Sequence[_Task], jobs: int) -> Iterator[tuple[_Task, _Packed | workers.Crashed]]:
    """Packs files: large ones one by one, block beside block, and then small ones side by side."""
    large, small = [task for task in batch if task.jobs > 1], [task for task in batch if task.jobs == 1]
    yield from workers.run(_pack, large, jobs=1, timeout_seconds=_SECONDS)
    yield from workers.run(_pack, small, jobs=jobs, timeout_seconds=_SECONDS)


def _pack(task: _Task) -> _Packed:
    """Packs one file; runs in a worker process."""
    depth = len(PurePosixPath(task.path).parts) - 1
    folder = "/".join(("$ORIGIN", *[".."] * depth, FOLDER))
    new = _new(task)
    with writing(new), task.place.open("rb") as file:
        try:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as image:
                return _checked(task, image, new, folder)
        except NoGainError:
            return _Packed(size=task.size)
        except ElfError as problem:
            return _Packed(size=task.size, refused=problem.reason)
        finally:
            new.unlink(missing_ok=True)


def _new(task: _Task) -> Path:
    """Returns where a file is written before it takes its place."""
    return task.place.with_name(f".{task.place.name}.packed")


def _checked(task: _Task, image: mmap.mmap, new: Path, folder: str) -> _Packed:
    """Packs a file beside itself, and puts the outcome in its place if that is sound.

    Raises:
        ElfError: It cannot be packed.
    """
    pruning, unpruned = _pruned(bytes(image), task.ties)
    content = pruning.image
    packing = pack(content, pager_folder=folder, jobs=task.jobs, symbols=pruning.symbols, pruned=pruning.size)
    digest = hashlib.sha256()
    with new.open("wb") as output:
        for chunk in packing.chunks:
            digest.update(chunk)
            output.write(chunk)
    if problems := layout_problems(new):
        raise ElfError(f"packed, {problems[0]}")
    if unpack(new.read_bytes()) != content:
        raise ElfError("packed, it would differ")
    new.chmod(task.place.stat().st_mode & 0o777)
    new.replace(task.place)
    return _Packed(
        size=packing.size,
        sha256=digest.hexdigest(),
        facts=PackedFile(
            size_before=task.size,
            stored=packing.stored,
            loaded=sum(one.size for one in packing.ranges),
            pruned=pruning.size,
            symbols=pruning.symbols,
        ),
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

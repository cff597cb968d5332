"""Assembling: kept files go from wheels and source into the sandbox, read and compacted on the way."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from slimpack import references, workers
from slimpack.elf.layout import is_elf
from slimpack.errors import SourceError
from slimpack.model import Staged
from slimpack.output import writing
from slimpack.wheel import Limits, Wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from slimpack.model import Addition, InventoryFile, Reference

_BATCH_BYTES = 16 * 2**20
"""Bytes of small files that one task takes, so that tasks are neither many nor long."""

_BATCH_FILES = 400
"""Files that one task takes at most."""

_SECONDS = 600
"""After this long a task counts as hung; the largest known library takes ten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """Files of one wheel, or of the source folder, for one worker."""

    origin: Path
    """The wheel, or the source folder."""
    limits: Limits | None
    """Limits of the wheel; None for the source folder."""
    files: tuple[InventoryFile, ...]
    """What to take from it."""
    root: Path
    """Folder of the sandbox that the installed tree goes to."""
    needles: references.Needles
    """What to look for in Python files."""
    compact: bool
    """Whether ELF files are compacted."""
    clear: Mapping[str, tuple[str, ...]]
    """Names of the ELF sections to clear, by path of the file."""
    examine: bool = True
    """Whether ELF files are parsed; False once a parser crashed on this one."""


def assemble(
    files: Iterable[InventoryFile],
    *,
    wheels: Mapping[str, Path],
    source: Path | None,
    limits: Limits,
    root: Path,
    needles: references.Needles,
    compact: bool,
    clear: Mapping[str, tuple[str, ...]],
    jobs: int,
    progress: Callable[[int, int], None],
    examine: bool = True,
) -> dict[str, Staged]:
    """Writes files into the sandbox and returns what was learnt of each, by path.

    Args:
        files: What to write.
        wheels: Wheel files by canonical distribution name.
        source: The app's own folder.
        limits: What a wheel may be.
        root: Folder of the sandbox that the installed tree goes to.
        needles: What to look for in Python files.
        compact: Whether ELF files are compacted.
        clear: Names of the ELF sections to clear when they are compacted, by path of the file.
        jobs: Worker processes.
        progress: Called with the bytes that are done and those of all files.
        examine: Whether ELF and Python files are read; otherwise they are only written.

    Raises:
        WheelError: A wheel is damaged.
        SourceError: A file of the app cannot be read.
        OutputError: The sandbox cannot be written.
    """
    tasks = sorted(
        _tasks(
            files,
            wheels=wheels,
            source=source,
            limits=limits,
            root=root,
            needles=needles,
            compact=compact,
            clear=clear,
            examine=examine,
        ),
        key=lambda task: -sum(file.size for file in task.files),
    )
    total = sum(file.size for task in tasks for file in task.files)
    done = 0
    staged: dict[str, Staged] = {}
    again: list[_Task] = []
    for task, result in workers.run(_stage, tasks, jobs=jobs, timeout_seconds=_SECONDS):
        if isinstance(result, workers.Crashed):
            again += [
                replace(task, files=(file,), examine=task.examine and len(task.files) > 1)
                for file in task.files
            ]
            continue
        staged |= {one.path: one for one in result}
        done += sum(file.size for file in task.files)
        progress(done, total)
    for task, result in workers.run(_stage, again, jobs=jobs, timeout_seconds=_SECONDS):
        if isinstance(result, workers.Crashed):
            result = _stage(replace(task, examine=False))  # noqa: PLW2901 -- the plain copy in place of the crash
        staged |= {one.path: one for one in result}
    return dict(sorted(staged.items()))


def install(
    files: Iterable[InventoryFile],
    *,
    wheels: Mapping[str, Path],
    source: Path | None,
    limits: Limits,
    root: Path,
    jobs: int,
    progress: Callable[[int, int], None],
) -> None:
    """Writes files as a plain install would have them; nothing is compacted, nothing is read.

    Args:
        files: What to write.
        wheels: Wheel files by canonical distribution name.
        source: The app's own folder.
        limits: What a wheel may be.
        root: Folder that they go to.
        jobs: Worker processes.
        progress: Called with the bytes that are done and those of all files.

    Raises:
        WheelError: A wheel is damaged.
        SourceError: A file of the app cannot be read.
        OutputError: The folder cannot be written.
    """
    assemble(
        files,
        wheels=wheels,
        source=source,
        limits=limits,
        root=root,
        needles=references.Needles(),
        compact=False,
        clear={},
        examine=False,
        jobs=jobs,
        progress=progress,
    )


def add(addition: Addition, *, place: Path, root: Path) -> tuple[int, str]:
    """Writes a file that no wheel brings; returns its bytes and its hash.

    Args:
        addition: The file.
        place: Where it goes.
        root: Folder of the sandbox that the installed tree went to.
    """
    with writing(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        if addition.copy_of is not None:
            shutil.copyfile(root / addition.copy_of, place)
            place.chmod(0o755)
            content = place.read_bytes()
        else:
            content = addition.content or b""
            place.write_bytes(content)
            place.chmod(0o644)
    return len(content), hashlib.sha256(content).hexdigest()


def _tasks(
    files: Iterable[InventoryFile],
    *,
    wheels: Mapping[str, Path],
    source: Path | None,
    limits: Limits,
    root: Path,
    needles: references.Needles,
    compact: bool,
    clear: Mapping[str, tuple[str, ...]],
    examine: bool,
) -> Iterator[_Task]:
    by_owner: dict[str, list[InventoryFile]] = {}
    for file in files:
        by_owner.setdefault(file.owner, []).append(file)
    for owner, owned in by_owner.items():
        wheel = wheels.get(owner)
        for batch in _batches(owned):
            yield _Task(
                origin=wheel or source or Path(),
                limits=limits if wheel else None,
                files=tuple(batch),
                root=root,
                needles=needles,
                compact=compact,
                clear={file.path: clear[file.path] for file in batch if file.path in clear},
                examine=examine,
            )


def _batches(files: Sequence[InventoryFile]) -> Iterator[list[InventoryFile]]:
    """Yields groups of files; what may be ELF stands alone, for it is what a parser can crash on."""
    batch: list[InventoryFile] = []
    size = 0
    for file in files:
        if ".so" in file.path.rpartition("/")[2] or file.size > _BATCH_BYTES:
            yield [file]
            continue
        if batch and (len(batch) == _BATCH_FILES or size + file.size > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(file)
        size += file.size
    if batch:
        yield batch


@lru_cache(maxsize=64)
def _open(path: Path, limits: Limits) -> Wheel:
    """Keeps the wheels of a worker open: tasks go by size, and reading RECORD for each would cost too much."""
    return Wheel.open(path, limits)


def _stage(task: _Task) -> list[Staged]:
    """Writes the files of one task; runs in a worker process."""
    if task.limits is not None:
        wheel = _open(task.origin, task.limits)
        return [_write(file, partial(wheel.read, file), task) for file in task.files]
    return [_write(file, partial(_source_bytes, task.origin / file.entry), task) for file in task.files]


def _source_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as problem:
        raise SourceError(
            f"cannot be read: {problem.strerror}",
            where=str(path),
            fix="Make it readable, or list it in .slimpackignore.",
        ) from problem


def _write(file: InventoryFile, read: Callable[[], bytes], task: _Task) -> Staged:
    place = task.root / file.path
    held = [read()]
    with writing(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        if task.examine and is_elf(held[0][:64]):
            found = references.read_elf(held[0], path=file.path, needles=task.needles)
            # The content is let go when it was written, and read again only if the result fails its check.
            staged = _write_elf(file, lambda: held.pop() if held else read(), place, task)
            staged = replace(staged, references=found)
        else:
            staged = _write_other(file, held[0], place, task)
        place.chmod(0o755 if file.executable else 0o644)
    return staged


def _write_elf(file: InventoryFile, content: Callable[[], bytes], place: Path, task: _Task) -> Staged:
    from slimpack.elf.inspect import treat  # LIEF takes long to load, and many builds come from the cache

    treated = treat(content, file.path, place, compact=task.compact, clear=task.clear.get(file.path, ()))
    return Staged(
        path=file.path,
        size=treated.size,
        sha256=treated.sha256,
        compacted=bool(treated.dropped),
        cleared=treated.cleared,
        left_as_it_was=treated.left_as_it_was,
        problems=treated.problems,
        elf=treated.facts,
    )


def _write_other(file: InventoryFile, content: bytes, place: Path, task: _Task) -> Staged:
    place.write_bytes(content)
    found: tuple[Reference, ...] = ()
    if file.path.endswith((".py", ".pyi")):
        found = references.read(content, path=file.path, needles=task.needles, parse=task.examine)
    return Staged(
        path=file.path,
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        compacted=False,
        left_as_it_was=None if task.examine else "reading it crashed a worker",
        references=found,
    )

"""Static: what can be told of a bundle without running anything of it."""

from __future__ import annotations

import hashlib
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from slimpack import findings, workers
from slimpack.elf import closure
from slimpack.elf.layout import ElfError, is_elf
from slimpack.ledger import by_severity
from slimpack.rules import patterns
from slimpack.verify import handler as handlers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from slimpack.manifest import FileRecord, Manifest
    from slimpack.model import Addition, ElfFacts, Finding, Target
    from slimpack.rules import RuleBook

_SECONDS = 120
"""After this long, reading an ELF file counts as hung; the largest known library takes five."""

_HEAD = 64
"""Bytes that tell an ELF file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Static:
    """What was found in a bundle's files."""

    findings: tuple[Finding, ...]
    """What is wrong with them or worth knowing, errors first."""
    lost: tuple[str, ...]
    """What the manifest lists and the bundle does not have, by place in the bundle, sorted."""


def check(
    tree: Path, target: Target, *, handler: str, manifest: Manifest | None, book: RuleBook, jobs: int
) -> Static:
    """Checks a bundle's files: its handler, their modes, what its libraries need, and whether they are as built.

    Args:
        tree: The bundle's files, with the rights that they would have on Lambda.
        target: Where it will run.
        handler: As in the function's configuration.
        manifest: Its account, if there is one.
        book: Tells which libraries packages can do without.
        jobs: Worker processes.
    """
    files = _files(tree)
    lost = _lost(files, manifest)
    readable = {path: place for path, place in files.items() if os.access(place, os.R_OK)}
    found = [
        *_handler(handler, readable, target),
        *_unreadable(files),
        *_libraries(readable, target, book, jobs),
        *(
            findings.NOT_AS_BUILT.at(path, "its manifest lists it, and the bundle does not have it")
            for path in lost
        ),
        *_changed(readable, manifest),
    ]
    return Static(findings=by_severity(found), lost=lost)


def _files(tree: Path) -> dict[str, Path]:
    """Returns the bundle's files by place in it, sorted."""
    places = (Path(root, name) for root, _, names in os.walk(tree) for name in names)
    return {
        place.relative_to(tree).as_posix(): place
        for place in sorted(places)
        if os.access(place, os.F_OK) and place.is_file()
    }


def _handler(handler: str, files: Mapping[str, Path], target: Target) -> Iterable[Finding]:
    below = {
        path.removeprefix(target.prefix): place
        for path, place in files.items()
        if path.startswith(target.prefix)
    }
    return handlers.check(handler, below, lambda path: below[path].read_bytes())


def _unreadable(files: Mapping[str, Path]) -> Iterator[Finding]:
    """Yields a finding for each file that only its owner may read: on Lambda, somebody else runs the function."""
    for path, place in files.items():
        if not place.stat().st_mode & stat.S_IROTH:
            yield findings.UNREADABLE.at(
                path, "only its owner may read it, and the function is somebody else"
            )


def _libraries(files: Mapping[str, Path], target: Target, book: RuleBook, jobs: int) -> Iterator[Finding]:
    """Reads all ELF files in processes of their own, and checks that what they need is there."""
    facts: list[ElfFacts] = []
    elf = [(path, place) for path, place in files.items() if is_elf(_head(place))]
    for (path, _), result in workers.run(_facts, elf, jobs=jobs, timeout_seconds=_SECONDS):
        if isinstance(result, workers.Crashed):
            yield findings.NOT_CHECKED.at(path, f"reading it ended with {result.reason}")
        elif isinstance(result, str):
            yield findings.NOT_CHECKED.at(path, result)
        else:
            facts.append(result)
    # places in the bundle, not in the installed tree: a layer's lib/ lies beside its python/
    closed = closure.check(
        facts,
        replace(target, prefix=""),
        files=files,
        optional=_optional([one.path for one in facts], target, book),
    )
    yield from closed.findings
    for repair in closed.repairs:
        yield _misplaced(repair, target)


def _head(place: Path) -> bytes:
    with place.open("rb") as file:
        return file.read(_HEAD)


def _facts(task: tuple[str, Path]) -> ElfFacts | str:
    """Returns what an ELF file says of itself, or why nobody can tell; runs in a worker process."""
    from slimpack.elf.inspect import inspect

    path, place = task
    try:
        return inspect(place, path)
    except ElfError as problem:
        return problem.reason


def _optional(paths: Iterable[str], target: Target, book: RuleBook) -> dict[str, frozenset[str]]:
    """Returns by path the libraries that a file can do without, as keep rules state them."""
    known = [
        (patterns(rule.paths, where=rule.origin), frozenset(rule.optional_libraries))
        for rule in book.rules
        if rule.optional_libraries
    ]
    return {
        path: names
        for path in paths
        for pattern, names in known
        if pattern.match_file(path.removeprefix(target.prefix))
    }


def _misplaced(repair: Addition, target: Target) -> Finding:
    """Returns a finding about a library that the bundle has where the loader does not look."""
    name = repair.path.rpartition("/")[2]
    return findings.MISSING_LIBRARY.at(
        repair.copy_of or repair.path,
        f"this is {name}, and the loader of {target.system} does not find it here ({repair.reason})",
        f"Copy it to {repair.path}; `slimpack build` does.",
    )


def _lost(files: Mapping[str, Path], manifest: Manifest | None) -> tuple[str, ...]:
    return tuple(record.path for record in _written(manifest) if record.path not in files)


def _changed(files: Mapping[str, Path], manifest: Manifest | None) -> list[Finding]:
    """Returns a finding for each file whose content is not the one that was built."""
    records = [record for record in _written(manifest) if record.sha256 and record.path in files]

    def differs(record: FileRecord) -> bool:
        place = files[record.path]
        if place.stat().st_size != record.size_after:
            return True
        with place.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() != record.sha256

    with ThreadPoolExecutor(os.cpu_count()) as threads:  # hashing releases the interpreter's lock
        return [
            findings.NOT_AS_BUILT.at(record.path, "it has other content than its manifest says")
            for record, is_other in zip(records, threads.map(differs, records), strict=True)
            if is_other
        ]


def _written(manifest: Manifest | None) -> list[FileRecord]:
    return [] if manifest is None else [one for one in manifest.files if one.decision != "removed"]

"""The profile: what runs of a handler imported, opened, loaded and touched, as values and as JSON. Pure.

Nothing in it depends on where the bundle lay or when it ran. What is in the bundle has the hash of its content,
the one that the manifest has, so that a profile can be used for another build that has the same files.
"""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import Field, TypeAdapter

from slimpack import schema
from slimpack.errors import ProfileError
from slimpack.model import Architecture  # noqa: TC001 -- pydantic reads the annotation at run time

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

SCHEMA_VERSION = 1
"""Raised when a field changes its meaning or goes; a new field does not raise it."""

PAGE = 4096
"""Bytes of a page."""

Count = Annotated[int, Field(ge=0, lt=2**63)]
"""As many as a file system or a processor can count."""

Runs = Annotated[int, Field(ge=0, lt=2**31)]
"""A number of runs."""

Seconds = Annotated[float, Field(ge=0, lt=1e9, allow_inf_nan=False)]

Pages = tuple[Count, Count, Runs]
"""A range of pages: the first, how many there are, and in how many runs they were touched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """Runs that a profile comes from: the same handler over the same events, from a cold start each."""

    bundle: str
    """Hash over what the bundle has, hexadecimal: SHA-256 of lines ``<sha256>  <path>``, sorted by path."""
    handler: str
    """``module.function``."""
    events: tuple[str, ...]
    """Names of the events' files, in order."""
    times: Runs
    """How often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleRecord:
    """A module that was imported."""

    name: str
    """Its whole name."""
    file: str | None
    """Its file, relative to the bundle's root; None for what the runtime brings."""
    sha256: str | None
    """Hash of the file, hexadecimal."""
    init: Runs
    """Runs that imported it in init."""
    invoke: Runs
    """Runs that imported it with an event."""
    own: tuple[Seconds, ...]
    """What it took without what it imports in turn: seconds, of each of these runs."""
    whole: tuple[Seconds, ...]
    """What it took with that, likewise."""

    @property
    def own_seconds(self) -> float:
        """The median of ``own``."""
        return median(self.own or (0.0,))

    @property
    def whole_seconds(self) -> float:
        """The median of ``whole``."""
        return median(self.whole or (0.0,))


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """A file of the bundle that was opened, by Python or by native code."""

    path: str
    """Relative to the bundle's root."""
    sha256: str | None
    """Hash of its content, hexadecimal; None if it could not be read."""
    size: Count
    """Bytes."""
    init: Runs
    """Runs that opened it in init."""
    invoke: Runs
    """Runs that opened it with an event, and not before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentRecord:
    """A PT_LOAD segment that is not written to, and what was touched of it."""

    address: Count
    """``p_vaddr`` rounded down to a page: page 0 of the ranges begins here."""
    pages: Count
    """Pages that it has."""
    executable: bool
    """Whether it holds code."""
    init: tuple[Pages, ...]
    """Pages that were touched in init."""
    invoke: tuple[Pages, ...]
    """Pages that were touched with an event, and not before."""

    @property
    def touched(self) -> int:
        """Pages that were touched in any run."""
        return sum(length for _, length, _ in _overlay((*self.init, *self.invoke)))


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryRecord:
    """A shared object that was loaded."""

    path: str
    """Relative to the bundle's root; of one that is not the bundle's, its file's name."""
    sha256: str | None
    """Hash of its content, hexadecimal; None for one that is not the bundle's."""
    init: Runs
    """Runs that loaded it in init."""
    invoke: Runs
    """Runs that loaded it with an event."""
    segments: tuple[SegmentRecord, ...]
    """What was touched, by segment; empty if it could not be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotRecorded:
    """Something that a profile lacks."""

    what: str
    """What, in a word or two."""
    reason: str
    """Why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What runs of a handler used."""

    schema_version: int
    """``SCHEMA_VERSION`` of the writer."""
    slimpack: str
    """Version of slimpack that wrote it."""
    runtime: str
    """Lambda's identifier."""
    architecture: Architecture
    """The processor."""
    runs: tuple[RunRecord, ...]
    """Where it comes from."""
    modules: tuple[ModuleRecord, ...]
    """In the order in which imports began, of the first run that had them."""
    files: tuple[FileRecord, ...]
    """In the order in which they were opened first, likewise."""
    libraries: tuple[LibraryRecord, ...]
    """In the order in which they were loaded, likewise."""
    not_recorded: tuple[NotRecorded, ...]
    """What is missing."""

    @property
    def times(self) -> int:
        """Number of runs."""
        return sum(run.times for run in self.runs)


def merge(profiles: Sequence[Profile]) -> Profile:
    """Returns one profile of all runs: what any of them used, in how many it was seen, and all times.

    Args:
        profiles: At least one.

    Raises:
        ProfileError: They are of different runtimes or processors.
    """
    first = profiles[0]
    for other in profiles[1:]:
        if (other.runtime, other.architecture) != (first.runtime, first.architecture):
            raise ProfileError(
                f"profiles of {first.runtime} on {first.architecture} and of {other.runtime} on "
                f"{other.architecture} cannot be one",
                fix="Merge only profiles of the same runtime and processor.",
            )
    return dataclasses.replace(
        first,
        runs=_grouped(
            (run for one in profiles for run in one.runs),
            key=lambda run: (run.bundle, run.handler, run.events),
            join=lambda same: dataclasses.replace(same[0], times=sum(run.times for run in same)),
        ),
        modules=_grouped(
            (module for one in profiles for module in one.modules),
            key=lambda module: (module.name, module.file, module.sha256),
            join=lambda same: dataclasses.replace(
                same[0],
                **_seen(same),
                own=tuple(value for one in same for value in one.own),
                whole=tuple(value for one in same for value in one.whole),
            ),
        ),
        files=_grouped(
            (file for one in profiles for file in one.files),
            key=lambda file: (file.path, file.sha256),
            join=lambda same: dataclasses.replace(same[0], **_seen(same)),
        ),
        libraries=_grouped(
            (library for one in profiles for library in one.libraries),
            key=lambda library: (library.path, library.sha256),
            join=lambda same: dataclasses.replace(
                same[0],
                **_seen(same),
                segments=_segments(segment for one in same for segment in one.segments),
            ),
        ),
        not_recorded=tuple(dict.fromkeys(missing for one in profiles for missing in one.not_recorded)),
    )


def ranges(pages: Iterable[int]) -> tuple[Pages, ...]:
    """Returns pages that one run touched as ranges.

    Args:
        pages: Their numbers, ascending.
    """
    found: list[list[int]] = []
    for page in pages:
        if found and page == found[-1][0] + found[-1][1]:
            found[-1][1] += 1
        else:
            found.append([page, 1])
    return tuple((first, length, 1) for first, length in found)


def to_json(profile: Profile) -> str:
    """Returns a profile as JSON text: one line for each module, file and library."""
    lines = []
    for name, value in dataclasses.asdict(profile).items():
        text = _compact(value)
        if isinstance(value, tuple) and value:
            text = "[\n  " + ",\n  ".join(_compact(item) for item in value) + "\n ]"
        lines.append(f" {_compact(name)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def from_json(text: str | bytes, *, where: str) -> Profile:
    """Returns the profile that a JSON text holds.

    Args:
        text: UTF-8.
        where: The file, for messages.

    Raises:
        ProfileError: The text is no profile, or has a schema that this version does not know.
    """
    fix = "Give a profile that `slimpack trace` wrote."
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise ProfileError(f"no JSON: {problem}", where=where, fix=fix) from problem
    if not isinstance(data, dict) or not {"schema_version", "slimpack", "modules"} <= data.keys():
        raise ProfileError("no slimpack profile", where=where, fix=fix)
    if data["schema_version"] != SCHEMA_VERSION:
        raise ProfileError(
            f"profile of schema {data['schema_version']!r}, this slimpack knows {SCHEMA_VERSION}",
            where=where,
            fix="Trace the bundle again with this version of slimpack.",
        )
    profile = schema.read(Profile, data, where=where, error=ProfileError)
    for library in profile.libraries:
        for segment in library.segments:
            if any(first + length > segment.pages for first, length, _ in (*segment.init, *segment.invoke)):
                raise ProfileError(
                    f"{library.path} has touched pages beyond its segment", where=where, fix=fix
                )
    return profile


def json_schema() -> dict[str, Any]:
    """Returns the JSON Schema of profiles (draft 2020-12), as ``docs/profile.schema.json`` has it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **TypeAdapter(Profile).json_schema(mode="serialization"),
    }


Record = TypeVar("Record")


def _grouped(
    records: Iterable[Record], *, key: Callable[[Record], Hashable], join: Callable[[list[Record]], Record]
) -> tuple[Record, ...]:
    """Returns one record for each key, in the order in which the keys appear."""
    groups: dict[Hashable, list[Record]] = {}
    for record in records:
        groups.setdefault(key(record), []).append(record)
    return tuple(join(group) for group in groups.values())


def _seen(same: Sequence[ModuleRecord] | Sequence[FileRecord] | Sequence[LibraryRecord]) -> dict[str, Any]:
    return {"init": sum(one.init for one in same), "invoke": sum(one.invoke for one in same)}


def _segments(segments: Iterable[SegmentRecord]) -> tuple[SegmentRecord, ...]:
    return _grouped(
        segments,
        key=lambda segment: (segment.address, segment.pages, segment.executable),
        join=lambda same: dataclasses.replace(
            same[0],
            init=_overlay(pages for one in same for pages in one.init),
            invoke=_overlay(pages for one in same for pages in one.invoke),
        ),
    )


def _overlay(pages: Iterable[Pages]) -> tuple[Pages, ...]:
    """Returns ranges, which may overlap, as ranges that do not, their counts summed; ascending."""
    changes: dict[int, int] = defaultdict(int)
    for first, length, runs in pages:
        changes[first] += runs
        changes[first + length] -= runs
    found: list[Pages] = []
    begin = runs = 0
    for at in sorted(at for at, change in changes.items() if change):
        if runs:
            found.append((begin, at - begin, runs))
        begin, runs = at, runs + changes[at]
    return tuple(found)


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": "))

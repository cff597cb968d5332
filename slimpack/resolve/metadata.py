"""Metadata: which distributions need which on a target, from the wheels' own METADATA."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

from packaging.metadata import parse_email
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from slimpack.errors import WheelError
from slimpack.resolve.environment import holds

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from packaging.markers import Environment

_LARGEST = 16 * 1024 * 1024
"""Bytes of METADATA; the largest known ones have long readmes and stay below 1 MiB."""


def requirements_of(wheel: Path) -> tuple[Requirement, ...]:
    """Returns the Requires-Dist entries of a wheel (core metadata specification).

    Entries that are no requirements are left out, as the resolver has passed over them too.

    Raises:
        WheelError: The file is no wheel, or its METADATA cannot be read.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            place = next(name for name in archive.namelist() if _is_metadata(name))
            with archive.open(place) as file:
                content = file.read(_LARGEST + 1)
    except (
        StopIteration,
        OSError,
        zipfile.BadZipFile,
        RuntimeError,
        NotImplementedError,
        ValueError,
    ) as problem:
        raise WheelError(
            "the wheel's METADATA cannot be read",
            where=wheel.name,
            fix="Get the wheel anew, or report it broken.",
        ) from problem
    if len(content) > _LARGEST:
        raise WheelError(
            "the wheel's METADATA is too large", where=wheel.name, fix="Report the wheel as broken."
        )
    found = []
    for entry in parse_email(content)[0].get("requires_dist", ()):
        try:
            found.append(Requirement(entry))
        except InvalidRequirement:
            continue
    return tuple(found)


def needs(
    requirements: Mapping[str, Collection[Requirement]],
    extras: Mapping[str, Collection[str]],
    environment: Environment,
) -> dict[str, tuple[str, ...]]:
    """Returns which distributions of a set each one needs, by canonical name, sorted.

    Args:
        requirements: Requires-Dist entries of every distribution of the set.
        extras: Extras that the user asks for, by distribution.
        environment: Marker variables of the target.
    """
    active = {name: set(extras.get(name, ())) for name in requirements}
    found: dict[str, set[str]] = {name: set() for name in requirements}
    waiting = list(requirements)
    while waiting:  # again for each distribution that gets a further extra; extras only ever grow
        name = waiting.pop()
        for requirement in requirements[name]:
            other = canonicalize_name(requirement.name)
            applies = any(holds(requirement.marker, environment, extra) for extra in ("", *active[name]))
            if other not in requirements or not applies:
                continue
            if other != name:
                found[name].add(other)
            asked = {canonicalize_name(extra) for extra in requirement.extras}
            if not asked <= active[other]:
                active[other] |= asked
                waiting.append(other)
    return {name: tuple(sorted(others)) for name, others in found.items()}


def _is_metadata(name: str) -> bool:
    folder, _, file = name.partition("/")
    return file == "METADATA" and folder.endswith(".dist-info")

"""Wheels for the target: requirements or a lock in, a lock and checked files out."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from slimpack import redact
from slimpack.resolve import fetch, indexes, lock, metadata, pip
from slimpack.resolve import requirements as requirements_file
from slimpack.resolve.environment import markers
from slimpack.resolve.process import silent
from slimpack.resolve.resolution import Inputs, Resolution
from slimpack.target import wheel_tags
from slimpack.wheel import Limits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slimpack.model import Lock, Target
    from slimpack.resolve.process import Progress
    from slimpack.resolve.resolution import Resolver

__all__ = ["Fetched", "Inputs", "complete", "prepare", "read", "resolve"]

_BUILD_FOLDERS = frozenset({"build", "dist", "__pycache__"})
"""Folders of a project that a build writes."""

_DIGEST_FORMAT = "1"
"""Changes when the same inputs shall be resolved anew by a new slimpack."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What a build starts from."""

    lock: Lock
    """The lock, completed with what the wheels themselves tell: sizes and what needs what."""
    wheels: Mapping[str, Path]
    """The checked file of every wheel, by distribution name."""
    reused: bool
    """Whether an earlier lock still held, so that nothing was resolved."""


def prepare(
    inputs: Inputs,
    store: Path,
    *,
    earlier: Path | None = None,
    limits: Limits | None = None,
    progress: Progress = silent,
) -> Fetched:
    """Resolves, unless an earlier lock still holds, and fetches.

    Args:
        inputs: What ``read`` returned.
        store: Folder for wheels, ``<sha256>/<filename>``; several builds may use it at once.
        earlier: Where an earlier build may have left its lock; None to resolve in any case.
        limits: What a local wheel may be; None for the defaults.
        progress: Hears what is going on.

    Raises:
        SlimpackError: As ``resolve`` and ``fetch``.
    """
    known = lock.reusable(earlier, inputs.target, digest=inputs.digest) if earlier else None
    chosen = known or resolve(inputs, store, limits=limits, progress=progress)
    wheels = fetch.fetch(chosen, inputs.target, store, indexes=inputs.indexes, progress=progress)
    return Fetched(
        lock=known or complete(chosen, wheels, inputs.target), wheels=wheels, reused=known is not None
    )


def read(path: Path, target: Target, *, resolver: Resolver = "auto") -> Inputs:
    """Reads requirements, or a lock, and pip's settings.

    Args:
        path: ``requirements.txt`` as pip understands it, or ``pylock.toml`` / ``pylock.<name>.toml`` (PEP 751).
        target: What is being built for.
        resolver: Who shall resolve.

    Raises:
        RequirementsError: The file is missing or empty, or a line in it is wrong.
        ConfigError: pip cannot read its configuration.
    """
    is_lock = lock.is_lock(path)
    content = requirements_file.content(path)
    wanted = None if is_lock else requirements_file.read(path, os.environ)
    configured = indexes.configured(pip.config_listing())
    settings = indexes.merged(configured, wanted)
    parts = {
        "format": _DIGEST_FORMAT,
        "python": target.python,
        "tags": [str(tag) for tag in wheel_tags(target)],
        "resolver": resolver,
        "settings": indexes.public(configured),
        "constraints": [
            requirements_file.content(Path(one)) for one in settings.values("constraint") if "://" not in one
        ],
        "lines": [redact.text(line) for line in wanted.lines] if wanted else content,
        "local": [_state(own) for one in wanted.requested if (own := one.local)] if wanted else [],
    }
    return Inputs(
        path=path,
        target=target,
        resolver=resolver,
        requirements=wanted,
        indexes=settings,
        digest=hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest(),
    )


def resolve(
    inputs: Inputs, store: Path, *, limits: Limits | None = None, progress: Progress = silent
) -> Lock:
    """Resolves for the target.

    Sizes and dependencies may be unknown until ``complete``.

    Args:
        inputs: What ``read`` returned.
        store: Folder for wheels that have to be built.
        limits: What a local wheel may be; None for the defaults.
        progress: Hears what is going on.

    Raises:
        RequirementsError: A lock cannot be read.
        ResolutionError: There is no set of wheels for the target.
        WheelError: A local wheel is damaged or hostile.
        OutputError: The store cannot be written.
    """
    if inputs.requirements is None:
        return lock.read(inputs.path, inputs.target, digest=inputs.digest)
    return Resolution.of(inputs, inputs.requirements, store, limits or Limits(), progress).run()


def complete(chosen: Lock, wheels: Mapping[str, Path], target: Target) -> Lock:
    """Returns a lock with the sizes of its wheels, and with what needs what on the target.

    In a lock that does not say what was requested, that is everything; ``lock`` has the reason.

    Args:
        chosen: The lock.
        wheels: The file of every wheel, by distribution name.
        target: What is being built for.

    Raises:
        WheelError: A wheel has no METADATA that can be read.
    """
    asked = {wheel.name: wheel.extras for wheel in chosen.wheels}
    needed = metadata.needs(
        {name: metadata.requirements_of(path) for name, path in wheels.items()}, asked, markers(target)
    )
    told = any(wheel.requested for wheel in chosen.wheels)
    return replace(
        chosen,
        wheels=tuple(
            replace(
                wheel,
                size=wheels[wheel.name].stat().st_size,
                requires=needed[wheel.name],
                requested=wheel.requested or not told,
            )
            for wheel in chosen.wheels
        ),
    )


def _state(path: Path) -> list[tuple[str, str]]:
    """Returns names and hashes of a local wheel, source archive or project, without what a build leaves in it."""
    files = (
        [path] if path.is_file() else [one for one in path.rglob("*") if _is_source(one.relative_to(path))]
    )
    return sorted((one.relative_to(path).as_posix(), fetch.sha256_of(one)) for one in files if one.is_file())


def _is_source(place: Path) -> bool:
    return not any(
        part in _BUILD_FOLDERS or part.startswith(".") or part.endswith(".egg-info") for part in place.parts
    )

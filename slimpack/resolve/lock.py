"""Lock: read and write PEP 751 files, slimpack's own and those of other tools.

What the user asked for, and not merely something that needs it, is in no place that PEP 751 has: ``dependencies``
says who needs whom, but who asks for numpy and pandas has numpy in the lock of pandas as well, and uv and pip leave
``dependencies`` out. slimpack notes it in a table of its own, ``[packages.tool.slimpack] requested = true``. In a lock
where no package has that, every package counts as requested: rules that drop a whole distribution then leave it, which
costs size and never takes what somebody wanted. Whoever wants them to apply can write the table into the lock, for
what was asked for, or build from the requirements.

A credential never reaches a lock. Of a URL that was signed, the names of the secret parameters stay
(``?X-Amz-Signature=****``), so that ``fetch`` can say what is missing.
"""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w
from packaging.markers import Marker, UndefinedEnvironmentName
from packaging.pylock import (
    Package,
    PackageDirectory,
    PackageWheel,
    Pylock,
    PylockSelectError,
    PylockUnsupportedVersionError,
    PylockValidationError,
    is_valid_pylock_path,
)
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

from slimpack import redact
from slimpack.errors import RequirementsError, ResolutionError
from slimpack.model import Lock, LockedWheel
from slimpack.resolve.candidate import Fit, filename_of, tag_names
from slimpack.resolve.environment import markers
from slimpack.resolve.requirements import local_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from slimpack.model import Target

_CREATOR = "slimpack"
_LARGEST = 64 * 1024 * 1024
"""Bytes of a lock; one of a thousand packages has two megabytes."""

_NEAR = 2
"""Levels up from the lock's folder that a relative path may lead: build output and wheels of one project."""

_REMOTE = re.compile(r"https?://[^\s]+")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def is_lock(path: Path) -> bool:
    """Returns whether a file is called like a lock: ``pylock.toml`` or ``pylock.<name>.toml`` (PEP 751)."""
    return is_valid_pylock_path(path)


def text(lock: Lock, target: Target, folder: Path) -> str:
    """Returns a lock as the text of a PEP 751 file, the same for the same lock.

    Args:
        lock: The lock.
        target: What it was resolved for.
        folder: Where the file will lie; near local files are named relative to it.
    """
    python = ".".join(map(str, target.python))
    places = {"python_version": python, "sys_platform": "linux", "platform_machine": target.machine}
    pylock = Pylock(
        lock_version=Version("1.0"),
        environments=[Marker(" and ".join(f"{name} == '{value}'" for name, value in places.items()))],
        requires_python=SpecifierSet(f"=={python}.*"),
        created_by=_CREATOR,
        packages=[_package(wheel, folder) for wheel in lock.wheels],
        tool={
            _CREATOR: {
                "inputs-digest": lock.inputs_digest,
                "resolver": lock.resolver,
                "target": {
                    "runtime": target.runtime,
                    "architecture": target.architecture,
                    "glibc": ".".join(map(str, target.glibc)),
                },
            }
        },
    )
    pylock.validate()
    return tomli_w.dumps(pylock.to_dict())


def read(path: Path, target: Target, *, digest: str) -> Lock:
    """Reads a lock and picks what the target needs from it.

    Args:
        path: The file, of any tool.
        target: What is being built for; markers and tags are evaluated for it.
        digest: Takes the place of the inputs' digest in a lock of another tool.

    Raises:
        RequirementsError: It cannot be read, or is no valid lock.
        ResolutionError: Something in it has no wheel for the target, or no wheel at all.
    """
    pylock = _parse(path)
    return Lock(
        wheels=tuple(sorted(_select(pylock, target, path), key=lambda one: one.name)),
        inputs_digest=str(_own(pylock.tool).get("inputs-digest", digest)),
        resolver=str(_own(pylock.tool).get("resolver", f"{pylock.created_by} (lock)")),
    )


def reusable(path: Path, target: Target, *, digest: str) -> Lock | None:
    """Returns the lock that an earlier build left, if nothing that it was resolved from has changed since.

    Args:
        path: Where it would lie.
        target: What is being built for.
        digest: Digest of the inputs as they are now.
    """
    try:
        lock = read(path, target, digest="")
    except (RequirementsError, ResolutionError):
        return None
    there = all(wheel.path is None or Path(wheel.path).is_file() for wheel in lock.wheels)
    return lock if there and lock.inputs_digest == digest else None


def _package(wheel: LockedWheel, folder: Path) -> Package:
    own = {
        "requested": wheel.requested,
        "required-at": list(wheel.required_at),
        "extras": list(wheel.extras),
    }
    return Package(
        name=canonicalize_name(wheel.name),
        version=Version(wheel.version),
        index=wheel.index,
        dependencies=[{"name": name} for name in wheel.requires] or None,
        wheels=[
            PackageWheel(
                name=wheel.filename,
                url=wheel.url,
                path=_relative(wheel.path, folder) if wheel.path else None,
                size=wheel.size,
                hashes={"sha256": wheel.sha256},
            )
        ],
        tool={_CREATOR: {key: value for key, value in own.items() if value}} if any(own.values()) else None,
    )


def _relative(path: str, folder: Path) -> str:
    """Returns the path of a wheel as the lock has it: relative if both may move together."""
    base = folder.resolve()
    relative = Path(os.path.relpath(path, base))
    is_far = (
        relative.parts[: _NEAR + 1].count("..") > _NEAR or os.path.commonpath([path, base]) == base.anchor
    )
    return path if is_far else relative.as_posix()


def _parse(path: Path) -> Pylock:
    fix = "Lock again with the tool that wrote it, or build from the requirements file."
    try:
        if path.stat().st_size > _LARGEST:
            raise RequirementsError("too large for a lock", where=str(path), fix=fix)
        return Pylock.from_dict(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as problem:
        raise RequirementsError(
            f"cannot be read: {problem.strerror}", where=str(path), fix="Correct the path."
        ) from problem
    except (UnicodeError, tomllib.TOMLDecodeError) as problem:
        raise RequirementsError(f"this is no TOML: {problem}", where=str(path), fix=fix) from problem
    except (PylockValidationError, PylockUnsupportedVersionError) as problem:
        raise RequirementsError(
            f"this is no lock that PEP 751 allows: {problem}", where=str(path), fix=fix
        ) from problem


def _select(pylock: Pylock, target: Target, path: Path) -> Iterator[LockedWheel]:
    """Yields the best wheel of each distribution that the target needs.

    Raises:
        ResolutionError: Some have no fitting wheel; the error names them all.
    """
    failures = list[str]()
    local = (wheel.filename for package in pylock.packages for wheel in _wheels(package) if wheel.path)
    fit = Fit.to(target, trusted=local)
    for package in _applicable(pylock, target, path):
        own = tuple(_wheels(package))
        ranked = [(place, one.filename, one) for one in own if (place := fit.rank(one.filename)) is not None]
        if ranked:
            yield _locked(package, min(ranked, key=lambda entry: entry[:2])[2], path)
        else:
            tags = ", ".join(tag_names(one.filename for one in own))
            failures.append(f"{package.name} ({f'it has wheels for {tags}' if tags else 'only source'})")
    if failures:
        raise ResolutionError(
            f"no wheel for {target.runtime} on {target.architecture} is in the lock of {'; '.join(failures)}",
            where=str(path),
            fix="Lock again for this target, or build for the one that the lock was made for.",
        )


def _applicable(pylock: Pylock, target: Target, path: Path) -> list[Package]:
    """Returns the packages whose markers hold on the target.

    ``Pylock.select`` would stop at the first one without a wheel, so it gets folders to choose from.
    """
    folders = [
        Package(
            name=package.name,
            version=package.version,
            marker=package.marker,
            requires_python=package.requires_python,
            directory=PackageDirectory(path=str(place)),
        )
        for place, package in enumerate(pylock.packages)
    ]
    environment = markers(target)
    try:
        chosen = list(replace(pylock, packages=folders).select(environment=environment, tags=()))
    except (PylockSelectError, UndefinedEnvironmentName) as problem:
        raise ResolutionError(
            f"the lock is not for {target.runtime} on {target.architecture}: {problem}",
            where=str(path),
            fix="Lock again for this target, or build for the one that the lock was made for.",
        ) from problem
    return [pylock.packages[int(each.path)] for _, each in chosen if isinstance(each, PackageDirectory)]


def _wheels(package: Package) -> Iterator[PackageWheel]:
    """Yields a package's wheels; a direct reference to one is an ``archive`` in PEP 751."""
    yield from package.wheels or ()
    if archive := package.archive:
        filename = filename_of(archive.url or "") or Path(archive.path or "").name
        if filename.endswith(".whl"):
            yield PackageWheel(
                name=filename, url=archive.url, path=archive.path, size=archive.size, hashes=archive.hashes
            )


def _locked(package: Package, wheel: PackageWheel, lock: Path) -> LockedWheel:
    url = redact.masked_url(wheel.url) if wheel.url else None
    path = (lock.parent / wheel.path).resolve() if wheel.path else local_path(url or "")
    sha256 = wheel.hashes.get("sha256", "").lower()
    filename = wheel.filename
    faults = {
        "has no sha256 hash": _SHA256.fullmatch(sha256),
        "has a URL that is none": path or _REMOTE.fullmatch(url or ""),
        "has a name that is a path": Path(filename).name == filename and filename.isprintable(),
    }
    for fault, holds in faults.items():
        if not holds:
            raise RequirementsError(
                f"a wheel of {package.name} {fault}",
                where=str(lock),
                fix="Lock again with a tool that records sha256 hashes and URLs.",
            )
    own = _own(package.tool)
    return LockedWheel(
        name=package.name,
        version=str(package.version or parse_wheel_filename(filename)[1]),
        filename=filename,
        sha256=sha256,
        size=wheel.size,
        url=None if path else url,
        path=str(path) if path else None,
        index=redact.public_url(package.index) if package.index else None,
        requires=tuple(sorted(str(one["name"]) for one in package.dependencies or () if "name" in one)),
        requested=bool(own.get("requested", False)),
        required_at=tuple(map(str, own.get("required-at", ()))),
        extras=tuple(map(str, own.get("extras", ()))),
    )


def _own(tool: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Returns what slimpack itself wrote into a ``tool`` table."""
    own = (tool or {}).get(_CREATOR)
    return own if isinstance(own, dict) else {}

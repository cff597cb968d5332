"""The targets that slimpack knows, read from ``targets.toml``, and the wheel tags that fit them."""

from __future__ import annotations

import re
import tomllib
from datetime import date  # noqa: TC003 -- pydantic reads the annotation at run time
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from packaging import tags
from pydantic.dataclasses import dataclass

from slimpack import schema
from slimpack.errors import ConfigError, UsageError
from slimpack.model import Architecture, Kind, Target

if TYPE_CHECKING:
    from collections.abc import Iterator

_OLDEST_GLIBC = {"x86_64": (2, 5), "aarch64": (2, 17)}
"""First glibc that PEP 600 knows a profile for, by machine."""

_OLDEST_CUSTOM = 17
"""Minor version of the oldest glibc for which libstdc++'s symbol versions are known here."""

_LEGACY = {(2, 5): "manylinux1", (2, 12): "manylinux2010", (2, 17): "manylinux2014"}
"""Aliases of the oldest profiles (PEP 513, 571, 599)."""


@dataclass(frozen=True, slots=True, kw_only=True, config=schema.STRICT)
class _Runtime:
    system: str
    end_of_support: date


@dataclass(frozen=True, slots=True, kw_only=True, config=schema.STRICT)
class _System:
    name: str
    glibc: str
    versions: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True, config=schema.STRICT)
class _Kind:
    prefix: str
    library_path: tuple[str, ...]
    size_limit: int | None = None
    upload_limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=schema.STRICT)
class _Ceiling:
    glibc: str
    versions: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True, config=schema.STRICT)
class _Targets:
    default_runtime: str
    runtimes: dict[str, _Runtime]
    systems: dict[str, _System]
    libraries: dict[str, tuple[str, ...]]
    kinds: dict[Kind, _Kind]
    ceilings: tuple[_Ceiling, ...]


@cache
def _targets() -> _Targets:
    text = resources.files("slimpack").joinpath("targets.toml").read_text(encoding="utf-8")
    return schema.read(_Targets, tomllib.loads(text), where="targets.toml", error=ConfigError)


def runtimes() -> tuple[str, ...]:
    """Returns the identifiers of all known runtimes, oldest first."""
    return tuple(_targets().runtimes)


def default_runtime() -> str:
    """Returns the runtime to build for when nothing else tells."""
    return _targets().default_runtime


def make(
    *,
    runtime: str,
    architecture: Architecture = "x86_64",
    kind: Kind = "lambda",
    glibc: str | None = None,
    size_limit: int | None = None,
    reserve: int = 0,
) -> Target:
    """Returns the target of a build.

    Args:
        runtime: Lambda's identifier, such as ``python3.13``.
        architecture: The processor.
        kind: What imports the bundle.
        glibc: Ceiling such as ``2.28``; for kind ``custom`` only, and required there.
        size_limit: Unzipped bytes to stay below; required for ``custom``. For the other kinds it may only
            be lower than the platform's own.
        reserve: Bytes of the limit that others take, such as attached layers.

    Raises:
        UsageError: An unknown runtime, or settings that do not go with the kind.
    """
    data = _targets()
    if runtime not in data.runtimes:
        raise UsageError(
            f"unknown runtime {runtime!r}{_suggest_runtime(runtime)}",
            where="--runtime",
            fix=f"Use one of {', '.join(runtimes())}.",
        )
    shape = data.kinds[kind]
    libraries = data.libraries
    if kind == "custom":
        if glibc is None or size_limit is None:
            raise UsageError(
                "a custom target needs the glibc and the size limit of where it runs",
                where="--kind custom",
                fix="Add --glibc (such as 2.28) and --max-size (such as 500MiB).",
            )
        system, ceiling = f"custom (glibc {glibc})", _version(glibc)
        versions = next(
            (row.versions for row in reversed(data.ceilings) if _version(row.glibc) <= ceiling),
            data.ceilings[0].versions,
        )
        limit, end_of_support = size_limit, None
    else:
        if glibc is not None:
            raise UsageError(
                "the platform sets the glibc of this kind of target",
                where="--glibc",
                fix="Use it with --kind custom, or leave it out.",
            )
        base = data.systems[data.runtimes[runtime].system]
        system, ceiling, versions = base.name, _version(base.glibc), base.versions
        end_of_support = data.runtimes[runtime].end_of_support
        platform_limit = shape.size_limit or 0
        limit = platform_limit if size_limit is None else size_limit
        if limit > platform_limit:
            raise UsageError(
                f"{limit:,} bytes are more than the {platform_limit:,} that the platform allows",
                where="--max-size",
                fix="Use a lower limit, or --kind custom for a platform of your own.",
            )
    if reserve >= limit > 0:
        raise UsageError(
            f"{reserve:,} bytes are all of the {limit:,} that there are",
            where="--reserve",
            fix="Reserve what the attached layers take.",
        )
    return Target(
        kind=kind,
        runtime=runtime,
        architecture=architecture,
        system=system,
        glibc=ceiling,
        versions=dict(versions),
        libraries=frozenset(
            name for group in ("glibc", "compiler", "other", architecture) for name in libraries[group]
        ),
        library_path=shape.library_path,
        prefix=shape.prefix,
        size_limit=limit,
        upload_limit=shape.upload_limit,
        end_of_support=end_of_support,
        reserve=reserve,
    )


def platforms(target: Target) -> Iterator[str]:
    """Yields the wheel platforms that run on a target, best first: manylinux up to its glibc (PEP 600)."""
    major, newest = target.glibc
    oldest = _OLDEST_GLIBC[target.machine][1]
    for minor in range(newest, oldest - 1, -1):
        yield f"manylinux_{major}_{minor}_{target.machine}"
        if (major, minor) in _LEGACY:
            yield f"{_LEGACY[major, minor]}_{target.machine}"


def wheel_tags(target: Target) -> tuple[tags.Tag, ...]:
    """Returns the wheel tags that run on a target, best first (PEP 425)."""
    names = list(platforms(target))
    interpreter = f"cp{target.python[0]}{target.python[1]}"
    return (
        *tags.cpython_tags(target.python, abis=[interpreter], platforms=names),
        *tags.compatible_tags(target.python, interpreter=interpreter, platforms=names),
    )


def _suggest_runtime(name: str) -> str:
    """Returns a hint at the nearest runtime: by its number where one is told, else by how it is spelt."""
    if told := re.fullmatch(r"(?:python)?-?3\.?([0-9]{1,2})", name.strip().lower(), re.ASCII):
        nearest = min(runtimes(), key=lambda one: abs(int(one.rpartition(".")[2]) - int(told[1])))
        return f" (the nearest is {nearest!r})"
    return schema.suggest(name, runtimes())


def _version(text: str) -> tuple[int, int]:
    """Returns a glibc version as numbers; PEP 600 knows only glibc 2."""
    found = re.fullmatch(r"2\.(\d{1,2})", text, re.ASCII)
    if found is None or int(found[1]) < _OLDEST_CUSTOM:
        raise UsageError(
            f"{text!r} is no glibc version from 2.{_OLDEST_CUSTOM} on",
            where="--glibc",
            fix="Write it like 2.28.",
        )
    return 2, int(found[1])

"""Interpreters: the Pythons on this machine that a target's packages can be resolved and built with."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from slimpack import target as targets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slimpack.model import Target


def find(python: tuple[int, int]) -> Path | None:
    """Returns a CPython of a version, or None.

    The interpreter that runs slimpack comes first, then what is on ``PATH`` or in the homes of pyenv, asdf, rye and
    uv. Only files named ``pythonX.Y`` are tried, so that no other program is run; wrapper scripts are left out.

    Args:
        python: Major and minor version.
    """
    if sys.version_info[:2] == python and sys.implementation.name == "cpython" and _has_lock(sys.abiflags):
        return Path(sys.executable)
    return next(_candidates(python), None)


def newest_runtime() -> str:
    """Returns the newest runtime for whose Python there is an interpreter, else the default one."""
    for runtime in reversed(targets.runtimes()):
        major, minor = runtime.removeprefix("python").split(".")
        if find((int(major), int(minor))):
            return runtime
    return targets.default_runtime()


def is_host(target: Target) -> bool:
    """Returns whether this machine is of the target's kind, so that what is built here runs there."""
    return sys.platform == "linux" and platform.machine() == target.machine


def _candidates(python: tuple[int, int]) -> Iterator[Path]:
    from findpython.providers import ALL_PROVIDERS

    name = f"python{python[0]}.{python[1]}"
    for kind in ALL_PROVIDERS.values():
        provider = kind.create()
        for found in provider.find_pythons() if provider else ():
            usable = found.name == name and "shims" not in found.executable.parts and found.is_valid()
            if usable and found.matches(*python, implementation="cpython", freethreaded=False):
                yield found.executable


def _has_lock(flags: str) -> bool:
    return "t" not in flags  # a free-threaded build has another ABI

"""Environment: what PEP 508 markers see on a target. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from packaging.markers import Environment, Marker

    from slimpack.model import Target


def full_version(target: Target) -> str:
    """Returns the Python version that the target counts as, such as ``3.12.99``.

    Platforms keep their runtimes at the newest patch release, so every ``python_full_version < "3.12.4"`` is past.
    """
    major, minor = target.python
    return f"{major}.{minor}.99"


def markers(target: Target) -> Environment:
    """Returns the values of all marker variables on a target (PEP 508).

    Kernel release and version are unknown and therefore empty.
    """
    major, minor = target.python
    return {
        "implementation_name": "cpython",
        "implementation_version": full_version(target),
        "os_name": "posix",
        "platform_machine": target.machine,
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": full_version(target),
        "python_version": f"{major}.{minor}",
        "sys_platform": "linux",
    }


def holds(marker: Marker | None, environment: Environment, extra: str = "") -> bool:
    """Returns whether a marker is true; no marker always is.

    Args:
        marker: The marker.
        environment: Marker variables of the target.
        extra: The extra that asks.
    """
    return marker is None or marker.evaluate({**cast("dict[str, str]", environment), "extra": extra})

"""Stock: everything that the wheels of a lock and the app would install, read from the wheels themselves."""

from __future__ import annotations

import re
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slimpack import repair
from slimpack.inventory import collect
from slimpack.model import Distribution
from slimpack.references import entry_points
from slimpack.wheel import Limits, Wheel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from slimpack.model import Inventory, InventoryFile, Lock, LockedWheel

_ENTRY_POINTS = re.compile(r"[^/]+\.dist-info/entry_points\.txt")
"""Where a distribution tells what it registers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """What there is to choose from."""

    inventory: Inventory
    """Every file, with its owner."""
    namespaces: frozenset[str]
    """Folders that wheels declare as namespace packages and leave without an ``__init__.py``."""


def take(
    lock: Lock, wheels: Mapping[str, Path], source: Sequence[InventoryFile] = (), *, limits: Limits
) -> Stock:
    """Returns what the wheels of a lock and the app would install; nothing is unpacked.

    Args:
        lock: What to install.
        wheels: Wheel files by canonical distribution name.
        source: The app's own files.
        limits: What a wheel may be.

    Raises:
        WheelError: A wheel is damaged or hostile.
    """
    with ExitStack() as stack:
        opened = {name: stack.enter_context(Wheel.open(path, limits)) for name, path in wheels.items()}
        inventory = collect(
            {_distribution(one, opened[one.name]): opened[one.name].files for one in lock.wheels}, source
        )
        namespaces = repair.declared_namespaces(
            (file for file in inventory.files if file.owner in opened),
            lambda file: opened[file.owner].read(file),
        )
    return Stock(inventory=inventory, namespaces=frozenset(namespaces))


def _distribution(locked: LockedWheel, wheel: Wheel) -> Distribution:
    return Distribution(
        name=locked.name,
        version=locked.version,
        wheel=wheel.filename,
        sha256=locked.sha256,
        requires=locked.requires,
        requested=locked.requested,
        required_at=locked.required_at,
        entry_points=entry_points(
            wheel.entry_points or "",
            path=next((file.path for file in wheel.files if _ENTRY_POINTS.fullmatch(file.path)), ""),
        ),
    )

"""Client: ``awslambdaric``, the runtime client that Lambda's Python runtimes have, as a folder for the function."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from slimpack import resolve
from slimpack.output import writing
from slimpack.resolve import lock
from slimpack.resolve.process import Progress, silent
from slimpack.wheel import Wheel

if TYPE_CHECKING:
    from slimpack.cache import Cache
    from slimpack.model import Target

_CLIENT = "awslambdaric>=3,<5"
_SDK = "boto3"

_GUESTS = ("bootstrap.py", "slimpack_probe.py", "slimpack_trace.py")
"""Modules of slimpack's that run in the target's Python, beside the client."""

AUDIT = "slimpack_pages.so"
"""File of the client's folder that a traced function's dynamic linker loads (``native/pages.c``)."""

_LOCK = "pylock.client.toml"
"""Name of the lock in the cache's entry."""


def provide(target: Target, folder: Path, *, cache: Cache, sdk: bool, progress: Progress = silent) -> Path:
    """Puts the runtime client for a target into a folder, and returns the folder.

    It is resolved and fetched once and then comes from the cache, lock and wheels; unpacking it takes a moment.

    Args:
        target: What the bundle was built for.
        folder: Where it goes; it is created.
        cache: Keeps lock and wheels.
        sdk: Whether the AWS SDK, which Lambda's Python runtimes have too, is wanted.
        progress: Hears what is going on.

    Raises:
        ResolutionError: There is no client for the target, or the index cannot be reached.
        OutputError: It cannot be written.
    """
    with writing(folder):
        folder.mkdir()
    with tempfile.TemporaryDirectory(prefix="slimpack-client-") as scratch:
        requirements = Path(scratch, "client.txt")
        requirements.write_text("\n".join([_CLIENT, *([_SDK] if sdk else [])]), encoding="utf-8")
        inputs = resolve.read(requirements, target)
        key = hashlib.sha256(f"runtime client {inputs.digest}".encode()).hexdigest()
        earlier = Path(scratch, _LOCK)
        known = cache.get_bundle(key, {_LOCK: earlier})
        fetched = resolve.prepare(
            inputs, cache.wheel_store, earlier=earlier if known else None, progress=progress
        )
        if not fetched.reused:
            earlier.unlink(missing_ok=True)
            earlier.write_text(lock.text(fetched.lock, target, earlier.parent), encoding="utf-8")
            cache.put_bundle(key, {_LOCK: earlier})
    cache.touch_wheels(one.sha256 for one in fetched.lock.wheels)
    for path in fetched.wheels.values():
        with Wheel.open(path) as wheel, writing(folder):
            for file in wheel.files:
                place = folder / file.path
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(wheel.read(file))
    with writing(folder):
        add_guests(folder, target)
        for place in (folder, *folder.rglob("*")):
            place.chmod(0o755)  # whatever the umask
    return folder


def add_guests(folder: Path, target: Target) -> None:
    """Puts what is slimpack's own beside the client.

    Args:
        folder: The client's.
        target: What the bundle was built for.
    """
    here = Path(__file__).parent
    for name in _GUESTS:
        shutil.copyfile(here / name, folder / name)
    shutil.copyfile(here / "native" / f"pages-{target.machine}.so", folder / AUDIT)

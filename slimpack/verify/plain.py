"""Plain: what a plain install of a bundle's own lock would be, with the app's files as the bundle has them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from slimpack import resolve
from slimpack.assemble import install
from slimpack.errors import BundleError
from slimpack.model import APP, InventoryFile
from slimpack.stock import take
from slimpack.wheel import Limits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from slimpack.cache import Cache
    from slimpack.manifest import Manifest
    from slimpack.model import Target
    from slimpack.progress import Progress


def put(
    folder: Path,
    *,
    lock: Path,
    manifest: Manifest,
    tree: Path,
    target: Target,
    cache: Cache,
    jobs: int,
    progress: Progress,
) -> Path:
    """Installs what a bundle was made from, nothing taken out, and returns the root of it.

    Args:
        folder: Where it goes; it is created.
        lock: The lock that the bundle was built from.
        manifest: The bundle's account.
        tree: The bundle's files, which has those of the app.
        target: Where the bundle will run.
        cache: Keeps wheels.
        jobs: Worker processes.
        progress: Whom to tell.

    Raises:
        BundleError: The lock is not there, or is another one.
        ResolutionError: A wheel cannot be had.
        WheelError: A wheel is damaged.
        OutputError: It cannot be written.
    """
    _check(lock, manifest)
    with progress.phase("fetching the wheels of the lock"):
        inputs = resolve.read(lock, target)
        fetched = resolve.prepare(inputs, cache.wheel_store, progress=progress.tell)
    limits = Limits()
    stock = take(fetched.lock, fetched.wheels, tuple(_app(manifest)), limits=limits)
    with progress.phase("installing plainly, to compare"):
        install(
            stock.inventory.files,
            wheels=fetched.wheels,
            source=tree,
            limits=limits,
            root=folder / target.prefix,
            jobs=jobs,
            progress=progress.advance,
        )
    return folder


def _check(lock: Path, manifest: Manifest) -> None:
    try:
        with lock.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as problem:
        raise BundleError(
            f"the lock of the bundle cannot be read: {problem.strerror}",
            where=str(lock),
            fix="A plain install needs the lock that `slimpack build` leaves beside the bundle.",
        ) from problem
    if digest != manifest.lock.sha256:
        raise BundleError(
            "is not the lock that the bundle was built from",
            where=str(lock),
            fix="Build the bundle again; a build that fails leaves a newer lock, too.",
        )


def _app(manifest: Manifest) -> Iterator[InventoryFile]:
    """Yields the app's own files, with their places in the bundle as entries."""
    for record in manifest.files:
        if record.owner == APP and record.decision != "removed":
            yield InventoryFile(
                path=record.path.removeprefix(manifest.target.prefix),
                size=record.size_after,
                owner=APP,
                entry=record.path,
                sha256=record.sha256,
                executable=record.executable,
            )

"""Fetch: the wheels of a lock as files in a store, each checked against its hash."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from slimpack import redact
from slimpack.errors import ResolutionError, SlimpackError, WheelError
from slimpack.output import writing
from slimpack.resolve import failure, pip
from slimpack.resolve.candidate import filename_of
from slimpack.resolve.process import Progress, ToolFailedError, silent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from slimpack.model import Lock, LockedWheel, Target
    from slimpack.resolve.indexes import Indexes


def fetch(
    lock: Lock, target: Target, store: Path, *, indexes: Indexes, progress: Progress = silent
) -> dict[str, Path]:
    """Returns the file of every wheel of a lock, by distribution name.

    A file in the store was checked before it got there, and is hashed again all the same, which takes half a second
    for a gigabyte: a store may come from a shared cache, such as one of CI, where somebody else could have put a
    wheel under the name of another; RECORD, which guards each entry, would be his own. One that is not what it should
    be is fetched anew. Two builds may fetch into one store at once: a file appears whole, by a rename.

    Args:
        lock: The lock.
        target: What it is for; need not be of this machine's kind.
        store: Folder with ``<sha256>/<filename>``.
        indexes: Give the credentials of the hosts.
        progress: Hears what is downloaded.

    Raises:
        ResolutionError: A wheel is gone, or cannot be had.
        WheelError: A wheel is not what the lock says it is.
        OutputError: The store cannot be written.
    """
    places = {wheel.name: store / wheel.sha256 / wheel.filename for wheel in lock.wheels}
    with ThreadPoolExecutor(os.cpu_count()) as threads:  # hashing releases the interpreter's lock
        there = threads.map(lambda wheel: _is_there(places[wheel.name], wheel), lock.wheels)
    if absent := [wheel for wheel, found in zip(lock.wheels, there, strict=True) if not found]:
        with workspace(store) as folder:
            _download([wheel for wheel in absent if wheel.path is None], folder, target, indexes, progress)
            for wheel in absent:
                if wheel.path is not None:
                    _copy(Path(wheel.path), folder / wheel.filename)
            with ThreadPoolExecutor(os.cpu_count()) as threads:
                list(threads.map(lambda wheel: _check(folder / wheel.filename, wheel), absent))
            for wheel in absent:
                put(folder / wheel.filename, wheel.sha256, store)
    return places


def put(file: Path, sha256: str, store: Path) -> Path:
    """Moves a file into a store on the same file system and returns its place there.

    Args:
        file: A wheel whose hash is known.
        sha256: That hash, hexadecimal.
        store: Folder with ``<sha256>/<filename>``.
    """
    place = store / sha256 / file.name
    with writing(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        file.replace(place)
    return place


def download(
    hashes: Mapping[str, str], target: Target, store: Path, *, indexes: Indexes, progress: Progress = silent
) -> dict[str, str]:
    """Downloads wheels into a store, and returns their hashes by URL.

    Args:
        hashes: The hash (hexadecimal, empty where no one told it) by URL.
        target: What they are for; need not be of this machine's kind.
        store: Folder with ``<sha256>/<filename>``.
        indexes: Give the credentials of the hosts.
        progress: Hears what is downloaded.

    Raises:
        ResolutionError: It is gone, or cannot be had.
        OutputError: The store cannot be written.
    """
    with workspace(store) as folder:
        told = {link: f"sha256:{sha256}" if sha256 else "" for link, sha256 in hashes.items()}
        _run_download(told, folder, target, indexes, progress)
        files = {link: folder / filename_of(link) for link in hashes}
        found = {link: sha256_of(file) for link, file in files.items()}
        for link, file in files.items():
            put(file, found[link], store)
    return found


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def workspace(store: Path) -> Iterator[Path]:
    """Yields an empty folder on the file system of a store; what is left in it afterwards is removed.

    The cache has a folder for what is not complete, which it sweeps if a build was killed.
    """
    beside = store.parent / "temporary"
    with writing(store):
        store.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".fetch-", dir=beside if beside.is_dir() else store))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _download(
    wheels: Iterable[LockedWheel], into: Path, target: Target, indexes: Indexes, progress: Progress
) -> None:
    known = {wheel: redact.public_url(wheel.url or "") for wheel in wheels}
    hashes = {indexes.private.get(url, url): f"sha256:{wheel.sha256}" for wheel, url in known.items()}
    try:
        if hashes:
            _run_download(hashes, into, target, indexes, progress)
    except SlimpackError as problem:
        signed = [wheel for wheel, url in known.items() if wheel.url != url and url not in indexes.private]
        if not signed:
            raise
        raise ResolutionError(
            f"a lock keeps no secrets, and the URL of {signed[0].filename} had one ({signed[0].url}): {problem.what}",
            where=signed[0].name,
            fix="Resolve again, which gets a URL that holds: build from the requirements, with --upgrade.",
        ) from problem


def _run_download(
    hashes: Mapping[str, str], into: Path, target: Target, indexes: Indexes, progress: Progress
) -> None:
    try:
        pip.download(hashes, into, target, indexes, progress=progress)
    except ToolFailedError as problem:
        raise failure.explain(problem.output) from problem


def _copy(source: Path, destination: Path) -> None:
    if not source.is_file():
        raise ResolutionError(
            f"the lock names the file {source}, which is gone",
            where=source.name,
            fix="Resolve again: delete the lock, or build with --upgrade.",
        )
    with writing(destination):
        shutil.copyfile(source, destination)


def _check(file: Path, wheel: LockedWheel) -> None:
    if not file.is_file():
        raise ResolutionError(
            f"{wheel.filename} did not come", where=wheel.name, fix="Resolve again with --upgrade."
        )
    found = sha256_of(file)
    if found != wheel.sha256:
        raise WheelError(
            f"the file has the sha256 {found}, the lock says {wheel.sha256}",
            where=wheel.filename,
            fix="Find out which is right before you lock again: the file may have been tampered with.",
        )


def _is_there(place: Path, wheel: LockedWheel) -> bool:
    with suppress(OSError):
        return wheel.size in {None, place.stat().st_size} and sha256_of(place) == wheel.sha256
    return False

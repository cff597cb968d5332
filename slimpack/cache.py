"""The cache: wheels and finished bundles, stored by content, safe under several builds at once.

Layout below the root: ``wheels/<sha256>/<filename>``, ``bundles/<key>/`` with the files of a bundle and an
index of their hashes, ``temporary/`` for what is not complete, ``lock``, and ``CACHEDIR.TAG``
(https://bford.info/cachedir/), which marks the folder as ours. Entries come and go by a rename, so there is
no half entry. A build holds ``lock`` shared while it uses the cache; who removes anything holds it
exclusively. The operating system drops the lock of a process that dies.

A build never fails because of its cache: whatever keeps it from working is a sentence in ``Cache.problem``.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slimpack.errors import OutputError, UsageError
from slimpack.output import writing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

DEFAULT_LIMIT_BYTES = 10 * 2**30
"""Size that a cache is pruned to unless the user says otherwise."""

_TAG = "CACHEDIR.TAG"
_TAG_TEXT = """\
Signature: 8a477f597d28d172789f06886806bc55
# This folder is a cache of slimpack. Everything in it can be made again.
# For information about cache directory tags, see https://bford.info/cachedir/
"""

_INDEX = "index.json"
"""File of a bundle entry that has the SHA-256 of every other one, by name."""

_KINDS = ("wheels", "bundles")
_TEMPORARY = "temporary"
_NEW = ".slimpack-"
"""Prefix of files that are about to become the tag."""

_KEY = re.compile(r"[0-9a-f]{64}")
"""Names of entries; anything else in the folders of entries is not ours."""

_PATIENCE_SECONDS = 10
"""How long a build waits for a prune; it takes far less."""

_THERE_ALREADY = {errno.EEXIST, errno.ENOTEMPTY}
"""What renaming a folder says when another build stored the same bundle meanwhile."""

_NO_COPY_RANGE = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF}
"""What ``copy_file_range`` says where kernel or file systems do not support it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheInfo:
    """What a cache holds."""

    root: Path
    """Its folder."""
    wheels: int
    """Wheels in it."""
    wheel_bytes: int
    """Bytes of them."""
    bundles: int
    """Bundles in it."""
    bundle_bytes: int
    """Bytes of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What was removed from a cache."""

    entries: int
    """Wheels and bundles."""
    bytes: int
    """Bytes of them, and of what killed builds left behind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """A cache in the hands of a build; nothing is removed from it meanwhile. ``open_cache`` makes one."""

    root: Path
    """Its folder."""
    problem: str | None
    """Why it cannot be used, in a sentence; None if it can. If not, it finds nothing and keeps nothing."""
    wheel_store: Path
    """Folder for ``<sha256>/<filename>``; a temporary one where the cache cannot be used.

    What is not complete belongs in the folder ``temporary`` beside it, which ``prune`` sweeps.
    """

    def get_bundle(self, key: str, files: Mapping[str, Path]) -> bool:
        """Copies the files of a bundle out, and returns whether the cache has it, whole and undamaged.

        A damaged one is dropped.

        Args:
            key: 64 hexadecimal digits over everything that the bundle depends on.
            files: Where each file goes, by the name it was stored under.

        Raises:
            OutputError: A copy cannot be written.
        """
        if self.problem is not None:
            return False
        folder = self.root / "bundles" / key
        try:
            whole = _is_whole(folder, files)
        except OSError:  # not there, or not ours to read
            return False
        if not whole:
            with suppress(OSError):
                _drop(folder, self.root)
            return False
        with suppress(OSError):
            os.utime(folder)
        for name, destination in files.items():
            with writing(destination):
                copy(folder / name, destination)
        return True

    def put_bundle(self, key: str, files: Mapping[str, Path]) -> str | None:
        """Stores copies of files as a bundle; returns why it could not, or None.

        Args:
            key: As for ``get_bundle``.
            files: What to store, by plain file name.
        """
        if self.problem is not None:
            return self.problem
        new = self.root / _TEMPORARY / secrets.token_hex(8)
        try:
            new.mkdir()
            for name, source in files.items():
                copy(source, new / name)
            index = {name: _sha256(new / name) for name in files}
            (new / _INDEX).write_text(json.dumps(index, indent=1), encoding="utf-8")
            new.rename(self.root / "bundles" / key)
        except OSError as problem:
            if problem.errno not in _THERE_ALREADY:
                return f"the bundle was not kept in the cache {self.root}: {problem.strerror}"
        finally:
            shutil.rmtree(new, ignore_errors=True)
        return None

    def touch_wheels(self, hashes: Iterable[str]) -> None:
        """Notes that wheels were used, so that others are pruned first.

        Args:
            hashes: Their SHA-256, hexadecimal.
        """
        for sha256 in hashes:
            with suppress(OSError):
                os.utime(self.wheel_store / sha256)


def default_root(environ: Mapping[str, str]) -> Path:
    """Returns the folder that a user's cache is in.

    ``SLIMPACK_CACHE_DIR`` names it; else it is ``slimpack`` in the cache folder of the XDG base directory
    specification 0.8, which has paths that are not absolute ignored.

    Args:
        environ: The environment.

    Raises:
        UsageError: No home folder is known.
    """
    if named := environ.get("SLIMPACK_CACHE_DIR"):
        return Path(named)
    base = Path(environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():
        try:
            base = Path(environ["HOME"] if environ.get("HOME") else Path.home()) / ".cache"
        except RuntimeError:
            raise UsageError(
                "there is no place for the cache: no home folder is known", fix="Set SLIMPACK_CACHE_DIR."
            ) from None
    return base / "slimpack"


@contextmanager
def open_cache(root: Path, *, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> Iterator[Cache]:
    """Opens a cache for one build, creates it if need be, and prunes it when the build is done.

    Args:
        root: Its folder.
        limit_bytes: What it may have afterwards; while another build is using it, it may have more.
    """
    held = None
    try:
        _create(root)
        held = _lock(root, fcntl.LOCK_SH, patience_seconds=_PATIENCE_SECONDS)
    except OutputError as error:
        with tempfile.TemporaryDirectory(prefix="slimpack-") as folder:
            store = Path(folder) / "wheels"
            store.mkdir()
            yield Cache(root=root, problem=f"the cache cannot be used: {error}", wheel_store=store)
        return
    try:
        yield Cache(root=root, problem=None, wheel_store=root / "wheels")
    finally:
        os.close(held)
    with suppress(OutputError):
        prune(root, limit_bytes=limit_bytes)


def info(root: Path) -> CacheInfo:
    """Returns what a cache holds; nothing if there is none.

    Args:
        root: Its folder.

    Raises:
        OutputError: It cannot be read.
    """
    with writing(root):
        wheels, bundles = ([entry.bytes for entry in _entries(root / kind)] for kind in _KINDS)
    return CacheInfo(
        root=root,
        wheels=len(wheels),
        wheel_bytes=sum(wheels),
        bundles=len(bundles),
        bundle_bytes=sum(bundles),
    )


def prune(root: Path, *, limit_bytes: int) -> Pruned:
    """Removes what was not used for the longest time until the rest fits, and what killed builds left behind.

    Args:
        root: The cache's folder.
        limit_bytes: What the rest may have.

    Raises:
        OutputError: The folder is no cache of slimpack, a build is using it, or it cannot be written.
    """
    if not root.exists():
        return Pruned(entries=0, bytes=0)
    _require_ours(root)
    held = _lock(root, fcntl.LOCK_EX, patience_seconds=0)
    try:
        with writing(root):
            freed = _sweep(root / _TEMPORARY)
            entries = sorted(
                (entry for kind in _KINDS for entry in _entries(root / kind)), key=lambda entry: entry.used
            )
            excess = sum(entry.bytes for entry in entries) - limit_bytes
            removed = 0
            for entry in entries:
                if excess <= 0:
                    break
                _drop(entry.folder, root)
                excess -= entry.bytes
                freed += entry.bytes
                removed += 1
    finally:
        os.close(held)
    return Pruned(entries=removed, bytes=freed)


def clean(root: Path) -> Pruned:
    """Removes all wheels and bundles; what slimpack did not put there stays.

    Args:
        root: The cache's folder.

    Raises:
        OutputError: As for ``prune``.
    """
    return prune(root, limit_bytes=-1)


def copy(source: Path, destination: Path) -> None:
    """Copies a file's content; where the file system can, without copying the bytes (a reflink).

    Never a hard link: who changed the copy in place would change the cache.

    Args:
        source: An existing file.
        destination: A file that does not exist.

    Raises:
        OSError: It cannot be copied.
    """
    with source.open("rb") as old, destination.open("xb") as new:
        try:
            while os.copy_file_range(old.fileno(), new.fileno(), 2**30):
                pass
        except OSError as problem:
            if problem.errno not in _NO_COPY_RANGE:
                raise
            shutil.copyfileobj(old, new, 2**20)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """A wheel or a bundle in the cache."""

    folder: Path
    """Its folder."""
    bytes: int
    """Bytes of the files in it."""
    used: float
    """When it was last used: seconds since the epoch."""


def _create(root: Path) -> None:
    with writing(root):
        root.mkdir(parents=True, exist_ok=True)
        if all(place.name.startswith(_NEW) for place in root.iterdir()):
            number, new = tempfile.mkstemp(prefix=_NEW, dir=root)
            with os.fdopen(number, "w", encoding="utf-8") as file:
                file.write(_TAG_TEXT)
            Path(new).chmod(0o644)  # others who may read the folder have to see that it is a cache
            Path(new).replace(root / _TAG)
        _require_ours(root)
        for name in (*_KINDS, _TEMPORARY):
            (root / name).mkdir(exist_ok=True)


def _require_ours(root: Path) -> None:
    try:
        ours = (root / _TAG).read_text(encoding="utf-8") == _TAG_TEXT
    except (OSError, UnicodeDecodeError):
        ours = False
    if not ours:
        raise OutputError(
            "is no cache of slimpack: it has no CACHEDIR.TAG that says so",
            where=str(root),
            fix="Choose an empty folder for the cache, or one that does not exist.",
        )


def _lock(root: Path, operation: int, *, patience_seconds: float) -> int:
    """Locks a cache; returns the descriptor that holds the lock until it is closed."""
    deadline = time.monotonic() + patience_seconds
    with writing(root):
        held = os.open(root / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        while True:
            try:
                fcntl.flock(held, operation | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() < deadline:
                    time.sleep(0.02)
                    continue
                os.close(held)
                raise OutputError(
                    "another slimpack is using the cache",
                    where=str(root),
                    fix="Try again when it has finished.",
                ) from None
            return held


def _is_whole(folder: Path, names: Iterable[str]) -> bool:
    """Returns whether a bundle has all the files of given names, as they were stored."""
    try:
        index = json.loads((folder / _INDEX).read_bytes())
        return set(index) == set(names) and all(_sha256(folder / name) == index[name] for name in names)
    except (ValueError, TypeError, RecursionError, FileNotFoundError):
        if folder.is_dir():
            return False
        raise


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _entries(folder: Path) -> list[_Entry]:
    """Returns the entries of one kind; without the lock some may go meanwhile."""
    found = []
    with suppress(FileNotFoundError), os.scandir(folder) as places:
        for place in places:
            if _KEY.fullmatch(place.name) and place.is_dir(follow_symlinks=False):
                with suppress(FileNotFoundError):
                    size = _size(Path(place))
                    found.append(_Entry(folder=Path(place), bytes=size, used=place.stat().st_mtime))
    return found


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def _drop(folder: Path, root: Path) -> None:
    """Removes an entry at once: nobody sees half of one, even if this process is killed."""
    doomed = root / _TEMPORARY / secrets.token_hex(8)
    folder.rename(doomed)
    shutil.rmtree(doomed)


def _sweep(temporary: Path) -> int:
    """Removes what is not complete, as nobody is at work on it; returns the bytes of it."""
    freed = 0
    for place in temporary.iterdir():
        if place.is_dir() and not place.is_symlink():
            freed += _size(place)
            shutil.rmtree(place)
    return freed

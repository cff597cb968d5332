"""Output: what a build hands over appears at once and whole, or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import threading
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from slimpack.errors import Interrupted, ManifestError, OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType

_LOCK = "lock"
"""File in the working folder that a build holds locked (``flock``) while it runs."""

_NO_ROOM = "Free some space, or choose a folder on another file system."
_NO_RIGHT = "Make it writable, or choose another folder."

_FAILURES = {
    errno.ENOSPC: ("no space is left on the device", _NO_ROOM),
    errno.EDQUOT: ("the disk quota is used up", _NO_ROOM),
    errno.EFBIG: (
        "the file grows larger than the file system, or `ulimit -f`, allows",
        "Raise the limit, or choose a folder on another file system.",
    ),
    errno.EROFS: ("the file system is read-only", "Choose a folder on another file system."),
    errno.EACCES: ("permission denied", _NO_RIGHT),
    errno.EPERM: ("the operation is not permitted", _NO_RIGHT),
    errno.ENAMETOOLONG: ("the name is too long", "Choose a shorter one."),
    errno.ENOTDIR: ("a part of the path is a file and no folder", "Choose another path."),
    errno.ENOENT: ("there is no such folder", "Make it, or choose another path."),
    errno.EEXIST: ("a part of the path is a file and no folder", "Choose another path."),
}
"""What went wrong and what helps, by the operating system's number."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns a failure of the operating system inside the block into an ``OutputError`` about ``path``."""
    try:
        yield
    except OSError as problem:
        what, fix = _FAILURES.get(
            problem.errno or 0, (f"cannot be written: {problem.strerror or problem}", None)
        )
        raise OutputError(what, where=str(path), fix=fix) from problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Places where a build puts its output before it is handed over."""

    folder: Path
    """Empty folder for anything else, on the file system of the destination; it is gone after the build."""
    bundle: Path
    """The zip, which does not exist yet, or the directory, which does."""
    manifest: Path
    """The manifest."""
    lock: Path
    """The lock."""
    failed_bundle: Path
    """What the bundle is called instead if it is not to be mistaken for one that works."""
    failed_manifest: Path
    """Its manifest, likewise."""

    def mark_failed(self) -> None:
        """Renames bundle and manifest, so that a good bundle of an earlier build stays where it is.

        Raises:
            OutputError: That fails.
        """
        with writing(self.failed_bundle):
            self.bundle.rename(self.failed_bundle)
            self.manifest.rename(self.failed_manifest)


@contextmanager
def claim(destination: Path, *, manifest: str, lock: str) -> Iterator[Claim]:
    """Claims a destination for one build, and hands over what the block leaves in the claim's places.

    The work goes on in a hidden folder beside the destination, hence on its file system. When the block ends
    well, bundle, lock and manifest replace what was there, in this order, so that no manifest speaks of a
    bundle that is yet to come; what the block did not write stays as it was. When the block fails, by an
    exception, Ctrl-C or SIGTERM, nothing has changed. What a killed build leaves behind, the next one to the
    same destination sweeps.

    Args:
        destination: A path that ends in ``.zip``, or else of a directory. Its parents are created.
        manifest: Name of the manifest, which lands beside it.
        lock: Name of the lock, which lands beside it.

    Raises:
        OutputError: The destination cannot be written, another build is writing it, or replacing it would
            delete files that slimpack did not write.
        Interrupted: SIGTERM or SIGHUP came.
    """
    final = destination.absolute()
    if final.name == "..":
        final = final.resolve()
    if not final.name:
        raise OutputError("is no place for a bundle", where=str(final), fix="Choose another output.")
    if _is_or_holds_current_folder(final):
        raise OutputError(
            "is the folder you are in, or one above it",
            where=str(destination),
            fix="Name a folder of its own, such as dist/app, or a .zip.",
        )
    companions = (final.with_name(lock), final.with_name(manifest))
    failed = (failed_name(final), failed_name(companions[1]))
    with terminable(), _parents(final.parent), _working_folder(final) as folder:
        _refuse_to_destroy(final, lock=companions[0], manifest=companions[1])
        _refuse_to_destroy(failed[0], lock=companions[0], manifest=failed[1])
        new = folder / "new"
        claimed = Claim(
            folder=folder / "work",
            bundle=new / final.name,
            manifest=new / manifest,
            lock=new / lock,
            failed_bundle=new / failed[0].name,
            failed_manifest=new / failed[1].name,
        )
        with writing(folder):
            claimed.folder.mkdir()
            new.mkdir()
            if not is_zip(final):
                claimed.bundle.mkdir()
        yield claimed
        with _uninterrupted(), writing(final):
            # a bundle that works puts an end to the one that did not
            stale = failed if claimed.bundle.exists() and _is_manifest(failed[1]) else ()
            _hand_over(new, (final, failed[0], *companions, failed[1]), stale=stale, aside=folder / "old")


def failed_name(place: Path) -> Path:
    """Returns what a bundle or its manifest is called if verification failed: ``app.failed.zip`` for ``app.zip``."""
    for suffix in (".zip", ".manifest.json"):
        if place.name.endswith(suffix):
            return place.with_name(f"{place.name.removesuffix(suffix)}.failed{suffix}")
    return place.with_name(f"{place.name}.failed")


def _is_or_holds_current_folder(path: Path) -> bool:
    """Returns whether a hand-over would pull the folder from under the user's feet."""
    with suppress(OSError):  # it is gone already
        return Path.cwd().is_relative_to(path.resolve())
    return False


@contextmanager
def terminable() -> Iterator[None]:
    """Lets SIGTERM and SIGHUP end the block by an ``Interrupted``, so that it cleans up as after Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner = os.getpid()

    def stop(number: int, _: FrameType | None) -> NoReturn:
        if os.getpid() != owner:  # a forked worker inherits the handler, and has nothing to clean up
            os._exit(128 + number)
        raise Interrupted(f"stopped by {signal.Signals(number).name}")

    previous = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    ours = [
        number for number, handler in previous.items() if handler is not signal.SIG_IGN
    ]  # as nohup sets it
    for number in ours:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, previous[number] or signal.SIG_DFL)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Holds signals back until the block is done: half a hand-over and half a clean-up must not be."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    held = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    previous = {number: signal.signal(number, lambda number, _: came.append(number)) for number in held}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler or signal.SIG_DFL)
        if came:
            signal.raise_signal(came[0])


@contextmanager
def _parents(folder: Path) -> Iterator[None]:
    """Creates a folder and its parents, and removes again what then stays empty, as after a failure."""
    made: list[Path] = []
    try:
        with writing(folder):
            for missing in reversed([place for place in (folder, *folder.parents) if not place.exists()]):
                missing.mkdir(exist_ok=True)
                made.append(missing)
        yield
    finally:
        for place in reversed(made):
            with suppress(OSError):  # not empty
                place.rmdir()


@contextmanager
def _working_folder(final: Path) -> Iterator[Path]:
    """Creates the hidden folder beside a destination and holds it locked; no other build gets past meanwhile.

    Its name comes from the stem, because ``app.zip`` and the directory ``app`` have the same companions.
    """
    folder = final.with_name(f".{final.stem if is_zip(final) else final.name}.slimpack")
    held: int | None = None
    try:
        with _uninterrupted(), writing(final.parent):
            held = _take(folder, final)
            _sweep(folder)
        yield folder
    finally:
        with _uninterrupted():
            with suppress(OSError):
                if held is not None:
                    _sweep(folder)
                    (folder / _LOCK).unlink()
                folder.rmdir()
            if held is not None:
                os.close(held)


def _take(folder: Path, final: Path) -> int:
    """Creates and locks a working folder; returns the descriptor that holds the lock.

    The lock goes with the process, however that ends. A build that ends removes file and folder while it still
    holds the lock: one that comes just then may lock a file that is no longer there, and tries again.
    """
    while True:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        try:
            if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
                raise OutputError(
                    "somebody else's file is where slimpack has to work",
                    where=str(folder),
                    fix="Remove it, or choose another folder.",
                )
            held = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except FileNotFoundError:  # just removed
            continue
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(held), (folder / _LOCK).stat()):
                return held
        except FileNotFoundError:
            pass
        except BlockingIOError:
            os.close(held)
            raise OutputError(
                "another build is writing it",
                where=str(final),
                fix="Wait until it has finished, or choose another output.",
            ) from None
        os.close(held)


def _sweep(folder: Path) -> None:
    for place in folder.iterdir():
        if place.name != _LOCK:
            shutil.rmtree(place, ignore_errors=True)


def _refuse_to_destroy(final: Path, *, lock: Path, manifest: Path) -> None:
    """Raises if a hand-over would fail, or would delete what no build wrote."""
    if final.is_symlink():
        raise OutputError("is a symbolic link", where=str(final), fix="Give the path it leads to.")
    if final.is_mount():
        raise OutputError("is a mount point", where=str(final), fix="Give a folder below it.")
    for place in (lock, manifest, *([final] if is_zip(final) else [])):
        if place.exists() and not place.is_file():
            raise OutputError("exists and is no file", where=str(place), fix="Choose another output.")
    if is_zip(final) or not final.exists():
        return
    if not final.is_dir():
        raise OutputError(
            "exists and is no folder",
            where=str(final),
            fix="Choose another output; a zip's name ends in .zip.",
        )
    with writing(final):
        stranger = _stranger(final, manifest)
    if stranger is not None:
        raise OutputError(
            f"has files that slimpack did not put there, such as {stranger}",
            where=str(final),
            fix="Choose another output, or remove the folder yourself.",
        )


def _stranger(folder: Path, manifest: Path) -> str | None:
    """Returns what the manifest beside a folder does not list of what is in it, bytecode aside, or None."""
    from slimpack.manifest import from_json

    listed: set[str] = set()
    with suppress(OSError, ManifestError):
        account = from_json(manifest.read_bytes(), where=str(manifest))
        if account.format == "directory":
            listed = {file.path for file in account.files if file.decision != "removed"}
    if not listed:
        return next((place.name for place in folder.iterdir()), None)
    listed |= {path[:end] for path in listed for end, letter in enumerate(path) if letter == "/"}
    for root, folders, files in os.walk(folder, onerror=_fail):
        if "__pycache__" in folders:
            folders.remove("__pycache__")
        for name in (*folders, *files):
            place = Path(root) / name
            path = place.relative_to(folder).as_posix()
            if path not in listed or place.is_symlink():  # a bundle has no links
                return path
    return None


def _is_manifest(place: Path) -> bool:
    """Returns whether a file is a manifest, so that what lies beside it is slimpack's."""
    from slimpack.manifest import from_json

    with suppress(OSError, ManifestError):
        from_json(place.read_bytes(), where=str(place))
        return True
    return False


def _fail(problem: OSError) -> NoReturn:
    raise problem


def _hand_over(new: Path, finals: Sequence[Path], *, stale: Sequence[Path], aside: Path) -> None:
    """Moves what is in ``new`` to its final places, and what is stale away; if one move fails, all are undone."""
    aside.mkdir()
    with ExitStack() as undo:
        for final in stale:
            if final.exists():
                final.rename(aside / final.name)
                undo.callback((aside / final.name).replace, final)
        for final in finals:
            staged, old = new / final.name, aside / final.name
            if not staged.exists():
                continue
            if final.exists():
                _set_aside(final, old)
                undo.callback(old.replace, final)
            staged.replace(final)
            undo.callback(final.replace, staged)
        undo.pop_all()


def _set_aside(final: Path, old: Path) -> None:
    """Keeps the previous output; of a file a second link, so that its name is never without a file."""
    if final.is_file():
        with suppress(OSError):  # a file system without hard links
            old.hardlink_to(final)
            return
    final.rename(old)


def is_zip(path: Path) -> bool:
    """Returns whether an output is a zip, going by its name."""
    return path.suffix.lower() == ".zip"

"""Unpack: a bundle as the tree of files that the function sees, with the rights it has there, in a folder of ours."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from slimpack.elf import unpack as elf
from slimpack.elf.layout import ElfError, is_elf
from slimpack.elf.packed import read_packed
from slimpack.errors import BundleError, WheelError
from slimpack.output import writing
from slimpack.unzip import Archive, Limits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from zipfile import ZipInfo

_UNIX = 3
"""``version made by`` of a zip whose entries have Unix modes (APPNOTE.TXT 4.4.2)."""


_PREFIX, _UNFINISHED = "slimpack-invoke-", "slimpack-begin-"
"""What names of scratch folders begin with, and those of folders that are not locked yet."""

_MAGIC = 64
"""Bytes that tell an ELF file."""

_LOCK = "lock"
"""File of a scratch folder that is held locked (flock(2)) as long as somebody works there."""


@contextmanager
def scratch() -> Iterator[Path]:
    """Yields a folder that others may pass through, with nothing in it but its lock, and removes it with all in it.

    What a killed slimpack of the same user has left behind goes first.
    """
    parent = Path(tempfile.gettempdir())
    with writing(parent):
        _sweep(parent)
        begun = Path(tempfile.mkdtemp(prefix=_UNFINISHED))
        held = os.open(begun / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(held, fcntl.LOCK_EX)
        begun.chmod(0o711)
        folder = begun.rename(parent / f"{_PREFIX}{begun.name.removeprefix(_UNFINISHED)}")
    try:
        yield folder
    finally:
        _remove(folder)
        os.close(held)


def _sweep(parent: Path) -> None:
    """Removes the scratch folders of this user that nobody holds locked."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # another process sweeps as well, or it is no folder of ours
            if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
                continue
            held = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(folder)
            finally:
                os.close(held)


def _remove(folder: Path) -> None:
    for root, folders, _ in os.walk(folder):
        for place in (Path(root), *(Path(root, name) for name in folders)):
            if not place.is_symlink():  # whose aim is not ours
                place.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def unpack(bundle: Path, folder: Path) -> Path:
    """Returns the root of a bundle's tree; a directory is taken as it lies there.

    On Lambda the function is not the owner of its files: what only the owner may read, such as a file of mode 600,
    it cannot. So a file gets for everybody what its mode says of others.

    Args:
        bundle: A zip, or a directory.
        folder: Where a zip is unpacked to; it is created.

    Raises:
        BundleError: It cannot be read, is no zip, or is hostile or damaged.
        OutputError: It cannot be unpacked.
    """
    if bundle.is_dir():
        return bundle.resolve()
    with ExitStack() as stack:
        try:
            archive = Archive.open(bundle, limits=Limits(), place=str, stack=stack)
            with writing(folder):
                _write(archive, folder)
        except WheelError as problem:
            raise BundleError(
                problem.what,
                where=problem.where,
                fix="Give a zip as Lambda takes it, or a directory; `slimpack build` makes both.",
            ) from problem
    return folder


def copy(tree: Path, folder: Path) -> None:
    """Copies a directory as if it were unpacked, so that what runs there can do nothing to it.

    Links stay links. Of what cannot be read there is an empty file that cannot be read either.

    Args:
        tree: The directory.
        folder: Where the copy goes; it is created.

    Raises:
        OSError: It cannot be written.
    """
    for root, folders, files in os.walk(tree):
        here = folder / Path(root).relative_to(tree)
        here.mkdir()
        for place in (Path(root, name) for name in (*folders, *files)):
            if place.is_symlink():
                (here / place.name).symlink_to(place.readlink())
            elif place.is_file():
                _copy_file(place, here / place.name)
    _shut(folder)


def whole(tree: Path, folder: Path, *, owned: bool) -> Path:
    """Returns a tree as the one given, with packed shared objects as they were before they were packed.

    Addresses are the same in both, so what is seen of the one holds for the other.

    Args:
        tree: A bundle's files.
        folder: Where a copy goes if there has to be one; it is created.
        owned: Whether the tree may be changed; otherwise a copy is, if anything in it is packed.

    Raises:
        OutputError: It cannot be written.
    """
    packed = [place.relative_to(tree) for place in tree.rglob("*") if _is_packed(place)]
    if not packed:
        return tree
    with writing(folder):
        if not owned:
            copy(tree, folder)
            tree = folder
        for path in packed:
            _replace(tree / path, elf.unpack((tree / path).read_bytes()))
    return tree


def _is_packed(place: Path) -> bool:
    """Returns whether a file is a packed shared object, sound or not."""
    if place.is_symlink() or not place.is_file() or not os.access(place, os.R_OK):
        return False
    with place.open("rb") as file:
        if not is_elf(file.read(_MAGIC)):
            return False
    try:
        return read_packed(place.read_bytes()) is not None
    except ElfError:
        return False


def _replace(place: Path, content: bytes | bytearray) -> None:
    """Gives a file of a folder that nobody may write to other content."""
    mode = place.parent.stat().st_mode
    place.parent.chmod(mode | stat.S_IWUSR)
    new = place.with_name(f".{place.name}.whole")
    new.write_bytes(content)
    new.chmod(place.stat().st_mode & 0o777)
    new.replace(place)
    place.parent.chmod(mode)


def _copy_file(source: Path, place: Path) -> None:
    mode = _mode_for_all(source.stat().st_mode)
    try:
        shutil.copyfile(source, place)
    except PermissionError:
        place.touch()
        mode = 0
    place.chmod(mode)


def _shut(folder: Path) -> None:
    """Lets nobody but root write into folders: as on Lambda, nothing can be written, bytecode included."""
    for root, _, _ in os.walk(folder, topdown=False):
        Path(root).chmod(0o555)


def _write(archive: Archive, folder: Path) -> None:
    for place in {str(Path(name).parent) for name in archive.entries} | {"."}:
        (folder / place).mkdir(parents=True, exist_ok=True)

    def write(name: str) -> None:
        place = folder / name
        place.write_bytes(archive.read(name))
        place.chmod(_mode(archive.entries[name]))

    with ThreadPoolExecutor(os.cpu_count()) as threads:  # inflating releases the interpreter's lock
        for _ in threads.map(write, archive.entries):
            pass
    _shut(folder)


def _mode(info: ZipInfo) -> int:
    """Returns the mode of a file: what others may do with it, for all; never to write it."""
    if info.create_system != _UNIX:
        return 0o444
    return _mode_for_all(info.external_attr >> 16)


def _mode_for_all(mode: int) -> int:
    others = stat.S_IMODE(mode) & 0o5
    return others << 6 | others << 3 | others

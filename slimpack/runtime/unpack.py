"""Unpack: a bundle as the tree of files that the function sees, with the rights it has there."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from slimpack.errors import BundleError, WheelError
from slimpack.output import writing
from slimpack.unzip import Archive, Limits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from zipfile import ZipInfo

_UNIX = 3
"""``version made by`` of a zip whose entries have Unix modes (APPNOTE.TXT 4.4.2)."""


@contextmanager
def scratch() -> Iterator[Path]:
    """Yields an empty folder that others may pass through, and removes it with all that is in it."""
    with writing(Path(tempfile.gettempdir())):
        folder = Path(tempfile.mkdtemp(prefix="slimpack-invoke-"))
        folder.chmod(0o711)
    try:
        yield folder
    finally:
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
    for root, _, _ in os.walk(folder, topdown=False):
        Path(root).chmod(0o555)  # as on Lambda, nothing can be written, bytecode included


def _mode(info: ZipInfo) -> int:
    """Returns the mode of a file: what others may do with it, for all; never to write it."""
    if info.create_system != _UNIX:
        return 0o444
    others = stat.S_IMODE(info.external_attr >> 16) & 0o5
    return others << 6 | others << 3 | others

"""Survey: the account of a bundle that has no manifest, from its own files. Nothing is unpacked."""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack
from typing import TYPE_CHECKING, cast

from slimpack import paths, target
from slimpack.account import OTHER, Account
from slimpack.errors import BundleError, WheelError
from slimpack.installed import Tree
from slimpack.manifest import DistributionRecord, FileRecord, by_owner
from slimpack.resolve.environment import markers
from slimpack.unzip import Archive, Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from slimpack.manifest import Manifest
    from slimpack.model import Architecture

_LIMITS = Limits(size=2**50, ratio=2**20, links=True)
"""What a bundle may ask: since it is not unpacked, that is little more than a bound on the number of its files."""

_ARCHITECTURES: Mapping[str | None, Architecture] = {"x86_64": "x86_64", "aarch64": "arm64"}

_NAMED = 5
"""Of a kind of thing that a note names."""

_MAKE = "Give a zip as Lambda takes it, a directory, or the .manifest.json of a build."


def survey(bundle: Path) -> Account:
    """Returns the account of a bundle: whose its files are, as far as they tell themselves.

    Args:
        bundle: A zip, or a directory.

    Raises:
        BundleError: It cannot be read, is neither, or is hostile or damaged.
    """
    with ExitStack() as stack:
        sizes, read = _open(bundle, stack)
        return _account(bundle, sizes, read)


def check(bundle: Path, manifest: Manifest, *, beside: Path) -> int | None:
    """Makes sure that a manifest speaks of a bundle, and returns the bytes of the zip; None for a directory.

    Args:
        bundle: A zip, or a directory.
        manifest: What lies beside it.
        beside: Where.

    Raises:
        BundleError: The bundle has other files than the manifest says, or cannot be read.
    """
    with ExitStack() as stack:
        sizes, _ = _open(bundle, stack)
    said = {file.path: file.size_after for file in manifest.files if file.decision != "removed"}
    wrong = sorted(path for path, _ in sizes.items() ^ said.items())
    archive = _archive_size(bundle)
    if not wrong and (archive is None or manifest.totals.archive_size in {None, archive}):
        return archive
    if wrong:
        first = wrong[0]
        what = f"{paths.shown(first)} has {_bytes(sizes.get(first))}, not {_bytes(said.get(first))}"
    else:
        what = f"the zip has {archive:,} bytes, not {manifest.totals.archive_size:,}"
    raise BundleError(
        f"is not the bundle that its manifest {beside.name} speaks of: {what}",
        where=str(bundle),
        fix=f"Build it again; or delete {beside.name}, and the bundle is judged by its own files.",
    )


def _bytes(size: int | None) -> str:
    return "none" if size is None else f"{size:,} bytes"


def _archive_size(bundle: Path) -> int | None:
    return None if bundle.is_dir() else bundle.stat().st_size


def _open(bundle: Path, stack: ExitStack) -> tuple[dict[str, int], Callable[[str], bytes]]:
    """Returns bytes by path, and what reads a file."""
    try:
        if bundle.is_dir():
            sizes = dict(_walk(bundle))
            return sizes, lambda path: _read(bundle, path)
        archive = Archive.open(bundle, limits=_LIMITS, place=str, stack=stack)
    except WheelError as problem:
        raise BundleError(problem.what, where=problem.where, fix=_MAKE) from problem
    except OSError as problem:
        what = f"cannot be read: {problem.strerror}"
        raise BundleError(what, where=str(problem.filename or bundle), fix=_MAKE) from problem
    return {name: info.file_size for name, info in archive.entries.items()}, archive.read


def _walk(root: Path) -> Iterator[tuple[str, int]]:
    """Yields the files of a directory with their sizes; a symbolic link is itself a small file."""
    waiting = [""]
    count = 0
    while waiting:
        folder = waiting.pop()
        with os.scandir(root / folder) as entries:
            for entry in entries:
                path = folder + entry.name
                count += 1
                if count > _LIMITS.entries:
                    raise BundleError(
                        f"has more than {_LIMITS.entries:,} files and folders", where=str(root), fix=_MAKE
                    )
                if (what := paths.fault(path)) is not None:
                    raise BundleError(what, where=paths.shown(path), fix="Rename or delete it.")
                found = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(found.st_mode):
                    waiting.append(f"{path}/")
                elif stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode):
                    yield path, found.st_size
                else:
                    raise BundleError(
                        "is a pipe, a socket or a device", where=paths.shown(path), fix="Delete it."
                    )


def _read(root: Path, path: str) -> bytes:
    """Returns the content of a file; of a symbolic link, whatever it points to, nothing."""
    place = root / path
    try:
        return b"" if place.is_symlink() else place.read_bytes()
    except OSError as problem:
        raise BundleError(
            f"cannot be read: {problem.strerror}", where=str(place), fix="Check its permissions."
        ) from problem


def _account(bundle: Path, sizes: Mapping[str, int], read: Callable[[str], bytes]) -> Account:
    try:
        tree = Tree(sizes, read, name=bundle.name)
        runtime = None if tree.python is None else f"python3.{tree.python}"
        runtime = runtime if runtime in target.runtimes() else None
        architecture = _ARCHITECTURES.get(tree.machine)
        assumed = target.make(
            runtime=runtime or target.default_runtime(), architecture=architecture or "x86_64"
        )
        distributions = tree.distributions(cast("dict[str, str]", markers(assumed)))
    except WheelError as problem:
        raise BundleError(problem.what, where=problem.where, fix=_MAKE) from problem
    files = tuple(
        FileRecord(
            path=path,
            owner=tree.owners.get(path, OTHER),
            decision="kept",
            size_before=size,
            size_after=size,
        )
        for path, size in sorted(sizes.items())
    )
    owned = {owner: after for owner, (_, after) in by_owner(files).items()}
    return Account(
        name=bundle.name,
        origin="directory" if bundle.is_dir() else "zip",
        distributions=tuple(
            DistributionRecord(
                name=one.name,
                version=one.version,
                wheel="",
                sha256="",
                size_before=owned.get(one.name, 0),
                size_after=owned.get(one.name, 0),
                requires=one.requires,
                requested=one.requested,
            )
            for one in distributions
        ),
        files=files,
        size=sum(sizes.values()),
        archive_size=_archive_size(bundle),
        runtime=runtime,
        architecture=architecture,
        notes=tuple(_notes(bundle.name, tree)),
    )


def _notes(name: str, tree: Tree) -> Iterator[str]:
    for copied, versions in sorted(tree.copies.items())[:_NAMED]:
        yield (
            f"{name} has {len(versions)} dist-info folders of {copied} ({', '.join(versions[:_NAMED])}); "
            "its size is that of all of them together."
        )
    if not tree.owners:
        yield (
            f"{name} has no dist-info folder, so that nobody can tell which packages its files belong to; "
            "tools that make bundles slim take them out."
        )

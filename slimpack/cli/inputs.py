"""What the verbs read: saved manifests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slimpack import manifest
from slimpack.errors import ManifestError, UsageError
from slimpack.output import is_zip

if TYPE_CHECKING:
    from pathlib import Path

    from slimpack.manifest import Manifest

_LARGEST = 512 * 2**20
"""Bytes beyond which a file is no manifest; one of 100,000 files has 30 MB."""


def find_manifest(folder: Path) -> Path:
    """Returns the one manifest in a folder.

    Args:
        folder: Where builds leave their output.

    Raises:
        UsageError: There is none, or more than one.
    """
    found = sorted(folder.glob("*.manifest.json"))
    if len(found) == 1:
        return found[0]
    names = ", ".join(path.name for path in found[:5])
    raise UsageError(
        f"{len(found)} manifests here: {names}" if found else "no manifest here",
        where=str(folder),
        fix="Name the manifest of the build with --manifest FILE.",
    )


def read_manifest(path: Path) -> Manifest:
    """Returns a saved manifest.

    Args:
        path: The manifest, or the bundle that it lies beside.

    Raises:
        ManifestError: There is none, or it cannot be read as one.
    """
    path = path.absolute()
    beside = path.parent / f"{path.stem if is_zip(path) else path.name}.manifest.json"
    file = path if path.suffix == ".json" else beside
    try:
        if file.stat().st_size > _LARGEST:
            raise ManifestError(
                "too large for a manifest", where=str(file), fix="Give the manifest of a build."
            )
        content = file.read_bytes()
    except OSError as problem:
        raise ManifestError(
            f"cannot be read: {problem.strerror}",
            where=str(file),
            fix="Give the .manifest.json of a build, or the bundle that it lies beside.",
        ) from problem
    return manifest.from_json(content, where=str(file))

"""Reading of profiles, for the verbs that take some."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slimpack.errors import ProfileError

if TYPE_CHECKING:
    from pathlib import Path

    from slimpack.model import Target
    from slimpack.profile import Profile

_LARGEST = 512 * 2**20
"""Bytes beyond which a file is no profile; one run of TensorFlow has two million."""


def read_profile(path: Path, target: Target) -> Profile:
    """Returns a saved profile.

    Args:
        path: What ``slimpack trace`` wrote.
        target: What it has to be of.

    Raises:
        ProfileError: It cannot be read, or is of another runtime or processor.
    """
    from slimpack.profile import from_json

    fix = "Give a profile that `slimpack trace` wrote."
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as problem:
        raise ProfileError(f"cannot be read: {problem.strerror}", where=str(path), fix=fix) from problem
    if len(content) > _LARGEST:
        raise ProfileError("too large for a profile", where=str(path), fix=fix)
    profile = from_json(content, where=str(path))
    if (profile.runtime, profile.architecture) != (target.runtime, target.architecture):
        raise ProfileError(
            f"is of {profile.runtime} on {profile.architecture}, "
            f"the bundle is for {target.runtime} on {target.architecture}",
            where=str(path),
            fix="Give only profiles of the same runtime and processor.",
        )
    return profile

"""Candidate: a file that a resolver chose, and whether it fits the target. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from packaging.tags import cpython_tags
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    parse_sdist_filename,
    parse_wheel_filename,
)

from slimpack.target import wheel_tags

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path
    from typing import Self

    from packaging.tags import Tag
    from packaging.version import Version

    from slimpack.model import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A wheel or a source of a distribution."""

    name: str
    """Canonical distribution name."""
    version: str
    """PEP 440 version."""
    link: str
    """URL (``file:`` for a local one), which may hold credentials."""
    hashes: Mapping[str, str]
    """Hexadecimal hash by algorithm; empty where nobody told."""
    size: int | None = None
    """Bytes."""
    index: str | None = None
    """The index it came from, where the resolver tells."""
    built: Path | None = None
    """The wheel that was built from it, if it is a source."""

    @property
    def filename(self) -> str:
        """Name of the file."""
        return self.built.name if self.built else filename_of(self.link)

    @property
    def is_wheel(self) -> bool:
        """Whether it can go into a bundle as it is."""
        return self.filename.endswith(".whl")


def filename_of(link: str) -> str:
    """Returns the file name that a URL ends with."""
    return unquote(urlsplit(link).path).rpartition("/")[2]


def version_of(filename: str) -> Version | None:
    """Returns the version in the name of a wheel or source archive; None if it is no such name."""
    try:
        return (parse_wheel_filename if filename.endswith(".whl") else parse_sdist_filename)(filename)[1]
    except (InvalidWheelFilename, InvalidSdistFilename):
        return None


def same_place(one: str, other: str) -> bool:
    """Returns whether two URLs differ at most in credentials, query, fragment and the revision of a repository."""
    parts, others = urlsplit(one), urlsplit(other)
    return (
        parts.scheme == others.scheme
        and parts.netloc.rpartition("@")[2] == others.netloc.rpartition("@")[2]
        and parts.path.partition("@")[0] == others.path.partition("@")[0]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Which wheels fit a target."""

    tags: tuple[Tag, ...]
    """Tags of the target, best first."""
    local: tuple[Tag, ...]
    """Tags that promise nothing about the base system: only good for wheels that were built for this build."""
    trusted: frozenset[str]
    """File names of those wheels."""

    @classmethod
    def to(cls, target: Target, trusted: Iterable[str] = ()) -> Self:
        """Returns what fits a target.

        Args:
            target: The target.
            trusted: File names of wheels that may have a ``linux_<machine>`` tag: the user named their file, or
                slimpack built them.
        """
        return cls(
            tags=wheel_tags(target),
            local=tuple(
                cpython_tags(
                    target.python,
                    abis=["cp{}{}".format(*target.python)],
                    platforms=[f"linux_{target.machine}"],
                )
            ),
            trusted=frozenset(trusted),
        )

    def rank(self, filename: str) -> int | None:
        """Returns the place of a wheel among those that fit, the lower the better; None if it does not fit."""
        try:
            own = parse_wheel_filename(filename)[3]
        except InvalidWheelFilename:
            return None
        known = (*self.tags, *self.local) if filename in self.trusted else self.tags
        return next((place for place, tag in enumerate(known) if tag in own), None)

    def without(self, filenames: Iterable[str]) -> set[str]:
        """Returns the releases that have files, and no wheel among them that fits."""
        found = {(version_of(name), self.rank(name) is not None) for name in filenames}
        fitting = {version for version, fits in found if fits}
        return {str(version) for version, _ in found if version is not None and version not in fitting}


def tag_names(filenames: Iterable[str]) -> list[str]:
    """Returns the tags in wheel file names as they are written there, sorted."""
    return sorted({"-".join(name.removesuffix(".whl").split("-")[-3:]) for name in filenames})

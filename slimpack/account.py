"""The account: what is in a bundle and who brings it, as its manifest tells or as the bundle itself shows. Pure.

Gate, diff and why work on it, so that they need not know whether slimpack has built the bundle.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from slimpack.errors import ManifestError
from slimpack.manifest import by_owner, sums

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slimpack.manifest import DistributionRecord, FileRecord, Manifest
    from slimpack.model import Architecture

OTHER = "(other)"
"""Owner of files that no distribution of a bundle claims, where only the bundle itself can tell."""

_MOST_DISTRIBUTIONS = 5_000
"""In one bundle; the largest environments have some hundreds."""

_MOST_NEEDS = 100_000
"""Of all of them together; ten for each are many."""

Origin = Literal["manifest", "zip", "directory"]
"""Where an account comes from: a manifest, or the files of a bundle that has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What is in a bundle, and who brings it."""

    name: str
    """What to call the bundle: its file name."""
    origin: Origin
    """Who tells."""
    distributions: tuple[DistributionRecord, ...]
    """Sorted by name. Without a manifest ``size_before`` is ``size_after``, and the wheel is unknown: ``""``."""
    files: tuple[FileRecord, ...]
    """Sorted by path; what was removed is in it where a manifest tells."""
    size: int
    """Bytes of the bundle, unzipped: what limits count."""
    archive_size: int | None = None
    """Bytes of the zip; None for a directory."""
    runtime: str | None = None
    """Lambda's identifier, such as ``python3.13``; None if neither manifest nor wheel tags tell."""
    architecture: Architecture | None = None
    """The processor; None likewise."""
    manifest: Manifest | None = None
    """The manifest; None if there is none."""
    notes: tuple[str, ...] = ()
    """What limits the account, as sentences: what the bundle itself could not tell."""

    def sizes(self) -> dict[str, int]:
        """Returns bytes in the bundle by owner, those with none left out; they sum up to ``size``."""
        return {owner: after for owner, (_, after) in by_owner(self.files).items() if after}

    def versions(self) -> dict[str, str]:
        """Returns versions by distribution."""
        return {one.name: one.version for one in self.distributions}

    def needed_by(self) -> Mapping[str, tuple[str, ...]]:
        """Returns by distribution which others need it, sorted."""
        needed: dict[str, list[str]] = defaultdict(list)
        for one in self.distributions:
            for required in one.requires:
                needed[required].append(one.name)
        return {name: tuple(sorted(those)) for name, those in needed.items()}


def of_manifest(manifest: Manifest, *, name: str, where: str | None = None) -> Account:
    """Returns the account that a manifest gives.

    Args:
        manifest: The manifest.
        name: What to call the bundle.
        where: The manifest's file, for messages.

    Raises:
        ManifestError: Its sums are not those of its files.
    """
    if (what := _imbalance(manifest)) is not None:
        raise ManifestError(what, where=where or name, fix="Build the bundle again; don't edit its manifest.")
    return Account(
        name=name,
        origin="manifest",
        distributions=manifest.distributions,
        files=manifest.files,
        size=manifest.totals.size_after,
        archive_size=manifest.totals.archive_size,
        runtime=manifest.target.runtime,
        architecture=manifest.target.architecture,
        manifest=manifest,
    )


def _imbalance(manifest: Manifest) -> str | None:
    """Returns why a manifest cannot be what a build wrote; None if it can."""
    files = manifest.files
    if len(manifest.distributions) > _MOST_DISTRIBUTIONS:
        return f"the manifest lists {len(manifest.distributions):,} packages, more than any real one"
    if (needs := sum(len(one.requires) for one in manifest.distributions)) > _MOST_NEEDS:
        return f"the manifest lists {needs:,} needs of packages, more than any real one"
    if len({file.path for file in files}) != len(files):
        return "the manifest lists a file twice"
    if len({one.name for one in manifest.distributions}) != len(manifest.distributions):
        return "the manifest lists a package twice"
    if sums(files, archive_size=manifest.totals.archive_size) != manifest.totals:
        return "the totals of the manifest are not the sums of its files"
    owned = by_owner(files)
    if any(
        owned.get(one.name, (0, 0)) != (one.size_before, one.size_after) for one in manifest.distributions
    ):
        return "the sizes of the manifest's packages are not the sums of their files"
    if any(after < 0 for _, after in owned.values()):
        return "the manifest has packed more into an archive than the archive has bytes"
    return None

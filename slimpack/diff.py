"""The diff: what has become larger or smaller from one bundle to another, and why. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from slimpack.account import Account

Kind = Literal["added", "removed", "changed", "unchanged"]

Cause = Literal[
    "upgrade",
    "downgrade",
    "requested",
    "dependency",
    "dropped",
    "rules",
    "packing",
    "bytecode",
    "source",
    "content",
]
"""Why a size is another: another version; asked for by the requirements, or by another distribution; no longer needed;
other rules; packed or not; bytecode; the app's own files; the same version with other files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """A file that is not as large as it was."""

    path: str
    """Place in the bundle."""
    owner: str
    """Who brings it (in the head; in the base if it is gone)."""
    before: int
    """Bytes in the base; 0 if it is new."""
    after: int
    """Bytes in the head; 0 if it is gone."""
    cause: Cause
    """Why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageChange:
    """An owner of files, and how its size has changed."""

    name: str
    """Canonical distribution name, ``(app)``, ``(slimpack)`` or ``(other)``."""
    kind: Kind
    """Whether it is new, gone, other or as it was."""
    version_before: str
    """PEP 440 version; empty where there is none."""
    version_after: str
    """Likewise."""
    before: int
    """Bytes in the base."""
    after: int
    """Bytes in the head."""
    causes: tuple[Cause, ...]
    """Why, the one of most bytes first; empty for what is unchanged."""
    via: tuple[str, ...] = ()
    """The way to it from the requirements (in the base for what is gone): names, root first, itself last."""

    @property
    def delta(self) -> int:
        """Bytes that it has grown by."""
        return self.after - self.before


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """All that has changed between two bundles."""

    base: Account
    """What it is compared with."""
    head: Account
    """What is compared."""
    packages: tuple[PackageChange, ...]
    """All owners of either, by size of the change, largest first, then by name; sums are those of the bundles."""
    files: tuple[FileChange, ...]
    """Files whose size or content changed, by size of the change, largest first, then by path."""
    notes: tuple[str, ...] = ()
    """What limits the comparison, as sentences: another target, another version of slimpack, other rules."""

    @property
    def delta(self) -> int:
        """Bytes that the bundle has grown by."""
        return self.head.size - self.base.size

    @property
    def changed(self) -> tuple[PackageChange, ...]:
        """What is not unchanged."""
        return tuple(one for one in self.packages if one.kind != "unchanged")


def diff(base: Account, head: Account) -> Diff:
    """Returns what has changed."""
    raise NotImplementedError

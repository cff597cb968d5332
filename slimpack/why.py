"""Why: what a distribution of a bundle is here for, and what would go with it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slimpack.account import Account


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """What there is to say of one distribution."""

    name: str
    """Canonical name (PEP 503)."""
    version: str
    """PEP 440 version."""
    requested: bool
    """Whether the requirements name it."""
    required_at: tuple[str, ...]
    """Places in the requirements that ask for it, or for those that it is here for."""
    paths: tuple[tuple[str, ...], ...]
    """A shortest way to it from each distribution that the requirements name: names, root first, itself last."""
    needed_by: tuple[str, ...]
    """Those that need it directly, sorted."""
    own: int
    """Bytes of it in the bundle."""
    retained: int
    """Bytes that would go if it went: its own, and those of what is here for nobody else."""
    retains: tuple[str, ...]
    """What would go with it, sorted by size, largest first; without itself."""


def why(account: Account, name: str) -> Why:
    """Returns what a distribution is here for.

    Args:
        account: The bundle.
        name: Its name, in any spelling.

    Raises:
        UsageError: The bundle has no such distribution.
    """
    raise NotImplementedError


def retained(account: Account) -> Mapping[str, int]:
    """Returns by distribution the bytes that would go if it went."""
    raise NotImplementedError


def root_places(account: Account, name: str) -> tuple[str, ...]:
    """Returns the lines of the requirements that a distribution is here for; empty where nothing tells."""
    raise NotImplementedError

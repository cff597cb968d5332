"""The gate: budgets, and the verdict on a bundle against them. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slimpack.account import Account
    from slimpack.diff import Diff
    from slimpack.model import Finding

Status = Literal["pass", "warn", "fail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Sizes up to which all is well; None where nothing is asked."""

    warn: int | None = None
    """Bytes from which on (exclusive of it) there is a warning."""
    fail: int | None = None
    """Bytes beyond which the gate fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Increase:
    """A growth against the baseline that is too much: both have to be exceeded."""

    percent: float = 0.0
    """Of the baseline's size."""
    bytes: int = 0
    """At least so many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """Everything that the gate asks of a bundle."""

    total: Budget = field(default_factory=Budget)
    """Of the whole bundle, besides the target's own limit."""
    packages: Mapping[str, Budget] = field(default_factory=dict)
    """By canonical name, or shell pattern over names: each package that matches has the budget for itself."""
    increase_warn: Increase | None = None
    """Growth of the whole bundle that is warned of."""
    increase_fail: Increase | None = None
    """Growth of the whole bundle that fails."""
    reserve: int = 0
    """Bytes of attached layers, which count towards the target's limit."""
    forbidden: tuple[str, ...] = ()
    """Names, or shell patterns over names, of what must not be in the bundle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the gate says."""

    status: Status
    """The worst of the findings: errors fail, warnings warn."""
    findings: tuple[Finding, ...]
    """Errors first; ``Finding.actual`` and ``Finding.limit`` have the figures."""
    budget_only: bool
    """Whether all errors are breached budgets, which ``--exit-zero`` masks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """What a pull request, a terminal or a page is told of a bundle; what every format is made from."""

    account: Account
    """The bundle."""
    verdict: Verdict
    """What the gate says of it."""
    diff: Diff | None = None
    """Against the baseline; None if there is none."""
    limit: int | None = None
    """Unzipped bytes to stay below, the reserve taken off; None where no target is known."""
    key: str = "slimpack"
    """Tells apart the bundles of one repository; part of a comment's hidden marker."""

"""The gate: budgets, and the verdict on a bundle against them. Pure."""

from __future__ import annotations

import fnmatch
import math
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

from packaging.utils import canonicalize_name

from slimpack import findings
from slimpack.amounts import apart, mebibytes
from slimpack.diff import Diff, diff
from slimpack.model import Finding, Severity
from slimpack.why import lines

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from slimpack.account import Account
    from slimpack.findings import Kind

Status = Literal["pass", "warn", "fail"]

BREACHES = frozenset(
    kind.code
    for kind in (
        findings.TOTAL_OVER_BUDGET,
        findings.PACKAGE_OVER_BUDGET,
        findings.GROWN_TOO_MUCH,
        findings.FORBIDDEN_PACKAGE,
    )
)
"""Findings that say that a budget is breached, and hence what ``--exit-zero`` masks."""

_WILD = frozenset("*?[")
"""What makes a shell pattern of a name."""


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

    def allowed(self, size: int) -> int:
        """Returns the bytes that a bundle may grow by.

        Args:
            size: Bytes of the baseline.
        """
        return max(self.bytes, math.floor(size * Fraction(str(self.percent)) / 100))


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """Everything that the gate asks of a bundle."""

    total: Budget = field(default_factory=Budget)
    """Of the whole bundle, besides the target's own limit."""
    packages: Mapping[str, Budget] = field(default_factory=dict)
    """By canonical name, or shell pattern over names: each package that matches has the budget for itself, and one
    that is named has its own in place of those of patterns."""
    increase_warn: Increase | None = None
    """Growth of the whole bundle that is warned of."""
    increase_fail: Increase | None = None
    """Growth of the whole bundle that fails."""
    reserve: int = 0
    """Bytes of attached layers, which count towards the target's limit; 0 for what the bundle was built with."""
    forbidden: tuple[str, ...] = ()
    """Canonical names, or shell patterns over names, of what must not be in the bundle."""
    limit: int | None = None
    """Unzipped bytes to stay below (exclusive) where the manifest tells no lower limit; None for what that tells."""
    places: Mapping[str, str] = field(default_factory=dict)
    """Where a budget is stated, a file or an option: by name or pattern for packages, for growth by ``increase``."""

    @property
    def judges_growth(self) -> bool:
        """Whether a baseline is needed."""
        return self.increase_warn is not None or self.increase_fail is not None

    def without_growth(self) -> Budgets:
        """Returns all but what needs a baseline."""
        return replace(self, increase_warn=None, increase_fail=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A baseline that was asked for and is not there."""

    name: str
    """What was given."""
    reason: str
    """Why it cannot be used, a phrase to put after the name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A thing that was judged, whatever came of it."""

    kind: Literal["limit", "total", "package", "increase", "forbidden"]
    """What is judged: the bundle against the target's limit or against its own budget, a package, growth against the
    baseline, or what must not be there."""
    name: str
    """The package, the pattern that forbids, or the baseline; of the whole bundle its name."""
    actual: int
    """Bytes that there are; those that the bundle has grown by; those of what is forbidden."""
    warn: int | None = None
    """Bytes beyond which there is a warning."""
    fail: int | None = None
    """Bytes beyond which the gate fails; of a limit those from which on it does."""
    status: Status = "pass"
    """What came of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the gate says."""

    status: Status
    """The worst of the findings: errors fail, warnings warn."""
    findings: tuple[Finding, ...]
    """Errors first; ``Finding.actual`` and ``Finding.limit`` have the figures."""
    budget_only: bool
    """Whether all errors are breached budgets, which ``--exit-zero`` masks."""
    checks: tuple[Check, ...] = ()
    """All that was judged: limit, total, growth, packages by size, what is forbidden."""


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
    folder: str = ""
    """Folder of the requirements file in the repository, from its root: what places are relative to."""


def review(
    account: Account,
    budgets: Budgets | None = None,
    *,
    baseline: Account | Missing | None = None,
    behind: str | None = None,
    key: str = "slimpack",
    folder: str = "",
) -> Review:
    """Returns what there is to tell of a bundle: the verdict and, with a baseline, the diff.

    Args:
        account: The bundle.
        budgets: What is asked of it; None for what its target asks alone.
        baseline: What it is compared with, or why that is not there; None if nobody asks for one.
        behind: That the baseline is not of the commit that the change begins at (``diff.of_another_commit``).
        key: Tells apart the bundles of one repository.
        folder: Folder of the requirements file in the repository.
    """
    budgets = budgets or Budgets()
    against: Diff | Missing | None = baseline if isinstance(baseline, Missing) else None
    compared = None
    if baseline is not None and not isinstance(baseline, Missing):
        compared = against = _compared(baseline, account, behind)
    return Review(
        account=account,
        verdict=judge(account, budgets, baseline=against, behind=behind),
        diff=compared,
        limit=limit_of(account, budgets),
        key=key,
        folder=folder,
    )


def _compared(base: Account, head: Account, behind: str | None) -> Diff:
    compared = diff(base, head)
    return compared if behind is None else replace(compared, notes=(behind, *compared.notes))


def limit_of(account: Account, budgets: Budgets) -> int | None:
    """Returns the unzipped bytes that a bundle has to stay below, the reserve taken off; None if nothing tells."""
    told = None if account.manifest is None else account.manifest.target.size_limit
    known = [limit for limit in (told, budgets.limit) if limit is not None]
    return min(known) - _reserve(account, budgets) if known else None


def _reserve(account: Account, budgets: Budgets) -> int:
    """Returns the bytes of attached layers: what is asked for, else what the bundle was built with."""
    told = 0 if account.manifest is None else account.manifest.target.reserve
    return budgets.reserve or told


def governed(account: Account, wanted: Collection[str]) -> dict[str, dict[str, int] | None]:
    """Returns which packages the names and patterns of budgets govern, and their bytes; None where nothing matches.

    Args:
        account: The bundle.
        wanted: Canonical names, or shell patterns over names.
    """
    return _governed(_sizes(account), wanted)


def is_pattern(name: str) -> bool:
    """Returns whether a name stands for more than itself."""
    return not _WILD.isdisjoint(name)


def judge(
    account: Account,
    budgets: Budgets,
    *,
    baseline: Diff | Missing | None = None,
    behind: str | None = None,
) -> Verdict:
    """Returns what the gate says of a bundle.

    What a budget cannot be held against is a finding of its own, never a pass: a name that matches nothing, a
    baseline that is missing or of another target. Errors that the manifest has of its own fail the gate, too.

    Args:
        account: The bundle.
        budgets: What is asked of it.
        baseline: The bundle compared with its base; or why there is none though it was asked for.
        behind: That the base is not of the commit that the change begins at, as a sentence.
    """
    subject = _Subject(account=account, sizes=_sizes(account), lines=lines(account))
    said = [
        *_limit(subject, budgets),
        *_total(subject, budgets),
        *_growth(subject, budgets, baseline, behind),
        *_packages(subject, budgets),
        *_forbidden(subject, budgets),
    ]
    own = _own(account)
    found = [*own, *(one for one in said if isinstance(one, Finding))]
    errors = [one for one in found if one.severity is Severity.ERROR]
    warns = any(one.severity is Severity.WARNING for one in found)
    return Verdict(
        status="fail" if errors else "warn" if warns else "pass",
        findings=tuple(sorted(found, key=_order)),
        budget_only=not own and all(one.code in BREACHES for one in errors),
        checks=tuple(one for one in said if isinstance(one, Check)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    """A bundle, looked up once: it may have a million files."""

    account: Account
    """The bundle."""
    sizes: Mapping[str, int]
    """Bytes by canonical name, of what is wholly left out of the bundle as well."""
    lines: Mapping[str, str]
    """The line of the requirements that a package goes back to, by name."""

    def place(self, name: str) -> str:
        """Returns the line of the requirements that brings a package, else its name."""
        return self.lines.get(name, name)

    def place_of_largest(self) -> str:
        """Returns the line of the requirements that brings the most, else the bundle itself."""
        return self.lines.get(self._largest() or "", self.account.name)

    def words_on_largest(self) -> str:
        """Returns what takes the most of the bundle, to be put after a message."""
        name = self._largest()
        return "" if name is None else f"; {name} alone takes {mebibytes(self.sizes[name])}"

    def _largest(self) -> str | None:
        return max(self.sizes, key=lambda name: self.sizes[name], default=None)


def _governed(sizes: Mapping[str, int], wanted: Collection[str]) -> dict[str, dict[str, int] | None]:
    found: dict[str, dict[str, int] | None] = {}
    for one in wanted:
        matching = [name for name in sizes if fnmatch.fnmatchcase(name, one)] if is_pattern(one) else [one]
        there = [name for name in matching if name in sizes]
        own = {name: sizes[name] for name in there if name == one or name not in wanted}
        found[one] = own if there else None
    return found


def _own(account: Account) -> list[Finding]:
    """Returns the errors that a bundle has, whatever its size."""
    if account.manifest is None:
        return (
            [] if account.files else [findings.EMPTY_BUNDLE.at(account.name, "there is not one file in it")]
        )
    return [
        one
        for one in account.manifest.findings
        if one.severity is Severity.ERROR
        and one.code != findings.OVER_LIMIT.code  # judged here, with the reserve
    ]


def _limit(subject: _Subject, budgets: Budgets) -> Iterator[Check | Finding]:
    account = subject.account
    limit = limit_of(account, budgets)
    if limit is None:
        return
    over = account.size >= limit
    yield Check(
        kind="limit", name=account.name, actual=account.size, fail=limit, status="fail" if over else "pass"
    )
    if over:
        reserve = _reserve(account, budgets)
        layers = f" beside {reserve:,} bytes of attached layers" if reserve else ""
        yield findings.OVER_LIMIT.at(
            subject.place_of_largest(),
            f"{account.size:,} bytes unzipped{layers}, must stay below {max(limit, 0):,}{subject.words_on_largest()}",
            actual=account.size,
            limit=limit,
        )


def _total(subject: _Subject, budgets: Budgets) -> Iterator[Check | Finding]:
    account = subject.account
    status, limit = _against(account.size, budgets.total)
    if budgets.total == Budget():
        return
    yield Check(
        kind="total",
        name=account.name,
        actual=account.size,
        warn=budgets.total.warn,
        fail=budgets.total.fail,
        status=status,
    )
    if limit is not None:
        size, budget = apart(account.size, limit)
        yield _breach(
            findings.TOTAL_OVER_BUDGET,
            status,
            subject.place_of_largest(),
            f"the bundle takes {size}, its budget is {budget}{subject.words_on_largest()}",
            actual=account.size,
            limit=limit,
        )


def _growth(
    subject: _Subject, budgets: Budgets, baseline: Diff | Missing | None, behind: str | None
) -> Iterator[Check | Finding]:
    if not isinstance(baseline, Diff):
        place = budgets.places.get("increase", "increase")
        if baseline is not None:
            yield findings.NO_BASELINE.at(baseline.name, baseline.reason)
        elif budgets.judges_growth:
            yield findings.NO_BASELINE.at(place, "growth has a budget, and no baseline is given")
        return
    base, account = baseline.base, subject.account
    yield from _stale(account, base, behind)
    if other := _other_target(account, base):
        severity = Severity.ERROR if budgets.judges_growth else Severity.WARNING
        message = f"it is for {other}: growth cannot be judged"
        yield findings.MISMATCHED_BASELINE.at(base.name, message, severity=severity)
    elif budgets.judges_growth:
        yield from _increase(subject, budgets, baseline)


def _increase(subject: _Subject, budgets: Budgets, baseline: Diff) -> Iterator[Check | Finding]:
    base, grown = baseline.base, baseline.delta
    warn, fail = (
        None if increase is None else increase.allowed(base.size)
        for increase in (budgets.increase_warn, budgets.increase_fail)
    )
    status, limit = _against(grown, Budget(warn=warn, fail=fail))
    yield Check(kind="increase", name=base.name, actual=grown, warn=warn, fail=fail, status=status)
    if limit is not None:
        most = max(baseline.packages, key=lambda one: one.delta)  # there is one: what has grown has packages
        size, allowed = apart(grown, limit)
        share = f" ({100 * grown / base.size:.1f} %)" if base.size else ""
        yield _breach(
            findings.GROWN_TOO_MUCH,
            status,
            subject.place(most.name),
            f"the bundle has grown by {size}{share} over {base.name}, {allowed} are allowed; "
            f"{most.name} alone by {mebibytes(most.delta)}",
            actual=grown,
            limit=limit,
        )


def _stale(account: Account, base: Account, behind: str | None) -> Iterator[Finding]:
    if behind is not None:
        yield findings.STALE_BASELINE.at(base.name, f"{behind[:1].lower()}{behind[1:].rstrip('.')}")
    writers = [one.manifest.slimpack for one in (base, account) if one.manifest is not None]
    if len(set(writers)) > 1:
        message = f"slimpack {writers[0]} built it, and slimpack {writers[1]} this bundle"
        yield findings.STALE_BASELINE.at(base.name, message)


def _other_target(account: Account, base: Account) -> str:
    """Returns in which way a baseline is for another target; empty where nothing tells that it is."""
    pairs = [(base.runtime, account.runtime), (base.architecture, account.architecture)]
    if account.manifest is not None and base.manifest is not None:
        pairs.append((base.manifest.target.kind, account.manifest.target.kind))
    return " and ".join(f"{one}, not {other}" for one, other in pairs if one and other and one != other)


def _packages(subject: _Subject, budgets: Budgets) -> Iterator[Check | Finding]:
    for wanted, sizes in _governed(subject.sizes, budgets.packages).items():
        budget = budgets.packages[wanted]
        if sizes is None:
            noun = "pattern" if is_pattern(wanted) else "package"
            place = budgets.places.get(wanted, "budget.packages")
            yield findings.BUDGET_WITHOUT_MATCH.at(place, f"the bundle has no {noun} {wanted!r}")
        for name, size in sorted((sizes or {}).items(), key=lambda item: (-item[1], item[0])):
            status, limit = _against(size, budget)
            yield Check(
                kind="package", name=name, actual=size, warn=budget.warn, fail=budget.fail, status=status
            )
            if limit is not None:
                actual, allowed = apart(size, limit)
                by = f" ({wanted})" if is_pattern(wanted) else ""
                yield _breach(
                    findings.PACKAGE_OVER_BUDGET,
                    status,
                    subject.place(name),
                    f"{name} takes {actual}, its budget{by} is {allowed}",
                    actual=size,
                    limit=limit,
                )


def _forbidden(subject: _Subject, budgets: Budgets) -> Iterator[Check | Finding]:
    account = subject.account
    if budgets.forbidden and account.files and not account.distributions:
        yield findings.BUDGET_WITHOUT_MATCH.at(
            account.name,
            "nothing in it tells which packages it has, so that nobody can say that what is forbidden is not there",
            fix="Keep the dist-info folders in the bundle, or check the manifest of a slimpack build.",
        )
    for wanted in budgets.forbidden:
        there = {
            name: size for name, size in subject.sizes.items() if size and fnmatch.fnmatchcase(name, wanted)
        }
        yield Check(
            kind="forbidden",
            name=wanted,
            actual=sum(there.values()),
            fail=0,
            status="fail" if there else "pass",
        )
        for name, size in there.items():
            by = f" by {wanted}" if is_pattern(wanted) else ""
            yield findings.FORBIDDEN_PACKAGE.at(
                subject.place(name),
                f"{name} is forbidden{by} and takes {mebibytes(size)}",
                actual=size,
                limit=0,
            )


def _against(actual: int, budget: Budget) -> tuple[Status, int | None]:
    """Returns what a size comes to, and the bytes that it breaches, if any."""
    if budget.fail is not None and actual > budget.fail:
        return "fail", budget.fail
    if budget.warn is not None and actual > budget.warn:
        return "warn", budget.warn
    return "pass", None


def _breach(kind: Kind, status: Status, place: str, message: str, *, actual: int, limit: int) -> Finding:
    severity = Severity.ERROR if status == "fail" else Severity.WARNING
    return kind.at(place, message, severity=severity, actual=actual, limit=limit)


def _sizes(account: Account) -> dict[str, int]:
    """Returns bytes by canonical name, of what is wholly left out of the bundle as well."""
    sizes: dict[str, int] = {canonicalize_name(one.name): 0 for one in account.distributions}
    for owner, size in account.sizes().items():
        name = canonicalize_name(owner)
        sizes[name] = sizes.get(name, 0) + size
    return sizes


def _order(finding: Finding) -> tuple[int, str, int, str, str]:
    """Returns what findings are sorted by: errors first, then by code, what is exceeded by most first."""
    excess = (finding.actual or 0) - (finding.limit or 0)
    return list(Severity).index(finding.severity), finding.code, -excess, finding.place, finding.message

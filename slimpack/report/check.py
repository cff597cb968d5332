"""A review for a person at a terminal: findings first, then what was judged, then the verdict in a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from slimpack.amounts import apart
from slimpack.model import Severity
from slimpack.report.table import Column, table
from slimpack.report.text import findings_block, render
from slimpack.report.words import mebibytes, safe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from slimpack.gate import Check, Review

_ROWS = 15
"""Packages shown one by one; those that hold share a row."""

_STYLES = {"pass": "bold green", "warn": "bold yellow", "fail": "bold red"}
_WORDS = {"pass": "pass", "warn": "warn", "fail": "FAIL"}
_RANK = {"fail": 0, "warn": 1, "pass": 2}


def text(review: Review, *, width: int = 80, color: bool = False) -> str:
    """Returns a review as text.

    Args:
        review: The review.
        width: Columns.
        color: Whether ANSI colours may be used.
    """
    return render(
        findings_block(review.verdict.findings),
        _checks(review.verdict.checks, width),
        _verdict(review),
        width=width,
        color=color,
    )


def addition(review: Review, *, width: int = 80, color: bool = False) -> str:
    """Returns what budgets add to the report of a build: findings that its manifest lacks, then the verdict.

    Empty if there is nothing that the report does not say already.

    Args:
        review: The review.
        width: Columns.
        color: Whether ANSI colours may be used.
    """
    manifest = review.account.manifest
    told = {one.code for one in manifest.findings} if manifest else set()
    added = [one for one in review.verdict.findings if one.code not in told]
    if not added and all(check.kind == "limit" for check in review.verdict.checks):
        return ""
    return "\n" + render(findings_block(added), _verdict(review), width=width, color=color)


def _verdict(review: Review) -> Text:
    """Returns the verdict in a line."""
    account, verdict = review.account, review.verdict
    line = Text(_WORDS[verdict.status], style=_STYLES[verdict.status])
    words = [f" {safe(account.name)}: {mebibytes(account.size)}"]
    if review.limit is not None:
        size, limit = apart(account.size, max(review.limit, 0))
        words = [f" {safe(account.name)}: {size}", f"must stay below {limit}"]
    if review.diff is not None:
        words.append(f"{_signed(review.diff.delta)} against {safe(review.diff.base.name)}")
    line.append(", ".join(words), style="not bold default")
    line.append(f"; {_count(review)}", style="not bold default")
    return line


def _count(review: Review) -> str:
    severities = [one.severity for one in review.verdict.findings]
    counts = [
        f"{number} {severity.value}{'s' if number > 1 else ''}"
        for severity in Severity
        if (number := severities.count(severity))
    ]
    if counts:
        return ", ".join(counts)
    budgets = sum(check.kind != "limit" for check in review.verdict.checks)
    return (
        f"{budgets} budgets hold" if budgets > 1 else "its budget holds" if budgets else "no budgets are set"
    )


def _signed(size: int) -> str:
    return f"{'+' if size > 0 else ''}{mebibytes(size)}"


def _checks(checks: Sequence[Check], width: int) -> Table | None:
    packages = sorted(
        (check for check in checks if check.kind in {"package", "forbidden"}),
        key=lambda check: _RANK[check.status],
    )
    shown = [*(check for check in checks if check not in packages), *packages[:_ROWS]]
    if not shown:
        return None
    rows = [_row(check) for check in shown]
    if rest := packages[_ROWS:]:
        breached = sum(check.status != "pass" for check in rest)
        rows.append((f"{len(rest)} more", "", "", f"{breached} breached" if breached else "pass"))
    columns = (
        Column(header="Budget", folds_to=20),
        Column(header="Is"),
        Column(header="May be", goes=1),
        Column(header="Verdict", folds_to=7, goes=2),
    )
    return table(columns, rows, width=width)


def _row(check: Check) -> tuple[str, str, str, str]:
    names = {
        "limit": "limit",
        "total": "total",
        "increase": "growth",
        "package": safe(check.name),
        "forbidden": f"no {safe(check.name)}",
    }
    may = next((level for level in (check.fail, check.warn) if level is not None), None)
    if check.status == "warn":
        may = check.warn
    if check.kind == "forbidden":
        return names[check.kind], mebibytes(check.actual), "", _WORDS[check.status]
    actual, allowed = (mebibytes(check.actual), "") if may is None else apart(check.actual, may)
    below = "< " if check.kind == "limit" else ""
    return names[check.kind], actual, below + allowed, _WORDS[check.status]

"""A review for a person, all of it: what is in the bundle, what the gate says, what has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from slimpack.report import check
from slimpack.report import diff as changes
from slimpack.report import text as whole
from slimpack.report.table import Column, table
from slimpack.report.words import clipped, mebibytes

if TYPE_CHECKING:
    from rich.table import Table

    from slimpack.account import Account
    from slimpack.gate import Review

_ROWS = 15
"""Packages shown one by one; the smaller ones share a row."""

_FILES = 10
"""Files that changed, shown one by one."""

_NAME = 120
"""Characters of a name."""


def text(review: Review, *, width: int = 80, color: bool = False) -> str:
    """Returns a review as text: of a bundle that slimpack has built the report of the build, and what came after it.

    Args:
        review: The review.
        width: Columns.
        color: Whether ANSI colours may be used.
    """
    account = review.account
    if account.manifest is not None:
        shown = whole.text(account.manifest, name=account.name, width=width, color=color)
        shown += check.addition(review, width=width, color=color)
    else:
        notes = [Text(f"note {clipped(note, 4 * _NAME)}") for note in account.notes]
        shown = whole.render(_packages(account, width), *notes, width=width, color=color)
        shown += f"\n{check.text(review, width=width, color=color)}"
    if review.diff is not None:
        shown += f"\n{changes.text(review.diff, files=_FILES, width=width, color=color)}"
    return shown


def _packages(account: Account, width: int) -> Table:
    """Returns what is in a bundle that nothing but itself tells of."""
    sizes = sorted(account.sizes().items(), key=lambda row: (-row[1], row[0]))
    shown, rest = (sizes, []) if len(sizes) <= _ROWS + 1 else (sizes[:_ROWS], sizes[_ROWS:])
    versions = account.versions()
    rows = [(clipped(name, _NAME), clipped(versions.get(name, ""), _NAME), size) for name, size in shown]
    if rest:
        rows.append((f"{len(rest):,} smaller", "", sum(size for _, size in rest)))
    whole_size = account.size
    return table(
        (
            Column(header="Package", footer="total", folds_to=20),
            Column(header="Version", folds_to=10, goes=2),
            Column(header="Size", footer=mebibytes(whole_size)),
            Column(header="Share", footer="100 %" if whole_size else "", goes=1),
        ),
        [
            (name, version, mebibytes(size), f"{100 * size / whole_size:.0f} %" if whole_size else "")
            for name, version, size in rows
        ],
        width=width,
    )

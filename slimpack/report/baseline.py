"""Budgets that are written anew, for a person and as values that JSON can hold."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.text import Text

from slimpack.report.table import Column, table
from slimpack.report.text import render
from slimpack.report.words import mebibytes, safe

if TYPE_CHECKING:
    from slimpack.baseline import Update
    from slimpack.gate import Budget


def record(update: Update, *, file: str) -> dict[str, Any]:
    """Returns what is written anew; sizes are bytes.

    Args:
        update: What becomes of the configuration.
        file: Its name.
    """
    return {
        "schema_version": 1,
        "file": file,
        "budgets": [asdict(change) for change in update.changes],
        "left": list(update.left),
    }


def text(update: Update, *, file: str, width: int = 80, color: bool = False) -> str:
    """Returns what is written anew as text.

    Args:
        update: What becomes of the configuration.
        file: Its name.
        width: Columns.
        color: Whether ANSI colours may be used.
    """
    rows = [
        (safe(change.name), mebibytes(change.actual), _budget(change.before), _budget(change.after))
        for change in update.changes
    ]
    columns = (
        Column(header="Budget", folds_to=20),
        Column(header="Takes", goes=1),
        Column(header="Was", goes=2),
        Column(header="Is now"),
    )
    return render(
        Text(safe(file), style="bold"),
        table(columns, rows, width=width),
        *(
            Text(f"{safe(name)}: the bundle has no such package; its budget is left as it was")
            for name in update.left
        ),
        width=width,
        color=color,
    )


def _budget(budget: Budget) -> str:
    levels = [mebibytes(level) for level in (budget.warn, budget.fail) if level is not None]
    return " / ".join(levels) or "none"

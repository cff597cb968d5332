"""How the space below the limit was spent, for a person."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from rich.text import Text

from slimpack.report.table import Column, table
from slimpack.report.text import render
from slimpack.report.words import duration, mebibytes, safe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from slimpack.fit import FormName
    from slimpack.manifest import ChoiceRecord, FitRecord

_ROWS = 20
"""Choices shown one by one."""

_WORDS: dict[FormName, str] = {
    "plain": "as it came",
    "compiled": "with bytecode",
    "raw": "packed, code as it is",
    "hot": "packed, quickly there",
    "cold": "packed, small",
    "warm": "packed but for what is touched",
    "packed": "packed",
    "dense": "packed in large blocks",
}
"""Forms in words."""


def fitted(
    record: FitRecord, size: int, *, shown: Sequence[ChoiceRecord] | None = None, width: int, color: bool
) -> str:
    """Returns which forms modules and shared objects got, what that takes more than the smallest, and what it saves.

    Args:
        record: How they were chosen.
        size: Bytes of the bundle.
        shown: Which of the choices to show; None for all.
        width: Columns.
        color: Whether ANSI colours may be used.
    """
    expected = duration(record.milliseconds / 1000)
    choices = record.choices if shown is None else shown
    part = f"Shown: {len(choices):,} of the {len(record.choices):,} that could have another form"
    return render(
        Text(
            f"{mebibytes(size)} of {mebibytes(record.room)} used; all modules and shared objects of the bundle are "
            f"expected to take {expected} of a start, judged by {safe(record.usage)}"
        ),
        Text(part) if shown is not None else None,
        _by_form(choices, width),
        _largest(choices, width) if choices else None,
        width=width,
        color=color,
    )


def in_words(one: ChoiceRecord) -> str:
    """Returns what was chosen for one file, and what for."""
    return (
        f"chosen form: {_WORDS[one.form]}, {mebibytes(one.price)} more than the smallest, for "
        f"{duration(one.worth / 1000)} less of a start (`slimpack explain --fit` shows all)"
    )


def _is_module(one: ChoiceRecord) -> bool:
    return one.path.endswith(".py")


def _by_form(choices: Sequence[ChoiceRecord], width: int) -> Table:
    groups: dict[tuple[bool, FormName], list[ChoiceRecord]] = defaultdict(list)
    for one in choices:
        groups[not _is_module(one), one.form].append(one)
    order = list(_WORDS)
    return table(
        (
            Column(header="What", folds_to=14),
            Column(header="Form", folds_to=14),
            Column(header="Number", goes=1),
            Column(header="Price", footer=mebibytes(sum(one.price for one in choices))),
            Column(header="Worth", footer=duration(sum(one.worth for one in choices) / 1000)),
        ),
        [
            (
                "shared objects" if library else "modules",
                _WORDS[form],
                f"{len(some):,}",
                mebibytes(sum(one.price for one in some)),
                duration(sum(one.worth for one in some) / 1000),
            )
            for (library, form), some in sorted(
                groups.items(), key=lambda item: (item[0][0], order.index(item[0][1]))
            )
        ],
        width=width,
    )


def _largest(choices: Sequence[ChoiceRecord], width: int) -> Table:
    """Returns what took the most room, of what could have been smaller."""
    first = sorted(choices, key=lambda one: (-one.price, one.path))[:_ROWS]
    return table(
        (
            Column(header="Largest prices", folds_to=28),
            Column(header="Form", folds_to=14, goes=1),
            Column(header="Price"),
            Column(header="Worth"),
        ),
        [
            (safe(one.path), _WORDS[one.form], mebibytes(one.price), duration(one.worth / 1000))
            for one in first
        ],
        width=width,
    )

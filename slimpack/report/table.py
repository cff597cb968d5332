"""A table that gives up its least important columns rather than run over the edge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich import box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

_GAP = 3
"""Columns of the terminal between two of the table (``box.SIMPLE``)."""

_CRAMPED = 10
"""Width of words at which they can just be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column and what may be done to it for want of room."""

    header: str
    """What stands above it."""
    footer: str = ""
    """What stands below it."""
    goes: int | None = None
    """Its place in the order in which columns are left out, from 1; None for one that stays."""
    cramps: bool = False
    """Whether words rather become as narrow as they can than that this column is left out."""
    folds_to: int | None = None
    """Width at which its words still read well; None for figures, which stand on the right and never fold."""


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], *, width: int) -> Table:
    """Returns a table with as many of its columns as there is room for.

    Args:
        columns: The columns.
        rows: Cells by row and column, safe to be shown.
        width: Columns of the terminal.
    """
    widest = [
        max(map(cell_len, (column.header, column.footer, *(row[index] for row in rows))))
        for index, column in enumerate(columns)
    ]
    shown = list(range(len(columns)))
    leaving = sorted((column.goes, index) for index, column in enumerate(columns) if column.goes is not None)
    for _, index in leaving:
        needed = sum(_need(columns[one], widest[one], cramped=columns[index].cramps) for one in shown)
        if needed + _GAP * (len(shown) - 1) <= width:
            break
        shown.remove(index)
    made = Table(
        box=box.SIMPLE,
        pad_edge=False,
        show_edge=False,
        show_footer=any(column.footer for column in columns),
    )
    for column in (columns[index] for index in shown):
        figures = column.folds_to is None
        made.add_column(
            column.header,
            footer=column.footer,
            overflow="fold",
            justify="right" if figures else "left",
            no_wrap=figures,
        )
    for row in rows:
        made.add_row(*(Text(row[index]) for index in shown))
    return made


def _need(column: Column, widest: int, *, cramped: bool) -> int:
    """Returns the least width of a column."""
    if column.folds_to is None:
        return widest
    return min(widest, _CRAMPED if cramped else column.folds_to)

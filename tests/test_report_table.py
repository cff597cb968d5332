from __future__ import annotations

import pytest

from slimpack.report.table import Column, table
from slimpack.report.text import render

COLUMNS = (
    Column(header="Name", footer="total", folds_to=16),
    Column(header="Version", folds_to=8, goes=1),
    Column(header="Before", footer="12345678", goes=2, cramps=True),
    Column(header="After", footer="1234567"),
)
ROWS = [("a-package-with-a-name", "1.0", "1", "1"), ("other", "2.0.0", "12345677", "1234566")]


def shown(width: int) -> str:
    return render(table(COLUMNS, ROWS, width=width), width=width, color=False)


@pytest.mark.parametrize(
    ("width", "headers"),
    [
        (80, ["Name", "Version", "Before", "After"]),
        (48, ["Name", "Version", "Before", "After"]),
        (46, ["Name", "Before", "After"]),
        (31, ["Name", "Before", "After"]),
        (30, ["Name", "After"]),
        (20, ["Name", "After"]),
    ],
)
def test_the_least_important_columns_go_first(width: int, headers: list[str]) -> None:
    lines = shown(width).splitlines()

    assert lines[0].split() == headers
    assert max(map(len, lines)) <= width


def test_figures_are_never_broken_and_names_are_folded() -> None:
    lines = shown(31).splitlines()

    assert any("12345677" in line and "1234566" in line for line in lines)
    assert "".join(line[:10].strip() for line in lines[2:5]) == "a-package-with-a-name"

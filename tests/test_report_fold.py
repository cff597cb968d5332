from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from slimpack.report.fold import fold

WORDS = st.lists(st.text("ab-/.,(é数", min_size=1, max_size=9), max_size=12).map(" ".join)


@given(words=WORDS, width=st.integers(10, 40))
def test_lines_are_those_of_rich(words: str, width: int) -> None:
    rich = [line.plain.rstrip() for line in Text(words).wrap(Console(width=width), width)]

    assert fold(words, width) == (rich or [""])


def test_a_word_that_is_wider_than_the_line_is_broken() -> None:
    assert fold("at " + "x" * 25 + " ends", 10) == ["at", "x" * 10, "x" * 10, "xxxxx ends"]
    assert fold("x" * 20, 10) == ["x" * 10, "x" * 10]

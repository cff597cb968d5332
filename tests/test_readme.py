"""The transcript in the README is one that the program still prints."""

from __future__ import annotations

import re
from pathlib import Path

from samples import account_of, book, file, inventory, reference, rules

from slimpack.report.text import text

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def headings(words: str) -> set[str]:
    """Returns what of a report does not depend on what was built: the lines without their figures and names."""
    known = (
        r"Package +Version +Before +After +Saved +Share",
        r"Saved by +Files +Saved",
        r"Overruled: .*",
        r"total +.* MiB +.* MiB +.* MiB +100 %",
        r"fits, .* left: .* bytes, must stay below 262,144,000",
        r"\[#+\.*\] .* of 250.0 MiB \(.* %\)",
    )
    return {pattern for pattern in known for line in words.splitlines() if re.fullmatch(pattern, line)}


def test_the_report_in_the_readme_has_the_form_of_a_report() -> None:
    removing = rules('[[rule]]\nname = "tests"\npaths = ["tests/"]\nexamples = { match = ["tests/a"] }')
    stock = inventory(file("pkg/a.py", size=30 * 2**20), file("tests/a.py", size=2**20), file("tests/b.py"))

    printed = text(account_of(stock, book(removing), references=[reference("tests.b")]), name="x.zip")

    assert headings(printed)
    assert headings(printed) == headings(README)


def test_the_demo_in_the_readme_ends_with_the_handlers_answer() -> None:
    assert '"species": "virginica"' in README
    assert "as expected.json says" in README

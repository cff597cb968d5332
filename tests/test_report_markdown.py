from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING, get_args

import cmarkgfm  # type: ignore[import-untyped]
import pytest
from cmarkgfm.cmark import Options  # type: ignore[import-untyped]
from hypothesis import HealthCheck, given, settings
from reviews import BASE, HARM, HEAD, LIMIT, MIB, account, crowd, diff, hostile, review, usual

from slimpack import __version__, findings
from slimpack.diff import Cause
from slimpack.errors import UsageError
from slimpack.report import markdown
from slimpack.report.words import clipped

if TYPE_CHECKING:
    from slimpack.gate import Review

OURS = {
    *("p", "strong", "ul", "li", "br", "code", "sub", "details", "summary"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
"""What we write ourselves."""


class Shown(HTMLParser):
    """What a page shows once GitHub's own parser has read the Markdown."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.comments: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.words: list[str] = []
        self.feed(cmarkgfm.github_flavored_markdown_to_html(text, Options.CMARK_OPT_UNSAFE))
        self.close()
        self.tables = [[[cell.strip() for cell in row] for row in table] for table in self.tables]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in {"td", "th"}:
            self.tables[-1][-1].append("")

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self.tables and self.tables[-1] and self.tables[-1][-1]:
            self.tables[-1][-1][-1] += data

    @property
    def text(self) -> str:
        return "".join(self.words).replace("\u200b", "")


def test_a_comment_has_marker_verdict_findings_table_details_and_footer_in_this_order() -> None:
    lines = markdown.comment(usual()).splitlines()

    assert lines[0] == "<!-- slimpack:slimpack -->"
    assert (
        lines[1]
        == "**❌ app.zip fails: 134.0 MiB of 250.0 MiB (53.6 %); +44.0 MiB (+48.8 %) against base.zip**"
    )
    assert lines[3].startswith(
        "- ❌ **SLP002** requirements.txt:7: pandas takes 40.0 MiB of 30.0 MiB<br>Fix: "
    )
    assert lines[3].endswith("<code>slimpack baseline update</code>.")
    assert lines[4].startswith("- ⚠️ **SLP107** numpy/a.so: ")
    assert lines[6:13] == [
        "| Package | Base | PR | Δ | % | Why |",
        "|:--|--:|--:|--:|--:|:--|",
        "| pandas 2.0 | – | 40.0 MiB | +40.0 MiB | new | upgrade: root → pandas |",  # noqa: RUF001
        "| numpy 1.0 → 2.0 | 30.0 MiB | 34.0 MiB | +4.0 MiB | +13.3 % | upgrade: root → numpy |",
        "| six 1.0 | 29.3 KiB | – | −29.3 KiB | −100.0 % | upgrade: root → six |",  # noqa: RUF001
        "| 1 unchanged | 60.0 MiB | 60.0 MiB | 0 |  |  |",
        "| **total** | 90.0 MiB | 134.0 MiB | +44.0 MiB | +48.8 % |  |",
    ]
    folded = [line for line in lines if line.startswith("<details>")]
    assert folded == [
        f"<details><summary>{words}</summary>"
        for words in ("3 files that changed", "3 packages in the bundle", "1 note")
    ]
    assert lines[-1] == f"<sub>base.zip → app.zip · python3.13, x86_64 · slimpack {__version__}</sub>"


def test_github_shows_a_comment_as_it_is_meant() -> None:
    shown = Shown(markdown.comment(usual()))

    assert shown.tags == OURS
    assert shown.attributes <= {"align"}
    assert shown.comments == [" slimpack:slimpack "]
    assert [len(table) for table in shown.tables] == [6, 4, 5]
    assert {len(row) for row in shown.tables[0]} == {6}


def test_without_a_base_the_packages_are_shown_openly() -> None:
    text = markdown.comment(review(HEAD))

    assert "✅ app.zip passes: 134.0 MiB of 250.0 MiB (53.6 %)**" in text
    assert "| scipy | 1.0 | 60.0 MiB | 44.8 % |" in text
    assert "<details>" not in text
    assert "against" not in text


def test_where_nothing_has_changed_it_says_so() -> None:
    text = markdown.comment(review(HEAD, compared=diff(HEAD, HEAD)))

    assert "no change against app.zip" in text
    assert "No change against app.zip." in text
    assert "| Package | Base |" not in text


def test_bytes_are_shown_where_rounding_would_hide_the_difference() -> None:
    over = account({"numpy": LIMIT})
    just = account({"numpy": LIMIT - 1})
    grown = review(just, compared=diff(account({"numpy": LIMIT - 2}), just))

    assert "250.0 MiB, OVER the limit of 250.0 MiB" in markdown.verdict(review(over))
    assert "262,143,999 bytes of 262,144,000 bytes" in markdown.verdict(review(just))
    assert "+1 B (<0.1 %) against" in markdown.verdict(grown)


def test_notes_on_the_comparison_are_shown() -> None:
    words = "The base is another target's."
    for one in (
        review(HEAD, compared=diff(BASE, HEAD, notes=(words,))),
        review(account({"six": 1}, notes=(words,))),
    ):
        assert f"\nNote: {words}\n" in markdown.comment(one)


def test_a_row_for_each_of_few_packages_and_sums_that_hold_for_many() -> None:
    few = review(
        account({f"p{number}": 10 * number + 10 for number in range(19)}),
        compared=diff(account({}), account({f"p{number}": 10 * number + 10 for number in range(19)})),
    )
    many = crowd(count=60, found=0)

    for one, rows in ((few, 20), (many, 20)):
        table = Shown(markdown.comment(one)).tables[0][1:]
        assert len(table) == rows
        assert table[-1][0] == "total"
    assert "more that changed" not in markdown.comment(few)
    table = Shown(markdown.comment(many)).tables[0][1:]
    assert table[-2][0] == "42 more that changed"

    def figures(column: int) -> list[float]:
        cells = [row[column].removesuffix(" MiB").replace(",", "") for row in table]
        return [0.0 if cell == "–" else float(cell) for cell in cells]  # noqa: RUF001 -- it is meant

    for column in (1, 2):
        *parts, total = figures(column)
        assert sum(parts) == pytest.approx(total, abs=0.05 * len(parts))


def test_a_crowd_stays_below_the_limit_and_nothing_is_left_out_silently() -> None:
    text = markdown.comment(crowd())

    assert len(text) <= len(text.encode()) < markdown.LIMIT
    assert "and 5,980 more, 2,980 of them errors" in text
    assert "25,000 files that changed" not in text or "more |" in text
    assert text.endswith(f"slimpack {__version__}</sub>\n")


@pytest.mark.parametrize("letter", ["|", "~a", "a", "\N{PILE OF POO}", "\x1b", "@", "`"])
def test_however_long_names_are_a_comment_stays_below_the_limit(letter: str) -> None:
    long = letter * 10_000
    names = [f"{number}{long}" for number in range(30)]
    head = account(dict.fromkeys(names, MIB), name=long, version=long)
    compared = diff(account({}, name=long), head, notes=(long,) * 9)
    changed = tuple(replace(one, via=(long,) * 30, version_before=long) for one in compared.packages)
    found = [findings.GROWN_TOO_MUCH.at(long, long, long)] * 50
    worst = review(head, found=found, compared=replace(compared, packages=changed))

    for one in (worst, replace(worst, diff=None)):
        text = markdown.comment(one)
        assert len(text.encode()) < markdown.LIMIT
        assert text.startswith("<!-- slimpack:slimpack -->\n**❌")
        assert text.endswith("</sub>\n")
        assert len(markdown.page(one, limit=markdown.LIMIT).encode()) < markdown.LIMIT
    assert ("Details are left out for want of room" in markdown.comment(worst)) is (letter != "a")


def test_what_there_is_room_for_is_not_said_to_be_left_out() -> None:
    assert "want of room" not in markdown.comment(usual())


def test_a_key_that_could_end_the_marker_is_refused() -> None:
    with pytest.raises(UsageError):
        markdown.comment(review(HEAD, key="a-->b"))


def test_all_causes_have_words() -> None:
    assert set(markdown._CAUSES) == set(get_args(Cause))


@pytest.mark.parametrize("harm", HARM)
def test_names_are_shown_as_they_are(harm: str) -> None:
    head = account({harm: 10 * MIB, "six": MIB})
    shown = Shown(markdown.comment(review(head, compared=diff(account({"six": MIB}), head))))

    cell = " ".join(shown.tables[0][1][0].replace("\u200b", "").split())
    assert cell == " ".join(f"{clipped(harm, 80)} 2.0".split())
    check(shown)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(hostile())
def test_nothing_that_a_manifest_says_becomes_markup_a_link_or_a_mention(hostile: Review) -> None:
    comment = markdown.comment(hostile)
    shown = Shown(comment)

    check(shown)
    assert shown.comments == [" slimpack:slimpack "]
    assert len(comment.encode()) < markdown.LIMIT
    for table in shown.tables:
        assert len({len(row) for row in table}) == 1


def check(shown: Shown) -> None:
    assert shown.tags <= OURS
    assert shown.attributes <= {"align"}
    words = "".join(shown.words)
    assert not re.search(r"@\w|#\d|://|www\.|GH-\d|[!~$^]\d", words)
    assert not any(ord(c) < 32 and c != "\n" for c in words)

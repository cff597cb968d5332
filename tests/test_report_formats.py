from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from jsonschema import Draft202012Validator
from reviews import BASE, HEAD, account, crowd, diff, hostile, review, usual

from slimpack import findings
from slimpack.errors import UsageError
from slimpack.findings import CATALOGUE, Kind
from slimpack.report import data
from slimpack.report.formats import FORMATS, requested

if TYPE_CHECKING:
    from slimpack.gate import Review

ROOT = Path(__file__).parent.parent
MOST = {
    "text": 100_000,
    "json": 3_000_000,
    "markdown": 65_535,
    "html": 1_000_000,
    "github": 30 * 4096,
    "summary": 2**20 - 1,
    "gitlab": 1_000_000,
    "metrics": 100_000,
    "junit": 1_000_000,
    "sarif": 1_000_000,
}
"""Bytes that a report of a crowd of packages and findings may have."""


def reviewed(one: Review) -> dict[str, Any]:
    """Returns a review as a reader of its JSON has it, checked against the schema."""
    found: dict[str, Any] = json.loads(data.data(one))
    Draft202012Validator(data.json_schema()).validate(found)
    return found


def test_formats_are_called_what_they_are_registered_as() -> None:
    for name, one in FORMATS.items():
        assert one.name == name
        assert re.fullmatch("[a-z]+", name)
        assert one.what[0].islower() or one.what.startswith("Open")


def test_every_format_and_all_of_its_file_names_are_documented() -> None:
    page = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    rows = {row.split("`")[1]: row for row in re.findall(r"^\| `.*$", page, re.MULTILINE)}

    assert list(rows) == list(FORMATS)
    for one in FORMATS.values():
        assert all(f"{suffix}`" in rows[one.name] for suffix in one.suffixes)


def test_no_two_formats_want_the_same_files() -> None:
    suffixes = [suffix for one in FORMATS.values() for suffix in one.suffixes]

    assert len(set(suffixes)) == len(suffixes)
    assert suffixes == [suffix.lower() for suffix in suffixes]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_has_its_limit_and_keeps_it(name: str) -> None:
    text = FORMATS[name].render(crowd())

    assert len(text.encode()) <= MOST[name]
    assert text.endswith("\n")


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_tells_the_size_and_the_verdict(name: str) -> None:
    text = FORMATS[name].render(usual())

    assert {
        "sarif": '"SLP002"',
        "gitlab": '"SLP002"',
        "json": '"size": 140509184',
        "metrics": "} 140509184",
    }.get(name, "134.0") in text


@pytest.mark.parametrize("name", FORMATS)
@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(hostile())
def test_no_format_lets_through_what_steers_a_terminal_or_cannot_be_written(
    name: str, hostile: Review
) -> None:
    text = FORMATS[name].render(hostile)

    text.encode()
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(hostile())
def test_a_page_has_no_element_that_a_manifest_names(hostile: Review) -> None:
    class Elements(HTMLParser):
        found: set[str] = set()  # noqa: RUF012 -- one page at a time

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            Elements.found |= {tag} | {name for name, _ in attrs if name.startswith("on")}

    Elements.found = set()
    Elements().feed(FORMATS["html"].render(hostile))
    assert not Elements.found & {"img", "iframe", "object", "onerror", "onload", "octocat"}


@pytest.mark.parametrize(
    ("words", "name", "file"),
    [
        ("a.txt", "text", "a.txt"),
        ("a.JSON", "json", "a.JSON"),
        ("dir.x/comment.md", "markdown", "dir.x/comment.md"),
        ("a.html", "html", "a.html"),
        ("step-summary.md", "summary", "step-summary.md"),
        ("gl-code-quality-report.json", "gitlab", "gl-code-quality-report.json"),
        ("metrics.txt", "metrics", "metrics.txt"),
        ("out/junit.xml", "junit", "out/junit.xml"),
        ("a.sarif", "sarif", "a.sarif"),
        ("a.sarif.json", "sarif", "a.sarif.json"),
        ("junit=a.json", "junit", "a.json"),
        ("github=annotations", "github", "annotations"),
        ("text=a=b", "text", "a=b"),
        ("a=b.txt", "text", "a=b.txt"),
    ],
)
def test_a_file_is_written_in_the_format_that_its_name_or_the_user_tells(
    words: str, name: str, file: str
) -> None:
    found, path = requested(words)

    assert (found.name, path) == (name, file)


@pytest.mark.parametrize("words", ["", "a", "a.pdf", "pdf=a.txt.pdf", "junit="])
def test_a_file_that_tells_no_format_is_refused_with_all_there_are(words: str) -> None:
    with pytest.raises(UsageError) as caught:
        requested(words)

    assert caught.value.where == "--report"
    assert "junit=FILE" in str(caught.value.fix)


def test_data_has_what_was_judged_and_what_has_changed() -> None:
    found = reviewed(usual())

    assert found["status"] == "fail"
    assert found["bundle"]["size"] == HEAD.size
    assert found["limit"] == 262_144_000
    assert found["checks"][1] == {
        "kind": "package",
        "name": "pandas",
        "actual": 41_943_040,
        "fail": 31_457_280,
        "status": "fail",
    }
    assert found["findings"][1]["file"] == "requirements.txt"
    assert found["findings"][1]["line"] == 3
    assert [one["name"] for one in found["diff"]["packages"]] == ["pandas", "numpy", "six"]
    assert found["diff"]["delta"] == HEAD.size - BASE.size
    assert sum(one["size"] for one in found["packages"]) == HEAD.size
    assert "left_out" not in found


def test_data_leaves_out_what_there_is_not() -> None:
    found = reviewed(review(account({}, archive_size=None, runtime=None), limit=None))

    assert "diff" not in found
    assert "limit" not in found
    assert "runtime" not in found["bundle"]


def test_data_counts_what_it_leaves_out() -> None:
    found = reviewed(crowd())

    assert found["left_out"] == {
        "findings": 8000,
        "checks": 2000,
        "packages": 0,
        "changed_packages": 0,
        "changed_files": 4000,
    }
    assert len(found["findings"]) == data.MOST


def test_data_has_no_endless_texts_and_ways() -> None:
    head = account({"a" * 10_000: 1})
    compared = diff(account({}), head)
    (change,) = compared.packages
    found = reviewed(review(head, compared=replace(compared, packages=(replace(change, via=("a",) * 9000),))))

    assert len(found["packages"][0]["name"]) == 4096
    assert len(found["diff"]["packages"][0]["via"]) == 100


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(hostile())
def test_data_keeps_to_its_schema_whatever_a_manifest_says(hostile: Review) -> None:
    assert len(reviewed(hostile)["findings"]) == len(hostile.verdict.findings)


def test_every_code_that_is_used_is_in_the_catalogue() -> None:
    kinds = {one for one in vars(findings).values() if isinstance(one, Kind)}
    assert kinds == set(CATALOGUE.values())

    places = [*(ROOT / "slimpack").rglob("*.py"), *(ROOT / "docs").glob("*.md"), ROOT / "README.md"]
    named = {
        code for place in places for code in re.findall(r"\bSLP\d{3}\b", place.read_text(encoding="utf-8"))
    }
    assert named
    assert named <= set(CATALOGUE)

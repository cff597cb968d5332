from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from reviews import HARM, HEAD, account, crowd, hostile, review, usual

from slimpack import findings
from slimpack.report import github
from slimpack.report.words import clipped, safe

if TYPE_CHECKING:
    from slimpack.gate import Review

KINDS = {"error": "error", "warning": "warning", "notice": "note"}


def parse(line: str) -> tuple[str, dict[str, str], str]:
    """Returns kind, properties and message as actions/runner reads a line (``ActionCommand.TryParseV2``)."""
    assert line.startswith("::")
    information, message = line[2:].split("::", 1)
    kind, _, words = information.partition(" ")
    pairs = [pair.split("=", 1) for pair in words.strip().split(",") if pair]
    return kind, {name: unescaped(value, "\r\n:,%") for name, value in pairs}, unescaped(message, "\r\n%")


def unescaped(words: str, characters: str) -> str:
    for character in characters:
        words = words.replace(f"%{ord(character):02X}", character)
    return words


def parsed(one: Review) -> list[tuple[str, dict[str, str], str]]:
    text = github.commands(one)
    assert text.endswith("\n")
    return [parse(line) for line in text[:-1].split("\n")]


def test_findings_are_annotations_at_the_lines_of_the_requirements() -> None:
    verdict, error, warning, note = parsed(usual())

    assert verdict == (
        "notice",
        {"title": "slimpack: fail"},
        "app.zip fails: 134.0 MiB of 250.0 MiB (53.6 %); +44.0 MiB (+48.8 %) against base.zip",
    )
    assert error == (
        "error",
        {"file": "requirements.txt", "line": "7", "title": "SLP002 requirements.txt:7"},
        f"pandas takes 40.0 MiB of 30.0 MiB\nFix: {findings.PACKAGE_OVER_BUDGET.fix}",
    )
    assert warning[:2] == (
        "warning",
        {"file": "requirements.txt", "line": "3", "title": "SLP107 numpy/a.so"},
    )
    assert note[0] == "notice"


def test_a_bundle_without_findings_has_the_verdict_alone() -> None:
    assert [kind for kind, _, _ in parsed(review(HEAD))] == ["notice"]


def test_where_no_line_is_known_there_is_none() -> None:
    head = account({"numpy": 1}, required_at=())

    assert parsed(review(head, found=[findings.OVER_LIMIT.at("app.zip", "too large")]))[1][1] == {
        "title": "SLP301 app.zip"
    }


def test_files_are_named_from_the_root_of_the_repository() -> None:
    found = [findings.OVER_LIMIT.at("../elsewhere/requirements.txt:4", "too large")]

    for folder, file in (
        ("services/api", "services/elsewhere/requirements.txt"),
        ("", "elsewhere/requirements.txt"),
    ):
        assert parsed(review(HEAD, found=found, folder=folder))[1][1]["file"] == file


@pytest.mark.parametrize(("count", "shown"), [(9, 9), (10, 10), (11, 9)])
def test_of_each_kind_there_are_ten_at_most_and_the_last_counts_the_rest(count: int, shown: int) -> None:
    found = [findings.PACKAGE_OVER_BUDGET.at(f"p{number}", "too large") for number in range(count)]
    lines = parsed(review(HEAD, found=found))

    errors = [message for kind, _, message in lines if kind == "error"]
    assert len(errors) == (shown if count <= 10 else 10)
    assert errors[-1].startswith(f"and {count - shown} more") is (count > 10)


def test_a_crowd_keeps_to_the_limits_and_counts_all() -> None:
    counts = Counter(kind for kind, _, _ in parsed(crowd()))
    text = github.commands(crowd())

    assert counts == {"error": 10, "warning": 10, "notice": 10}
    assert text.count("and 2,991 more") == 2
    assert text.count("and 2,992 more") == 1


def test_a_summary_has_more_than_a_comment_and_stays_below_its_limit() -> None:
    large = github.summary(crowd())

    assert len(large.encode()) < github.SUMMARY
    assert len(large.splitlines()) > 2000
    assert "<!--" not in github.summary(usual())
    assert "**❌ app.zip fails" in github.summary(usual())


@pytest.mark.parametrize("harm", HARM)
def test_whatever_a_message_says_the_runner_reads_just_that(harm: str) -> None:
    found = [findings.OVER_LIMIT.at(f"{harm}:7", harm, harm or "x")]

    _, (kind, properties, message), *more = parsed(review(HEAD, found=found))

    assert not more
    assert kind == "error"
    assert message == f"{clipped(harm, 2048)}\nFix: {clipped(harm or 'x', 1024)}"
    assert properties["title"] == clipped(f"SLP301 {harm}:7", 256)
    assert set(properties) <= {"file", "line", "title"}


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(hostile())
def test_there_are_only_annotations_of_a_length_that_gets_through(hostile: Review) -> None:
    lines = parsed(hostile)

    assert len(lines) == 1 + len(hostile.verdict.findings)
    for kind, properties, message in lines:
        assert kind in KINDS
        assert set(properties) <= {"file", "line", "title"}
        assert properties.get("line", "1").isdecimal()
        assert len(message) < github.LONGEST
        assert message.split("\n") == [safe(line) for line in message.split("\n")]
    assert len(github.summary(hostile).encode()) < github.SUMMARY

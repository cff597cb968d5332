"""The one comment: its marker, which of those that are there it is, and what becomes of it."""

from __future__ import annotations

import pytest
from reviews import account, diff

from slimpack.comment import Comment, Step, decide, find, is_quiet, marked, marker
from slimpack.errors import UsageError
from slimpack.gate import Increase, Review, Status, Verdict


def comment(body: str, *, own: bool = True, number: int = 1) -> Comment:
    return Comment(id=number, body=body, own=own)


@pytest.mark.parametrize("key", ["slimpack", "api", "team-a/api.v2", "a_b", "0", "x" * 64])
def test_a_marker_is_hidden_and_has_the_key(key: str) -> None:
    assert marker(key) == f"<!-- slimpack:{key} -->"


@pytest.mark.parametrize(
    "key", ["", " ", "a b", "-->", "a--b", "-a", "a-", "a\n", "é", "<a>", "x" * 65, "a/../b"]
)
def test_a_key_that_could_end_the_marker_is_refused(key: str) -> None:
    with pytest.raises(UsageError, match="is no key"):
        marker(key)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("all is well", "<!-- slimpack:a -->\nall is well"),
        ("<!-- slimpack:a -->\nall is well\n", "<!-- slimpack:a -->\nall is well"),
        ("<!-- slimpack:a -->\r\nall is\r\nwell", "<!-- slimpack:a -->\nall is\nwell"),
        ("<!-- slimpack:b -->\nall is well", "<!-- slimpack:a -->\n<!-- slimpack:b -->\nall is well"),
        ("see <!-- slimpack:a -->", "<!-- slimpack:a -->\nsee <!-- slimpack:a -->"),
    ],
)
def test_a_text_gets_its_own_marker_once(text: str, expected: str) -> None:
    assert marked(text, "a") == expected
    assert marked(expected, "a") == expected


@pytest.mark.parametrize(
    "other",
    [
        comment("<!-- slimpack:app -->\nforged", own=False),
        comment("> <!-- slimpack:app -->\nquoted"),
        comment("look: <!-- slimpack:app -->"),
        comment("first\n<!-- slimpack:app -->"),
        comment("<!-- slimpack:app2 -->\nanother bundle"),
        comment("<!-- slimpack:app --> and more"),
        comment(""),
    ],
)
def test_only_an_own_comment_that_begins_with_the_marker_is_ours(other: Comment) -> None:
    ours = comment("<!-- slimpack:app -->\r\nold", number=2)

    assert find([other], "app") is None
    assert find([other, ours], "app") == ours


def test_of_two_the_first_counts_and_no_more_are_asked_for() -> None:
    first, second = (comment("<!-- slimpack:app -->\nold", number=number) for number in (1, 2))
    asked = iter([first, second])

    assert find(asked, "app") == first
    assert list(asked) == [second]


@pytest.mark.parametrize("quiet", [False, True])
def test_a_comment_that_is_there_is_brought_up_to_date_even_if_there_is_little_to_say(*, quiet: bool) -> None:
    there = comment("<!-- slimpack:app -->\r\nold\r\n")

    assert decide(there, "<!-- slimpack:app -->\nnew", quiet=quiet) == Step(action="update", comment=there)
    assert decide(there, "<!-- slimpack:app -->\nold", quiet=quiet) == Step(action="keep", comment=there)


def test_a_comment_is_begun_only_if_there_is_something_to_say() -> None:
    assert decide(None, "new", quiet=False) == Step(action="create")
    assert decide(None, "new", quiet=True) == Step(action="skip")


def review(before: dict[str, int] | None, after: dict[str, int], *, status: Status = "pass") -> Review:
    head = account(after)
    return Review(
        account=head,
        verdict=Verdict(status=status, findings=(), budget_only=True),
        diff=None if before is None else diff(account(before), head),
    )


@pytest.mark.parametrize(
    ("before", "after", "threshold", "status", "quiet"),
    [
        ({"a": 1000}, {"a": 1000}, Increase(bytes=10), "pass", True),
        ({"a": 1000}, {"a": 1009}, Increase(bytes=10), "pass", True),
        ({"a": 1000}, {"a": 1010}, Increase(bytes=10), "pass", False),
        ({"a": 1000}, {"a": 990}, Increase(bytes=10), "pass", False),
        ({"a": 1000, "b": 1000}, {"a": 1500, "b": 500}, Increase(bytes=10), "pass", False),
        ({"a": 1000}, {"a": 1009}, Increase(percent=1), "pass", True),
        ({"a": 1000}, {"a": 1010}, Increase(percent=1), "pass", False),
        ({"a": 1000}, {"a": 1049}, Increase(percent=1, bytes=50), "pass", True),
        ({"a": 1000}, {"a": 1000}, Increase(), "pass", False),
        ({"a": 1000}, {"a": 1000}, Increase(bytes=10), "warn", False),
        ({"a": 1000}, {"a": 1000}, Increase(bytes=10), "fail", False),
        (None, {"a": 1000}, Increase(bytes=10), "pass", False),
    ],
)
def test_what_passes_and_has_hardly_changed_is_not_worth_a_comment(
    *,
    before: dict[str, int] | None,
    after: dict[str, int],
    threshold: Increase,
    status: Status,
    quiet: bool,
) -> None:
    assert is_quiet(review(before, after, status=status), threshold) is quiet

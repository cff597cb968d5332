"""The comment: the one text in a pull request that has a hidden marker, and what becomes of it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from slimpack.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from slimpack.gate import Increase, Review

Action = Literal["create", "update", "keep", "skip"]
"""A new comment; other words in the one that is there; it says so already; none is there and none is wanted."""

_KEY = re.compile(r"[A-Za-z0-9]+(?:[._/-][A-Za-z0-9]+)*")
_LONGEST_KEY = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Comment:
    """A comment that is there."""

    id: int
    """The forge's number of it."""
    body: str
    """Markdown."""
    own: bool
    """Whether who comments now has written it: a marker in anybody else's proves nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What becomes of the comment."""

    action: Action
    """What is done."""
    comment: Comment | None = None
    """The one that is there; None if none is."""


def marker(key: str) -> str:
    """Returns the line that a comment begins with and that nobody sees.

    Args:
        key: Tells apart the bundles of one repository.

    Raises:
        UsageError: The key could end the marker, or be another one's.
    """
    if len(key) > _LONGEST_KEY or not _KEY.fullmatch(key):
        raise UsageError(
            f"{key[:_LONGEST_KEY]!r} is no key",
            where="--key",
            fix="Take letters and digits, with single dots, hyphens, slashes or underscores between them.",
        )
    return f"<!-- slimpack:{key} -->"


def marked(text: str, key: str) -> str:
    """Returns a text as a comment has it: the marker first, whatever the text itself begins with.

    Raises:
        UsageError: The key is none.
    """
    first = marker(key)
    rest = _plain(text)
    return rest if _first_line(rest) == first else f"{first}\n{rest}"


def find(comments: Iterable[Comment], key: str) -> Comment | None:
    """Returns the comment that is to be updated: the first of one's own that begins with the marker.

    A marker further down is a quotation, as in a reply.
    """
    first = marker(key)
    return next((one for one in comments if one.own and _first_line(_plain(one.body)) == first), None)


def decide(existing: Comment | None, body: str, *, quiet: bool) -> Step:
    """Returns what becomes of the comment.

    Args:
        existing: The one that is there.
        body: What it is to say, marker included.
        quiet: Whether there is nothing worth a comment; one that is there is brought up to date all the same.
    """
    if existing is None:
        return Step(action="skip" if quiet else "create")
    same = _plain(existing.body) == _plain(body)
    return Step(action="keep" if same else "update", comment=existing)


def is_quiet(review: Review, threshold: Increase) -> bool:
    """Returns whether a bundle is not worth a comment: it passes, and nothing in it has much changed in size.

    Args:
        review: What there is to say; without a base there is always something.
        threshold: The change, of the whole or of one package, from which on it is worth a comment.
    """
    if review.diff is None or review.verdict.status != "pass":
        return False
    change = max(abs(delta) for delta in (review.diff.delta, *(one.delta for one in review.diff.packages)))
    return change < threshold.allowed(review.diff.base.size)


def _plain(text: str) -> str:
    """Returns a text without what forges do to line ends."""
    return text.replace("\r\n", "\n").strip()


def _first_line(text: str) -> str:
    return text.partition("\n")[0].rstrip()

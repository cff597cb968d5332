"""Forges: where pull requests are, and how the one comment gets there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from slimpack.comment import Comment, Step, decide, find
from slimpack.forge.http import UnsureError

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROUNDS = 3
"""How often a comment is tried of which nobody knows whether it has arrived."""


class Forge(Protocol):
    """One pull request of a forge."""

    @property
    def place(self) -> str:
        """What is commented on, for people: ``octo/app#7``."""
        ...

    @property
    def longest(self) -> int:
        """Characters that a comment may have."""
        ...

    def comments(self) -> Iterator[Comment]:
        """Yields the comments that are there, the oldest first, from as many pages as are asked for."""
        ...

    def create(self, body: str) -> None:
        """Writes a comment."""
        ...

    def update(self, comment: Comment, body: str) -> None:
        """Gives a comment other words."""
        ...


def publish(forge: Forge, body: str, *, key: str, quiet: bool, dry_run: bool) -> Step:
    """Makes the comment say what it is to say, and returns what that took.

    Where nobody knows whether a new comment has arrived, it is looked for before another one is written.

    Args:
        forge: The pull request.
        body: Markdown, marker included.
        key: The marker's.
        quiet: Whether there is nothing worth a new comment.
        dry_run: Whether to find out only.

    Raises:
        ForgeError: The forge refuses, cannot be reached, or says what it should not.
    """
    for left in reversed(range(_ROUNDS)):
        step = decide(find(forge.comments(), key), body, quiet=quiet)
        try:
            if not dry_run:
                _do(forge, step, body)
        except UnsureError:
            if not left:
                raise
        else:
            break
    return step


def _do(forge: Forge, step: Step, body: str) -> None:
    if step.action == "create":
        forge.create(body)
    elif step.action == "update" and step.comment:
        forge.update(step.comment, body)

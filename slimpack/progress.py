"""Progress: what long work tells whoever waits for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


class Progress(Protocol):
    """Whoever wants to know how far the work has come."""

    def phase(self, text: str) -> AbstractContextManager[None]:
        """Surrounds a phase of the work."""

    def advance(self, done: int, total: int) -> None:
        """Tells that a part of the phase is done; both in bytes."""

    def tell(self, words: str) -> None:
        """Tells what goes on inside the phase."""

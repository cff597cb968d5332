"""Fold: break words into lines, as rich does, at a fraction of its time."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text


def fold(words: str, width: int) -> list[str]:
    """Returns lines that are no wider than a width; a word that is wider is broken.

    Args:
        words: What ``safe`` returned.
        width: Columns.
    """
    if not words.isascii() or "  " in words:
        return [line.plain.rstrip() for line in Text(words).wrap(Console(width=width), width)] or [""]
    lines = []
    start = 0
    while len(words) - start > width:
        space = words.rfind(" ", start, start + width + 1)
        end = start + width if space < 0 else space
        lines.append(words[start:end])
        start = end + (words[end] == " ")
    return [*lines, words[start:]]

"""Words: names and sizes as a person reads them on a terminal."""

from __future__ import annotations

import json
import unicodedata

from slimpack.amounts import mebibytes

__all__ = ["clipped", "duration", "escaped", "mebibytes", "safe"]

_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories of what could steer a terminal, break a line, or not be written at all."""


def safe(words: str) -> str:
    """Returns a name from a wheel or manifest without anything that could steer a terminal."""
    if words.isprintable():
        return words
    return "".join("\N{REPLACEMENT CHARACTER}" if _is_unsafe(c) else c for c in words)


def clipped(words: str, longest: int) -> str:
    """Returns a name from a wheel or manifest, safe to be shown, with the middle left out if it is too long.

    Args:
        words: The name.
        longest: Characters that it may have, at least three.
    """
    if len(words) > longest:
        head = longest // 2
        words = f"{words[:head]}…{words[head + 1 - longest :]}"
    return safe(words)


def escaped(json_text: str) -> str:
    """Returns JSON with the same meaning and without anything raw that could steer a terminal."""
    return "\n".join(
        line if line.isprintable() else "".join(json.dumps(c)[1:-1] if _is_unsafe(c) else c for c in line)
        for line in json_text.split("\n")
    )


def _is_unsafe(character: str) -> bool:
    return unicodedata.category(character) in _UNSAFE


def duration(seconds: float) -> str:
    """Returns a duration in seconds, a short one in milliseconds."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"

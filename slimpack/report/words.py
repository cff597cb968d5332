"""Words: names and sizes as a person reads them on a terminal."""

from __future__ import annotations

import json
import unicodedata

_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories of what could steer a terminal, break a line, or not be written at all."""


def safe(words: str) -> str:
    """Returns a name from a wheel or manifest without anything that could steer a terminal."""
    if words.isprintable():
        return words
    return "".join("\N{REPLACEMENT CHARACTER}" if _is_unsafe(c) else c for c in words)


def escaped(json_text: str) -> str:
    """Returns JSON with the same meaning and without anything raw that could steer a terminal."""
    return "\n".join(
        line if line.isprintable() else "".join(json.dumps(c)[1:-1] if _is_unsafe(c) else c for c in line)
        for line in json_text.split("\n")
    )


def mebibytes(size: int) -> str:
    """Returns a size in bytes as MiB with one digit; below a tenth of one, in KiB or bytes."""
    for unit, factor in (("MiB", 2**20), ("KiB", 2**10)):
        if abs(size) >= factor / 10:
            return f"{size / factor:,.1f} {unit}"
    return f"{size} B"


def _is_unsafe(character: str) -> bool:
    return unicodedata.category(character) in _UNSAFE


def duration(seconds: float) -> str:
    """Returns a duration in seconds, a short one in milliseconds."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"

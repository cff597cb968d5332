"""Amounts: bytes as a person reads them."""

from __future__ import annotations


def mebibytes(size: int) -> str:
    """Returns a size in bytes as MiB with one digit; below a tenth of one, in KiB or bytes."""
    for unit, factor in (("MiB", 2**20), ("KiB", 2**10)):
        if abs(size) >= factor / 10:
            return f"{size / factor:,.1f} {unit}"
    return f"{size} B"


def apart(first: int, second: int) -> tuple[str, str]:
    """Returns two sizes as ``mebibytes`` does, or in bytes where that would make different sizes look equal."""
    words = mebibytes(first), mebibytes(second)
    if first != second and words[0] == words[1]:
        return f"{first:,} bytes", f"{second:,} bytes"
    return words

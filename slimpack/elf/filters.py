"""Filters: what is done to blocks before they are compressed, so that more of them repeats, and undone again. Pure.

Each keeps the size, and depends on nothing but the block, its address and one number. docs/packed-format.md describes
them; the pager undoes them as well, in slimpack/pager/filters.h.
"""

from __future__ import annotations

import re
import struct
from array import array
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

Filter = Literal["none", "x86_64", "aarch64", "words", "double words"]
"""Code of a processor, or tables of numbers of four bytes in pairs or of eight bytes in threes."""
FILTERS: tuple[Filter, ...] = ("none", "x86_64", "aarch64", "words", "double words")
"""In the order of their numbers in files."""
MOST_REACH = (1 << 31) - 1
"""Largest address that code of x86_64 may have."""

_OPERAND = struct.Struct("<i")
_X86_64 = re.compile(rb"[\x8b\x8d\xe8](?:(?<=\xe8)|[\x05\x0d\x15\x1d\x25\x2d\x35\x3d])....", re.DOTALL)
"""``call rel32``; ``mov`` and ``lea`` of what is at an address relative to ``rip``."""
_AARCH64 = re.compile(rb"[\x94-\x97\x90\xb0\xd0\xf0]")
"""Last byte of ``bl`` and ``adrp``."""
_BL = 0x25
"""The upper six bits of ``bl``."""
_TABLES = {"words": ("I", 2), "double words": ("Q", 3)}
"""Type of the numbers, and how many make an entry."""


def apply(name: Filter, content: bytes | memoryview, *, address: int, reach: int) -> bytes | memoryview:
    """Returns a block as it is to be compressed.

    Args:
        name: The filter.
        content: What is in memory; a multiple of 8 bytes.
        address: Its address.
        reach: For x86_64, the end of the addresses that are looked for: at least that of the block.
    """
    return _run(name, content, address, reach, forward=True)


def undo(name: Filter, content: bytes | memoryview, *, address: int, reach: int) -> bytes | memoryview:
    """Returns what is in memory.

    Args:
        name: The filter.
        content: The block as it was compressed; a multiple of 8 bytes.
        address: Its address.
        reach: For x86_64, the end of the addresses that were looked for.
    """
    return _run(name, content, address, reach, forward=False)


def _run(
    name: Filter, content: bytes | memoryview, address: int, reach: int, *, forward: bool
) -> bytes | memoryview:
    if name == "none":
        return content
    if name == "x86_64":
        return (_to_addresses if forward else _to_differences)(content, address, reach)
    if name == "aarch64":
        return _aarch64(content, address, 1 if forward else -1)
    return _table(name, content, forward=forward)


def _to_addresses(content: bytes | memoryview, address: int, reach: int) -> bytes:
    """Replaces differences by addresses, and the others that look like addresses by what is left over for them."""
    output, get, put = bytearray(content), _OPERAND.unpack_from, _OPERAND.pack_into
    for match in _X86_64.finditer(content):
        end = match.end()
        (operand,) = get(output, end - 4)
        if -address - end <= operand < reach:
            put(
                output,
                end - 4,
                operand + address + end if operand < reach - address - end else operand - reach,
            )
    return bytes(output)


def _to_differences(content: bytes | memoryview, address: int, reach: int) -> bytes:
    output, get, put = bytearray(content), _OPERAND.unpack_from, _OPERAND.pack_into
    for match in _X86_64.finditer(content):
        end = match.end()
        (operand,) = get(output, end - 4)
        if -address - end <= operand < reach:
            put(output, end - 4, operand - address - end if operand >= 0 else operand + reach)
    return bytes(output)


def _aarch64(content: bytes | memoryview, address: int, sign: int) -> bytes:
    words = array("I", bytes(content))
    for match in _AARCH64.finditer(bytes(content[3::4])):
        at = match.start()
        word, place = words[at], address + 4 * at
        if word >> 26 == _BL:
            words[at] = word & 0xFC000000 | (word + sign * (place >> 2)) & 0x3FFFFFF
        else:
            pages = (word >> 3 & 0x1FFFFC | word >> 29 & 3) + sign * (place >> 12)
            words[at] = word & 0x9F00001F | (pages & 3) << 29 | (pages >> 2 & 0x7FFFF) << 5
    return words.tobytes()


def _table(name: Filter, content: bytes | memoryview, *, forward: bool) -> bytes:
    """Replaces each number by its difference from the one in the entry before, or back."""
    code, columns = _TABLES[name]
    numbers = array(code, bytes(content))
    mask = (1 << 8 * numbers.itemsize) - 1
    for column in range(columns):
        own = numbers[column::columns]
        found: Iterable[int]
        if forward:
            found = (after - before & mask for before, after in pairwise((0, *own)))
        else:
            found = accumulate(own, lambda sum_, number: sum_ + number & mask)
        numbers[column::columns] = array(code, found)
    return numbers.tobytes()

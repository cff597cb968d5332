"""Start: the code of a library that the loader runs, as far as its tables and direct calls tell. Pure.

Constructors of large C++ libraries lie scattered over all of their code, and each is run when the library is loaded.
Most pages of code that a start touches, it touches for them.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from typing import TYPE_CHECKING

from slimpack.elf.dynamic import (
    DT_INIT,
    DT_INIT_ARRAY,
    DT_INIT_ARRAYSZ,
    DT_RELA,
    DT_RELASZ,
    DT_SYMTAB,
    RELATIVE,
    SYMBOL,
    Dynamic,
    offset_of,
    read_dynamic,
    relocations,
)
from slimpack.elf.layout import EM_AARCH64, EM_X86_64, PAGE, PF_X, PT_GNU_EH_FRAME, Layout, Segment, read

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from _typeshed import ReadableBuffer

_DEPTH = 2
"""How many calls deep constructors are followed; in libtensorflow_cc, two more would add a hundredth."""

_LONGEST = 0x10000
"""Bytes of a function that are looked at."""

_MOST = 0x1000000
"""Bytes that are looked at in all: of libtensorflow_cc, a fifth of that. A damaged file may ask for any number."""

_ABSOLUTE = {EM_X86_64: 1, EM_AARCH64: 257}
"""``R_X86_64_64``, ``R_AARCH64_ABS64``."""

_TABLE = bytes((1, 0x1B, 0x03, 0x3B))
"""Version and encodings of a ``PT_GNU_EH_FRAME`` segment whose table can be searched, as all linkers write it."""


def run_by_loaders(image: ReadableBuffer) -> tuple[int, ...]:
    """Returns the pages of code that loaders run: constructors, and what they call.

    Where functions end is told by the table that unwinders search (``.eh_frame_hdr``, Linux Standard Base Core 10.6.2).

    Args:
        image: A whole shared object.

    Returns:
        Addresses of the pages, ascending; none if nothing tells.

    Raises:
        ElfError: It cannot be read.
    """
    view = memoryview(image).cast("B")
    layout = read(view)
    dynamic = read_dynamic(view, layout)
    starts = _starts(view, layout)
    code = [load for load in layout.loads if load.flags & PF_X]
    pages: set[int] = set()
    seen: set[int] = set()
    level = {
        start for at in _constructors(view, layout, dynamic) if (start := _start(starts, at)) is not None
    }
    left = _MOST
    for _ in range(_DEPTH + 1):
        called: set[int] = set()
        for start in sorted(level - seen):
            body = _body(view, code, start, _behind(starts, start))
            left -= len(body)
            if left < 0:
                break
            if body:  # what a damaged table names may be in no code
                pages.update(range(start // PAGE, (start + len(body) - 1) // PAGE + 1))
            calls = _calls_x86_64 if layout.header.machine == EM_X86_64 else _calls_aarch64
            called.update(at for at in calls(body, start) if _start(starts, at) == at)
        seen |= level
        level = called
    return tuple(page * PAGE for page in sorted(pages))


def _constructors(view: memoryview, layout: Layout, dynamic: Dynamic) -> Iterator[int]:
    """Yields the addresses that a loader calls."""
    if address := dynamic.get(DT_INIT):
        yield address
    table, size = dynamic.get(DT_INIT_ARRAY), dynamic.get(DT_INIT_ARRAYSZ)
    if not table or not size:
        return
    relocated, length = dynamic.get(DT_RELA), dynamic.get(DT_RELASZ)
    if relocated is not None and length:
        machine = layout.header.machine
        for place, info, addend in relocations(view, layout, relocated, length):
            if table <= place < table + size:
                if info == RELATIVE.get(machine):
                    yield addend
                elif info & 0xFFFFFFFF == _ABSOLUTE.get(machine):
                    yield addend + _value(view, layout, dynamic, info >> 32)
    at = offset_of(layout, table, size)  # where they are relocated in another way, each is in its place
    yield from filter(None, memoryview(bytes(view[at : at + size - size % 8])).cast("Q"))


def _value(view: memoryview, layout: Layout, dynamic: Dynamic, number: int) -> int:
    """Returns the address that a dynamic symbol stands for."""
    at = offset_of(layout, (dynamic.get(DT_SYMTAB) or 0) + number * SYMBOL.size, SYMBOL.size)
    value: int = SYMBOL.unpack_from(view, at)[4]
    return value


def _starts(view: memoryview, layout: Layout) -> tuple[int, Sequence[int]]:
    """Returns an address, and how far from it each function begins, ascending."""
    for segment in layout.segments:
        held = view[segment.offset : segment.offset + segment.file_size]
        if segment.type == PT_GNU_EH_FRAME and len(held) >= 12 and bytes(held[:4]) == _TABLE:  # noqa: PLR2004
            (count,) = struct.unpack_from("<I", held, 8)
            table = held[12 : 12 + 8 * min(count, (len(held) - 12) // 8)]
            return segment.address, table.cast("i")[::2]  # no list: there are as many as the file can hold
    return 0, ()


def _start(starts: tuple[int, Sequence[int]], address: int) -> int | None:
    """Returns where the function begins that an address is in."""
    base, offsets = starts
    at = bisect_right(offsets, address - base) - 1
    return base + offsets[at] if at >= 0 else None


def _behind(starts: tuple[int, Sequence[int]], start: int) -> int:
    """Returns where the function behind one begins."""
    base, offsets = starts
    at = bisect_right(offsets, start - base)
    return base + offsets[at] if at < len(offsets) else start + _LONGEST


def _body(view: memoryview, code: Sequence[Segment], start: int, end: int) -> bytes:
    """Returns the instructions of a function; none if it is not in the file."""
    at = bisect_right(code, start, key=lambda load: load.address) - 1
    if at < 0:
        return b""
    end = min(end, start + _LONGEST, code[at].address + code[at].file_size)
    moved = code[at].offset - code[at].address
    return bytes(view[start + moved : max(start, end) + moved])


def _calls_x86_64(body: bytes, start: int) -> Iterator[int]:
    """Yields what may be the targets of direct calls: all that follows a byte that a call begins with."""
    at = body.find(b"\xe8")
    while 0 <= at <= len(body) - 5:
        yield start + at + 5 + int.from_bytes(body[at + 1 : at + 5], "little", signed=True)
        at = body.find(b"\xe8", at + 1)


def _calls_aarch64(body: bytes, start: int) -> Iterator[int]:
    """Yields the targets of direct calls: of ``BL``, whose operand counts words."""
    words = memoryview(body[: len(body) - len(body) % 4]).cast("I")
    for number, word in enumerate(words):
        if word >> 26 == 0x25:  # noqa: PLR2004 -- the operation of BL
            operand = (word & 0x3FFFFFF) - (word << 1 & 0x4000000)
            yield start + 4 * (number + operand)

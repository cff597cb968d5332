"""Unpack an ELF file: make the file again that a packed one was made of, byte for byte. Pure.

The recipe in the packed file says where in memory each part of it is, and has the bytes that are in memory no more, or
never were: the headers, and what lies between and behind the segments.
"""

from __future__ import annotations

import hashlib
import struct
from bisect import bisect_right
from functools import partial
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING

from slimpack.elf.dynamic import RELOCATION
from slimpack.elf.layout import FILE_HEADER, ElfError, Layout, Segment, loader_problems
from slimpack.elf.packed import NotPackedError, Packed, compress, content_size, decompress, read_packed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from _typeshed import ReadableBuffer

    _Part = tuple[int, int, Callable[[], ReadableBuffer]]
    """Address, bytes, and what returns them."""

MOST_GROWTH = 64
"""How many times larger than the packed file an unpacked one may be: more than real files reach, less than bombs."""
_MOST_RUNS = 256
_RECIPE = struct.Struct("<Q32sIIQQ")
"""Size and SHA-256 of the unpacked file, number of runs of memory and of runs of bytes in it, and of what was pruned
before: symbols and bytes."""
_RUN = struct.Struct("<QQQ")
"""Offset in the unpacked file, bytes, address in memory."""
_BYTES = struct.Struct("<QQ")
"""Offset in the unpacked file, bytes."""
_NONE = "the recipe of its packed part is none"


def unpack(image: ReadableBuffer) -> bytearray:
    """Returns the file that a packed file was made of, byte for byte.

    Args:
        image: The whole packed file.

    Raises:
        ElfError: It is not packed, or damaged.
    """
    view = memoryview(image).cast("B")
    packed = read_packed(view)
    if packed is None:
        raise NotPackedError("it is not packed")
    size = content_size(packed.recipe)
    if not _RECIPE.size <= size <= MOST_GROWTH * len(view):
        raise ElfError(_NONE)
    steps = memoryview(decompress(packed.recipe, size))
    total, digest, run_count, bytes_count, _, _ = _RECIPE.unpack_from(steps)
    runs_end = _RECIPE.size + run_count * _RUN.size
    bytes_end = runs_end + bytes_count * _BYTES.size
    if total > MOST_GROWTH * len(view) or run_count > _MOST_RUNS or bytes_end > size:
        raise ElfError(_NONE)
    output = bytearray(total)
    with memoryview(output) as target:
        memory = list(_loads(view, packed)), list(_blocks(packed))
        for offset, length, address in _runs(steps[_RECIPE.size : runs_end], total):
            for parts in memory:
                _fill(target[offset : offset + length], address, parts)
        content = steps[bytes_end:]
        for offset, length in _BYTES.iter_unpack(steps[runs_end:bytes_end]):
            if offset + length > total or length > len(content):
                raise ElfError(_NONE)
            target[offset : offset + length] = content[:length]
            content = content[length:]
    if hashlib.sha256(output).digest() != digest:
        raise ElfError("it unpacks to another file than the one it was made of")
    return output


def _runs(table: memoryview, total: int) -> list[tuple[int, int, int]]:
    """Returns offset, bytes and address of the runs of memory that make a file of some size.

    Raises:
        ElfError: They lie outside of it, or are larger together.
    """
    runs = list(_RUN.iter_unpack(table))
    if any(offset + length > total for offset, length, _ in runs) or sum(run[1] for run in runs) > total:
        raise ElfError(_NONE)
    return runs


def _loads(view: memoryview, packed: Packed) -> Iterator[_Part]:
    """Yields what the loader maps, ascending.

    Raises:
        ElfError: No loader would map it.
    """
    if problems := loader_problems(packed.layout):
        raise ElfError(problems[0])
    for load in packed.layout.loads:
        if load.file_size:
            yield load.address, load.file_size, partial(_cut, view, load)


def _cut(view: memoryview, load: Segment) -> memoryview:
    return view[load.offset : load.file_end]


def _blocks(packed: Packed) -> Iterator[_Part]:
    """Yields the blocks, ascending."""
    for one in packed.ranges:
        for number in range(one.blocks):
            start = one.address + number * one.block_size
            yield start, min(one.block_size, one.end - start), partial(packed.block, one, number)


def _fill(target: memoryview, address: int, parts: Sequence[_Part]) -> None:
    """Fills in what some parts have of memory from an address on."""
    end = address + len(target)
    first = max(bisect_right(parts, address, key=itemgetter(0)) - 1, 0)  # a run may meet few of many
    for start, size, content in islice(parts, first, None):
        if start >= end:
            break
        low, high = max(start, address), min(start + size, end)
        if low < high:
            target[low - address : high - address] = memoryview(content())[low - start : high - start]


def pruned(packed: Packed) -> tuple[int, int]:
    """Returns how many symbols were taken from a file before it was packed, and the bytes that they had.

    Raises:
        ElfError: The recipe is damaged.
    """
    size = content_size(packed.recipe)
    if not _RECIPE.size <= size <= MOST_GROWTH * packed.layout.size:
        raise ElfError(_NONE)
    *_, symbols, gone = _RECIPE.unpack_from(decompress(packed.recipe, size))
    return symbols, gone


def recipe(
    view: memoryview, layout: Layout, relocations: Sequence[int], *, symbols: int = 0, pruned: int = 0
) -> bytes:
    """Returns the frame that says how to make a file from what is in memory once it is packed.

    Args:
        view: The whole file.
        layout: Its layout.
        relocations: Offsets of the relocations that others have taken the place of.
        symbols: Number of symbols that were taken from it before.
        pruned: Bytes that those had.

    Raises:
        ElfError: It has more, or larger, loadable segments than an unpacker accepts.
    """
    runs = [(load.offset, load.file_size, load.address) for load in layout.loads if load.file_size]
    if len(runs) > _MOST_RUNS:
        raise ElfError(f"it has more than {_MOST_RUNS} loadable segments")
    if sum(size for _, size, _ in runs) > len(view):
        raise ElfError("parts of it are mapped more than once")
    header = layout.header
    literal = [(0, FILE_HEADER.size), (header.segments_offset, header.segments_end)]
    literal += ((start, start + RELOCATION.size) for start in relocations)
    mapped = sorted((offset, offset + size) for offset, size, _ in runs)
    at = 0
    for start, end in [*mapped, (len(view), len(view))]:
        if at < start:
            literal.append((at, start))
        at = max(at, end)
    literal = [(start, end) for start, end in literal if bytes(view[start:end]).strip(b"\0")]
    content = _RECIPE.pack(len(view), hashlib.sha256(view).digest(), len(runs), len(literal), symbols, pruned)
    content += b"".join(_RUN.pack(*run) for run in runs)
    content += b"".join(_BYTES.pack(start, end - start) for start, end in literal)
    return compress(content + b"".join(bytes(view[start:end]) for start, end in literal))

"""What fuzzing hands to the readers and the writer of ELF files, and what has to hold whatever that is."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING
from unittest.mock import patch

from slimpack.elf import prune as pruning
from slimpack.elf.compact import compact
from slimpack.elf.layout import PAGE, PROGRAM_HEADER, PT_SLIMPACK, ElfError, loader_problems, read
from slimpack.elf.pack import expected_size, pack
from slimpack.elf.packed import HEADER, INDEX, MAGIC, VERSION, compress, read_packed
from slimpack.elf.start import run_by_loaders
from slimpack.elf.symbols import exchange, mentions
from slimpack.elf.unpack import MOST_GROWTH, unpack
from slimpack.warm import degrees

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from slimpack.elf.layout import Layout

_GAP = struct.Struct("<HHB")
"""How many bytes come before some that are left out, how many are (in units of 64), and which byte they repeat."""
_MOST_GAPS, _LARGEST_GAP = 16, 0x1000
_PARTS = struct.Struct("<BHHHH")
"""Flags, then bytes of the file up to its packed part, of the index, of the blocks' description, and of the recipe."""
_BLOCK = struct.Struct("<BBH")
"""A byte, how far the next is from it, and how many of them make a block, in units of 16."""
_MOST_BLOCKS, _LARGEST_BLOCK = 32, 0x1000


def plain(data: bytes) -> None:
    """Treats some bytes as a file that is compacted and packed, also with the code left raw that its tables say is run.

    Raises:
        AssertionError: What is packed does not load, or does not unpack to the same bytes.
    """
    image = filled(data)
    try:
        layout = read(image)
    except ElfError:
        return
    compaction = compact(image)
    assert len(b"".join(compaction.chunks)) == compaction.size <= len(image)
    try:
        pages = run_by_loaders(image)
        expected_size(image)
    except ElfError:
        pages = ()
    for raw in ((), *(one.runs for one in degrees(pages, block=0x10000, page=PAGE))):
        _packed_and_back(image, layout, raw)


def _packed_and_back(image: bytes, layout: Layout, raw: Sequence[tuple[int, int]]) -> None:
    """Packs and unpacks a file, with some runs of addresses left as they are."""
    try:
        packing = pack(image, pager_folder="$ORIGIN", block_size=0x10000, level=1, hot=raw)
    except ElfError:
        return
    output = b"".join(packing.chunks)
    assert len(output) == packing.size < len(image)
    assert unpack(output) == image
    after = read(output)
    assert loader_problems(after) == ()
    assert len(after.loads) >= len(layout.loads)
    found = read_packed(output)
    assert found is not None
    assert found.ranges == packing.ranges


def packed(data: bytes) -> None:
    """Treats some bytes as a packed file that is unpacked.

    Raises:
        AssertionError: It becomes larger than it may.
    """
    for image in (filled(data), made(data)):
        try:
            output = unpack(image)
        except ElfError:
            continue
        assert len(output) <= MOST_GROWTH * len(image)


def pruned(data: bytes) -> None:
    """Treats some bytes as a file whose symbols are read and pruned.

    Raises:
        AssertionError: What is pruned is no library any more, or lacks a symbol that was needed.
    """
    image = filled(data)
    try:
        before = exchange(image)
        for own in (False, True):
            assert all(name.startswith(b"_Z") for name in mentions(image, own=own))
    except ElfError:
        return
    needed = frozenset(name for name in before.offered if len(name) % 2)
    for eager in (False, True):
        try:
            with patch.object(pruning, "_FEWEST_BYTES", 1):  # small files have little to win
                found = pruning.prune(image, needed=needed, eager=eager)
        except ElfError:
            continue
        assert len(memoryview(found.image)) == len(image)
        read(found.image)


TARGETS: dict[str, Callable[[bytes], None]] = {"plain": plain, "packed": packed, "pruned": pruned}


def filled(data: bytes) -> bytes:
    """Returns an input with what was left out of it, so that large runs of code and padding need not be stored.

    It begins with the number of gaps, and describes each.
    """
    number = data[0] % _MOST_GAPS if data else 0
    at = 1 + number * _GAP.size
    if at > len(data):
        return data
    parts: list[bytes] = []
    for skipped, size, byte in _GAP.iter_unpack(data[1:at]):
        parts += (data[at : at + skipped], bytes([byte]) * (size % _LARGEST_GAP * 64))
        at += skipped
    return b"".join((*parts, data[at:]))


def made(data: bytes) -> bytes:
    """Returns a packed file whose frames are whole, whatever they hold: else their checksums would stop all changes.

    The sizes and the place of the packed part are written into its program header, and the sizes of the index into its
    header, unless the flags say that they are to stay as they are.
    """
    if len(data) < _PARTS.size:
        return data
    flags, *sizes = _PARTS.unpack_from(data)
    parts, at = [], _PARTS.size
    for size in sizes:
        parts.append(data[at : at + size])
        at += size
    head, index, blocks, recipe = parts
    count = min(len(blocks) // _BLOCK.size, _MOST_BLOCKS)
    frames = [_block(*block) for block in _BLOCK.iter_unpack(blocks[: count * _BLOCK.size])]
    if flags & 1 and len(index) >= INDEX.size:
        offsets = [0]
        for frame in frames:
            offsets.append(offsets[-1] + len(frame))
        index = index[: max(INDEX.size, len(index) - 8 * len(offsets))] + struct.pack(
            f"<{len(offsets)}Q", *offsets
        )
    index_frame = compress(index, 1)
    header = HEADER.pack(MAGIC, VERSION, flags >> 4 & 1, 0, len(index_frame), len(index))
    part = b"".join((header, index_frame, *frames, compress(recipe, 1) if flags & 2 else recipe))
    return _described(head, len(part)) + part


@lru_cache(maxsize=256)
def _block(first: int, step: int, size: int) -> bytes:
    pattern = bytes((first + step * number) & 0xFF for number in range(16))
    return compress(pattern * min(size, _LARGEST_BLOCK), 1)


def _described(head: bytes, size: int) -> bytes:
    """Returns the beginning of a file whose program headers, where there are, say where the packed part is."""
    try:
        header = read(head + bytes(size)).header
    except ElfError:
        return head
    changed = bytearray(head)
    for at in range(header.segments_offset, header.segments_end, PROGRAM_HEADER.size):
        if changed[at : at + 4] == struct.pack("<I", PT_SLIMPACK) and at + PROGRAM_HEADER.size <= len(head):
            struct.pack_into("<Q", changed, at + 8, len(head))
            struct.pack_into("<QQ", changed, at + 32, size, size)
    return bytes(changed)

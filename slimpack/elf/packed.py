"""The packed part of a packed file, written and strictly read: docs/packed-format.md. Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import zstandard

from slimpack.elf.filters import FILTERS, MOST_REACH, Filter, undo
from slimpack.elf.layout import LARGEST_PAGES, PAGE, PF_W, PF_X, PT_SLIMPACK, ElfError, Layout, read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _typeshed import ReadableBuffer

PAGER = "libslimpager.so.1"
"""Name of the library that pages blocks in, the major version of the format being its last number."""
PAGER_SYMBOL = "slimpack_attach"
"""The pager's only export; the relocation against it makes a library known to the pager."""

VERSION = 1
MAGIC = b"slimpack"
HEADER = struct.Struct("<8sIIQII")
"""Magic, version, flags, address of the mark, bytes of the index's frame and of what it holds."""
INDEX = struct.Struct("<QQII")
"""Address and addend of the displaced relocation, number of ranges, number of blocks."""
RANGE = struct.Struct("<QQIIIIII")
"""Address, size, block size, first block, flags, moment, filter, reach."""

LARGEST_BLOCK = 16 << 20
"""Bytes."""
_LARGEST_INDEX = 64 << 20
_SEARCHED = 256 << 10
_SMALLEST_FRAME = 14
"""Bytes: magic, descriptor, content size, a block's header, a byte that is repeated, checksum (RFC 8878, 3.1.1)."""

Moment = Literal["touch", "library", "relocation"]
"""When a range is loaded: block by block when it is touched, or whole with its library; in that case perhaps to be
dropped when that is relocated, and loaded on touch from then on."""
_MOMENTS: tuple[Moment, ...] = ("touch", "library", "relocation")


class NotPackedError(ElfError):
    """A file that is not packed, or not in a way that this version knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """A run of pages that is stored in blocks."""

    address: int
    """First address."""
    size: int
    """Bytes; whole pages."""
    flags: int
    """``p_flags`` of the segment it was cut from."""
    moment: Moment
    """When it is loaded."""
    block_size: int
    """Bytes of each block but the last."""
    first_block: int
    """Index of its first block in the file."""
    filter: Filter = "none"
    """What was done to its blocks before they were compressed."""
    reach: int = 0
    """What the filter for x86_64 asks for; else 0."""

    @property
    def end(self) -> int:
        """First address behind it."""
        return self.address + self.size

    @property
    def blocks(self) -> int:
        """Number of its blocks."""
        return -(-self.size // self.block_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """What is packed in a file."""

    layout: Layout
    """The file's layout as it is, without what is packed."""
    mark: int
    """Address of the word that the pager writes to."""
    relocation: tuple[int, int] | None
    """Address and addend of the relocation that the pager applies in the loader's stead; None for none."""
    ranges: tuple[Range, ...]
    """Ascending."""
    frames: tuple[memoryview, ...]
    """The compressed blocks."""
    recipe: memoryview
    """The frame that says how to unpack the file."""

    def block(self, one: Range, number: int) -> bytes | memoryview:
        """Returns what a block holds once it is loaded.

        Args:
            one: Its range.
            number: Its number in the range.

        Raises:
            ElfError: It is damaged.
        """
        skipped = number * one.block_size
        content = decompress(self.frames[one.first_block + number], min(one.block_size, one.size - skipped))
        return undo(one.filter, content, address=one.address + skipped, reach=one.reach)

    @property
    def size(self) -> int:
        """Bytes that the ranges take up once they are loaded."""
        return sum(one.size for one in self.ranges)

    @property
    def stored(self) -> int:
        """Bytes that they take up in the file."""
        return sum(len(frame) for frame in self.frames)


def encode(
    *,
    mark: int,
    relocation: tuple[int, int] | None,
    ranges: Sequence[Range],
    frames: Sequence[bytes],
    recipe: bytes,
) -> tuple[bytes, ...]:
    """Returns the packed part in pieces that follow each other, the recipe's frame being the last."""
    offsets = [0]
    for frame in frames:
        offsets.append(offsets[-1] + len(frame))
    index = INDEX.pack(*(relocation or (0, 0)), len(ranges), len(frames))
    index += b"".join(
        RANGE.pack(
            one.address,
            one.size,
            one.block_size,
            one.first_block,
            one.flags,
            _MOMENTS.index(one.moment),
            FILTERS.index(one.filter),
            one.reach,
        )
        for one in ranges
    )
    index += struct.pack(f"<{len(offsets)}Q", *offsets)
    index_frame = compress(index)
    header = HEADER.pack(MAGIC, VERSION, 0, mark, len(index_frame), len(index))
    return header, index_frame, *frames, recipe


def read_packed(image: ReadableBuffer) -> Packed | None:
    """Reads what is packed in a file; the blocks themselves are not decoded.

    Args:
        image: The whole file. The result refers to it.

    Returns:
        What is packed; None if the file is not packed.

    Raises:
        ElfError: It is no ELF file, or one whose packed part contradicts itself or the file.
    """
    view = memoryview(image).cast("B")
    layout = read(view)
    segments = [segment for segment in layout.segments if segment.type == PT_SLIMPACK]
    if not segments:
        return None
    part = view[segments[0].offset : segments[0].file_end]
    if len(segments) > 1 or len(part) < HEADER.size:
        raise ElfError("its packed part is none")
    magic, version, flags, mark, frame_size, index_size = HEADER.unpack_from(part)
    if magic != MAGIC:
        raise ElfError("its packed part has no header")
    if version != VERSION or flags:
        raise NotPackedError("it is packed in a way that this version does not know")
    data = part[HEADER.size + frame_size :]
    most = INDEX.size + 8 + len(data) // _SMALLEST_FRAME * (RANGE.size + 8)
    if HEADER.size + frame_size > len(part) or index_size > min(most, _LARGEST_INDEX):
        raise ElfError("the index of its packed part lies outside, or is larger than its blocks ask for")
    index = decompress(part[HEADER.size : HEADER.size + frame_size], index_size)
    if len(index) < INDEX.size:
        raise ElfError("the index of its packed part is none")
    address, addend, range_count, block_count = INDEX.unpack_from(index)
    ranges_end = INDEX.size + range_count * RANGE.size
    if ranges_end + 8 * (block_count + 1) != len(index):
        raise ElfError("the index of its packed part has another size than it says")
    ranges = tuple(_ranges(layout, index[INDEX.size : ranges_end]))
    offsets = struct.unpack_from(f"<{block_count + 1}Q", index, ranges_end)
    if sum(one.blocks for one in ranges) != block_count or offsets[0] or offsets[-1] > len(data):
        raise ElfError("the index of its packed part contradicts itself")
    if any(end <= start for start, end in pairwise(offsets)):
        raise ElfError("the blocks of its packed part are out of order")
    return Packed(
        layout=layout,
        mark=mark,
        relocation=(address, addend) if address else None,
        ranges=ranges,
        frames=tuple(data[start:end] for start, end in pairwise(offsets)),
        recipe=data[offsets[-1] :],
    )


def _ranges(layout: Layout, table: bytes) -> list[Range]:
    ranges: list[Range] = []
    blocks, end = 0, 0
    page = LARGEST_PAGES.get(layout.header.machine, PAGE)
    for address, size, block_size, first_block, flags, moment, kind, reach in RANGE.iter_unpack(table):
        sound = (
            address >= end
            and size > 0
            and (address | size) % page == 0
            and 0 < block_size <= LARGEST_BLOCK
            and block_size % max(LARGEST_PAGES.values()) == 0
            and first_block == blocks
            and moment < len(_MOMENTS)
            and kind < len(FILTERS)
            and (FILTERS[kind] != "x86_64" or address + size <= reach <= MOST_REACH)
            and (not flags & PF_W or (_MOMENTS[moment] == "library" and not flags & PF_X))
        )
        if not sound:
            raise ElfError("a range of its packed part is none")
        one = Range(
            address=address,
            size=size,
            flags=flags,
            moment=_MOMENTS[moment],
            block_size=block_size,
            first_block=first_block,
            filter=FILTERS[kind],
            reach=reach,
        )
        ranges.append(one)
        blocks, end = blocks + one.blocks, one.end
    return ranges


def compress(content: bytes | memoryview, level: int = 19) -> bytes:
    """Returns a frame that holds some content, its size and its checksum (RFC 8878).

    Args:
        content: At most 16 MiB, for it to be compressed well.
        level: Level of zstd. Above 256 KiB its levels 13 to 17 search far less than below; here they do not.
    """
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level,
        source_size=min(len(content), _SEARCHED),
        write_checksum=True,
        **({"window_log": 24, "hash_log": 20, "chain_log": 21} if len(content) > _SEARCHED else {}),
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compress(content)


def content_size(frame: ReadableBuffer) -> int:
    """Returns how many bytes a frame says it holds.

    Raises:
        ElfError: It is none.
    """
    try:
        return zstandard.get_frame_parameters(memoryview(frame).cast("B")).content_size
    except zstandard.ZstdError as error:
        raise ElfError("a frame of its packed part is damaged") from error


def decompress(frame: ReadableBuffer, size: int) -> bytes:
    """Returns the content of a frame.

    Args:
        frame: The whole frame.
        size: Bytes of the content.

    Raises:
        ElfError: It is damaged, or holds anything else.
    """
    view = memoryview(frame).cast("B")
    try:
        parameters = zstandard.get_frame_parameters(view)
        if parameters.content_size != size or not parameters.has_checksum:
            raise ElfError("a frame of its packed part holds something else")
        content = zstandard.ZstdDecompressor().decompress(view, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ElfError("a frame of its packed part is damaged") from error
    if len(content) != size:
        raise ElfError("a frame of its packed part holds something else")
    return content

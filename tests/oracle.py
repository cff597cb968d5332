"""An oracle: what the loader and the pager make of an ELF file in memory, told without any code of slimpack's.

It maps segments as glibc does, and decodes blocks as docs/packed-format.md says.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import zstandard

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = 0x1000
PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_PHDR, PT_PACKED = 1, 2, 3, 6, 0x6B636150
DT_NEEDED, DT_STRTAB, DT_STRSZ = 1, 5, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A program header."""

    type: int
    flags: int
    offset: int
    address: int
    file_size: int
    memory_size: int
    alignment: int

    @property
    def end(self) -> int:
        return self.address + self.memory_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A run of memory."""

    address: int
    end: int
    flags: int
    """``p_flags``."""
    content: memoryview
    """What it begins with; zeros follow."""


class Oracle:
    """An ELF file as the loader sees it."""

    def __init__(self, image: bytes) -> None:
        self.view = memoryview(image)
        self.type, self.machine = struct.unpack_from("<HH", image, 16)
        (start,), (number,) = struct.unpack_from("<Q", image, 32), struct.unpack_from("<H", image, 56)
        self.headers = (start, start + 56 * number)
        table = struct.iter_unpack("<IIQQQQQQ", self.view[slice(*self.headers)])
        self.segments = [
            Segment(
                type=kind,
                flags=flags,
                offset=offset,
                address=address,
                file_size=file_size,
                memory_size=memory_size,
                alignment=alignment,
            )
            for kind, flags, offset, address, _, file_size, memory_size, alignment in table
        ]
        self.loads = [one for one in self.segments if one.type == PT_LOAD]

    def mapped(self) -> Iterator[Piece]:
        """Yields what the loader maps; a segment without permission has no content, only addresses."""
        for one in self.loads:
            if one.flags:
                content = self.view[one.offset : one.offset + one.file_size]
                yield Piece(address=one.address, end=one.end, flags=one.flags, content=content)

    def read(self, address: int, size: int) -> memoryview:
        """Returns some memory, of one segment, that the file has the content of."""
        for one in self.loads:
            skipped = address - one.address
            if skipped >= 0 and skipped + size <= one.file_size:
                return self.view[one.offset + skipped : one.offset + skipped + size]
        raise AssertionError(f"the file does not have what is at {address:#x}")

    @cached_property
    def dynamic(self) -> list[tuple[int, int]]:
        """Tags and values of the dynamic section, without the end."""
        entries: list[tuple[int, int]] = []
        for one in self.segments:
            if one.type == PT_DYNAMIC:
                entries += struct.iter_unpack("<QQ", self.read(one.address, one.file_size // 16 * 16))
        return entries[: [tag for tag, _ in entries].index(0)]

    @cached_property
    def strings(self) -> bytes:
        """The dynamic string table."""
        values = dict(self.dynamic)
        return bytes(self.read(values[DT_STRTAB], values[DT_STRSZ]))

    def string(self, offset: int) -> str:
        return self.strings[offset : self.strings.index(b"\0", offset)].decode()

    def breaches(self) -> Iterator[str]:
        """Yields what glibc 2.26 refuses (``_dl_map_object_from_fd``) or takes for granted (``_dl_map_segments``)."""
        for one in self.loads:
            if one.alignment % PAGE:
                yield "ELF load command alignment not page-aligned"
            if (one.address - one.offset) & (one.alignment - 1):
                yield "ELF load command address/offset not properly aligned"
        for below, above in pairwise(self.loads):
            if above.address // PAGE < -(-below.end // PAGE):
                yield "segments do not ascend, or share a page"
        for one in self.segments:
            held = any(load.address <= one.address and one.end <= load.end for load in self.loads)
            if one.type in (PT_DYNAMIC, PT_PHDR) and not held:
                yield "what the loader reads is not in memory"


class PackedOracle(Oracle):
    """A packed file as the loader and the pager see it."""

    def __init__(self, image: bytes) -> None:
        super().__init__(image)
        (part,) = [one for one in self.segments if one.type == PT_PACKED]
        packed = self.view[part.offset : part.offset + part.file_size]
        magic, version, flags, self.mark, index_frame, index_size = struct.unpack_from("<8sIIQII", packed)
        assert (magic, version, flags) == (b"slimpack", 1, 0)
        index = _decoded(packed[32 : 32 + index_frame], index_size)
        self.displaced: tuple[int, int] = struct.unpack_from("<QQ", index)
        ranges, blocks = struct.unpack_from("<II", index, 16)
        self.ranges = list(struct.iter_unpack("<QQIIIIII", index[24 : 24 + 40 * ranges]))
        offsets = struct.unpack_from(f"<{blocks + 1}Q", index, 24 + 40 * ranges)
        assert 24 + 40 * ranges + 8 * (blocks + 1) == index_size
        frames = packed[32 + index_frame :]
        self.frames = [frames[start:end] for start, end in pairwise(offsets)]

    def mapped(self) -> Iterator[Piece]:
        """Yields what the loader maps and the pager leaves; a writable hole keeps its permissions."""
        holes = {(address, address + size) for address, size, *_ in self.ranges}
        empty = {(one.address, one.end) for one in self.loads if not one.file_size} & holes
        yield from (piece for piece in super().mapped() if (piece.address, piece.end) not in empty)

    def paged_in(self) -> Iterator[Piece]:
        """Yields what the pager puts in its place, block by block."""
        for address, size, block_size, first, flags, _, kind, reach in self.ranges:
            for number, start in enumerate(range(address, address + size, block_size), start=first):
                end = min(start + block_size, address + size)
                decoded = _decoded(self.frames[number], end - start)
                content = memoryview(_undone(kind, bytearray(decoded), start, reach))
                yield Piece(address=start, end=end, flags=flags, content=content)


def _decoded(frame: memoryview, size: int) -> bytes:
    assert zstandard.get_frame_parameters(frame).has_checksum
    content = zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
    assert len(content) == size
    return content


def _undone(kind: int, block: bytearray, address: int, reach: int) -> bytearray:
    """Returns a block as it was before it was filtered."""
    if kind == 1:
        _undo_x86_64(block, address, reach)
    elif kind == 2:
        _undo_aarch64(block, address)
    elif kind:
        size, step = {3: (4, 8), 4: (8, 24)}[kind]
        for at in range(step, len(block) // size * size, size):
            before, own = (int.from_bytes(block[one : one + size], "little") for one in (at - step, at))
            block[at : at + size] = ((before + own) % (1 << 8 * size)).to_bytes(size, "little")
    return block


def _undo_x86_64(block: bytearray, address: int, reach: int) -> None:
    for match in re.finditer(rb"(?s)(?:\xe8|[\x8b\x8d][\x05\r\x15\x1d%\-5=])(....)", bytes(block)):
        at, behind = match.start(1), address + match.end()
        (stored,) = struct.unpack_from("<i", block, at)
        if 0 <= stored < reach:
            struct.pack_into("<i", block, at, stored - behind)
        elif -behind <= stored < 0:
            struct.pack_into("<i", block, at, stored + reach)


def _undo_aarch64(block: bytearray, address: int) -> None:
    for match in re.finditer(rb"[\x94-\x97\x90\xb0\xd0\xf0]", bytes(block[3::4])):
        at = 4 * match.start()
        (word,) = struct.unpack_from("<I", block, at)
        if word & 0xFC000000 == 0x94000000:
            word = 0x94000000 + (word - (address + at) // 4) % (1 << 26)
        elif word & 0x9F000000 == 0x90000000:
            pages = ((word >> 5) % (1 << 19) * 4 + (word >> 29) % 4 - (address + at) // 0x1000) % (1 << 21)
            word = 0x90000000 + word % 32 + (pages // 4 << 5) + (pages % 4 << 29)
        struct.pack_into("<I", block, at, word)

"""Write an ELF file anew: the runs that are mapped moved together, its headers renewed. Pure.

Virtual addresses never change. What changes is where things lie in the file, and which of its bytes are in it: the
ELF header, the program headers and the section headers say so.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from slimpack.elf.layout import (
    ET_EXEC,
    FILE_HEADER,
    LARGEST_PAGES,
    PAGE,
    PF_R,
    PN_XNUM,
    PROGRAM_HEADER,
    PT_INTERP,
    PT_LOAD,
    PT_NULL,
    PT_PHDR,
    SECTION_HEADER,
    SHF_INFO_LINK,
    SHN_LORESERVE,
    SHN_XINDEX,
    SHT_NULL,
    SHT_REL,
    SHT_RELA,
    SHT_STRTAB,
    ElfError,
    Layout,
    Segment,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from _typeshed import ReadableBuffer

_NAMES_SECTION = ".shstrtab"
_LARGEST_ALIGNMENT = 0x10000
"""Bytes; no kept section is aligned more strictly than this, whatever its header claims."""
_NEVER_MOVED = 1 << 64
"""An alignment that leaves only one place to be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is to become of a file."""

    layout: Layout
    """The layout to write. Its offsets are those of the input; new content has offsets behind the input's end."""
    content: tuple[tuple[int, ReadableBuffer], ...] = ()
    """Offsets, and the bytes that lie there instead of the input's. New content begins on a page, and has no gaps."""
    dropped: frozenset[int] = frozenset()
    """Indices of the sections that go."""
    moved_table: bool = False
    """Whether the program headers get a place of their own at the end, because there are more of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A run of the file that stays together, from the start of its first page."""

    start: int
    """Offset of its first byte in the input; a multiple of a page."""
    end: int
    """Offset of the first byte behind it in the input."""
    alignment: int
    """Bytes; it moves by multiples of this."""
    to: int
    """Offset of its first byte in the output."""


def cut(change: Change) -> list[Piece]:
    """Cuts the file, at page borders, into the runs that are mapped, and says where each goes.

    Whatever shares a page stays together, and runs that shared no page share none afterwards, so that every
    page that the loader maps has the content it had. The offsets of a run stay congruent to its addresses
    modulo every alignment in it; that is what ``strip`` gets wrong where patchelf has moved segments.
    """
    pieces: list[Piece] = []
    for start, end, alignment in _merged(_mapped_ranges(change)):
        free = _page_up(_moved(pieces, pieces[-1].end)) if pieces else 0
        pieces.append(Piece(start=start, end=end, alignment=alignment, to=free + (start - free) % alignment))
    return pieces


def mapped_end(change: Change) -> int:
    """Returns where in the output the last thing that is mapped ends, before the program headers if they move."""
    pieces = cut(change)
    return _moved(pieces, pieces[-1].end)


def _mapped_ranges(change: Change) -> Iterator[tuple[int, int, int]]:
    """Yields start, end and alignment of everything that has to stay, the start being that of its page."""
    layout = change.layout
    header = layout.header
    yield 0, FILE_HEADER.size, PAGE
    if not change.moved_table:
        # Linux before 5.18 derives the address of an executable's program headers from e_phoff and the first
        # segment, and so does glibc for a library without PT_PHDR: there, the headers stay where they are.
        kinds = {segment.type for segment in layout.segments}
        pinned = header.type == ET_EXEC or PT_INTERP in kinds or PT_PHDR not in kinds
        yield _page_down(header.segments_offset), header.segments_end, _NEVER_MOVED if pinned else PAGE
    for segment in layout.segments:
        if segment.type == PT_LOAD or (segment.type != PT_NULL and segment.file_size):
            yield _page_down(segment.offset), segment.file_end, _alignment(layout, segment)
    for section in layout.sections:
        if section.allocated and section.file_size:
            yield _page_down(section.offset), section.file_end, PAGE


def _alignment(layout: Layout, segment: Segment) -> int:
    """Returns the alignment in bytes by which a segment has to go on lying in the file.

    Linkers asked for 2 MiB on x86_64 where a page will do, and patchelf then leaves holes of 2 MiB. Loaders
    before glibc 2.35 only check the congruence, so what a page and the sections ask for is enough.
    """
    held = [
        section.alignment
        for section in layout.sections
        if section.allocated and segment.address <= section.address < segment.end
    ]
    needed = max([LARGEST_PAGES[layout.header.machine], *held]) if held else segment.alignment
    return max(min(segment.alignment, needed), PAGE)


def _merged(ranges: Iterable[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Returns the ranges in order, those that share a page made one."""
    merged: list[tuple[int, int, int]] = []
    for start, end, alignment in sorted(ranges):
        if merged and start < _page_up(merged[-1][1]):
            first, last, other = merged.pop()
            merged.append((first, max(last, end), max(other, alignment)))
        else:
            merged.append((start, end, alignment))
    return merged


def _page_down(offset: int) -> int:
    return offset - offset % PAGE


def _page_up(offset: int) -> int:
    return offset + -offset % PAGE


def write(image: ReadableBuffer, before: Layout, change: Change) -> tuple[memoryview | bytes, ...]:
    """Writes a file.

    Args:
        image: The whole input.
        before: Its layout.
        change: What is to become of it.

    Returns:
        The output in order; parts of the input are views of it, not copies.

    Raises:
        ElfError: Its sections overlap, or ask for more alignment than they have.
    """
    return tuple(_output(memoryview(image).cast("B"), before, change, cut(change)))


def _output(
    view: memoryview, before: Layout, change: Change, pieces: Sequence[Piece]
) -> Iterator[memoryview | bytes]:
    """Yields the output: the pieces with the headers in them renewed, then what follows them."""
    after, old = change.layout, before.header
    end = _moved(pieces, pieces[-1].end)
    content = [(offset, memoryview(part).cast("B")) for offset, part in change.content]
    tail: list[memoryview | bytes] = []
    if change.moved_table:
        table_offset = _page_up(end)
        table = _program_headers(_with_table(after, pieces, table_offset))
        content.append((old.segments_offset, memoryview(bytes(old.segments_end - old.segments_offset))))
        tail = [bytes(table_offset - end), table]
        end = table_offset + len(table)
    else:
        table_offset = _moved(pieces, old.segments_offset)
        table = _program_headers(_placed(after, pieces))
        content.append((old.segments_offset, memoryview(table)))
    sections = _sections(view, after, pieces, change.dropped, end)
    content.append((0, memoryview(_file_header(view, table_offset, len(table), sections))))
    yield from _patched(view, pieces, sorted(content, key=lambda part: part[0]))
    yield from tail
    yield from sections.chunks


def _patched(
    view: memoryview, pieces: Sequence[Piece], patches: Sequence[tuple[int, memoryview]]
) -> Iterator[memoryview | bytes]:
    """Yields the pieces where they go, with other content at some offsets of the input."""
    end = 0
    for piece in pieces:
        yield bytes(piece.to - end)
        end = _moved(pieces, piece.end)
        at = piece.start
        for offset, content in patches:
            if piece.start <= offset < piece.end:
                yield view[at:offset]
                yield content
                at = offset + len(content)
        yield view[at : piece.end]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sections:
    """What follows what is mapped in the output: kept sections, section names, section headers."""

    chunks: tuple[memoryview | bytes, ...]
    """The content, in order."""
    offset: int
    """``e_shoff`` of the output."""
    number: int
    """Number of section headers, the null section included."""


def _sections(
    view: memoryview, layout: Layout, pieces: Sequence[Piece], dropped: frozenset[int], end: int
) -> _Sections:
    """Lays out, from an offset on, the kept sections that no piece holds, and describes all that are kept.

    Raises:
        ElfError: They take up more room than they did.
    """
    if not layout.sections:
        return _Sections(chunks=(), offset=0, number=0)
    kept = {
        number: section
        for number, section in enumerate(layout.sections)
        if number and number not in dropped and number != layout.header.names_index
    }
    index = {number: place for place, number in enumerate(kept, start=1)}
    names, name_offsets = _names({_NAMES_SECTION, *(section.name for section in kept.values())})
    count = len(kept) + 2
    headers = [_null_section(layout, count)]
    chunks: list[memoryview | bytes] = []
    for section in kept.values():
        offset = _moved(pieces, section.offset)
        if section.file_size and section.file_end > _piece_at(pieces, section.offset).end:
            padding = -end % min(max(section.alignment, 1), _LARGEST_ALIGNMENT)
            chunks += [bytes(padding), view[section.offset : section.file_end]]
            offset = end + padding
            end = offset + section.file_size
            if end > layout.size:
                raise ElfError("its sections overlap, or ask for more alignment than they have")
        linked = section.flags & SHF_INFO_LINK or section.type in (SHT_REL, SHT_RELA)
        headers.append(
            SECTION_HEADER.pack(
                name_offsets[section.name],
                section.type,
                section.flags,
                section.address,
                offset,
                section.size,
                index.get(section.link, 0),
                index.get(section.info, 0) if linked else section.info,
                section.alignment,
                section.entry_size,
            )
        )
    headers.append(
        SECTION_HEADER.pack(name_offsets[_NAMES_SECTION], SHT_STRTAB, 0, 0, end, len(names), 0, 0, 1, 0)
    )
    padding = -(end + len(names)) % 8
    chunks += [names, bytes(padding), b"".join(headers)]
    return _Sections(chunks=tuple(chunks), offset=end + len(names) + padding, number=count)


def _names(names: Iterable[str]) -> tuple[bytes, dict[str, int]]:
    """Returns a string table in which a name that ends another shares its bytes, and each name's offset."""
    table, offsets, last = bytearray(b"\0"), {}, ""
    for name in sorted(names, key=lambda name: name[::-1], reverse=True):
        if not last.endswith(name):
            table += name.encode("ascii") + b"\0"
            last = name
        offsets[name] = len(table) - 1 - len(name)
    return bytes(table), offsets


def _null_section(layout: Layout, count: int) -> bytes:
    """Returns section 0, which holds the numbers that the ELF header has no room for."""
    size, link = (count, count - 1) if count >= SHN_LORESERVE else (0, 0)
    return SECTION_HEADER.pack(0, SHT_NULL, 0, 0, 0, size, link, layout.sections[0].info, 0, 0)


def _file_header(view: memoryview, table_offset: int, table_size: int, sections: _Sections) -> bytes:
    """Returns the ELF header with the output's places and numbers of program and section headers."""
    header = bytearray(view[: FILE_HEADER.size])
    extended = sections.number >= SHN_LORESERVE
    struct.pack_into("<QQ", header, 32, table_offset, sections.offset)
    struct.pack_into("<H", header, 56, min(table_size // PROGRAM_HEADER.size, PN_XNUM))
    struct.pack_into("<H", header, 60, 0 if extended else sections.number)
    struct.pack_into("<H", header, 62, SHN_XINDEX if extended else max(sections.number - 1, 0))
    return bytes(header)


def _placed(layout: Layout, pieces: Sequence[Piece]) -> Iterator[Segment]:
    """Yields the segments with the output's ``p_offset``, and ``p_align`` where it has to give."""
    for segment in layout.segments:
        if segment.type == PT_NULL:
            yield segment
            continue
        offset, alignment = _moved(pieces, segment.offset), segment.alignment
        if segment.type == PT_LOAD and alignment and (offset - segment.offset) % alignment:
            alignment = _alignment(layout, segment)
        yield replace(segment, offset=offset, alignment=alignment)


def _with_table(layout: Layout, pieces: Sequence[Piece], offset: int) -> Iterator[Segment]:
    """Yields the segments of the output, one of their own for the program headers being the last that is mapped.

    Args:
        layout: With all other segments.
        pieces: Where everything goes.
        offset: Where the program headers go.
    """
    page = LARGEST_PAGES[layout.header.machine]
    last = max(layout.loads, key=lambda load: load.end)
    size = (len(layout.segments) + 1) * PROGRAM_HEADER.size
    address = last.end + -last.end % page + offset % page
    table = replace(
        last,
        flags=PF_R,
        offset=offset,
        address=address,
        physical_address=address,
        file_size=size,
        memory_size=size,
        alignment=page,
    )
    for was, segment in zip(layout.segments, _placed(layout, pieces), strict=True):
        yield replace(table, type=PT_PHDR, alignment=8) if segment.type == PT_PHDR else segment
        if was is last:
            yield table


def _program_headers(segments: Iterable[Segment]) -> bytes:
    """Returns the program header table.

    Raises:
        ElfError: A number does not fit into its field, as after the last address, or is negative.
    """
    try:
        return b"".join(
            PROGRAM_HEADER.pack(
                one.type,
                one.flags,
                one.offset,
                one.address,
                one.physical_address,
                one.file_size,
                one.memory_size,
                one.alignment,
            )
            for one in segments
        )
    except struct.error as problem:
        raise ElfError("its segments' sizes and addresses contradict each other") from problem


def _piece_at(pieces: Sequence[Piece], offset: int) -> Piece:
    """Returns the piece that holds an offset of the input, or else the last one below it."""
    return pieces[bisect_right(pieces, offset, key=lambda piece: piece.start) - 1]


def _moved(pieces: Sequence[Piece], offset: int) -> int:
    """Returns where an offset of the input lies in the output."""
    piece = _piece_at(pieces, offset)
    return offset - piece.start + piece.to

"""Compact an ELF file: drop what no segment maps and no loader reads, and move the rest together.

Virtual addresses never change, and no instruction or data is patched. What changes is where things lie in the
file: ``e_phoff``, ``e_shoff``, ``e_shnum``, ``e_shstrndx``, ``p_offset`` and the section header table.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from slimpack.elf.layout import (
    EM_AARCH64,
    EM_X86_64,
    ET_DYN,
    ET_EXEC,
    FILE_HEADER,
    PAGE,
    PROGRAM_HEADER,
    PT_INTERP,
    PT_LOAD,
    PT_NULL,
    PT_PHDR,
    SECTION_HEADER,
    SHF_EXECINSTR,
    SHF_INFO_LINK,
    SHN_LORESERVE,
    SHN_XINDEX,
    SHT_GROUP,
    SHT_NOBITS,
    SHT_NULL,
    SHT_REL,
    SHT_RELA,
    SHT_STRTAB,
    SHT_SYMTAB,
    SHT_SYMTAB_SHNDX,
    ElfError,
    Layout,
    Section,
    Segment,
    read,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from _typeshed import ReadableBuffer

_DROPPED_TYPES = frozenset({SHT_SYMTAB, SHT_SYMTAB_SHNDX, SHT_REL, SHT_RELA, SHT_GROUP})
"""Types that only linkers and debuggers read when the section is not allocated (gABI, "Sections")."""

_DROPPED_NAMES = frozenset(
    {
        ".comment",  # compiler versions
        ".gdb_index",
        ".gnu_debugaltlink",  # means nothing without the .debug_* sections
        ".gnu_debugdata",  # a compressed .symtab for debuggers
        ".gnu_debuglink",  # the build id, which is allocated and stays, names the debug file as well
        ".line",
        ".llvm_addrsig",
        ".strtab",
        ".symtab_shndx",
    }
)
_DROPPED_FAMILIES = (
    ".annobin",
    ".debug_",
    ".gnu.build.attributes",
    ".gnu.debuglto_",
    ".gnu.lto_",
    ".note.",
    ".stab",
    ".zdebug_",
)
"""Beginnings of the names of sections that only compilers, linkers and debuggers read.

What is in neither list is kept: ``.qtmetadata``, ``.nv_fatbin`` or PyInstaller's ``pydata`` are read by name.
"""

_NAMES_SECTION = ".shstrtab"
_LARGEST_ALIGNMENT = 0x10000
"""Bytes; no kept section is aligned more strictly than this, whatever its header claims."""
_MOST_HEADERS = 10_000_000
"""Segments times sections that can be looked through in a few seconds."""
_LARGEST_PAGES = {EM_X86_64: 0x1000, EM_AARCH64: 0x10000}
"""Bytes of the largest page that kernels use on each machine."""
_NEVER_MOVED = 1 << 64
"""An alignment that leaves only one place to be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compaction:
    """What became of one ELF file."""

    chunks: tuple[ReadableBuffer, ...]
    """The output in order; parts of the input are views of it, not copies."""
    size: int
    """Size of the output in bytes; never more than the input's."""
    dropped: tuple[str, ...] = ()
    """Names of the dropped sections, in order; empty when the output is the input."""
    refused: str | None = None
    """Why the file was left as it is although it may hold something to drop; None otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    """A run of the file that stays together, from the start of its first page."""

    start: int
    """Offset of its first byte in the input; a multiple of a page."""
    end: int
    """Offset of the first byte behind it in the input."""
    alignment: int
    """Bytes; it moves by multiples of this."""
    to: int
    """Offset of its first byte in the output."""


def compact(image: ReadableBuffer) -> Compaction:
    """Drops what no segment maps and no loader reads from an ELF file.

    The output's section header table describes what remains, so that ``readelf``, ``ldd`` and ``gdb`` work on
    it as before. Compacting the output again changes nothing.

    Args:
        image: The whole file. The result refers to it.
    """
    view = memoryview(image).cast("B")
    try:
        layout = read(view)
        _check(layout)
        dropped = _dropped(layout)
        pieces = _pieces(layout)
        _check_no_overlay(view, layout, pieces)
        chunks = tuple(_output(view, layout, pieces, dropped)) if dropped else ()
    except ElfError as error:
        return Compaction(chunks=(view,), size=len(view), refused=error.reason)
    size = sum(len(chunk) for chunk in chunks)
    if not dropped or size >= len(view):
        return Compaction(chunks=(view,), size=len(view))
    names = tuple(layout.sections[number].name for number in sorted(dropped))
    return Compaction(chunks=chunks, size=size, dropped=names)


def same_memory(before: ReadableBuffer, after: ReadableBuffer, *, stride: int = 1) -> bool:
    """Whether two ELF files look the same in memory, apart from the header fields that compaction changes.

    Args:
        before: A whole ELF file.
        after: Another one.
        stride: Every how many pages of a segment are compared, besides its last one; 1 for all.
    """
    one, other = memoryview(before).cast("B"), memoryview(after).cast("B")
    try:
        old, new = read(one), read(other)
    except ElfError:
        return False
    if len(old.segments) != len(new.segments):
        return False
    for was, now in zip(old.segments, new.segments, strict=True):
        if replace(was, offset=0, alignment=0) != replace(now, offset=0, alignment=0):
            return False
        if was.type != PT_NULL and any(
            _page(one, old, was, at) != _page(other, new, now, at)
            for at in {*range(0, was.file_size, stride * PAGE), max(was.file_size - PAGE, 0)}
        ):
            return False
    return True


def _page(view: memoryview, layout: Layout, segment: Segment, at: int) -> bytearray:
    """Returns a page of a segment, with zeros in place of the headers that compaction renews."""
    start, end = segment.offset + at, min(segment.offset + at + PAGE, segment.file_end)
    page = bytearray(view[start:end])
    for first, last in ((0, FILE_HEADER.size), (layout.header.segments_offset, layout.header.segments_end)):
        low, high = max(first, start), min(last, end)
        if low < high:
            page[low - start : high - start] = bytes(high - low)
    return page


def _check(layout: Layout) -> None:
    """Refuses what is no loadable file of the targets.

    Raises:
        ElfError: It is none.
    """
    if layout.header.type not in (ET_EXEC, ET_DYN):
        raise ElfError("it is neither an executable nor a shared object")
    if layout.header.machine not in (EM_X86_64, EM_AARCH64):
        raise ElfError("it is for a processor that is not understood")
    if any(section.type == SHT_NOBITS and section.flags & SHF_EXECINSTR for section in layout.sections):
        raise ElfError("it holds debug information for another file")
    if not layout.segments:
        raise ElfError("it has no program headers")
    if layout.header.segments_offset < FILE_HEADER.size:
        raise ElfError("its program headers overlap its ELF header")
    if len(layout.segments) * len(layout.sections) > _MOST_HEADERS:
        raise ElfError("it has more headers than any linker writes")
    if any(segment.alignment & (segment.alignment - 1) for segment in layout.segments if segment.alignment):
        raise ElfError("a segment's alignment is no power of two")


def _dropped(layout: Layout) -> frozenset[int]:
    """Returns the indices of the sections that go, without that of the section names: it is rewritten."""
    mapped = [(segment.offset, segment.file_end) for segment in layout.segments if segment.type != PT_NULL]
    dropped = {
        number
        for number, section in enumerate(layout.sections)
        if section.type != SHT_NULL
        and number != layout.header.names_index
        and not section.allocated
        and _is_for_tools(section)
        and not any(start <= section.offset and section.file_end <= end for start, end in mapped)
    }
    staying = [
        section
        for number, section in enumerate(layout.sections)
        if number not in dropped and not section.allocated
    ]
    while staying:
        link = staying.pop().link
        if link in dropped:  # its string table
            dropped.remove(link)
            staying.append(layout.sections[link])
    return frozenset(dropped)


def _is_for_tools(section: Section) -> bool:
    return (
        section.type in _DROPPED_TYPES
        or section.name in _DROPPED_NAMES
        or section.name.startswith(_DROPPED_FAMILIES)
    )


def _pieces(layout: Layout) -> list[_Piece]:
    """Cuts the file, at page borders, into the runs that are mapped, and says where each goes.

    Whatever shares a page stays together, and runs that shared no page share none afterwards, so that every
    page that the loader maps has the content it had. The offsets of a run stay congruent to its addresses
    modulo every alignment in it; that is what ``strip`` gets wrong where patchelf has moved segments.
    """
    pieces: list[_Piece] = []
    for start, end, alignment in _merged(_mapped_ranges(layout)):
        free = _page_up(_moved(pieces, pieces[-1].end)) if pieces else 0
        pieces.append(_Piece(start=start, end=end, alignment=alignment, to=free + (start - free) % alignment))
    return pieces


def _mapped_ranges(layout: Layout) -> Iterator[tuple[int, int, int]]:
    """Yields start, end and alignment of everything that has to stay, the start being that of its page."""
    header = layout.header
    yield 0, FILE_HEADER.size, PAGE
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
    needed = max([_LARGEST_PAGES[layout.header.machine], *held]) if held else segment.alignment
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


def _check_no_overlay(view: memoryview, layout: Layout, pieces: Sequence[_Piece]) -> None:
    """Refuses a file with content behind everything that its headers describe.

    Self-extracting programs keep their archive there. Bytes that nothing describes *between* described
    ones are what patchelf leaves behind of earlier section header tables.

    Raises:
        ElfError: It has such content.
    """
    header = layout.header
    end = max(pieces[-1].end, header.sections_end, *(section.file_end for section in layout.sections))
    if bytes(view[end:]).strip(b"\0"):
        raise ElfError(f"it holds {len(view) - end} bytes behind what its headers describe")


def _output(
    view: memoryview, layout: Layout, pieces: Sequence[_Piece], dropped: frozenset[int]
) -> Iterator[memoryview | bytes]:
    """Yields the output: the pieces with the headers in them renewed, then what follows them."""
    tail = _tail(view, layout, pieces, dropped)
    patches = (
        (0, _file_header(view, layout, pieces, tail)),
        (layout.header.segments_offset, _program_headers(view, layout, pieces)),
    )
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
    yield from tail.chunks


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tail:
    """What follows the pieces in the output: kept sections, section names, section headers."""

    chunks: tuple[memoryview | bytes, ...]
    """The content, in order."""
    sections_offset: int
    """``e_shoff`` of the output."""
    sections: int
    """Number of section headers, the null section included."""


def _tail(view: memoryview, layout: Layout, pieces: Sequence[_Piece], dropped: frozenset[int]) -> _Tail:
    """Lays out the kept sections that no piece holds, and describes all that are kept.

    Raises:
        ElfError: They take up more room than they did.
    """
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
    end = _moved(pieces, pieces[-1].end)
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
    return _Tail(chunks=tuple(chunks), sections_offset=end + len(names) + padding, sections=count)


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


def _file_header(view: memoryview, layout: Layout, pieces: Sequence[_Piece], tail: _Tail) -> bytes:
    """Returns the ELF header with ``e_phoff``, ``e_shoff``, ``e_shnum`` and ``e_shstrndx`` of the output."""
    header = bytearray(view[: FILE_HEADER.size])
    extended = tail.sections >= SHN_LORESERVE
    segments_offset = _moved(pieces, layout.header.segments_offset)
    struct.pack_into("<QQ", header, 32, segments_offset, tail.sections_offset)
    struct.pack_into("<H", header, 60, 0 if extended else tail.sections)
    struct.pack_into("<H", header, 62, SHN_XINDEX if extended else tail.sections - 1)
    return bytes(header)


def _program_headers(view: memoryview, layout: Layout, pieces: Sequence[_Piece]) -> bytes:
    """Returns the program headers with the output's ``p_offset``, and ``p_align`` where it has to give."""
    table = bytearray(view[layout.header.segments_offset : layout.header.segments_end])
    for number, segment in enumerate(layout.segments):
        if segment.type == PT_NULL:
            continue
        start = number * PROGRAM_HEADER.size
        offset = _moved(pieces, segment.offset)
        struct.pack_into("<Q", table, start + 8, offset)
        if segment.type == PT_LOAD and segment.alignment and (offset - segment.offset) % segment.alignment:
            struct.pack_into("<Q", table, start + 48, _alignment(layout, segment))
    return bytes(table)


def _piece_at(pieces: Sequence[_Piece], offset: int) -> _Piece:
    """Returns the piece that holds an offset of the input, or else the last one below it."""
    return pieces[bisect_right(pieces, offset, key=lambda piece: piece.start) - 1]


def _moved(pieces: Sequence[_Piece], offset: int) -> int:
    """Returns where an offset of the input lies in the output."""
    piece = _piece_at(pieces, offset)
    return offset - piece.start + piece.to

"""Find what of an ELF file can be cold: pages that nothing reads before the pager can put them in place. Pure.

A page is as cold as the warmest thing on it. Raw is what the loader, the kernel or a debugger reads by itself, and
all that nothing describes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from itertools import pairwise
from typing import TYPE_CHECKING

from slimpack.elf.dynamic import (
    DT_GNU_HASH,
    DT_HASH,
    DT_JMPREL,
    DT_PLTGOT,
    DT_PLTRELSZ,
    DT_RELA,
    DT_RELASZ,
    DT_RELR,
    DT_RELRSZ,
    DT_STRSZ,
    DT_STRTAB,
    DT_SYMTAB,
    DT_TLSDESC_GOT,
    DT_VERDEF,
    DT_VERNEED,
    DT_VERSYM,
    RELOCATION,
    Dynamic,
)
from slimpack.elf.filters import MOST_REACH
from slimpack.elf.layout import (
    EM_AARCH64,
    FILE_HEADER,
    LARGEST_PAGES,
    PF_W,
    PF_X,
    PT_DYNAMIC,
    PT_GNU_EH_FRAME,
    PT_GNU_RELRO,
    PT_LOAD,
    PT_NULL,
    PT_PHDR,
    SHF_EXECINSTR,
    SHF_TLS,
    SHF_WRITE,
    SHT_FINI_ARRAY,
    SHT_INIT_ARRAY,
    SHT_NOBITS,
    SHT_PROGBITS,
    SHT_X86_64_UNWIND,
    Layout,
    Section,
    Segment,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from slimpack.elf.filters import Filter
    from slimpack.elf.packed import Moment

_SMALLEST = {0x1000: 0x4000, 0x10000: 0x10000}
"""Bytes of the smallest run worth a segment of its own, by size of a page."""
_UNWIND_SECTIONS = (".eh_frame", ".eh_frame_hdr", ".gcc_except_table")
_DESCRIBED = (PT_NULL, PT_LOAD, PT_DYNAMIC, PT_PHDR, PT_GNU_EH_FRAME, PT_GNU_RELRO)
"""Types of segments whose content nobody reads because of them, or that others describe."""
_ALWAYS_RAW = (DT_HASH, DT_GNU_HASH, DT_VERNEED, DT_VERDEF, DT_RELR)
"""What points at tables that the loader reads before it relocates the library, or while it relocates others."""
_LOADERS_WORDS = ((DT_PLTGOT, 24), (DT_TLSDESC_GOT, 8))
"""What points at words that the loader writes before it relocates the library, and the bytes of them."""
_DATA = (SHT_PROGBITS, SHT_INIT_ARRAY, SHT_FINI_ARRAY)
"""Types of writable sections that are read and written by the library, and by the loader once it relocates it."""


class _Warmth(IntEnum):
    """When something has to be there, from late to early."""

    TOUCH = 0
    RELOCATION = 1
    LIBRARY = 2
    RAW = 3


_TOUCH, _RELOCATION, _LIBRARY, _RAW = _Warmth
_MOMENTS: dict[_Warmth, Moment] = {_TOUCH: "touch", _RELOCATION: "relocation", _LIBRARY: "library"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cold:
    """A run of whole pages, of the largest size that kernels use, inside one loadable segment."""

    segment: Segment
    """The segment."""
    start: int
    """First address."""
    end: int
    """First address behind it."""
    moment: Moment
    """When it has to be there."""
    filter: Filter
    """What makes it compress better."""


def find_cold(
    view: memoryview,
    layout: Layout,
    dynamic: Dynamic,
    *,
    moved: Collection[int],
    data: bool,
    hot: Sequence[tuple[int, int]] = (),
) -> tuple[Cold, ...]:
    """Finds the cold pages.

    Args:
        view: The whole file.
        layout: Its layout, its loadable segments ascending.
        dynamic: Its dynamic section.
        moved: Addresses of tables of the dynamic section that nobody will read any more where they are.
        data: Whether data is packed as well, to be loaded with the library.
        hot: Runs of addresses, ends excluded, that a start is known to touch: they stay raw.

    Returns:
        Runs in ascending order that do not touch each other, or differ.
    """
    page = LARGEST_PAGES[layout.header.machine]
    found: list[Cold] = []
    for segment in layout.loads:
        if segment.flags & PF_W and dynamic.get(DT_RELR) is not None:
            continue  # the loader applies these before all other relocations, and so before the hook
        marks = list(_marks(view, layout, segment, dynamic, moved=moved, data=data))
        marks += ((first, behind, _RAW) for first, behind in hot)
        low = segment.address + -segment.address % page
        high = segment.address + segment.file_size
        if segment.file_size != segment.memory_size:
            high -= 1  # the loader clears the rest of the last page that the file has
        high -= high % page
        if low >= high:
            continue
        if segment.flags & PF_W:  # it is there before anyone writes to it
            marks.append((low, high, _LIBRARY))
        for start, end, warmth in _runs(marks, page, low, high):
            if warmth != _RAW and end - start >= _SMALLEST[page]:
                whole = Cold(segment=segment, start=start, end=end, moment=_MOMENTS[warmth], filter="none")
                found += _filtered(layout, dynamic, whole)
    return tuple(found)


def _filtered(layout: Layout, dynamic: Dynamic, whole: Cold) -> Iterator[Cold]:
    """Yields a run in parts that different filters make smaller."""
    page = LARGEST_PAGES[layout.header.machine]
    segment, start, end = whole.segment, whole.start, whole.end
    parts: list[tuple[int, int, Filter]] = []
    if segment.flags & PF_X:
        reach = max(load.end for load in layout.loads)
        code: Filter = "aarch64" if layout.header.machine == EM_AARCH64 else "x86_64"
        parts.append((start, end, code if code == "aarch64" or reach <= MOST_REACH else "none"))
    else:
        for first, size, kind in _numbers(layout, dynamic):
            low, high = max(start, first + -first % page), min(end, first + size - (first + size) % page)
            if high - low >= _SMALLEST[page]:
                parts.append((low, high, kind))
    at = start
    for low, high, kind in [*sorted(parts), (end, end, "none")]:
        if at < low:
            yield replace(whole, start=at, end=low)
        if at <= low < high:
            yield replace(whole, start=low, end=high, filter=kind)
        at = max(at, high)


def _numbers(layout: Layout, dynamic: Dynamic) -> Iterator[tuple[int, int, Filter]]:
    """Yields address, size and filter of tables of ascending numbers."""
    for segment in layout.segments:
        if segment.type == PT_GNU_EH_FRAME:
            yield segment.address, segment.file_size, "words"
    for tag, size_tag in ((DT_RELA, DT_RELASZ), (DT_JMPREL, DT_PLTRELSZ)):
        if (address := dynamic.get(tag)) is not None:
            yield address, dynamic.get(size_tag) or 0, "double words"


def _marks(
    view: memoryview,
    layout: Layout,
    segment: Segment,
    dynamic: Dynamic,
    *,
    moved: Collection[int],
    data: bool,
) -> Iterator[tuple[int, int, _Warmth]]:
    """Yields runs of addresses and how warm they are."""
    yield from _loaders(layout, segment, dynamic)
    tables = dict(_tables(dynamic))
    for address, (size, warmth) in tables.items():
        yield address, address + size, _TOUCH if address in moved else warmth
    if (table := dynamic.get(DT_RELA)) is not None:
        yield table, table + RELOCATION.size, _RAW
    held = [
        section
        for section in layout.sections
        if section.allocated
        and section.size
        and not (section.type == SHT_NOBITS and section.flags & SHF_TLS)
        and section.address < segment.end
        and segment.address < section.end
    ]
    if not held:
        whole = segment.flags & PF_X and not any(segment.address <= one < segment.end for one in tables)
        yield segment.address, segment.end, _TOUCH if whole else _RAW
        return
    for section in held:
        yield section.address, section.end, _warmth(section, tables, moved=moved, data=data)
    for start, end in _gaps(segment, held):
        content = view[start - segment.address + segment.offset : end - segment.address + segment.offset]
        if bytes(content).strip(b"\0"):
            yield start, end, _RAW


def _loaders(layout: Layout, segment: Segment, dynamic: Dynamic) -> Iterator[tuple[int, int, _Warmth]]:
    """Yields what loaders read or write by themselves, and what nothing is known of."""
    header = layout.header
    for start, end in ((0, FILE_HEADER.size), (header.segments_offset, header.segments_end)):
        yield start - segment.offset + segment.address, end - segment.offset + segment.address, _RAW
    for other in layout.segments:
        if other.type not in _DESCRIBED and other.memory_size:
            yield other.address, other.end, _RAW
    for tag, size in _LOADERS_WORDS:
        if (words := dynamic.get(tag)) is not None:
            yield words, words + size, _RAW


def _tables(dynamic: Dynamic) -> Iterator[tuple[int, tuple[int, _Warmth]]]:
    """Yields the address of each table that the dynamic section points at, its size if known, and how warm it is."""
    for tag, size_tag, warmth in (
        (DT_SYMTAB, None, _RAW),
        (DT_STRTAB, DT_STRSZ, _RAW),
        (DT_VERSYM, None, _RAW),
        (DT_RELA, DT_RELASZ, _RELOCATION),
        (DT_JMPREL, DT_PLTRELSZ, _RELOCATION if dynamic.binds_now else _LIBRARY),
        *((tag, DT_RELRSZ if tag == DT_RELR else None, _RAW) for tag in _ALWAYS_RAW),
    ):
        if (address := dynamic.get(tag)) is not None:
            yield address, ((dynamic.get(size_tag) if size_tag else None) or 1, warmth)


def _warmth(
    section: Section, tables: dict[int, tuple[int, _Warmth]], *, moved: Collection[int], data: bool
) -> _Warmth:
    pointed = [address for address in tables if section.address <= address < section.end]
    if pointed:
        warmest = max(_TOUCH if address in moved else tables[address][1] for address in pointed)
        return warmest if section.address in pointed else _RAW
    if section.flags & SHF_WRITE:
        return _LIBRARY if data and section.type in _DATA and not section.flags & SHF_TLS else _RAW
    if section.flags & SHF_EXECINSTR:
        return _TOUCH
    if section.name.startswith(_UNWIND_SECTIONS) and section.type in (SHT_PROGBITS, SHT_X86_64_UNWIND):
        return _TOUCH
    return _LIBRARY if data and section.type == SHT_PROGBITS else _RAW


def _gaps(segment: Segment, sections: Sequence[Section]) -> Iterator[tuple[int, int]]:
    """Yields the runs of addresses of a segment that no section describes."""
    at = segment.address
    for section in sorted(sections, key=lambda section: section.address):
        if section.address > at:
            yield at, section.address
        at = max(at, section.end)
    if at < segment.end:
        yield at, segment.end


def _runs(
    marks: Sequence[tuple[int, int, _Warmth]], page: int, low: int, high: int
) -> Iterator[tuple[int, int, _Warmth]]:
    """Yields runs of pages, each as warm as the warmest mark that meets it; a page that none meets is cold."""
    pages = [
        (max(start - start % page, low), min(end + -end % page, high), warmth)
        for start, end, warmth in marks
        if start < high and end > low
    ]
    borders = sorted({low, high, *(border for start, end, _ in pages for border in (start, end))})
    last: tuple[int, int, _Warmth] | None = None
    for start, end in pairwise(borders):
        met = [warmth for first, behind, warmth in pages if first < end and start < behind]
        warmth = max(met, default=_TOUCH)
        if last and last[2] == warmth:
            last = (last[0], end, warmth)
            continue
        if last:
            yield last
        last = (start, end, warmth)
    if last:
        yield last

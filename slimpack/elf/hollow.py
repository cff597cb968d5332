"""Hollow an ELF file: sections that read as zeros in memory and take up no space in the file. Pure.

A loadable segment may be larger in memory than in the file, and the loader fills the rest with pages of zeros (gABI,
"Program Header"). So a segment is split where a section is to go: the first part ends, in the file, where the section
begins. Addresses stay as they were.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from slimpack.elf.layout import (
    ET_DYN,
    LARGEST_PAGES,
    PN_XNUM,
    PT_INTERP,
    PT_LOAD,
    PT_NULL,
    SHF_EXECINSTR,
    SHF_WRITE,
    SHT_NOBITS,
    SHT_PROGBITS,
    ElfError,
    Layout,
    Section,
    Segment,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable


@dataclass(frozen=True, slots=True, kw_only=True)
class Hollowing:
    """What is left of a layout once sections are hollow."""

    layout: Layout
    """The layout to write; its offsets are still those of the input."""
    zeroed: tuple[tuple[int, int], ...] = ()
    """Start and end, offsets of the input, of the bytes of hollow sections that share a page with others."""
    hollow: tuple[Section, ...] = ()
    """The sections as they were, by address; empty when the layout is the input's."""

    @property
    def bytes(self) -> int:
        """Bytes of the file that the hollow sections had to themselves."""
        edges = sum(end - start for start, end in self.zeroed)
        return sum(section.size for section in self.hollow) - edges


def hollow(layout: Layout, names: Collection[str]) -> Hollowing:
    """Returns a layout in which sections of some names have no bytes in the file.

    Only a shared object is changed, and only read-only data that fills pages and that nothing else describes: what
    this does not hold for stays as it is. There are more program headers afterwards, so they need another place.

    Args:
        layout: As read from the file.
        names: Names of sections.

    Raises:
        ElfError: There would be more program headers than ELF can count.
    """
    if not names or layout.header.type != ET_DYN or any(one.type == PT_INTERP for one in layout.segments):
        return Hollowing(layout=layout)
    page = LARGEST_PAGES[layout.header.machine]
    holes: list[tuple[Segment, Section, int, int]] = []
    for section in layout.sections:
        if section.name in names and (segment := _holder(layout, section)):
            start, end = section.address + -section.address % page, section.end - section.end % page
            if start < end:
                holes.append((segment, section, start, end))
    if not holes:
        return Hollowing(layout=layout)
    holes.sort(key=lambda hole: hole[2])
    segments: list[Segment] = []
    for segment in layout.segments:
        borders = [(start, end) for holder, _, start, end in holes if holder is segment]
        segments += _split(segment, borders)
    if len(segments) + 1 >= PN_XNUM:
        raise ElfError("it would need more program headers than there can be")
    hollow_ones = tuple(section for _, section, _, _ in holes)
    zeroed: list[tuple[int, int]] = []
    for _, section, start, end in holes:
        edges = (
            (section.offset, section.offset + start - section.address),
            (section.file_end - (section.end - end), section.file_end),
        )
        zeroed += [edge for edge in edges if edge[0] < edge[1]]
    sections = tuple(
        replace(section, type=SHT_NOBITS) if section in hollow_ones else section
        for section in layout.sections
    )
    header = replace(layout.header, segments=len(segments))
    return Hollowing(
        layout=replace(layout, header=header, segments=tuple(segments), sections=sections),
        zeroed=tuple(zeroed),
        hollow=hollow_ones,
    )


def _holder(layout: Layout, section: Section) -> Segment | None:
    """Returns the loadable segment that holds a section which can be hollow, or None."""
    if section.type != SHT_PROGBITS or not section.allocated or section.flags & (SHF_WRITE | SHF_EXECINSTR):
        return None
    if any(
        other is not section and other.file_size and _overlap(other.offset, other.file_end, section)
        for other in layout.sections
    ):
        return None
    around = [
        segment
        for segment in layout.segments
        if segment.type != PT_NULL
        and (_overlap(segment.offset, segment.file_end, section) or _meets(segment, section))
    ]
    if len(around) != 1 or around[0].type != PT_LOAD:
        return None
    segment = around[0]
    whole = segment.offset <= section.offset and section.file_end <= segment.file_end
    return segment if whole and section.offset - segment.offset == section.address - segment.address else None


def _overlap(start: int, end: int, section: Section) -> bool:
    return start < section.file_end and section.offset < end


def _meets(segment: Segment, section: Section) -> bool:
    return segment.address < section.end and section.address < segment.end


def _split(segment: Segment, holes: Iterable[tuple[int, int]]) -> list[Segment]:
    """Returns a segment cut behind each hole, the hole being the end of what is before it.

    Args:
        segment: It is inside the file where the holes are.
        holes: First address in each hole and behind it, ascending.
    """
    parts: list[Segment] = []
    rest = segment
    for start, end in holes:
        skipped = end - rest.address
        parts.append(replace(rest, file_size=start - rest.address, memory_size=skipped))
        rest = replace(
            rest,
            offset=rest.offset + skipped,
            address=end,
            physical_address=rest.physical_address + skipped,
            file_size=rest.file_size - skipped,
            memory_size=rest.memory_size - skipped,
        )
    return [*parts, rest] if rest.memory_size or not parts else parts

"""Compact an ELF file: drop what no segment maps and no loader reads, and move the rest together.

Virtual addresses never change, and no instruction or data is patched. What changes is where things lie in the
file: the ELF header, the program headers and the section headers say so.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from slimpack.elf.hollow import hollow
from slimpack.elf.layout import (
    ET_DYN,
    ET_EXEC,
    FILE_HEADER,
    LARGEST_PAGES,
    PT_NULL,
    PT_SLIMPACK,
    SHF_EXECINSTR,
    SHT_GROUP,
    SHT_NOBITS,
    SHT_NULL,
    SHT_REL,
    SHT_RELA,
    SHT_SYMTAB,
    SHT_SYMTAB_SHNDX,
    ElfError,
    Layout,
    Section,
    read,
)
from slimpack.elf.write import Change, Piece, cut, write

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

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

_LARGEST_ALIGNMENT = 0x10000
"""Bytes; no kept section is aligned more strictly than this, whatever its header claims."""
_MOST_HEADERS = 10_000_000
"""Segments times sections that can be looked through in a few seconds."""
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
    """Names of the dropped sections, in order."""
    hollow: tuple[str, ...] = ()
    """Names of the sections that read as zeros now."""
    hollow_bytes: int = 0
    """Bytes of the file that the hollow sections had to themselves."""
    refused: str | None = None
    """Why the file was left as it is although it may hold something to drop; None otherwise."""


def compact(image: ReadableBuffer, *, clear: Collection[str] = ()) -> Compaction:
    """Drops what no segment maps and no loader reads from an ELF file.

    The output's section header table describes what remains, so that ``readelf``, ``ldd`` and ``gdb`` work on
    it as before. Compacting the output again changes nothing.

    Args:
        image: The whole file. The result refers to it.
        clear: Names of mapped sections whose content is not needed either: where it can be done, they read as zeros.
    """
    view = memoryview(image).cast("B")
    try:
        layout = read(view)
        check_loadable(layout)
        hollowing = hollow(layout, clear)
        change = Change(
            layout=hollowing.layout,
            content=tuple((start, bytes(stop - start)) for start, stop in hollowing.zeroed),
            dropped=_dropped(layout),
            moved_table=bool(hollowing.hollow),
        )
        changed = bool(change.dropped or hollowing.hollow)
        _check_no_overlay(view, layout, cut(change))
        chunks = write(view, layout, change) if changed else ()
    except ElfError as error:
        return Compaction(chunks=(view,), size=len(view), refused=error.reason)
    size = sum(len(chunk) for chunk in chunks)
    if not changed or size >= len(view):
        return Compaction(chunks=(view,), size=len(view))
    return Compaction(
        chunks=chunks,
        size=size,
        dropped=tuple(layout.sections[number].name for number in sorted(change.dropped)),
        hollow=tuple(section.name for section in hollowing.hollow),
        hollow_bytes=hollowing.bytes,
    )


def check_loadable(layout: Layout) -> None:
    """Refuses what is no loadable file of the targets.

    Raises:
        ElfError: It is none.
    """
    if layout.header.type not in (ET_EXEC, ET_DYN):
        raise ElfError("it is neither an executable nor a shared object")
    if layout.header.machine not in LARGEST_PAGES:
        raise ElfError("it is for a processor that is not understood")
    if any(segment.type == PT_SLIMPACK for segment in layout.segments):
        raise ElfError("it is packed")
    if any(section.type == SHT_NOBITS and section.flags & SHF_EXECINSTR for section in layout.sections):
        raise ElfError("it holds debug information for another file")
    if not layout.segments:
        raise ElfError("it has no program headers")
    if layout.header.segments_offset < FILE_HEADER.size:
        raise ElfError("its program headers overlap its ELF header")
    if len(layout.segments) * len(layout.sections) > _MOST_HEADERS:
        raise ElfError("it has more headers than any linker writes")
    alignments = [one.alignment for one in layout.segments] + [one.alignment for one in layout.sections]
    if any(alignment.bit_count() > 1 for alignment in alignments):
        raise ElfError("the alignment of a segment or a section is no power of two")
    if any(below.address + below.file_size > above.address for below, above in pairwise(layout.loads)):
        raise ElfError("its segments overlap in memory, or are out of order")


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


def _check_no_overlay(view: memoryview, layout: Layout, pieces: Sequence[Piece]) -> None:
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

"""The layout of an ELF file: its header, segments and sections, strictly read, and the loader's rules.

Only what Lambda's two architectures use is understood: little-endian ELF64. The format is that of the
System V ABI, https://gabi.xinuos.com, chapters "ELF Header", "Sections" and "Program Header".
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_right
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from _typeshed import ReadableBuffer

MAGIC = b"\x7fELF"
PAGE = 0x1000
"""Bytes of a page: the smallest of both architectures, and what Lambda's kernels use on both."""

FILE_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
"""``Elf64_Ehdr``."""
PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")
"""``Elf64_Phdr``."""
SECTION_HEADER = struct.Struct("<IIQQQQIIQQ")
"""``Elf64_Shdr``."""

ELFCLASS64 = 2
ELFDATA2LSB = 1
EV_CURRENT = 1

ET_REL, ET_EXEC, ET_DYN, ET_CORE = 1, 2, 3, 4
EM_X86_64, EM_AARCH64 = 62, 183
LARGEST_PAGES = {EM_X86_64: 0x1000, EM_AARCH64: 0x10000}
"""Bytes of the largest page that kernels use on each machine."""

PN_XNUM = 0xFFFF
"""In ``e_phnum``: the real number stands in ``sh_info`` of section 0."""
SHN_LORESERVE = 0xFF00
"""From this number of sections on, ``e_shnum`` is 0 and ``sh_size`` of section 0 has the real number."""
SHN_XINDEX = 0xFFFF
"""In ``e_shstrndx``: the real index stands in ``sh_link`` of section 0."""

PT_NULL, PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_NOTE, PT_PHDR = 0, 1, 2, 3, 4, 6
PT_GNU_EH_FRAME = 0x6474E550
PT_GNU_RELRO = 0x6474E552
PT_SLIMPACK = 0x6B636150
"""The packed part of a packed file: "Pack" in ASCII, in the range for operating systems; docs/packed-format.md."""
_INNER = {PT_DYNAMIC: "PT_DYNAMIC", PT_PHDR: "PT_PHDR", PT_GNU_RELRO: "PT_GNU_RELRO"}
"""Segments that have to lie inside a PT_LOAD segment; for the last one, it may be several and what is between them."""

PF_X, PF_W, PF_R = 0x1, 0x2, 0x4

SHT_NULL, SHT_PROGBITS, SHT_SYMTAB, SHT_STRTAB, SHT_RELA, SHT_NOTE, SHT_NOBITS, SHT_REL = (
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    9,
)
SHT_DYNAMIC, SHT_DYNSYM, SHT_INIT_ARRAY, SHT_FINI_ARRAY = 6, 11, 14, 15
SHT_GROUP, SHT_SYMTAB_SHNDX = 17, 18
SHT_GNU_VERSYM = 0x6FFFFFFF
SHT_X86_64_UNWIND = 0x70000001

SHF_WRITE = 0x1
SHF_ALLOC = 0x2
SHF_EXECINSTR = 0x4
SHF_INFO_LINK = 0x40
SHF_TLS = 0x400

_LONGEST_NAME = 1024
_PRINTABLE = re.compile(rb"[ -~]*")


class ElfError(Exception):
    """A file that is not understood; it ends the treatment of this one file, never the build."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        """Why, as a phrase that follows the file's path and a colon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The ELF header, with the extended numbering of section 0 resolved."""

    type: int
    """``e_type``."""
    machine: int
    """``e_machine``."""
    segments_offset: int
    """``e_phoff``, bytes."""
    segments: int
    """Number of program headers."""
    sections_offset: int
    """``e_shoff``, bytes; 0 without section headers."""
    sections: int
    """Number of section headers, the null section included."""
    names_index: int
    """Index of the section that holds the section names; 0 for none."""

    @property
    def segments_end(self) -> int:
        """Offset of the first byte behind the program header table."""
        return self.segments_offset + self.segments * PROGRAM_HEADER.size

    @property
    def sections_end(self) -> int:
        """Offset of the first byte behind the section header table."""
        return self.sections_offset + self.sections * SECTION_HEADER.size


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One program header."""

    type: int
    """``p_type``."""
    flags: int
    """``p_flags``."""
    offset: int
    """``p_offset``, bytes."""
    address: int
    """``p_vaddr``."""
    physical_address: int
    """``p_paddr``, which no loader of the targets reads."""
    file_size: int
    """``p_filesz``, bytes."""
    memory_size: int
    """``p_memsz``, bytes."""
    alignment: int
    """``p_align``, bytes."""

    @property
    def file_end(self) -> int:
        """Offset of the first byte behind it in the file."""
        return self.offset + self.file_size

    @property
    def end(self) -> int:
        """First address behind it in memory."""
        return self.address + self.memory_size

    def holds(self, other: Segment) -> bool:
        """Whether the other one's memory lies inside this one's."""
        return self.address <= other.address and other.end <= self.end


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One section header."""

    name: str
    """Its name, printable ASCII."""
    type: int
    """``sh_type``."""
    flags: int
    """``sh_flags``."""
    address: int
    """``sh_addr``."""
    offset: int
    """``sh_offset``, bytes."""
    size: int
    """``sh_size``, bytes."""
    link: int
    """``sh_link``."""
    info: int
    """``sh_info``."""
    alignment: int
    """``sh_addralign``, bytes."""
    entry_size: int
    """``sh_entsize``, bytes."""

    @property
    def end(self) -> int:
        """First address behind it in memory, if it is allocated."""
        return self.address + self.size

    @property
    def allocated(self) -> bool:
        """Whether it takes up memory at run time."""
        return bool(self.flags & SHF_ALLOC)

    @property
    def file_size(self) -> int:
        """Bytes it takes up in the file."""
        return 0 if self.type in (SHT_NULL, SHT_NOBITS) else self.size

    @property
    def file_end(self) -> int:
        """Offset of the first byte behind it in the file."""
        return self.offset + self.file_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where everything of an ELF file lies. Every range with bytes in it is inside the file."""

    size: int
    """Size of the file in bytes."""
    header: Header
    """The ELF header."""
    segments: tuple[Segment, ...]
    """The program headers, in order."""
    sections: tuple[Section, ...]
    """The section headers, in order, the null section included; empty for a file without."""

    @property
    def loads(self) -> tuple[Segment, ...]:
        """The segments that loaders map, in order."""
        return tuple(segment for segment in self.segments if segment.type == PT_LOAD)


def is_elf(prefix: bytes) -> bool:
    """Whether a file that begins with these bytes, at least four, claims to be an ELF file."""
    return prefix.startswith(MAGIC)


def read(image: ReadableBuffer) -> Layout:
    """Reads the layout of an ELF file.

    Args:
        image: The whole file.

    Raises:
        ElfError: It is no little-endian ELF64 file, or its headers contradict the file or each other.
    """
    view = memoryview(image).cast("B")
    header = _read_header(view)
    return Layout(
        size=len(view),
        header=header,
        segments=tuple(_read_segments(view, header)),
        sections=tuple(_read_sections(view, header)),
    )


def loader_problems(layout: Layout) -> tuple[str, ...]:
    """Says what keeps the oldest loader of the targets, that of glibc 2.26, from loading the file.

    The rules are those of ``_dl_map_object_from_fd`` in glibc's ``elf/dl-load.c``, with the two conditions on
    alignment that were relaxed in 2.35, and what ``_dl_map_segments`` in ``elf/dl-map-segments.h`` takes
    for granted: ascending addresses that share no page. The build host's own loader may be more lenient.

    Returns:
        One sentence for each problem; empty if there is none.
    """
    return tuple(chain(_load_problems(layout.loads), _inner_problems(layout, layout.loads)))


def _load_problems(loads: Sequence[Segment]) -> Iterator[str]:
    if not loads:
        yield "it has no loadable segment"
    for load in loads:
        name = f"the PT_LOAD segment at {load.address:#x}"
        if load.alignment % PAGE or load.alignment & (load.alignment - 1):
            yield f"{name} has an alignment of {load.alignment:#x}, which is no power of two of whole pages"
        elif (load.address - load.offset) & (
            load.alignment - 1
        ):  # with 0, the same place in both is asked for
            yield f"{name} lies where its alignment of {load.alignment:#x} forbids it in the file"
        if load.file_size > load.memory_size:
            yield f"{name} has more bytes in the file than in memory"
    for below, above in pairwise(loads):
        if above.address // PAGE < -(-below.end // PAGE):
            places = f"{below.address:#x} and {above.address:#x}"
            yield f"the PT_LOAD segments at {places} share a page or are out of order"


def _inner_problems(layout: Layout, loads: Sequence[Segment]) -> Iterator[str]:
    ascending = sorted(loads, key=lambda load: load.address)
    for segment in layout.segments:
        if kind := _INNER.get(segment.type):
            at = bisect_right(ascending, segment.address, key=lambda load: load.address) - 1
            last = -1 if segment.type == PT_GNU_RELRO else at  # mprotect(2) minds no border between mappings
            if at < 0 or segment.end > ascending[last].end:
                yield f"no PT_LOAD segment holds the {kind} segment"


def _read_header(view: memoryview) -> Header:
    if not is_elf(bytes(view[: len(MAGIC)])):
        raise ElfError("it is no ELF file")
    if len(view) < FILE_HEADER.size:
        raise ElfError("it ends inside its ELF header")
    identification, kind, machine, version, _, segments_offset, sections_offset, *sizes = (
        FILE_HEADER.unpack_from(view)
    )
    _, _, segment_size, segments, section_size, sections, names_index = sizes
    if identification[4] != ELFCLASS64 or identification[5] != ELFDATA2LSB:
        raise ElfError("it is no 64-bit little-endian file")
    if version != EV_CURRENT:
        raise ElfError(f"it has the unknown ELF version {version}")
    if segments and segment_size != PROGRAM_HEADER.size:
        raise ElfError(f"its program headers have {segment_size} bytes each")
    if sections_offset and section_size != SECTION_HEADER.size:
        raise ElfError(f"its section headers have {section_size} bytes each")
    if sections_offset:
        _check_range(view, sections_offset, SECTION_HEADER.size, "the null section")
        null = _section(SECTION_HEADER.unpack_from(view, sections_offset), name="")
        sections = sections or null.size
        names_index = null.link if names_index == SHN_XINDEX else names_index
        segments = null.info if segments == PN_XNUM else segments
    if sections_offset == 0 < sections or names_index >= max(sections, 1):
        raise ElfError("its counts of section headers contradict each other")
    _check_range(view, segments_offset, segments * PROGRAM_HEADER.size, "the program header table")
    _check_range(view, sections_offset, sections * SECTION_HEADER.size, "the section header table")
    return Header(
        type=kind,
        machine=machine,
        segments_offset=segments_offset,
        segments=segments,
        sections_offset=sections_offset,
        sections=sections,
        names_index=names_index,
    )


def _read_segments(view: memoryview, header: Header) -> Iterator[Segment]:
    table = view[header.segments_offset : header.segments_end]
    for fields in PROGRAM_HEADER.iter_unpack(table):
        kind, flags, offset, address, physical_address, file_size, memory_size, alignment = fields
        if kind == PT_LOAD or (kind != PT_NULL and file_size):
            _check_range(view, offset, file_size, f"the segment at offset {offset:#x}")
        yield Segment(
            type=kind,
            flags=flags,
            offset=offset,
            address=address,
            physical_address=physical_address,
            file_size=file_size,
            memory_size=memory_size,
            alignment=alignment,
        )


def _read_sections(view: memoryview, header: Header) -> Iterator[Section]:
    table = view[header.sections_offset : header.sections_end]
    fields = list(SECTION_HEADER.iter_unpack(table))
    names = view[:0]
    if header.names_index:
        holder = _section(fields[header.names_index], name="")
        if holder.type != SHT_STRTAB:
            raise ElfError("the section that should hold the section names is no string table")
        _check_range(view, holder.offset, holder.size, "the table of section names")
        names = view[holder.offset : holder.file_end]
    for number, field in enumerate(fields):
        section = _section(field, name=_name(names, field[0]))
        if section.file_size:
            _check_range(view, section.offset, section.file_size, f"section {number}")
        if section.link >= header.sections and number:
            raise ElfError(f"section {number} is linked to one that does not exist")
        yield section


def _section(fields: tuple[int, ...], *, name: str) -> Section:
    _, kind, flags, address, offset, size, link, info, alignment, entry_size = fields
    return Section(
        name=name,
        type=kind,
        flags=flags,
        address=address,
        offset=offset,
        size=size,
        link=link,
        info=info,
        alignment=alignment,
        entry_size=entry_size,
    )


def _name(names: memoryview, offset: int) -> str:
    """Returns the name at an offset of the table; no name is looked for without a table."""
    if not names:
        return ""
    if offset >= len(names):
        raise ElfError("a section name lies outside the table of names")
    name, end, _ = bytes(names[offset : offset + _LONGEST_NAME]).partition(b"\0")
    if not end or not _PRINTABLE.fullmatch(name):
        raise ElfError("a section name has no end or is not printable")
    return name.decode("ascii")


def _check_range(view: memoryview, offset: int, size: int, what: str) -> None:
    if offset + size > len(view):
        raise ElfError(f"{what} lies outside the file")

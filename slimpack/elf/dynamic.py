"""The dynamic section of an ELF file: its entries, and the tables that they point at. Pure.

gABI, chapter "Dynamic Linking"; the GNU tags are those of glibc's ``elf.h``.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slimpack.elf.layout import EM_AARCH64, EM_X86_64, PT_DYNAMIC, ElfError, Layout, Segment

if TYPE_CHECKING:
    from collections.abc import Iterator

ENTRY = struct.Struct("<qQ")
"""``Elf64_Dyn``."""
RELOCATION = struct.Struct("<QQq")
"""``Elf64_Rela``."""
SYMBOL = struct.Struct("<IBBHQQ")
"""``Elf64_Sym``."""

DT_NULL, DT_NEEDED, DT_PLTRELSZ, DT_HASH, DT_STRTAB, DT_SYMTAB, DT_RELA, DT_RELASZ, DT_RELAENT = (
    0,
    1,
    2,
    4,
    5,
    6,
    7,
    8,
    9,
)
DT_STRSZ, DT_SYMENT, DT_INIT, DT_FINI, DT_SONAME, DT_RPATH, DT_REL, DT_TEXTREL, DT_JMPREL = (
    10,
    11,
    12,
    13,
    14,
    15,
    17,
    22,
    23,
)
DT_PLTGOT, DT_TLSDESC_GOT = 3, 0x6FFFFEF7
DT_INIT_ARRAY, DT_INIT_ARRAYSZ = 25, 27
DT_PLTREL, DT_BIND_NOW, DT_RUNPATH, DT_FLAGS, DT_RELRSZ, DT_RELR = 20, 24, 29, 30, 35, 36
DT_GNU_HASH, DT_VERSYM, DT_RELACOUNT = 0x6FFFFEF5, 0x6FFFFFF0, 0x6FFFFFF9
DT_FLAGS_1, DT_VERDEF, DT_VERNEED = 0x6FFFFFFB, 0x6FFFFFFC, 0x6FFFFFFE
DT_X86_64_PLT, DT_X86_64_PLTSZ, DT_X86_64_PLTENT = 0x70000000, 0x70000001, 0x70000003
DF_TEXTREL, DF_BIND_NOW, DF_1_NOW = 0x4, 0x8, 0x1
DT_CONFIG, DT_DEPAUDIT, DT_AUDIT, DT_AUXILIARY, DT_FILTER = (
    0x6FFFFEFA,
    0x6FFFFEFB,
    0x6FFFFEFC,
    0x7FFFFFFD,
    0x7FFFFFFF,
)
NAMING = frozenset(
    (DT_NEEDED, DT_SONAME, DT_RPATH, DT_RUNPATH, DT_CONFIG, DT_DEPAUDIT, DT_AUDIT, DT_AUXILIARY, DT_FILTER)
)
"""Tags of entries whose value is the place of a name in ``DT_STRTAB``."""

RELATIVE = {EM_X86_64: 8, EM_AARCH64: 1027}
"""``R_X86_64_RELATIVE``, ``R_AARCH64_RELATIVE``."""

_LONGEST_STRING = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Dynamic:
    """The dynamic section."""

    segment: Segment
    """The segment that holds it."""
    entries: tuple[tuple[int, int], ...]
    """Tag and value of each entry, without the one that ends the list."""

    def get(self, tag: int) -> int | None:
        """Returns the value of the last entry with a tag, which is the one that glibc uses, or None."""
        return next((value for one, value in reversed(self.entries) if one == tag), None)

    @property
    def binds_now(self) -> bool:
        """Whether it asks the loader to look everything up when it is loaded."""
        flags, more = self.get(DT_FLAGS) or 0, self.get(DT_FLAGS_1) or 0
        return bool(flags & DF_BIND_NOW or more & DF_1_NOW or self.get(DT_BIND_NOW) is not None)


def read_dynamic(view: memoryview, layout: Layout) -> Dynamic:
    """Reads the dynamic section.

    Args:
        view: The whole file.
        layout: Its layout.

    Raises:
        ElfError: It has none, more than one, or one without an end.
    """
    segments = [segment for segment in layout.segments if segment.type == PT_DYNAMIC]
    if len(segments) != 1:
        raise ElfError("it has no dynamic section, or several")
    size = segments[0].file_size - segments[0].file_size % ENTRY.size
    entries: list[tuple[int, int]] = []
    for tag, value in ENTRY.iter_unpack(view[segments[0].offset : segments[0].offset + size]):
        if tag == DT_NULL:
            return Dynamic(segment=segments[0], entries=tuple(entries))
        entries.append((tag, value))
    raise ElfError("its dynamic section has no end")


def offset_of(layout: Layout, address: int, size: int) -> int:
    """Returns where in the file some memory lies.

    Args:
        layout: The file's layout, its loadable segments in order.
        address: First address.
        size: Bytes.

    Raises:
        ElfError: Not all of it is in one loadable segment.
    """
    loads = layout.loads
    at = bisect_right(loads, address, key=lambda load: load.address) - 1
    if at < 0 or address + size > loads[at].address + loads[at].file_size:
        raise ElfError(f"no segment has the {size} bytes at {address:#x}, which its dynamic section names")
    return address - loads[at].address + loads[at].offset


def table(view: memoryview, layout: Layout, dynamic: Dynamic, tag: int, size: int) -> memoryview:
    """Returns a table that an entry of the dynamic section points at; empty without such an entry.

    Raises:
        ElfError: It is not in the file.
    """
    address = dynamic.get(tag)
    if address is None:
        return view[:0]
    start = offset_of(layout, address, size)
    return view[start : start + size]


def string(view: memoryview, layout: Layout, dynamic: Dynamic, offset: int) -> bytes:
    """Returns a string of the dynamic string table.

    Raises:
        ElfError: There is none at this offset, or it has no end.
    """
    table, size = dynamic.get(DT_STRTAB), dynamic.get(DT_STRSZ)
    if table is None or size is None or offset >= size:
        raise ElfError("a name lies outside its dynamic string table")
    start = offset_of(layout, table + offset, 1)
    found, end, _ = bytes(view[start : start + min(size - offset, _LONGEST_STRING)]).partition(b"\0")
    if not end:
        raise ElfError("a name in its dynamic string table has no end")
    return found


def relocations(view: memoryview, layout: Layout, address: int, size: int) -> Iterator[tuple[int, int, int]]:
    """Yields ``r_offset``, ``r_info`` and ``r_addend`` of a table of relocations.

    Raises:
        ElfError: It is not in the file.
    """
    start = offset_of(layout, address, size)
    yield from RELOCATION.iter_unpack(view[start : start + size - size % RELOCATION.size])


def symbol_count(view: memoryview, layout: Layout, dynamic: Dynamic) -> int:
    """Returns the number of entries of the dynamic symbol table, which no entry of the dynamic section tells.

    It is the larger of what the hash tables reach, and what the section headers say, or else the relocations use.

    Raises:
        ElfError: A table is not in the file.
    """
    table = dynamic.get(DT_SYMTAB)
    counts = [1]
    if (address := dynamic.get(DT_HASH)) is not None:
        offset = offset_of(layout, address, 8)
        counts.append(struct.unpack_from("<II", view, offset)[1])
    if (address := dynamic.get(DT_GNU_HASH)) is not None:
        counts.append(_gnu_hash_count(view, layout, address))
    if described := [one for one in layout.sections if one.allocated and one.address == table and one.size]:
        counts += [one.size // SYMBOL.size for one in described]
    else:
        for where, length in ((DT_RELA, DT_RELASZ), (DT_JMPREL, DT_PLTRELSZ)):
            address, size = dynamic.get(where), dynamic.get(length)
            if address is not None and size:
                counts += [(info >> 32) + 1 for _, info, _ in relocations(view, layout, address, size)]
    return max(counts)


def _gnu_hash_count(view: memoryview, layout: Layout, address: int) -> int:
    """Returns how many symbols a table of kind ``DT_GNU_HASH`` reaches, the ones before them included."""
    offset = offset_of(layout, address, 16)
    buckets, first, blooms, _ = struct.unpack_from("<IIII", view, offset)
    start = address + 16 + 8 * blooms
    at = offset_of(layout, start, 4 * buckets)
    last = max(memoryview(view[at : at + 4 * buckets]).cast("I"), default=0)
    if last < first:
        return first if last else 1
    chain = start + 4 * buckets
    while True:
        (value,) = struct.unpack_from("<I", view, offset_of(layout, chain + 4 * (last - first), 4))
        last += 1
        if value & 1:
            return last

"""The symbols that ELF files offer to and want from each other, and the names of such that content mentions. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slimpack.elf.dynamic import (
    DT_NEEDED,
    DT_SONAME,
    DT_STRSZ,
    DT_STRTAB,
    DT_SYMTAB,
    DT_VERSYM,
    SYMBOL,
    Dynamic,
    offset_of,
    read_dynamic,
    string,
    symbol_count,
    table,
)
from slimpack.elf.layout import PT_DYNAMIC, PT_INTERP, ElfError, Layout, read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed import ReadableBuffer

STB_LOCAL, STB_GLOBAL, STB_WEAK = 0, 1, 2
SHN_UNDEF = 0
VER_NDX_GLOBAL = 1
"""Version of symbols that have none."""
VERSYM_HIDDEN = 0x8000

_MOST_SHARING = 64
"""How many times the bytes of its table the names of a file may have together, each time that they are asked for."""

_MENTION = re.compile(rb"_Z[A-Za-z0-9_.$]{2,}")
"""A C++ name as compilers mangle it (Itanium C++ ABI, "Mangling"), wherever it stands, and what follows."""
_PREFIX = b"_Z"
LONGEST_MENTION = 1024
"""Bytes of a mention that are looked at: strings of megabytes may have such a name every few bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What an ELF file offers to others, and what it wants from them."""

    soname: bytes | None
    """``DT_SONAME``."""
    libraries: tuple[bytes, ...]
    """``DT_NEEDED``, in order."""
    offered: frozenset[bytes]
    """Names of the symbols that it defines for others."""
    wanted: frozenset[bytes]
    """Names of the symbols that it uses and does not define."""
    weak: frozenset[bytes]
    """Those of the wanted that it can do without."""
    versioned: frozenset[bytes]
    """Those of the wanted that a version of some library stands for."""
    program: bool
    """Whether it is started by itself (``PT_INTERP``)."""


def exchange(image: ReadableBuffer) -> Exchange:
    """Reads what an ELF file offers and wants.

    Args:
        image: The whole file.

    Raises:
        ElfError: It is not understood.
    """
    view = memoryview(image).cast("B")
    layout = read(view)
    nothing = frozenset[bytes]()
    if not any(segment.type == PT_DYNAMIC for segment in layout.segments):
        return Exchange(
            soname=None,
            libraries=(),
            offered=nothing,
            wanted=nothing,
            weak=nothing,
            versioned=nothing,
            program=False,
        )
    dynamic = read_dynamic(view, layout)
    offered, wanted, weak, versioned = set[bytes](), set[bytes](), set[bytes](), set[bytes]()
    names = Names(view, layout, dynamic)
    symbols = table(view, layout, dynamic, DT_SYMTAB, SYMBOL.size * symbol_count(view, layout, dynamic))
    count = len(symbols) // SYMBOL.size
    versions = (table(view, layout, dynamic, DT_VERSYM, 2 * count) or memoryview(bytes(2 * count))).cast("H")
    for version, (at, info, _, section, _, _) in zip(versions, SYMBOL.iter_unpack(symbols), strict=True):
        binding = info >> 4
        if binding == STB_LOCAL:
            continue
        if section != SHN_UNDEF:
            offered.add(names[at])
            continue
        wanted.add(names[at])
        if binding == STB_WEAK:
            weak.add(names[at])
        if version & ~VERSYM_HIDDEN > VER_NDX_GLOBAL:
            versioned.add(names[at])
    soname = dynamic.get(DT_SONAME)
    return Exchange(
        soname=None if soname is None else string(view, layout, dynamic, soname),
        libraries=tuple(
            string(view, layout, dynamic, value) for tag, value in dynamic.entries if tag == DT_NEEDED
        ),
        offered=frozenset(offered),
        wanted=frozenset(wanted),
        weak=frozenset(weak),
        versioned=frozenset(versioned),
        program=any(segment.type == PT_INTERP for segment in layout.segments),
    )


def mentions(image: ReadableBuffer, *, own: bool) -> Iterator[bytes]:
    """Yields what begins like a C++ name in content; the name ends with it or before, and is cut if it is long.

    What follows a name need not tell it from the name: pickles, bytecode and tables of strings put the next thing
    right behind.

    Args:
        image: The whole file, of any kind.
        own: Whether to yield the dynamic names of an ELF file, too.

    Raises:
        ElfError: They are not wanted, and not found.
    """
    view = memoryview(image).cast("B")
    start = end = 0
    if not own:
        layout = read(view)
        if any(segment.type == PT_DYNAMIC for segment in layout.segments):
            dynamic = read_dynamic(view, layout)
            size = dynamic.get(DT_STRSZ) or 0
            start = offset_of(layout, dynamic.get(DT_STRTAB) or 0, size)
            end = start + size
    for part in (view[:start], view[end:]):
        for found in _MENTION.finditer(part):
            token: bytes = found[0]
            at = 0
            while at >= 0:
                yield token[at : at + LONGEST_MENTION]
                at = token.find(_PREFIX, at + 1)


class Names:
    """The table of dynamic names of a file, by offset."""

    def __init__(self, view: memoryview, layout: Layout, dynamic: Dynamic) -> None:
        self.content = bytes(table(view, layout, dynamic, DT_STRTAB, dynamic.get(DT_STRSZ) or 0))
        """The table; it ends with a zero."""
        if self.content[-1:] != b"\0":
            raise ElfError("its dynamic string table has no end")
        self._left = _MOST_SHARING * len(self.content)

    def __getitem__(self, at: int) -> bytes:
        """Returns the name at an offset.

        Raises:
            ElfError: There is none, or so many were asked for that they must overlap: a small file could hold
                gigabytes of names that end alike.
        """
        if at >= len(self.content):
            raise ElfError("a name lies outside its dynamic string table")
        name = self.content[at : self.content.index(0, at)]
        self._left -= len(name)
        if self._left < 0:
            raise ElfError("its names share more bytes than any linker makes them")
        return name

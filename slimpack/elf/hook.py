"""The hook of a packed file: what makes the loader call the pager before any of the file's code runs. Pure.

It is a dependency on the pager, a symbol, and a relocation against that symbol at the head of the relocation table. The
symbol is an indirect function: resolving the relocation calls the pager, which then looks for packed libraries that it
does not know. So the tables of symbols, versions and strings grow, and take another place.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slimpack.elf.dynamic import (
    DF_TEXTREL,
    DT_FLAGS,
    DT_HASH,
    DT_JMPREL,
    DT_NEEDED,
    DT_RELA,
    DT_RELACOUNT,
    DT_RELAENT,
    DT_RELASZ,
    DT_RPATH,
    DT_RUNPATH,
    DT_STRSZ,
    DT_STRTAB,
    DT_SYMTAB,
    DT_TEXTREL,
    DT_VERSYM,
    DT_X86_64_PLT,
    DT_X86_64_PLTENT,
    DT_X86_64_PLTSZ,
    RELATIVE,
    RELOCATION,
    SYMBOL,
    Dynamic,
    offset_of,
    string,
    symbol_count,
    table,
)
from slimpack.elf.layout import EM_X86_64, PF_W, ElfError, Layout
from slimpack.elf.packed import PAGER, PAGER_SYMBOL

if TYPE_CHECKING:
    from collections.abc import Iterator

_STB_GLOBAL = 1 << 4
_VER_NDX_GLOBAL = 1
_MASKING = (
    b"pthread_sigmask",
    b"sigprocmask",
    b"sigaction",
    b"signal",
    b"__sysv_signal",
    b"sigsuspend",
    b"ppoll",
    b"pselect",
    b"epoll_pwait",
)
"""Functions that block SIGSEGV or handle it: the pager has them too, under names of its own, and stays first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """What a file needs so that the loader calls the pager: a dependency, a symbol, and a relocation."""

    tables: tuple[tuple[int, bytes], ...]
    """The tables that have grown, with the tags that point at them: symbols, their versions, strings, and
    relocations, the first of which is still empty, if none gave way to it."""
    displaced: tuple[int, int, int] | None
    """Offset in the file, address and addend of the relocation whose place it takes; None if it takes none."""
    symbol: int
    """Index of the symbol."""
    entries: tuple[tuple[int, int], ...]
    """The dynamic section's entries but the last."""
    moved: dict[int, int]
    """Tags of the tables that have grown, by where they were."""


def make_hook(view: memoryview, layout: Layout, dynamic: Dynamic, pager_folder: str) -> Hook:
    """Makes it from the tables of a file.

    Raises:
        ElfError: The tables contradict each other or the file.
    """
    count = symbol_count(view, layout, dynamic)
    symbols = bytearray(table(view, layout, dynamic, DT_SYMTAB, count * SYMBOL.size))
    versions = bytearray(table(view, layout, dynamic, DT_VERSYM, count * 2))
    strings = bytearray(table(view, layout, dynamic, DT_STRTAB, dynamic.get(DT_STRSZ) or 0))
    if strings[-1:] != b"\0":
        raise ElfError("its dynamic string table has no end")

    def name(text: bytes) -> int:
        strings.extend(text + b"\0")
        return len(strings) - len(text) - 1

    for at, own in _replaced(symbols, bytes(strings)):
        struct.pack_into("<I", symbols, at * SYMBOL.size, name(own))
        if versions:
            struct.pack_into("<H", versions, at * 2, _VER_NDX_GLOBAL)
    symbols += SYMBOL.pack(name(PAGER_SYMBOL.encode()), _STB_GLOBAL, 0, 0, 0, 0)
    versions += struct.pack("<H", _VER_NDX_GLOBAL) if versions else b""
    entries = _with_pager(view, layout, dynamic, name(PAGER.encode()))
    # An object with DT_RUNPATH no longer profits from the DT_RPATH of those that load it; one with DT_RPATH does.
    path_tag = DT_RUNPATH if dynamic.get(DT_RUNPATH) is not None else DT_RPATH
    path = pager_folder.encode()
    if (old := dynamic.get(path_tag)) is not None:
        path = string(view, layout, dynamic, old) + b":" + path
    entries = [entry for entry in entries if entry[0] != path_tag] + [(path_tag, name(path))]
    displaced, relocations = _first_relocation(view, layout, dynamic)
    tables = {
        DT_SYMTAB: bytes(symbols),
        DT_HASH: _hash_table(view, layout, dynamic, count + 1),
        DT_VERSYM: bytes(versions),
        DT_STRTAB: bytes(strings),
        DT_RELA: relocations,
    }
    grown = tuple((tag, table) for tag, table in tables.items() if table)
    return Hook(
        tables=grown,
        displaced=displaced,
        symbol=count,
        entries=tuple(entries),
        moved={address: tag for tag, _ in grown if (address := dynamic.get(tag)) is not None},
    )


def _replaced(symbols: bytearray, strings: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields the index of each undefined symbol that the pager has a function for, and that function's name."""
    for index, (at, _, _, section, _, _) in enumerate(SYMBOL.iter_unpack(symbols)):
        if section == 0:
            for one in _MASKING:
                if strings.startswith(one + b"\0", at):
                    yield index, b"slimpack_" + one


def _hash_table(view: memoryview, layout: Layout, dynamic: Dynamic, count: int) -> bytes:
    """Returns the table of kind ``DT_HASH`` for some more symbols, which no chain leads to; empty bytes without one."""
    buckets, chains = struct.unpack("<II", table(view, layout, dynamic, DT_HASH, 8) or bytes(8))
    old = bytes(table(view, layout, dynamic, DT_HASH, 4 * (2 + buckets + chains)))
    return old[:4] + struct.pack("<I", count) + old[8:] + bytes(4 * (count - chains)) if old else b""


def _with_pager(view: memoryview, layout: Layout, dynamic: Dynamic, name: int) -> list[tuple[int, int]]:
    """Returns the entries with the pager as a dependency, without those that will not hold any more."""
    dropped = {
        DT_RELACOUNT,  # the first relocation is the pager's, and no relative one
        DT_TEXTREL,  # of no use, or it is not packed; but for it the loader would give holes permissions and take them
    }
    if layout.header.machine == EM_X86_64:  # glibc 2.40 rewrites the code there if GLIBC_TUNABLES asks for it
        dropped |= {DT_X86_64_PLT, DT_X86_64_PLTSZ, DT_X86_64_PLTENT}
    if any(
        string(view, layout, dynamic, value) == PAGER.encode()
        for tag, value in dynamic.entries
        if tag == DT_NEEDED
    ):
        raise ElfError("it depends on the pager already")
    entries = [
        (tag, value & ~DF_TEXTREL if tag == DT_FLAGS else value)
        for tag, value in dynamic.entries
        if tag not in dropped
    ]
    last = max((at for at, (tag, _) in enumerate(entries, start=1) if tag == DT_NEEDED), default=0)
    return [*entries[:last], (DT_NEEDED, name), *entries[last:]]


def _first_relocation(
    view: memoryview, layout: Layout, dynamic: Dynamic
) -> tuple[tuple[int, int, int] | None, bytes]:
    """Returns the relocation that gives way to the pager's, or else the table with room for the pager's.

    The loader goes through the table in order, so whatever comes behind the first entry may be cold.

    Raises:
        ElfError: The table is not understood.
    """
    address, size = dynamic.get(DT_RELA), dynamic.get(DT_RELASZ) or 0
    if address is None or not size:
        return None, bytes(RELOCATION.size)
    if size % RELOCATION.size or dynamic.get(DT_RELAENT) != RELOCATION.size:
        raise ElfError("its table of relocations has a form that its processor does not use")
    start = offset_of(layout, address, size)
    place, info, addend = RELOCATION.unpack_from(view, start)
    writable = any(
        load.flags & PF_W and load.address <= place and place + 8 <= load.end for load in layout.loads
    )
    if (
        info == RELATIVE[layout.header.machine] and writable and place and addend >= 0
    ):  # address 0 stands for none
        return (start, place, addend), b""
    procedures = dynamic.get(DT_JMPREL)
    if procedures is not None and address <= procedures < address + size:
        raise ElfError("its two tables of relocations overlap")
    return None, bytes(RELOCATION.size) + bytes(view[start : start + size])


def dynamic_entries(hook: Hook, places: dict[int, tuple[int, int]]) -> list[tuple[int, int]]:
    """Returns the entries of the dynamic section, the one that ends it included.

    Args:
        hook: With all entries that do not change.
        places: Address and bytes of the tables that have moved, by tag.
    """
    values = {tag: address for tag, (address, _) in places.items()}
    values[DT_STRSZ] = places[DT_STRTAB][1]
    if DT_RELA in places:
        values |= {DT_RELASZ: places[DT_RELA][1], DT_RELAENT: RELOCATION.size}
    return [*(entry for entry in hook.entries if entry[0] not in values), *values.items(), (0, 0)]

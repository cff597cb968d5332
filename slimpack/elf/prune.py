"""Prune an ELF file: take the exports away that nobody in the bundle needs, and bind what used them at once. Pure.

A C++ library exports all of its templates and inline functions, and the loader looks most of them up by name only to
find them where the linker has put them. In a bundle it is known who needs what. So the tables of symbols, their
versions, hashes and names are written anew without the rest, where they were, and relocations against what is gone
become relative ones: to the place that the loader would have found. docs/pruning.md says what is never taken.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from slimpack.elf.dynamic import (
    DT_GNU_HASH,
    DT_HASH,
    DT_JMPREL,
    DT_PLTREL,
    DT_PLTRELSZ,
    DT_REL,
    DT_RELA,
    DT_RELACOUNT,
    DT_RELAENT,
    DT_RELASZ,
    DT_STRSZ,
    DT_STRTAB,
    DT_SYMENT,
    DT_SYMTAB,
    DT_VERDEF,
    DT_VERNEED,
    DT_VERSYM,
    DT_X86_64_PLT,
    DT_X86_64_PLTENT,
    DT_X86_64_PLTSZ,
    ENTRY,
    NAMING,
    RELATIVE,
    RELOCATION,
    SYMBOL,
    Dynamic,
    offset_of,
    read_dynamic,
    symbol_count,
)
from slimpack.elf.layout import (
    EM_AARCH64,
    EM_X86_64,
    FILE_HEADER,
    SECTION_HEADER,
    SHN_LORESERVE,
    ElfError,
    Layout,
    read,
)
from slimpack.elf.symbols import SHN_UNDEF, STB_GLOBAL, STB_WEAK, Names

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from _typeshed import ReadableBuffer

_PRUNED_TYPES = (0, 1, 2)
"""``STT_NOTYPE``, ``STT_OBJECT``, ``STT_FUNC``: not what each thread has for itself, nor indirect functions."""
_INDIRECT = {EM_X86_64: 37, EM_AARCH64: 1032}
"""``R_X86_64_IRELATIVE``, ``R_AARCH64_IRELATIVE``."""
_BOUND = {EM_X86_64: (1, 6, 7), EM_AARCH64: (257, 1025, 1026)}
"""Relocations that store the address of a symbol: ``R_X86_64_64``, ``_GLOB_DAT``, ``_JUMP_SLOT``; ``R_AARCH64_ABS64``,
``_GLOB_DAT``, ``_JUMP_SLOT``. All but the second and third add the addend, and those have none."""

_FOREIGN = re.compile(rb"N[KVrRO]*(?![0-9]+__(?:gnu_|cxxabiv1))[1-9]")
"""In a mangled name: a name space that is not the C++ library's. What mentions none may be in libstdc++ as well, and
then it depends on who is loaded first which of the two is used."""

_NEED, _AUXILIARY = struct.Struct("<HHIII"), struct.Struct("<IHHII")
"""``Elf64_Verneed``, ``Elf64_Vernaux``."""
_DEFINITION, _DEFINED = struct.Struct("<HHHHIII"), struct.Struct("<II")
"""``Elf64_Verdef``, ``Elf64_Verdaux``."""
_MOST_VERSIONS = 1 << 16

_HASH_BITS = 32
_GONE = -1
_FEWEST_BYTES = 0x4000
"""With less to win, a file stays as it is."""
_PREFIX = b"_Z"
"""How names of C++ begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """A file without the exports that nobody needs."""

    image: ReadableBuffer
    """The file: as large as it was, with zeros where its tables have become shorter."""
    symbols: int
    """Number of exports that are gone; 0 if the file is as it was."""
    size: int
    """Bytes by which its tables have become shorter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    """A run of the file."""

    offset: int
    """Where it begins."""
    size: int
    """Its bytes."""

    @property
    def end(self) -> int:
        """Offset of the first byte behind it."""
        return self.offset + self.size


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tables:
    """The tables of a file that know symbols."""

    view: memoryview
    """The whole file."""
    layout: Layout
    """Its layout."""
    dynamic: Dynamic
    """Its dynamic section."""
    names: Names
    """The names."""
    count: int
    """Number of symbols."""
    spans: dict[int, _Span]
    """Where the tables are that become shorter, by the tag that points at them."""
    relocations: _Span
    """``DT_RELA``."""
    calls: _Span
    """``DT_JMPREL``."""

    @property
    def symbols(self) -> memoryview:
        """``DT_SYMTAB``."""
        return self.content(self.spans[DT_SYMTAB])

    @property
    def gnu_hash(self) -> tuple[int, int, int, int]:
        """Number of buckets, first symbol that is hashed, number of words of the Bloom filter and its shift."""
        header: tuple[int, int, int, int] = struct.unpack_from(
            "<IIII", self.view, self.spans[DT_GNU_HASH].offset
        )
        return header

    @property
    def mergeable(self) -> bool:
        """Whether the relocations of calls follow the others."""
        return bool(self.calls.size) and self.relocations.end == self.calls.offset

    def content(self, span: _Span) -> memoryview:
        """Returns what is in a run of the file."""
        return self.view[span.offset : span.end]


def prune(image: ReadableBuffer, *, needed: Collection[bytes], eager: bool) -> Pruning:
    """Takes the C++ exports away that nobody needs.

    Args:
        image: The whole file, a shared object. The result may refer to it.
        needed: Names that others use, or define as well, or may look up.
        eager: Whether all that it calls is there as soon as it is loaded, so that nothing has to be looked up later.

    Raises:
        ElfError: Its tables contradict each other, or have a form that is not understood.
    """
    tables = _read(memoryview(image).cast("B"))
    merged = tables.mergeable and (eager or tables.dynamic.binds_now)
    order = _kept(tables, needed, merged=merged)
    unchanged = Pruning(image=image, symbols=0, size=0)
    if len(order) == tables.count:
        return unchanged
    texts = _Texts(tables.names)
    parts = _shortened(tables, order, texts)
    versions = list(_version_names(tables, texts))
    entries = list(_entries(tables, texts, merged=merged))
    parts[DT_STRTAB] = bytes(texts.content)
    sizes = {tag: len(part) for tag, part in parts.items()}
    saved = sum(span.size - sizes[tag] for tag, span in tables.spans.items())
    if saved < _FEWEST_BYTES or any(sizes[tag] > span.size for tag, span in tables.spans.items()):
        return unchanged
    output = bytearray(tables.view)
    for tag, span in tables.spans.items():
        output[span.offset : span.end] = parts[tag] + bytes(span.size - sizes[tag])
    for at, text in versions:
        struct.pack_into("<I", output, at, text)
    relative = _bind(output, tables, order, merged=merged)
    values = {DT_STRSZ: sizes[DT_STRTAB], DT_RELACOUNT: relative}
    if merged:
        values[DT_RELASZ] = tables.relocations.size + tables.calls.size
    section = b"".join(ENTRY.pack(tag, values.get(tag, value)) for tag, value in entries)
    place = tables.dynamic.segment.offset
    output[place : place + len(tables.dynamic.entries) * ENTRY.size] = section.ljust(
        len(tables.dynamic.entries) * ENTRY.size, b"\0"
    )
    _describe(output, tables, sizes, merged=merged)
    return Pruning(image=output, symbols=tables.count - len(order), size=saved)


def _read(view: memoryview) -> _Tables:
    """Finds the tables.

    Raises:
        ElfError: They contradict each other, or have a form that is not understood.
    """
    layout = read(view)
    dynamic = read_dynamic(view, layout)
    if layout.header.machine not in _BOUND or dynamic.get(DT_REL) is not None:
        raise ElfError("its relocations have a form that its processor does not use")
    if any(
        dynamic.get(tag) not in (None, size)
        for tag, size in ((DT_SYMENT, SYMBOL.size), (DT_RELAENT, RELOCATION.size), (DT_PLTREL, DT_RELA))
    ):
        raise ElfError("its relocations or symbols have a form that its processor does not use")
    if any((dynamic.get(tag) or 0) % RELOCATION.size for tag in (DT_RELASZ, DT_PLTRELSZ)):
        raise ElfError("its tables of relocations have no whole number of entries")
    count = symbol_count(view, layout, dynamic)
    sizes = {DT_SYMTAB: count * SYMBOL.size, DT_VERSYM: count * 2, DT_STRTAB: dynamic.get(DT_STRSZ) or 0}
    for tag in (DT_HASH, DT_GNU_HASH):
        if (address := dynamic.get(tag)) is not None:
            sizes[tag] = _hash_size(view, layout, address, count, gnu=tag == DT_GNU_HASH)
    spans = {
        tag: _span(layout, dynamic, tag, size) for tag, size in sizes.items() if dynamic.get(tag) is not None
    }
    if not {DT_SYMTAB, DT_STRTAB} <= spans.keys() or not {DT_HASH, DT_GNU_HASH} & spans.keys():
        raise ElfError("its symbols have no names, or no hashes")
    tables = _Tables(
        view=view,
        layout=layout,
        dynamic=dynamic,
        names=Names(view, layout, dynamic),
        count=count,
        spans=spans,
        relocations=_span(layout, dynamic, DT_RELA, dynamic.get(DT_RELASZ) or 0),
        calls=_span(layout, dynamic, DT_JMPREL, dynamic.get(DT_PLTRELSZ) or 0),
    )
    _check_apart(tables)
    return tables


def _span(layout: Layout, dynamic: Dynamic, tag: int, size: int) -> _Span:
    address = dynamic.get(tag)
    if address is None or not size:
        return _Span(offset=0, size=0)
    return _Span(offset=offset_of(layout, address, size), size=size)


def _hash_size(view: memoryview, layout: Layout, address: int, count: int, *, gnu: bool) -> int:
    """Returns the bytes of a hash table.

    Raises:
        ElfError: It contradicts the number of symbols.
    """
    if not gnu:
        buckets, chains = struct.unpack_from("<II", view, offset_of(layout, address, 8))
        if not buckets or chains != count:
            raise ElfError("a table of hashes contradicts its symbols")
        return 4 * (2 + int(buckets) + count)
    buckets, first, blooms, shift = struct.unpack_from("<IIII", view, offset_of(layout, address, 16))
    if not buckets or not blooms or blooms & (blooms - 1) or shift >= _HASH_BITS or not 1 <= first <= count:
        raise ElfError("a table of hashes contradicts its symbols")
    return 16 + 8 * int(blooms) + 4 * (int(buckets) + count - int(first))


def _check_apart(tables: _Tables) -> None:
    """Refuses a file whose tables overlap each other or what else its headers describe.

    Raises:
        ElfError: They do.
    """
    header = tables.layout.header
    own = [*tables.spans.values(), tables.relocations, tables.calls]
    fixed = [
        _Span(offset=0, size=FILE_HEADER.size),
        _Span(offset=header.segments_offset, size=header.segments_end - header.segments_offset),
        _Span(offset=header.sections_offset, size=header.sections_end - header.sections_offset),
        _Span(offset=tables.dynamic.segment.offset, size=tables.dynamic.segment.file_size),
        *(
            _span(tables.layout, tables.dynamic, tag, 1)
            for tag in (DT_VERNEED, DT_VERDEF)
            if tables.dynamic.get(tag) is not None
        ),
    ]
    ordered = sorted((span for span in (*own, *fixed) if span.size), key=lambda span: span.offset)
    starts = {span.offset: span for span in own if span.size}
    if any(below.end > above.offset for below, above in pairwise(ordered)):
        raise ElfError("its tables of symbols overlap with others")
    for section in tables.layout.sections:
        for span in own:
            if (
                section.file_size
                and section.offset < span.end
                and span.offset < section.file_end
                and not (span in (tables.relocations, tables.calls) or starts.get(section.offset) is span)
            ):
                raise ElfError("its tables of symbols overlap with others")


def _kept(tables: _Tables, needed: Collection[bytes], *, merged: bool) -> list[int]:
    """Returns the symbols that stay, in their new order.

    Args:
        tables: The tables.
        needed: Names that stay.
        merged: Whether the relocations of calls are treated like the others; else what they call stays.
    """
    bound = _BOUND[tables.layout.header.machine]
    pinned: set[int] = set()
    for span, free in ((tables.relocations, bound), (tables.calls, bound if merged else ())):
        for _, info, addend in RELOCATION.iter_unpack(tables.content(span)):
            if info >> 32 >= tables.count:
                raise ElfError("a relocation is about a symbol that it does not have")
            if info & 0xFFFFFFFF not in free or (addend and info & 0xFFFFFFFF in bound[1:]):
                pinned.add(info >> 32)
    first = tables.gnu_hash[1] if DT_GNU_HASH in tables.spans else 1
    names = tables.names
    order: list[int] = []
    for index, (at, info, _, section, _, _) in enumerate(SYMBOL.iter_unpack(tables.symbols)):
        if index < first or not SHN_UNDEF < section < SHN_LORESERVE or index in pinned:
            order.append(index)
            continue
        name = names[at]
        if (
            info >> 4 not in (STB_GLOBAL, STB_WEAK)
            or info & 15 not in _PRUNED_TYPES
            or not name.startswith(_PREFIX)
            or name in needed
            or not _FOREIGN.search(name)
        ):
            order.append(index)
    if DT_GNU_HASH not in tables.spans:
        return order
    fixed = [index for index in order if index < first]
    buckets = _buckets(tables, len(order) - len(fixed))
    symbols = tables.symbols
    hashed = [
        (gnu_hash(names[SYMBOL.unpack_from(symbols, index * SYMBOL.size)[0]]) % buckets, index)
        for index in order[len(fixed) :]
    ]
    return [*fixed, *(index for _, index in sorted(hashed))]


def _buckets(tables: _Tables, hashed: int) -> int:
    return max(min(hashed // 4, tables.gnu_hash[0]), 1)


class _Texts:
    """A table of names that is written anew."""

    def __init__(self, names: Names) -> None:
        self.content = bytearray(b"\0")
        """The table so far."""
        self._names = names
        self._places: dict[bytes, int] = {b"": 0}

    def take(self, at: int) -> int:
        """Returns where a name is in the new table that is at some offset of the old one.

        Raises:
            ElfError: There is none.
        """
        name = self._names[at]
        place = self._places.get(name)
        if place is None:
            place = self._places[name] = len(self.content)
            self.content += name + b"\0"
        return place


def _shortened(tables: _Tables, order: Sequence[int], texts: _Texts) -> dict[int, bytes]:
    """Returns the tables of symbols, versions and hashes with the symbols that stay, by tag."""
    old, symbols, names = tables.symbols, bytearray(), list[bytes]()
    for index in order:
        at, *rest = SYMBOL.unpack_from(old, index * SYMBOL.size)
        symbols += SYMBOL.pack(texts.take(at), *rest)
        names.append(tables.names[at])
    parts = {DT_SYMTAB: bytes(symbols)}
    if DT_VERSYM in tables.spans:
        versions = tables.content(tables.spans[DT_VERSYM])
        parts[DT_VERSYM] = b"".join(versions[2 * index : 2 * index + 2] for index in order)
    if DT_HASH in tables.spans:
        (buckets,) = struct.unpack_from("<I", tables.view, tables.spans[DT_HASH].offset)
        parts[DT_HASH] = _sysv_table(names, min(buckets, len(names)))
    if DT_GNU_HASH in tables.spans:
        first = tables.gnu_hash[1]
        parts[DT_GNU_HASH] = _gnu_table(tables, first, [gnu_hash(name) for name in names[first:]])
    return parts


def gnu_hash(name: bytes) -> int:
    """Returns the hash of a name in tables of kind ``DT_GNU_HASH``, 32 bits, as in glibc's ``dl-lookup.c``."""
    value = 5381
    for byte in name:
        value = (value * 33 + byte) & 0xFFFFFFFF
    return value


def sysv_hash(name: bytes) -> int:
    """Returns the hash of a name in tables of kind ``DT_HASH``, 28 bits (gABI, "Hash Table")."""
    value = 0
    for byte in name:
        value = (value << 4) + byte
        high = value & 0xF0000000
        value = (value ^ high >> 24) & ~high & 0xFFFFFFFF
    return value


def _sysv_table(names: Sequence[bytes], buckets: int) -> bytes:
    heads, links = [0] * buckets, [0] * len(names)
    for index in range(1, len(names)):
        bucket = sysv_hash(names[index]) % buckets
        links[index] = heads[bucket]
        heads[bucket] = index
    return struct.pack(f"<{2 + buckets + len(names)}I", buckets, len(names), *heads, *links)


def _gnu_table(tables: _Tables, first: int, hashes: Sequence[int]) -> bytes:
    """Returns a table of kind ``DT_GNU_HASH``; the hashes are in the order of their buckets."""
    _, _, blooms, shift = tables.gnu_hash
    buckets = _buckets(tables, len(hashes))
    blooms = min(1 << (len(hashes) * 12 // 64).bit_length(), blooms)
    words, heads, links = [0] * blooms, [0] * buckets, list[int]()
    for number, value in enumerate(hashes):
        words[value // 64 % blooms] |= 1 << value % 64 | 1 << (value >> shift) % 64
        bucket = value % buckets
        heads[bucket] = heads[bucket] or first + number
        last = number + 1 == len(hashes) or hashes[number + 1] % buckets != bucket
        links.append(value & ~1 | last)
    header = struct.pack(f"<IIII{blooms}Q", buckets, first, blooms, shift, *words)
    return header + struct.pack(f"<{buckets + len(links)}I", *heads, *links)


def _version_names(tables: _Tables, texts: _Texts) -> Iterator[tuple[int, int]]:
    """Yields where in the file the tables of versions name something, and the name's new place.

    Raises:
        ElfError: They have no end, or lie outside the file.
    """
    for tag, outer, inner, own in (
        (DT_VERNEED, _NEED, _AUXILIARY, (4, 8)),
        (DT_VERDEF, _DEFINITION, _DEFINED, (None, 0)),
    ):
        address = tables.dynamic.get(tag)
        seen = 0
        while address is not None:
            offset = offset_of(tables.layout, address, outer.size)
            fields = outer.unpack_from(tables.view, offset)
            if own[0] is not None:
                yield _renamed(tables, texts, offset + own[0])
            count, auxiliary = (fields[1], fields[3]) if tag == DT_VERNEED else (fields[3], fields[5])
            at = address + auxiliary
            for _ in range(count):
                seen += 1
                if seen > _MOST_VERSIONS:
                    raise ElfError("its tables of versions have no end")
                offset = offset_of(tables.layout, at, inner.size)
                yield _renamed(tables, texts, offset + own[1])
                at += inner.unpack_from(tables.view, offset)[-1]
            seen += 1
            if seen > _MOST_VERSIONS:
                raise ElfError("its tables of versions have no end")
            address = address + fields[-1] if fields[-1] else None


def _renamed(tables: _Tables, texts: _Texts, place: int) -> tuple[int, int]:
    return place, texts.take(struct.unpack_from("<I", tables.view, place)[0])


def _entries(tables: _Tables, texts: _Texts, *, merged: bool) -> Iterator[tuple[int, int]]:
    """Yields the entries of the dynamic section that stay, with the new places of the names in them."""
    dropped = {DT_JMPREL, DT_PLTREL, DT_PLTRELSZ}
    if tables.layout.header.machine == EM_X86_64:
        dropped |= {DT_X86_64_PLT, DT_X86_64_PLTSZ, DT_X86_64_PLTENT}
    for tag, value in tables.dynamic.entries:
        if merged and tag in dropped:
            continue
        yield tag, texts.take(value) if tag in NAMING else value
    if merged and tables.dynamic.get(DT_RELACOUNT) is None:
        yield DT_RELACOUNT, 0


def _bind(output: bytearray, tables: _Tables, order: Sequence[int], *, merged: bool) -> int:
    """Rewrites the relocations for the symbols that stay, and returns how many relative ones come first."""
    machine = tables.layout.header.machine
    relative, indirect = RELATIVE[machine], _INDIRECT[machine]
    with_addend = {_BOUND[EM_X86_64][0], *_BOUND[EM_AARCH64]}
    places = [_GONE] * tables.count
    for new, old in enumerate(order):
        places[old] = new
    values = [value for *_, value, _ in SYMBOL.iter_unpack(tables.symbols)]
    first: list[tuple[int, int]] = []
    middle: list[tuple[int, int, int]] = []
    last: list[tuple[int, int, int]] = []
    for span in (tables.relocations, *((tables.calls,) if merged else ())):
        for place, info, addend in RELOCATION.iter_unpack(tables.content(span)):
            kind, symbol = info & 0xFFFFFFFF, info >> 32
            if kind == relative:
                first.append((place, addend))
            elif places[symbol] == _GONE:
                first.append((place, values[symbol] + (addend if kind in with_addend else 0)))
            elif kind == indirect:
                last.append((place, info, addend))
            else:
                middle.append((place, places[symbol] << 32 | kind, addend))
    first.sort()
    start = tables.relocations.offset
    packed = b"".join(RELOCATION.pack(place, relative, _signed(addend)) for place, addend in first)
    packed += b"".join(RELOCATION.pack(*one) for one in (*middle, *last))
    output[start : start + len(packed)] = packed
    if not merged:
        at = tables.calls.offset
        for place, info, addend in RELOCATION.iter_unpack(tables.content(tables.calls)):
            RELOCATION.pack_into(output, at, place, places[info >> 32] << 32 | info & 0xFFFFFFFF, addend)
            at += RELOCATION.size
    return len(first)


def _signed(value: int) -> int:
    """Returns a sum of 64 bits as ``Elf64_Sxword``."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


def _describe(output: bytearray, tables: _Tables, sizes: dict[int, int], *, merged: bool) -> None:
    """Brings the section headers up to date."""
    new = {tables.spans[tag].offset: size for tag, size in sizes.items()}
    if merged:
        new[tables.relocations.offset] = tables.relocations.size + tables.calls.size
        new[tables.calls.offset] = 0
    old = {span.offset: span.size for span in (*tables.spans.values(), tables.relocations, tables.calls)}
    for number, section in enumerate(tables.layout.sections):
        if section.file_size and old.get(section.offset) == section.size:
            at = tables.layout.header.sections_offset + number * SECTION_HEADER.size + 32
            struct.pack_into("<Q", output, at, new.get(section.offset, section.size))

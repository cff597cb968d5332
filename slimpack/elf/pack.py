"""Pack an ELF file: store its cold pages compressed, for the pager to put in place. Pure.

The format is described in docs/packed-format.md. Virtual addresses never change, and of what is mapped one
relocation is another afterwards: the pager's symbol takes its place, and the pager applies it.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from slimpack.elf.cold import Cold, find_cold
from slimpack.elf.compact import check_loadable
from slimpack.elf.dynamic import (
    DF_TEXTREL,
    DT_FLAGS,
    DT_JMPREL,
    DT_PLTRELSZ,
    DT_REL,
    DT_RELA,
    DT_RELASZ,
    DT_RELR,
    DT_STRSZ,
    DT_STRTAB,
    DT_SYMENT,
    DT_SYMTAB,
    DT_TEXTREL,
    ENTRY,
    RELOCATION,
    SYMBOL,
    Dynamic,
    read_dynamic,
    relocations,
)
from slimpack.elf.filters import apply
from slimpack.elf.hook import Hook, dynamic_entries, make_hook
from slimpack.elf.layout import (
    EM_AARCH64,
    EM_X86_64,
    ET_DYN,
    LARGEST_PAGES,
    PAGE,
    PF_R,
    PF_W,
    PF_X,
    PN_XNUM,
    PT_DYNAMIC,
    PT_GNU_EH_FRAME,
    PT_INTERP,
    PT_LOAD,
    PT_NOTE,
    PT_SLIMPACK,
    SHF_ALLOC,
    SHT_DYNAMIC,
    SHT_NOBITS,
    SHT_PROGBITS,
    ElfError,
    Layout,
    Section,
    Segment,
    loader_problems,
    read,
)
from slimpack.elf.packed import (
    Range,
    compress,
    encode,
)
from slimpack.elf.unpack import MOST_GROWTH, recipe
from slimpack.elf.write import Change, mapped_end, write

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _typeshed import ReadableBuffer

_SMALL_BLOCK_SIZE = 0x10000
"""Bytes of a block that is loaded on touch: with 128 KiB, a program of many small files takes 4 % less of them and 5 %
more memory."""
_BLOCK_SIZE = 0x20000
"""The same in large files: with 256 KiB, code takes 7 % less of the file and 30 % more memory."""
_LARGE = 0x2000000
"""Bytes from which a file is large."""
_LIBRARY_BLOCK_SIZE = 0x400000
"""Bytes of a block that is loaded with the library: the larger, the better it compresses."""
LEVEL = 15
"""Compression level of zstd: four times as fast as 19, for 1 % more on code and 4 % on unwind tables."""
_WORST_RATIO = 0.9
"""A range whose blocks take up more than this share of it stays raw."""
_SAMPLE_LEVEL = 3
"""Compression level of samples."""
_SAMPLES = 16
"""Blocks of a run that tell how small it will become."""
_BETTER = 0.88
"""What blocks take at the default level, of what they take at that of samples."""
_MOST_SECTIONS = 4096
_MOST_SEGMENTS = 1000
"""More than any linker makes; what is cold is looked for among all of them, again and again."""

_GLOB_DAT = {EM_X86_64: 6, EM_AARCH64: 1025}
"""``R_X86_64_GLOB_DAT``, ``R_AARCH64_GLOB_DAT``."""
_RSEQ_SECTION = "__rseq_cs"
"""Restartable sequences: the kernel reads the instruction before their abort handlers (rseq(2))."""
_GO_NOTE = re.compile(rb"\x04\0\0\0.{4}\x04\0\0\0Go\0\0", re.DOTALL)
"""Head of the note with the build id of what is written in Go: type 4 of the owner ``Go`` (cmd/internal/buildid)."""
_SECTION = ".slimpack"


class NoGainError(ElfError):
    """A file that could be packed, and would be no smaller for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """A packed file."""

    chunks: tuple[ReadableBuffer, ...]
    """The file in order; parts of the input are views of it, not copies."""
    size: int
    """Its size in bytes."""
    ranges: tuple[Range, ...]
    """What is packed."""
    stored: int
    """Bytes that it takes up in the file."""


def pack(
    image: ReadableBuffer,
    *,
    pager_folder: str,
    block_size: int | None = None,
    level: int = LEVEL,
    data: bool = True,
    hot: Sequence[tuple[int, int]] = (),
    jobs: int = 1,
    symbols: int = 0,
    pruned: int = 0,
) -> Packing:
    """Packs a shared object.

    Args:
        image: The whole file, compacted. The result refers to it.
        pager_folder: Where the loader finds the pager: ``$ORIGIN/../slimpack.libs``.
        block_size: Bytes of a block that is loaded on touch, a multiple of 64 KiB; None for what suits the file.
        level: Compression level of zstd.
        data: Whether data is packed as well; it is loaded with the library then.
        hot: Runs of addresses, ends excluded, that stay as they are, since a start is known to touch them.
        jobs: Number of blocks that are compressed at a time.
        symbols: Number of symbols that were pruned before, for the record.
        pruned: Bytes that those had.

    Raises:
        NoGainError: It would not become smaller.
        ElfError: It cannot be packed.
    """
    view = memoryview(image).cast("B")
    layout = read(view)
    dynamic = _check(layout, view)
    hook = make_hook(view, layout, dynamic, pager_folder)
    cold = find_cold(view, layout, dynamic, moved=hook.moved, data=data, hot=hot)
    reach = max(load.end for load in layout.loads)
    block_size = block_size or block_size_of(len(view))
    kept, ranges, frames = _compressed(view, cold, reach=reach, block_size=block_size, level=level, jobs=jobs)
    if not ranges:
        raise NoGainError("it has nothing worth packing")
    frame = recipe(
        view,
        layout,
        [hook.displaced[0]] if hook.displaced else [],
        symbols=symbols,
        pruned=pruned,
    )
    change = _change(view, layout, hook, cold=kept, ranges=ranges, frames=frames, recipe=frame)
    chunks = write(view, layout, change)
    size = sum(len(chunk) for chunk in chunks)
    if size >= len(view):
        raise NoGainError("it would not become smaller")
    if len(view) > MOST_GROWTH * size:
        raise ElfError(f"it would become more than {MOST_GROWTH} times smaller")
    return Packing(chunks=chunks, size=size, ranges=ranges, stored=sum(map(len, frames)))


def expected_size(image: ReadableBuffer) -> int:
    """Returns the bytes that a shared object is expected to have once it is packed, judged by some of its blocks.

    Args:
        image: The whole file, compacted.

    Raises:
        ElfError: It cannot be packed.
    """
    view = memoryview(image).cast("B")
    layout = read(view)
    dynamic = _check(layout, view)
    hook = make_hook(view, layout, dynamic, "")
    reach = max(load.end for load in layout.loads)
    size = block_size_of(len(view))
    expected = float(len(view))
    for run in find_cold(view, layout, dynamic, moved=hook.moved, data=True):
        length = run.end - run.start
        some = range(run.start, run.end, size * max(1, length // (size * _SAMPLES)))
        blocks = [(start, min(start + size, run.end)) for start in some]
        frames = (_frame(view, run, start, end, reach=reach, level=_SAMPLE_LEVEL) for start, end in blocks)
        share = _BETTER * sum(map(len, frames)) / sum(end - start for start, end in blocks)
        expected -= length * max(0.0, 1.0 - share)
    return max(0, round(expected))  # segments may have bytes of the file in common


def block_size_of(size: int) -> int:
    """Returns the bytes of a block that is loaded on touch, as suits a file of so many bytes."""
    return _SMALL_BLOCK_SIZE if size < _LARGE else _BLOCK_SIZE


def _check(layout: Layout, view: memoryview) -> Dynamic:
    """Refuses what cannot be packed, and returns the dynamic section of what can.

    Raises:
        ElfError: It cannot be packed.
    """
    _check_segments(layout)
    if len(layout.sections) > _MOST_SECTIONS:
        raise ElfError(f"it has more than {_MOST_SECTIONS} sections")
    if any(section.name == _RSEQ_SECTION for section in layout.sections):
        raise ElfError("the kernel reads its code, for restartable sequences")
    notes = [view[one.offset : one.offset + one.file_size] for one in layout.segments if one.type == PT_NOTE]
    if any(_GO_NOTE.search(note) for note in notes):
        raise ElfError("it is written in Go, whose runtime handles SIGSEGV and blocks it past libc")
    dynamic = read_dynamic(view, layout)
    if not {DT_STRTAB, DT_STRSZ, DT_SYMTAB} <= {tag for tag, _ in dynamic.entries}:
        raise ElfError("its dynamic section names no symbols")
    if dynamic.get(DT_REL) is not None or dynamic.get(DT_SYMENT) not in (None, SYMBOL.size):
        raise ElfError("its relocations or symbols have a form that its processor does not use")
    claimed = dynamic.get(DT_TEXTREL) is not None or (dynamic.get(DT_FLAGS) or 0) & DF_TEXTREL
    if claimed and _relocates_code(view, layout, dynamic):
        raise ElfError("its code is relocated")
    return dynamic


def _check_segments(layout: Layout) -> None:
    """Refuses what is no library that a loader accepts, or has segments that cannot be cut.

    Raises:
        ElfError: It cannot be packed.
    """
    check_loadable(layout)
    kinds = {segment.type for segment in layout.segments}
    if layout.header.type != ET_DYN or PT_INTERP in kinds:
        raise ElfError("it is a program")
    if len(layout.segments) > _MOST_SEGMENTS:
        raise ElfError(f"it has more than {_MOST_SEGMENTS} segments")
    if problems := loader_problems(layout):
        raise ElfError(problems[0])
    if any((load.address - load.offset) % PAGE for load in layout.loads):
        raise ElfError("its segments do not lie on pages")
    if any(segment.flags & PF_W and segment.flags & PF_X for segment in layout.loads):
        raise ElfError("it has a segment that is writable and executable")


def _relocates_code(view: memoryview, layout: Layout, dynamic: Dynamic) -> bool:
    """Whether the loader has to write where it otherwise must not; some files claim so in vain."""
    if dynamic.get(DT_RELR) is not None:
        return True
    writable = [(load.address, load.end) for load in layout.loads if load.flags & PF_W]
    for tag, size_tag in ((DT_RELA, DT_RELASZ), (DT_JMPREL, DT_PLTRELSZ)):
        address, size = dynamic.get(tag), dynamic.get(size_tag)
        if address is not None and size:
            for place, _, _ in relocations(view, layout, address, size):
                if not any(start <= place < end for start, end in writable):
                    return True
    return False


def _frame(view: memoryview, run: Cold, start: int, end: int, *, reach: int, level: int) -> bytes:
    """Returns a block of a run as it is stored, from one address to another."""
    at = run.segment.offset - run.segment.address
    return compress(apply(run.filter, view[start + at : end + at], address=start, reach=reach), level)


def _compressed(
    view: memoryview, cold: Sequence[Cold], *, reach: int, block_size: int, level: int, jobs: int
) -> tuple[tuple[Cold, ...], tuple[Range, ...], tuple[bytes, ...]]:
    """Compresses runs of pages, and returns those that are worth it, their ranges and their blocks."""
    kept: list[Cold] = []
    ranges: list[Range] = []
    frames: list[bytes] = []
    with ThreadPoolExecutor(jobs) as threads:
        sizes = [block_size if run.moment == "touch" else _LIBRARY_BLOCK_SIZE for run in cold]
        blocks = [
            [
                threads.submit(_frame, view, run, at, min(at + size, run.end), reach=reach, level=level)
                for at in range(run.start, run.end, size)
            ]
            for run, size in zip(cold, sizes, strict=True)
        ]
        for run, size, own in zip(cold, sizes, blocks, strict=True):
            found = [block.result() for block in own]
            if sum(map(len, found)) > _WORST_RATIO * (run.end - run.start):
                continue
            kept.append(run)
            ranges.append(
                Range(
                    address=run.start,
                    size=run.end - run.start,
                    flags=run.segment.flags,
                    moment=run.moment,
                    block_size=size,
                    first_block=len(frames),
                    filter=run.filter,
                    reach=reach if run.filter == "x86_64" else 0,
                )
            )
            frames += found
    return tuple(kept), tuple(ranges), tuple(frames)


def _change(
    view: memoryview,
    layout: Layout,
    hook: Hook,
    *,
    cold: Sequence[Cold],
    ranges: Sequence[Range],
    frames: Sequence[bytes],
    recipe: bytes,
) -> Change:
    """Returns what is to become of a file.

    Two segments are added: a writable one with the dynamic section, the word that the relocation fills and the mark,
    and a read-only one with the tables that have grown, and the packed part.
    """
    carved = _carved(layout, cold)
    page = LARGEST_PAGES[layout.header.machine]
    dynamic_size = (
        len(dynamic_entries(hook, {tag: (0, len(table)) for tag, table in hook.tables})) * ENTRY.size
    )
    free = mapped_end(Change(layout=carved, moved_table=True))
    top = max(load.end for load in layout.loads)
    writable = _Place.behind(file_end=free, source_end=len(view), address_end=top, page=page)
    slot = writable.address + dynamic_size
    mark = slot + 8
    written = dynamic_size + 16
    readable = _Place.behind(
        file_end=free + -free % PAGE + written,
        source_end=writable.source + written,
        address_end=writable.address + written,
        page=page,
    )
    relocation = RELOCATION.pack(slot, hook.symbol << 32 | _GLOB_DAT[layout.header.machine], 0)
    places: dict[int, tuple[int, int]] = {}
    content = b""
    for tag, table in hook.tables:
        places[tag] = (readable.address + len(content), len(table))
        content += relocation + table[RELOCATION.size :] if tag == DT_RELA else table
        content += bytes(-len(content) % 8)
    entries = dynamic_entries(hook, places)
    parts = encode(
        mark=mark,
        relocation=hook.displaced[1:] if hook.displaced else None,
        ranges=ranges,
        frames=frames,
        recipe=recipe,
    )
    packed_size = sum(map(len, parts))
    patches: list[tuple[int, ReadableBuffer]] = [(hook.displaced[0], relocation)] if hook.displaced else []
    patches.append((writable.source, b"".join(ENTRY.pack(*entry) for entry in entries) + bytes(16)))
    at = readable.source
    for part in (content, *parts):
        patches.append((at, part))
        at += len(part)

    described = readable.segment(PT_SLIMPACK, PF_R, at=len(content), size=packed_size)
    added = (
        replace(writable.segment(PT_LOAD, PF_R | PF_W, size=written), alignment=page),
        replace(readable.segment(PT_LOAD, PF_R, size=len(content) + packed_size), alignment=page),
    )
    segments: list[Segment] = []
    for segment in carved.segments:
        if segment.type == PT_DYNAMIC:
            segments.append(writable.segment(PT_DYNAMIC, segment.flags, size=dynamic_size))
        else:
            segments.append(segment)
        if segment is carved.loads[-1]:
            segments += added
    segments.append(described)
    if len(segments) + 1 >= PN_XNUM:
        raise ElfError("it would need more program headers than there can be")
    sections = _sections(
        layout, carved, hook, writable=writable, dynamic_size=dynamic_size, readable=readable, places=places
    )
    if sections:
        sections.append(
            Section(
                name=_SECTION,
                type=SHT_PROGBITS,
                flags=SHF_ALLOC,
                address=described.address,
                offset=described.offset,
                size=packed_size,
                link=0,
                info=0,
                alignment=8,
                entry_size=0,
            )
        )
    header = replace(carved.header, segments=len(segments))
    after = replace(carved, size=at, header=header, segments=tuple(segments), sections=tuple(sections))
    return Change(layout=after, content=tuple(patches), moved_table=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where something that is added begins."""

    source: int
    """Offset behind the end of the input."""
    address: int
    """Address."""

    @classmethod
    def behind(cls, *, file_end: int, source_end: int, address_end: int, page: int) -> _Place:
        """Returns the first place behind what there is that suits where it comes to lie in the output.

        Args:
            file_end: Offset in the output, where no padding beyond a page of the smallest size is wanted.
            source_end: Offset in the input.
            address_end: Address.
            page: Bytes of the largest page.
        """
        within = (file_end + -file_end % PAGE) % page
        return cls(
            source=source_end + -source_end % page + within,
            address=address_end + -address_end % page + within,
        )

    def segment(self, kind: int, flags: int, *, at: int = 0, size: int) -> Segment:
        """Describes some bytes from here on."""
        return Segment(
            type=kind,
            flags=flags,
            offset=self.source + at,
            address=self.address + at,
            physical_address=self.address + at,
            file_size=size,
            memory_size=size,
            alignment=8,
        )


def _carved(layout: Layout, cold: Sequence[Cold]) -> Layout:
    """Returns a layout in which runs of pages belong to no segment.

    Raises:
        ElfError: No segment could ask for the alignment that its sections need.
    """
    page = LARGEST_PAGES[layout.header.machine]
    needed = max(
        [page, *(section.alignment for section in layout.sections if section.allocated)],
    )
    first = layout.loads[0]
    strictest = min(max(load.alignment for load in layout.loads), needed)
    if strictest > page and (first.address - first.offset) % strictest:
        raise ElfError("its first segment does not lie as its alignment asks for")
    segments: list[Segment] = []
    for segment in layout.segments:
        if segment.type == PT_LOAD:
            whole = replace(segment, alignment=max(min(segment.alignment, page), PAGE))
            parts = _without(whole, [(run.start, run.end) for run in cold if run.segment is segment])
            if segment is first:
                parts[0] = replace(parts[0], alignment=max(strictest, PAGE))
            segments += parts
        elif segment.type == PT_GNU_EH_FRAME and any(
            run.start < segment.end and segment.address < run.end for run in cold
        ):
            segments.append(replace(segment, offset=0, file_size=0))
        else:
            segments.append(segment)
    starts = [run.start for run in cold]

    def is_cold(section: Section) -> bool:
        at = bisect_left(starts, section.end + (not section.size)) - 1  # an empty one is where it begins
        return section.allocated and at >= 0 and cold[at].end > section.address

    sections = tuple(
        replace(section, type=SHT_NOBITS) if is_cold(section) else section for section in layout.sections
    )
    return replace(layout, segments=tuple(segments), sections=sections)


def _without(segment: Segment, holes: Sequence[tuple[int, int]]) -> list[Segment]:
    """Returns a segment without some runs of addresses, which are ascending and inside it.

    Each run becomes a segment of its own that has no bytes in the file and, unless it is writable, no permission. The
    loader puts nothing there, and who asks which library an instruction belongs to finds it: before glibc 2.35,
    unwinders look for a PT_LOAD segment that holds it, and so does dlopen() for its caller's run path.
    """
    borders = [segment.address, *(border for hole in holes for border in hole), segment.end]
    parts: list[Segment] = []
    for number, (start, end) in enumerate(pairwise(borders)):
        skipped = start - segment.address
        part = replace(
            segment,
            offset=segment.offset + skipped,
            address=start,
            physical_address=segment.physical_address + skipped,
            file_size=max(min(segment.file_size - skipped, end - start), 0),
            memory_size=end - start,
        )
        if number % 2:
            # Garbage collectors look for what is alive in the writable segments.
            parts.append(replace(part, flags=segment.flags if segment.flags & PF_W else 0, file_size=0))
        elif end > start:
            parts.append(part)
    return parts


def _sections(
    before: Layout,
    carved: Layout,
    hook: Hook,
    *,
    writable: _Place,
    dynamic_size: int,
    readable: _Place,
    places: dict[int, tuple[int, int]],
) -> list[Section]:
    """Returns the sections, those that have moved where they are now."""
    sections: list[Section] = []
    for was, section in zip(before.sections, carved.sections, strict=True):
        tag = hook.moved.get(was.address) if was.allocated and was.size else None
        if was.type == SHT_DYNAMIC:
            moved = replace(was, address=writable.address, offset=writable.source, size=dynamic_size)
        elif tag is not None:
            address, size = places[tag]
            offset = readable.source + address - readable.address
            moved = replace(was, address=address, offset=offset, size=size)
        else:
            moved = section
        sections.append(moved)
    return sections

"""Memory: whether two ELF files look the same once a loader has mapped them. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import TYPE_CHECKING

from slimpack.elf.hollow import hollow
from slimpack.elf.layout import FILE_HEADER, PAGE, PT_LOAD, PT_NULL, PT_PHDR, ElfError, Layout, Segment, read

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from _typeshed import ReadableBuffer

    Ranges = Sequence[tuple[int, int]]


def same_memory(
    before: ReadableBuffer, after: ReadableBuffer, *, clear: Collection[str] = (), stride: int = 1
) -> bool:
    """Whether two ELF files look the same in memory, apart from the headers that compaction changes.

    Args:
        before: A whole ELF file.
        after: Another one.
        clear: Names of sections of the first that may read as zeros in the other.
        stride: Every how many pages of a segment are compared, besides its last one; 1 for all.
    """
    try:
        one, other = _Image.of(before), _Image.of(after)
    except ElfError:
        return False
    old, new = one.layout, other.layout
    regions = _regions(new)
    if len(new.segments) > len(old.segments):
        regions.pop()  # the program headers' own, that cleared sections ask for
    return (
        regions == _regions(old)
        and all(
            _same_part(one, other, was, now, stride) for was, now in zip_longest(_parts(old), _parts(new))
        )
        and _same_pages(one, other, clear, stride)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Image:
    """A file and its layout."""

    view: memoryview
    """The whole file."""
    layout: Layout
    """What its headers say."""

    @classmethod
    def of(cls, content: ReadableBuffer) -> _Image:
        view = memoryview(content).cast("B")
        return cls(view=view, layout=read(view))


def _same_part(one: _Image, other: _Image, was: Segment | None, now: Segment | None, stride: int) -> bool:
    """Whether a segment that loaders do not map is where it was in memory, and has the content that it had."""
    if (
        was is None
        or now is None
        or replace(was, offset=0, alignment=0) != replace(now, offset=0, alignment=0)
    ):
        return False
    tables = _tables(one.layout)
    for at in _samples(was, stride):
        start, size = was.offset + at, min(PAGE, was.file_size - at)
        if _blank(bytearray(one.view[start : start + size]), start, tables) != _blank(
            bytearray(other.view[now.offset + at :][:size]), start, tables
        ):
            return False
    return True


def _same_pages(one: _Image, other: _Image, clear: Collection[str], stride: int) -> bool:
    """Whether the pages that the first file has in memory have the same content with the other."""
    headers = list(_headers_in_memory(one.layout))
    zeros = [(section.address, section.end) for section in hollow(one.layout, clear).hollow]
    for load in one.layout.loads:
        for at in _samples(load, stride):
            start = load.address + at
            end = min(start + PAGE, load.address + load.file_size)
            if _blank(_memory(one, start, end), start, headers + zeros) != _blank(
                _memory(other, start, end), start, headers
            ):
                return False
    return True


def _regions(layout: Layout) -> list[tuple[int, int, int, int]]:
    """Returns start, end, end of what is in the file, and flags of what is mapped in one go."""
    regions: list[tuple[int, int, int, int]] = []
    for load in layout.loads:
        start = load.address
        if regions and regions[-1][1] == start and regions[-1][3] == load.flags:
            start = regions.pop()[0]
        regions.append((start, load.end, load.address + load.file_size, load.flags))
    return regions


def _parts(layout: Layout) -> Iterator[Segment]:
    """Yields the segments that describe parts of others, but not the one for the program headers."""
    return (one for one in layout.segments if one.type not in (PT_LOAD, PT_NULL, PT_PHDR))


def _samples(segment: Segment, stride: int) -> Iterable[int]:
    """Returns where in a segment to compare pages."""
    size = segment.file_size
    return {*range(0, size, stride * PAGE), max(size - PAGE, 0)} if size else ()


def _tables(layout: Layout) -> Ranges:
    """Returns first and last offset of the headers that compaction renews."""
    return (0, FILE_HEADER.size), (layout.header.segments_offset, layout.header.segments_end)


def _headers_in_memory(layout: Layout) -> Iterator[tuple[int, int]]:
    """Yields first address and end of the headers that compaction renews."""
    for load in layout.loads:
        for start, end in _tables(layout):
            low, high = max(start, load.offset), min(end, load.file_end)
            if low < high:
                yield load.address - load.offset + low, load.address - load.offset + high


def _memory(image: _Image, start: int, end: int) -> bytearray:
    """Returns what a loader maps between two addresses; what is in no segment is zero."""
    content = bytearray(end - start)
    for load in image.layout.loads:
        low, high = max(start, load.address), min(end, load.address + load.file_size)
        if low < high:
            shift = load.offset - load.address
            content[low - start : high - start] = image.view[low + shift : high + shift]
    return content


def _blank(content: bytearray, address: int, ranges: Iterable[tuple[int, int]]) -> bytearray:
    """Returns content of an address with zeros in some ranges of addresses."""
    for first, last in ranges:
        low, high = max(first - address, 0), min(last - address, len(content))
        if low < high:
            content[low:high] = bytes(high - low)
    return content

"""Warm: which of the code that a start touches is left raw in a packed shared object, more of it or less. Pure.

A block is spared if all that is touched of it is raw. Code that starts touch lies scattered: many blocks are put in
place for a page or two of them. So the blocks where least has to be raw come first.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from slimpack.elf.layout import PAGE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_GAPS = (1, 4, 16)
"""Pages between two touched ones up to which they are left raw as well; more of them make fewer runs."""

_MOST_RUNS = 500
"""Runs of one shared object that stay raw: each makes two segments, which a loader maps one by one and keeps on its
stack. 64 KiB of program headers, some 1,170, are the most that the kernel takes of a program (``load_elf_phdrs`` in
``fs/binfmt_elf.c``)."""

_STEPS = 4
"""Degrees for each gap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Degree:
    """Code of a shared object that could stay raw."""

    runs: tuple[tuple[int, int], ...]
    """Runs of addresses, ends excluded, ascending."""
    spared: int
    """Bytes of the blocks that a start does not have to put in place then."""

    @property
    def raw(self) -> int:
        """Bytes of the runs."""
        return sum(end - start for start, end in self.runs)


def degrees(touched: Sequence[int], *, block: int, page: int) -> tuple[Degree, ...]:
    """Returns how much could stay raw, from little to all.

    Args:
        touched: Addresses of pages of 4 KiB that a start touches, ascending.
        block: Bytes of a block of code.
        page: Bytes of the pages that runs consist of.
    """
    pages = sorted({address - address % page for address in touched})
    found = sorted(
        (one for gap in _GAPS for one in _with_gap(pages, gap * PAGE, block=block, page=page)),
        key=lambda one: (one.raw, -one.spared),
    )
    best = accumulate((one.spared for one in found), max, initial=0)
    return tuple(one for one, before in zip(found, best, strict=False) if one.spared > before)


def met(touched: Iterable[int], block: int) -> int:
    """Returns the bytes of the blocks that some pages are in."""
    return len({address // block for address in touched}) * block


def _with_gap(pages: Sequence[int], gap: int, *, block: int, page: int) -> Iterator[Degree]:
    held: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for one in pages:
        held[one // block].append((one, one + page))
    for number, runs in held.items():
        held[number] = _joined(runs, gap)
    cheapest = sorted(held, key=lambda number: (sum(end - start for start, end in held[number]), number))
    counts = accumulate(len(held[number]) for number in cheapest)
    most = sum(1 for count in counts if count <= _MOST_RUNS)
    for step in range(1, _STEPS + 1):
        chosen = cheapest[: most * step // _STEPS]
        if chosen:
            runs = _joined((run for number in sorted(chosen) for run in held[number]), 0)
            yield Degree(runs=tuple(runs), spared=len(chosen) * block)


def _joined(runs: Iterable[tuple[int, int]], gap: int) -> list[tuple[int, int]]:
    """Returns runs, those as one that are no further apart than a gap."""
    joined: list[tuple[int, int]] = []
    for start, end in runs:
        if joined and start - joined[-1][1] <= gap:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined

"""Warm: what stays raw spares blocks, cheap ones first, and never too many runs."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from slimpack.elf.layout import PAGE
from slimpack.warm import degrees, met

BLOCK = 0x10000

TOUCHED = st.sets(st.integers(0, 4000), max_size=200).map(lambda all_: sorted(one * PAGE for one in all_))


def blocks(addresses: set[int]) -> set[int]:
    return {one // BLOCK for one in addresses}


@given(TOUCHED, st.sampled_from((0x1000, 0x10000)))
def test_blocks_are_spared_when_all_that_is_touched_of_them_is_raw(touched: list[int], page: int) -> None:
    for one in degrees(touched, block=BLOCK, page=page):
        left = {at for at in touched if not any(start <= at < end for start, end in one.runs)}
        assert len(blocks(set(touched)) - blocks(left)) * BLOCK >= one.spared > 0
        assert all(end % page == start % page == 0 and start < end for start, end in one.runs)
        assert all(before[1] < after[0] for before, after in pairwise(one.runs))


@given(TOUCHED)
def test_more_raw_spares_more_and_in_the_end_everything(touched: list[int]) -> None:
    found = degrees(touched, block=BLOCK, page=PAGE)

    assert all(one.raw < more.raw and one.spared < more.spared for one, more in pairwise(found))
    assert (found[-1].spared if found else 0) == met(touched, BLOCK)  # so few runs are never too many


def test_blocks_with_little_to_leave_raw_come_first() -> None:
    crowded = [n * PAGE for n in range(16)]
    lonely = [BLOCK * (2 * n + 2) for n in range(3)]

    first, *_, last = degrees([*crowded, *lonely], block=BLOCK, page=PAGE)

    assert all(start >= BLOCK for start, _ in first.runs)
    assert last.spared == 4 * BLOCK


def test_however_scattered_there_are_not_too_many_runs() -> None:
    touched = [n * 17 * PAGE for n in range(5000)]

    found = degrees(touched, block=0x20000, page=PAGE)

    assert found
    assert all(len(one.runs) <= 500 for one in found)
    assert found[-1].spared < met(touched, 0x20000)


def test_of_what_is_not_touched_nothing_stays_raw() -> None:
    assert degrees([], block=BLOCK, page=PAGE) == ()

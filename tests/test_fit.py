"""Fit: laws that hold for any parts, and the best there is for few of them."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slimpack import fit as module
from slimpack.fit import Fit, Form, FormName, Part, Way, fit, spend

MEGABYTE = 10**6

NAMES: tuple[FormName, ...] = ("plain", "compiled", "hot", "cold")

sizes = st.integers(0, 40) | st.integers(0, 40).map(lambda n: n * MEGABYTE)
costs = st.integers(0, 50).map(float)


@st.composite
def parts(draw: st.DrawFn, most: int = 8) -> tuple[Part, ...]:
    forms = st.lists(st.tuples(sizes, costs), min_size=1, max_size=4)
    return tuple(
        Part(
            path=f"part{number}",
            forms=tuple(
                Form(name=name, size=size, cost=cost) for name, (size, cost) in zip(NAMES, each, strict=False)
            ),
        )
        for number, each in enumerate(draw(st.lists(forms, max_size=most)))
    )


rooms = st.integers(0, 400) | st.integers(0, 300).map(lambda n: n * MEGABYTE)


def smallest(some: tuple[Part, ...]) -> int:
    return sum(min(form.size for form in one.forms) for one in some)


def check(found: Fit, some: tuple[Part, ...], room: int) -> None:
    """Asserts that what is offered is of the parts, adds up, and says truly whether it fits."""
    assert set(found.forms) == {one.path for one in some}
    assert all(found.forms[one.path] in one.forms for one in some)
    assert found.size == sum(form.size for form in found.forms.values())
    assert found.cost == pytest.approx(sum(form.cost for form in found.forms.values()))
    assert found.fits == (smallest(some) <= room)
    if found.fits:
        assert found.size <= room
    else:
        assert found.size == smallest(some)


@given(parts(), rooms)
@settings(max_examples=400, deadline=None)
def test_it_stays_within_the_room_whenever_that_is_possible_and_says_so_when_it_is_not(
    some: tuple[Part, ...], room: int
) -> None:
    check(fit(some, room=room), some, room)


@given(parts(), rooms, rooms)
@settings(max_examples=400, deadline=None)
def test_more_room_never_makes_a_start_slower(some: tuple[Part, ...], one: int, other: int) -> None:
    little, much = (fit(some, room=room) for room in sorted((one, other)))

    if little.fits:
        assert much.cost <= little.cost + 1e-9


@given(parts(), rooms, st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_the_order_of_parts_does_not_matter(some: tuple[Part, ...], room: int, random: object) -> None:
    shuffled = list(some)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis gives a random.Random

    assert fit(shuffled, room=room) == fit(some, room=room)


@given(parts(most=5), rooms)
@settings(max_examples=200, deadline=None)
def test_of_large_parts_the_best_is_found_and_of_small_ones_no_more_than_a_step_is_lost(
    some: tuple[Part, ...], room: int
) -> None:
    found = fit(some, room=room)

    every = (
        (sum(form.size for form in forms), sum(form.cost for form in forms))
        for forms in product(*(one.forms for one in some))
    )
    best = min((cost for size, cost in every if size <= room), default=None)
    if best is None:
        assert not found.fits
        return
    small = [one for one in some if module._spread(one) < module._COARSE]
    step = max((form.cost for one in small for form in one.forms), default=0.0)
    assert best - 1e-9 <= found.cost <= best + step + 1e-9


@st.composite
def ways(draw: st.DrawFn) -> tuple[list[Way], list[Way]]:
    """Parts with all their forms and with the first of them only, and the same where each can be smaller still."""
    some, extra = draw(parts()), draw(sizes)
    first = Way(parts=tuple(replace(one, forms=one.forms[:1]) for one in some))
    denser = tuple(
        replace(
            one, forms=(*one.forms, Form(name="dense", size=smallest((one,)) * 9 // 10, cost=draw(costs)))
        )
        for one in some
    )
    return [first, Way(parts=some, extra=extra)], [first, Way(parts=denser, extra=extra)]


def least(some: list[Way]) -> int:
    return min(smallest(way.parts) + way.extra for way in some)


def near(some: list[Way]) -> st.SearchStrategy[int]:
    """Rooms of any size, and those about which the smallest begins to fit, with its margin or without."""
    begins = least(some)
    edges = st.sampled_from([begins, begins + 2**20, begins * 64 // 63])
    return rooms | st.builds(int.__add__, edges, st.integers(-3, 3))


@given(st.data(), ways(), st.booleans())
@settings(max_examples=600, deadline=None)
def test_by_several_ways_more_room_never_makes_a_start_slower_and_what_can_fit_does(
    data: st.DataObject, made: tuple[list[Way], list[Way]], may_be_denser: bool
) -> None:
    some, denser = made if may_be_denser else (made[0], [])
    every = [*some, *denser]
    little, much = sorted((data.draw(near(some)), data.draw(near(every))))

    found = {room: spend(some, room=room, denser=denser) for room in (little, much)}

    if found[little].fits:
        assert found[much].cost <= found[little].cost + 1e-9
    for room, one in found.items():
        assert one.fits == (least(every) <= room)
        taken = min(
            one.size + way.extra
            for way in every
            if all(one.forms[part.path] in part.forms for part in way.parts)
        )
        assert taken <= (room if one.fits else least(every))
        free = min(2**20, max(0, room) // 64)
        if least(some) <= room - free:
            assert taken <= room - free


def test_one_byte_more_does_not_take_the_margin_away() -> None:
    megabyte = 2**20
    part = Part(
        path="a",
        forms=(
            Form(name="plain", size=80 * megabyte, cost=0.0),
            Form(name="packed", size=79 * megabyte + 1000, cost=9.0),
        ),
    )

    smallest, plain = 79 * megabyte + 1000, 80 * megabyte
    for room in (smallest - 1, smallest, plain, smallest + megabyte, plain + megabyte - 1):
        found = spend([Way(parts=(part,))], room=room)
        assert (found.fits, found.cost) == (room >= smallest, 9.0)
    assert spend([Way(parts=(part,))], room=plain + megabyte).cost == 0.0


def test_what_comes_with_packing_counts_only_where_something_is_packed() -> None:
    plain, packed = Form(name="plain", size=1000, cost=1.0), Form(name="packed", size=900, cost=2.0)
    some = [
        Way(parts=(Part(path="a", forms=(plain,)),)),
        Way(parts=(Part(path="a", forms=(packed,)),), extra=500),
    ]

    assert spend(some, room=1000).forms == {"a": plain}
    assert spend(some, room=1000).fits


def test_what_nobody_wants_without_need_is_taken_until_something_else_is_as_quick() -> None:
    # given a library that few need, which can make room for modules if it is packed more densely
    def parts(*more: Form) -> tuple[Part, ...]:
        library = (Form(name="packed", size=9000, cost=1.0), *more)
        module = (Form(name="cold", size=1000, cost=50.0), Form(name="hot", size=1800, cost=5.0))
        return Part(path="a.so", forms=library), Part(path="b.py", forms=module)

    some, denser = [Way(parts=parts())], [Way(parts=parts(Form(name="dense", size=8000, cost=2.0)))]

    found = {room: spend(some, room=room, denser=denser) for room in (9990, 10_000, 10_900, 11_000)}

    assert [one.cost for one in found.values()] == [7.0, 7.0, 7.0, 6.0]
    assert [one.forms["a.so"].name for one in found.values()] == ["dense", "dense", "dense", "packed"]


def test_of_forms_that_are_as_quick_the_first_is_taken() -> None:
    plain, packed = Form(name="plain", size=5, cost=1.0), Form(name="packed", size=5, cost=1.0)

    assert fit([Part(path="a", forms=(plain, packed))], room=100).forms == {"a": plain}


def test_many_large_parts_take_no_more_than_a_moment_and_keep_the_laws(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # given fewer combinations that are kept than there are
    monkeypatch.setattr(module, "_POINTS", 16)
    some = tuple(
        Part(
            path=f"lib{number}",
            forms=(
                Form(name="plain", size=(number * 7 % 31 + 3) * MEGABYTE, cost=0.0),
                Form(name="packed", size=(number * 7 % 31 + 3) * MEGABYTE // 3, cost=number * 13 % 17 + 1.0),
            ),
        )
        for number in range(60)
    )
    least, most = smallest(some), sum(one.forms[0].size for one in some)

    # when
    rooms = [*range(least - MEGABYTE, most, MEGABYTE * 5), most]
    found = [fit(some, room=room) for room in rooms]

    # then
    for one, room in zip(found, rooms, strict=True):
        check(one, some, room)
    assert [one.cost for one in found[1:]] == sorted((one.cost for one in found[1:]), reverse=True)
    assert found[-1].cost == 0.0

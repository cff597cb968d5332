"""Fit: laws that hold for any parts, and the best there is for few of them."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slimpack import fit as module
from slimpack.fit import Fit, Form, FormName, Part, fit

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

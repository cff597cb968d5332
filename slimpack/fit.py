"""Fit: of the forms that each part of a bundle can have, the ones with which it fits and starts soonest. Pure.

Each part, a module or a shared object, has one form out of several, each with its bytes and with the milliseconds that
a cold start is expected to take for it; ``docs/fit.md`` says where both come from. That is the knapsack problem with
multiple choices. What is offered for a budget comes out of a list that does not depend on it, smallest and slowest
first: so more room never makes a start slower, and whatever fits at all is found.

Small parts, of which there are thousands, form a chain: the step that saves most for its bytes first (the convex hull
of each part's forms, Dantzig 1957). Large ones, where one step more or less matters, are combined with each other.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_COARSE = 2**20
"""Bytes between the smallest and the largest form of a part from which it counts as large."""

_POINTS = 1024
"""Combinations of large parts that are kept, the quickest of each size."""

_MARGIN = 2**20
"""Bytes of the room that stay free where that is possible: another release of a package may be larger."""

_MARGIN_SHARE = 64
"""Of less room than so many margins, so small a share stays free."""

FormName = Literal["plain", "compiled", "raw", "hot", "cold", "warm", "packed", "dense"]
"""As it came. Of a module: with bytecode beside it; packed, its code as it is, packed quickly, or packed well.
Of a shared object: packed but for code that starts touch, in several degrees; packed; packed in large blocks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One of the forms that a part can have."""

    name: FormName
    """What it is called."""
    size: int
    """Bytes that the part takes in the bundle."""
    cost: float
    """Milliseconds that a cold start is expected to take for it, and a hair that settles ties."""
    degree: int = 0
    """Tells forms of one name apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of the bundle that can have one form or another."""

    path: str
    """Place in the installed tree."""
    forms: tuple[Form, ...]
    """At least one; of equals the first is taken, so the one that changes least comes first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """What there is to choose from if some kinds of packing are left out, or none."""

    parts: tuple[Part, ...]
    """In any order, each path once; the same paths in each way."""
    extra: int = 0
    """Bytes that come with it, whatever is chosen: of what unpacks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The form of every part."""

    forms: Mapping[str, Form]
    """By path."""
    size: int
    """Bytes of all of them together."""
    cost: float
    """Milliseconds that a cold start is expected to take for all of them."""
    fits: bool
    """Whether that is within the room; otherwise nothing is, and this is the smallest there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """From one form of a small part to the next larger one that is worth its bytes."""

    path: str
    """The part."""
    form: Form
    """What it becomes."""
    size: int
    """Bytes more."""
    saved: float
    """Milliseconds less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Point:
    """A combination of the forms of some large parts."""

    size: int
    """Bytes."""
    cost: float
    """Milliseconds."""
    form: Form | None = None
    """Of the part that was added last; None for none."""
    before: _Point | None = None
    """The combination that it was added to; None if this is the empty one."""


def fit(parts: Iterable[Part], *, room: int) -> Fit:
    """Returns the forms with which the parts fit and a start is expected to take least.

    Args:
        parts: In any order, each path once.
        room: Bytes that they may take together.
    """
    ordered = sorted(parts, key=lambda one: one.path)
    large = [one for one in ordered if _spread(one) >= _COARSE]
    small = [one for one in ordered if _spread(one) < _COARSE]
    hulls = {one.path: _hull(one.forms) for one in small}
    base_size = sum(hull[0].size for hull in hulls.values())
    base_cost = sum(hull[0].cost for hull in hulls.values())
    steps = sorted(
        (step for path, hull in hulls.items() for step in _steps(path, hull)),
        key=lambda step: (-step.saved / step.size, step.path, step.form.size),
    )
    sizes = [0, *accumulate(step.size for step in steps)]
    saved = [0.0, *accumulate(step.saved for step in steps)]

    def whole(point: _Point) -> tuple[float, int, int]:
        """Returns cost, bytes and steps of the chain that there is room for beside a combination."""
        count = bisect_right(sizes, room - base_size - point.size) - 1
        return base_cost + point.cost - saved[count], base_size + point.size + sizes[count], count

    points = _combined(tuple(large))
    within = [point for point in points if base_size + point.size <= room]
    best = min(within, key=lambda point: whole(point)[:2]) if within else points[0]
    cost, size, count = whole(best) if within else (base_cost + best.cost, base_size + best.size, 0)
    forms = {path: hull[0] for path, hull in hulls.items()}
    forms |= {step.path: step.form for step in steps[:count]}
    forms |= zip((one.path for one in large), _chosen(best), strict=True)
    return Fit(forms=forms, size=size, cost=cost, fits=bool(within))


def spend(ways: Sequence[Way], *, room: int, denser: Sequence[Way] = ()) -> Fit:
    """Returns the forms with which the parts fit and a start is expected to take least, by any of several ways.

    A margin stays free as far as the smallest choice leaves one. More room never makes a start slower.

    Args:
        ways: At least one.
        room: Bytes that the parts may take together, with what comes with them.
        denser: Ways to be smaller still that nobody wants without need. They are taken where nothing else fits, and
            in more room as long as nothing else is as quick.
    """
    chosen = _by_one_way(ways, room)
    if denser:
        # Where something else just fits, it may be much slower than what they made of one byte less.
        less = _by_one_way(denser, min(room, _least(ways) - 1))
        if not chosen.fits or (less.fits and less.cost < chosen.cost):
            return less
    return chosen


def _by_one_way(ways: Sequence[Way], room: int) -> Fit:
    """Returns the quickest that there is by one of the ways, the smallest if nothing fits."""
    free = min(_MARGIN, max(0, room) // _MARGIN_SHARE)
    spent = max(room - free, min(room, _least(ways)))
    found = [(fit(way.parts, room=spent - way.extra), way.extra) for way in ways]
    fitting = [(one, extra) for one, extra in found if one.fits]
    if fitting:
        return min(fitting, key=lambda pair: (pair[0].cost, pair[0].size + pair[1]))[0]
    return min(found, key=lambda pair: (pair[0].size + pair[1], pair[0].cost))[0]


def _least(ways: Sequence[Way]) -> int:
    """Returns the fewest bytes that there can be by any of the ways."""
    return min(way.extra + sum(min(form.size for form in one.forms) for one in way.parts) for way in ways)


def _spread(part: Part) -> int:
    sizes = [form.size for form in part.forms]
    return max(sizes) - min(sizes)


def _hull(forms: Sequence[Form]) -> list[Form]:
    """Returns the forms on the lower convex hull, ascending in bytes: each step saves less for a byte."""
    hull: list[Form] = []
    for form in _undominated(forms):
        while len(hull) > 1 and _slope(hull[-2], hull[-1]) <= _slope(hull[-2], form):
            hull.pop()
        hull.append(form)
    return hull


def _undominated(forms: Sequence[Form]) -> Iterator[Form]:
    """Yields forms ascending in bytes, without those that another one beats that is no larger."""
    best = None
    for _, form in sorted(enumerate(forms), key=lambda one: (one[1].size, one[1].cost, one[0])):
        if best is None or form.cost < best:
            best = form.cost
            yield form


def _slope(one: Form, other: Form) -> float:
    """Returns the milliseconds saved for a byte, from one form to a larger one."""
    return (one.cost - other.cost) / (other.size - one.size)


def _steps(path: str, hull: Sequence[Form]) -> Iterator[_Step]:
    for one, other in pairwise(hull):
        yield _Step(path=path, form=other, size=other.size - one.size, saved=one.cost - other.cost)


@lru_cache(maxsize=4)
def _combined(parts: tuple[Part, ...]) -> Sequence[_Point]:
    """Returns combinations of the parts' forms, ascending in bytes and descending in cost, the smallest always.

    They are remembered: the same large parts are asked about with more room or less, and beside other small ones.
    """
    points = [_Point(size=0, cost=0.0)]
    for part in parts:
        forms = list(_undominated(part.forms))
        points = _thinned(
            _Point(size=point.size + form.size, cost=point.cost + form.cost, form=form, before=point)
            for point in points
            for form in forms
        )
    return points


def _thinned(points: Iterable[_Point]) -> list[_Point]:
    """Returns points without those that another one beats; of too many, the quickest of each size."""
    kept: list[_Point] = []
    for point in sorted(points, key=lambda one: (one.size, one.cost)):
        if not kept or point.cost < kept[-1].cost:
            kept.append(point)
    if len(kept) <= _POINTS:
        return kept
    width = (kept[-1].size - kept[0].size) / (_POINTS - 2)
    # in each interval the last is the quickest; the very first is the one that fits if anything does
    last = {int((point.size - kept[0].size) / width): point for point in kept}
    return [kept[0], *(point for point in last.values() if point is not kept[0])]


def _chosen(point: _Point) -> list[Form]:
    """Returns the forms of a combination in the order of the parts."""
    forms: list[Form] = []
    while point.before is not None and point.form is not None:
        forms.append(point.form)
        point = point.before
    return forms[::-1]

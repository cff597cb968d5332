"""Compare: the first difference between an expected and a given JSON text. Pure.

Objects are equal whatever the order of their keys, arrays only in order. JSON has one kind of number, so ``1`` equals
``1.0``; it has no NaN and no infinity, but Python writes and reads them, and a NaN equals a NaN here. ``true`` is no
number. Numbers are compared exactly unless a tolerance is given (RFC 8259, sections 4 to 6).
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHOWN = 200
"""Characters of a value that a difference shows."""

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Where two JSON texts part."""

    path: str
    """Place of the value, such as ``$.scores[2]`` (RFC 9535 in shape); ``$`` is the whole text."""
    expected: str
    """The value that was expected, as JSON, cut if it is long; ``nothing`` if there should be none."""
    given: str
    """The value that is there, likewise."""


class _Nothing:
    """Stands for a value that is not there."""


_NOTHING = _Nothing()


def difference(
    expected: str | bytes, given: str | bytes, *, float_tolerance: float = 0.0
) -> Difference | None:
    """Returns the first difference between two JSON texts, or None.

    Args:
        expected: What should come.
        given: What came.
        float_tolerance: By how much two numbers may differ, if one of them has a fraction or an exponent, relative to
            the larger one: 1e-6 lets a million and a million and one be equal. A zero equals only a zero.
    """
    values = []
    for text in (expected, given):
        try:
            values.append(json.loads(text))
        except (ValueError, RecursionError) as problem:
            told = "nested too deeply" if isinstance(problem, RecursionError) else "no JSON"
            shown = _cut(text.decode(errors="replace") if isinstance(text, bytes) else text)
            own = f"{told}: {shown}"
            other = "JSON"
            return Difference(
                path="$",
                expected=own if text is expected else other,
                given=other if text is expected else own,
            )
    return next(_differences(values[0], values[1], float_tolerance), None)


def _differences(expected: Any, given: Any, tolerance: float) -> Iterator[Difference]:  # noqa: ANN401 -- JSON
    """Yields where two values part, in the order of the expected one; depth costs no recursion."""
    waiting = [("$", expected, given)]
    while waiting:
        path, one, other = waiting.pop()
        if isinstance(one, dict) and isinstance(other, dict):
            keys = [*one, *(key for key in other if key not in one)]
            waiting += [
                (_member(path, key), one.get(key, _NOTHING), other.get(key, _NOTHING))
                for key in reversed(keys)
            ]
        elif isinstance(one, list) and isinstance(other, list):
            waiting += [
                (f"{path}[{index}]", *(_item(values, index) for values in (one, other)))
                for index in reversed(range(max(len(one), len(other))))
            ]
        elif not _equal(one, other, tolerance):
            yield Difference(path=_cut(path), expected=_text(one), given=_text(other))


def _equal(one: Any, other: Any, tolerance: float) -> bool:  # noqa: ANN401 -- JSON
    if _is_number(one) and _is_number(other):
        if one == other or (one != one and other != other):  # noqa: PLR0124 -- that is what NaN is
            return True
        if tolerance == 0 or (isinstance(one, int) and isinstance(other, int)):
            return False
        try:
            return math.isclose(one, other, rel_tol=tolerance)
        except OverflowError:  # an integer beyond all floats
            return False
    return type(one) is type(other) and bool(one == other)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _item(values: list[Any], index: int) -> Any:  # noqa: ANN401 -- JSON
    return values[index] if index < len(values) else _NOTHING


def _member(path: str, key: str) -> str:
    return f"{path}.{key}" if _PLAIN_KEY.fullmatch(key) else f"{path}[{json.dumps(key)}]"


def _text(value: object) -> str:
    if isinstance(value, _Nothing):
        return "nothing"
    if isinstance(value, list | dict):
        kind, count = ("array", "items") if isinstance(value, list) else ("object", "members")
        return f"an {kind} of {len(value):,} {count}"
    return _cut(json.dumps(value, ensure_ascii=False))


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"

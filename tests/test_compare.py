from __future__ import annotations

import json

import pytest

from slimpack.compare import Difference, difference


@pytest.mark.parametrize(
    ("expected", "given"),
    [
        ("null", "null"),
        ('{"a": 1, "b": [true, "x"]}', ' {"b":[true,"x"],\n"a":1}'),
        ("1", "1.0"),
        ("0.1", "1e-1"),
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        ('"\\u00fc"', '"ü"'),
        ("9" * 400, "9" * 400),
    ],
)
def test_texts_that_mean_the_same_are_equal(expected: str, given: str) -> None:
    assert difference(expected, given) is None
    assert difference(expected.encode(), given) is None


@pytest.mark.parametrize(
    ("expected", "given", "path", "one", "other"),
    [
        ("1", "2", "$", "1", "2"),
        ("1", "true", "$", "1", "true"),
        ("0", "null", "$", "0", "null"),
        ('"1"', "1", "$", '"1"', "1"),
        ("NaN", "1", "$", "NaN", "1"),
        ("[1, 2]", "[1]", "$[1]", "2", "nothing"),
        ("[1]", "[1, 2]", "$[1]", "nothing", "2"),
        ('{"a": 1}', "{}", "$.a", "1", "nothing"),
        ("{}", '{"a b": null}', '$["a b"]', "nothing", "null"),
        ('{"a": [0, {"b": 1}]}', '{"a": [0, {"b": 2}]}', "$.a[1].b", "1", "2"),
        ('{"a": [1]}', '{"a": {"b": 1}}', "$.a", "an array of 1 items", "an object of 1 members"),
        ("1", str(2**53 + 1), "$", "1", "9007199254740993"),
        ("9007199254740992.0", str(2**53 + 1), "$", "9007199254740992.0", "9007199254740993"),
    ],
)
def test_a_difference_is_told_with_its_place(
    expected: str, given: str, path: str, one: str, other: str
) -> None:
    assert difference(expected, given) == Difference(path=path, expected=one, given=other)


def test_the_first_difference_is_told() -> None:
    found = difference('{"b": [1, 2], "a": 3}', '{"a": 4, "b": [1, 9]}')

    assert found == Difference(path="$.b[1]", expected="2", given="9")


def test_a_tolerance_is_relative_and_only_for_numbers_with_a_fraction() -> None:
    assert difference("1000000.0", "1000001", float_tolerance=1e-6) is None
    assert difference("1000000", "1000001", float_tolerance=1e-6) is not None
    assert difference("1000000.0", "1000002", float_tolerance=1e-6) is not None
    assert difference("0.0", "1e-300", float_tolerance=1e-6) is not None
    assert difference("0.5", "0.5000000001") is not None


def test_an_integer_beyond_all_floats_is_compared() -> None:
    assert difference("9" * 400, "1.5", float_tolerance=0.5) is not None


def test_what_is_no_json_differs() -> None:
    assert difference("1", b"\xff") == Difference(
        path="$", expected="JSON", given="no JSON: \N{REPLACEMENT CHARACTER}"
    )
    assert difference("", "1") == Difference(path="$", expected="no JSON: ", given="JSON")


def test_depth_breaks_nothing() -> None:
    deep = "[" * 900 + "1" + "]" * 900
    deeper = "[" * 200_000

    assert difference(deep, deep) is None
    assert difference(deep, deep.replace("1", "2")) is not None
    found = difference("1", deeper)
    assert found is not None
    assert len(found.given) < 300


def test_long_values_are_cut() -> None:
    found = difference(json.dumps("x" * 10_000), json.dumps({"k" * 10_000: 1}))

    assert found is not None
    assert len(found.expected) < 300
    assert found.given == "an object of 1 members"

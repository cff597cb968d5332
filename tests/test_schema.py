from __future__ import annotations

import pytest
from pydantic.dataclasses import dataclass

from slimpack import schema
from slimpack.errors import ConfigError


@dataclass(frozen=True, kw_only=True, config=schema.STRICT)
class Inner:
    colour: str


@dataclass(frozen=True, kw_only=True, config=schema.STRICT)
class Outer:
    inner: tuple[Inner, ...] = ()
    count: int = 0


def read(data: object) -> Outer:
    return schema.read(Outer, data, where="some.toml", error=ConfigError)


def test_data_of_the_right_shape_becomes_a_value() -> None:
    assert read({"inner": [{"colour": "red"}], "count": 3}) == Outer(inner=(Inner(colour="red"),), count=3)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"coun": 1}, r"unknown key 'coun' \(did you mean 'count'\?\)"),
        (
            {"inner": [{"color": "red", "colour": "red"}]},
            r"unknown key 'inner.0.color' \(did you mean 'colour'\?\)",
        ),
        ({"xyz": 1}, r"unknown key 'xyz'$"),
        ({"inner": [{}]}, "missing key 'inner.0.colour'"),
        ({"count": "many"}, "count: input should be a valid integer"),
        ([], "input should be"),
        ({f"k{n}": 1 for n in range(9)}, "and 4 more"),
    ],
)
def test_data_of_another_shape_is_refused_with_place_and_key(data: object, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as caught:
        read(data)

    assert caught.value.where == "some.toml"
    assert caught.value.fix

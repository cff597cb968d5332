"""Prices: which forms there are, and that they compare with each other as measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slimpack import prices
from slimpack.model import PackedFile
from slimpack.modules.archive import Module

if TYPE_CHECKING:
    from slimpack.fit import FormName

ALL: tuple[FormName, ...] = ("plain", "compiled", "raw", "hot", "cold", "warm", "packed", "dense")

TEXT = "".join(f"def function_{i}(x):\n    return x + {i}\n\n" for i in range(400)).encode()
CODE = bytes((i * i >> 3) % 11 for i in range(len(TEXT)))
MODULE = Module(path="a/b.py", source=TEXT, code=CODE)


def module(share: float = 1.0, **changed: object) -> dict[str, tuple[int, float]]:
    asked: dict[str, object] = {
        "source": len(TEXT),
        "code": len(CODE) + 16,
        "packable": MODULE,
        "share": share,
        "ratios": prices.ratios([MODULE]),
        "allowed": ALL,
    }
    forms = prices.module(**(asked | changed))  # type: ignore[arg-type]
    return {one.name: (one.size, one.cost) for one in forms}


def test_a_module_is_quickest_with_bytecode_and_smallest_packed_well() -> None:
    forms = module()

    assert list(forms) == ["plain", "compiled", "raw", "hot", "cold"]
    assert sorted(forms, key=lambda name: forms[name][1]) == ["compiled", "raw", "hot", "cold", "plain"]
    assert sorted(forms, key=lambda name: forms[name][0])[:2] == ["cold", "hot"]
    assert forms["compiled"][0] == len(TEXT) + len(CODE) + 16


def test_what_no_start_needs_costs_next_to_nothing_whatever_its_form() -> None:
    assert max(cost for _, cost in module(share=0.001).values()) < 0.1
    assert module(share=0.001)["plain"][1] < module(share=0.001)["cold"][1]


def test_what_cannot_be_compiled_stays_as_it_is() -> None:
    assert list(module(code=None)) == ["plain"]
    assert list(module(code=None, allowed=("hot",))) == ["plain"]


def test_what_cannot_be_packed_has_its_bytecode_beside_it_where_plain_is_not_wanted() -> None:
    assert list(module(packable=None, ratios=None)) == ["plain", "compiled"]
    assert list(module(packable=None, ratios=None, allowed=("compiled", "hot"))) == ["compiled"]


def library(share: float = 1.0, **changed: object) -> dict[str, tuple[int, float]]:
    asked: dict[str, object] = {
        "size": 100_000_000,
        "estimate": 30_000_000,
        "results": {},
        "share": share,
        "touched": (),
        "allowed": ALL,
    }
    forms = prices.library(**(asked | changed))  # type: ignore[arg-type]
    return {one.name: (one.size, one.cost) for one in forms}


def test_a_shared_object_that_is_packed_is_smaller_and_slower() -> None:
    forms = library()

    assert forms["plain"] == (100_000_000, 0.0)
    assert forms["packed"][0] == 30_000_000
    assert forms["packed"][1] > 50
    assert library(share=0.0)["packed"][1] > 0  # so that nothing is packed for nothing


def test_with_what_starts_touch_there_is_a_form_between() -> None:
    forms = library(touched=((0, 2**20), (2**24, 2**24 + 4096)))

    assert 0 < forms["warm"][1] < forms["packed"][1] < library()["packed"][1]
    assert forms["warm"][0] == 30_000_000 + 2**20 + 4096


def test_once_a_form_was_tried_its_real_size_and_its_pruning_count() -> None:
    facts = PackedFile(size_before=100_000_000, stored=1, loaded=1, symbols=100_000)

    tried = library(results={"packed": (20_000_000, facts)})
    refused = library(results={"packed": (100_000_000, None)})

    assert tried["packed"][0] == 20_000_000
    assert tried["packed"][1] < library()["packed"][1]
    assert list(refused) == ["plain"]


def test_in_large_blocks_a_shared_object_is_smaller_still_and_slower_still() -> None:
    forms = library(touched=((0, 1), (2**24, 2**24 + 1)))

    assert forms["dense"][0] < forms["packed"][0]
    assert forms["dense"][1] > forms["packed"][1]
    facts = PackedFile(size_before=100_000_000, stored=1, loaded=1)
    assert library(results={"packed": (20_000_000, facts)})["dense"][0] == 18_000_000

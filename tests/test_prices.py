"""Prices: which forms there are, and that they compare with each other as measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slimpack import prices
from slimpack.model import PackedFile
from slimpack.modules.archive import Module
from slimpack.prices import Touched
from slimpack.warm import degrees

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
    assert max(cost for _, cost in module(share=0.001).values()) < 0.01
    plain, cold = (module(share=0.0)[name][1] for name in ("plain", "cold"))
    assert plain < cold  # so that nothing is packed for nothing


def test_a_tie_is_settled_for_what_changes_less_and_a_difference_that_counts_is_not() -> None:
    # given a module that starts almost never need, and what may be said of 10,000 modules
    forms = module(share=0.005)
    hair = forms["raw"][1] - forms["compiled"][1]

    assert 0 < hair < 0.05 / 10_000
    assert forms["raw"][0] < forms["compiled"][0]
    differences = [abs(forms[one][1] - forms[other][1]) for one, other in (("raw", "hot"), ("cold", "plain"))]
    assert min(differences) > 100 * hair
    assert 0 < library(share=0.0)["packed"][1] < 2 * hair


def test_nothing_is_quicker_for_being_packed() -> None:
    packable = Module(path="a.py", source=b"x" * 300, code=b"y" * 100)

    for forms in (module(), module(source=300, code=116, packable=packable)):
        assert min(forms, key=lambda name: forms[name][1]) == "compiled"
    assert library(results={("packed", 0): tried(30_000_000, symbols=10**6)})["packed"][1] > 0.0


def test_what_cannot_be_compiled_stays_as_it_is() -> None:
    assert list(module(code=None)) == ["plain"]
    assert list(module(code=None, allowed=("hot",))) == ["plain"]


def test_what_cannot_be_packed_has_its_bytecode_beside_it_where_plain_is_not_wanted() -> None:
    assert list(module(packable=None, ratios=None)) == ["plain", "compiled"]
    assert list(module(packable=None, ratios=None, allowed=("compiled", "hot"))) == ["compiled"]


def library(share: float = 1.0, **changed: object) -> dict[str, tuple[int, float]]:
    """Returns the forms by name; those of several degrees by that as well."""
    asked: dict[str, object] = {
        "size": 100_000_000,
        "estimate": 30_000_000,
        "results": {},
        "share": share,
        "touched": Touched(),
        "allowed": ALL,
    }
    forms = prices.library(**(asked | changed))  # type: ignore[arg-type]
    return {f"{one.name}{one.degree or ''}": (one.size, one.cost) for one in forms}


def seen(*pages: int) -> Touched:
    return Touched(pages=pages, seen=True, degrees=degrees(pages, block=2**17, page=4096))


def tried(size: int, symbols: int = 0) -> tuple[int, PackedFile]:
    return size, PackedFile(size_before=100_000_000, stored=1, loaded=1, symbols=symbols)


def test_a_shared_object_that_is_packed_is_smaller_and_slower() -> None:
    forms = library()

    assert forms["plain"] == (100_000_000, 0.0)
    assert forms["packed"][0] == 30_000_000
    assert forms["packed"][1] > 50
    assert library(share=0.0)["packed"][1] > 0  # so that nothing is packed for nothing


def test_a_small_shared_object_costs_something_to_pack_however_little_it_has() -> None:
    assert library(size=1, estimate=1)["packed"][1] > library(size=1, estimate=1, share=0.0)["packed"][1]


def test_with_what_starts_touch_there_are_forms_between() -> None:
    forms = library(touched=seen(*range(0, 2**20, 4096), 2**24))
    between = [forms[name] for name in forms if name.startswith("warm")]

    assert len(between) > 1
    assert between == sorted(between, key=lambda one: (one[0], -one[1]))
    assert all(forms["packed"][0] < size < forms["plain"][0] for size, _ in between)
    assert all(0 < cost < forms["packed"][1] < library()["packed"][1] for _, cost in between)


def test_what_a_file_tells_is_less_than_what_starts_show() -> None:
    pages = tuple(range(0, 2**24, 2**17))
    told = Touched(pages=pages, degrees=degrees(pages, block=2**17, page=4096))

    assert library(touched=told)["warm"][1] > library(touched=seen(*pages))["warm"][1]
    assert library(touched=told)["packed"][1] == library()["packed"][1]


def test_no_more_is_put_in_place_than_there_is() -> None:
    whole, longer = (library(touched=seen(*range(0, end, 2**17))) for end in (100_000_000, 400_000_000))

    assert longer["packed"] == whole["packed"]
    assert longer["dense"][1] == whole["dense"][1]
    assert library(size=70_000, estimate=30_000, touched=seen(0))["dense"][1] < 1


def test_once_a_form_was_tried_its_real_size_and_its_pruning_count() -> None:
    packed = library(results={("packed", 0): tried(20_000_000, symbols=100_000)})
    refused = library(results={("packed", 0): (100_000_000, None)})

    assert packed["packed"][0] == 20_000_000
    assert packed["packed"][1] < library()["packed"][1]
    assert list(refused) == ["plain"]


def test_what_one_form_has_shown_holds_for_those_that_were_not_tried() -> None:
    touched = seen(*range(0, 2**20, 4096), 2**24)
    packed = library(touched=touched, results={("packed", 0): tried(20_000_000, symbols=100_000)})
    warm = library(touched=touched, results={("warm", 0): tried(packed["warm"][0], symbols=100_000)})

    assert packed["warm"][0] == library(touched=touched)["warm"][0] - 10_000_000
    assert packed["warm"][1] < library(touched=touched)["warm"][1]
    assert warm["packed"] == packed["packed"]


def test_in_large_blocks_a_shared_object_is_smaller_still_and_slower_still() -> None:
    forms = library(touched=seen(0, 2**24))

    assert forms["dense"][0] < forms["packed"][0]
    assert forms["dense"][1] > forms["packed"][1]
    assert library(results={("packed", 0): tried(20_000_000)})["dense"][0] == 18_000_000


def test_where_a_degree_turns_out_too_large_smaller_ones_are_left_to_try() -> None:
    touched = seen(*range(0, 2**20, 4096), 2**22, 2**23, 2**24)
    number = len(touched.degrees) - 1
    forms = library(touched=touched)

    larger = library(
        touched=touched, results={("warm", number): tried(forms[f"warm{number}"][0] + 5_000_000)}
    )
    smallest = library(touched=touched, results={("warm", 0): tried(forms["warm"][0])})
    refused = library(touched=touched, results={("warm", number): (100_000_000, None)})

    assert number > 0
    assert larger["warm"][0] == forms["warm"][0] + 5_000_000
    assert {"warm", f"warm{number}"} <= set(larger)
    assert [name for name in smallest if name.startswith("warm")] == ["warm"]
    assert [name for name in refused if name.startswith("warm")] == []

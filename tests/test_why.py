from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from accounts import account, accounts, package, record
from hypothesis import given

from slimpack.errors import UsageError
from slimpack.graph import way
from slimpack.why import leads, lines, retained, why

if TYPE_CHECKING:
    from slimpack.account import Account


def shop() -> Account:
    """Returns a bundle of two requirements that share numpy, one with a ring of its own."""
    return account(
        [
            package("pandas", "numpy", "tzdata", at=("requirements.txt:10",)),
            package("scikit-learn", "scipy", "numpy", at=("requirements.txt:9",)),
            package("scipy", "numpy", "ring-a"),
            package("ring-a", "ring-b"),
            package("ring-b", "ring-a"),
            package("numpy"),
            package("tzdata"),
        ],
        {
            "pandas": 100,
            "scikit-learn": 50,
            "scipy": 200,
            "ring-a": 3,
            "ring-b": 4,
            "numpy": 1000,
            "tzdata": 1,
            "(app)": 7,
        },
    )


def test_what_a_requirement_brings_is_told() -> None:
    found = why(shop(), "scikit-learn")

    assert (found.requested, found.required_at) == (True, ("requirements.txt:9",))
    assert found.paths == (("scikit-learn",),)
    assert found.needed_by == ()
    assert (found.own, found.retained) == (50, 50 + 200 + 3 + 4)
    assert found.retains == ("scipy", "ring-b", "ring-a")


def test_what_several_need_stays_when_one_goes() -> None:
    found = why(shop(), "numpy")

    assert (found.requested, found.version) == (False, "1.0")
    assert found.paths == (("pandas", "numpy"), ("scikit-learn", "numpy"))
    assert found.needed_by == ("pandas", "scikit-learn", "scipy")
    assert found.required_at == ("requirements.txt:9", "requirements.txt:10")
    assert (found.own, found.retained, found.retains) == (1000, 1000, ())


def test_a_ring_goes_with_the_one_that_leads_into_it() -> None:
    assert why(shop(), "ring-a").retains == ("ring-b",)
    assert why(shop(), "ring-b").retains == ()
    assert why(shop(), "ring-b").paths == (("scikit-learn", "scipy", "ring-a", "ring-b"),)


def test_what_is_required_itself_does_not_go_with_what_needs_it() -> None:
    base = [package("a", "b", at=("r:1",)), package("b")]
    both = [package("a", "b", at=("r:1",)), package("b", at=("r:2",))]
    sizes = {"a": 1, "b": 2}

    assert why(account(base, sizes), "a").retained == 3
    assert why(account(both, sizes), "a").retained == 1
    assert why(account(both, sizes), "b").paths == (("b",), ("a", "b"))
    assert why(account(both, sizes), "b").required_at == ("r:2",)


def test_a_name_is_found_in_any_spelling() -> None:
    assert why(shop(), "Scikit_Learn").name == "scikit-learn"


def test_what_was_removed_whole_is_still_in_the_way() -> None:
    found = why(
        account([package("a", "gone", at=("r:1",)), package("gone", "c"), package("c")], {"c": 5}), "c"
    )

    assert found.paths == (("a", "gone", "c"),)
    assert why(account([package("gone")], {}), "gone").own == 0


@pytest.mark.parametrize(
    ("name", "message", "fix"),
    [
        ("numpi", "did you mean 'numpy'", "Packages of the bundle"),
        ("sklearn", "scikit-learn brings a module of that name", "slimpack why scikit-learn"),
        ("zzz", "no package is called 'zzz'$", "ring-a"),
        ("(app)", "no package is called", "Packages"),
        ("", "no package is called ''", "Packages"),
    ],
)
def test_an_unknown_name_is_refused_with_what_may_be_meant(name: str, message: str, fix: str) -> None:
    bundle = account(shop().distributions, [record("python/sklearn/base.py", "scikit-learn", 1)])

    with pytest.raises(UsageError, match=message) as caught:
        why(bundle, name)

    assert caught.value.where == "app.zip"
    assert fix in str(caught.value.fix)


def test_a_bundle_that_tells_nothing_says_so() -> None:
    with pytest.raises(UsageError) as caught:
        why(account([], {"(other)": 5}), "numpy")

    assert "tells what package" in str(caught.value.fix)


def test_what_others_need_has_the_place_of_those_that_need_it() -> None:
    assert why(shop(), "tzdata").required_at == ("requirements.txt:10",)


@given(accounts())
def test_what_is_retained_is_what_removal_frees(bundle: Account) -> None:
    sizes = bundle.sizes()
    needs = {one.name: one.requires for one in bundle.distributions}
    roots = {name for name, before in leads(bundle).items() if before is None}

    freed = retained(bundle)

    assert roots >= {one.name for one in bundle.distributions if one.requested}
    assert freed.keys() == needs.keys()
    for name, size in freed.items():
        stays = left(needs, roots - {name}, without=name)
        gone = needs.keys() - stays
        assert size == sum(sizes.get(one, 0) for one in gone)
        found = why(bundle, name)
        assert (found.retained, {name, *found.retains}) == (size, gone)


def test_lines_of_all_packages_are_told_at_once() -> None:
    asked = {name: why(shop(), name).required_at for name in shop().versions()}

    assert lines(shop()) == {name: places[0] for name, places in asked.items()}
    assert lines(shop())["numpy"] == "requirements.txt:9"  # before line 10
    assert lines(account([package("a", "b"), package("b")], {"a": 1})) == {}


@given(accounts())
def test_the_line_of_a_package_is_the_first_of_its_places(bundle: Account) -> None:
    asked = {name: why(bundle, name).required_at for name in bundle.versions()}

    assert lines(bundle) == {name: places[0] for name, places in asked.items() if places}


@given(accounts())
def test_ways_lead_from_roots_along_needs(bundle: Account) -> None:
    needs = {one.name: one.requires for one in bundle.distributions}
    before = leads(bundle)

    for name in needs:
        ways = why(bundle, name).paths
        assert ways
        assert len(way(before, name)) == len(ways[0])
        for one in ways:
            assert one[-1] == name
            assert before[one[0]] is None
            assert all(second in needs[first] for first, second in pairwise(one))


def left(needs: dict[str, tuple[str, ...]], roots: set[str], *, without: str) -> set[str]:
    """Returns what is still asked for after one is gone, found by asking again and again."""
    stays = set(roots)
    while True:
        more = {other for name in stays for other in needs[name] if other != without} - stays
        if not more:
            return stays
        stays |= more

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
from samples import LAMBDA, book, distribution, file, inventory, reference, rules

from slimpack.guard import fallen, needles, overrule, standing
from slimpack.model import APP, Inventory, Need, Plan, Reference
from slimpack.plan import Wishes, propose

if TYPE_CHECKING:
    from slimpack.rules import RuleBook

TESTS = rules(
    'distributions = ["pkg", "other"]\n'
    '[[rule]]\nname = "tests"\npaths = ["tests/", "*.h", "*.pyi", "gone.py", "libx.so.1", "RECORD"]\n'
    'examples = { match = ["a/tests/b.py"] }'
)


def guarded(
    stock: Inventory,
    *references: Reference,
    rule_book: RuleBook | None = None,
    wishes: Wishes = Wishes(),  # noqa: B008 -- frozen
) -> Plan:
    rule_book = rule_book or book(TESTS)
    return overrule(propose(stock, rule_book, LAMBDA, wishes), references, rule_book)


def kept(plan: Plan) -> set[str]:
    return {one.file.path for one in plan.decisions if one.keep}


STOCK = inventory(
    file("pkg/a.py"),
    file("pkg/core/tests/__init__.py"),
    file("pkg/core/tests/used.py"),
    file("pkg/core/tests/unused.py"),
)


def test_without_references_the_plan_stays_as_it_was() -> None:
    plan = propose(STOCK, book(TESTS), LAMBDA, Wishes())

    assert overrule(plan, [], book(TESTS)) == plan


@pytest.mark.parametrize("need", [Need.IMPORT, Need.LAZY_IMPORT])
def test_an_imported_module_comes_back_with_its_packages_and_nothing_else(need: Need) -> None:
    plan = guarded(STOCK, reference("pkg.core.tests.used", need))

    assert kept(plan) == {"pkg/a.py", "pkg/core/tests/__init__.py", "pkg/core/tests/used.py"}
    back = next(one for one in plan.decisions if one.file.path == "pkg/core/tests/used.py")
    assert back.overruled is not None
    assert back.overruled.rule == "pkg/tests"
    assert str(back.overruled.by) == f"pkg/a.py:3 ({need.value} of pkg.core.tests.used)"


def test_what_is_no_module_of_the_bundle_changes_nothing() -> None:
    assert kept(guarded(STOCK, reference("elsewhere.tests"), reference("pkg.core.function"))) == {"pkg/a.py"}


def test_a_package_without_init_comes_back_as_its_modules() -> None:
    stock = inventory(file("pkg/a.py"), file("pkg/tests/x.py"), file("pkg/tests/y.py"))

    assert kept(guarded(stock, reference("pkg.tests"))) == {"pkg/a.py", "pkg/tests/x.py", "pkg/tests/y.py"}


def test_a_removed_extension_module_comes_back_when_it_is_imported() -> None:
    stock = inventory(file("pkg/a.py"), file("pkg/tests/_x.cpython-312-x86_64-linux-gnu.so"))

    assert len(kept(guarded(stock, reference("pkg.tests._x")))) == 2


def test_a_needed_library_comes_back_unless_another_file_has_its_name() -> None:
    stock = inventory(file("pkg/a.so"), file("pkg/tests/libx.so.1"))
    twice = inventory(file("pkg/a.so"), file("pkg/tests/libx.so.1"), file("third/libx.so.1", owner="third"))
    needed = reference("libx.so.1", Need.LIBRARY, "pkg/a.so")

    assert "pkg/tests/libx.so.1" in kept(guarded(stock, needed))
    assert "pkg/tests/libx.so.1" not in kept(guarded(twice, needed))


def test_a_stub_that_is_read_comes_back_alone() -> None:
    stock = inventory(file("pkg/__init__.py"), file("pkg/__init__.pyi"), file("pkg/b/__init__.pyi"))

    assert "pkg/__init__.pyi" in kept(guarded(stock, reference("pkg/__init__.pyi", Need.STUB)))
    assert "pkg/b/__init__.pyi" not in kept(guarded(stock, reference("pkg/__init__.pyi", Need.STUB)))


def test_a_record_that_is_read_comes_back() -> None:
    stock = inventory(
        file("pkg/a.py"),
        file("a_b-1.0.dist-info/RECORD"),
        file("c/a.py", owner="other"),
        file("c-1.0.dist-info/RECORD", owner="other"),
    )

    assert "a_b-1.0.dist-info/RECORD" in kept(guarded(stock, reference("A.B:RECORD", Need.METADATA)))
    assert "c-1.0.dist-info/RECORD" not in kept(guarded(stock, reference("A.B:RECORD", Need.METADATA)))
    assert len(kept(guarded(stock, reference("*:RECORD", Need.METADATA)))) == 4


def test_who_asks_about_all_distributions_is_not_told_of_half_a_dropped_one() -> None:
    stock = inventory(
        file("lib/a.py", owner="lib"),
        file("lib-1.dist-info/RECORD", owner="lib"),
        file("pkg/a.py"),
        file("pkg-1.dist-info/RECORD"),
        distributions=(distribution("lib", requested=False),),
    )
    whole = rules('[[rule]]\nname = "all"\nwhole = true', stem="lib")
    plan = guarded(stock, reference("*:RECORD", Need.METADATA), rule_book=book(TESTS, whole))

    assert kept(plan) == {"pkg/a.py", "pkg-1.dist-info/RECORD"}


def test_a_mentioned_file_comes_back_when_it_can_be_no_other() -> None:
    stock = inventory(file("pkg/a.py"), file("pkg/x/data.h"))
    ambiguous = inventory(file("pkg/a.py"), file("pkg/tests/d.csv"), file("pkg/d.csv"))
    foreign = inventory(file("pkg/a.py"), file("other/tests/d.csv", owner="other"))

    assert "pkg/x/data.h" in kept(guarded(stock, reference("data.h", Need.MENTION)))
    assert "pkg/x/data.h" in kept(guarded(stock, reference("x/data.h", Need.MENTION)))
    assert "pkg/x/data.h" not in kept(guarded(stock, reference("y/data.h", Need.MENTION)))
    assert "pkg/tests/d.csv" not in kept(guarded(ambiguous, reference("d.csv", Need.MENTION)))
    assert "other/tests/d.csv" not in kept(guarded(foreign, reference("d.csv", Need.MENTION)))


TOLERANT = rules(
    '[[rule]]\nname = "all"\nwhole = true\nrequired_by = ["user"]\ntolerates = ["lazy-import"]', stem="lib"
)
LIB = inventory(
    file("lib/__init__.py", owner="lib"),
    file("lib/data.txt", owner="lib"),
    file("lib-1.dist-info/METADATA", owner="lib"),
    file("user/a.py", owner="user"),
    file("app.py", owner=APP),
    file("other/a.py", owner="other"),
    distributions=(distribution("lib", requested=False), distribution("user", requires=("lib",))),
)
REST = {"user/a.py", "app.py", "other/a.py"}


@pytest.mark.parametrize(
    ("path", "need", "comes_back"),
    [
        ("user/a.py", Need.LAZY_IMPORT, False),
        ("user/a.py", Need.IMPORT, True),
        ("app.py", Need.LAZY_IMPORT, True),
        ("other/a.py", Need.LAZY_IMPORT, True),
    ],
    ids=["known user, lazily", "known user, at import", "the app, lazily", "a stranger, lazily"],
)
def test_weak_needs_are_tolerated_only_from_packages_that_the_rule_knows(
    path: str, need: Need, comes_back: bool
) -> None:
    plan = guarded(LIB, reference("lib", need, path), rule_book=book(TOLERANT))

    whole = {"lib/__init__.py", "lib/data.txt", "lib-1.dist-info/METADATA"}
    assert kept(plan) - REST == (whole if comes_back else set())


def test_metadata_of_a_dropped_distribution_comes_back_alone() -> None:
    plan = guarded(LIB, reference("lib:METADATA", Need.METADATA, "user/a.py"), rule_book=book(TOLERANT))

    assert kept(plan) - REST == {"lib-1.dist-info/METADATA"}


def test_what_the_runtime_provides_stays_away_even_when_it_is_imported() -> None:
    provided = rules(
        '[[rule]]\nname = "provided"\nwhole = true\nprovided = true\nrisk = "opt-in"\nbreaks = "the version"',
        stem="lib",
    )
    plan = guarded(
        LIB,
        reference("lib", Need.IMPORT, "app.py"),
        rule_book=book(provided),
        wishes=Wishes(enable=("lib/provided",)),
    )

    assert kept(plan) == REST


def test_the_users_removal_stands_and_is_a_finding_once() -> None:
    wishes = Wishes(remove=("pkg/core/tests/",))
    first = guarded(STOCK, reference("pkg.core.tests.used"), wishes=wishes)
    second = overrule(first, [reference("pkg.core.tests.used")], book(TESTS))

    assert kept(first) == {"pkg/a.py"}
    assert [(one.code, one.place) for one in first.findings] == [
        ("SLP202", "pkg/core/tests/__init__.py"),
        ("SLP202", "pkg/core/tests/used.py"),
    ]
    assert second.findings == first.findings


def test_needles_are_the_topmost_names_that_go() -> None:
    stock = inventory(
        file("pkg/a.py"),
        file("pkg/tests/deep/x.py"),
        file("pkg/gone.py"),
        file("pkg/x.h"),
        file("pkg/libx.so.1"),
    )
    wanted = needles(propose(stock, book(TESTS), LAMBDA, Wishes()))

    assert wanted.words == {b"tests", b"gone"}
    assert wanted.names == {b"x.h", b"libx.so.1"}


def test_a_package_comes_back_although_the_submodule_that_is_imported_was_kept() -> None:
    wishes = Wishes(keep=("pkg/core/tests/used.py",))

    assert "pkg/core/tests/__init__.py" in kept(
        guarded(STOCK, reference("pkg.core.tests.used"), wishes=wishes)
    )


def test_a_distribution_that_is_needed_stays_under_the_other_rules_and_so_does_what_only_it_needs() -> None:
    stock = inventory(
        file("server/a.py", owner="server"),
        file("server/a.h", owner="server"),
        file("lib/a.py", owner="lib"),
        file("user/a.py", owner="user"),
        distributions=(
            distribution("server", requires=("lib",), requested=False),
            distribution("lib", requested=False),
            distribution("user", requires=("server",)),
        ),
    )
    rule_book = book(
        rules('[[rule]]\nname = "all"\nwhole = true\nrequired_by = ["user"]', stem="server"),
        rules('[[rule]]\nname = "all"\nwhole = true\nrequired_by = ["nobody"]', stem="lib"),
        rules('[[rule]]\nname = "headers"\npaths = ["*.h"]\nexamples = { match = ["a.h"] }', stem="common"),
    )
    first = guarded(stock, reference("server.a", path="user/a.py"), rule_book=rule_book)
    needed = fallen(first, rule_book)
    again = standing(propose(stock, rule_book, LAMBDA, Wishes(), standing=needed), needed)

    assert kept(guarded(stock, rule_book=rule_book)) == {"user/a.py"}
    assert set(needed) == {"server"}
    assert kept(again) == {"server/a.py", "lib/a.py", "user/a.py"}
    back = next(one for one in again.decisions if one.file.path == "server/a.py")
    assert back.overruled is not None
    assert back.overruled.rule == "server/all"


def test_what_two_wheels_bring_stays_while_one_of_them_does() -> None:
    shared = dataclasses.replace(file("nvidia/__init__.py", owner="lib"), also=("user",))
    stock = inventory(shared, file("nvidia/lib.so", owner="lib"), distributions=LIB.distributions)

    assert kept(guarded(stock, rule_book=book(TOLERANT))) == {"nvidia/__init__.py"}

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
from samples import LAMBDA, book, distribution, file, inventory, reference, rules

from slimpack.guard import fallen, needles, overrule, standing
from slimpack.model import APP, EntryPoint, Inventory, Need, Plan, Reference
from slimpack.plan import Wishes, propose
from slimpack.untouched import RULE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
    folders: Mapping[str, Sequence[str]] | None = None,
) -> Plan:
    rule_book = rule_book or book(TESTS)
    return overrule(propose(stock, rule_book, LAMBDA, wishes), references, rule_book, folders=folders)


def kept(plan: Plan) -> set[str]:
    return {one.file.path for one in plan.decisions if one.keep}


STOCK = inventory(
    file("pkg/a.py"),
    file("pkg/core/tests/__init__.py"),
    file("pkg/core/tests/used.py"),
    file("pkg/core/tests/unused.py"),
)


COLD_STOCK = inventory(
    file("app.py", owner=APP),
    file("pkg/a.py"),
    file("pkg/cold.py"),
    file("third/__init__.py", owner="third"),
    file("third/deep.py", owner="third"),
    file("third/table.txt", owner="third"),
)
COLD_PATHS = {one.path for one in COLD_STOCK.files} - {"app.py", "pkg/a.py"}


def without_cold(*references: Reference) -> set[str]:
    """Returns what is left of the files that no run has used."""
    rule_book = book(TESTS, (RULE,))
    proposed = propose(COLD_STOCK, rule_book, LAMBDA, Wishes(), cold=COLD_PATHS)
    return kept(overrule(proposed, references, rule_book)) & COLD_PATHS


@pytest.mark.parametrize("needer", ["app.py", "pkg/a.py"])
@pytest.mark.parametrize("need", [Need.LAZY_IMPORT, Need.EXPORT, Need.ENTRY_POINT])
def test_what_no_run_has_used_goes_whoever_names_it_in_a_function(need: Need, needer: str) -> None:
    assert without_cold(reference("third", need, needer), reference("pkg.cold", need, needer)) == set()
    assert without_cold(reference("third/table.txt", Need.MENTION, needer)) == set()


def test_what_kept_code_imports_at_once_stays_with_all_that_it_names_in_turn() -> None:
    at_once = reference("third", path="app.py")
    lazily = reference("third.deep", Need.LAZY_IMPORT, "third/__init__.py")

    assert without_cold(at_once) == {"third/__init__.py"}
    assert without_cold(at_once, lazily) == {"third/__init__.py", "third/deep.py"}


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
    again = standing(propose(stock, rule_book, LAMBDA, Wishes(), standing=needed), needed, first)

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


def test_what_came_back_stays_when_a_distribution_is_proposed_anew() -> None:
    stock = inventory(
        *(one for one in LIB.files),
        file("other/tests/x.py", owner="other"),
        file("lib/a.h", owner="lib"),
        distributions=LIB.distributions,
    )
    rule_book = book(TESTS, TOLERANT)
    first = guarded(stock, reference("other.tests.x"), reference("lib", path="app.py"), rule_book=rule_book)
    needed = fallen(first, rule_book)
    again = standing(propose(stock, rule_book, LAMBDA, Wishes(), standing=needed), needed, first)

    assert set(needed) == {"lib"}
    assert kept(again) == kept(first)


def test_code_that_came_back_needs_what_its_rule_tolerated_in_other_code() -> None:
    rule_book = book(
        rules(
            '[[rule]]\nname = "extra"\npaths = ["extra/"]\ntolerates = ["lazy-import"]\n'
            'examples = { match = ["extra/a.py"] }'
        )
    )
    stock = inventory(
        file("pkg/a.py"), file("pkg/extra/b.py"), file("pkg/extra/c.py"), file("pkg/extra/d.py")
    )
    lazily = [
        reference("pkg.extra.b", Need.LAZY_IMPORT),
        reference("pkg.extra.d", Need.LAZY_IMPORT, "pkg/extra/c.py"),
        reference("pkg.extra.c", Need.LAZY_IMPORT, "pkg/extra/b.py"),
    ]

    assert kept(guarded(stock, lazily[0], rule_book=rule_book)) == {"pkg/a.py"}
    asked = guarded(stock, *lazily, reference("pkg.extra.b", path="app.py"), rule_book=rule_book)
    assert kept(asked) == {one.path for one in stock.files}


def test_what_all_names_comes_back_whatever_a_rule_tolerates() -> None:
    rule_book = book(
        rules(
            '[[rule]]\nname = "extra"\npaths = ["extra/"]\ntolerates = ["lazy-import", "mention"]\n'
            'examples = { match = ["extra/a.py"] }'
        )
    )
    stock = inventory(file("pkg/__init__.py"), file("pkg/extra/__init__.py"), file("pkg/extra/c.py"))
    exported = reference("pkg.extra", Need.EXPORT, "pkg/__init__.py")

    assert kept(guarded(stock, exported, rule_book=rule_book)) == {"pkg/__init__.py", "pkg/extra/__init__.py"}


def test_a_stub_needs_something_only_if_it_is_read_at_run_time() -> None:
    stock = inventory(file("pkg/__init__.py"), file("pkg/__init__.pyi"), file("pkg/gone.py"))
    wishes = Wishes(keep=("*.pyi",))
    imports = reference("pkg.gone", Need.LAZY_IMPORT, "pkg/__init__.pyi")
    read = reference("pkg/__init__.pyi", Need.STUB, "pkg/__init__.py")

    assert "pkg/gone.py" not in kept(guarded(stock, imports, wishes=wishes))
    assert "pkg/gone.py" in kept(guarded(stock, imports, read, wishes=wishes))


def point(module: str, group: str = "host.plugins", owner: str = "pkg") -> EntryPoint:
    return EntryPoint(path=f"{owner}-1.dist-info/entry_points.txt", line=2, group=group, module=module)


def test_what_a_kept_entry_point_names_comes_back() -> None:
    stock = inventory(
        file("pkg/a.py"),
        file("pkg/tests/__init__.py"),
        file("pkg/tests/used.py"),
        file("pkg/tests/unused.py"),
        file("pkg-1.dist-info/entry_points.txt"),
        distributions=(
            dataclasses.replace(distribution(), entry_points=(point("pkg.tests.used"), point("pkg.a"))),
        ),
    )
    plan = guarded(stock)

    assert {one.file.path for one in plan.decisions if not one.keep} == {"pkg/tests/unused.py"}
    back = next(one for one in plan.decisions if one.file.path == "pkg/tests/used.py")
    assert back.overruled is not None
    assert str(back.overruled.by) == "pkg-1.dist-info/entry_points.txt:2 (entry-point of pkg.tests.used)"


def test_a_rule_may_tolerate_entry_points_whoever_registers_them() -> None:
    tolerant = rules(
        '[[rule]]\nname = "web"\npaths = ["web/"]\ntolerates = ["entry-point"]\n'
        'examples = { match = ["web/a.py"] }'
    )
    stock = inventory(
        file("pkg/web/a.py"),
        file("user-1.dist-info/entry_points.txt", owner="user"),
        distributions=(
            dataclasses.replace(distribution("user"), entry_points=(point("pkg.web.a", owner="user"),)),
        ),
    )

    assert kept(guarded(stock, rule_book=book(tolerant))) == {"user-1.dist-info/entry_points.txt"}
    assert "pkg/web/a.py" in kept(guarded(stock, reference("pkg.web.a"), rule_book=book(tolerant)))


def plugin(group: str) -> Inventory:
    return inventory(
        file("host.py", owner="host"),
        file("plug/__init__.py", owner="plug"),
        file("plug-1.dist-info/METADATA", owner="plug"),
        file("plug-1.dist-info/entry_points.txt", owner="plug"),
        distributions=(
            dataclasses.replace(
                distribution("plug", requested=False), entry_points=(point("plug", group, owner="plug"),)
            ),
        ),
    )


PLUG = book(rules('[[rule]]\nname = "all"\nwhole = true', stem="plug"))


def test_a_dropped_distribution_comes_back_when_kept_code_names_a_group_that_it_registers_for() -> None:
    stock = plugin("host.plugins")
    proposed = propose(stock, PLUG, LAMBDA, Wishes())
    asked = guarded(stock, reference("[host.plugins]", Need.ENTRY_POINT, "host.py"), rule_book=PLUG)

    assert needles(proposed).groups == {b"host.plugins"}
    assert kept(guarded(stock, rule_book=PLUG)) == {"host.py"}
    assert kept(asked) == {one.path for one in stock.files}
    assert set(fallen(asked, PLUG)) == {"plug"}


def test_commands_of_a_dropped_distribution_go_with_it() -> None:
    assert needles(propose(plugin("console_scripts"), PLUG, LAMBDA, Wishes())).groups == set()


def test_who_asks_for_a_version_makes_no_plugin_visible_and_who_asks_for_plugins_gets_them_whole() -> None:
    stock = plugin("host.plugins")
    version = reference("plug:METADATA", Need.METADATA, "host.py")
    plugins = reference("plug:entry_points.txt", Need.METADATA, "host.py")

    assert kept(guarded(stock, version, rule_book=PLUG)) == {"host.py", "plug-1.dist-info/METADATA"}
    assert kept(guarded(stock, plugins, rule_book=PLUG)) == {one.path for one in stock.files}


def test_a_needed_library_is_the_one_that_the_loader_finds_first() -> None:
    stock = inventory(
        file("pkg/a.so"),
        file("pkg/first/libx.so.1"),
        file("pkg/second/libx.so.1"),
        file("third/libx.so.1", owner="third"),
    )
    needed = reference("libx.so.1", Need.LIBRARY, "pkg/a.so")
    wishes = Wishes(keep=("pkg/second/",))

    def back(*folders: str, wishes: Wishes = Wishes(remove=("third/",))) -> set[str]:  # noqa: B008 -- frozen
        plan = guarded(stock, needed, folders={"pkg/a.so": folders}, wishes=wishes)
        return kept(plan) - {"pkg/a.so"}

    assert back("pkg/none", "pkg/first", "pkg/second") == {"pkg/first/libx.so.1"}
    assert back() == {"pkg/first/libx.so.1", "pkg/second/libx.so.1"}
    assert back("pkg/second", "pkg/first", wishes=wishes) == {"pkg/second/libx.so.1", "third/libx.so.1"}
    assert "pkg/first/libx.so.1" in back("pkg/first", wishes=wishes)


FAR = rules(
    '[[rule]]\nname = "data"\npaths = ["*.json", "LICENSE"]\nexamples = { match = ["a.json"] }', stem="far"
)


@pytest.mark.parametrize(
    ("text", "comes_back"),
    [
        ("far/data/x.json", True),
        ("../far/data/x.json", True),
        ("far/**/x.json", True),
        ("far/**/data/x.json", True),
        ("x.json", False),
        ("data/x.json", False),
        ("other/**/x.json", False),
        ("far/**/LICENSE", False),
        ("far/**/own.json", False),
    ],
)
def test_a_file_of_another_distribution_comes_back_when_its_package_is_named(
    text: str, comes_back: bool
) -> None:
    stock = inventory(
        file("pkg/a.py"),
        file("pkg/own.json"),
        *(
            file(f"far/{name}", owner="far")
            for name in ("data/x.json", "own.json", "data/LICENSE", "more/LICENSE")
        ),
    )
    plan = guarded(stock, reference(text, Need.MENTION), rule_book=book(FAR))

    assert kept(plan) - {"pkg/a.py", "pkg/own.json"} == ({"far/data/x.json"} if comes_back else set())

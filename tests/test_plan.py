from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from samples import LAMBDA, book, distribution, file, inventory, rules, target

from slimpack.errors import ConfigError, RuleError
from slimpack.model import APP, Decision, Inventory
from slimpack.plan import KEEP, REMOVE, Wishes, offers, optional_libraries, propose, with_additions

if TYPE_CHECKING:
    from slimpack.rules import RuleBook

TESTS = rules('[[rule]]\nname = "tests"\npaths = ["pkg/tests/"]\nexamples = { match = ["pkg/tests/a.py"] }')
COMMON = rules('[[rule]]\nname = "headers"\npaths = ["*.h"]\nexamples = { match = ["a/b.h"] }', stem="common")


def decide(
    stock: Inventory,
    rule_book: RuleBook,
    wishes: Wishes = Wishes(),  # noqa: B008 -- frozen
) -> dict[str, Decision]:
    return {one.file.path: one for one in propose(stock, rule_book, LAMBDA, wishes).decisions}


def test_a_rule_removes_what_its_patterns_match_and_nothing_else() -> None:
    decisions = decide(inventory(file("pkg/a.py"), file("pkg/tests/a.py")), book(TESTS))

    assert decisions["pkg/tests/a.py"].keep is False
    assert decisions["pkg/tests/a.py"].rule == "pkg/tests"
    assert decisions["pkg/a.py"].keep is True
    assert decisions["pkg/a.py"].rule is None


def test_a_rule_speaks_only_of_files_of_its_own_distribution() -> None:
    decisions = decide(inventory(file("pkg/tests/a.py", owner="other")), book(TESTS))

    assert decisions["pkg/tests/a.py"].keep is True


@pytest.mark.parametrize(
    ("condition", "applies"),
    [
        ('versions = ">=2"', False),
        ('versions = "<2"', True),
        ('targets = ["arm64"]', False),
        ('targets = ["x86_64"]', True),
        ('targets = ["python3.12", "python3.13"]', True),
        ('targets = ["custom"]', False),
    ],
)
def test_a_rule_holds_only_for_its_releases_and_targets(condition: str, applies: bool) -> None:
    parsed = rules(f'[[rule]]\nname = "tests"\npaths = ["t/"]\nexamples = {{ match = ["t/a"] }}\n{condition}')

    assert decide(inventory(file("t/a")), book(parsed))["t/a"].keep is not applies


def test_a_distributions_own_keep_rule_wins_over_a_common_one() -> None:
    keeping = rules(
        '[[rule]]\nname = "jit-headers"\naction = "keep"\npaths = ["pkg/jit/"]\n'
        'examples = { match = ["pkg/jit/a.h"] }'
    )
    decisions = decide(inventory(file("pkg/jit/a.h"), file("pkg/b.h")), book(keeping, COMMON))

    assert decisions["pkg/jit/a.h"].keep is True
    assert decisions["pkg/jit/a.h"].rule == "pkg/jit-headers"
    assert decisions["pkg/b.h"].rule == "common/headers"


def test_two_rules_of_one_level_may_not_contradict_each_other() -> None:
    both = rules(
        '[[rule]]\nname = "a"\npaths = ["x"]\nexamples = { match = ["x"] }\n'
        '[[rule]]\nname = "b"\naction = "keep"\npaths = ["x"]\nexamples = { match = ["x"] }'
    )

    with pytest.raises(RuleError, match=r"'pkg/a' and 'pkg/b' claim x"):
        decide(inventory(file("x")), book(both))


def test_the_apps_own_files_are_no_rules_business() -> None:
    assert decide(inventory(file("my.h", owner=APP)), book(COMMON))["my.h"].keep is True


def test_the_users_patterns_win_over_rules_and_keep_wins_over_remove() -> None:
    stock = inventory(file("pkg/tests/a.py"), file("pkg/b.py"), file("pkg/c.py"))
    wishes = Wishes(keep=("pkg/tests/a.py", "pkg/c.py"), remove=("pkg/b.py", "pkg/c.py"))
    decisions = decide(stock, book(TESTS), wishes)

    assert (decisions["pkg/tests/a.py"].keep, decisions["pkg/tests/a.py"].rule) == (True, KEEP)
    assert (decisions["pkg/b.py"].keep, decisions["pkg/b.py"].rule) == (False, REMOVE)
    assert decisions["pkg/c.py"].keep is True


def test_wishes_that_match_nothing_are_findings() -> None:
    wishes = Wishes(keep=("nowhere/",), remove=("pkg/a.py", "no*thing"), enable=("pkg/*",))
    plan = propose(inventory(file("pkg/a.py")), book(TESTS), LAMBDA, wishes)

    assert [(one.code, one.place) for one in plan.findings] == [
        ("SLP201", "keep"),
        ("SLP201", "remove"),
        ("SLP201", "enable"),
    ]


def test_a_rule_that_does_not_exist_is_named_with_what_was_meant() -> None:
    with pytest.raises(ConfigError, match=r"'pkg/test' \(did you mean 'pkg/tests'\?\)"):
        decide(inventory(file("a")), book(TESTS), Wishes(disable=("pkg/test",)))


def test_disabled_rules_do_nothing_and_opt_in_rules_wait_to_be_enabled() -> None:
    opt_in = rules(
        '[[rule]]\nname = "web"\nrisk = "opt-in"\nbreaks = "the web page"\npaths = ["web/"]\n'
        'examples = { match = ["web/a"] }'
    )
    stock = inventory(file("pkg/tests/a.py"), file("web/a"))

    assert decide(stock, book(TESTS, opt_in))["web/a"].keep is True
    assert decide(stock, book(TESTS, opt_in), Wishes(enable=("pkg/web",)))["web/a"].keep is False
    assert decide(stock, book(TESTS), Wishes(disable=("pkg/*",)))["pkg/tests/a.py"].keep is True


def test_an_opt_in_rule_that_is_off_is_offered_with_its_worth() -> None:
    opt_in = rules(
        '[[rule]]\nname = "web"\nrisk = "opt-in"\nbreaks = "the web page"\npaths = ["web/"]\n'
        'examples = { match = ["web/a"] }'
    )
    stock = inventory(file("web/a", size=7), file("web/b", size=5), file("pkg/c"))
    plan = propose(stock, book(opt_in), LAMBDA, Wishes())

    assert offers(plan, stock, book(opt_in), LAMBDA) == {"pkg/web": (2, 12)}
    taken = propose(stock, book(opt_in), LAMBDA, Wishes(enable=("pkg/web",)))
    assert offers(taken, stock, book(opt_in), LAMBDA) == {}


WHOLE = '[[rule]]\nname = "all"\nwhole = true\nrequired_by = ["server"]'


@pytest.mark.parametrize(
    ("requested", "others", "kept"),
    [
        (False, ("server",), False),
        (True, ("server",), True),
        (False, ("server", "stranger"), True),
    ],
    ids=["only what the rule knows needs it", "the user asked for it", "something else needs it"],
)
def test_a_distribution_is_dropped_whole_only_while_nobody_else_wants_it(
    requested: bool, others: tuple[str, ...], kept: bool
) -> None:
    stock = inventory(
        file("lib/a.py", owner="lib"),
        file("lib-1.0.dist-info/METADATA", owner="lib"),
        distributions=(
            distribution("lib", requested=requested),
            *(distribution(name, requires=("lib",)) for name in others),
        ),
    )
    decisions = decide(stock, book(rules(WHOLE, stem="lib")))

    assert {one.keep for one in decisions.values()} == {kept}


def test_dropping_one_distribution_frees_what_only_it_needed() -> None:
    stock = inventory(
        file("server/a.py", owner="server"),
        file("lib/a.py", owner="lib"),
        distributions=(
            distribution("lib", requested=False),
            distribution("server", requires=("lib",), requested=False),
            distribution("app", requires=("server",)),
        ),
    )
    lib = rules('[[rule]]\nname = "all"\nwhole = true\nrequired_by = ["nobody"]', stem="lib")
    server = rules('[[rule]]\nname = "all"\nwhole = true\nrequired_by = ["app"]', stem="server")

    assert {one.keep for one in decide(stock, book(lib, server)).values()} == {False}
    assert {one.keep for one in decide(stock, book(lib)).values()} == {True}


def added(stock: Inventory, rule_book: RuleBook, *namespaces: str) -> dict[str, bytes | None]:
    wishes = Wishes()
    plan = propose(stock, rule_book, LAMBDA, wishes)
    plan = with_additions(plan, stock, rule_book, LAMBDA, wishes, namespaces=namespaces)
    return {one.path: one.content for one in plan.additions}


def test_a_file_is_added_where_it_is_missing_and_its_folder_is_there() -> None:
    adding = rules(
        '[[rule]]\nname = "namespace"\naction = "add"\npaths = ["google/__init__.py"]\ncontent = "x = 1\\n"'
    )
    missing = inventory(file("google/protobuf/a.py"))
    present = inventory(file("google/__init__.py"), file("google/protobuf/a.py"))
    elsewhere = inventory(file("pkg/a.py"))

    assert added(missing, book(adding)) == {"google/__init__.py": b"x = 1\n"}
    assert added(present, book(adding)) == {}
    assert added(elsewhere, book(adding)) == {}


def test_declared_namespaces_get_their_init_once() -> None:
    common = rules(
        '[[rule]]\nname = "namespaces"\naction = "add"\npaths = ["{namespace}/__init__.py"]\ncontent = "c"',
        stem="common",
    )
    own = rules(
        '[[rule]]\nname = "namespace"\naction = "add"\npaths = ["google/__init__.py"]\ncontent = "own"'
    )
    stock = inventory(file("google/protobuf/a.py"), file("zope/a/b.py"))

    assert added(stock, book(common, own), "google", "zope") == {
        "google/__init__.py": b"own",
        "zope/__init__.py": b"c",
    }


def test_libraries_that_a_file_can_do_without_are_told() -> None:
    keeping = rules(
        '[[rule]]\nname = "pool"\naction = "keep"\npaths = ["pkg/pool.so"]\n'
        'optional_libraries = ["libtbb.so.12"]\nexamples = { match = ["pkg/pool.so"] }'
    )
    plan = propose(inventory(file("pkg/pool.so"), file("pkg/b.so")), book(keeping), LAMBDA, Wishes())

    assert optional_libraries(plan, book(keeping)) == {"pkg/pool.so": frozenset({"libtbb.so.12"})}


def test_targets_differ_in_what_rules_apply() -> None:
    gpu = rules(
        '[[rule]]\nname = "gpu"\npaths = ["gpu/"]\ntargets = ["lambda"]\nexamples = { match = ["gpu/a"] }'
    )
    stock = inventory(file("gpu/a"))
    custom = target(kind="custom", glibc="2.31", size_limit=10**9)

    assert propose(stock, book(gpu), LAMBDA, Wishes()).decisions[0].keep is False
    assert propose(stock, book(gpu), custom, Wishes()).decisions[0].keep is True

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import account_of, book, distribution, file, inventory, target

from slimpack import findings
from slimpack.account import OTHER, Account, of_manifest
from slimpack.diff import diff
from slimpack.gate import Budget, Budgets, Increase, Missing, Verdict, governed, judge, limit_of, review
from slimpack.manifest import DistributionRecord, FileRecord
from slimpack.model import Severity

if TYPE_CHECKING:
    from slimpack.model import Finding, Target

MIB = 2**20

LIMIT = 262_144_000

RANK = {"pass": 0, "warn": 1, "fail": 2}


def bundle(
    sizes: dict[str, int] | None = None,
    *,
    runs_on: Target | None = None,
    found: tuple[Finding, ...] = (),
    name: str = "app.zip",
    version: str = "1.0",
) -> Account:
    """Returns the account of a bundle of ``app``, which the requirements name, and of what it needs."""
    sizes = {"app": 10 * MIB, "scipy": 60 * MIB, "numpy": 20 * MIB} if sizes is None else sizes
    needed = tuple(one for one in sizes if one not in {"app", "(app)"})
    stock = inventory(
        *(file(f"{one}/a.py", one, size=size) for one, size in sizes.items()),
        distributions=(
            distribution("app", requires=needed),
            *(distribution(one, requested=False) for one in needed),
        ),
    )
    manifest = account_of(stock, book(), findings=found, runs_on=runs_on or target())
    return of_manifest(replace(manifest, slimpack=version), name=name)


def foreign(sizes: dict[str, int]) -> Account:
    """Returns the account of a zip that another tool made."""
    return Account(
        name="other.zip",
        origin="zip",
        distributions=tuple(
            DistributionRecord(name=name, version="1", wheel="", sha256="", size_before=size, size_after=size)
            for name, size in sizes.items()
            if not name.startswith("(")
        ),
        files=tuple(
            FileRecord(path=f"{name}/a", owner=name, decision="kept", size_before=size, size_after=size)
            for name, size in sizes.items()
        ),
        size=sum(sizes.values()),
        archive_size=1,
    )


def said(verdict: Verdict) -> list[tuple[str, str, str]]:
    return [(one.code, one.severity.value, one.place) for one in verdict.findings]


def test_a_bundle_without_budgets_is_held_against_its_target_alone() -> None:
    verdict = judge(bundle(), Budgets())

    assert (verdict.status, verdict.findings, verdict.budget_only) == ("pass", (), True)
    assert [(check.kind, check.actual, check.fail) for check in verdict.checks] == [
        ("limit", 90 * MIB, LIMIT)
    ]


@pytest.mark.parametrize(("size", "status"), [(LIMIT - 1, "pass"), (LIMIT, "fail"), (10**12, "fail")])
def test_the_limit_of_the_target_is_exclusive(size: int, status: str) -> None:
    assert judge(bundle({"app": size}), Budgets()).status == status


def test_a_breached_limit_is_no_breached_budget() -> None:
    verdict = judge(bundle({"app": LIMIT}), Budgets())

    assert said(verdict) == [("SLP301", "error", "requirements.txt:1")]
    assert (verdict.findings[0].actual, verdict.findings[0].limit) == (LIMIT, LIMIT)
    assert not verdict.budget_only


def test_attached_layers_count_towards_the_limit() -> None:
    account = bundle({"app": LIMIT - 10})

    assert judge(account, Budgets(reserve=9)).status == "pass"
    verdict = judge(account, Budgets(reserve=10))
    assert said(verdict) == [("SLP301", "error", "requirements.txt:1")]
    assert "beside 10 bytes of attached layers" in verdict.findings[0].message
    assert verdict.findings[0].limit == limit_of(account, Budgets(reserve=10)) == LIMIT - 10


def test_a_limit_of_ones_own_can_only_be_lower_than_that_of_the_manifest() -> None:
    account = bundle({"app": 100})

    assert judge(account, Budgets(limit=101)).status == "pass"
    assert judge(account, Budgets(limit=100)).status == "fail"
    assert limit_of(account, Budgets(limit=10**12)) == LIMIT


def test_without_a_target_there_is_no_limit_unless_one_is_given() -> None:
    account = foreign({"app": 10**12})

    assert judge(account, Budgets()).checks == ()
    assert limit_of(account, Budgets()) is None
    assert judge(account, Budgets(limit=LIMIT)).status == "fail"


@pytest.mark.parametrize(
    ("budget", "status", "limit"),
    [
        (Budget(fail=100), "pass", None),
        (Budget(fail=99), "fail", 99),
        (Budget(warn=100), "pass", None),
        (Budget(warn=99), "warn", 99),
        (Budget(warn=98, fail=99), "fail", 99),
        (Budget(warn=99, fail=100), "warn", 99),
        (Budget(fail=0), "fail", 0),
    ],
)
def test_the_total_may_be_as_large_as_its_budget_and_no_larger(
    budget: Budget, status: str, limit: int | None
) -> None:
    verdict = judge(bundle({"app": 100}), Budgets(total=budget))

    assert verdict.status == status
    assert verdict.budget_only
    assert [(one.code, one.actual, one.limit) for one in verdict.findings] == (
        [] if limit is None else [("SLP001", 100, limit)]
    )


def test_a_package_has_the_requirements_line_of_its_root_as_its_place() -> None:
    verdict = judge(bundle(), Budgets(packages={"scipy": Budget(fail=50 * MIB), "numpy": Budget(fail=MIB)}))

    assert said(verdict) == [("SLP002", "error", "requirements.txt:1")] * 2
    assert [one.message for one in verdict.findings] == [
        "numpy takes 20.0 MiB, its budget is 1.0 MiB",  # by 19 MiB
        "scipy takes 60.0 MiB, its budget is 50.0 MiB",  # by 10 MiB
    ]
    assert verdict.budget_only


def test_where_nothing_tells_of_requirements_the_place_is_the_package() -> None:
    verdict = judge(
        foreign({OTHER: 2, "scipy": 1}), Budgets(total=Budget(fail=1), packages={OTHER: Budget(fail=1)})
    )

    assert said(verdict) == [("SLP001", "error", "other.zip"), ("SLP002", "error", OTHER)]


def test_each_package_that_a_pattern_names_has_the_budget_for_itself() -> None:
    account = bundle({"app": 1, "nvidia-cublas": 5, "nvidia-cudnn": 7})

    verdict = judge(account, Budgets(packages={"nvidia-*": Budget(fail=6)}))

    assert [one.message for one in verdict.findings] == [
        "nvidia-cudnn takes 7 B, its budget (nvidia-*) is 6 B"
    ]
    assert [(one.name, one.status) for one in verdict.checks if one.kind == "package"] == [
        ("nvidia-cudnn", "fail"),
        ("nvidia-cublas", "pass"),
    ]


def test_a_package_that_is_named_has_its_own_budget_and_not_that_of_a_pattern() -> None:
    account = bundle({"app": 1, "torch": 100})

    assert judge(account, Budgets(packages={"*": Budget(fail=10)})).status == "fail"
    named = Budgets(packages={"*": Budget(fail=10), "torch": Budget(fail=100)})
    assert judge(account, named).status == "pass"


def test_a_pattern_all_of_whose_packages_are_named_matches_all_the_same() -> None:
    account = bundle({"app": 1, "torch": 100})

    assert governed(account, ["t*", "torch", "x*", "y"]) == {
        "t*": {},
        "torch": {"torch": 100},
        "x*": None,
        "y": None,
    }


@pytest.mark.parametrize("name", ["torch", "nvidia-*"])
def test_a_budget_that_matches_nothing_is_no_pass_and_no_breached_budget(name: str) -> None:
    budgets = Budgets(packages={name: Budget(fail=10**12)}, places={name: "pyproject.toml"})

    verdict = judge(bundle(), budgets)

    assert said(verdict) == [("SLP005", "error", "pyproject.toml")]
    assert repr(name) in verdict.findings[0].message
    assert not verdict.budget_only


def test_a_package_that_was_wholly_left_out_is_no_missing_one() -> None:
    account = bundle()
    gone = DistributionRecord(
        name="setuptools", version="1", wheel="", sha256="", size_before=5, size_after=0
    )
    account = replace(account, distributions=(*account.distributions, gone))

    assert judge(account, Budgets(packages={"setuptools": Budget(fail=0)})).status == "pass"
    assert judge(account, Budgets(forbidden=("setuptools",))).status == "pass"


def test_a_forbidden_package_is_a_breached_budget_and_an_absent_one_is_fine() -> None:
    verdict = judge(bundle(), Budgets(forbidden=("sci*", "boto3")))

    assert said(verdict) == [("SLP004", "error", "requirements.txt:1")]
    assert verdict.findings[0].message == "scipy is forbidden by sci* and takes 60.0 MiB"
    assert verdict.budget_only
    assert [(one.name, one.actual, one.status) for one in verdict.checks if one.kind == "forbidden"] == [
        ("sci*", 60 * MIB, "fail"),
        ("boto3", 0, "pass"),
    ]


def test_names_are_compared_in_canonical_form() -> None:
    assert judge(foreign({"Scikit_Learn": 5}), Budgets(forbidden=("scikit-learn",))).status == "fail"


@pytest.mark.parametrize(
    ("increase", "status"),
    [
        (Increase(percent=5, bytes=MIB), "fail"),  # grown by 6 MiB of 60
        (Increase(percent=10, bytes=0), "pass"),
        (Increase(percent=9.9, bytes=0), "fail"),
        (Increase(percent=5, bytes=6 * MIB), "pass"),
        (Increase(percent=5, bytes=6 * MIB - 1), "fail"),
        (Increase(percent=0, bytes=6 * MIB), "pass"),
        (Increase(), "fail"),
    ],
)
def test_growth_has_to_exceed_percent_and_bytes(increase: Increase, status: str) -> None:
    base, head = bundle({"app": 20 * MIB, "scipy": 40 * MIB}), bundle({"app": 20 * MIB, "scipy": 46 * MIB})

    assert judge(head, Budgets(increase_fail=increase), baseline=diff(base, head)).status == status
    assert judge(base, Budgets(increase_fail=increase), baseline=diff(head, base)).status == "pass"
    assert judge(head, Budgets(increase_warn=increase), baseline=diff(base, head)).status in {"pass", "warn"}


def test_growth_is_told_with_what_has_grown_most_and_its_line() -> None:
    base = bundle({"app": 20 * MIB, "scipy": 40 * MIB}, name="base.zip")
    head = bundle({"app": 21 * MIB, "scipy": 45 * MIB})

    verdict = judge(head, Budgets(increase_fail=Increase(percent=5)), baseline=diff(base, head))

    assert said(verdict) == [("SLP003", "error", "requirements.txt:1")]
    assert verdict.findings[0].message == (
        "the bundle has grown by 6.0 MiB (10.0 %) over base.zip, 3.0 MiB are allowed; scipy alone by 5.0 MiB"
    )
    assert (verdict.findings[0].actual, verdict.findings[0].limit) == (6 * MIB, 3 * MIB)
    assert verdict.budget_only


def test_growth_from_nothing_has_no_share() -> None:
    base, head = foreign({}), foreign({"app": 7})

    verdict = judge(head, Budgets(increase_fail=Increase(percent=1000)), baseline=diff(base, head))

    assert verdict.status == "fail"
    assert "%" not in verdict.findings[0].message


def test_growth_that_has_a_budget_needs_a_baseline() -> None:
    budgets = Budgets(increase_fail=Increase(percent=5), places={"increase": "slimpack.toml"})

    verdict = judge(bundle(), budgets)

    assert said(verdict) == [("SLP006", "error", "slimpack.toml")]
    assert not verdict.budget_only
    assert judge(bundle(), budgets.without_growth()).status == "pass"


def test_a_baseline_that_was_asked_for_and_is_not_there_is_no_pass() -> None:
    verdict = judge(bundle(), Budgets(), baseline=Missing(name="base.json", reason="cannot be read: gone"))

    assert said(verdict) == [("SLP006", "error", "base.json")]
    assert not verdict.budget_only


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"runtime": "python3.11"}, "python3.11, not python3.12"),
        ({"architecture": "arm64"}, "arm64, not x86_64"),
        ({"kind": "lambda-layer"}, "lambda-layer, not lambda"),
    ],
)
def test_a_baseline_of_another_target_is_no_pass(changes: dict[str, Any], words: str) -> None:
    base, head = bundle({"app": 1}, runs_on=target(**changes), name="base.zip"), bundle()
    budgets = Budgets(increase_fail=Increase(percent=5))

    verdict = judge(head, budgets, baseline=diff(base, head))

    assert said(verdict) == [("SLP008", "error", "base.zip")]
    assert words in verdict.findings[0].message
    assert not verdict.budget_only
    assert not any(one.kind == "increase" for one in verdict.checks)
    assert judge(head, Budgets(), baseline=diff(base, head)).status == "warn"
    assert judge(head, budgets, baseline=diff(head, head)).status == "pass"


def test_what_a_baseline_does_not_tell_is_no_mismatch() -> None:
    base, head = foreign({"app": 10 * MIB}), bundle({"app": 10 * MIB})

    verdict = judge(head, Budgets(increase_fail=Increase(percent=5)), baseline=diff(base, head))

    assert verdict.status == "pass"


def test_a_baseline_of_another_version_of_slimpack_is_stale_and_judged_all_the_same() -> None:
    base, head = bundle(version="0.9", name="base.zip"), bundle(version="1.0")

    verdict = judge(head, Budgets(increase_fail=Increase(percent=5)), baseline=diff(base, head))

    assert said(verdict) == [("SLP007", "warning", "base.zip")]
    assert verdict.findings[0].message == "slimpack 0.9 built it, and slimpack 1.0 this bundle"
    assert any(one.kind == "increase" for one in verdict.checks)


def test_a_baseline_of_another_commit_is_stale() -> None:
    found = review(bundle(), baseline=bundle(name="base.zip"), behind="The base is old: it shows.")

    assert said(found.verdict) == [("SLP007", "warning", "base.zip")]
    assert found.verdict.findings[0].message == "the base is old: it shows"
    assert found.diff is not None
    assert found.diff.notes[0] == "The base is old: it shows."


def test_errors_of_the_manifest_fail_the_gate_and_are_no_breached_budgets() -> None:
    unfit = findings.EVENT_FAILS.at("init", "it raised")
    late = findings.RUNTIME_UNSUPPORTED.at("python3.12", "it ended")

    verdict = judge(bundle(found=(unfit, late)), Budgets())

    assert (verdict.status, verdict.findings, verdict.budget_only) == ("fail", (unfit,), False)


def test_a_manifest_cannot_pass_its_errors_off_as_breached_budgets() -> None:
    false = findings.TOTAL_OVER_BUDGET.at("app", "it says so itself")

    assert not judge(bundle(found=(false,)), Budgets()).budget_only


def test_the_finding_of_the_limit_is_not_told_twice() -> None:
    account = bundle({"app": LIMIT})
    assert account.manifest is not None
    assert [one.code for one in account.manifest.findings] == ["SLP301"]

    assert len(judge(account, Budgets()).findings) == 1


def test_an_empty_bundle_is_no_pass() -> None:
    verdict = judge(foreign({}), Budgets())

    assert said(verdict) == [("SLP304", "error", "other.zip")]
    assert judge(foreign({"app": 0}), Budgets()).status == "pass"


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (60 * MIB + 1, "scipy takes 62,914,561 bytes, its budget is 62,914,560 bytes"),
        (61 * MIB, "scipy takes 61.0 MiB, its budget is 60.0 MiB"),
    ],
)
def test_bytes_are_shown_where_rounding_would_hide_the_difference(size: int, words: str) -> None:
    verdict = judge(bundle({"app": 1, "scipy": size}), Budgets(packages={"scipy": Budget(fail=60 * MIB)}))

    assert [one.message for one in verdict.findings] == [words]


def test_errors_come_first_then_codes_then_what_is_exceeded_by_most() -> None:
    budgets = Budgets(
        total=Budget(warn=1),
        packages={"scipy": Budget(fail=59 * MIB), "numpy": Budget(fail=1)},
        forbidden=("app",),
    )

    verdict = judge(bundle(), budgets)

    assert [(one.code, one.severity) for one in verdict.findings] == [
        ("SLP002", Severity.ERROR),
        ("SLP002", Severity.ERROR),
        ("SLP004", Severity.ERROR),
        ("SLP001", Severity.WARNING),
    ]
    assert verdict.findings[0].message.startswith("numpy")


def test_a_review_has_the_verdict_the_diff_and_the_limit() -> None:
    base, head = bundle({"app": 5}), bundle({"app": 7})

    found = review(head, Budgets(reserve=1000), baseline=base, key="api", folder="services/api")

    assert found.account is head
    assert found.diff is not None
    assert (found.diff.delta, found.limit, found.key, found.folder) == (
        2,
        LIMIT - 1000,
        "api",
        "services/api",
    )
    assert found.verdict == judge(head, Budgets(reserve=1000), baseline=diff(base, head))
    assert review(head).diff is None
    assert review(head, baseline=Missing(name="x", reason="gone")).diff is None


_NAMES = st.sampled_from(["app", "numpy", "scipy", "scikit-learn", "nvidia-cublas", OTHER])
_PATTERNS = _NAMES | st.sampled_from(["*", "sci*", "nvidia-*", "x*"])
_SIZES = st.integers(0, 10**12)
_BUDGETS = st.builds(Budget, warn=st.none() | _SIZES, fail=st.none() | _SIZES)
_GROWTHS = st.none() | st.builds(Increase, percent=st.integers(0, 200), bytes=_SIZES)
_ACCOUNTS = st.dictionaries(_NAMES, _SIZES, max_size=5).map(foreign)


def raised(size: int | None, by: int) -> int | None:
    return None if size is None else size + by


def higher(budget: Budget, by: int) -> Budget:
    return Budget(warn=raised(budget.warn, by), fail=raised(budget.fail, by))


@given(
    account=_ACCOUNTS,
    base=_ACCOUNTS,
    budgets=st.builds(
        Budgets,
        total=_BUDGETS,
        packages=st.dictionaries(_PATTERNS, _BUDGETS, max_size=4),
        increase_warn=_GROWTHS,
        increase_fail=_GROWTHS,
        limit=st.none() | _SIZES,
        forbidden=st.lists(_PATTERNS, max_size=2).map(tuple),
    ),
    by=_SIZES,
    percent=st.integers(0, 100),
)
def test_a_higher_budget_never_makes_a_verdict_worse(
    account: Account, base: Account, budgets: Budgets, by: int, percent: int
) -> None:
    def more(increase: Increase | None) -> Increase | None:
        if increase is None:
            return None
        return Increase(percent=increase.percent + percent, bytes=increase.bytes + by)

    generous = Budgets(
        total=higher(budgets.total, by),
        packages={name: higher(one, by) for name, one in budgets.packages.items()},
        increase_warn=more(budgets.increase_warn),
        increase_fail=more(budgets.increase_fail),
        limit=raised(budgets.limit, by),
        forbidden=budgets.forbidden[1:],
    )
    against = diff(base, account)

    strict, lenient = judge(account, budgets, baseline=against), judge(account, generous, baseline=against)

    assert RANK[lenient.status] <= RANK[strict.status]
    assert strict.budget_only <= lenient.budget_only
    assert strict.budget_only == all(
        one.code in {"SLP001", "SLP002", "SLP003", "SLP004"}
        for one in strict.findings
        if one.severity is Severity.ERROR
    )
    assert {one.code for one in lenient.findings if one.severity is Severity.ERROR} <= {
        one.code for one in strict.findings if one.severity is Severity.ERROR
    }


@given(account=_ACCOUNTS, total=_BUDGETS, packages=st.dictionaries(_PATTERNS, _BUDGETS, max_size=4))
def test_findings_say_what_the_checks_say(
    account: Account, total: Budget, packages: dict[str, Budget]
) -> None:
    verdict = judge(account, Budgets(total=total, packages=packages))

    budgets = [one for one in verdict.findings if one.code in {"SLP001", "SLP002"}]
    assert len(budgets) == sum(one.status != "pass" for one in verdict.checks)
    assert all(one.actual is not None and one.limit is not None for one in budgets)
    assert all(one.actual > one.limit for one in budgets if one.actual is not None and one.limit is not None)
    assert (verdict.status == "pass") == (not verdict.findings)


def test_where_nothing_tells_the_packages_what_is_forbidden_is_not_said_to_be_absent() -> None:
    # given a bundle whose dist-info folders a tool has taken out
    slim = replace(bundle({"(other)": 5 * MIB}), distributions=(), origin="zip", manifest=None)

    verdict = judge(slim, Budgets(forbidden=("pysocks",)))

    assert [one.code for one in verdict.findings] == ["SLP005"]
    assert (verdict.status, verdict.budget_only) == ("fail", False)
    assert judge(slim, Budgets()).status == "pass"

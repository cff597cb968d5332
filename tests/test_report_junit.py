from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from hypothesis import HealthCheck, given, settings
from junitparser import Failure, JUnitXml, TestCase, TestSuite
from reviews import HARM, HEAD, LIMIT, MIB, account, crowd, hostile, review, usual

from slimpack import findings
from slimpack.gate import Check, Review
from slimpack.report.junit import MOST, junit


def suite(one: Review) -> TestSuite:
    """Returns the one suite of a report, whose counts are those of its cases."""
    report = JUnitXml.fromstring(junit(one).encode())
    (found,) = report
    cases = list(found)
    failed = sum(isinstance(result, Failure) for case in cases for result in case.result)
    assert (found.tests, found.failures, found.errors) == (len(cases), failed, 0)
    assert (report.tests, report.failures) == (len(cases), failed)
    return found


def cases(one: Review) -> dict[str, TestCase]:
    return {f"{case.classname} {case.name}": case for case in suite(one)}


def test_everything_that_was_judged_is_a_case_and_every_kind_of_finding() -> None:
    found = cases(usual())

    assert {name: case.is_passed for name, case in found.items()} == {
        "slimpack.budget below the target's limit: app.zip": True,
        "slimpack.budget package within its budget: pandas": False,
        "slimpack.findings SLP002 package-over-budget": False,
        "slimpack.findings SLP107 install-conflict": True,
        "slimpack.findings SLP105 left-as-it-was": True,
    }


def test_cases_of_several_bundles_are_told_apart() -> None:
    found = suite(review(HEAD, checks=usual().verdict.checks, key="api"))

    assert {case.classname for case in found} == {"api.budget"}


def test_a_failure_says_what_where_and_what_helps() -> None:
    (failure,) = cases(usual())["slimpack.findings SLP002 package-over-budget"].result

    assert failure.type == "SLP002"
    assert failure.message == "error: requirements.txt:7: pandas takes 40.0 MiB of 30.0 MiB"
    assert failure.text.endswith("`slimpack baseline update`.")


def test_what_passes_says_how_much_of_what_is_allowed_there_is() -> None:
    case = cases(usual())["slimpack.budget below the target's limit: app.zip"]

    assert case.system_out == "134.0 MiB of 250.0 MiB (fail): 140,509,184 of 262,144,000 bytes"


def test_bytes_are_shown_where_rounding_would_hide_the_difference() -> None:
    checks = (Check(kind="total", name="app.zip", actual=30 * MIB + 1, fail=30 * MIB, status="fail"),)
    ((failure,),) = (case.result for case in suite(review(HEAD, checks=checks)))

    assert failure.message.startswith("31,457,281 bytes of 31,457,280 bytes")


def test_a_warning_passes_and_says_so() -> None:
    case = cases(usual())["slimpack.findings SLP107 install-conflict"]

    assert case.is_passed
    assert case.system_out.startswith("warning: numpy/a.so: numpy and scipy differ\nFix: ")


def test_without_checks_and_findings_the_suite_is_empty() -> None:
    assert suite(review(HEAD)).tests == 0


def test_many_findings_of_a_kind_are_one_case_and_many_cases_end_somewhere() -> None:
    found = [findings.PACKAGE_OVER_BUDGET.at(f"p{number}", "too large") for number in range(50)]
    (case,) = suite(review(HEAD, found=found))
    assert case.result[0].text.endswith("and 30 more")

    last = list(suite(crowd()))[-1]
    assert suite(crowd()).tests == MOST + 1
    assert last.name == "and 2,003 more"
    assert not last.is_passed
    assert len(junit(crowd())) < 1_000_000


def test_a_suite_of_a_tree_without_findings_names_the_bundle() -> None:
    assert suite(review(HEAD)).name == "slimpack: app.zip"


@pytest.mark.parametrize("harm", HARM)
def test_names_are_text_and_nothing_else(harm: str) -> None:
    checks = (Check(kind="package", name=harm, actual=7, fail=LIMIT),)
    text = junit(review(account({}, name=harm), checks=checks))

    assert {element.tag for element in ET.fromstring(text.encode()).iter()} == {  # noqa: S314 -- ours
        "testsuites",
        "testsuite",
        "testcase",
        "system-out",
    }


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(hostile())
def test_whatever_a_manifest_says_it_is_read(hostile: Review) -> None:
    kinds = {finding.code for finding in hostile.verdict.findings}

    assert suite(hostile).tests == len(hostile.verdict.checks) + len(kinds)

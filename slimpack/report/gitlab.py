"""GitLab: the code quality report, and the metrics report of a merge request. Pure."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import TYPE_CHECKING
from urllib.parse import quote

from slimpack.model import Severity
from slimpack.report.places import placed
from slimpack.report.words import clipped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from slimpack.gate import Review

MOST = 1000
"""Findings in a report."""

PACKAGES = 100
"""Packages with a metric of their own, the largest; the smaller ones share one."""

_LONGEST = 1000
"""Characters of a description."""

_SEVERITIES = {Severity.ERROR: "critical", Severity.WARNING: "minor", Severity.NOTE: "info"}

_LABEL = "()+,/:@"
"""What a label may have besides letters, digits and ``_.-~``; the rest is percent-encoded."""


def code_quality(review: Review) -> str:
    """Returns the findings as a code quality report: the array of issues that GitLab reads.

    A finding that no line of the requirements is known for is shown at the bundle's name.
    """
    nowhere = clipped(review.account.name, _LONGEST)
    issues = [
        {
            "description": clipped(f"{one.finding.place}: {one.finding.message}", _LONGEST),
            "check_name": clipped(one.finding.code, _LONGEST),
            "fingerprint": one.fingerprint,
            "severity": _SEVERITIES[one.finding.severity],
            "location": {
                "path": one.place.file if one.place else nowhere,
                "lines": {"begin": one.place.line if one.place else 1},
            },
        }
        for one in placed(review, review.verdict.findings[:MOST])
    ]
    if rest := len(review.verdict.findings) - len(issues):
        issues.append(
            {
                "description": f"and {rest:,} more findings: `slimpack check` lists them",
                "check_name": "slimpack",
                "fingerprint": "0" * 32,
                "severity": "info",
                "location": {"path": nowhere, "lines": {"begin": 1}},
            }
        )
    return json.dumps(issues, indent=1) + "\n"


def metrics(review: Review) -> str:
    """Returns sizes and counts as OpenMetrics text (specification 1.0).

    GitLab takes a line for a shell command: ``#`` begins a comment, the first word is the metric with its labels, the
    second its value (``lib/gitlab/ci/parsers/metrics/generic.rb``). Hence labels have nothing that a shell minds.
    """
    return "".join(f"{line}\n" for line in (*_families(review), "# EOF"))


def _families(review: Review) -> Iterator[str]:
    account = review.account
    key = {"key": review.key}
    yield from _family("bundle_size", "bytes", "Unzipped size of the bundle.", [(key, account.size)])
    if review.limit is not None:
        yield from _family("bundle_limit", "bytes", "Size to stay below.", [(key, review.limit)])
    if account.archive_size is not None:
        yield from _family("bundle_archive", "bytes", "Size of the zip.", [(key, account.archive_size)])
    if review.diff is not None:
        yield from _family("bundle_growth", "bytes", "Growth since the base.", [(key, review.diff.delta)])
    packages = sorted(account.sizes().items(), key=lambda row: (-row[1], row[0]))
    rows = [({**key, "package": name}, size) for name, size in packages[:PACKAGES]]
    if rest := packages[PACKAGES:]:
        rows.append(({**key, "package": "(smaller)"}, sum(size for _, size in rest)))
    yield from _family("package_size", "bytes", "Unzipped size of a package in the bundle.", rows)
    counts = Counter(finding.severity for finding in review.verdict.findings)
    yield from _family(
        "findings",
        "",
        "Findings of the gate.",
        [({**key, "severity": severity.value}, counts[severity]) for severity in Severity],
    )


def _family(name: str, unit: str, what: str, rows: Sequence[tuple[Mapping[str, str], int]]) -> Iterator[str]:
    """Yields a metric: its type, its unit, its meaning, its values by labels."""
    name = "_".join(filter(None, ("slimpack", name, unit)))
    yield f"# TYPE {name} gauge"
    if unit:
        yield f"# UNIT {name} {unit}"
    yield f"# HELP {name} {what}"
    for labels, value in rows:
        words = ",".join(f'{label}="{_label(words)}"' for label, words in labels.items())
        yield f"{name}{{{words}}} {value}"


def _label(words: str) -> str:
    """Returns a value of a label; different words stay different."""
    if len(words) > _LONGEST:
        words = words[: _LONGEST // 2] + hashlib.sha256(words.encode(errors="surrogatepass")).hexdigest()
    return quote(words, safe=_LABEL, errors="surrogatepass")

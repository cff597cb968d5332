"""GitHub: annotations by workflow commands, and the summary of a step. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slimpack.model import Severity
from slimpack.report import markdown
from slimpack.report.places import placed
from slimpack.report.words import clipped

if TYPE_CHECKING:
    from slimpack.gate import Review
    from slimpack.report.places import Placed

MOST = 10
"""Annotations of one kind that a step shows (``_maxCountPerIssueType`` of actions/runner)."""

LONGEST = 4096
"""Characters of an annotation that get through (``_maxIssueMessageLength`` of actions/runner)."""

SUMMARY = 2**20
"""Bytes that the summary of a step has to stay below; a larger one is not shown at all."""

_KINDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}


def commands(review: Review) -> str:
    """Returns the findings as workflow commands, one a line, and the verdict as a notice of its own.

    Of each kind there are at most ten, the last of which counts what is left out.
    """
    verdict = _command("notice", {"title": f"slimpack: {review.verdict.status}"}, markdown.verdict(review))
    lines = [verdict]
    for severity, kind in _KINDS.items():
        same = [finding for finding in review.verdict.findings if finding.severity is severity]
        room = MOST - (kind == "notice")
        shown = same if len(same) <= room else same[: room - 1]
        lines += [_annotation(kind, one) for one in placed(review, shown)]
        if rest := len(same) - len(shown):
            lines.append(
                _command(kind, {"title": "slimpack"}, f"and {rest:,} more: `slimpack check` lists them")
            )
    return "".join(f"{line}\n" for line in lines)


def summary(review: Review) -> str:
    """Returns what ``GITHUB_STEP_SUMMARY`` takes: the comment on a pull request with more in it."""
    return markdown.page(review, limit=SUMMARY)


def _annotation(kind: str, one: Placed) -> str:
    finding = one.finding
    properties = {"title": f"{finding.code} {finding.place}"}
    if one.place is not None:
        properties = {"file": one.place.file, "line": str(one.place.line), **properties}
    fix = f"\nFix: {clipped(finding.fix, LONGEST // 4)}" if finding.fix else ""
    return _command(kind, properties, clipped(finding.message, LONGEST // 2) + fix)


def _command(kind: str, properties: dict[str, str], message: str) -> str:
    """Returns a workflow command, escaped as ``@actions/core`` does and actions/runner undoes.

    Args:
        kind: ``error``, ``warning`` or ``notice``.
        properties: Values by name.
        message: What to show; may have several lines.
    """
    words = ",".join(
        f"{name}={_escaped(clipped(value, LONGEST // 16), ':,')}" for name, value in properties.items()
    )
    return f"::{kind} {words}::{_escaped(message)}"


def _escaped(words: str, separators: str = "") -> str:
    for character in "%\r\n" + separators:
        words = words.replace(character, f"%{ord(character):02X}")
    return words

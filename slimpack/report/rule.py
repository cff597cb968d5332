"""Rules and kinds of findings for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from slimpack.model import Action, Risk
from slimpack.report.table import Column, table
from slimpack.report.text import render
from slimpack.report.words import mebibytes, safe

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from slimpack.findings import Kind
    from slimpack.manifest import RuleRecord
    from slimpack.model import Rule


def catalogue(rules: Iterable[Rule], *, width: int, color: bool) -> str:
    """Returns a table of rules with what their newest evidence took."""
    shown = table(
        (
            Column(header="Rule", folds_to=24),
            Column(header="Does", folds_to=6, goes=2),
            Column(header="Risk", folds_to=6),
            Column(header="Measured", goes=1),
        ),
        [
            (safe(rule.id), rule.action.value, rule.risk.value, mebibytes(rule.evidence[0].bytes))
            for rule in rules
        ],
        width=width,
    )
    return render(shown, width=width, color=color)


def rules(
    wanted: Iterable[Rule], done: Mapping[str, RuleRecord] | None = None, *, width: int, color: bool
) -> str:
    """Returns all there is to say of some rules.

    Args:
        wanted: The rules.
        done: What rules did in a build, by id; None when no build is spoken of.
        width: Columns.
        color: Whether ANSI colours may be used.
    """
    return render(*(_rule(rule, done) for rule in wanted), width=width, color=color)


def finding(kind: Kind, *, width: int, color: bool) -> str:
    """Returns all there is to say of a kind of finding."""
    return render(
        Text(f"{kind.code} {kind.name} ({kind.severity.value})", style="bold"),
        _labelled([("What", kind.what), ("Fix", kind.fix)]),
        width=width,
        color=color,
    )


def _rule(rule: Rule, done: Mapping[str, RuleRecord] | None) -> RenderableType:
    lines = list(_lines(rule))
    if done is not None:
        lines.append(("Here", _here(done.get(rule.id))))
    return Group(Text(safe(rule.id), style="bold"), Padding(_labelled(lines), (0, 0, 0, 2)))


def _here(record: RuleRecord | None) -> str:
    if record is None:
        return "it had nothing to do in this build"
    return f"took {record.files:,} files, {mebibytes(record.bytes)}; overruled on {record.overruled:,} files"


def _lines(rule: Rule) -> Iterator[tuple[str, str]]:
    words = {
        Action.REMOVE: "removes",
        Action.KEEP: "keeps, whatever other rules say,",
        Action.ADD: "adds, where it is missing,",
        Action.CLEAR: f"clears the ELF sections {', '.join(rule.sections)} of",
    }
    what = "the whole distribution" if rule.whole else ", ".join(rule.paths)
    yield "What", f"{words[rule.action]} {what}"
    yield "Of", ", ".join(rule.distributions) + (f" {rule.versions}" if rule.versions else "")
    if rule.targets:
        yield "On", ", ".join(rule.targets)
    if rule.required_by:
        yield "While", f"nothing else needs it than {', '.join(rule.required_by)}"
    yield "Why", rule.reason
    if rule.tolerates:
        yield "In spite of", ", ".join(need.value for need in rule.tolerates)
    yield "Risk", rule.risk.value
    if rule.breaks:
        yield "Breaks", rule.breaks
    for evidence in rule.evidence:
        measured = f"{evidence.files:,} files, {mebibytes(evidence.bytes)}"
        yield "Evidence", f"release {evidence.version}: {measured}. {evidence.shown}"
    if rule.probe:
        yield "Probe", rule.probe.strip()
    if rule.risk is Risk.OPT_IN:
        yield "Switch on", f"--enable {rule.id}"
    else:
        yield "Switch off", f"--disable {rule.id}"


def _labelled(lines: Iterable[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for label, words in lines:
        table.add_row(label, Text("\n".join(safe(line) for line in words.splitlines())))
    return table

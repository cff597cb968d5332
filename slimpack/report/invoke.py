"""Runs of a handler, for a person and as JSON."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from slimpack.model import Severity
from slimpack.report.text import findings_block, render
from slimpack.report.words import duration, mebibytes, safe

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from slimpack.compare import Difference
    from slimpack.model import Finding
    from slimpack.runtime.api import Fault
    from slimpack.runtime.invoke import Medians, Outcome, Run
    from slimpack.runtime.log import Printed
    from slimpack.verify.against import Comparison

SCHEMA_VERSION = 1
"""Of the JSON; raised when a field changes its meaning or goes."""

_LINES = 40
"""Lines of a log or an answer that are shown: the first half and the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Against:
    """The same events on another tree."""

    name: str
    """What that is."""
    comparison: Comparison
    """Whether the bundle did the same."""
    medians: Medians
    """Middle values of its runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Runs of one handler over the same events, and what they were compared with."""

    bundle: str
    """Name of the bundle."""
    handler: str
    """``module.function``."""
    runtime: str
    """Lambda's identifier."""
    architecture: str
    """The processor."""
    memory_mb: int
    """The memory limit."""
    timeout_seconds: float
    """The time limit of an event."""
    float_tolerance: float
    """By how much numbers may differ, relative."""
    events: tuple[str, ...]
    """Names of the events' files."""
    expected: tuple[str, ...]
    """Names of the files with what is expected, one for each event; empty if nothing was."""
    differences: tuple[Difference | None, ...]
    """The first difference of each answer from what is expected, in the first run that has one; as ``expected``."""
    runs: tuple[Run, ...]
    """At least one."""
    medians: Medians
    """Middle values of the runs."""
    findings: tuple[Finding, ...] = ()
    """What the files themselves tell, errors first."""
    remedies: tuple[str, ...] = ()
    """What to do about the files that a failed run missed."""
    against: Against | None = None
    """What the runs were compared with; None for nothing."""

    @property
    def failed(self) -> bool:
        """Whether the files have an error, an event failed in any run, or an answer is another one than it should."""
        return (
            any(one.severity is Severity.ERROR for one in self.findings)
            or any(run.failed for run in self.runs)
            or any(self.differences)
            or (self.against is not None and self.against.comparison.parting is not None)
        )

    @property
    def shown(self) -> Run:
        """The run to show: the first that failed, or the first."""
        return next((run for run in self.runs if run.failed), self.runs[0])


def text(result: Result, *, width: int = 80, color: bool = False) -> str:
    """Returns the report of runs.

    Args:
        result: The runs.
        width: Columns.
        color: Whether ANSI colours may be used.
    """
    run = result.shown
    return render(
        Text(
            safe(f"{result.bundle}  {result.handler} on {result.runtime}, {result.architecture}"),
            style="bold",
        ),
        findings_block(result.findings),
        _figures(result),
        *(_start(start.fault, start.log, not run.outcomes) for start in run.starts),
        *(_event(result, index, outcome) for index, outcome in enumerate(run.outcomes)),
        _block("cause", [Text(safe(one)) for one in result.remedies]) if result.remedies else None,
        None if result.against is None else _against(result.against),
        _not_emulated(run),
        _verdict(result),
        width=width,
        color=color,
    )


def as_json(result: Result) -> str:
    """Returns runs as JSON text. Answers are the texts that the handler's client sent."""
    plain: dict[str, Any] = dataclasses.asdict(result)
    return (
        json.dumps(
            {"schema_version": SCHEMA_VERSION, "failed": result.failed, **plain}, indent=1, ensure_ascii=False
        )
        + "\n"
    )


def _figures(result: Result) -> Text:
    medians = result.medians
    of = f"  (median of {len(result.runs)})" if len(result.runs) > 1 else ""
    init = "none" if medians.init_seconds is None else duration(medians.init_seconds)
    peak = f"{mebibytes(medians.peak_bytes)} of {result.memory_mb:,} MiB"
    figures = Text(f"init         {init}{of}\npeak memory  {peak}{of}")
    if any(run.slow_init for run in result.runs):
        figures.append(
            "\ninit took longer than Lambda gives it: it would start again in the first invoke", "yellow"
        )
    return figures


def _start(fault: Fault | None, log: Printed, alone: bool) -> RenderableType | None:
    lines = [*_log(log)]
    if fault is not None:
        lines += _fault(fault)
    if not lines:
        return Text("started, and no event was given") if alone else None
    return _block("init", lines)


def _event(result: Result, index: int, outcome: Outcome) -> RenderableType:
    seconds = result.medians.event_seconds[index]
    lines = [*_log(outcome.log)]
    if outcome.answer is not None:
        lines += (Text(line) for line in _shortened(_pretty(outcome.answer)))
    if outcome.fault is not None:
        lines += _fault(outcome.fault) if outcome.seconds is not None else [Text("not run: init failed")]
    if result.expected:
        lines.append(_comparison(result, index, outcome))
    return _block(f"{result.events[index]}  {'' if seconds is None else duration(seconds)}", lines)


def _comparison(result: Result, index: int, outcome: Outcome) -> Text:
    name, found = safe(result.expected[index]), result.differences[index]
    if found is not None:
        words = f"differs from {name} at {found.path}: expected {found.expected}, given {found.given}"
        return Text(safe(words), style="bold red")
    if outcome.fault is not None:
        return Text(f"not compared with {name}: it failed", style="bold red")
    return Text(f"as {name} says", style="green")


def _fault(fault: Fault) -> Iterator[Text]:
    yield from (
        Text(line, style="bold red") for line in _shortened(f"{fault.type}: {fault.message}".splitlines())
    )
    yield from (Text(line) for line in _shortened("\n".join(fault.stack).splitlines()) if line.strip())


def _log(log: Printed) -> Iterator[Text]:
    for line in _shortened(log.text.splitlines()):
        yield Text(f"| {line}", style="dim")


def _against(against: Against) -> RenderableType:
    parting, unsteady = against.comparison.parting, against.comparison.unsteady
    if parting is None:
        lines = [Text("no difference in answers, exceptions and what was printed", style="green")]
    else:
        lines = [
            Text(safe(f"differs in {parting.where}"), style="bold red"),
            Text(safe(f"there  {parting.other}")),
            Text(safe(f"here   {parting.bundle}")),
        ]
    if unsteady:
        lines.append(Text(safe(f"not compared in what differs from run to run there: {', '.join(unsteady)}")))
    init = against.medians.init_seconds
    if init is not None:
        lines.append(
            Text(f"init there {duration(init)}, peak memory {mebibytes(against.medians.peak_bytes)}")
        )
    return _block(f"against {against.name}", lines)


def findings_text(findings: Sequence[Finding], *, width: int = 80, color: bool = False) -> str:
    """Returns what the files tell, where nothing can be run.

    Args:
        findings: What they tell, errors first.
        width: Columns.
        color: Whether ANSI colours may be used.
    """
    return render(findings_block(findings), width=width, color=color)


def _not_emulated(run: Run) -> RenderableType:
    lines = [Text(safe(f"{one.what}: {one.reason}")) for one in run.not_emulated]
    return _block("not as on Lambda", lines)


def _verdict(result: Result) -> Text:
    answered = sum(one.fault is None for one in result.shown.outcomes)
    words = [f"{answered} of {len(result.events)} events answered"]
    if result.expected:
        same = sum(
            found is None and outcome.fault is None
            for found, outcome in zip(result.differences, result.shown.outcomes, strict=True)
        )
        tolerance = f" within {result.float_tolerance:g}" if result.float_tolerance else ""
        words.append(f"{same} as expected{tolerance}")
    errors = sum(one.severity is Severity.ERROR for one in result.findings)
    if errors:
        words.append(f"{errors} errors in its files" if errors > 1 else "1 error in its files")
    if result.against is not None:
        same_there = result.against.comparison.parting is None
        words.append(f"{'as' if same_there else 'not as'} {result.against.name}")
    style, verdict = ("bold red", "FAILED") if result.failed else ("bold green", "ok")
    return Text(f"{verdict}: {', '.join(words)}", style=style)


def _block(header: str, lines: Iterable[RenderableType]) -> RenderableType:
    return Group(
        Text(safe(header), style="bold"), *(Padding(line, (0, 0, 0, 2), expand=False) for line in lines)
    )


def _pretty(answer: str) -> list[str]:
    """Returns an answer as lines; JSON is laid out anew if it is worth it."""
    try:
        return json.dumps(json.loads(answer), indent=2, ensure_ascii=False).splitlines()
    except (ValueError, RecursionError):
        return answer.splitlines()


def _shortened(lines: list[str]) -> Iterator[str]:
    """Yields safe lines: all of a few, of many the first and the last."""
    half = _LINES // 2
    if len(lines) > _LINES:
        lines = [*lines[:half], f"… {len(lines) - 2 * half:,} lines …", *lines[-half:]]
    for line in lines:
        yield safe(line.expandtabs())

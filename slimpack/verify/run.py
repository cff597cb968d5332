"""Run: a bundle's modules and its handler, in an environment like Lambda's, before it is handed over."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping  # noqa: TC003 -- a field's type
from dataclasses import dataclass, replace
from pathlib import Path  # noqa: TC003 -- a field's type
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from slimpack import findings
from slimpack.compare import difference
from slimpack.errors import OutputError, ResolutionError, RuntimeRoomError
from slimpack.model import Need, Reference
from slimpack.plan import REMOVE
from slimpack.runtime import client, unpack
from slimpack.runtime.environment import Function
from slimpack.runtime.invoke import run
from slimpack.runtime.stage import Stage, StaysRootError
from slimpack.verify import handler as handlers
from slimpack.verify.cause import causes, remedy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from slimpack.cache import Cache
    from slimpack.model import Finding, Target
    from slimpack.progress import Progress
    from slimpack.runtime.api import Fault
    from slimpack.runtime.interpreter import Interpreter
    from slimpack.runtime.invoke import Outcome, Run

_PROBE = "slimpack_probe.handler"
_PROBE_MEMORY = 10240
"""MB: what the largest function may have; probes are about files."""
_PROBE_SECONDS = 300.0
"""What importing everything may take; TensorFlow takes ten."""

_TIMED_OUT = "Sandbox.Timedout"
"""Type of the fault of a process that took too long (``runtime.invoke``)."""

_REQUEST = re.compile(r"^RequestId: \S+ (Error: )?")
"""How Lambda begins what it says of a process that ended."""

_MESSAGE = 300
"""Characters of an exception that a finding quotes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event, and what shall come of it."""

    name: str
    """Name of its file."""
    content: bytes
    """JSON text, UTF-8."""
    expected: bytes | None = None
    """The answer that is expected, likewise; None if nothing is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What to try."""

    function: Function | None = None
    """The function's configuration; None to import modules only."""
    events: tuple[Event, ...] = ()
    """What its handler is given, in one warm process."""
    float_tolerance: float = 0.0
    """By how much numbers with a fraction may differ from what is expected, relative."""
    interpreter: Path | None = None
    """What runs it; None for one of the target's version that is found."""
    repair: bool = False
    """Whether a file that a run needs comes back, whatever rule took it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is verified."""

    target: Target
    """What it was built for."""
    tree: Path
    """Folder with all files of the bundle."""
    modules: Mapping[str, tuple[str, ...]]
    """Names to import by distribution."""
    removed: Mapping[str, str]
    """What is not in it: the rule by place in the installed tree."""
    sdk: bool
    """Whether the AWS SDK was left out because Lambda has it."""

    @property
    def root(self) -> Path:
        """Folder of the installed tree: that of a layer lies below ``python/``."""
        return self.tree / self.target.prefix


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What became of one thing that was tried."""

    what: str
    """``import`` or ``event``."""
    name: str
    """The module, or the event."""
    problem: str | None
    """Why it failed; None if it did not."""
    seconds: float | None = None
    """What an event took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a verification found."""

    tried: tuple[Tried, ...] = ()
    """Everything that was run."""
    findings: tuple[Finding, ...] = ()
    """What is wrong, and what was not checked."""
    missing: Mapping[str, Reference]
    """What a run asked for of what rules removed: by place in the installed tree, who asked. What the configuration
    removes is not here: it is not for a repair to contradict."""
    init_seconds: float | None = None
    """From the start of the process to its first request for an event; None without a handler."""
    peak_bytes: int | None = None
    """The most memory that the handler was seen to use."""
    answers: tuple[str, ...] = ()
    """What the handler returned, one for each event that it answered, as JSON."""
    not_emulated: tuple[str, ...] = ()
    """In what the run differed from one on Lambda."""
    ran: bool = True
    """Whether anything was run at all."""
    lasting: bool = True
    """Whether the same would be found tomorrow; False if something was not there that may come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Imported:
    """What became of imports."""

    failed: Mapping[str, str]
    """Why, by module: type and message, then the stack."""
    hung: frozenset[str]
    """Those of them that took too long."""
    not_emulated: tuple[str, ...]
    """In what the runs differed from Lambda."""


def verify(
    subject: Subject,
    trial: Trial,
    *,
    python: Interpreter | RuntimeRoomError,
    plain: Callable[[Path], Path],
    cache: Cache,
    progress: Progress,
) -> Verdict:
    """Imports what a bundle brings, then hands its handler the events.

    Args:
        subject: The bundle.
        trial: What to try.
        python: What runs it, or why there is nothing that could.
        plain: Makes, in an empty folder, what a plain install of the same lock would be, and returns its root. Only
            called when something fails that nothing which was removed explains.
        cache: Keeps the runtime client.
        progress: Whom to tell.

    Raises:
        RuntimeRoomError: The interpreter does not start.
    """
    handler = "" if trial.function is None else trial.function.handler
    blind = look(subject, handler, runs=False)
    if isinstance(python, RuntimeRoomError):
        return replace(_unchecked(blind, python.what, python.fix), lasting=True)
    static = look(subject, handler, runs=True)
    with unpack.scratch() as scratch:
        try:
            with progress.phase("fetching the runtime client"):
                folder = client.provide(
                    subject.target,
                    scratch / "runtime",
                    cache=cache,
                    sdk=subject.sdk,
                    progress=progress.tell,
                )
        except (ResolutionError, OutputError) as problem:
            return _unchecked(blind, f"the runtime client cannot be had: {problem}", problem.fix)
        stage = Stage(
            target=subject.target,
            tree=subject.tree,
            interpreter=python,
            client=folder,
            scratch=scratch,
            function=trial.function or Function(handler=_PROBE),
            owned=False,
            has_sdk=subject.sdk,
            may_stay_root=False,
        )
        try:
            with progress.phase("importing every package as on Lambda"):
                probed = _probe(subject, stage, plain, scratch)
            if trial.function is None or static:
                return replace(probed, findings=(*static, *probed.findings))
            with progress.phase("running the handler as on Lambda"):
                ran = _run(subject, trial, stage)
        except StaysRootError as problem:
            return _unchecked(blind, problem.what, problem.fix)
    came_up = ran.init_seconds is not None  # it would not have without the function
    return replace(
        ran,
        tried=(*probed.tried, *ran.tried),
        findings=(*probed.findings, *(() if came_up else blind), *ran.findings),
        missing={**ran.missing, **probed.missing},
    )


def look(subject: Subject, handler: str, *, runs: bool) -> tuple[Finding, ...]:
    """Returns what keeps Lambda from finding a handler, going by the files.

    Args:
        subject: The bundle.
        handler: As in the function's configuration; empty for none.
        runs: Whether it is run as well.
    """
    root = subject.root
    if not handler:
        return ()
    return handlers.check(handler, _files(root), lambda path: (root / path).read_bytes(), runs=runs)


def _files(tree: Path) -> set[str]:
    return {path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file()}


def _unchecked(static: Iterable[Finding], why: str, fix: str | None) -> Verdict:
    found = findings.NOT_CHECKED.at("imports and events", why, fix)
    return Verdict(findings=(*static, found), missing={}, ran=False, lasting=False)


def _probe(subject: Subject, stage: Stage, plain: Callable[[Path], Path], scratch: Path) -> Verdict:
    """Imports all modules in one process, and each one that fails in one of its own."""
    owners = {name: owner for owner, names in subject.modules.items() for name in names}
    probing = replace(
        stage,
        function=Function(handler=_PROBE, memory_mb=_PROBE_MEMORY, timeout_seconds=_PROBE_SECONDS),
    )
    imported = _imports(probing, list(owners), together=True)
    failed = dict(imported.failed)
    if again := [name for name in failed if name not in imported.hung]:
        alone = _imports(probing, again, together=False)
        failed = {name: failed[name] for name in imported.hung} | dict(alone.failed)
        imported = replace(imported, hung=imported.hung | alone.hung)
    unexplained: dict[str, str] = {}
    tried = {name: Tried(what="import", name=name, problem=None) for name in owners}
    found: list[Finding] = []
    missing: dict[str, Reference] = {}
    for name, problem in failed.items():
        tried[name] = Tried(what="import", name=name, problem=_short(problem))
        said = f"`import {name}` fails: {_short(problem)}"
        if explained := _explained(problem, subject):
            found.append(findings.IMPORT_FAILS.at(owners[name], said, remedy(explained, subject.removed)))
            who = Reference(need=Need.RUN, path=owners[name], line=None, target=f"import {name}")
            missing |= _repairable(explained, subject, who)
        elif name in imported.hung:  # to wait as long for a plain install would help nobody
            found.append(findings.IMPORT_FAILS.at(owners[name], said))
        else:
            unexplained[name] = said
    if unexplained:
        elsewhere = _imports(
            replace(probing, tree=plain(scratch / "plain")), list(unexplained), together=False
        ).failed
        found += (
            findings.FAILS_PLAINLY.at(owners[name], said)
            if name in elsewhere
            else findings.IMPORT_FAILS.at(owners[name], f"{said}; in a plain install it does not")
            for name, said in unexplained.items()
        )
    return Verdict(
        tried=tuple(tried.values()),
        findings=tuple(found),
        missing=missing,
        not_emulated=imported.not_emulated,
    )


def _imports(stage: Stage, names: Sequence[str], *, together: bool) -> _Imported:
    """Imports modules in one process, or each in its own; of those that hang, each ends a process."""
    groups = [list(names)] if together else [[name] for name in names]
    failed: dict[str, str] = {}
    hung: set[str] = set()
    not_emulated: tuple[str, ...] = ()
    while groups:
        group = groups.pop(0)
        mark = f"import-{uuid4()}"
        result = run(stage, [json.dumps({"modules": group, "mark": mark}).encode()])
        not_emulated = _differences(result)
        (outcome,) = result.outcomes
        if outcome.fault is not None and outcome.fault.type == _TIMED_OUT:
            begun = [name for name in group if f"{mark} {name}\n" in outcome.log.text]
            late = begun[-1:] or group  # where not even one was begun, none ever would be
            failed |= dict.fromkeys(late, _words(outcome))
            hung |= set(late)
            if rest := [name for name in group if name not in late]:
                groups.append(rest)
            continue
        if outcome.answer is None or outcome.fault is not None:  # the process did not live to tell
            failed |= dict.fromkeys(group, _words(outcome))
            continue
        try:
            told: dict[str, dict[str, Any]] = json.loads(outcome.answer)
            failed |= {
                name: f"{one['type']}: {one['message']}\n{''.join(one['stack'])}"
                for name, one in told.items()
                if name in group
            }
        except (
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            RecursionError,
        ):  # a module answered for us
            failed |= dict.fromkeys(group, f"an answer that is not the probe's: {outcome.answer}")
    return _Imported(failed=failed, hung=frozenset(hung), not_emulated=not_emulated)


def _differences(result: Run) -> tuple[str, ...]:
    return tuple(f"{one.what}: {one.reason}" for one in result.not_emulated)


def _run(subject: Subject, trial: Trial, stage: Stage) -> Verdict:
    """Hands the handler all events, in one process."""
    result = run(stage, [event.content for event in trial.events])
    tried: list[Tried] = []
    found: list[Finding] = []
    missing: dict[str, Reference] = {}
    for place, fault, log in _faults([event.name for event in trial.events], result):
        said = f"{fault_words(fault)}\n{log}"
        explained = _explained(said, subject)
        message = f"{place} fails: {fault.type}: {_cut(_message(fault))}"
        fix = remedy(explained, subject.removed)
        found.append(findings.EVENT_FAILS.at(stage.function.handler, message, fix))
        who = Reference(need=Need.RUN, path=stage.function.handler, line=None, target=place)
        missing |= _repairable(explained, subject, who)
    for event, outcome in zip(trial.events, result.outcomes, strict=True):
        problem = None if outcome.fault is None else outcome.fault.type
        if event.expected is not None and outcome.answer is not None and outcome.fault is None:
            parted = difference(event.expected, outcome.answer, float_tolerance=trial.float_tolerance)
            if parted is not None:
                problem = f"at {parted.path}: expected {parted.expected}, given {parted.given}"
                found.append(findings.ANSWER_DIFFERS.at(event.name, f"the answer differs {problem}"))
        tried.append(Tried(what="event", name=event.name, problem=problem, seconds=outcome.seconds))
    if not trial.events:
        failure = result.starts[0].fault
        tried.append(Tried(what="event", name="init", problem=None if failure is None else failure.type))
    return Verdict(
        tried=tuple(tried),
        findings=tuple(found),
        missing=missing,
        init_seconds=result.starts[0].seconds,
        peak_bytes=result.peak_bytes,
        answers=tuple(one.answer for one in result.outcomes if one.answer is not None),
        not_emulated=_differences(result),
    )


def diagnose(
    result: Run, events: Sequence[str], removed: Mapping[str, str], *, root: Path
) -> tuple[str, ...]:
    """Returns, for the failures of a run that files explain which the bundle lacks, what to do about these.

    Args:
        result: The run.
        events: Names of its events.
        removed: What the bundle lacks: the rule, or ``cause.LOST``, by place in the installed tree.
        root: Folder of the installed tree.
    """
    remedies = (
        remedy(_causes(f"{fault_words(fault)}\n{log}", removed, root), removed)
        for _, fault, log in _faults(events, result)
    )
    return tuple(dict.fromkeys(one for one in remedies if one is not None))


def _faults(events: Sequence[str], result: Run) -> Iterator[tuple[str, Fault, str]]:
    """Yields where something went wrong, what, and what was printed; a start that failed only once."""
    start = result.starts[-1]
    if start.fault is not None:
        yield "init", start.fault, start.log.text
    for event, outcome in zip(events, result.outcomes, strict=True):
        if outcome.fault is not None and outcome.fault is not start.fault:
            yield f"event {event}", outcome.fault, outcome.log.text


def _words(outcome: Outcome) -> str:
    return "no answer" if outcome.fault is None else fault_words(outcome.fault)


def fault_words(fault: Fault) -> str:
    """Returns all that a fault says, a request's id aside: type and message, then the stack."""
    return "\n".join((f"{fault.type}: {_message(fault)}", *fault.stack))


def _message(fault: Fault) -> str:
    """Returns what a fault says, without the id of the request, which is another one each time."""
    return _REQUEST.sub("", fault.message)


def _explained(problem: str, subject: Subject) -> tuple[str, ...]:
    return _causes(problem, subject.removed, subject.root)


def _causes(problem: str, removed: Mapping[str, str], root: Path) -> tuple[str, ...]:
    return causes(problem, removed, roots=("/var/task", "/opt/python", str(root)))


def _repairable(explained: Iterable[str], subject: Subject, who: Reference) -> dict[str, Reference]:
    return {path: who for path in explained if subject.removed[path] != REMOVE}


def _short(problem: str) -> str:
    return _cut(problem.split("\n", 1)[0])


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MESSAGE else f"{line[:_MESSAGE]}…"

"""Run: a bundle's modules and its handler, in an environment like Lambda's, before it is handed over."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping  # noqa: TC003 -- a field's type
from dataclasses import dataclass, replace
from pathlib import Path  # noqa: TC003 -- a field's type
from typing import TYPE_CHECKING, Any, Protocol

from slimpack import findings
from slimpack.compare import difference
from slimpack.errors import OutputError, ResolutionError, RuntimeRoomError
from slimpack.model import Need, Reference
from slimpack.plan import REMOVE
from slimpack.runtime import client, interpreter, unpack
from slimpack.runtime.environment import Function
from slimpack.runtime.invoke import run
from slimpack.runtime.stage import Stage
from slimpack.verify import handler as handlers
from slimpack.verify.cause import causes, remedy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from slimpack.cache import Cache
    from slimpack.model import Finding, Target
    from slimpack.runtime.api import Fault
    from slimpack.runtime.invoke import Outcome, Run

_PROBE = "slimpack_probe.handler"
_PROBE_MEMORY = 10240
"""MB: what the largest function may have; probes are about files."""
_PROBE_SECONDS = 300.0
"""What importing everything may take; TensorFlow takes ten."""

_REQUEST = re.compile(r"^RequestId: \S+ (Error: )?")
"""How Lambda begins what it says of a process that ended."""

_MESSAGE = 300
"""Characters of an exception that a finding quotes."""


class Progress(Protocol):
    """Whoever wants to know how far a verification has come."""

    def phase(self, text: str) -> AbstractContextManager[None]:
        """Surrounds a phase."""

    def tell(self, words: str) -> None:
        """Tells what goes on inside the phase."""


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


def verify(
    subject: Subject,
    trial: Trial,
    *,
    plain: Callable[[Path], Path],
    cache: Cache,
    progress: Progress,
) -> Verdict:
    """Imports what a bundle brings, then hands its handler the events.

    Args:
        subject: The bundle.
        trial: What to try.
        plain: Makes, in an empty folder, what a plain install of the same lock would be, and returns its root. Only
            called when something fails that nothing which was removed explains.
        cache: Keeps the runtime client.
        progress: Whom to tell.

    Raises:
        RuntimeRoomError: The interpreter that the user has named does not run, or is another one.
    """
    static: tuple[Finding, ...] = ()
    if trial.function is not None:
        root = subject.root
        static = handlers.check(trial.function.handler, _files(root), lambda path: (root / path).read_bytes())
    try:
        python = interpreter.choose(subject.target, trial.interpreter)
    except RuntimeRoomError as problem:
        if trial.interpreter is not None:
            raise
        return _unchecked(static, f"{problem.what}", problem.fix)
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
            return _unchecked(static, f"the runtime client cannot be had: {problem}", problem.fix)
        stage = Stage(
            target=subject.target,
            tree=subject.tree,
            interpreter=python,
            client=folder,
            scratch=scratch,
            function=trial.function or Function(handler=_PROBE),
            owned=False,
            has_sdk=subject.sdk,
        )
        with progress.phase("importing every package as on Lambda"):
            probed = _probe(subject, stage, plain, scratch)
        if trial.function is None or static:
            return replace(probed, findings=(*static, *probed.findings))
        with progress.phase("running the handler as on Lambda"):
            ran = _run(subject, trial, stage)
    return replace(
        ran,
        tried=(*probed.tried, *ran.tried),
        findings=(*probed.findings, *ran.findings),
        missing={**ran.missing, **probed.missing},
    )


def _files(tree: Path) -> set[str]:
    return {path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file()}


def _unchecked(static: Iterable[Finding], why: str, fix: str | None) -> Verdict:
    found = findings.NOT_CHECKED.at("imports and events", why, fix)
    return Verdict(findings=(*static, found), missing={})


def _probe(subject: Subject, stage: Stage, plain: Callable[[Path], Path], scratch: Path) -> Verdict:
    """Imports all modules in one process, and each one that fails in one of its own."""
    owners = {name: owner for owner, names in subject.modules.items() for name in names}
    probing = replace(
        stage,
        function=Function(handler=_PROBE, memory_mb=_PROBE_MEMORY, timeout_seconds=_PROBE_SECONDS),
    )
    failed = _imports(probing, list(owners), together=True)
    if failed:
        failed = _imports(probing, list(failed), together=False)
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
        else:
            unexplained[name] = said
    if unexplained:
        elsewhere = _imports(
            replace(probing, tree=plain(scratch / "plain")), list(unexplained), together=False
        )
        found += (
            findings.FAILS_PLAINLY.at(owners[name], said)
            if name in elsewhere
            else findings.IMPORT_FAILS.at(owners[name], f"{said}; in a plain install it does not")
            for name, said in unexplained.items()
        )
    return Verdict(tried=tuple(tried.values()), findings=tuple(found), missing=missing)


def _imports(stage: Stage, names: Sequence[str], *, together: bool) -> dict[str, str]:
    """Returns why modules cannot be imported, by name: in one process, or each in its own."""
    groups = [list(names)] if together else [[name] for name in names]
    failed: dict[str, str] = {}
    for group in groups:
        (outcome,) = run(stage, [json.dumps({"modules": group}).encode()]).outcomes
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
    return failed


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
        not_emulated=tuple(f"{one.what}: {one.reason}" for one in result.not_emulated),
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

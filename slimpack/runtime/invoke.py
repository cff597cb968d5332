"""Invoke: one warm process that takes events one by one, and cold runs over all of them."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from signal import strsignal
from statistics import median
from typing import TYPE_CHECKING, Self
from uuid import uuid4

from slimpack.runtime import memory
from slimpack.runtime.api import Answered, Failed, Fault, Invocation, Ready, Report, RuntimeApi, Taken
from slimpack.runtime.log import Printed
from slimpack.runtime.sandbox import Ended, RefusedError, Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType

    from slimpack.runtime.stage import NotEmulated, Stage

INIT_SECONDS = 10.0
"""What Lambda gives to init. One that takes longer is started again inside the first invoke, within its timeout
("Understanding the Lambda execution environment lifecycle"); here it gets both at once."""

_GLANCE = 0.05
"""Seconds between two looks at the memory."""

_LAST_BREATH = 5.0
"""Seconds that a process which is being killed, or has said that init failed, has to end."""

_MB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A cold start."""

    seconds: float | None
    """From the start of the process until it first asked for an event; None if it never did."""
    fault: Fault | None
    """Why it did not."""
    log: Printed
    """What was printed meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one event."""

    seconds: float | None
    """From the event's arrival at the client until its answer; None if there was no process to take it."""
    answer: str | None
    """What the handler returned, normally JSON; None if it did not."""
    fault: Fault | None
    """Why the event failed. With an answer: the process did not survive giving it."""
    log: Printed
    """What was printed meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A cold run over events."""

    starts: tuple[Start, ...]
    """The cold start; more than one if a process died before the last event."""
    outcomes: tuple[Outcome, ...]
    """One for each event, in order."""
    peak_bytes: int
    """The most memory that was seen in use at once."""
    not_emulated: tuple[NotEmulated, ...]
    """In what the run differs from one on Lambda."""

    @property
    def failed(self) -> bool:
        """Whether any event has no answer, or the function could not even be started."""
        return any(one.fault for one in self.starts) or any(one.fault for one in self.outcomes)

    @property
    def slow_init(self) -> bool:
        """Whether init took longer than Lambda gives it, so that it would start again in the first invoke there."""
        return any(one.seconds is not None and one.seconds > INIT_SECONDS for one in self.starts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Medians:
    """Middle values of several cold runs; of an even number, the mean of the two in the middle."""

    init_seconds: float | None
    """Of the first starts; None if none came up."""
    event_seconds: tuple[float | None, ...]
    """Of each event."""
    peak_bytes: int
    """Of the peaks."""


class Session:
    """One process that is started cold and stays warm; a context manager that kills it."""

    def __init__(self, stage: Stage) -> None:
        """Makes the process ready to start.

        Args:
            stage: What to start.
        """
        self._stage = stage
        self._reports: SimpleQueue[Report | Ended] = SimpleQueue()
        self._stack = ExitStack()
        self.peak_bytes = 0
        """The most memory that was seen in use at once."""
        self.alive = False
        """Whether the process can take an event."""
        self.refused: str | None = None
        """Why the process has no room of its own; None if it has one."""

    def __enter__(self) -> Self:
        with self._stack:
            self._sandbox = self._stack.enter_context(self._open())
            self._api = self._stack.enter_context(RuntimeApi(self._sandbox.listener, self._reports.put))
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def start(self) -> Start:
        """Waits until the process has started and asks for an event, or fails to.

        Raises:
            RuntimeRoomError: The interpreter cannot be started.
        """
        began = self._sandbox.started()
        allowed = INIT_SECONDS + self._stage.function.timeout_seconds
        fault: Fault | None = None
        while True:
            report = self._next(began + allowed)
            match report:
                case Ready():
                    self.alive = True
                    return Start(seconds=report.at - began, fault=None, log=self._sandbox.log.cut())
                case Failed(id=None):
                    fault = report.fault
                    if self._next(time.monotonic() + _LAST_BREATH) is None:  # its process should end now
                        self._kill()
                case Ended():
                    fault = self._exit_fault(report, "")
                case None:
                    self._kill()
                    fault = _timeout(allowed, "")
                case Fault():
                    fault = report
                case _:
                    continue
            return Start(seconds=None, fault=fault, log=self._sandbox.log.cut())

    def invoke(self, event: bytes) -> Outcome:
        """Hands an event to the handler and waits for what comes of it.

        If the process does not survive it, ``alive`` is False afterwards.

        Args:
            event: JSON text, UTF-8.
        """
        function = self._stage.function
        id_ = str(uuid4())
        offered = time.monotonic()
        self._api.offer(
            Invocation(
                id=id_,
                event=event,
                deadline_ms=int((time.time() + function.timeout_seconds) * 1000),
                function_arn=function.arn,
                trace_id=f"Root=1-{id_[:8]}-{id_.replace('-', '')[8:]};Parent={id_.replace('-', '')[:16]};Sampled=0",
            )
        )
        taken, ended = offered, None
        answer: str | None = None
        fault: Fault | None = None
        while True:
            report = self._next(taken + function.timeout_seconds, id_)
            match report:
                case Taken(id=name) if name == id_:
                    taken = report.at
                case Answered():
                    ended = report.at
                    answer = report.body.decode(errors="replace")
                case Failed(id=str()):
                    ended = report.at
                    fault = report.fault
                case Ready() if ended is not None:
                    break
                case Ended():
                    self.alive = False
                    # a client that could not hand in its answer ends as well: what it said first tells more
                    fault = fault or self._exit_fault(report, id_)
                    ended = ended or report.at
                    break
                case None:
                    self._kill()
                    fault = fault or _timeout(function.timeout_seconds, id_)
                    ended = ended or time.monotonic()
                    break
                case Fault():
                    fault, ended = report, time.monotonic()
                    break
        return Outcome(seconds=ended - taken, answer=answer, fault=fault, log=self._sandbox.log.cut())

    def processes(self) -> list[int]:
        """Returns the ids of the process, first, and of all that descends from it."""
        return self._sandbox.processes()

    def _open(self) -> Sandbox:
        if not self._stage.room:
            self.refused = "none was wanted"
        else:
            try:
                return Sandbox(self._stage.order(room=True), self._reports.put)
            except RefusedError as problem:
                self.refused = str(problem)
        return Sandbox(self._stage.order(room=False), self._reports.put)

    def _next(self, until: float, id_: str = "") -> Report | Ended | Fault | None:
        """Returns what happens next; a fault when the memory is used up, None when the time is."""
        while True:
            report: Report | Ended | None = None
            left = until - time.monotonic()
            try:
                report = self._reports.get(timeout=max(0.0, min(left, _GLANCE)))
            except Empty:
                if left <= 0:
                    return None
            now = report.peak_bytes if isinstance(report, Ended) else memory.used(self._sandbox.processes())
            self.peak_bytes = max(self.peak_bytes, now)
            if now > self._stage.function.memory_mb * _MB:
                if not isinstance(report, Ended):
                    self._kill()
                self.alive = False
                return _out_of_memory(now, self._stage.function.memory_mb, id_)
            if report is not None:
                return report

    def _kill(self) -> None:
        self.alive = False
        self._sandbox.kill()
        until = time.monotonic() + _LAST_BREATH
        while (left := until - time.monotonic()) > 0:
            try:
                if isinstance(self._reports.get(timeout=left), Ended):
                    return
            except Empty:
                return

    def _exit_fault(self, ended: Ended, id_: str) -> Fault:
        self.alive = False
        if ended.status < 0:
            how = f"exited with error: signal: {(strsignal(-ended.status) or str(-ended.status)).lower()}"
        elif ended.reason is not None:
            how = ended.reason
        elif ended.status > 0:
            how = f"exited with error: exit status {ended.status}"
        else:
            how = "exited without providing a reason"
        return Fault(type="Runtime.ExitError", message=_about(id_, f"Runtime {how}"))


def run(stage: Stage, events: Sequence[bytes], *, between: Callable[[Session], None] = lambda _: None) -> Run:
    """Starts a function cold and hands it events, one after the other.

    If the process dies, the next event gets a new one, as on Lambda. If it cannot be started, all events that are
    left fail for the same reason.

    Args:
        stage: What to start.
        events: JSON texts, UTF-8; none to see only whether it starts.
        between: Called twice while the process waits for an event: after init, and after the last event.

    Raises:
        RuntimeRoomError: The interpreter cannot be started.
    """
    starts: list[Start] = []
    outcomes: list[Outcome] = []
    peak = 0
    while True:
        with Session(stage) as session:
            start = session.start()
            starts.append(start)
            if session.alive:
                between(session)
            while session.alive and len(outcomes) < len(events):
                outcomes.append(session.invoke(events[len(outcomes)]))
            if session.alive:
                between(session)
            peak = max(peak, session.peak_bytes)
        if start.fault is not None:
            lost = Outcome(seconds=None, answer=None, fault=start.fault, log=Printed(text=""))
            outcomes += [lost] * (len(events) - len(outcomes))
        if len(outcomes) == len(events):
            break
    return Run(
        starts=tuple(starts),
        outcomes=tuple(outcomes),
        peak_bytes=peak,
        not_emulated=stage.not_emulated(session.refused),
    )


def medians(runs: Sequence[Run]) -> Medians:
    """Returns the middle values of runs over the same events.

    Args:
        runs: At least one.
    """
    return Medians(
        init_seconds=_median(one.starts[0].seconds for one in runs),
        event_seconds=tuple(
            _median(one.seconds for one in outcomes)
            for outcomes in zip(*(one.outcomes for one in runs), strict=True)
        ),
        peak_bytes=int(median(one.peak_bytes for one in runs)),
    )


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _timeout(seconds: float, id_: str) -> Fault:
    return Fault(type="Sandbox.Timedout", message=_about(id_, f"Task timed out after {seconds:.2f} seconds"))


def _out_of_memory(used: int, limit_mb: int, id_: str) -> Fault:
    how = f"signal: killed, {-(-used // _MB):,} MB used of {limit_mb:,}"
    return Fault(type="Runtime.OutOfMemory", message=_about(id_, f"Runtime exited with error: {how}"))


def _about(id_: str, what: str) -> str:
    """Returns a message as Lambda words it."""
    return f"RequestId: {id_} Error: {what}" if id_ else what

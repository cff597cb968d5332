"""Workers: processes that run one function over many tasks, and may crash or hang without harm to the build.

``concurrent.futures`` gives up all tasks when one process dies and does not tell which task killed it;
``multiprocessing`` runs the caller's main module again in every process.
"""

from __future__ import annotations

import pickle
import resource
import signal
import subprocess
import sys
import time
import traceback
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from itertools import islice
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Generic, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Task = TypeVar("Task")
Result = TypeVar("Result")

_GONE = (EOFError, OSError)
"""What a connection raises when the process at its other end has died."""


_LAST_BREATH = 5.0
"""Seconds that a process which has hung up gets to end, so that its own exit status is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crashed:
    """What came of a task whose process died or did not answer."""

    reason: str
    """``SIGSEGV``, ``exit status 3`` or ``no answer in 600 seconds``."""


def run(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    *,
    jobs: int,
    timeout_seconds: float,
) -> Iterator[tuple[Task, Result | Crashed]]:
    """Runs a function over tasks in processes of their own.

    When the caller stops iterating, or is interrupted, the processes are killed at once.

    Args:
        function: A function at the top level of a module; it, its argument and its result can be pickled.
        tasks: Started in this order.
        jobs: Processes at a time.
        timeout_seconds: How long one task may take.

    Yields:
        Each task with its result, or with what became of its process, in the order in which they end.

    Raises:
        Exception: What the function raises, with the traceback of its process as a note.
    """
    waiting = iter(tasks)
    idle: list[_Worker[Task, Result]] = []
    busy: list[_Worker[Task, Result]] = []
    ended: list[tuple[Task, Result | Crashed]] = []
    try:
        while True:
            for task in islice(waiting, jobs - len(busy)):
                worker = idle.pop() if idle else _Worker()
                busy.append(worker)
                worker.give(function, task, timeout_seconds)
            yield from ended
            if not busy:
                return
            ended = []
            for worker in _wait(busy):
                ended.append((worker.task, worker.outcome(timeout_seconds)))
                busy.remove(worker)
                if worker.process.poll() is None:
                    idle.append(worker)
    finally:
        for worker in (*idle, *busy):
            worker.process.kill()
        for worker in (*idle, *busy):
            worker.close()


class _Worker(Generic[Task, Result]):
    """One process, seen from the caller."""

    task: Task
    """What it was given last."""
    deadline: float
    """When it has to be done with that, by the monotonic clock in seconds."""

    def __init__(self) -> None:
        self.connection, theirs = Pipe()
        call = f"from {__name__} import _serve; _serve({theirs.fileno()})"
        with theirs:
            # A session of its own: an interrupt at the terminal goes to the caller alone, who kills it.
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", f"import sys; sys.path[:] = {sys.path!r}; {call}"],
                stdin=subprocess.DEVNULL,
                stdout=2,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )

    def give(self, function: Callable[[Task], Result], task: Task, timeout_seconds: float) -> None:
        """Starts a task."""
        self.task = task
        self.deadline = time.monotonic() + timeout_seconds
        with suppress(*_GONE):  # that it is dead shows when its answer is waited for
            self.connection.send((function, task))

    def outcome(self, timeout_seconds: float) -> Result | Crashed:
        """Returns what came of the task; a process that did not answer is dead afterwards.

        Raises:
            Exception: What the function raised.
        """
        try:
            if not self.connection.poll():
                self.close()
                return Crashed(reason=f"no answer in {timeout_seconds:g} seconds")
            succeeded, value = self.connection.recv()
        except _GONE:
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(_LAST_BREATH)
            self.close()
            return Crashed(reason=_reason(self.process.returncode))
        if not succeeded:
            raise value
        return cast("Result | Crashed", value)

    def close(self) -> None:
        """Kills the process, if it is not dead by itself, and frees what it held."""
        self.process.kill()
        self.process.wait()
        self.connection.close()


def _wait(busy: list[_Worker[Task, Result]]) -> list[_Worker[Task, Result]]:
    """Waits until workers have answered, died or run out of time, and returns these."""
    soonest = min(worker.deadline for worker in busy)
    ready = wait([worker.connection for worker in busy], timeout=max(0.0, soonest - time.monotonic()))
    now = time.monotonic()
    return [worker for worker in busy if worker.connection in ready or worker.deadline <= now]


def _reason(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


def _serve(descriptor: int) -> None:
    """Runs in the process: answers tasks until the caller goes away."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))  # a crash is an expected outcome here
    with Connection(descriptor) as connection, suppress(*_GONE):
        while True:
            answer = _answer(connection.recv_bytes())
            with suppress(OSError):  # whoever would read it has gone
                sys.stdout.flush()  # the caller may kill this process once it has the answer
            connection.send_bytes(answer)


def _answer(message: bytes) -> bytes:
    """Returns whether the function succeeded on its task, and its result or what it raised, pickled."""
    try:
        function, task = pickle.loads(message)  # noqa: S301 -- it comes from the caller
        return pickle.dumps((True, function(task)))
    except MemoryError:
        return pickle.dumps((True, Crashed(reason="out of memory")))
    except Exception as error:  # noqa: BLE001 -- whatever it is, the caller gets it
        trace = traceback.format_exc()
        try:
            error = copy(error)  # as unpickling will do it
            error.add_note(trace)
            return pickle.dumps((False, error))
        except Exception:  # noqa: BLE001 -- an exception that cannot travel
            return pickle.dumps((False, RuntimeError(trace)))

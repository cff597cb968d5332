from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from slimpack.errors import WheelError
from slimpack.workers import Crashed, run

LONG = 600.0


def square(number: int) -> int:
    return number * number


def process_of(_: int) -> int:
    time.sleep(0.05)
    return os.getpid()


def misbehave(how: str) -> str:
    if how == "segfault":
        ctypes.string_at(0)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "exit":
        os._exit(3)
    if how == "leave":
        sys.exit(4)
    if how == "hang":
        time.sleep(LONG)
    if how == "memory":
        raise MemoryError
    if how == "print":
        print("from a worker")  # noqa: T201 -- what a library might do
    return how.upper()


class DemandingError(Exception):
    """Cannot be rebuilt from its arguments alone."""

    def __init__(self, *, what: str, where: str) -> None:
        super().__init__(f"{what} at {where}")


def fail(how: str) -> str:
    if how == "damaged":
        raise WheelError("the wheel is truncated", where="a.whl", fix="Download it again.")
    if how == "demanding":
        raise DemandingError(what="a", where="b")
    return how


def unpicklable(_: int) -> object:
    return lambda: None


def touch_and_sleep(path: str) -> str:
    Path(path).write_text(str(os.getpid()), encoding="ascii")
    time.sleep(LONG)
    return path


def die_after_answering(number: int) -> int:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    return number


def test_every_task_comes_back_with_its_result() -> None:
    tasks = list(range(20))

    results = dict(run(square, tasks, jobs=2, timeout_seconds=LONG))

    assert results == {number: number * number for number in tasks}


def test_no_tasks_start_no_process() -> None:
    assert list(run(square, [], jobs=2, timeout_seconds=LONG)) == []


def test_processes_are_as_many_as_asked_for_and_not_this_one() -> None:
    processes = {process for _, process in run(process_of, range(8), jobs=2, timeout_seconds=LONG)}

    assert len(processes) == 2
    assert os.getpid() not in processes


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("segfault", "SIGSEGV"),
        ("kill", "SIGKILL"),
        ("exit", "exit status 3"),
        ("leave", "exit status 4"),
        ("memory", "out of memory"),
    ],
)
def test_a_crash_costs_only_the_task_that_caused_it(how: str, reason: str) -> None:
    results = dict(run(misbehave, ["a", how, "b", "c"], jobs=2, timeout_seconds=LONG))

    assert results == {"a": "A", how: Crashed(reason=reason), "b": "B", "c": "C"}


def test_a_task_that_hangs_is_killed_and_the_others_complete() -> None:
    results = dict(run(misbehave, ["hang", "a", "b"], jobs=2, timeout_seconds=2.0))

    assert results == {"hang": Crashed(reason="no answer in 2 seconds"), "a": "A", "b": "B"}


def test_a_process_that_dies_between_tasks_harms_no_other_task() -> None:
    results = dict(run(die_after_answering, range(4), jobs=1, timeout_seconds=LONG))

    assert results.keys() == set(range(4))
    assert results[0] == 0


def test_an_exception_reaches_the_caller_whole() -> None:
    with pytest.raises(WheelError, match="truncated") as caught:
        list(run(fail, ["fine", "damaged"], jobs=2, timeout_seconds=LONG))

    assert (caught.value.where, caught.value.fix) == ("a.whl", "Download it again.")
    assert "in fail" in caught.value.__notes__[0]


@pytest.mark.parametrize(("function", "task"), [(fail, "demanding"), (unpicklable, 1)])
def test_what_cannot_travel_between_processes_still_raises(function: object, task: object) -> None:
    with pytest.raises(Exception, match=r"a at b|pickle"):
        list(run(function, [task], jobs=1, timeout_seconds=LONG))  # type: ignore[arg-type]


def test_a_function_that_no_other_process_can_import_is_an_exception_and_no_crash() -> None:
    local = type("local", (), {"__module__": "no_such_module"})
    sys.modules["no_such_module"] = ModuleType("no_such_module")
    sys.modules["no_such_module"].local = local  # type: ignore[attr-defined]
    try:
        with pytest.raises(ModuleNotFoundError):
            list(run(local, [1], jobs=1, timeout_seconds=LONG))
    finally:
        del sys.modules["no_such_module"]


def test_what_a_worker_prints_stays_out_of_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    list(run(misbehave, ["print"], jobs=1, timeout_seconds=LONG))

    assert capfd.readouterr() == ("", "from a worker\n")


def test_no_process_outlives_a_caller_that_stops_early(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    results = run(misbehave_or_sleep, ["a", str(mark)], jobs=2, timeout_seconds=LONG)

    next(results)
    process = wait_for(mark)
    results.close()  # type: ignore[attr-defined]

    assert not alive(process)


def misbehave_or_sleep(task: str) -> str:
    return touch_and_sleep(task) if "/" in task else misbehave(task)


def test_an_interrupt_ends_the_processes_at_once(tmp_path: Path) -> None:
    # given a script without a main guard that runs two tasks which never end
    marks = [tmp_path / "one", tmp_path / "two"]
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from slimpack.workers import run\n"
        "from test_workers import touch_and_sleep\n"
        f"list(run(touch_and_sleep, {[str(mark) for mark in marks]!r}, jobs=2, timeout_seconds=600))\n",
        encoding="utf-8",
    )

    # when it is interrupted as by Ctrl-C
    with subprocess.Popen([sys.executable, script], stderr=subprocess.PIPE, start_new_session=True) as caller:
        processes = [wait_for(mark) for mark in marks]
        os.killpg(caller.pid, signal.SIGINT)
        _, complaint = caller.communicate(timeout=30)

    # then it ends, its processes with it, and only the caller has something to say
    assert caller.returncode == -signal.SIGINT
    assert complaint.count(b"KeyboardInterrupt") == 1
    assert not any(alive(process) for process in processes)


def wait_for(mark: Path) -> int:
    """Returns the process id that a worker has written."""
    for _ in range(3000):
        if mark.exists() and (text := mark.read_text(encoding="ascii")):
            return int(text)
        time.sleep(0.01)
    raise AssertionError("the worker never started")


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True

from __future__ import annotations

import pytest

from slimpack.runtime.api import Fault
from slimpack.runtime.invoke import Outcome, Run, Start
from slimpack.runtime.log import Printed
from slimpack.verify.against import Comparison, compare


def ran(
    answer: str | None = "{}", *, log: str = "", fault: Fault | None = None, init: Fault | None = None
) -> Run:
    outcome = Outcome(seconds=1.0, answer=answer, fault=fault, log=Printed(text=log))
    start = Start(seconds=1.0, fault=init, log=Printed(text=""))
    return Run(starts=(start,), outcomes=(outcome,), peak_bytes=1, not_emulated=())


def compared(bundle: Run, one: Run, again: Run | None = None) -> Comparison:
    return compare([bundle], (one, again or one), events=["e.json"], folders=["/some/here", "/some/there"])


def parting(bundle: Run, one: Run, again: Run | None = None) -> tuple[str, str, str] | None:
    found = compared(bundle, one, again).parting
    return None if found is None else (found.where, found.other, found.bundle)


def test_runs_that_said_the_same_do_not_part() -> None:
    fault = Fault(type="ValueError", message="bad", stack=('  File "/var/task/app.py", line 1\n',))

    assert compared(ran(log="a\nb"), ran(log="a\nb")) == Comparison(parting=None, unsteady=())
    assert parting(ran(None, fault=fault), ran(None, fault=fault)) is None


def test_answers_are_compared_as_json_to_the_last_digit() -> None:
    assert parting(ran('{"a": 1, "b": 2}'), ran('{"b": 2, "a": 1}')) is None
    assert parting(ran('{"a": 1.0000000000000002}'), ran('{"a": 1.0}')) == (
        "the answer to e.json, at $.a",
        "1.0",
        "1.0000000000000002",
    )


def test_an_answer_where_there_was_none_is_a_difference() -> None:
    fault = Fault(type="ValueError", message="bad")

    assert parting(ran("1"), ran(None, fault=fault)) == (
        "the failure of e.json, line 1",
        "ValueError: bad",
        "nothing",
    )
    assert parting(ran(None), ran("1")) == ("the answer to e.json, line 1", "1", "nothing")


def test_exceptions_are_compared_with_their_tracebacks() -> None:
    one, other = (Fault(type="E", message="m", stack=(f"line {number}",)) for number in (1, 2))

    assert parting(ran(None, fault=one), ran(None, fault=other)) == (
        "the failure of e.json, line 2",
        "line 2",
        "line 1",
    )
    assert parting(ran(None, init=one), ran(None, init=other)) is not None


def test_the_first_line_of_a_log_that_differs_is_shown() -> None:
    assert parting(ran(log="a\nc\nd"), ran(log="a\nb\ne")) == ("the log of e.json, line 2", "b", "c")
    assert parting(ran(log="a\nb"), ran(log="a")) == ("the log of e.json, line 2", "nothing", "b")


def test_each_run_is_compared_and_the_first_that_parts_is_named() -> None:
    def compared_all(*answers: str) -> Comparison:
        bundle = [ran(answer) for answer in answers]
        return compare(bundle, (ran("1"), ran("1")), events=["e.json"], folders=[])

    alike, unlike = compared_all("1", "1", "1.0"), compared_all("1", "2", "3")

    assert alike.parting is None
    assert unlike.parting is not None
    assert (unlike.parting.where, unlike.parting.bundle) == ("run 2, the answer to e.json, at $", "2")


def test_folders_and_request_ids_are_no_difference() -> None:
    ids = ("70f8972a-90fd-4a9c-b42c-88bbc4adcd12", "00000000-90fd-4a9c-b42c-88bbc4adcd12")
    one, other = (
        Fault(type="E", message=f"RequestId: {id_} Error: died in {place}")
        for id_, place in zip(ids, ("/some/here/x", "/some/there/x"), strict=True)
    )

    assert compared(ran(None, fault=one), ran(None, fault=other)) == Comparison(parting=None, unsteady=())


@pytest.mark.parametrize(
    ("bundle", "differs"),
    [
        ("10:00:03.777 I took 9 ms", False),
        ("10:00:03.777 W took 9 ms", True),
        ("10:00:03.777 I took 9 ms more", True),
    ],
)
def test_what_differs_from_run_to_run_there_is_told_and_not_compared(bundle: str, *, differs: bool) -> None:
    found = compared(
        ran(log=bundle), ran(log="10:00:01.123 I took 5 ms"), ran(log="10:00:02.456 I took 6 ms")
    )

    assert (found.parting is not None) == differs
    assert found.unsteady == ("the log of e.json",)


def test_an_answer_of_chance_is_told_and_not_compared() -> None:
    assert compared(ran("3"), ran("1"), ran("2")) == Comparison(
        parting=None, unsteady=("the answer to e.json",)
    )

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from slimpack import findings
from slimpack.compare import Difference
from slimpack.report.invoke import Against, Result, as_json, text
from slimpack.runtime.api import Fault
from slimpack.runtime.invoke import Outcome, Run, Start, medians
from slimpack.runtime.log import Printed
from slimpack.verify.against import Comparison, Parting

SILENT = Printed(text="")
ANSWERED = Outcome(seconds=0.0123, answer='{"a": [1]}', fault=None, log=Printed(text="one\ntwo\x1b\n"))
RAISED = Outcome(
    seconds=2.5,
    answer=None,
    fault=Fault(type="KeyError", message="'a'", stack=('  File "/var/task/app.py", line 1\n',)),
    log=SILENT,
)


def run(*outcomes: Outcome, init: float | None = 0.5, fault: Fault | None = None) -> Run:
    start = Start(seconds=init, fault=fault, log=SILENT)
    return Run(starts=(start,), outcomes=outcomes, peak_bytes=2**20, not_emulated=())


def result(
    *runs: Run, expected: tuple[str, ...] = (), differences: tuple[Difference | None, ...] = ()
) -> Result:
    return Result(
        bundle="b.zip",
        handler="app.handler",
        runtime="python3.12",
        architecture="x86_64",
        memory_mb=512,
        timeout_seconds=30,
        float_tolerance=0,
        events=tuple(f"{index}.json" for index in range(len(runs[0].outcomes))),
        expected=expected,
        differences=differences,
        runs=runs,
        medians=medians(runs),
    )


def test_figures_log_and_answer_are_shown() -> None:
    shown = text(result(run(ANSWERED)))

    assert "init         500.0 ms\npeak memory  1.0 MiB of 512 MiB\n" in shown
    assert "0.json  12.3 ms\n  | one\n  | two\N{REPLACEMENT CHARACTER}\n  {\n" in shown
    assert shown.endswith("ok: 1 of 1 events answered\n")


def test_the_first_run_that_failed_is_shown() -> None:
    shown = text(result(run(ANSWERED), run(RAISED)))

    assert "  KeyError: 'a'\n    File \"/var/task/app.py\", line 1\n" in shown
    assert "(median of 2)" in shown
    assert shown.endswith("FAILED: 0 of 1 events answered\n")


def test_events_that_no_process_took_were_not_run() -> None:
    fault = Fault(type="Runtime.ImportModuleError", message="no module")
    lost = Outcome(seconds=None, answer=None, fault=fault, log=SILENT)

    shown = text(result(run(lost, init=None, fault=fault)))

    assert shown.count("Runtime.ImportModuleError: no module") == 1
    assert "not run: init failed" in shown
    assert "init         none" in shown


@pytest.mark.parametrize(("seconds", "told"), [(9.9, False), (10.1, True)])
def test_an_init_beyond_lambdas_time_is_told(seconds: float, told: bool) -> None:
    assert ("longer than Lambda gives it" in text(result(run(ANSWERED, init=seconds)))) is told


def test_a_difference_fails() -> None:
    difference = Difference(path="$.a[0]", expected="2", given="1")
    shown = text(result(run(ANSWERED), expected=("want.json",), differences=(difference,)))

    assert "differs from want.json at $.a[0]: expected 2, given 1" in shown
    assert shown.endswith("FAILED: 1 of 1 events answered, 0 as expected\n")


def test_much_is_shortened() -> None:
    long = Outcome(seconds=1, answer="1", fault=None, log=Printed(text="line\n" * 5000))

    shown = text(result(run(long)))

    assert "… 4,960 lines …" in shown
    assert len(shown.splitlines()) < 60


def test_json_says_whether_it_failed() -> None:
    told = json.loads(as_json(result(run(RAISED))))

    assert told["failed"] is True
    assert told["runs"][0]["outcomes"][0]["fault"]["type"] == "KeyError"


def test_what_the_files_tell_comes_first_and_an_error_among_it_fails() -> None:
    found = findings.UNREADABLE.at("pkg/a.py", "only its owner may read it\x1b")
    fine = replace(result(run(ANSWERED)), findings=(findings.NOT_AS_BUILT.at("pkg/b.py", "it is missing"),))
    bad = replace(fine, findings=(found, *fine.findings))

    shown = text(bad)

    assert not fine.failed
    assert bad.failed
    assert shown.index("error SLP110 pkg/a.py") < shown.index("warning SLP111") < shown.index("init  ")
    assert "\x1b" not in shown
    assert shown.endswith("FAILED: 1 of 1 events answered, 1 error in its files\n")


def test_what_to_do_about_missed_files_is_told_with_the_failure() -> None:
    shown = text(replace(result(run(RAISED)), remedies=("a.txt was removed by x/y. Keep it.",)))

    assert shown.index("KeyError") < shown.index("cause\n  a.txt was removed by x/y. Keep it.\n")


def test_a_comparison_shows_the_first_difference_and_what_was_not_compared() -> None:
    parting = Parting(where="the answer to 0.json, at $.a[0]", other="2", bundle="1")
    same = Against(
        name="a plain install",
        comparison=Comparison(parting=None, unsteady=("the log of init",)),
        medians=medians([run(ANSWERED)]),
    )
    other = replace(same, comparison=Comparison(parting=parting, unsteady=()))
    alike, unlike = (replace(result(run(ANSWERED)), against=one) for one in (same, other))

    shown, differing = text(alike), text(unlike)

    assert (alike.failed, unlike.failed) == (False, True)
    assert "no difference in answers, exceptions and what was printed\n" in shown
    assert "what differs from run to run there: the log of init\n" in shown
    assert shown.endswith("ok: 1 of 1 events answered, as a plain install\n")
    assert "differs in the answer to 0.json, at $.a[0]\n  there  2\n  here   1\n" in differing
    assert differing.endswith("FAILED: 1 of 1 events answered, not as a plain install\n")
    assert json.loads(as_json(unlike))["against"]["comparison"]["parting"]["other"] == "2"

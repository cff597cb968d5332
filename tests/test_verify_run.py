"""Imports of a bundle's modules, in real processes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from runtimes import make_stage

import slimpack.runtime
from slimpack.runtime.invoke import run
from slimpack.verify import run as verify_run
from slimpack.verify.run import Subject, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slimpack.runtime.invoke import Run
    from slimpack.runtime.stage import Stage


class Counted:
    """Lets processes start as always, and counts them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        monkeypatch.setattr(verify_run, "run", self.run)

    def run(self, stage: Stage, events: Sequence[bytes]) -> Run:
        self.count += 1
        return run(stage, events)


def probe(folder: Path, files: Mapping[str, str]) -> Verdict:
    """Imports all modules of a tree; there is nothing to compare with."""
    stage = make_stage(folder, files)
    shutil.copy(Path(slimpack.runtime.__file__).with_name("slimpack_probe.py"), stage.client)
    subject = Subject(
        target=stage.target,
        tree=stage.tree,
        modules={name.removesuffix(".py"): (name.removesuffix(".py"),) for name in files},
        removed={},
        sdk=False,
    )

    def plain(_: Path) -> Path:
        pytest.fail("nothing is installed plainly for this")

    return verify_run._probe(subject, stage, plain, stage.scratch)


def test_a_module_that_hangs_is_reported_at_once_and_the_others_are_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_run, "_PROBE_SECONDS", 1.0)
    started = Counted(monkeypatch)
    files = {"first.py": "", "hangs.py": "import time\ntime.sleep(60)\n", "third.py": ""}

    verdict = probe(tmp_path, files)

    assert {one.name: one.problem for one in verdict.tried} == {
        "first": None,
        "hangs": "Sandbox.Timedout: Task timed out after 1.00 seconds",
        "third": None,
    }
    assert [(one.code, one.place) for one in verdict.findings] == [("SLP402", "hangs")]
    assert started.count == 2


def test_an_import_that_works_is_run_once_and_says_what_was_not_emulated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = Counted(monkeypatch)

    verdict = probe(tmp_path, {"first.py": "", "second.py": "print('import-x second')\n"})

    assert verdict.findings == ()
    assert any(one.startswith("base system: ") for one in verdict.not_emulated)
    assert started.count == 1

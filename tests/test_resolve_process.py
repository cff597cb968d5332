from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from slimpack.resolve.process import ToolFailedError, run


def test_all_that_a_program_says_comes_back_and_is_heard_without_credentials() -> None:
    heard: list[str] = []
    code = "import sys; print('one https://u:hidden@x.example'); print('two hidden', file=sys.stderr, flush=True)"

    said = run((sys.executable, "-uc", code), environment={}, secrets=["hidden"], progress=heard.append)

    assert said == "one https://u:hidden@x.example\ntwo hidden\n"
    assert heard == ["one https://****@x.example", "two ****"]


def test_a_failure_carries_the_output_without_credentials() -> None:
    with pytest.raises(ToolFailedError, match="exit code 3") as caught:
        run(
            (sys.executable, "-c", "print('word hidden'); raise SystemExit(3)"),
            environment={},
            secrets=["hidden"],
        )

    assert caught.value.output == "word ****\n"


def test_a_program_that_is_not_there_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(ToolFailedError):
        run((str(tmp_path / "gone"),), environment={})


def test_it_cannot_ask_anything() -> None:
    assert run((sys.executable, "-c", "import sys; print(repr(sys.stdin.read()))"), environment={}) == "''\n"


def test_an_interrupt_ends_it_and_all_that_it_started(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(told)!r}, 'w').write(str(child.pid))\n"
        "time.sleep(60)"
    )

    def interrupt() -> None:
        while not told.exists() or not told.read_text():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        run((sys.executable, "-c", code), environment=os.environ)

    _wait_for_end(int(told.read_text()))


def test_its_temporary_folder_is_ours_and_goes_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = "import tempfile; print(tempfile.mkdtemp())"

    made = Path(run((sys.executable, "-c", code), environment={"TMPDIR": "/"}).strip())

    assert made.parent.parent == tmp_path
    assert list(tmp_path.iterdir()) == []

    def stop(line: str) -> None:
        assert Path(line).is_dir()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run((sys.executable, "-uc", f"{code}; import time; time.sleep(60)"), environment={}, progress=stop)

    assert list(tmp_path.iterdir()) == []


def test_who_does_not_end_when_asked_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slimpack.resolve.process._GRACE", 0.1)
    code = (
        "import os, signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "if child := os.fork(): print(os.getpid(), child, flush=True)\n"
        "time.sleep(60)"
    )
    said: list[str] = []

    def stop(line: str) -> None:
        said.append(line)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run((sys.executable, "-c", code), environment={}, progress=stop)

    for pid in said[0].split():
        _wait_for_end(int(pid))


def _wait_for_end(pid: int) -> None:
    for _ in range(1000):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if _is_zombie(pid):  # nobody reaps orphans in some containers
            return
        time.sleep(0.01)
    pytest.fail("the grandchild lives on")


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True

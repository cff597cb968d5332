from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from slimpack import target
from slimpack.resolve import interpreters

if TYPE_CHECKING:
    from slimpack.model import Architecture

LIKE_THIS = {"x86_64": "x86_64", "aarch64": "arm64"}


def test_the_running_interpreter_comes_first() -> None:
    assert interpreters.find(sys.version_info[:2]) == Path(sys.executable)


def test_a_python_on_the_path_is_found_and_asked_for_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, answer in {"python3.10": "3.9.1", "python3.77": "3.77.0", "python3": "3.78.0"}.items():
        script = tmp_path / name
        script.write_text(
            "#!/bin/sh\ncase $2 in *implementation*) echo cpython;; *GIL*) echo 0;; "
            f"*) echo {answer};; esac\n"
        )
        script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "none"))

    assert interpreters.find((3, 77)) == tmp_path / "python3.77"
    assert interpreters.find((3, 78)) is None
    assert interpreters.find((3, 10)) is None


def test_the_newest_runtime_with_an_interpreter_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        interpreters, "find", lambda python: Path("p") if python in {(3, 11), (3, 12)} else None
    )
    assert interpreters.newest_runtime() == "python3.12"

    monkeypatch.setattr(interpreters, "find", lambda _: None)
    assert interpreters.newest_runtime() == "python3.13"


@pytest.mark.parametrize("architecture", ["x86_64", "arm64"])
def test_this_machine_is_of_its_own_kind_only(architecture: Architecture) -> None:
    goal = target.make(runtime="python3.12", architecture=architecture)

    assert interpreters.is_host(goal) is (LIKE_THIS.get(platform.machine()) == architecture)

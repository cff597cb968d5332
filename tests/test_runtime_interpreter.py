from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

import pytest
from runtimes import OWN_RUNTIME

from slimpack import target
from slimpack.errors import RuntimeRoomError
from slimpack.runtime.interpreter import choose

OWN = target.make(runtime=OWN_RUNTIME)
OTHER = target.make(runtime="python3.14" if OWN_RUNTIME != "python3.14" else "python3.12")


def test_our_own_interpreter_runs_what_is_for_its_version() -> None:
    found = choose(OWN, None)

    assert found.executable == Path(os.path.realpath(sys._base_executable))  # type: ignore[attr-defined]
    assert found.prefix == Path(sys.base_prefix)
    assert found.emulator is None
    assert any(path.name in {"site-packages", "dist-packages"} for path in found.packages)


def test_an_interpreter_can_be_named() -> None:
    assert choose(OWN, Path(sys.executable)) == choose(OWN, None)


def test_one_of_another_version_is_refused() -> None:
    with pytest.raises(RuntimeRoomError, match=f"not what {OTHER.runtime} has"):
        choose(OTHER, Path(sys.executable))


def test_what_is_no_interpreter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "python").write_text("#!/bin/sh\necho hello\n")
    (tmp_path / "python").chmod(0o755)

    for place in (tmp_path / "none", tmp_path, tmp_path / "python", Path("/bin/true")):
        with pytest.raises(RuntimeRoomError):
            choose(OWN, place)


def test_without_an_interpreter_nothing_is_checked_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    foreign = target.make(runtime=OWN_RUNTIME, architecture="arm64" if OWN.machine == "x86_64" else "x86_64")

    if os.uname().machine == OWN.machine:
        with pytest.raises(RuntimeRoomError, match=r"not checked: no interpreter for .* was found, and this"):
            choose(foreign, None)


def test_an_interpreter_for_another_processor_needs_an_emulator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    machine = 183 if os.uname().machine == "x86_64" else 62
    (tmp_path / "python").write_bytes(b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 2, machine))

    with pytest.raises(RuntimeRoomError, match="is not on the PATH"):
        choose(OWN, tmp_path / "python")

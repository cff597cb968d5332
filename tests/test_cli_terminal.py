from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from contextlib import suppress

import pytest
from rich.cells import cell_len

from slimpack.cli.terminal import print_error
from slimpack.errors import SlimpackError

PHASES = """
import time
from slimpack.cli.terminal import Reporter
with Reporter(quiet=False) as progress:
    with progress.phase("resolving"):
        progress.tell("Downloading https://index.example/aa/bb/numpy-2.2.6-cp311-cp311-linux_x86_64.whl (16 MB)")
        time.sleep(0.15)
    with progress.phase("reading, checking and compacting files"):
        for done, total in ((1, 10), (10, 10), (1, 4), (4, 4)):
            progress.advance(done, total)
            time.sleep(0.15)
"""


def on_a_terminal(code: str, *, columns: int) -> list[str]:
    """Returns all lines that a program shows on a terminal, those it overwrites too."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in {"CI", "COLUMNS"}}
    child = subprocess.Popen([sys.executable, "-c", code], stderr=theirs, env=environment | {"TERM": "xterm"})
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # the terminal is gone with the program
        while part := os.read(ours, 65536):
            shown += part
    os.close(ours)
    assert child.wait() == 0
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())
    return [line for line in re.split(r"[\r\n]+", plain) if line.strip()]


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_progress_is_not_wider_than_the_terminal(columns: int) -> None:
    lines = on_a_terminal(PHASES, columns=columns)

    assert max(map(cell_len, lines)) <= columns
    assert any("Downloading numpy-2.2.6" in line for line in lines)
    assert not any("index.example" in line for line in lines)


def test_what_begins_once_more_is_counted_as_another_round() -> None:
    lines = on_a_terminal(PHASES, columns=100)
    seen = [
        (int(number or 1), int(percent))
        for number, percent in re.findall(r"(?:round (\d): )?reading, checking\D+?(\d+)%", "\n".join(lines))
    ]

    assert {number for number, _ in seen} == {1, 2}
    assert seen == sorted(seen)


def test_without_a_terminal_there_is_a_line_for_each_phase() -> None:
    done = subprocess.run([sys.executable, "-c", PHASES], capture_output=True, text=True, check=True)

    assert re.sub(r"\d+\.\d s", "? s", done.stderr).splitlines() == [
        "resolving: ? s",
        "reading, checking and compacting files: ? s",
    ]


def test_an_error_is_told_in_lines_that_end(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(SlimpackError("a\x1b[2J" + "b" * 5000 + "\nsecond", where="here", fix="Do\nthis."))

    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("error: here: a\N{REPLACEMENT CHARACTER}[2Jbb")
    assert len(lines[0]) < 1100
    assert lines[1:] == ["  second", "  fix: Do", "  this."]

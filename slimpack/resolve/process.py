"""Child process: run a resolver, hear what it says, and leave nothing of it behind."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from slimpack import redact

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Progress = Callable[[str], None]
"""Hears what is going on, one short line at a time."""

_GRACE = 3.0
"""Seconds that a child has to end itself."""


class ToolFailedError(Exception):
    """A resolver ended with an error. Its text is the resolver's whole output, for ``--debug``."""

    def __init__(self, program: str, code: int, output: str) -> None:
        super().__init__(f"{program} ended with exit code {code}:\n{output}")
        self.output = output
        """What it said, without credentials."""


def silent(_: str) -> None:
    """Hears progress and tells nobody."""


def run(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    secrets: Iterable[str] = (),
    progress: Progress = silent,
) -> str:
    """Runs a program to its end and returns all that it said, credentials included.

    The child has no standard input and its own process group, so that nothing it starts outlives an interrupt. Its
    ``TMPDIR`` is a folder of ours: a resolver that is ended leaves behind what it has downloaded and unpacked.

    Args:
        command: Program and arguments. Never a credential: other users can read a command line.
        environment: Its whole environment, but for ``TMPDIR``.
        secrets: Strings to mask in what is shown.
        progress: Hears every line, without credentials.

    Raises:
        ToolFailedError: It ended with an exit code other than 0, or could not be started.
    """
    with tempfile.TemporaryDirectory(prefix="slimpack-", ignore_cleanup_errors=True) as folder:
        said, code = _run(command, {**environment, "TMPDIR": folder}, secrets, progress)
    output = "".join(said)
    if code:
        raise ToolFailedError(" ".join(command[:4]), code, redact.text(output, secrets))
    return output


def _run(
    command: Sequence[str], environment: Mapping[str, str], secrets: Iterable[str], progress: Progress
) -> tuple[list[str], int]:
    """Returns the lines that a program said, and its exit code."""
    said: list[str] = []
    try:
        child = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
    except OSError as problem:
        raise ToolFailedError(command[0], -1, str(problem)) from problem
    with child:
        try:
            for line in child.stdout or ():
                said.append(line)
                progress(redact.text(line.rstrip(), secrets))
            code = child.wait()
        except BaseException:
            _end(child)
            raise
    return said, code


def _end(child: subprocess.Popen[str]) -> None:
    """Ends a child and all that it started; asked first, git takes its lock files away."""
    try:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            child.wait(_GRACE)
    finally:  # a second interrupt does not wait
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)

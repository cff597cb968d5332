"""The command line: one file per verb, each of which parses, calls, prints and exits; ``main`` is the way in.

Nothing is imported here that takes time: a Ctrl-C that comes meanwhile shall find ``main`` at work.
"""

import os
import sys

_INTERRUPTED = 2
"""Exit code after Ctrl-C: there is no result, as after any other error."""

_READER_GONE = 141
"""Exit code when stdout is a pipe that nobody reads any more, as in ``| head -1``: the same for SIGPIPE."""


def main() -> None:
    """Runs the command line; every way out passes here."""
    try:
        _open_standard_streams()
        from slimpack.cli.program import run

        code = run()
    except KeyboardInterrupt:
        _tell_interrupted()
        _flush()
        os._exit(_INTERRUPTED)  # with sys.exit a second Ctrl-C would have its traceback after all
    except BrokenPipeError:
        code = _READER_GONE
    _flush()
    sys.exit(code)


def _open_standard_streams() -> None:
    """Sees to it that all three streams are there, and that stdout takes everything or fails."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The caller has closed it (>&-): what is opened next would be in its place. This gets that number.
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is not None:
        # Python's own drops what does not fit at once when PYTHONUNBUFFERED is set, as it is in many containers,
        # and fails at a letter that the terminal does not know.
        number, encoding = sys.stdout.fileno(), sys.stdout.encoding
        sys.stdout = open(number, "w", encoding=encoding, errors="replace", closefd=False)  # noqa: SIM115 -- to the end


def _tell_interrupted() -> None:
    if sys.stderr is None:
        return
    after = "\n" if sys.stderr.isatty() else ""  # the terminal has just shown ^C
    try:
        sys.stderr.write(f"{after}error: interrupted; nothing half-written is left\n")
    except OSError:  # nobody is there to be told
        return


def _flush() -> None:
    """Empties the streams; what cannot be written has been told by now, and must not change the exit code."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())

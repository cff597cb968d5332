"""What the verbs share at the terminal: output on stdout, progress and errors on stderr."""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TextIO

import click

from slimpack.errors import OutputError
from slimpack.report.words import escaped, safe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from rich.progress import Progress, TaskID

    from slimpack.errors import SlimpackError

_WIDEST = 100
"""Columns beyond which a table only gets harder to read."""

_NARROWEST = 20
"""Columns below which nothing can be read anyway."""

_LONGEST = 1000
"""Characters of a line of an error that are shown: what a hostile file says may be endless."""

_ROOM_FOR_A_BAR = 80
"""Columns from which progress is shown as a bar, too."""

_URL = re.compile(r"\bhttps?://\S*/(?=[^/\s])")
"""A URL up to its last part, the file name."""


def width() -> int:
    """Returns the columns to write to: the terminal's, within reason; 80 where there is no terminal."""
    return max(_NARROWEST, min(_WIDEST, shutil.get_terminal_size((80, 24)).columns))


def color() -> bool:
    """Returns whether stdout shows colours and the user wants them (https://no-color.org)."""
    return _is_terminal(sys.stdout) and not os.environ.get("NO_COLOR")


def _is_terminal(stream: TextIO | None) -> bool:
    """Returns whether a stream shows what it gets as it comes; it is None where the caller has closed it."""
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


def debug_option() -> click.Option:
    """Returns the option that every verb has; ``main`` looks at what it leaves in the context's object."""

    def note(context: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            context.find_root().obj["debug"] = True

    return click.Option(
        ["--debug"],
        is_flag=True,
        expose_value=False,
        envvar="SLIMPACK_DEBUG",
        callback=note,
        help="With an error, show the traceback and what other programs said.",
    )


def show(text: str) -> None:
    """Writes data to stdout.

    Raises:
        OutputError: There is no room for it.
        BrokenPipeError: Nobody reads it.
    """
    try:
        click.echo(text, nl=False)
    except BrokenPipeError:
        raise
    except OSError as problem:
        raise OutputError(
            f"cannot be written: {problem.strerror}", where="standard output", fix="Send it elsewhere."
        ) from problem


def show_json(text: str) -> None:
    """Writes JSON to stdout, as ``show`` does, so that a terminal can stand it as well."""
    show(escaped(text))


def print_error(problem: SlimpackError) -> None:
    """Writes an error to stderr: where, what, the fix."""
    with suppress(OSError):  # nobody is there to be told
        click.echo(f"error: {_lines(str(problem))}", err=True)
        if problem.fix:
            click.echo(f"  fix: {_lines(problem.fix)}", err=True)


def _lines(words: str) -> str:
    lines = (line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…" for line in words.splitlines())
    return "\n  ".join(safe(line) for line in lines)


class Reporter:
    """Progress on stderr: a live line on a terminal, one line per phase elsewhere, nothing when quiet.

    A build goes on where stderr cannot be written.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._live: Progress | None = None
        self._task: TaskID | None = None
        self._phase = ""
        self._round = _Round()
        if not quiet and _is_terminal(sys.stderr) and not os.environ.get("CI"):
            self._live = _live_line()

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    @contextmanager
    def phase(self, text: str) -> Iterator[None]:
        """Shows what is being done, and afterwards how long it took."""
        started = time.monotonic()
        self._phase, self._round = text, _Round()
        if self._live:
            if self._task is not None:
                self._live.remove_task(self._task)
            self._task = self._live.add_task(text, total=None)
        yield
        if not self._quiet:
            line = f"{text}: {time.monotonic() - started:.1f} s"
            with suppress(OSError):
                if self._live:
                    self._live.console.print(line, markup=False, highlight=False)
                else:
                    click.echo(line, err=True)

    def advance(self, done: int, total: int) -> None:
        """Shows how far the phase has come; where it begins once more, that is a new round.

        Args:
            done: What is done, in any unit.
            total: All there is to do, in the same unit.
        """
        if self._live and self._task is not None:
            self._round = self._round.at(done, total)
            words = f"round {self._round.number}: {self._phase}" if self._round.number > 1 else self._phase
            self._live.update(self._task, completed=done, total=total, description=words)

    def tell(self, words: str) -> None:
        """Shows what goes on inside the phase."""
        if self._live and self._task is not None:
            self._live.update(self._task, description=safe(_URL.sub("", words)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Round:
    """How far a phase has come, and how often it has begun: a build reads on as long as more is needed."""

    number: int = 1
    """Counted from 1."""
    done: int = 0
    """What is done of this round."""
    total: int | None = None
    """All there is to do in it; None before anything is done."""

    def at(self, done: int, total: int) -> _Round:
        """Returns where the phase is now; less done, or another total, means that a new round began."""
        again = self.total is not None and (done < self.done or total != self.total)
        return _Round(number=self.number + again, done=done, total=total)


def _live_line() -> Progress:
    """Returns a line that is never wider than the terminal: what is done gives way to how far it is."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        SpinnerColumn,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
    )
    from rich.table import Column

    console = Console(stderr=True)
    bar = [BarColumn(bar_width=24)] if console.width >= _ROOM_FOR_A_BAR else []
    return Progress(
        SpinnerColumn(),
        TextColumn(
            "{task.description}",
            markup=False,
            table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
        ),
        *bar,
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        expand=True,
    )

"""What the verbs share at the terminal: output on stdout, progress and errors on stderr."""

from __future__ import annotations

import os
import shutil
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self, TextIO

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

from slimpack.report.text import safe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from slimpack.errors import SlimpackError

_WIDEST = 100
"""Columns beyond which a table only gets harder to read."""


def width() -> int:
    """Returns the columns to write to: the terminal's, within reason; 80 where there is no terminal."""
    return max(40, min(_WIDEST, shutil.get_terminal_size((80, 24)).columns))


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
    """Writes data to stdout."""
    click.echo(text, nl=False)


def print_error(problem: SlimpackError) -> None:
    """Writes an error to stderr: where, what, the fix."""
    click.echo(f"error: {_lines(str(problem))}", err=True)
    if problem.fix:
        click.echo(f"  fix: {_lines(problem.fix)}", err=True)


def _lines(words: str) -> str:
    return "\n  ".join(safe(line) for line in words.splitlines())


class Reporter:
    """Progress on stderr: a live line on a terminal, one line per phase elsewhere, nothing when quiet."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._live: Progress | None = None
        if not quiet and _is_terminal(sys.stderr) and not os.environ.get("CI"):
            self._live = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                TaskProgressColumn(),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
            )

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
        if self._live:
            for task in self._live.task_ids:
                self._live.remove_task(task)
            self._live.add_task(text, total=None)
        yield
        if not self._quiet:
            line = f"{text}: {time.monotonic() - started:.1f} s"
            if self._live:
                self._live.console.print(line, markup=False, highlight=False)
            else:
                click.echo(line, err=True)

    def advance(self, done: int, total: int) -> None:
        """Shows how far the phase has come.

        Args:
            done: What is done, in any unit.
            total: All there is to do, in the same unit.
        """
        if self._live and self._live.task_ids:
            self._live.update(self._live.task_ids[-1], completed=done, total=total)

    def tell(self, words: str) -> None:
        """Shows what goes on inside the phase."""
        if self._live and self._live.task_ids:
            self._live.update(self._live.task_ids[-1], description=safe(words))

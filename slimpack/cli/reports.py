"""Reports: the option that writes a review to files, for the verbs that have one."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slimpack.cli.inputs import option
from slimpack.cli.terminal import show
from slimpack.errors import UsageError
from slimpack.report.formats import FORMATS, requested

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from slimpack.gate import Review
    from slimpack.report.formats import Format


_STDOUT = (Path("-"), Path("/dev/stdout"))
"""What stands for standard output."""

_DEVICES = Path("/dev")
"""Where devices are, and what a shell's ``>(…)`` stands for: they are written to, never replaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A file that a review is to be written to."""

    format: Format
    """In what form."""
    file: Path
    """Where."""


def report_option() -> Callable[..., Any]:
    """Returns the option that asks for files with the review."""
    return option(
        "--report",
        "reports",
        multiple=True,
        metavar="[FORMAT=]FILE",
        help=f"Also write a report to a file; may be repeated. Its name tells the format, or FORMAT does: "
        f"{', '.join(FORMATS)}. As FILE, - is standard output.",
    )


def folder_option() -> Callable[..., Any]:
    """Returns the option that tells where in the repository the requirements are."""
    return option(
        "--folder",
        default="",
        metavar="DIR",
        help="Folder of the requirements file in the repository, so that annotations find its lines. "
        "[default: the repository's own]",
    )


def key_option() -> Callable[..., Any]:
    """Returns the option that tells apart the bundles of one repository."""
    return option(
        "--key",
        default="slimpack",
        metavar="KEY",
        help="Tells apart the bundles of one repository; part of a comment's hidden marker. [default: slimpack]",
    )


def reports_of(given: Sequence[str]) -> list[Report]:
    """Returns what is to be written, before anything is done that takes time.

    Args:
        given: The values of the option.

    Raises:
        UsageError: A file's name tells no format, the file could not be written, or two reports would be one file.
    """
    reports = [Report(format=found, file=Path(file)) for found, file in map(requested, given)]
    for one in reports:
        check_writable(one.file)
    if len({one.file.absolute() for one in reports}) < len(reports):
        raise UsageError("two reports would be one file", where="--report", fix="Give each its own.")
    return reports


def check_writable(file: Path, *, where: str = "--report") -> None:
    """Refuses a file that could not be written once everything else is done.

    Raises:
        UsageError: Just that.
    """
    folder = file.absolute().parent
    if file in _STDOUT or _DEVICES in file.absolute().parents:
        return
    if not folder.is_dir() or not os.access(folder, os.W_OK) or file.is_dir():
        raise UsageError(
            f"{file} cannot be written", where=where, fix="Name a file in a folder that you may write to."
        )


def write_reports(reports: Sequence[Report], review: Review, *, folder: str | None = None) -> None:
    """Writes all that was asked for.

    Args:
        reports: What ``reports_of`` returned.
        review: The review.
        folder: Folder of the requirements in the repository; None for what the review says.

    Raises:
        OutputError: A file cannot be written.
    """
    shown = review if folder is None else replace(review, folder=folder)
    for one in reports:
        write(one.file, one.format.render(shown))


def write(file: Path, text: str) -> None:
    """Writes a file at once and whole, or not at all.

    Raises:
        OutputError: It cannot be written.
    """
    from slimpack.output import writing

    if file in _STDOUT:
        show(text)
        return
    if _DEVICES in file.absolute().parents:
        with writing(file), file.open("a", encoding="utf-8") as stream:
            stream.write(text)
        return
    new = file.with_name(f".{file.name}.new")
    with writing(file):
        try:
            new.write_text(text, encoding="utf-8")
            new.replace(file)
        finally:
            new.unlink(missing_ok=True)

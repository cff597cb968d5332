"""A profile, for a person: what takes time, what is opened, how much of the libraries is touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from slimpack.profile import PAGE
from slimpack.report.table import Column, table
from slimpack.report.text import render
from slimpack.report.words import duration, mebibytes, safe

if TYPE_CHECKING:
    from collections.abc import Iterable

    from slimpack.profile import FileRecord, LibraryRecord, ModuleRecord, Profile

_SHOWN = 15
"""Modules and libraries that are shown."""


def text(profile: Profile, *, name: str, width: int = 80, color: bool = False) -> str:
    """Returns the report of a profile.

    Args:
        profile: The profile.
        name: What was run.
        width: Columns.
        color: Whether ANSI colours may be used.
    """
    handlers = ", ".join(dict.fromkeys(run.handler for run in profile.runs))
    runs = "1 run" if profile.times == 1 else f"{profile.times:,} runs, times are medians"
    return render(
        Text(
            safe(f"{name}  {handlers} on {profile.runtime}, {profile.architecture}  ({runs})"), style="bold"
        ),
        _modules(profile.modules, width),
        _files(profile.files),
        _libraries(profile.libraries, width),
        _not_recorded(profile),
        width=width,
        color=color,
    )


def _modules(modules: Iterable[ModuleRecord], width: int) -> RenderableType:
    modules = list(modules)
    own = [module for module in modules if module.file is not None]
    top = sorted(modules, key=lambda module: -module.own_seconds)[:_SHOWN]
    rows = [
        (
            safe(module.name),
            duration(module.own_seconds),
            duration(module.whole_seconds),
            "init" if module.init else "event",
            "bundle" if module.file is not None else "runtime",
        )
        for module in top
    ]
    columns = (
        Column(header="module", folds_to=30),
        Column(header="own"),
        Column(header="with its imports"),
        Column(header="in", goes=2, folds_to=5),
        Column(header="of", goes=1, folds_to=7),
    )
    total = duration(sum(module.own_seconds for module in modules))
    return Group(
        Text(f"{len(modules):,} modules imported in {total}, {len(own):,} of the bundle"),
        *([table(columns, rows, width=width)] if rows else []),
    )


def _files(files: Iterable[FileRecord]) -> RenderableType:
    files = list(files)
    late = [file for file in files if not file.init]
    words = f"{len(files):,} files opened, {mebibytes(sum(file.size for file in files))}"
    if late:
        words += f"; {len(late):,} of them, {mebibytes(sum(file.size for file in late))}, only with an event"
    return Text(words)


def _libraries(libraries: Iterable[LibraryRecord], width: int) -> RenderableType:
    libraries = list(libraries)
    known = [library for library in libraries if library.segments]
    rows = [
        (
            safe(library.path),
            mebibytes(_pages(library) * PAGE),
            mebibytes(_touched(library) * PAGE),
            _share(_touched(library), _pages(library)),
        )
        for library in sorted(known, key=lambda library: -_pages(library))[:_SHOWN]
    ]
    pages, touched = sum(map(_pages, known)), sum(map(_touched, known))
    columns = (
        Column(header="library", footer="all", folds_to=30),
        Column(header="read-only", footer=mebibytes(pages * PAGE)),
        Column(header="touched", footer=mebibytes(touched * PAGE)),
        Column(header="share", footer=_share(touched, pages)),
    )
    own = sum(library.sha256 is not None for library in libraries)
    return Group(
        Text(f"{len(libraries):,} shared objects loaded, {own:,} of the bundle"),
        *([table(columns, rows, width=width)] if rows else []),
    )


def _not_recorded(profile: Profile) -> RenderableType | None:
    if not profile.not_recorded:
        return None
    lines = [Text(safe(f"{one.what}: {one.reason}"), style="yellow") for one in profile.not_recorded]
    return Group(
        Text("not recorded", style="bold"),
        *(Padding(line, (0, 0, 0, 2), expand=False) for line in lines),
    )


def _pages(library: LibraryRecord) -> int:
    return sum(segment.pages for segment in library.segments)


def _touched(library: LibraryRecord) -> int:
    return sum(segment.touched for segment in library.segments)


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else ""

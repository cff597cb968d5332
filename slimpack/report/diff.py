"""What has changed between two bundles, for a person and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import TypeAdapter
from rich.console import Group, RenderableType
from rich.text import Text

from slimpack import __version__
from slimpack.account import Origin  # noqa: TC001 -- pydantic reads the annotations at run time
from slimpack.amounts import apart
from slimpack.diff import FileChange, PackageChange  # noqa: TC001 -- the same
from slimpack.model import Architecture  # noqa: TC001 -- the same
from slimpack.report.table import Column, table
from slimpack.report.text import render
from slimpack.report.words import clipped, mebibytes

if TYPE_CHECKING:
    from slimpack.account import Account
    from slimpack.diff import Cause, Diff

SCHEMA_VERSION: Final = 1
"""Raised when a field changes its meaning or goes; a new field does not raise it."""

_ROWS = 20
"""Packages shown one by one."""

_LONGEST = 120
"""Characters of a name, a version or a path."""

_WAY = 4
"""Names of a way that are shown."""

_WORDS: dict[Cause, str] = {
    "upgrade": "upgrade",
    "downgrade": "downgrade",
    "requested": "new requirement",
    "dependency": "new",
    "dropped": "no longer required",
    "rules": "rules",
    "compaction": "compaction",
    "packing": "packing",
    "bytecode": "bytecode",
    "source": "the app's own",
    "content": "other content",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SideRecord:
    """One of the two bundles."""

    name: str
    """Its file name."""
    origin: Origin
    """Who tells what is in it: its manifest, or its files."""
    size: int
    """Bytes, unzipped."""
    archive_size: int | None
    """Bytes of the zip; null for a directory."""
    runtime: str | None
    """Lambda's identifier; null if nothing tells."""
    architecture: Architecture | None
    """The processor; null likewise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffReport:
    """What ``slimpack diff --json`` prints."""

    schema_version: Literal[1]
    """``SCHEMA_VERSION`` of the writer."""
    slimpack: str
    """Version of slimpack that wrote it."""
    base: SideRecord
    """What is compared with."""
    head: SideRecord
    """What is compared."""
    delta: int
    """Bytes that the bundle has grown by."""
    packages: tuple[PackageChange, ...]
    """All owners of files of either, by size of the change; sums are those of the bundles."""
    files: tuple[FileChange, ...]
    """Files whose size or content changed, by size of the change; bytes add up to ``delta``."""
    notes: tuple[str, ...]
    """What limits the comparison, as sentences."""


def to_json(diff: Diff) -> str:
    """Returns all that has changed as JSON text."""
    report = DiffReport(
        schema_version=SCHEMA_VERSION,
        slimpack=__version__,
        base=_side(diff.base),
        head=_side(diff.head),
        delta=diff.delta,
        packages=diff.packages,
        files=diff.files,
        notes=diff.notes,
    )
    return json.dumps(asdict(report), indent=1, ensure_ascii=False) + "\n"


def json_schema() -> dict[str, Any]:
    """Returns the JSON Schema of comparisons (draft 2020-12), as ``docs/diff.schema.json`` has it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **TypeAdapter(DiffReport).json_schema(mode="serialization"),
    }


def _side(account: Account) -> SideRecord:
    return SideRecord(
        name=account.name,
        origin=account.origin,
        size=account.size,
        archive_size=account.archive_size,
        runtime=account.runtime,
        architecture=account.architecture,
    )


def text(diff: Diff, *, files: int, threshold: int = 0, width: int = 80, color: bool = False) -> str:
    """Returns what has changed: packages, and below them files.

    Args:
        diff: The comparison.
        files: Files shown one by one.
        threshold: Bytes that a package must have grown or shrunk by to be shown one by one.
        width: Columns.
        color: Whether ANSI colours may be used.
    """
    return render(
        _headline(diff),
        _packages(diff, threshold, width),
        _files(diff, files, width),
        Group(*(_note(words) for words in diff.notes)) if diff.notes else None,
        width=width,
        color=color,
    )


def _headline(diff: Diff) -> RenderableType:
    before, after = diff.base.size, diff.head.size
    line = Text(f"{_name(diff.base.name)} → {_name(diff.head.name)}: ", style="bold")
    if not diff.changed and not diff.files:
        return line.append(f"no difference, {mebibytes(after)} ({after:,} bytes)", style="not bold")
    line.append(_signed(diff.delta), style="red" if diff.delta > 0 else "green" if diff.delta < 0 else "")
    percent = f" ({100 * diff.delta / before:+.1f} %)" if before and diff.delta else ""
    line.append(f"{percent}, {' → '.join(apart(before, after))}", style="not bold")
    return line


def _packages(diff: Diff, threshold: int, width: int) -> RenderableType | None:
    """Returns a row for each large change, and one for each kind of what is left, so that all add up."""
    shown = [one for one in diff.changed if abs(one.delta) >= threshold][:_ROWS]
    if not diff.changed:
        return None
    named = {one.name for one in shown}
    rows = [(_name(one.name), _versions(one), *_sizes(one.before, one.after), _why(one)) for one in shown]
    for words, rest in (
        ("smaller", [one for one in diff.changed if one.name not in named]),
        ("unchanged", [one for one in diff.packages if one.kind == "unchanged"]),
    ):
        if rest:
            sizes = _sizes(sum(one.before for one in rest), sum(one.after for one in rest))
            rows.append((f"{len(rest):,} {words}", "", *sizes, ""))
    before, after, delta = _sizes(diff.base.size, diff.head.size)
    return table(
        (
            Column(header="Package", footer="total", folds_to=16),
            Column(header="Version", folds_to=14, goes=4, cramps=True),
            Column(header="Before", footer=before, goes=2),
            Column(header="After", footer=after, goes=1),
            Column(header="Change", footer=delta),
            Column(header="Why", folds_to=16, goes=3, cramps=True),
        ),
        rows,
        width=width,
    )


def _files(diff: Diff, most: int, width: int) -> RenderableType | None:
    if not diff.files or not most:
        return None
    rows = [(_name(one.path), *_sizes(one.before, one.after), _WORDS[one.cause]) for one in diff.files[:most]]
    if rest := diff.files[most:]:
        sizes = _sizes(sum(one.before for one in rest), sum(one.after for one in rest))
        rows.append((f"{len(rest):,} more", *sizes, ""))
    return table(
        (
            Column(header="File", folds_to=30),
            Column(header="Before", goes=3),
            Column(header="After", goes=2),
            Column(header="Change"),
            Column(header="Why", folds_to=12, goes=1),
        ),
        rows,
        width=width,
    )


def _versions(one: PackageChange) -> str:
    """Returns the version, of what has another one both."""
    before, after = (_name(version) for version in (one.version_before, one.version_after))
    if one.kind == "removed" or before == after:
        return before
    return f"{before} → {after}" if before and one.kind == "changed" else after


def _why(one: PackageChange) -> str:
    words = ", ".join(_WORDS[cause] for cause in one.causes)
    if "dependency" not in one.causes or len(one.via) < 2:  # noqa: PLR2004 -- itself
        return words
    way = one.via if len(one.via) <= _WAY else (*one.via[: _WAY - 2], "…", one.via[-1])
    return f"{words}: {' → '.join(map(_name, way))}"


def _sizes(before: int, after: int) -> tuple[str, str, str]:
    """Returns two sizes and the change; what is not there is a dash, and bytes show what rounding hides."""
    words = apart(before, after)
    return words[0] if before else "-", words[1] if after else "-", _signed(after - before)


def _signed(delta: int) -> str:
    return f"{'+' if delta > 0 else ''}{mebibytes(delta)}" if delta else "0"


def _note(words: str) -> Text:
    return Text("note ", style="cyan").append(clipped(words, 4 * _LONGEST), style="default")


def _name(name: str) -> str:
    return clipped(name, _LONGEST)

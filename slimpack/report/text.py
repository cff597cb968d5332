"""The manifest for a person: tables that read well at 80 columns and without colour."""

from __future__ import annotations

import io
import unicodedata
from collections import Counter
from itertools import groupby
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from slimpack.model import Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from slimpack.manifest import FileRecord, Manifest, RuleRecord
    from slimpack.model import Finding

_ROWS = 15
"""Packages shown one by one; the smaller ones share a row."""

_SHOWN = 6
"""Files or findings of one kind shown one by one."""

_STYLE = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}


def text(manifest: Manifest, *, name: str, width: int = 80, color: bool = False) -> str:
    """Returns the report of a bundle.

    Args:
        manifest: The account.
        name: What to call the bundle: its file name.
        width: Columns.
        color: Whether ANSI colours may be used.
    """
    return render(
        _headline(manifest, name),
        _packages(manifest),
        _rules(manifest),
        _overruled(manifest.files),
        _repairs(manifest.files),
        _findings(manifest.findings),
        _help(manifest) if manifest.over_limit else None,
        _verdict(manifest, width),
        _upload(manifest, name),
        width=width,
        color=color,
    )


def render(*parts: RenderableType | None, width: int, color: bool) -> str:
    """Returns renderables as text, blank lines between them.

    Args:
        parts: What to show; None is left out.
        width: Columns.
        color: Whether ANSI colours may be used.
    """
    sink = io.StringIO()
    console = Console(
        file=sink,
        width=width,
        force_terminal=color,
        no_color=not color,
        color_system="standard" if color else None,
        highlight=False,
        emoji=False,
        markup=False,
        legacy_windows=False,
    )
    shown = [part for part in parts if part is not None]
    for index, part in enumerate(shown):
        if index:
            console.print()
        console.print(part)
    return "\n".join(line.rstrip() for line in sink.getvalue().splitlines()) + "\n"


def safe(words: str) -> str:
    """Returns a name from a wheel or manifest without anything that could steer a terminal."""
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(c) in {"Cc", "Cf"} else c for c in words
    )


def mebibytes(size: int) -> str:
    """Returns a size in bytes as MiB with one digit; below a tenth of one, in KiB or bytes."""
    for unit, factor in (("MiB", 2**20), ("KiB", 2**10)):
        if abs(size) >= factor / 10:
            return f"{size / factor:,.1f} {unit}"
    return f"{size} B"


def _headline(manifest: Manifest, name: str) -> Text:
    target = manifest.target
    line = Text(safe(name), style="bold")
    line.append(
        f" for {target.kind}, {target.runtime}, {target.architecture}, {target.system}", style="not bold"
    )
    return line


def _packages(manifest: Manifest) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False, show_edge=False, show_footer=True)
    totals = manifest.totals
    table.add_column("Package", footer="total", overflow="fold", min_width=14)
    table.add_column("Version", overflow="fold")
    table.add_column("Before", footer=mebibytes(totals.size_before), justify="right", no_wrap=True)
    table.add_column("After", footer=mebibytes(totals.size_after), justify="right", no_wrap=True)
    saved = totals.size_before - totals.size_after
    table.add_column("Saved", footer=mebibytes(saved), justify="right", no_wrap=True)
    table.add_column("Share", footer="100 %" if totals.size_after else "", justify="right", no_wrap=True)
    versions = {one.name: one.version for one in manifest.distributions}
    rows = sorted(manifest.by_owner().items(), key=lambda row: (-row[1][1], -row[1][0], row[0]))
    shown, rest = (rows, []) if len(rows) <= _ROWS + 1 else (rows[:_ROWS], rows[_ROWS:])
    cells = [(safe(owner), safe(versions.get(owner, "")), *sizes) for owner, sizes in shown]
    if rest:
        cells.append((f"{len(rest)} smaller", "", sum(s[0] for _, s in rest), sum(s[1] for _, s in rest)))
    for owner, version, before, after in cells:
        share = f"{100 * after / totals.size_after:.0f} %" if totals.size_after else ""
        table.add_row(
            Text(owner), Text(version), mebibytes(before), mebibytes(after), mebibytes(before - after), share
        )
    return table


def _rules(manifest: Manifest) -> RenderableType | None:
    compacted = [file for file in manifest.files if file.decision == "compacted"]
    rows = [(safe(rule.id), rule.files, rule.bytes) for rule in manifest.rules if rule.files]
    if compacted:
        saved = sum(file.size_before - file.size_after for file in compacted)
        rows.append(("compaction of ELF files", len(compacted), saved))
    if not rows:
        return None
    rows.sort(key=lambda row: -row[2])
    table = Table(box=box.SIMPLE, pad_edge=False, show_edge=False)
    table.add_column("Saved by", overflow="fold")
    table.add_column("Files", justify="right", no_wrap=True)
    table.add_column("Saved", justify="right", no_wrap=True)
    for words, files, size in rows[:_ROWS]:
        table.add_row(Text(words), f"{files:,}", mebibytes(size))
    if rows[_ROWS:]:
        rest = rows[_ROWS:]
        table.add_row(
            f"{len(rest)} more rules",
            f"{sum(row[1] for row in rest):,}",
            mebibytes(sum(row[2] for row in rest)),
        )
    return table


def _overruled(files: Iterable[FileRecord]) -> RenderableType | None:
    lines: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for file in files:
        if file.overruled is not None:
            reason = f"{file.overruled.rule}: {file.overruled.by}"
            lines[reason] += 1
            examples.setdefault(reason, file.path)
    return _section(
        "Overruled: kept although a rule removes it, because kept code needs it",
        [
            f"{examples[reason]}{f' and {count - 1} more' if count > 1 else ''} <- {reason}"
            for reason, count in lines.items()
        ],
    )


def _repairs(files: Iterable[FileRecord]) -> RenderableType | None:
    return _section(
        "Repairs", [f"+ {file.path} ({file.rule}): {file.note}" for file in files if file.decision == "added"]
    )


def _section(title: str, lines: Sequence[str]) -> RenderableType | None:
    if not lines:
        return None
    shown = [Text(safe(line), overflow="fold") for line in lines[:_SHOWN]]
    if len(lines) > _SHOWN:
        shown.append(Text(f"and {len(lines) - _SHOWN} more: `slimpack explain PATH` has each of them"))
    return Group(Text(title, style="bold"), *(Padding(line, (0, 0, 0, 2)) for line in shown))


def _findings(found: Sequence[Finding]) -> RenderableType | None:
    """Returns the findings; of one code at most a few, so that many small ones do not hide a large one."""
    if not found:
        return None
    parts: list[RenderableType] = []
    for code, group in groupby(found, key=lambda finding: finding.code):
        same = list(group)
        for finding in same[:_SHOWN]:
            line = Text(f"{finding.severity.value} {finding.code} ", style=_STYLE[finding.severity])
            line.append(f"{safe(finding.place)}: {safe(finding.message)}", style="default not bold")
            parts.append(line)
        if len(same) > _SHOWN:
            parts.append(Text(f"and {len(same) - _SHOWN} more {code}"))
        fixes = dict.fromkeys(finding.fix for finding in same[:_SHOWN] if finding.fix)
        parts += [Padding(Text(f"fix: {safe(fix)}"), (0, 0, 0, 2)) for fix in fixes]
    return Group(*parts)


def _help(manifest: Manifest) -> RenderableType:
    largest = sorted(manifest.by_owner().items(), key=lambda row: -row[1][1])[:5]
    names = ", ".join(f"{safe(owner)} {mebibytes(after)}" for owner, (_, after) in largest)
    lines: list[RenderableType] = [
        Text("What would help", style="bold"),
        _bullet(f"The largest packages: {names}."),
    ]
    roots = _only_for(manifest, largest[0][0]) if largest else ()
    if roots:
        lines.append(_bullet(f"{safe(largest[0][0])} is here for {', '.join(safe(root) for root in roots)}."))
    lines += [_bullet(_offer(offer)) for offer in manifest.offers[:5]]
    return Group(*lines)


def _only_for(manifest: Manifest, name: str) -> tuple[str, ...]:
    """Returns the requested distributions that a distribution is here for, without itself."""
    by_name = {one.name: one for one in manifest.distributions}
    seen, queue = {name}, [name]
    while queue:
        wanted = queue.pop()
        for one in by_name.values():
            if wanted in one.requires and one.name not in seen:
                seen.add(one.name)
                queue.append(one.name)
    return tuple(
        sorted(root for root in seen if root in by_name and by_name[root].requested and root != name)
    )


def _offer(offer: RuleRecord) -> str:
    return (
        f"--enable {safe(offer.id)} takes up to {mebibytes(offer.bytes)} more, "
        f"and changes behaviour: {safe(offer.breaks or '')}"
    )


def _bullet(words: str) -> RenderableType:
    return Padding(Text(f"- {words}"), (0, 0, 0, 2))


def _verdict(manifest: Manifest, width: int) -> RenderableType:
    size, limit = manifest.totals.size_after, manifest.target.size_limit
    columns = max(10, min(40, width - 40))
    filled = min(columns, round(columns * size / limit)) if limit else columns
    over = manifest.over_limit
    share = f"{100 * size / limit:.1f} %" if limit else ""
    bar = Text("[")
    bar.append("#" * filled, style="red" if over else "green")
    bar.append("." * (columns - filled) + "] ")
    bar.append(f"{mebibytes(size)} of {mebibytes(limit)} ({share})", style="bold")
    left = limit - size
    words = (
        f"OVER the limit by {mebibytes(size - limit + 1)}: {size:,} bytes, must stay below {limit:,}"
        if over
        else f"fits, {mebibytes(left)} left: {size:,} bytes, must stay below {limit:,}"
    )
    lines = [bar, Text(words, style="bold red" if over else "")]
    if manifest.totals.archive_size is not None:
        lines.append(
            Text(f"zip: {mebibytes(manifest.totals.archive_size)} ({manifest.totals.archive_size:,} bytes)")
        )
    return Group(*lines)


def _upload(manifest: Manifest, name: str) -> RenderableType | None:
    """Returns the commands that deploy a zip which is too large for a direct upload."""
    size, limit = manifest.totals.archive_size, manifest.target.upload_limit
    if size is None or limit is None or size <= limit or manifest.over_limit:
        return None
    file = safe(name)
    function = "aws lambda update-function-code --function-name NAME"
    layer = "aws lambda publish-layer-version --layer-name NAME"
    deploy = f"{layer} --content" if manifest.target.kind == "lambda-layer" else function
    place = (
        f"S3Bucket=BUCKET,S3Key={file}"
        if manifest.target.kind == "lambda-layer"
        else f"--s3-bucket BUCKET --s3-key {file}"
    )
    return Group(
        Text(f"More than the {mebibytes(limit)} of a direct upload; deploy it through S3:"),
        Padding(Text(f"aws s3 cp {file} s3://BUCKET/{file}"), (0, 0, 0, 2)),
        Padding(Text(f"{deploy} {place}"), (0, 0, 0, 2)),
    )

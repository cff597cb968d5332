"""The manifest for a person: tables that read well at 80 columns and without colour."""

from __future__ import annotations

import io
from collections import Counter, defaultdict
from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from slimpack.findings import NOT_CHECKED
from slimpack.model import Severity
from slimpack.report.table import Column, table
from slimpack.report.words import duration, mebibytes, safe

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.table import Table

    from slimpack.manifest import FileRecord, Manifest, RuleRecord
    from slimpack.model import Finding


_ROWS = 15
"""Packages shown one by one; the smaller ones share a row."""

_PACKAGE = 14
"""Least width of the first column, for the looks of it."""

_BAR = 40
"""Width of the bar where there is room for it."""

_SHOWN = 6
"""Files or findings of one kind shown one by one."""

_BYTECODE = "bytecode"
"""The rule of files that were compiled."""

_MODULES = "modules"
"""The rule of the archive of packed modules and its loader."""

_ANSWER = 200
"""Characters of an answer that are shown."""

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
        _packages(manifest, width),
        _rules(manifest, width),
        _overruled(manifest.files),
        _repairs(manifest.files),
        _bytecode(manifest),
        _ran(manifest),
        findings_block(manifest.findings),
        _help(manifest) if manifest.over_limit else None,
        _verdict(manifest, width),
        _upload(manifest, name, width),
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


def _headline(manifest: Manifest, name: str) -> Text:
    target = manifest.target
    line = Text(safe(name), style="bold")
    place = f"{target.kind}, {safe(target.runtime)}, {target.architecture}, {safe(target.system)}"
    line.append(f" for {place}", style="not bold")
    return line


def _packages(manifest: Manifest, width: int) -> Table:
    totals = manifest.totals
    versions = {one.name: one.version for one in manifest.distributions}
    owners = sorted(manifest.by_owner().items(), key=lambda row: (-row[1][1], -row[1][0], row[0]))
    shown, rest = (owners, []) if len(owners) <= _ROWS + 1 else (owners[:_ROWS], owners[_ROWS:])
    rows = [(safe(owner), safe(versions.get(owner, "")), *sizes) for owner, sizes in shown]
    if rest:
        rows.append((f"{len(rest)} smaller", "", sum(s[0] for _, s in rest), sum(s[1] for _, s in rest)))
    whole = totals.size_after
    return table(
        (
            Column(header="Package".ljust(_PACKAGE), footer="total", folds_to=20),
            Column(header="Version", folds_to=10, goes=2),
            Column(header="Before", footer=mebibytes(totals.size_before), goes=4, cramps=True),
            Column(header="After", footer=mebibytes(whole)),
            Column(header="Saved", footer=mebibytes(totals.size_before - whole), goes=3),
            Column(header="Share", footer="100 %" if whole else "", goes=1),
        ),
        [
            (
                *(owner, version, mebibytes(before), mebibytes(after), mebibytes(before - after)),
                f"{100 * after / whole:.0f} %" if whole else "",
            )
            for owner, version, before, after in rows
        ],
        width=width,
    )


def _compacted(file: FileRecord) -> int:
    """Returns the bytes that compaction has saved, what was cleared or packed not included."""
    if file.decision not in {"compacted", "packed"}:
        return 0
    size = file.size_after if file.packed is None else file.packed.size_before
    return file.size_before - size - file.cleared


def _packed(file: FileRecord) -> int:
    """Returns the bytes that packing has saved, less those that bytecode takes now."""
    one = file.packed
    return 0 if one is None else one.size_before - file.size_after - (one.archived or 0)


def _rules(manifest: Manifest, width: int) -> RenderableType | None:
    rows = [(safe(rule.id), rule.files, rule.bytes) for rule in manifest.rules if rule.files]
    compacted = [saved for file in manifest.files if (saved := _compacted(file))]
    packed = [_packed(file) for file in manifest.files if file.packed and file.packed.archived is None]
    modules = [_packed(file) for file in manifest.files if file.packed and file.packed.archived is not None]
    if compacted:
        rows.append(("compaction of ELF files", len(compacted), sum(compacted)))
    if packed:
        rows.append(("packing of shared objects", len(packed), sum(packed)))
    if modules and sum(modules) > 0:
        rows.append(("packing of modules", len(modules), sum(modules)))
    if not rows:
        return None
    rows.sort(key=lambda row: -row[2])
    if rest := rows[_ROWS:]:
        more = (f"{len(rest)} more rules", sum(row[1] for row in rest), sum(row[2] for row in rest))
        rows = [*rows[:_ROWS], more]
    return table(
        (Column(header="Saved by", folds_to=24), Column(header="Files", goes=1), Column(header="Saved")),
        [(words, f"{files:,}", mebibytes(size)) for words, files, size in rows],
        width=width,
    )


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
        "Repairs",
        [
            f"+ {file.path} ({file.rule}): {file.note}"
            for file in files
            if file.decision == "added" and file.rule not in {_BYTECODE, _MODULES}
        ],
    )


def _bytecode(manifest: Manifest) -> RenderableType | None:
    """Returns how the bundle has bytecode."""
    record = manifest.bytecode
    if record is None:
        return None
    beside = [
        file.size_after for file in manifest.files if file.decision == "added" and file.rule == _BYTECODE
    ]
    modules = [file.packed for file in manifest.files if file.packed and file.packed.archived is not None]
    lines = []
    if modules:
        sources, archived = (
            sum(sizes) for sizes in zip(*((m.loaded, m.archived or 0) for m in modules), strict=True)
        )
        lines.append(
            f"packed with the sources of {len(modules):,} modules, {mebibytes(sources)}, "
            f"in {mebibytes(archived)}: {record.reason}"
        )
    if beside:
        why = "" if modules else f": {record.reason}"
        lines.append(f"beside the sources of {len(beside):,} modules, {mebibytes(sum(beside))}{why}")
    return _section(f"Bytecode of {safe(record.compiler)}", lines)


def _ran(manifest: Manifest) -> RenderableType | None:
    """Returns what was run before the bundle was handed over, or that it was not wanted."""
    record = manifest.verification
    if record is None:
        could_not = any(one.code == NOT_CHECKED.code for one in manifest.findings)
        return None if could_not else Text("not run (--no-verify)")
    imports = [one for one in record.tried if one.what == "import"]
    works = sum(one.problem is None for one in imports)
    lines = [f"{works} of {len(imports)} packages import"] if imports else []
    if record.init_seconds is not None:
        peak = "" if record.peak_bytes is None else f", {mebibytes(record.peak_bytes)} of memory at most"
        lines.append(f"init {duration(record.init_seconds)}{peak}")
    if record.not_emulated:
        words = (one.partition(": ")[0] for one in record.not_emulated)
        lines.append(f"not as there: {', '.join(words)} (the manifest tells how)")
    answers = iter(record.answers)
    for one in record.tried:
        if one.what == "event":
            took = "" if one.seconds is None else f" {duration(one.seconds)}"
            said = one.problem or " ".join(next(answers, "started").split())
            lines.append(f"{one.name}{took}: {said if len(said) <= _ANSWER else f'{said[:_ANSWER]}…'}")
    return _section("Run as on Lambda, on this machine", lines)


def _section(title: str, lines: Sequence[str]) -> RenderableType | None:
    if not lines:
        return None
    shown = [Text(safe(line), overflow="fold") for line in lines[:_SHOWN]]
    if len(lines) > _SHOWN:
        shown.append(Text(f"and {len(lines) - _SHOWN} more: `slimpack explain PATH` has each of them"))
    return Group(Text(title, style="bold"), *(Padding(line, (0, 0, 0, 2)) for line in shown))


def findings_block(found: Sequence[Finding]) -> RenderableType | None:
    """Returns findings; of one code at most a few, so that many small ones do not hide a large one.

    Args:
        found: Those of one code side by side.
    """
    if not found:
        return None
    parts: list[RenderableType] = []
    for code, group in groupby(found, key=lambda finding: finding.code):
        same = list(group)
        for finding in same[:_SHOWN]:
            line = Text(f"{finding.severity.value} {safe(finding.code)} ", style=_STYLE[finding.severity])
            line.append(f"{safe(finding.place)}: {safe(finding.message)}", style="default not bold")
            parts.append(line)
        if len(same) > _SHOWN:
            parts.append(Text(f"and {len(same) - _SHOWN} more {safe(code)}"))
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
    needed_by: dict[str, list[str]] = defaultdict(list)
    for one in manifest.distributions:
        for required in one.requires:
            needed_by[required].append(one.name)
    seen, queue = {name}, [name]
    while queue:
        new = set(needed_by[queue.pop()]) - seen
        seen |= new
        queue += new
    return tuple(one.name for one in manifest.distributions if one.requested and one.name in seen - {name})


def _offer(offer: RuleRecord) -> str:
    return (
        f"--enable {safe(offer.id)} takes up to {mebibytes(offer.bytes)} more, "
        f"and changes behaviour: {safe(offer.breaks or '')}"
    )


def _bullet(words: str) -> RenderableType:
    return Padding(Text(f"- {words}"), (0, 0, 0, 2))


def _verdict(manifest: Manifest, width: int) -> RenderableType:
    size, limit = manifest.totals.size_after, manifest.target.room
    share = f" ({100 * size / limit:.1f} %)" if limit else ""
    amount = f"{mebibytes(size)} of {mebibytes(limit)}{share}"
    lines = [_bar(manifest, amount, width), _judgement(manifest)]
    if manifest.totals.archive_size is not None:
        lines.append(
            Text(f"zip: {mebibytes(manifest.totals.archive_size)} ({manifest.totals.archive_size:,} bytes)")
        )
    return Group(*lines)


def _judgement(manifest: Manifest) -> Text:
    """Returns in a line whether the bundle fits."""
    size, limit = manifest.totals.size_after, manifest.target.room
    if not manifest.totals.files_after:
        return Text("EMPTY: not one file is left in the bundle", style="bold red")
    if manifest.over_limit:
        words = f"OVER the limit by {mebibytes(size - limit + 1)}: {size:,} bytes, must stay below {limit:,}"
        return Text(words, style="bold red")
    return Text(f"fits, {mebibytes(limit - size)} left: {size:,} bytes, must stay below {limit:,}")


def _bar(manifest: Manifest, amount: str, width: int) -> Text:
    """Returns how full the target is as a bar, before the amount or, where there is no room, above it."""
    size, limit = manifest.totals.size_after, manifest.target.room
    beside = min(_BAR, width - len(amount) - 3)
    apart = beside < _BAR // 2
    columns = min(_BAR, width - 2) if apart else beside
    filled = min(columns, round(columns * size / limit)) if limit else columns
    bar = Text("[")
    bar.append("#" * filled, style="red" if manifest.over_limit else "green")
    bar.append("." * (columns - filled) + "]" + ("\n" if apart else " "))
    bar.append(amount, style="bold")
    return bar


def _upload(manifest: Manifest, name: str, width: int) -> RenderableType | None:
    """Returns the commands that deploy a zip which is too large for a direct upload."""
    size, limit = manifest.totals.archive_size, manifest.target.upload_limit
    if size is None or limit is None or size <= limit or manifest.over_limit:
        return None
    file = safe(name)
    commands: list[tuple[str, ...]] = [("aws s3 cp", file, f"s3://BUCKET/{file}")]
    if manifest.target.kind == "lambda-layer":
        content = f"--content S3Bucket=BUCKET,S3Key={file}"
        commands.append(("aws lambda publish-layer-version", "--layer-name NAME", content))
    else:
        place = ("--s3-bucket BUCKET", f"--s3-key {file}")
        commands.append(("aws lambda update-function-code", "--function-name NAME", *place))
    return Group(
        Text(f"More than the {mebibytes(limit)} of a direct upload; deploy it through S3:"),
        *(Padding(Text(_command(words, width - 2)), (0, 0, 0, 2)) for words in commands),
    )


def _command(words: Sequence[str], width: int) -> str:
    """Returns a shell command, in several lines only where it would be broken otherwise."""
    line = " ".join(words)
    return line if len(line) <= width else " \\\n  ".join(words)

"""What became of single files, for a person."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from slimpack.report.fit import in_words
from slimpack.report.fold import fold
from slimpack.report.words import mebibytes, safe

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from slimpack.manifest import FileRecord, Manifest

_SPECIAL = re.compile(r"[*?\[\]!\\#]")
"""Characters that mean something in a gitignore-style pattern."""


def explanation(manifest: Manifest, files: Sequence[FileRecord], *, width: int, color: bool) -> str:
    """Returns why files were kept, changed, removed or added.

    Args:
        manifest: The account.
        files: Records of it.
        width: Columns.
        color: Whether ANSI colours may be used.
    """
    reasons = {rule.id: rule.reason for rule in manifest.rules}
    prefix = manifest.target.prefix
    choices = {one.path: one for one in manifest.fit.choices} if manifest.fit else {}
    bold, plain = ("\x1b[1m", "\x1b[0m") if color else ("", "")
    shown: list[str] = []
    for file in files:
        shown += (f"{bold}{line}{plain}" for line in fold(safe(file.path), width))
        lines = list(_lines(file, reasons, prefix))
        if file.path in choices:
            lines.append(in_words(choices[file.path]))
        for words in lines:
            shown += (f"  {line}" for line in fold(safe(words), width - 2))
        shown.append("")
    return "\n".join(shown)


def _lines(file: FileRecord, reasons: Mapping[str, str], prefix: str) -> Iterator[str]:
    sizes = f"{mebibytes(file.size_before)} before, {mebibytes(file.size_after)} in the bundle"
    yield f"{file.decision}: {sizes}, brought by {file.owner}"
    yield from causes(file, reasons)
    if file.decision == "removed" and file.rule:
        pattern = _SPECIAL.sub(r"\\\g<0>", file.path.removeprefix(prefix))
        yield f"to keep it: --keep {shlex.quote('/' + pattern)}"


def causes(file: FileRecord, reasons: Mapping[str, str]) -> Iterator[str]:
    """Yields what has become of a file, and why, a line each.

    Args:
        file: Its record.
        reasons: Those of rules, by id.
    """
    if file.rule is not None and file.overruled is None:
        yield f"by {file.rule}" + (f": {reasons[file.rule]}" if file.rule in reasons else "")
    if file.overruled is not None:
        yield f"{file.overruled.rule} would remove it: {reasons.get(file.overruled.rule, '')}"
        yield f"kept, because kept code needs it: {file.overruled.by}"
    if file.cleared_by is not None:
        yield f"{mebibytes(file.cleared)} cleared by {file.cleared_by}: {reasons.get(file.cleared_by, '')}"
    if file.packed is not None:
        one = file.packed
        if one.archived is None:
            yield f"packed from {mebibytes(one.size_before)}: cold parts are loaded when they are touched"
        else:
            yield (
                f"packed from {mebibytes(one.size_before)}: source and bytecode take {mebibytes(one.archived)} of "
                "slimpack.libs/modules, and this is what loads them"
            )
        if one.symbols:
            yield f"pruned: {one.symbols:,} exports that nobody in the bundle needs, {mebibytes(one.pruned)} of tables"
    if file.note:
        yield file.note
    if file.rule is None and file.overruled is None and file.decision in {"kept", "compacted", "packed"}:
        yield "no rule speaks of it"

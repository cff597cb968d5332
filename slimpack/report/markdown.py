"""Markdown: what a pull request is told, as GitHub and GitLab show it. Pure.

Whatever comes from wheels and manifests is escaped so that it is words and nothing else: no table, link, mention or
reference to an issue, no markup (GitHub Flavored Markdown 0.29).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slimpack import __version__
from slimpack.amounts import apart, mebibytes
from slimpack.comment import marker
from slimpack.model import Severity
from slimpack.report.words import clipped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from slimpack.diff import Diff, FileChange, PackageChange
    from slimpack.gate import Review
    from slimpack.model import Finding

LIMIT = 65_536
"""Characters, and bytes of UTF-8, that a comment has to stay below: what GitHub takes."""

ROWS = 20
"""Rows of the table, its sums included."""

_NAME = 80
"""Characters of a name."""

_WORDS = 300
"""Characters of a sentence."""

_NOTES = 5
"""Sentences on what limits the comparison."""

_CHANGED = 3
"""Causes of a change that are named."""

_WAY = 5
"""Packages of a way from the requirements that are named."""

_MEANS = re.compile(r"""[^\x80-\U0010ffffA-Za-z0-9 .,:;()/=?'%"+_-]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])""")
"""What means something in Markdown, where a line does not begin with it; an underscore inside of a word does not."""

_REFERS = re.compile(r"""[@#!~$%&^*](?=[\w"'])|gh(?=-)|www(?=\.)|:(?=//|[\w+-]+:)""", re.IGNORECASE)
"""What makes a mention, a reference, a link or an emoji of the word that follows it."""

_APART = "\N{ZERO WIDTH SPACE}"

_SIGNS = {Severity.ERROR: "❌", Severity.WARNING: "⚠️", Severity.NOTE: "ℹ️"}  # noqa: RUF001 -- it is meant

_STATUS = {"pass": "✅", "warn": "⚠️", "fail": "❌"}

_CAUSES = {
    "upgrade": "upgrade",
    "downgrade": "downgrade",
    "requested": "requested",
    "dependency": "dependency",
    "dropped": "no longer needed",
    "rules": "other rules",
    "compaction": "compaction",
    "packing": "packing",
    "bytecode": "bytecode",
    "source": "own files",
    "content": "other files of the same version",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Detail:
    """How much is told."""

    findings: int
    """Errors and warnings shown one by one."""
    notes: int
    """Notes in a folded list."""
    rows: int
    """Rows of the table."""
    packages: int
    """Packages in the folded list of all."""
    files: int
    """Files in the folded list of changes."""
    complete: bool = False
    """Whether nothing is left out that there would be room for."""


_STEPS = (
    _Detail(findings=500, notes=500, rows=1000, packages=1000, files=1000, complete=True),
    _Detail(findings=100, notes=100, rows=200, packages=200, files=200, complete=True),
)
"""What a page tells, the fullest first; the first one that there is room for counts."""

_COMMENT_STEPS = (
    _Detail(findings=20, notes=20, rows=ROWS, packages=50, files=50, complete=True),
    _Detail(findings=20, notes=10, rows=ROWS, packages=20, files=20),
    _Detail(findings=20, notes=0, rows=ROWS, packages=0, files=0),
    _Detail(findings=10, notes=0, rows=ROWS, packages=0, files=0),
    _Detail(findings=5, notes=0, rows=10, packages=0, files=0),
    _Detail(findings=2, notes=0, rows=5, packages=0, files=0),
)
"""Likewise for a comment, and for a page that even that is too much for. The last one always fits."""


def comment(review: Review) -> str:
    """Returns the comment on a pull request, below ``LIMIT``, with the hidden marker that it is found again by.

    Raises:
        UsageError: The review's key cannot be part of a marker.
    """
    return _fitting(review, _COMMENT_STEPS, head=f"{marker(review.key)}\n", limit=LIMIT)


def page(review: Review, *, limit: int) -> str:
    """Returns the same with more in it, and without a marker.

    Args:
        review: The review.
        limit: Bytes of UTF-8 that it has to stay below; at least those of a comment.
    """
    return _fitting(review, _STEPS + _COMMENT_STEPS, head="", limit=limit)


def verdict(review: Review) -> str:
    """Returns in a line what the gate says, how large the bundle is and by how much it has grown. Not escaped."""
    account, limit = review.account, review.limit
    judgement = {"pass": "passes", "warn": "passes with warnings", "fail": "fails"}[review.verdict.status]
    size = mebibytes(account.size)
    if limit is not None:
        size, below = apart(account.size, limit)
        share = f" ({100 * account.size / limit:.1f} %)" if limit > 0 else ""
        over = account.size >= limit
        size = f"{size}, OVER the limit of {below}" if over else f"{size} of {below}{share}"
    grown = ""
    if review.diff is not None:
        delta = review.diff.delta
        change = f"{_signed(delta)} ({_percent(review.diff.base.size, delta)})" if delta else "no change"
        grown = f"; {change} against {clipped(review.diff.base.name, _NAME)}"
    return f"{clipped(account.name, _NAME)} {judgement}: {size}{grown}"


def _fitting(review: Review, steps: Sequence[_Detail], *, head: str, limit: int) -> str:
    """Returns the fullest text that there is room for."""
    text = ""
    for detail in steps:
        text = head + "".join(_blocks(review, detail))
        if len(text.encode()) < limit:
            break
    return text


def _blocks(review: Review, detail: _Detail) -> Iterator[str]:
    """Yields the text in pieces, blank lines between them."""
    yield f"**{_STATUS[review.verdict.status]} {_inline(verdict(review), 4 * _NAME)}**\n"
    found = review.verdict.findings
    notes = [finding for finding in found if finding.severity is Severity.NOTE]
    yield from _findings([one for one in found if one.severity is not Severity.NOTE], detail.findings)
    if review.diff is not None:
        yield from _changes(review.diff, detail.rows)
        yield from _files(review.diff, detail.files)
    yield from _packages(review, detail)
    if notes and detail.notes:
        yield _fold(_count(notes, "note"))
        yield from _findings(notes, detail.notes)
        yield "\n</details>\n"
    yield from _limits(review.diff.notes if review.diff is not None else review.account.notes)
    if not detail.complete:
        yield "\nDetails are left out for want of room; `slimpack report` has them.\n"
    yield f"\n<sub>{_footer(review)}</sub>\n"


def _findings(found: Sequence[Finding], most: int) -> Iterator[str]:
    if not found:
        return
    yield "\n"
    for finding in found[:most]:
        fix = f"<br>Fix: {_sentence(finding.fix)}" if finding.fix else ""
        words = f"{_inline(finding.place, 2 * _NAME)}: {_sentence(finding.message)}"
        yield f"- {_SIGNS[finding.severity]} **{_inline(finding.code, _NAME)}** {words}{fix}\n"
    if rest := found[most:]:
        errors = sum(finding.severity is Severity.ERROR for finding in rest)
        yield f"- and {len(rest):,} more{f', {errors:,} of them errors' if errors else ''}\n"


def _changes(diff: Diff, rows: int) -> Iterator[str]:
    """Yields the table of what has changed; its figures sum up to those of the bundles."""
    if not diff.changed:
        yield f"\nNo change against {_inline(diff.base.name, _NAME)}.\n"
    else:
        yield "\n| Package | Base | PR | Δ | % | Why |\n|:--|--:|--:|--:|--:|:--|\n"
        yield from _rows(diff, rows)


def _rows(diff: Diff, rows: int) -> Iterator[str]:
    same = [one for one in diff.packages if one.kind == "unchanged"]
    room = rows - 1 - bool(same)
    shown = diff.changed if len(diff.changed) <= room else diff.changed[: room - 1]
    for one in shown:
        yield _row(_title(one), one.before, one.after, _why(one))
    for words, those in (("more that changed", diff.changed[len(shown) :]), ("unchanged", same)):
        if those:
            sizes = sum(one.before for one in those), sum(one.after for one in those)
            yield _row(f"{len(those):,} {words}", *sizes, "")
    yield _row("**total**", diff.base.size, diff.head.size, "")


def _row(name: str, before: int, after: int, why: str) -> str:
    delta = after - before
    sizes = (_size(before), _size(after), _signed(delta), _percent(before, delta))
    return f"| {' | '.join((name, *sizes, why))} |\n"


def _title(one: PackageChange) -> str:
    versions = [version for version in dict.fromkeys((one.version_before, one.version_after)) if version]
    return (
        f"{_inline(one.name, _NAME)} {' → '.join(_inline(version, _NAME) for version in versions)}".rstrip()
    )


def _why(one: PackageChange) -> str:
    words = ", ".join(_CAUSES[cause] for cause in one.causes[:_CHANGED])
    if len(one.via) < 2:  # noqa: PLR2004 -- the package itself
        return words
    way = one.via if len(one.via) <= _WAY else (*one.via[: _WAY - 2], "…", *one.via[-2:])
    return f"{words}: {' → '.join(_inline(name, _NAME // 2) for name in way)}"


def _files(diff: Diff, most: int) -> Iterator[str]:
    if not diff.files or not most:
        return
    shown = diff.files[:most]
    yield _fold(f"{_count(diff.files, 'file')} that changed")
    yield "| File | Base | PR | Δ | Why |\n|:--|--:|--:|--:|:--|\n"
    for one in shown:
        sizes = (_size(one.before), _size(one.after), _signed(one.after - one.before))
        yield f"| {' | '.join((_inline(one.path, 2 * _NAME), *sizes, _CAUSES[one.cause]))} |\n"
    if rest := diff.files[most:]:
        yield _rest_of_files(rest)
    yield "\n</details>\n"


def _rest_of_files(rest: Sequence[FileChange]) -> str:
    before, after = sum(one.before for one in rest), sum(one.after for one in rest)
    return f"| {len(rest):,} more | {_size(before)} | {_size(after)} | {_signed(after - before)} | |\n"


def _packages(review: Review, detail: _Detail) -> Iterator[str]:
    """Yields what is in the bundle: folded where there is a table of changes, else open."""
    account = review.account
    folded = review.diff is not None
    most = detail.packages if folded else detail.rows - 1
    sizes = sorted(account.sizes().items(), key=lambda row: (-row[1], row[0]))
    if not sizes or not most:
        return
    shown, rest = (sizes, []) if len(sizes) <= most else (sizes[: most - 1], sizes[most - 1 :])
    versions = account.versions()
    yield _fold(f"{_count(sizes, 'package')} in the bundle") if folded else "\n"
    yield "| Package | Version | Size | Share |\n|:--|:--|--:|--:|\n"
    rows = [(_inline(name, _NAME), _inline(versions.get(name, ""), _NAME), size) for name, size in shown]
    if rest:
        rows.append((f"{len(rest):,} smaller", "", sum(size for _, size in rest)))
    for name, version, size in (*rows, ("**total**", "", account.size)):
        share = f"{100 * size / account.size:.1f} %" if account.size else ""
        yield f"| {name} | {version} | {_size(size)} | {share} |\n"
    if folded:
        yield "\n</details>\n"


def _limits(notes: Sequence[str]) -> Iterator[str]:
    """Yields what limits a comparison, or what a bundle could not tell of itself."""
    for note in notes[:_NOTES]:
        yield f"\nNote: {_sentence(note)}\n"
    if rest := notes[_NOTES:]:
        yield f"\nand {len(rest):,} more notes\n"


def _count(things: Sequence[object], word: str) -> str:
    return f"{len(things):,} {word}{'' if len(things) == 1 else 's'}"


def _fold(title: str) -> str:
    return f"\n<details><summary>{title}</summary>\n\n"


def _footer(review: Review) -> str:
    account = review.account
    both = (account,) if review.diff is None else (review.diff.base, account)
    bundles = " → ".join(_inline(one.name, _NAME) for one in both)
    target = ", ".join(_inline(word, _NAME) for word in (account.runtime, account.architecture) if word)
    return " · ".join(filter(None, (bundles, target, f"slimpack {__version__}")))


def _size(size: int) -> str:
    return mebibytes(size) if size else "–"  # noqa: RUF001 -- it is meant


def _signed(delta: int) -> str:
    """Returns a growth; what is less is so with a true minus sign."""
    return f"{'−' if delta < 0 else '+'}{mebibytes(abs(delta))}" if delta else "0"  # noqa: RUF001 -- it is meant


def _percent(before: int, delta: int) -> str:
    if not delta:
        return ""
    if not before:
        return "new"
    share = abs(100 * delta / before)
    if share < 0.1:  # noqa: PLR2004 -- what one digit shows
        return "<0.1 %"
    return f"{'−' if delta < 0 else '+'}{share:,.1f} %"  # noqa: RUF001 -- a true minus sign


def _sentence(words: str) -> str:
    """Returns a sentence, in which commands stand between backticks."""
    parts = [_inline(part, _WORDS) for part in clipped(words, _WORDS).split("`")]
    if len(parts) % 2 == 0:  # one is left open
        parts[-2:] = [f"{parts[-2]}&#96;{parts[-1]}"]
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))


def _inline(words: str, longest: int) -> str:
    """Returns words that come from wheels or manifests as words of Markdown, and nothing else.

    Whatever could be markup is a character reference, which is never taken for markup (GFM section 6.2). Mentions,
    references and links are found afterwards, in what is shown: there a space without width keeps them apart.
    """
    shown = _REFERS.sub(lambda found: found[0] + _APART, clipped(words, longest))
    return _MEANS.sub(lambda found: f"&#{ord(found[0])};", shown)

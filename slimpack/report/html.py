"""The review of a bundle as one page that loads nothing: verdict, findings, tables, and a map of every file.

The tables are plain HTML and need no JavaScript. The map's data is JSON, deflated and in base64: a bundle of
TensorFlow has 16,000 files, whose names alone would fill most of what the page may take; deflated they fill a
quarter of it, and nothing of a name can be taken for markup. A browser without ``DecompressionStream`` (those
from before 2023) shows the tables only.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
from html import escape
from importlib import resources
from string import Template
from typing import TYPE_CHECKING

from zlib_ng import zlib_ng

from slimpack import __version__
from slimpack.account import OTHER
from slimpack.amounts import apart
from slimpack.findings import OVER_LIMIT
from slimpack.manifest import by_owner
from slimpack.model import APP, SLIMPACK, Risk
from slimpack.report.explain import causes
from slimpack.report.tree import Tree
from slimpack.report.words import clipped, mebibytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from slimpack.account import Account
    from slimpack.diff import Diff, FileChange, PackageChange
    from slimpack.gate import Check, Review
    from slimpack.manifest import RuleRecord
    from slimpack.model import Finding
    from slimpack.report.tree import Leaf, Node

LARGEST = 1_000_000
"""Bytes of UTF-8 that the page stays below."""

_ROOM = {
    "findings": 100_000,
    "budgets": 60_000,
    "packages": 150_000,
    "changes": 150_000,
    "changed files": 60_000,
    "rules": 60_000,
}
"""Bytes that the rows of a table may take; what has no room is summed up in a last row."""

_CHANGED_FILES = 50
"""Changed files shown one by one."""

_NOTES = 10
"""Sentences on what limits an account or a comparison."""

_LINES = 50_000
"""Packages, folders and files of the map; more would make a browser slow."""

_NAME = 120
"""Characters of a name that are shown."""

_SENTENCE = 600
"""Characters of a sentence that are shown."""

_WHY = 200
"""Characters of the reason for a package that are shown."""

_VERSION = 40
"""Characters of a version that are shown."""

_SHOWN_NAMES = 4
"""Distributions that need another one, or are on the way to it, shown by name."""

_CODE = re.compile(r"`([^`]+)`")

_MINUS = "\N{MINUS SIGN}"

_OWNERS = {
    APP: "the app's own files",
    SLIMPACK: "what slimpack adds",
    OTHER: "no package claims these files",
}
"""What there is to say of owners that are no distributions."""

_COLUMNS = {
    "number": {
        "Base",
        "Now",
        "Change",
        "%",
        "Before",
        "After",
        "Saved",
        "Share",
        "Size",
        "Files",
        "Is",
        "Warns above",
        "Fails above",
    },
    "spare": {"Version", "Before", "%", "Base", "Warns above"},
    "why": {"Why"},
    "short": {"Verdict"},
}
"""Columns by class; a narrow screen does without the spare ones, since others tell as much."""


def html(review: Review) -> str:
    """Returns the page: HTML that stays below ``LARGEST`` bytes of UTF-8, the same for the same review.

    Args:
        review: The bundle, the verdict on it, and the difference to a base if there is one.
    """
    style, script = _asset("page.css"), _asset("page.js")
    parts = {
        "policy": f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'",
        "version": __version__,
        "title": _text(f"{review.account.name}: {review.verdict.status}"),
        "name": _text(review.account.name),
        "style": style,
        "script": script,
        "target": _target(review.account),
        "notes": "".join(f'<p class="quiet">{_words(note)}</p>' for note in review.account.notes[:_NOTES]),
        "status": review.verdict.status,
        "word": review.verdict.status,
        "sentence": _sentence(review),
        "bar": _bar(review),
        "facts": _facts(review),
        "findings": _findings(review),
        "budgets": _budgets(review.verdict.checks),
        "diff": "" if review.diff is None else _diff(review.diff),
        "packages": _packages(review.account),
        "rules": _rules(review.account),
        "footer": _footer(review),
    }
    frame = Template(_asset("page.html"))
    left = LARGEST - 1 - len(frame.substitute(parts, tree="").encode())
    return frame.substitute(parts, tree=_map(review, left))


@functools.cache
def _asset(name: str) -> str:
    return resources.files("slimpack.report").joinpath("page", name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    """Returns the source that allows just this content (Content Security Policy 3, section 6.7.3)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _text(words: str, most: int = _NAME) -> str:
    return escape(clipped(words, most))


def _words(sentence: str) -> str:
    """Returns a sentence in which backquotes set off code."""
    return _CODE.sub(r"<code>\1</code>", _text(sentence, _SENTENCE))


def _size(size: int, *, signed: bool = False) -> str:
    """Returns a size to read, with its exact bytes to point at and to sort by."""
    words = mebibytes(size).replace("-", _MINUS)
    sign = "+" if signed and size > 0 else ""
    return f'<data value="{size}" title="{size:,} bytes">{sign}{words}</data>'


def _target(account: Account) -> str:
    words = [word for word in (account.runtime, account.architecture) if word]
    if account.manifest is not None:
        words = [account.manifest.target.kind, *words, account.manifest.target.system]
    return _text(", ".join(words))


def _sentence(review: Review) -> str:
    size = review.account.size
    if review.limit is None:
        return f"{mebibytes(size)}, {size:,} bytes unzipped"
    limit = max(review.limit, 0)
    words, most = apart(size, limit)
    said = f"{words} of {most}, {mebibytes(limit - size)} left"
    if size >= limit:
        said = f"{words}, over the limit of {most} by {mebibytes(size - limit + 1)}"
    return f'{said} <span class="quiet">{size:,} bytes, must stay below {limit:,}</span>'


def _bar(review: Review) -> str:
    size, limit = review.account.size, review.limit
    if limit is None or limit <= 0:
        return ""
    end = max(size, limit)
    marks = f'<rect class="{review.verdict.status}" width="{1000 * size / end:.1f}" height="10"/>'
    if size > limit:
        marks += f'<rect class="mark" x="{1000 * limit / end - 2:.1f}" width="4" height="10"/>'
    return (
        f'<svg class="bar" viewBox="0 0 1000 10" preserveAspectRatio="none" role="img" '
        f'aria-label="{100 * size / limit:.1f} % of the limit">'
        f'<rect class="room" width="1000" height="10"/>{marks}</svg>'
    )


def _facts(review: Review) -> str:
    account = review.account
    facts = [("In the bundle", _size(account.size))]
    if review.limit is not None:
        facts.append(("Limit", _size(review.limit)))
    if account.archive_size is not None:
        facts.append(("Zip", _size(account.archive_size)))
    if review.diff is not None:
        facts.append(("Change", _size(review.diff.delta, signed=True)))
    if account.manifest is not None:
        totals = account.manifest.totals
        facts.append(("Plain install", _size(totals.size_before)))
        facts.append(("Saved", _size(totals.size_before - account.size)))
    there = sum(file.decision != "removed" for file in account.files)
    gone = f" of {len(account.files):,}" if there != len(account.files) else ""
    facts.append(("Files", f"{there:,}{gone}"))
    facts.append(("Packages", f"{sum(one.size_after > 0 for one in account.distributions):,}"))
    return "\n".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts)


def _findings(review: Review) -> str:
    found = list(review.verdict.findings)
    if review.account.manifest is not None:  # of an over-limit bundle the verdict speaks, with the reserve
        known = {*found, *(one for one in review.account.manifest.findings if one.code == OVER_LIMIT.code)}
        found += (one for one in review.account.manifest.findings if one not in known)
    items = _within((_finding(one) for one in found), _ROOM["findings"])
    if len(found) > len(items):
        items.append(f"<li>and {len(found) - len(items):,} more</li>")
    shown = "\n".join(items)
    return _section("Findings", f'<ul class="findings">\n{shown}\n</ul>' if items else "<p>None.</p>")


def _finding(one: Finding) -> str:
    fix = f'<p class="quiet">{_words(one.fix)}</p>' if one.fix else ""
    return (
        f'<li class="{one.severity.value}"><p><b>{one.severity.value} {_text(one.code)}</b> '
        f"{_text(one.place)}: {_words(one.message)}</p>{fix}</li>"
    )


def _budgets(checks: Sequence[Check]) -> str:
    """Returns what was judged, unless it is the target's limit alone, of which the headline speaks."""
    if all(check.kind == "limit" for check in checks):
        return ""
    names = {"limit": "the target's limit", "total": "the bundle", "increase": "growth"}
    table = _table(
        "What is judged",
        ("Budget", "Is", "Warns above", "Fails above", "Verdict"),
        (
            (
                _text(names.get(one.kind, f"no {one.name}" if one.kind == "forbidden" else one.name)),
                _size(one.actual, signed=one.kind == "increase"),
                "" if one.warn is None else _size(one.warn),
                "" if one.fail is None else _size(max(one.fail - (one.kind == "limit"), 0)),
                f'<span class="{one.status}"><b>{one.status}</b></span>',
            )
            for one in checks
        ),
        room=_ROOM["budgets"],
        rest=lambda shown: (
            f"{len(checks) - shown:,} more",
            *[""] * 3,
            f"{sum(one.status != 'pass' for one in checks[shown:]):,} not passed",
        ),
        count=len(checks),
    )
    return _section("Budgets", table)


def _diff(diff: Diff) -> str:
    changed = diff.changed
    same = [one for one in diff.packages if one.kind == "unchanged"]
    notes = "".join(f"<p>{_words(note)}</p>" for note in diff.notes[:_NOTES])
    table = _table(
        f"Against {_text(diff.base.name)}, largest change first",
        ("Package", "Version", "Base", "Now", "Change", "%", "Why"),
        (_package_change(one) for one in changed),
        room=_ROOM["changes"],
        rest=lambda shown: _summed_change(changed[shown:], "more", ""),
        count=len(changed),
        last=[_summed_change(same, "unchanged", "")] if same else [],
        foot=("total", "", *_change(diff.base.size, diff.head.size), ""),
    )
    return _section("Changes", f"{notes}{table}{_file_changes(diff.files)}")


def _package_change(one: PackageChange) -> tuple[str, ...]:
    versions = dict.fromkeys(version for version in (one.version_before, one.version_after) if version)
    kind = "" if one.kind == "changed" else f" <em>{one.kind}</em>"
    via = " > ".join(one.via[:_SHOWN_NAMES]) if len(one.via) > 1 else ""
    return (
        f"{_package(one.name)}{kind}",
        " → ".join(_text(version, _VERSION) for version in versions),
        *_change(one.before, one.after),
        _text("; ".join(words for words in (", ".join(one.causes), via) if words), _WHY),
    )


def _file_changes(files: Sequence[FileChange]) -> str:
    if not files:
        return ""
    table = _table(
        "Largest change first",
        ("File", "Base", "Now", "Change", "%", "Why"),
        (
            (_text(one.path, _WHY), *_change(one.before, one.after), _text(f"{one.owner}: {one.cause}"))
            for one in files[:_CHANGED_FILES]
        ),
        room=_ROOM["changed files"],
        rest=lambda shown: _summed_change(files[shown:], "more"),
        count=len(files),
    )
    return f"<details><summary>{len(files):,} changed files</summary>{table}</details>"


def _summed_change(
    those: Sequence[PackageChange] | Sequence[FileChange], words: str, *between: str
) -> tuple[str, ...]:
    before, after = sum(one.before for one in those), sum(one.after for one in those)
    return (f"{len(those):,} {words}", *between, *_change(before, after), "")


def _change(before: int, after: int) -> tuple[str, str, str, str]:
    """Returns the cells of a change: base, now, difference, percent."""
    delta = after - before
    css = "grown" if delta > 0 else "shrunk" if delta < 0 else "same"
    percent = ""
    if before:
        percent = f'<data value="{delta / before:.6f}">{100 * delta / before:+.1f} %</data>'.replace(
            ">-", f">{_MINUS}"
        )
    return _size(before), _size(after), f'<span class="{css}">{_size(delta, signed=True)}</span>', percent


def _packages(account: Account) -> str:
    known = account.manifest is not None
    owners = sorted(by_owner(account.files).items(), key=lambda row: (-row[1][1], -row[1][0], row[0]))
    versions, whys = account.versions(), _whys(account)

    def cells(
        name: str, version: str, those: Sequence[tuple[str, tuple[int, int]]], why: str
    ) -> tuple[str, ...]:
        before, after = (sum(sizes[index] for _, sizes in those) for index in (0, 1))
        share = (
            f'<data value="{after / account.size:.6f}">{100 * after / account.size:.1f} %</data>'
            if account.size
            else ""
        )
        sizes = (_size(before), _size(after), _size(before - after)) if known else (_size(after),)
        return (name, version, *sizes, share, why)

    table = _table(
        "Largest first",
        ("Package", "Version", *(("Before", "After", "Saved") if known else ("Size",)), "Share", "Why"),
        (
            cells(
                _package(one[0]),
                _text(versions.get(one[0], ""), _VERSION),
                [one],
                _text(whys.get(one[0], ""), _WHY),
            )
            for one in owners
        ),
        room=_ROOM["packages"],
        rest=lambda shown: cells(f"{len(owners) - shown:,} smaller", "", owners[shown:], ""),
        count=len(owners),
        foot=cells("total", "", owners, ""),
    )
    return _section("Packages", table)


def _package(name: str) -> str:
    """Returns a package's name; the script makes it a link to the package in the map."""
    return f'<span data-package="{_text(name)}">{_text(name)}</span>'


def _whys(account: Account) -> dict[str, str]:
    """Returns by owner what it is here for."""
    needed = account.needed_by()
    whys = dict(_OWNERS)
    for one in account.distributions:
        names = needed.get(one.name, ())
        more = f" and {len(names) - _SHOWN_NAMES:,} more" if len(names) > _SHOWN_NAMES else ""
        by = f"needed by {', '.join(names[:_SHOWN_NAMES])}{more}" if names else ""
        places = ", ".join(one.required_at[:_SHOWN_NAMES])
        asked = f"asked for by {places or 'the requirements'}" if one.requested else ""
        whys[one.name] = "; ".join(words for words in (asked, by) if words)
    return whys


def _rules(account: Account) -> str:
    rules = [] if account.manifest is None else [rule for rule in account.manifest.rules if rule.files]
    if not rules:
        return ""

    def cells(name: str, those: Sequence[RuleRecord], why: str) -> tuple[str, ...]:
        files = sum(rule.files for rule in those)
        return name, f'<data value="{files}">{files:,}</data>', _size(sum(rule.bytes for rule in those)), why

    table = _table(
        "What they have taken out, largest first",
        ("Rule", "Files", "Saved", "Why"),
        (
            cells(
                f"{_text(rule.id)}{'' if rule.risk is Risk.SAFE else ' <em>opt-in</em>'}",
                [rule],
                _words(rule.reason),
            )
            for rule in rules
        ),
        room=_ROOM["rules"],
        rest=lambda shown: cells(f"{len(rules) - shown:,} more", rules[shown:], ""),
        count=len(rules),
        foot=cells("total", rules, ""),
    )
    return _section("Rules", table)


def _footer(review: Review) -> str:
    account = review.account
    if account.manifest is None:
        source = (
            f"from the {account.origin} itself, which has no manifest: its packages are told by their metadata, "
            "and what a plain install would take is not known"
        )
    else:
        source = f"from the manifest of a build with slimpack {_text(account.manifest.slimpack, _VERSION)}"
    base = "" if review.diff is None else f", compared with {_text(review.diff.base.name)}"
    return f"Made by slimpack {__version__} {source}{base}."


def _section(title: str, content: str) -> str:
    id_ = title.lower()
    return (
        f'<section aria-labelledby="{id_}">\n<h2 id="{id_}" tabindex="-1">{title}</h2>\n{content}\n</section>'
    )


def _table(
    caption: str,
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    room: int,
    rest: Callable[[int], Sequence[str]],
    count: int,
    last: Sequence[Sequence[str]] = (),
    foot: Sequence[str] = (),
) -> str:
    """Returns a table that scrolls in its own width, with as many rows as there is room for.

    Args:
        caption: What it shows.
        heads: Names of the columns, which say what kind of column it is.
        rows: Cells of each, as HTML.
        room: Bytes that they may take.
        rest: Makes the row that stands for the rest, from how many have their own.
        count: How many there are in all.
        last: Rows that stay at the end, however the others are sorted.
        foot: Cells of the row of sums.
    """
    css = [" ".join(name for name, those in _COLUMNS.items() if head in those) for head in heads]

    def line(cells: Sequence[str], attributes: str = "") -> str:
        first, *others = cells
        tail = "".join(
            f'<td class="{c}">{cell}</td>' if c else f"<td>{cell}</td>"
            for cell, c in zip(others, css[1:], strict=True)
        )
        return f'<tr{attributes}><th scope="row">{first}</th>{tail}</tr>'

    shown = _within((line(cells) for cells in rows), room)
    ends = [*([rest(len(shown))] if len(shown) < count else []), *last]
    shown += (line(cells, " data-last") for cells in ends)
    head = "".join(f'<th scope="col" class="{c}">{name}</th>' for name, c in zip(heads, css, strict=True))
    body = "\n".join(shown)
    sums = f"<tfoot>{line(foot)}</tfoot>" if foot else ""
    return (
        f'<div class="wide">\n<table class="sortable">'
        f"<caption>{caption}</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>{sums}</table></div>"
    )


def _within(rows: Iterable[str], room: int) -> list[str]:
    """Returns the first rows, as many as a number of bytes has room for."""
    shown = []
    for row in rows:
        room -= len(row.encode()) + 1
        if room < 0:
            break
        shown.append(row)
    return shown


def _map(review: Review, room: int) -> str:
    """Returns the data of the map: JSON, deflated (RFC 1950), in base64; the smallest files rolled up if need be."""
    tree = Tree.of(review.account, review.diff)
    most = _LINES
    while True:
        data = json.dumps(_data(review, tree.lines(most)), separators=(",", ":"))
        text = base64.b64encode(zlib_ng.compress(data.encode(), 9)).decode()
        if len(text) <= room:
            return text
        most = min(most // 2, most * room // len(text))


def _data(review: Review, nodes: Sequence[Node]) -> dict[str, object]:
    """Returns the map as the script reads it: columns of lines and of leaves, which deflate better than records."""
    leaves = [node.leaf for node in nodes if node.leaf is not None]
    manifest = review.account.manifest
    rules = {} if manifest is None else {rule.id: rule.reason for rule in manifest.rules}
    sizes = {"after": [leaf.after for leaf in leaves]}
    measures = ["after"]
    if manifest is not None:
        sizes["before"] = [leaf.before for leaf in leaves]
        measures += ["before", "saved"]
        if any(packed := [leaf.packed for leaf in leaves]):
            sizes["packed"] = packed
            measures.append("packed")
    if review.diff is not None:
        sizes["base"] = [leaf.base for leaf in leaves]
        measures += ["base", "change"]
    whats, what = _numbered(leaf.what for leaf in leaves)
    reasons, why = _numbered(_why(leaf, rules) for leaf in leaves)
    return {
        "manifest": manifest is not None,
        "measures": measures,
        "colours": [
            *(["change"] if review.diff else []),
            *(["what"] if manifest else []),
            "part",
        ],
        "names": [clipped(node.name, _NAME) for node in nodes],
        "inside": [node.inside for node in nodes],
        "files": [leaf.files for leaf in leaves],
        "sizes": sizes,
        "whats": whats,
        "what": what,
        "reasons": reasons,
        "why": why,
    }


def _numbered(words: Iterable[str]) -> tuple[list[str], list[int]]:
    """Returns distinct words, and for each of the given its number among them."""
    numbers: dict[str, int] = {}
    column = [numbers.setdefault(word, len(numbers)) for word in words]
    return list(numbers), column


def _why(leaf: Leaf, rules: Mapping[str, str]) -> str:
    return "" if leaf.record is None else clipped("; ".join(causes(leaf.record, rules)), _SENTENCE)

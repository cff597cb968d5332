"""Places: where in the repository a finding is shown, and what tells it apart from others. Pure."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slimpack.graph import way
from slimpack.report.words import clipped
from slimpack.why import leads

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from slimpack.account import Account
    from slimpack.gate import Review
    from slimpack.model import Finding

_LINE = re.compile(r"(?P<file>[^\r\n]+):(?P<line>[1-9][0-9]{0,6})")

_FIGURE = re.compile(r"[0-9][0-9.,_]*")
"""What of a message changes from build to build though the finding is the same."""

_LONGEST = 300
"""Characters of a path that are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A line of a file of the repository."""

    file: str
    """Relative to the root of the repository, with forward slashes and no ``..``."""
    line: int
    """From 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A finding where it is shown."""

    finding: Finding
    """The finding."""
    place: Place | None
    """The line of the requirements that it goes back to, or of the configuration; None where nothing tells."""
    fingerprint: str
    """Hexadecimal; the same for the same finding of another build, whatever its figures and line are."""


def placed(review: Review, findings: Sequence[Finding]) -> tuple[Placed, ...]:
    """Returns findings of a review, each with its place and a fingerprint of its own.

    Args:
        review: The review.
        findings: Those that are wanted.
    """
    lines = _Lines(review.account, {finding.place for finding in findings})
    seen: Counter[str] = Counter()
    shown = []
    for finding in findings:
        identity = "\0".join((review.key, finding.code, _steady(finding.place), _steady(finding.message)))
        seen[identity] += 1
        digest = hashlib.sha256(f"{identity}\0{seen[identity]}".encode(errors="replace"))
        shown.append(
            Placed(
                finding=finding,
                place=_within(lines.of(finding.place), review.folder),
                fingerprint=digest.hexdigest()[:32],
            )
        )
    return tuple(shown)


def _steady(words: str) -> str:
    """Returns words without figures and line numbers."""
    return _FIGURE.sub("0", words)


class _Lines:
    """Which line of the requirements, or of the configuration, a finding's place goes back to."""

    def __init__(self, account: Account, wanted: Collection[str]) -> None:
        self._owners = {file.path: file.owner for file in account.files if file.path in wanted}
        self._asked = {
            one.name: places[0]
            for one in account.distributions
            if (places := [place for place in one.required_at if _LINE.fullmatch(place)])
        }
        self._first = min(self._asked.values(), default=None)
        self._leads = leads(account)

    def of(self, place: str) -> str | None:
        """Returns the line as ``file:line``; None where nothing tells."""
        if place not in self._owners and _LINE.fullmatch(place):
            return place
        if place not in self._owners and place.endswith(".toml"):  # the configuration, or a lock
            return f"{place}:1"
        name = self._owners.get(place, place.split("==", maxsplit=1)[0])
        names = reversed(way(self._leads, name))
        return next((self._asked[one] for one in names if one in self._asked), self._first)


def _within(where: str | None, folder: str) -> Place | None:
    """Returns a place as seen from the root of the repository, and never outside of it."""
    found = _LINE.fullmatch(where) if where else None
    if found is None:
        return None
    parts: list[str] = []
    for part in f"{folder}/{found['file']}".split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in {"", "."}:
            parts.append(part)
    file = clipped("/".join(parts), _LONGEST)
    return Place(file=file, line=int(found["line"])) if file else None

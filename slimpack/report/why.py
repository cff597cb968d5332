"""What a distribution is here for, for a person and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import TypeAdapter
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from slimpack import __version__
from slimpack.report.text import render
from slimpack.report.words import clipped, mebibytes
from slimpack.why import Why  # noqa: TC001 -- pydantic reads the annotation at run time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slimpack.account import Account

SCHEMA_VERSION: Final = 1
"""Raised when a field changes its meaning or goes; a new field does not raise it."""

_NAMES = 12
"""Names that a line lists; the rest is counted."""

_WAYS = 10
"""Ways that are shown; the rest is counted."""

_LONGEST = 80
"""Characters of a name or a place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WhyReport:
    """What ``slimpack why --json`` prints."""

    schema_version: Literal[1]
    """``SCHEMA_VERSION`` of the writer."""
    slimpack: str
    """Version of slimpack that wrote it."""
    bundle: str
    """Name of the bundle."""
    bundle_size: int
    """Bytes of the bundle, unzipped."""
    package: Why
    """What there is to say of the package."""


def to_json(found: Why, account: Account) -> str:
    """Returns as JSON text what a distribution is here for.

    Args:
        found: The answer.
        account: The bundle.
    """
    report = WhyReport(
        schema_version=SCHEMA_VERSION,
        slimpack=__version__,
        bundle=account.name,
        bundle_size=account.size,
        package=found,
    )
    return json.dumps(asdict(report), indent=1, ensure_ascii=False) + "\n"


def json_schema() -> dict[str, Any]:
    """Returns the JSON Schema of the answers (draft 2020-12), as ``docs/why.schema.json`` has it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **TypeAdapter(WhyReport).json_schema(mode="serialization"),
    }


def text(found: Why, account: Account, *, width: int = 80, color: bool = False) -> str:
    """Returns what a distribution is here for.

    Args:
        found: The answer.
        account: The bundle.
        width: Columns.
        color: Whether ANSI colours may be used.
    """
    headline = Text(f"{_name(found.name)} {_name(found.version)}".rstrip(), style="bold")
    share = f" ({100 * found.own / account.size:.1f} %)" if account.size else ""
    headline.append(f": {mebibytes(found.own)} of {_name(account.name)}{share}", style="not bold")
    return render(headline, _here_for(found), _gone(found), width=width, color=color)


def _here_for(found: Why) -> RenderableType:
    others = [way for way in found.paths if len(way) > 1]
    lines = []
    if found.requested:
        lines.append(f"The requirements name it{_at(found.required_at)}.")
    elif not others:
        lines.append("Nothing in the bundle needs it.")
    if others:
        lines.append(
            f"{_list(found.needed_by)} {'needs' if len(found.needed_by) == 1 else 'need'} it"
            f"{'' if found.requested else _at(found.required_at)}:"
        )
    ways: list[RenderableType] = [
        Padding(Text(" → ".join(map(_name, way))), (0, 0, 0, 2)) for way in others[:_WAYS]
    ]
    if len(others) > _WAYS:
        ways.append(Padding(Text(f"and from {len(others) - _WAYS:,} more"), (0, 0, 0, 2)))
    return Group(*map(Text, lines), *ways)


def _gone(found: Why) -> RenderableType:
    if found.retains:
        words = f"{mebibytes(found.retained)} would go with it: its own, and {_list(found.retains)}."
    else:
        words = f"{mebibytes(found.retained)} would go with it: only its own."
    return Text(words)


def _at(places: Sequence[str]) -> str:
    return f" ({_list(places)})" if places else ""


def _list(names: Sequence[str]) -> str:
    shown = [_name(name) for name in names[:_NAMES]]
    if rest := len(names) - len(shown):
        shown.append(f"{rest:,} more")
    return " and ".join((", ".join(shown[:-1]), shown[-1])) if len(shown) > 1 else "".join(shown)


def _name(name: str) -> str:
    return clipped(name, _LONGEST)

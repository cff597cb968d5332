"""What became of the comment on a pull request, as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from pydantic import TypeAdapter

from slimpack import __version__
from slimpack.comment import Action  # noqa: TC001 -- pydantic reads the annotation at run time

SCHEMA_VERSION: Final = 1
"""Raised when a field changes its meaning or goes; a new field does not raise it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommentReport:
    """What ``slimpack comment --json`` prints."""

    schema_version: Literal[1]
    """``SCHEMA_VERSION`` of the writer."""
    slimpack: str
    """Version of slimpack that wrote it."""
    place: str | None
    """The pull request, such as ``octo/app#7``; None if it was not looked for."""
    action: Action | None
    """What became of the comment, or would in a dry run; None if nobody looked for the one that is there."""
    dry_run: bool
    """Whether nothing was to be written."""
    reason: str | None
    """Why nobody looked; None if somebody did."""
    body: str
    """The comment, Markdown."""


def to_json(
    body: str, *, place: str | None, action: Action | None, dry_run: bool, reason: str | None = None
) -> str:
    """Returns as JSON text what became of a comment.

    Args:
        body: The comment.
        place: The pull request.
        action: What became of it.
        dry_run: Whether nothing was to be written.
        reason: Why nobody looked for the one that is there.
    """
    report = CommentReport(
        schema_version=SCHEMA_VERSION,
        slimpack=__version__,
        place=place,
        action=action,
        dry_run=dry_run,
        reason=reason,
        body=body,
    )
    return json.dumps(asdict(report), indent=1, ensure_ascii=False) + "\n"


def json_schema() -> dict[str, Any]:
    """Returns the JSON Schema (draft 2020-12), as ``docs/comment.schema.json`` has it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **TypeAdapter(CommentReport).json_schema(mode="serialization"),
    }

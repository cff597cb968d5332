"""Writes the parts of the documentation that the program itself knows: its help and the schemas of its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from slimpack import manifest, profile
from slimpack.cli.program import slimpack
from slimpack.report import comment, data, diff, why

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = Path(__file__).parent


def main() -> None:
    """Writes all files."""
    for name, text in files():
        (DOCS / name).write_text(text, encoding="utf-8")


def files() -> Iterator[tuple[str, str]]:
    """Yields the generated files: name and content."""
    yield "cli.md", "# Command line\n\nWhat `slimpack VERB --help` says.\n\n" + "\n".join(_sections())
    yield "manifest.schema.json", json.dumps(manifest.json_schema(), indent=2) + "\n"
    yield "review.schema.json", json.dumps(data.json_schema(), indent=2) + "\n"
    yield "diff.schema.json", json.dumps(diff.json_schema(), indent=2) + "\n"
    yield "why.schema.json", json.dumps(why.json_schema(), indent=2) + "\n"
    yield "comment.schema.json", json.dumps(comment.json_schema(), indent=2) + "\n"
    yield "profile.schema.json", json.dumps(profile.json_schema(), indent=2) + "\n"


def _sections() -> Iterator[str]:
    root = click.Context(slimpack, info_name="slimpack", **slimpack.context_settings)
    for name, command, context in _commands(slimpack, root):
        context.max_content_width = context.terminal_width = 100
        yield f"## {name}\n\n```\n{command.get_help(context)}\n```\n"


def _commands(
    command: click.Command, context: click.Context
) -> Iterator[tuple[str, click.Command, click.Context]]:
    yield context.command_path, command, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.commands[name]
            yield from _commands(inner, click.Context(inner, info_name=name, parent=context))


if __name__ == "__main__":
    main()

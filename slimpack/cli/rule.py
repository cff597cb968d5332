"""``slimpack rule``: what a rule does, why, on what evidence, and what it breaks."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import click

from slimpack.cli.inputs import FilePath, manifest_option, read_manifest
from slimpack.cli.terminal import color, show, show_json, width
from slimpack.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@click.argument("name", metavar="[ID]", required=False)
@click.option(
    "--rules",
    "folders",
    multiple=True,
    type=FilePath(),
    metavar="DIR",
    envvar="SLIMPACK_RULES",
    help="A folder with rule files of your own; may be repeated.",
)
@manifest_option("Also tell what the rule did in this build.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def rule(name: str | None, folders: tuple[Path, ...], manifest_path: Path | None, *, as_json: bool) -> None:
    """Explain a rule or a finding: what, why, on what evidence, what breaks.

    ID is a rule such as numpy/tests, a pattern such as 'tensorflow/*', or the code of a finding such as
    SLP101. Without it, all rules are listed.
    """
    from slimpack.findings import CATALOGUE
    from slimpack.manifest import as_plain
    from slimpack.report import rule as report
    from slimpack.rules import load_rules
    from slimpack.schema import suggest

    if name is not None and name.upper() in CATALOGUE:
        kind = CATALOGUE[name.upper()]
        if as_json:
            show_json(json.dumps(dataclasses.asdict(kind)) + "\n")
        else:
            show(report.finding(kind, width=width(), color=color()))
        return
    book = load_rules(folders)
    wanted = book.rules if name is None else book.matching(name)
    if not wanted:
        raise UsageError(
            f"no rule has the id {name!r}{suggest(str(name), [*book.by_id, *CATALOGUE])}",
            where="ID",
            fix="`slimpack rule` lists all of them.",
        )
    manifest = read_manifest(manifest_path) if manifest_path else None
    done = {one.id: one for one in manifest.rules} if manifest else {}
    if as_json:
        records = [
            {
                **dataclasses.asdict(one),
                **({"in_this_build": as_plain(done[one.id])} if one.id in done else {}),
            }
            for one in wanted
        ]
        show_json(json.dumps(records, indent=1) + "\n")
    elif name is None:
        show(report.catalogue(wanted, width=width(), color=color()))
    else:
        show(report.rules(wanted, done if manifest else None, width=width(), color=color()))

"""``slimpack rule``: what a rule does, why, on what evidence, and what it breaks."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from slimpack.cli.terminal import color, show, width
from slimpack.errors import UsageError
from slimpack.findings import CATALOGUE
from slimpack.report import rule as report
from slimpack.rules import load_rules
from slimpack.schema import suggest


@click.command()
@click.argument("name", metavar="[ID]", required=False)
@click.option(
    "--rules",
    "folders",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    envvar="SLIMPACK_RULES",
    help="A folder with rule files of your own; may be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def rule(name: str | None, folders: tuple[Path, ...], *, as_json: bool) -> None:
    """Explain a rule or a finding: what, why, on what evidence, what breaks.

    ID is a rule such as numpy/tests, a pattern such as 'tensorflow/*', or the code of a finding such as
    SLP101. Without it, all rules are listed.
    """
    if name is not None and name.upper() in CATALOGUE:
        kind = CATALOGUE[name.upper()]
        show(
            json.dumps(dataclasses.asdict(kind)) + "\n"
            if as_json
            else report.finding(kind, width=width(), color=color())
        )
        return
    book = load_rules(folders)
    wanted = book.rules if name is None else book.matching(name)
    if not wanted:
        known = [*book.by_id, *CATALOGUE]
        raise UsageError(
            f"no rule has the id {name!r}{suggest(str(name), known)}",
            where="ID",
            fix="`slimpack rule` lists all of them.",
        )
    if as_json:
        show(json.dumps([dataclasses.asdict(one) for one in wanted], indent=1) + "\n")
    elif name is None:
        show(report.catalogue(wanted, width=width(), color=color()))
    else:
        show(report.rules(wanted, width=width(), color=color()))

"""``slimpack diff``: what has become larger or smaller from one bundle to another, and why."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from slimpack.cli.budgets import behind_of
from slimpack.cli.inputs import FilePath, option, placed, read_account
from slimpack.cli.reports import report_option, reports_of, write_reports
from slimpack.cli.terminal import color, show, show_json, width

if TYPE_CHECKING:
    from pathlib import Path

    from slimpack.account import Account

_FILES = 10
"""Files that are shown unless asked otherwise."""


@click.command()
@click.argument("base", type=FilePath())
@click.argument("head", type=FilePath())
@option(
    "--files",
    type=click.IntRange(min=0),
    default=_FILES,
    metavar="N",
    help=f"Show the N files that changed most. [default: {_FILES}]",
)
@option(
    "--threshold",
    metavar="SIZE",
    default="0",
    help="Let packages that changed by less share a row. [default: 0]",
)
@option("--base-commit", metavar="SHA", help="Commit that BASE was built from.")
@option(
    "--merge-base",
    metavar="SHA",
    help="Commit that the branch of HEAD begins at, as `git merge-base` tells; with --base-commit, it is said if "
    "BASE was built from another one.",
)
@report_option()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def diff(
    base: Path,
    head: Path,
    *,
    files: int,
    threshold: str,
    base_commit: str | None,
    merge_base: str | None,
    reports: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show what has become larger or smaller from one bundle to another, and why.

    BASE and HEAD are manifests of builds, bundles with their manifests beside them, or any other zips and
    directories; of those without a manifest, the files tell which packages they belong to (RECORD in their
    dist-info folders), and what was removed on the way is not known.

    The largest changes come first. What is not shown one by one shares a row, so that the rows add up to the
    sizes of the bundles. The exit code is 0 whatever has changed: `slimpack check --baseline` judges it.
    """
    from slimpack import config
    from slimpack.diff import diff as compare
    from slimpack.gate import review
    from slimpack.report.diff import text, to_json

    with placed():
        at_least = config.size(threshold, where="--threshold")
        wanted = reports_of(reports)
    compared = compare(*_named(base, head))
    if note := behind_of({"base_commit": base_commit, "merge_base": merge_base}):
        compared = replace(compared, notes=(note, *compared.notes))
    write_reports(wanted, replace(review(compared.head), diff=compared))
    if as_json:
        show_json(to_json(compared))
    else:
        show(text(compared, files=files, threshold=at_least, width=width(), color=color()))


def _named(base: Path, head: Path) -> tuple[Account, Account]:
    """Returns the two bundles; where both have one name, their paths tell them apart."""
    before, after = read_account(base), read_account(head)
    if before.name == after.name:
        before, after = replace(before, name=str(base)), replace(after, name=str(head))
    return before, after

"""``slimpack report``: what there is to tell of a bundle, in any form."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from slimpack.cli.budgets import baseline_of, budgets_of, for_target_of
from slimpack.cli.inputs import FilePath, config_option, option, placed, read_account
from slimpack.cli.reports import check_writable, folder_option, key_option, write
from slimpack.cli.terminal import color, show, show_json, width
from slimpack.errors import UsageError
from slimpack.report.formats import FORMATS, requested

if TYPE_CHECKING:
    from pathlib import Path

    from slimpack.gate import Review
    from slimpack.report.formats import Format


@click.command()
@click.argument("subject", metavar="SUBJECT", type=FilePath())
@config_option()
@option(
    "--base",
    type=FilePath(),
    metavar="BASE",
    help="Also tell what has changed since this one: a manifest, a bundle, or any zip or directory.",
)
@click.option(
    "-f",
    "--format",
    "format_name",
    type=click.Choice(list(FORMATS)),
    metavar="NAME",
    help=f"{'; '.join(f'{one.name}: {one.what}' for one in FORMATS.values())}. "
    "[default: what the name of the output tells, else text]",
)
@click.option(
    "-o", "--output", type=FilePath(), metavar="FILE", help="Write it there. [default: standard output]"
)
@key_option()
@folder_option()
@click.option("--json", "as_json", is_flag=True, help="Print the manifest itself.")
@click.pass_context
def report(context: click.Context, /, subject: Path, **given: Any) -> None:  # noqa: ANN401 -- click's values
    """Show what is in a bundle, whether it keeps its budgets, and what has changed.

    SUBJECT is the .manifest.json of a build, the bundle that it lies beside, or any zip or directory that another
    tool made. The budgets are those of the configuration.

    The exit code is 0 whatever the report says: `slimpack check` is the gate.
    """
    from slimpack.cli.inputs import read_manifest
    from slimpack.manifest import to_json
    from slimpack.report.review import text

    if given["as_json"]:
        if given["format_name"] or given["output"] or given["base"]:
            raise UsageError(
                "--json prints the manifest and nothing else",
                where="--json",
                fix="Leave it out, or the other options; --format json has the review.",
            )
        show_json(to_json(read_manifest(subject)))
        return
    form = _format(given["format_name"], given["output"])
    review = _review(context, subject, given)
    if given["output"] is not None:
        write(given["output"], form.render(review))
    elif form.name == "text":
        show(text(review, width=width(), color=color()))
    elif form.name in {"json", "gitlab", "sarif"}:
        show_json(form.render(review))
    else:
        show(form.render(review))


def _format(name: str | None, output: Path | None) -> Format:
    if output is not None:
        check_writable(output, where="--output")
        if name is None:
            return requested(output.name)[0]
    return FORMATS[name or "text"]


def _review(context: click.Context, subject: Path, given: dict[str, Any]) -> Review:
    from slimpack.gate import review

    with placed():
        budgets = budgets_of(context, {})
        base = given["base"]
        baseline = read_account(base) if base else baseline_of(context, {}, subject=subject)
    account = read_account(subject)
    budgets = for_target_of(account, budgets if baseline is not None else budgets.without_growth())
    return replace(review(account, budgets, baseline=baseline, key=given["key"]), folder=given["folder"])

"""``slimpack check``: the gate alone, without a build."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from slimpack.cli.budgets import baseline_of, behind_of, budget_options, budgets_of, for_target_of
from slimpack.cli.inputs import FilePath, config_option, find_manifest, option, placed, read_account
from slimpack.cli.reports import folder_option, key_option, report_option, reports_of, write_reports
from slimpack.cli.terminal import color, show, show_json, width


@click.command()
@click.argument("subject", required=False, metavar="[SUBJECT]", type=FilePath())
@config_option()
@budget_options
@option("--exit-zero", is_flag=True, help="End with 0 even if a budget is breached; nothing else is masked.")
@report_option()
@key_option()
@folder_option()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("-q", "--quiet", is_flag=True, help="No output unless it is bad news.")
@click.pass_context
def check(context: click.Context, /, subject: Path | None, **given: Any) -> None:  # noqa: ANN401 -- click's values
    """Hold a bundle against its budgets, without building it.

    SUBJECT is a manifest, a bundle with its manifest beside it, or any zip or directory that another tool made.
    Without it, the only manifest in dist/ is taken.

    The exit code is 1 if the target's limit or a budget is breached, if a budget could not be judged, or if the
    manifest has errors of its own; warnings leave it 0.
    """
    from slimpack.gate import review
    from slimpack.report.check import text
    from slimpack.report.data import data

    with placed():
        budgets = budgets_of(context, given)
        subject = subject or find_manifest(Path("dist"))
        baseline = baseline_of(context, given, subject=subject)
        behind = behind_of(given)
        reports = reports_of(given["reports"])
    account = read_account(subject)
    budgets = for_target_of(account, budgets)
    found = review(account, budgets, baseline=baseline, key=given["key"], behind=behind)
    write_reports(reports, found, folder=given["folder"])
    verdict = found.verdict
    masked = given["exit_zero"] and verdict.status == "fail" and verdict.budget_only
    if given["as_json"]:
        show_json(data(found))
    elif not given["quiet"] or verdict.status != "pass":
        show(text(found, width=width(), color=color()))
        if masked:
            show("--exit-zero: the exit code is 0 nevertheless\n")
    context.exit(1 if verdict.status == "fail" and not masked else 0)

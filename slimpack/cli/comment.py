"""``slimpack comment``: the one comment on a pull request, written once and brought up to date after that."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slimpack.cli.budgets import baseline_of, behind_of, budget_options, budgets_of, for_target_of
from slimpack.cli.inputs import FilePath, config_option, find_manifest, option, placed, read_account
from slimpack.cli.reports import key_option
from slimpack.cli.terminal import show, show_json
from slimpack.errors import UsageError
from slimpack.report.words import safe

if TYPE_CHECKING:
    from collections.abc import Callable

    from slimpack.forge import Forge
    from slimpack.gate import Review

_BYTES_PER_CHARACTER = 4
"""Of UTF-8, at most."""

_LONGEST = 1_000_000
"""Characters that any forge takes."""

_DONE = {
    "create": ("would be created", "is created"),
    "update": ("would be updated", "is updated"),
    "keep": ("is up to date", "is up to date"),
    "skip": ("is not worth writing", "is not worth writing"),
}
"""What became of the comment, in a dry run and else."""

_OPTIONS = (
    click.argument("subject", required=False, metavar="[SUBJECT]", type=FilePath()),
    config_option(),
    budget_options,
    click.option(
        "--body",
        type=FilePath(),
        metavar="FILE",
        help="Post this text, as `slimpack check --report comment.md` writes it, instead of looking at a bundle.",
    ),
    key_option(),
    option(
        "--threshold",
        metavar="GROWTH",
        help="Change of the bundle or of a package, such as 0.1MiB or 1%, below which no comment is begun if all is "
        "well; one that is there is brought up to date.",
    ),
    click.option(
        "--dry-run", is_flag=True, help="Print the comment and what would become of it; write nothing."
    ),
    click.option("--json", "as_json", is_flag=True, help="Print JSON."),
    click.option("-q", "--quiet", "silent", is_flag=True, help="No output."),
)


def comment_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a verb what those of all forges have in common."""
    for one in reversed(_OPTIONS):
        command = one(command)
    return command


@click.group()
def comment() -> None:
    """Write a comment about a bundle on a pull request, or bring the one that is there up to date.

    The comment is found by a hidden marker, whoever else comments; only what the token's own user has written counts.
    The exit code is 0 whatever the comment says: `slimpack check` is the gate.
    """


@comment.command()
@comment_options
@click.option("--repository", metavar="OWNER/NAME", help="The repository. [default: GITHUB_REPOSITORY]")
@click.option(
    "--pull-request", type=click.IntRange(1), metavar="N", help="The pull request. [default: the event's]"
)
@click.pass_context
def github(context: click.Context, /, **given: Any) -> None:  # noqa: ANN401 -- click's values
    """Comment on a pull request on GitHub.

    SUBJECT is what `slimpack check` takes, and so are the budgets. The token is that of GITHUB_TOKEN, and needs
    `permissions: pull-requests: write`. The pull request is that of the event, also of a workflow_run, whose pull
    request is looked up by its commit.
    """
    from slimpack.forge.github import connect

    _comment(
        context,
        given,
        lambda: connect(os.environ, repository=given["repository"], number=given["pull_request"]),
    )


@comment.command()
@comment_options
@click.option(
    "--project",
    metavar="PROJECT",
    help="Number or path of the project. [default: CI_MERGE_REQUEST_PROJECT_ID, CI_PROJECT_ID]",
)
@click.option(
    "--merge-request",
    type=click.IntRange(1),
    metavar="N",
    help="The merge request. [default: CI_MERGE_REQUEST_IID]",
)
@click.pass_context
def gitlab(context: click.Context, /, **given: Any) -> None:  # noqa: ANN401 -- click's values
    """Comment on a merge request on GitLab.

    SUBJECT is what `slimpack check` takes, and so are the budgets. The token is that of GITLAB_TOKEN, one of the
    project with the role Reporter and the scope api: CI_JOB_TOKEN may not write notes.
    """
    from slimpack.forge.gitlab import connect

    _comment(
        context, given, lambda: connect(os.environ, project=given["project"], number=given["merge_request"])
    )


def _comment(context: click.Context, given: dict[str, Any], connect: Callable[[], Forge | None]) -> None:
    from slimpack.comment import marked, marker
    from slimpack.forge import publish
    from slimpack.report.comment import to_json

    with placed():
        marker(given["key"])
    text, quiet = _text(context, given)
    body = marked(text, given["key"])
    try:
        forge = connect()
    except UsageError as problem:
        if not given["dry_run"]:
            raise
        _tell(given, body, f"{safe(str(problem))}: not looked for a comment that is there")
        return
    if forge is None:
        _tell(given, body, "no open pull request has the commit of this run any more: nothing to comment on")
        return
    if len(body) >= forge.longest:
        raise UsageError(
            f"a comment has to stay below {forge.longest:,} characters, this one has {len(body):,}",
            where=str(given["body"] or "comment"),
            fix="`slimpack check --report comment.md` writes one that does.",
        )
    step = publish(forge, body, key=given["key"], quiet=quiet, dry_run=given["dry_run"])
    words = f"{safe(forge.place)}: the comment {_DONE[step.action][not given['dry_run']]}"
    if given["as_json"]:
        show_json(to_json(body, place=forge.place, action=step.action, dry_run=given["dry_run"]))
    elif not given["silent"]:
        if given["dry_run"]:
            show(f"{body}\n")
        click.echo(words, err=given["dry_run"])


def _tell(given: dict[str, Any], body: str, reason: str) -> None:
    """Tells that nobody has looked for a comment that is there, and why."""
    from slimpack.report.comment import to_json

    if given["as_json"]:
        show_json(to_json(body, place=None, action=None, dry_run=given["dry_run"], reason=reason))
    elif not given["silent"]:
        if given["dry_run"]:
            show(f"{body}\n")
        click.echo(reason, err=True)


def _text(context: click.Context, given: dict[str, Any]) -> tuple[str, bool]:
    """Returns what the comment says, and whether nobody would miss it."""
    from slimpack import config
    from slimpack.comment import is_quiet
    from slimpack.report.markdown import comment as words_of

    body, threshold = given["body"], given["threshold"]
    if body is None:
        review = _review(context, given)
        quiet = threshold is not None and is_quiet(review, config.increase(threshold, where="--threshold"))
        return words_of(review), quiet
    for name, value in (("a bundle", given["subject"]), ("--threshold", threshold)):
        if value is not None:
            raise UsageError(
                f"a text that is ready goes without {name}", where="--body", fix="Give only one of them."
            )
    return _read(body), False


def _review(context: click.Context, given: dict[str, Any]) -> Review:
    from slimpack.gate import review

    with placed():
        budgets = budgets_of(context, given)
        subject = given["subject"] or find_manifest(Path("dist"))
        baseline = baseline_of(context, given, subject=subject)
        behind = behind_of(given)
    account = read_account(subject)
    budgets = for_target_of(account, budgets)
    return review(account, budgets, baseline=baseline, key=given["key"], behind=behind)


def _read(path: Path) -> str:
    """Returns a text that is ready, as long as any forge would take it."""
    most = _LONGEST * _BYTES_PER_CHARACTER
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
        if len(content) > most:
            raise UsageError(f"more than {most:,} bytes", where=str(path), fix="Give a text for a comment.")
        text = content.decode()
    except (OSError, UnicodeDecodeError) as problem:
        what = f"cannot be read: {problem.strerror}" if isinstance(problem, OSError) else "no UTF-8"
        raise UsageError(what, where=str(path), fix="Give the text of the comment.") from problem
    if not text.strip():
        raise UsageError("there is nothing in it", where=str(path), fix="Give the text of the comment.")
    return text

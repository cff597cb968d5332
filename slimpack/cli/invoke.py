"""``slimpack invoke``: run the handler of a bundle as Lambda would."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slimpack.cli.cache import cache_limit_of, cache_options, root_of
from slimpack.cli.inputs import FilePath, config_option, option, placed
from slimpack.cli.runs import asked_for, result_of, run_options, stage_of, target_options, workers
from slimpack.cli.terminal import Reporter, color, show, show_json, width
from slimpack.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from slimpack.cli.runs import Asked
    from slimpack.report.invoke import Against, Result
    from slimpack.runtime.invoke import Run
    from slimpack.runtime.stage import Stage
    from slimpack.verify.static import Static

_PLAIN = "plain"
"""What ``--against`` calls a plain install of the bundle's own lock."""


@click.command()
@click.argument("bundle", type=FilePath())
@config_option()
@run_options
@target_options
@option("--repeat", type=click.IntRange(1, 1000), default=1, metavar="N", help="Cold runs. [default: 1]")
@option(
    "--against",
    metavar="plain|DIR",
    help="Also run the events on a plain install of the bundle's lock, or on a directory, and compare answers, "
    "exceptions and what is printed.",
)
@cache_options
@option("--json", "as_json", is_flag=True, help="Print JSON.")
@option("-q", "--quiet", is_flag=True, help="No progress, and no report unless it is bad news.")
@click.pass_context
def invoke(context: click.Context, /, bundle: Path, **given: Any) -> None:  # noqa: ANN401 -- click's values
    """Run the handler of BUNDLE in Lambda's own runtime client, in an environment like Lambda's.

    BUNDLE is a zip or a directory. Its files are checked first. The exit code is 1 if they have an error, the handler
    fails, an answer is not as expected, or the bundle does otherwise than what it is compared with.
    """
    from slimpack.report.invoke import as_json, text

    with placed():
        asked = asked_for(context, bundle, given)
        result = _run(asked, given)
    if given["as_json"]:
        show_json(as_json(result))
    elif not given["quiet"] or result.failed:
        show(text(result, width=width(), color=color()))
    context.exit(1 if result.failed else 0)


def _run(asked: Asked, given: dict[str, Any]) -> Result:
    from slimpack.runtime import unpack

    with Reporter(quiet=given["quiet"]) as progress, unpack.scratch() as scratch:
        with progress.phase("unpacking"):
            tree = unpack.unpack(asked.bundle, scratch / "task")
        with progress.phase("checking files"):
            static = _check(asked, tree)
        with _at_least(static, given):
            stage = stage_of(asked, given, tree, scratch, progress)
        other = _other(asked, stage, given, progress) if given["against"] is not None else None
        with progress.phase("running"):
            runs, others = _runs(asked, stage, other, given["repeat"])
    failed = next((one for one in runs if one.failed), None)
    return replace(
        result_of(asked, given, runs),
        findings=static.findings,
        remedies=() if failed is None else _remedies(asked, failed, static, Path(stage.place(room=False))),
        against=None
        if other is None or others is None
        else _compare(
            asked, runs, others, [one.place(room=False) for one in (other, stage)], given["against"]
        ),
    )


def _runs(
    asked: Asked, stage: Stage, other: Stage | None, repeat: int
) -> tuple[tuple[Run, ...], tuple[Run, Run] | None]:
    """Returns the bundle's runs, and one before and one after them of what it is compared with.

    What both of these tell the same, such as the day, is then no chance, and the bundle has to tell it as well.
    """
    from slimpack.runtime.invoke import run

    events = [event.content for event in asked.events]
    before = None if other is None else run(other, events)
    runs = tuple(run(stage, events) for _ in range(repeat))
    return runs, None if other is None or before is None else (before, run(other, events))


def _check(asked: Asked, tree: Path) -> Static:
    from slimpack.rules import load_rules
    from slimpack.verify import static

    return static.check(
        tree,
        asked.target,
        handler=asked.function.handler,
        manifest=asked.manifest,
        book=load_rules(),
        jobs=workers(),
    )


@contextmanager
def _at_least(static: Static, given: dict[str, Any]) -> Iterator[None]:
    """Shows what the files tell if the bundle cannot be run here."""
    from slimpack.errors import RuntimeRoomError
    from slimpack.report.invoke import findings_text

    try:
        yield
    except RuntimeRoomError:
        if static.findings and not given["as_json"]:
            show(findings_text(static.findings, width=width(), color=color()))
        raise


def _remedies(asked: Asked, failed: Run, static: Static, tree: Path) -> tuple[str, ...]:
    """Returns what to do about what a run missed, as far as the manifest tells."""
    from slimpack.verify.cause import LOST
    from slimpack.verify.run import diagnose

    if asked.manifest is None:
        return ()
    prefix = asked.target.prefix
    removed = {
        one.path.removeprefix(prefix): one.rule
        for one in asked.manifest.files
        if one.decision == "removed" and one.rule is not None
    } | {path.removeprefix(prefix): LOST for path in static.lost}
    return diagnose(failed, [event.name for event in asked.events], removed, root=tree / prefix)


def _other(asked: Asked, stage: Stage, given: dict[str, Any], progress: Reporter) -> Stage:
    """Returns what the bundle is compared with, ready to be started."""
    from slimpack.runtime import unpack

    name = given["against"]
    if name == _PLAIN:
        return replace(stage, tree=_plain(asked, stage, given, progress), owned=False)
    tree = unpack.unpack(Path(name), stage.scratch / "other")
    return replace(stage, tree=tree, owned=not Path(name).is_dir())


def _compare(
    asked: Asked, bundle: Sequence[Run], others: tuple[Run, Run], folders: Sequence[str], name: str
) -> Against:
    from slimpack.report.invoke import Against
    from slimpack.runtime.invoke import medians
    from slimpack.verify.against import compare

    return Against(
        name="a plain install" if name == _PLAIN else name,
        comparison=compare(
            bundle,
            others,
            events=[event.name for event in asked.events],
            folders=folders,
        ),
        medians=medians(others),
    )


def _plain(asked: Asked, stage: Stage, given: dict[str, Any], progress: Reporter) -> Path:
    """Returns a plain install of what the bundle was built from."""
    from slimpack.build import Names
    from slimpack.cache import open_cache
    from slimpack.verify import plain

    if asked.manifest is None:
        raise UsageError(
            "there is no manifest beside the bundle that says what it was built from",
            where="--against",
            fix="Take a bundle of `slimpack build`, or name a directory.",
        )
    limit = cache_limit_of(given["cache_limit"])
    with open_cache(root_of(given["cache_dir"]), limit_bytes=limit) as cache:
        return plain.put(
            stage.scratch / "plain",
            lock=asked.bundle.with_name(Names.of(asked.bundle).lock),
            manifest=asked.manifest,
            tree=stage.tree,
            target=asked.target,
            cache=cache,
            jobs=workers(),
            progress=progress,
        )

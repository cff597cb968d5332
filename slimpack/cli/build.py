"""``slimpack build``: the main job."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import unquote

import click

from slimpack.cli.budgets import baseline_of, budgets_of
from slimpack.cli.cache import cache_limit_of, cache_options, root_of
from slimpack.cli.inputs import FilePath, config_option, option, placed
from slimpack.cli.profiles import read_profile
from slimpack.cli.reports import report_option, reports_of, write_reports
from slimpack.cli.runs import events_of, function_of, run_options, workers
from slimpack.cli.terminal import Reporter, color, show, show_json, width
from slimpack.errors import UsageError
from slimpack.model import Architecture, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slimpack.build import Options, Outcome
    from slimpack.cache import Cache
    from slimpack.verify.run import Trial
    from slimpack.wheel import Limits


@click.command()
@click.argument("requirements", type=FilePath())
@config_option()
@click.option(
    "-o",
    "--output",
    type=FilePath(),
    metavar="PATH",
    envvar="SLIMPACK_OUTPUT",
    help="The .zip, or the directory, to write; manifest and lock land beside it. A file that is there already "
    "is replaced, a directory only if slimpack wrote everything in it. [default: dist/<requirements' stem>.zip]",
)
@option(
    "--source",
    type=FilePath(),
    metavar="DIR",
    help="Folder with the app's own code and data.",
)
@option("--runtime", metavar="NAME", help="Lambda runtime. [default: the newest with an interpreter here]")
@option(
    "--arch", type=click.Choice(get_args(Architecture)), default="x86_64", help="Processor. [default: x86_64]"
)
@option(
    "--kind",
    type=click.Choice(get_args(Kind)),
    default="lambda",
    help="What imports the bundle. [default: lambda]",
)
@option("--layer", is_flag=True, help="Short for --kind lambda-layer.")
@option("--glibc", metavar="VERSION", help="Newest glibc symbol version of a custom target.")
@option(
    "--max-size", metavar="SIZE", help="Unzipped size to stay below, such as 200MiB. [default: the target's]"
)
@option(
    "--resolver",
    type=click.Choice(["auto", "pip", "uv"]),
    default="auto",
    help="Who resolves. [default: auto]",
)
@option("--upgrade", is_flag=True, help="Resolve anew, even if the lock beside the output still fits.")
@option("--enable", multiple=True, metavar="RULE", help="Apply an opt-in rule; may be repeated.")
@option("--disable", multiple=True, metavar="RULE", help="Do not apply a rule; may be repeated.")
@option(
    "--keep", multiple=True, metavar="PATTERN", help="Keep files whatever the rules say; may be repeated."
)
@option("--remove", multiple=True, metavar="PATTERN", help="Remove files; may be repeated.")
@option(
    "--rules",
    multiple=True,
    type=FilePath(),
    metavar="DIR",
    help="Folder with rule files of your own; may be repeated.",
)
@option(
    "--compact/--no-compact", default=True, help="Drop from ELF files what no loader reads. [default: on]"
)
@option(
    "--bytecode",
    type=click.Choice(["auto", "all", "none", "hot"]),
    default="auto",
    help="Python modules that get bytecode, so that starts need not compile them: all for which there is room, "
    "all, none, or what --handler imports. [default: auto]",
)
@option(
    "--pack",
    type=click.Choice(["auto", "never", "all"]),
    default="auto",
    help="Store cold parts of shared objects compressed, for a pager to load on first touch, and modules in one "
    "archive with their bytecode: as far as the bundle would not fit otherwise, or all. [default: auto]",
)
@option(
    "--prune/--no-prune",
    default=None,
    help="Take from what is packed the C++ symbols that nobody in the bundle needs. [default: on, off for layers]",
)
@option(
    "--profile",
    multiple=True,
    type=FilePath(),
    metavar="FILE",
    help="What `slimpack trace` saw the handler use, so that a start has that quickly; may be repeated.",
)
@click.option(
    "--drop-cold",
    is_flag=True,
    help="Remove what no run of the profile has used: what other events need of it is missing then.",
)
@option("--reserve", metavar="SIZE", help="Part of the size limit that attached layers take. [default: none]")
@option("--max-wheel-size", metavar="SIZE", help="Unzipped size a wheel may have. [default: 8GiB]")
@option(
    "--max-wheel-ratio",
    type=click.IntRange(1),
    metavar="N",
    help="How many times its compressed size a large file of a wheel may have. [default: 250]",
)
@option(
    "--jobs", type=click.IntRange(1, 256), metavar="N", help="Worker processes. [default: one a processor]"
)
@option("--cache/--no-cache", default=True, help="Keep wheels and finished bundles. [default: on]")
@cache_options
@run_options
@option("--verify/--no-verify", default=True, help="Run the bundle before it is handed over. [default: on]")
@option(
    "--repair-rules", is_flag=True, help="Bring back what a run misses, whatever rule took it, and say so."
)
@option("--dry-run", is_flag=True, help="Do everything, then write nothing.")
@report_option()
@option("--json", "as_json", is_flag=True, help="Print the manifest instead of the report.")
@option("-q", "--quiet", is_flag=True, help="No progress, and no report unless it is bad news.")
@click.pass_context
def build(context: click.Context, /, requirements: Path, **given: Any) -> None:  # noqa: ANN401 -- click's values
    """Turn REQUIREMENTS into a bundle for AWS Lambda, and account for every byte of it.

    REQUIREMENTS is a requirements.txt, or a pylock.toml. The bundle is written even if it is over the limit, or
    over a budget of the configuration; the exit code is 1 then.
    """
    from slimpack.account import of_manifest
    from slimpack.build import build as run
    from slimpack.gate import review
    from slimpack.manifest import to_json
    from slimpack.report.check import addition
    from slimpack.report.text import text

    with placed():
        options = _options(requirements, given)
        budgets = budgets_of(context, given)
        baseline = baseline_of(context, given, subject=options.output)
        reports = reports_of(given["reports"])
    with placed(), Reporter(quiet=given["quiet"]) as progress, _cache(given) as cache:
        outcome = run(options, cache=cache, today=datetime.now(UTC).date(), progress=progress)
    manifest = outcome.manifest
    judged = review(
        of_manifest(manifest, name=outcome.bundle_path.name),
        budgets if baseline is not None else budgets.without_growth(),
        baseline=baseline,
    )
    failed = manifest.failed or judged.verdict.status == "fail"
    if given["as_json"]:
        show_json(to_json(manifest))
        if failed:
            click.echo(addition(judged), err=True, nl=False)
    elif not given["quiet"] or failed:
        show(text(manifest, name=outcome.bundle_path.name, width=width(), color=color()))
        show(addition(judged, width=width(), color=color()))
        if baseline is None and budgets.judges_growth:
            show("growth is not judged without a baseline: `slimpack check --baseline FILE` does\n")
        show(_written(options, outcome))
    write_reports(reports, judged, folder=Path(os.path.relpath(requirements.parent)).as_posix())
    context.exit(1 if failed else 0)


def _options(requirements: Path, given: dict[str, Any]) -> Options:
    from slimpack import config, target
    from slimpack.build import Options
    from slimpack.plan import Wishes
    from slimpack.profile import merge
    from slimpack.resolve import interpreters

    kind: Kind = "lambda-layer" if given["layer"] else given["kind"]
    if given["layer"] and given["kind"] not in {"lambda", "lambda-layer"}:
        raise UsageError("--layer contradicts --kind", where="--layer", fix="Give only one of them.")
    if given["drop_cold"] and not (
        given["profile"] and given["verify"] and given["handler"] and given["event"]
    ):
        raise UsageError(
            "what is removed by a profile has to be tried",
            where="--drop-cold",
            fix="Add --profile, --handler and --event, and leave --no-verify out.",
        )
    size, reserve = given["max_size"], given["reserve"]
    made = target.make(
        runtime=given["runtime"] or interpreters.newest_runtime(),
        architecture=given["arch"],
        kind=kind,
        glibc=given["glibc"],
        size_limit=None if size is None else config.size(size, where="--max-size"),
        reserve=0 if reserve is None else config.size(reserve, where="--reserve"),
    )
    return Options(
        requirements=requirements,
        output=given["output"] or Path("dist", f"{_stem(requirements)}.zip"),
        target=made,
        source=given["source"],
        resolver=given["resolver"],
        upgrade=given["upgrade"],
        wishes=Wishes(
            keep=tuple(given["keep"]),
            remove=tuple(given["remove"]),
            enable=tuple(given["enable"]),
            disable=tuple(given["disable"]),
        ),
        rules=tuple(given["rules"]),
        compact=given["compact"],
        bytecode=given["bytecode"],
        pack=given["pack"],
        profile=merge([read_profile(path, made) for path in given["profile"]]) if given["profile"] else None,
        prune=given["prune"],
        drop_cold=given["drop_cold"],
        limits=_limits(given["max_wheel_size"], given["max_wheel_ratio"]),
        jobs=given["jobs"] or workers(),
        dry_run=given["dry_run"],
        trial=_trial(given) if given["verify"] else None,
        handler=given["handler"] or "",
    )


def _trial(given: dict[str, Any]) -> Trial:
    """Returns what to run; without a handler, packages are imported only."""
    from slimpack.verify.run import Trial

    if given["event"] and not given["handler"]:
        raise UsageError(
            "there is an event, but no handler",
            where="--event",
            fix="Name it, such as --handler app.handler.",
        )
    return Trial(
        function=function_of(given, handler=given["handler"]) if given["handler"] else None,
        events=events_of(given),
        float_tolerance=given["float_tolerance"],
        interpreter=given["interpreter"],
        repair=given["repair_rules"],
    )


def _limits(size: str | int | None, ratio: int | None) -> Limits:
    from slimpack import config
    from slimpack.wheel import Limits

    limits = Limits()
    if size is not None:
        limits = replace(limits, size=config.size(size, where="--max-wheel-size"))
    return limits if ratio is None else replace(limits, ratio=ratio)


def _stem(requirements: Path) -> str:
    """Returns the default name of a bundle: the file's, without suffix and without PEP 751's prefix."""
    stem = requirements.stem
    return unquote(stem.removeprefix("pylock.")) if stem.startswith("pylock.") else stem


@contextmanager
def _cache(given: dict[str, Any]) -> Iterator[Cache]:
    from slimpack.cache import Cache, open_cache

    if not given["cache"]:
        with tempfile.TemporaryDirectory(prefix="slimpack-") as folder:
            yield Cache(root=Path(folder), problem="switched off", wheel_store=Path(folder))
        return
    root, limit = root_of(given["cache_dir"]), cache_limit_of(given["cache_limit"])
    with open_cache(root, limit_bytes=limit) as opened:
        if opened.problem and not given["quiet"]:
            click.echo(f"warning: {opened.problem}", err=True)
        yield opened


def _written(options: Options, outcome: Outcome) -> str:
    """Returns where the output lies, and what of it was not made anew."""
    if options.dry_run:
        return "\ndry run: nothing was written\n"
    lock = " (still fits; --upgrade resolves anew)" if outcome.reused_lock else ""
    how = " (from the cache)" if outcome.cached else ""
    if outcome.bundle_path != options.output:
        how = " (verification failed)"
    return f"""
bundle    {outcome.bundle_path}{how}
manifest  {outcome.manifest_path}
lock      {outcome.lock_path}{lock}
"""

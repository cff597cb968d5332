"""``slimpack invoke``: run the handler of a bundle as Lambda would."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import click
from click.core import ParameterSource

from slimpack.cli.cache import cache_limit_of, cache_options, root_of
from slimpack.cli.inputs import FilePath, config_option, option, placed, read_manifest
from slimpack.cli.runs import events_of, function_of, run_options
from slimpack.cli.terminal import Reporter, color, show, show_json, width
from slimpack.errors import UsageError
from slimpack.model import Architecture

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from slimpack.compare import Difference
    from slimpack.manifest import Manifest
    from slimpack.model import Target
    from slimpack.report.invoke import Result
    from slimpack.runtime.environment import Function
    from slimpack.runtime.invoke import Run
    from slimpack.verify.run import Event


@click.command()
@click.argument("bundle", type=FilePath())
@config_option()
@run_options
@option(
    "--runtime", metavar="NAME", help="Lambda runtime. [default: what the manifest beside the bundle says]"
)
@option(
    "--arch",
    type=click.Choice(get_args(Architecture)),
    help="Processor. [default: what the manifest beside the bundle says, or x86_64]",
)
@option("--repeat", type=click.IntRange(1, 1000), default=1, metavar="N", help="Cold runs. [default: 1]")
@cache_options
@option("--json", "as_json", is_flag=True, help="Print JSON.")
@option("-q", "--quiet", is_flag=True, help="No progress, and no report unless it is bad news.")
@click.pass_context
def invoke(context: click.Context, /, bundle: Path, **given: Any) -> None:  # noqa: ANN401 -- click's values
    """Run the handler of BUNDLE in Lambda's own runtime client, in an environment like Lambda's.

    BUNDLE is a zip or a directory. The exit code is 1 if the handler fails or an answer is not as expected.
    """
    from slimpack.report.invoke import as_json, text

    with placed():
        asked = _asked(context, bundle, given)
        result = _run(asked, given)
    if given["as_json"]:
        show_json(as_json(result))
    elif not given["quiet"] or result.failed:
        show(text(result, width=width(), color=color()))
    context.exit(1 if result.failed else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What the command line asks for."""

    bundle: Path
    """The bundle."""
    target: Target
    """What it was built for."""
    sdk: bool
    """Whether the AWS SDK was left out of it because Lambda has it."""
    function: Function
    """The function's configuration."""
    events: tuple[Event, ...]
    """What the handler is given."""


def _asked(context: click.Context, bundle: Path, given: dict[str, Any]) -> _Asked:
    if not given["handler"]:
        raise UsageError(
            "no handler is named", where="--handler", fix="Name it, such as --handler app.handler."
        )
    manifest = _manifest_beside(bundle)
    return _Asked(
        bundle=bundle,
        target=_target(context, manifest, given),
        sdk=manifest is not None and any(one.id.endswith("/provided-by-runtime") for one in manifest.rules),
        function=function_of(given, handler=given["handler"]),
        events=events_of(given),
    )


def _target(context: click.Context, manifest: Manifest | None, given: dict[str, Any]) -> Target:
    """Returns what the bundle was built for: the command line says so, else its manifest, else the configuration."""
    from slimpack import target

    told = None if manifest is None else manifest.target

    def chosen(name: str, record: str | None) -> str | None:
        is_default = context.get_parameter_source(name) in {
            ParameterSource.DEFAULT,
            ParameterSource.DEFAULT_MAP,
        }
        return record if is_default and record is not None else given[name]

    runtime = chosen("runtime", told.runtime if told else None)
    if runtime is None:
        raise UsageError(
            "there is no manifest beside the bundle that says what it was built for",
            where="--runtime",
            fix="Name the runtime, such as --runtime python3.13.",
        )
    architecture: Any = chosen("arch", told.architecture if told else None) or "x86_64"
    if told is not None and told.kind == "custom":
        return target.make(
            runtime=runtime,
            architecture=architecture,
            kind="custom",
            glibc=told.glibc,
            size_limit=told.size_limit,
        )
    return target.make(
        runtime=runtime, architecture=architecture, kind="lambda" if told is None else told.kind
    )


def _manifest_beside(bundle: Path) -> Manifest | None:
    from slimpack.output import is_zip

    place = bundle.absolute()
    beside = place.with_name(f"{place.stem if is_zip(place) else place.name}.manifest.json")
    return read_manifest(beside) if beside.exists() else None


def _run(asked: _Asked, given: dict[str, Any]) -> Result:
    from slimpack.cache import open_cache
    from slimpack.report.invoke import Result
    from slimpack.runtime import client, interpreter, unpack
    from slimpack.runtime.invoke import medians, run
    from slimpack.runtime.stage import Stage

    python = interpreter.choose(asked.target, given["interpreter"])
    with ExitStack() as stack:
        progress = stack.enter_context(Reporter(quiet=given["quiet"]))
        scratch = stack.enter_context(unpack.scratch())
        with progress.phase("unpacking"):
            tree = unpack.unpack(asked.bundle, scratch / "task")
        limit = cache_limit_of(given["cache_limit"])
        with (
            progress.phase("fetching the runtime client"),
            open_cache(root_of(given["cache_dir"]), limit_bytes=limit) as cache,
        ):
            folder = client.provide(
                asked.target, scratch / "runtime", cache=cache, sdk=asked.sdk, progress=progress.tell
            )
        stage = Stage(
            target=asked.target,
            tree=tree,
            interpreter=python,
            client=folder,
            scratch=scratch,
            function=asked.function,
            owned=not asked.bundle.is_dir(),
            has_sdk=asked.sdk,
        )
        with progress.phase("running"):
            runs = tuple(
                run(stage, [event.content for event in asked.events]) for _ in range(given["repeat"])
            )
    return Result(
        bundle=asked.bundle.name,
        handler=asked.function.handler,
        runtime=asked.target.runtime,
        architecture=asked.target.architecture,
        memory_mb=asked.function.memory_mb,
        timeout_seconds=asked.function.timeout_seconds,
        float_tolerance=given["float_tolerance"],
        events=tuple(event.name for event in asked.events),
        expected=tuple(path.name for path in given["expect"]),
        differences=_differences(asked.events, runs, given["float_tolerance"]),
        runs=runs,
        medians=medians(runs),
    )


def _differences(
    events: Sequence[Event], runs: Sequence[Run], tolerance: float
) -> tuple[Difference | None, ...]:
    """Returns, for each expected answer, the first difference that any run shows; a failed event is not compared."""
    from slimpack.compare import difference

    return tuple(
        next(
            (
                found
                for run in runs
                if (answer := run.outcomes[index].answer) is not None
                and (found := difference(event.expected, answer, float_tolerance=tolerance)) is not None
            ),
            None,
        )
        for index, event in enumerate(events)
        if event.expected is not None
    )

"""Options that tell how a handler is run, for the verbs that run one."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import click
from click.core import ParameterSource

from slimpack.cli.cache import cache_limit_of, root_of
from slimpack.cli.inputs import FilePath, manifest_beside, option, read_manifest
from slimpack.errors import UsageError
from slimpack.model import Architecture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from slimpack.cli.terminal import Reporter
    from slimpack.compare import Difference
    from slimpack.manifest import Manifest
    from slimpack.model import Target
    from slimpack.report.invoke import Result
    from slimpack.runtime.environment import Function
    from slimpack.runtime.invoke import Run
    from slimpack.runtime.stage import Stage
    from slimpack.verify.run import Event

_LARGEST = 64 * 2**20
"""Bytes of a file that is read; Lambda's own limit for an event and an answer, six MiB, is told apart from it."""

_WORKERS = 8
"""Most worker processes that are started unasked: each may hold a library of several hundred megabytes."""

_OPTIONS = (
    option("--handler", metavar="MODULE.FUNCTION", help="What Lambda calls, such as app.handler."),
    option(
        "--event",
        multiple=True,
        type=FilePath(),
        metavar="FILE",
        help="An event as JSON; may be repeated, all go to one warm process. [default: none, only init]",
    ),
    option(
        "--expect",
        multiple=True,
        type=FilePath(),
        metavar="FILE",
        help="What the answer shall be, as JSON; once for each event.",
    ),
    option(
        "--float-tolerance",
        type=click.FloatRange(0, 1),
        default=0.0,
        metavar="X",
        help="How much numbers with a fraction may differ, relative to the larger. [default: 0, exact]",
    ),
    option(
        "--interpreter",
        type=FilePath(),
        metavar="PATH",
        help="Python to run it with; for another processor under qemu-user. [default: one of the runtime's version]",
    ),
    option(
        "--memory",
        type=click.IntRange(128, 10240),
        default=1769,
        metavar="MB",
        help="Memory of the function. [default: 1769, which goes with one processor]",
    ),
    option(
        "--timeout",
        type=click.FloatRange(0, 900, min_open=True),
        default=30.0,
        metavar="SECONDS",
        help="Time for an event. [default: 30]",
    ),
    option("--env", multiple=True, metavar="NAME=VALUE", help="Variable of the function; may be repeated."),
)

_TARGET_OPTIONS = (
    option(
        "--runtime",
        metavar="NAME",
        help="Lambda runtime. [default: what the manifest beside the bundle says]",
    ),
    option(
        "--arch",
        type=click.Choice(get_args(Architecture)),
        help="Processor. [default: what the manifest beside the bundle says, or x86_64]",
    ),
)


def target_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a verb the options that tell what the bundle was built for."""
    for one in reversed(_TARGET_OPTIONS):
        command = one(command)
    return command


def run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a verb the options that tell how a handler is run."""
    for one in reversed(_OPTIONS):
        command = one(command)
    return command


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the command line asks for."""

    bundle: Path
    """The bundle."""
    target: Target
    """What it was built for."""
    manifest: Manifest | None
    """Its account, if it lies beside it."""
    sdk: bool
    """Whether the AWS SDK was left out of it because Lambda has it."""
    function: Function
    """The function's configuration."""
    events: tuple[Event, ...]
    """What the handler is given."""


def asked_for(context: click.Context, bundle: Path, given: dict[str, Any]) -> Asked:
    """Returns what the command line asks for.

    Args:
        context: The verb's.
        bundle: Zip or directory.
        given: The values of the options, those of ``target_options`` too.

    Raises:
        UsageError: There is no handler, or it is not known what the bundle was built for.
        ManifestError: The manifest beside the bundle cannot be read.
    """
    if not given["handler"]:
        raise UsageError(
            "no handler is named", where="--handler", fix="Name it, such as --handler app.handler."
        )
    beside = manifest_beside(bundle.absolute())
    manifest = read_manifest(beside) if beside.exists() else None
    return Asked(
        bundle=bundle,
        target=_target(context, manifest, given),
        manifest=manifest,
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


@contextmanager
def staged(
    asked: Asked, given: dict[str, Any], progress: Reporter, *, whole: bool = False
) -> Iterator[Stage]:
    """Yields the bundle, ready to be started, and cleans up afterwards.

    Args:
        asked: What the command line asks for.
        given: The values of the options, those of the cache too.
        progress: Hears what is going on.
        whole: Whether packed shared objects are unpacked, too.

    Raises:
        RuntimeRoomError: There is no interpreter for it.
        BundleError: It cannot be read.
        ResolutionError: There is no runtime client for it.
        OutputError: It cannot be unpacked.
    """
    from slimpack.runtime import unpack

    with unpack.scratch() as scratch:
        with progress.phase("unpacking"):
            tree = unpack.unpack(asked.bundle, scratch / "task")
            if whole:
                tree = unpack.whole(tree, scratch / "whole", owned=not asked.bundle.is_dir())
        yield stage_of(asked, given, tree, scratch, progress)


def stage_of(asked: Asked, given: dict[str, Any], tree: Path, scratch: Path, progress: Reporter) -> Stage:
    """Returns an unpacked bundle, ready to be started.

    Args:
        asked: What the command line asks for.
        given: The values of the options, those of the cache too.
        tree: The bundle's files.
        scratch: Folder for everything else.
        progress: Hears what is going on.

    Raises:
        RuntimeRoomError: There is no interpreter for it.
        ResolutionError: There is no runtime client for it.
        OutputError: That cannot be written.
    """
    from slimpack.cache import open_cache
    from slimpack.runtime import client, interpreter
    from slimpack.runtime.stage import Stage

    python = interpreter.choose(asked.target, given["interpreter"])
    limit = cache_limit_of(given["cache_limit"])
    with (
        progress.phase("fetching the runtime client"),
        open_cache(root_of(given["cache_dir"]), limit_bytes=limit) as cache,
    ):
        folder = client.provide(
            asked.target, scratch / "runtime", cache=cache, sdk=asked.sdk, progress=progress.tell
        )
    return Stage(
        target=asked.target,
        tree=tree,
        interpreter=python,
        client=folder,
        scratch=scratch,
        function=asked.function,
        owned=not asked.bundle.is_dir(),
        has_sdk=asked.sdk,
    )


def result_of(asked: Asked, given: dict[str, Any], runs: tuple[Run, ...]) -> Result:
    """Returns what is reported of runs.

    Args:
        asked: What the command line asks for.
        given: The values of the options.
        runs: At least one.
    """
    from slimpack.report.invoke import Result
    from slimpack.runtime.invoke import medians

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


def workers() -> int:
    """Returns the worker processes that are started unasked."""
    return min(len(os.sched_getaffinity(0)), _WORKERS)


def function_of(given: dict[str, Any], *, handler: str) -> Function:
    """Returns the function's configuration.

    Args:
        given: The values of the options.
        handler: Its handler.

    Raises:
        UsageError: Lambda would refuse it.
    """
    from slimpack.runtime import environment

    return environment.Function(
        handler=handler,
        memory_mb=given["memory"],
        timeout_seconds=given["timeout"],
        variables=environment.parse(given["env"], where="--env"),
    )


def events_of(given: dict[str, Any]) -> tuple[Event, ...]:
    """Returns the events, each with the answer that is expected, if any are.

    Args:
        given: The values of the options.

    Raises:
        UsageError: A file is no JSON, is too large, or has no counterpart.
    """
    from slimpack.runtime.api import PAYLOAD_LIMIT
    from slimpack.verify.run import Event

    paths, wanted = given["event"], given["expect"]
    if wanted and len(wanted) != len(paths):
        raise UsageError(
            f"{len(paths)} events, but {len(wanted)} expected answers",
            where="--expect",
            fix="Give one for each event, in the same order.",
        )
    found = []
    for path, expected in zip(paths, wanted or [None] * len(paths), strict=True):
        content = _json_of(path, where="--event")
        if len(content) > PAYLOAD_LIMIT:
            raise UsageError(
                f"has {len(content):,} bytes, Lambda takes {PAYLOAD_LIMIT:,}",
                where=str(path),
                fix="Give a smaller event.",
            )
        answer = None if expected is None else _json_of(expected, where="--expect")
        found.append(Event(name=path.name, content=content, expected=answer))
    return tuple(found)


def _json_of(path: Path, *, where: str) -> bytes:
    """Returns the content of a file that must hold JSON."""
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise UsageError(f"{path} is too large", where=where, fix="Give a smaller file.")
        json.loads(content)
    except OSError as problem:
        raise UsageError(
            f"{path} cannot be read: {problem.strerror}", where=where, fix="Correct the path."
        ) from problem
    except (ValueError, RecursionError) as problem:
        raise UsageError(f"{path} is no JSON: {problem}", where=where, fix="Correct the file.") from problem
    return content

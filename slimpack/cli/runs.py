"""Options that tell how a handler is run, for the verbs that run one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from slimpack.cli.inputs import FilePath, option
from slimpack.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from slimpack.runtime.environment import Function
    from slimpack.verify.run import Event

_LARGEST = 64 * 2**20
"""Bytes of a file that is read; Lambda's own limit for an event and an answer, six MiB, is told apart from it."""

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


def run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a verb the options that tell how a handler is run."""
    for one in reversed(_OPTIONS):
        command = one(command)
    return command


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

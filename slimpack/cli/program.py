"""The program: its verbs, and what every one of them may end with."""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import suppress

import click

from slimpack import __version__
from slimpack.cli.baseline import baseline
from slimpack.cli.build import build
from slimpack.cli.cache import cache
from slimpack.cli.check import check
from slimpack.cli.comment import comment
from slimpack.cli.completion import COMPLETE, NAME, completion
from slimpack.cli.diff import diff
from slimpack.cli.elf import elf
from slimpack.cli.explain import explain
from slimpack.cli.inputs import origin
from slimpack.cli.invoke import invoke
from slimpack.cli.report import report
from slimpack.cli.rule import rule
from slimpack.cli.terminal import debug_option, print_error
from slimpack.cli.trace import trace
from slimpack.cli.why import why
from slimpack.errors import SlimpackError, UsageError
from slimpack.output import terminable


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="slimpack")
def slimpack() -> None:
    """Turn a requirements file into a machine-learning bundle that fits AWS Lambda.

    Every option can also be set by a variable: --max-size by SLIMPACK_MAX_SIZE.

    Exit codes: 0 fine, 1 a limit is breached or the bundle cannot run there, 2 anything that kept slimpack
    from a result: usage, configuration, resolution, input or output, or a Ctrl-C.
    """


for command in (
    baseline,
    build,
    cache,
    check,
    comment,
    completion,
    diff,
    elf,
    explain,
    invoke,
    report,
    rule,
    trace,
    why,
):
    slimpack.add_command(command)
    for verb in command.commands.values() if isinstance(command, click.Group) else (command,):
        verb.params.append(debug_option())


def run() -> int:
    """Runs the verb that the command line names, and returns the exit code.

    Raises:
        KeyboardInterrupt: The user stopped it.
        BrokenPipeError: Nobody reads stdout any more.
    """
    if COMPLETE in os.environ:
        slimpack.main(prog_name=NAME)
    state = {"debug": False}
    try:
        # Not ``slimpack.main``, which ends by itself, with 1, when nobody reads stdout.
        with terminable(), slimpack.make_context(NAME, sys.argv[1:], obj=state) as context:
            slimpack.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as problem:
        return _refuse(problem)
    except BrokenPipeError:
        raise
    except SlimpackError as problem:
        return _fail(problem, debug=state["debug"])
    except Exception as problem:  # noqa: BLE001 -- the last way out: 1 would say that a limit is breached
        return _fail(_unforeseen(problem), debug=state["debug"])
    return 0


def _refuse(problem: click.ClickException) -> int:
    """Tells what is wrong with the command line, or with what stands in for a part of it."""
    if isinstance(problem, click.BadParameter) and problem.ctx and problem.param:
        place = origin(problem.ctx, problem.param)
        if place is not None:
            return _fail(
                UsageError(problem.message.rstrip("."), where=place, fix="Correct the value."), debug=False
            )
    with suppress(OSError):  # as in ``print_error``
        problem.show(sys.stderr)
    return problem.exit_code


def _fail(problem: SlimpackError, *, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print_error(problem)
    return problem.exit_code


def _unforeseen(problem: Exception) -> SlimpackError:
    """Returns the error for what no other part of slimpack has turned into one."""
    if isinstance(problem, OSError):
        return SlimpackError(
            problem.strerror or str(problem),
            where=str(problem.filename) if problem.filename else None,
            fix="Check the path, the space and the rights there; --debug shows more.",
        )
    return SlimpackError(
        f"{type(problem).__name__}: {problem}",
        fix="This is a fault in slimpack: please report it with what --debug shows.",
    )

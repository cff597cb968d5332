"""The command line: one file per verb, each of which parses, calls, prints and exits."""

from __future__ import annotations

import sys
import traceback
from typing import NoReturn

import click

from slimpack import __version__
from slimpack.cli.build import build
from slimpack.cli.cache import cache
from slimpack.cli.explain import explain
from slimpack.cli.report import report
from slimpack.cli.rule import rule
from slimpack.cli.terminal import debug_option, print_error
from slimpack.errors import Interrupted, SlimpackError
from slimpack.output import terminable


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="slimpack")
def slimpack() -> None:
    """Turn a requirements file into a machine-learning bundle that fits AWS Lambda.

    Every option can also be set by a variable: --max-size by SLIMPACK_MAX_SIZE.

    Exit codes: 0 fine, 1 a limit is breached or the bundle cannot run there, 2 anything that kept slimpack
    from a result: usage, configuration, resolution, input or output.
    """


for command in (build, cache, explain, report, rule):
    slimpack.add_command(command)
    for verb in command.commands.values() if isinstance(command, click.Group) else (command,):
        verb.params.append(debug_option())


def main() -> NoReturn:
    """Runs the command line; every way out passes here."""
    state = {"debug": False}
    try:
        with terminable():
            code = slimpack.main(prog_name="slimpack", standalone_mode=False, obj=state)
    except click.ClickException as problem:
        problem.show()
        sys.exit(problem.exit_code)
    except (KeyboardInterrupt, click.Abort):
        print_error(Interrupted("interrupted; nothing half-written is left"))
        sys.exit(Interrupted.exit_code)
    except SlimpackError as problem:
        if state["debug"]:
            traceback.print_exc()
        print_error(problem)
        sys.exit(problem.exit_code)
    except Exception as problem:  # noqa: BLE001 -- the last way out: 1 would say that a limit is breached
        if state["debug"]:
            traceback.print_exc()
        print_error(_unforeseen(problem))
        sys.exit(SlimpackError.exit_code)
    sys.exit(code if isinstance(code, int) else 0)


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

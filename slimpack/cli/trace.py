"""``slimpack trace``: run the handler of a bundle and write down what it uses."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from slimpack.cli.cache import cache_options
from slimpack.cli.inputs import FilePath, config_option, option, placed
from slimpack.cli.profiles import read_profile
from slimpack.cli.runs import asked_for, result_of, run_options, staged, target_options
from slimpack.cli.terminal import Reporter, color, show, show_json, width
from slimpack.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from slimpack.cli.runs import Asked
    from slimpack.profile import Profile
    from slimpack.report.invoke import Result


@click.command()
@click.argument("bundle", type=FilePath())
@config_option()
@run_options
@target_options
@click.option(
    "-o",
    "--output",
    "profile_path",
    type=FilePath(),
    metavar="FILE",
    help="The profile. [default: beside the bundle, <its stem>.profile.json]",
)
@option("--repeat", type=click.IntRange(1, 100), default=1, metavar="N", help="Cold runs. [default: 1]")
@click.option(
    "--merge",
    multiple=True,
    type=FilePath(),
    metavar="FILE",
    help="A profile of earlier runs that becomes a part of this one; may be repeated.",
)
@cache_options
@click.option("--json", "as_json", is_flag=True, help="Print the profile itself.")
@click.option("-q", "--quiet", is_flag=True, help="No progress, and no report unless it is bad news.")
@click.pass_context
def trace(context: click.Context, /, bundle: Path, **given: Any) -> None:  # noqa: ANN401 -- click's values
    """Run the handler of BUNDLE as `slimpack invoke` does, and write down what it uses: a profile.

    A profile tells which modules are imported and how long that takes, which files are opened, which shared objects
    are loaded and which of their pages are touched. The exit code is 1, and no profile is written, if the handler
    fails or an answer is not as expected.
    """
    with placed():
        asked = asked_for(context, bundle, given)
        output = given["profile_path"] or _beside(bundle)
        _check_output(output, bundle)
        earlier = [read_profile(path, asked.target) for path in given["merge"]]
        result, found = _run(asked, given)
    if found is None or result.failed:
        _show_failure(result, as_json=given["as_json"])
        context.exit(1)
    _show(_write(output, [*earlier, found]), output, asked, given)


def _run(asked: Asked, given: dict[str, Any]) -> tuple[Result, Profile | None]:
    from slimpack.runtime.trace import trace as run

    with (
        Reporter(quiet=given["quiet"]) as progress,
        staged(asked, given, progress, whole=True) as stage,
        progress.phase("running"),
    ):
        traced = run(stage, [(event.name, event.content) for event in asked.events], repeat=given["repeat"])
    return result_of(asked, given, traced.runs), traced.profile


def _show_failure(result: Result, *, as_json: bool) -> None:
    from slimpack.report import invoke

    if as_json:
        show_json(invoke.as_json(result))
    else:
        show(invoke.text(result, width=width(), color=color()))


def _show(profile: Profile, output: Path, asked: Asked, given: dict[str, Any]) -> None:
    from slimpack.profile import to_json
    from slimpack.report.trace import text

    if given["as_json"]:
        show_json(to_json(profile))
    elif not given["quiet"]:
        show(text(profile, name=asked.bundle.name, width=width(), color=color()))
        show(f"\nprofile  {output}\n")


def _write(output: Path, profiles: Sequence[Profile]) -> Profile:
    """Writes one profile of all, and returns it."""
    from slimpack import __version__
    from slimpack.output import writing
    from slimpack.profile import merge, to_json

    merged = replace(merge(profiles), slimpack=__version__)
    new = output.with_name(f".{output.name}.new")
    with writing(output):
        try:
            new.write_text(to_json(merged), encoding="utf-8")
            new.replace(output)
        finally:
            new.unlink(missing_ok=True)
    return merged


def _beside(bundle: Path) -> Path:
    from slimpack.output import is_zip

    place = bundle.absolute()
    return place.with_name(f"{place.stem if is_zip(place) else place.name}.profile.json")


def _check_output(output: Path, bundle: Path) -> None:
    """Refuses a place where a profile could not be written, or would destroy or change the bundle."""
    place = output.absolute()
    if place.is_dir() or not place.parent.is_dir():
        raise UsageError(
            f"{output} cannot be written", where="--output", fix="Name a file in a folder that is there."
        )
    root = bundle.absolute().resolve()
    if root in (place.resolve(), *place.resolve().parents):
        raise UsageError(f"{output} is the bundle, or in it", where="--output", fix="Name another file.")

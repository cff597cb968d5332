"""``slimpack baseline``: budgets that follow what a bundle takes."""

from __future__ import annotations

import difflib
import json
import shutil
from pathlib import Path

import click

from slimpack.cli.inputs import (
    FilePath,
    config_file,
    config_option,
    find_manifest,
    option,
    placed,
    read_account,
)
from slimpack.cli.terminal import color, show, show_json, width
from slimpack.errors import ConfigError
from slimpack.report.words import safe


@click.group()
def baseline() -> None:
    """Keep budgets up to date."""


@baseline.command()
@click.argument("subject", required=False, metavar="[SUBJECT]", type=FilePath())
@config_option()
@option(
    "--headroom",
    metavar="GROWTH",
    help="What is left free: 5%, 2MiB, or 5%,2MiB for the larger of both. [default: headroom of the configuration, "
    "else 5%]",
)
@click.option(
    "--packages",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Give the N largest packages a budget, too, where they have none.",
)
@click.option("--dry-run", is_flag=True, help="Show how the file would change, and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("-q", "--quiet", is_flag=True, help="No output.")
@click.pass_context
def update(
    context: click.Context,
    /,
    subject: Path | None,
    *,
    headroom: str | None,
    packages: int,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write the budgets of the configuration anew: what a bundle takes, plus headroom.

    SUBJECT is a manifest, a bundle, or any zip or directory; without it, the only manifest in dist/. Anew are the
    total and the packages that have a budget; comments, order and layout stay. Where there is no configuration,
    slimpack.toml is made.
    """
    from slimpack import config
    from slimpack.baseline import HEADROOM
    from slimpack.baseline import update as updated
    from slimpack.report.baseline import record, text

    file = Path(config_file(context) or config.FILES[0])
    table = (context.default_map or {}).get("budget") or config.BudgetTable()
    with placed():
        room = config.increase(headroom, where="--headroom") if headroom else table.headroom or HEADROOM
        account = read_account(subject or find_manifest(Path("dist")))
    old = _read(file)
    found = updated(
        old,
        account,
        nested=file.name == "pyproject.toml",
        table=table,
        headroom=room,
        largest=packages,
        where=str(file),
    )
    if not dry_run and found.text != old:
        _write(file, found.text)
    if as_json:
        show_json(json.dumps(record(found, file=str(file)), indent=1) + "\n")
    elif dry_run:
        show(_difference(old, found.text, str(file)))
    elif not quiet:
        show(text(found, file=str(file), width=width(), color=color()))


def _read(file: Path) -> str:
    """Returns the text of a configuration, its line ends as they are; nothing if there is none."""
    try:
        return file.read_bytes().decode()
    except FileNotFoundError:
        return ""
    except OSError as problem:
        raise ConfigError(
            f"cannot be read: {problem.strerror}", where=str(file), fix="Make it readable."
        ) from problem


def _write(file: Path, text: str) -> None:
    """Puts a new text in the place of a file, at once and with its mode."""
    from slimpack.output import writing

    place = file.resolve()
    new = place.with_name(f".{place.name}.new")
    with writing(file):
        try:
            new.write_bytes(text.encode())
            if place.exists():
                shutil.copymode(place, new)
            new.replace(place)
        finally:
            new.unlink(missing_ok=True)


def _difference(old: str, new: str, name: str) -> str:
    """Returns a unified diff of two texts."""
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), name, name, lineterm="")
    return "".join(f"{safe(line)}\n" for line in lines)

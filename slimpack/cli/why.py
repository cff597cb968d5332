"""``slimpack why``: what a package is here for, and what would go with it."""

from __future__ import annotations

from pathlib import Path

import click

from slimpack.cli.inputs import find_manifest, manifest_option, read_account
from slimpack.cli.terminal import color, show, show_json, width


@click.command()
@click.argument("name")
@manifest_option(
    "The .manifest.json of the build, or any bundle: a zip or directory, slimpack's or not. "
    "[default: the only manifest in dist/]"
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def why(name: str, manifest_path: Path | None, *, as_json: bool) -> None:
    """Tell what a package is here for.

    NAME is a package of the bundle, such as scikit-learn. Shown are the ways that lead to it from the requirements
    on the bundle's target, and the bytes that would go if nothing needed it any more: its own, and those of all
    that is here for it alone.

    A bundle of another tool has no requirements file; there a package counts as required if pip has marked it so
    (REQUESTED), or else if no other package needs it.
    """
    from slimpack.report.why import text, to_json
    from slimpack.why import why as explain

    account = read_account(manifest_path or find_manifest(Path("dist")))
    found = explain(account, name)
    if as_json:
        show_json(to_json(found, account))
    else:
        show(text(found, account, width=width(), color=color()))

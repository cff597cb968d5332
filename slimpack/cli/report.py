"""``slimpack report``: the account of a bundle, from its manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from slimpack.cli.inputs import FilePath, read_manifest
from slimpack.cli.terminal import color, show, show_json, width

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@click.argument("manifest_path", metavar="MANIFEST", type=FilePath())
@click.option("--json", "as_json", is_flag=True, help="Print the manifest itself.")
def report(manifest_path: Path, *, as_json: bool) -> None:
    """Show the account of a bundle.

    MANIFEST is the .manifest.json of a build, or the bundle that it lies beside.
    """
    from slimpack.manifest import to_json
    from slimpack.report.text import text

    manifest = read_manifest(manifest_path)
    if as_json:
        show_json(to_json(manifest))
    else:
        name = manifest_path.absolute().name.removesuffix(".manifest.json")
        show(text(manifest, name=name, width=width(), color=color()))

"""``slimpack report``: the account of a bundle, from its manifest."""

from __future__ import annotations

from pathlib import Path

import click

from slimpack.cli.inputs import read_manifest
from slimpack.cli.terminal import color, show, width
from slimpack.manifest import to_json
from slimpack.report.text import text


@click.command()
@click.argument("manifest_path", metavar="MANIFEST", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the manifest itself.")
def report(manifest_path: Path, *, as_json: bool) -> None:
    """Show the account of a bundle.

    MANIFEST is the .manifest.json of a build, or the bundle that it lies beside.
    """
    manifest = read_manifest(manifest_path)
    name = manifest_path.name.removesuffix(".manifest.json")
    show(to_json(manifest) if as_json else text(manifest, name=name, width=width(), color=color()))

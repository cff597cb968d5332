"""``slimpack explain``: why a file was kept, changed, removed or added."""

from __future__ import annotations

import json
from pathlib import Path

import click

from slimpack.cli.inputs import find_manifest, manifest_option, read_manifest
from slimpack.cli.terminal import color, show, show_json, width
from slimpack.errors import UsageError


@click.command()
@click.argument("path")
@manifest_option(
    "The .manifest.json of the build, or the bundle it lies beside. [default: the only one in dist/]"
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def explain(path: str, manifest_path: Path | None, *, as_json: bool) -> None:
    """Explain why a file was kept, changed, removed or added.

    PATH is a path in the bundle, or a gitignore-style pattern such as 'numpy/**/tests/'.
    """
    from slimpack.manifest import as_plain
    from slimpack.report.explain import explanation
    from slimpack.rules import patterns

    manifest_path = manifest_path or find_manifest(Path("dist"))
    manifest = read_manifest(manifest_path)
    files = [file for file in manifest.files if file.path == path]
    if not files:
        wanted = patterns([path], where="PATH")
        files = [file for file in manifest.files if wanted.match_file(file.path)]
    if not files:
        raise UsageError(
            f"{path!r} matches no file of the bundle or of what was left out",
            where=str(manifest_path),
            fix="Give a path relative to the bundle's root, or a gitignore-style pattern.",
        )
    if as_json:
        show_json(json.dumps([as_plain(file) for file in files], indent=1) + "\n")
    else:
        show(explanation(manifest, files, width=width(), color=color()))

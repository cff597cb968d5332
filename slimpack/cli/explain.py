"""``slimpack explain``: why a file was kept, changed, removed or added."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from slimpack.cli.inputs import find_manifest, manifest_option, read_manifest
from slimpack.cli.terminal import color, show, show_json, width
from slimpack.errors import UsageError

if TYPE_CHECKING:
    from slimpack.manifest import Manifest


@click.command()
@click.argument("path", required=False)
@manifest_option(
    "The .manifest.json of the build, or the bundle it lies beside. [default: the only one in dist/]"
)
@click.option("--fit", is_flag=True, help="Explain which forms modules and shared objects got, and why.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def explain(path: str | None, manifest_path: Path | None, *, fit: bool, as_json: bool) -> None:
    """Explain why a file was kept, changed, removed or added, or how the space below the limit was spent.

    PATH is a path in the bundle, or a gitignore-style pattern such as 'numpy/**/tests/'.
    """
    from slimpack.manifest import as_plain
    from slimpack.report.explain import explanation
    from slimpack.rules import patterns

    manifest_path = manifest_path or find_manifest(Path("dist"))
    manifest = read_manifest(manifest_path)
    if fit:
        _explain_fit(manifest, path, where=str(manifest_path), as_json=as_json)
        return
    if path is None:
        raise UsageError("there is no path", where="PATH", fix="Name a file of the bundle, or use --fit.")
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


def _explain_fit(manifest: Manifest, path: str | None, *, where: str, as_json: bool) -> None:
    """Shows the forms of all modules and shared objects, or of some."""
    from slimpack.manifest import as_plain
    from slimpack.report.fit import fitted
    from slimpack.rules import patterns

    if manifest.fit is None:
        raise UsageError(
            "nothing of this bundle could have another form",
            where="--fit",
            fix="Build it with --bytecode or --pack auto.",
        )
    chosen, some = manifest.fit, None
    if path is not None:
        wanted = patterns([path], where="PATH")
        some = tuple(one for one in chosen.choices if one.path == path or wanted.match_file(one.path))
        if not some:
            raise UsageError(
                f"{path!r} matches no file of the bundle that could have another form",
                where=where,
                fix="Give the path of a module or a shared object, or a gitignore-style pattern.",
            )
    if as_json:
        part = chosen if some is None else replace(chosen, choices=some)
        show_json(json.dumps(as_plain(part), indent=1) + "\n")
    else:
        show(fitted(chosen, manifest.totals.size_after, shown=some, width=width(), color=color()))

"""What the verbs read: paths, saved manifests, and where the value of an option came from."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from slimpack.errors import ConfigError, ManifestError, RuleError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from slimpack.account import Account
    from slimpack.manifest import Manifest

_LARGEST = 512 * 2**20
"""Bytes beyond which a file is no manifest; one of 100,000 files has 30 MB."""

_CONFIG_FILE = "slimpack.config"
"""Key of the context's ``meta`` under which the configuration file is noted."""


class FilePath(click.Path):
    """A path with a name: an empty one, as an unset variable of a script leaves it, is refused."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:  # noqa: ANN401 -- as click has it
        """Returns the path."""
        if not os.fspath(value):
            self.fail("the path is empty", param, ctx)
        return super().convert(value, param, ctx)


def option(*names: str, **settings: Any) -> Callable[..., Any]:  # noqa: ANN401 -- click's own settings
    """Returns an option that a variable can set as well: ``--max-size`` is set by ``SLIMPACK_MAX_SIZE``."""
    long = next(name for name in names if name.startswith("--"))
    variable = long.split("/")[0].lstrip("-").replace("-", "_").upper()
    return click.option(*names, envvar=f"SLIMPACK_{variable}", **settings)


def config_option() -> Callable[..., Any]:
    """Returns the option that names a configuration file, which sets the defaults of all the other options."""
    return option(
        "--config",
        is_eager=True,
        expose_value=False,
        callback=_read_config,
        metavar="FILE",
        type=click.Path(),
        help="Configuration. [default: slimpack.toml, or [tool.slimpack] of pyproject.toml, in this folder]",
    )


def _read_config(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    from slimpack import config

    found = config.load(Path(value) if value else None, folder=Path())
    note_config(context, None if found.file is None else str(found.file), found.config.options())


def manifest_option(help: str) -> Callable[..., Any]:  # noqa: A002 -- click's word
    """Returns the option that names a saved manifest.

    Args:
        help: What the verb does with it.
    """
    return click.option(
        "-m",
        "--manifest",
        "manifest_path",
        type=FilePath(),
        metavar="FILE",
        envvar="SLIMPACK_MANIFEST",
        help=help,
    )


def note_config(context: click.Context, file: str | None, options: dict[str, Any]) -> None:
    """Makes what a configuration file says the defaults of a verb's options.

    Args:
        context: The verb's.
        file: The file, for messages; None if there is none.
        options: Values by name of the option.
    """
    context.meta[_CONFIG_FILE] = file
    context.default_map = {**options, **(context.default_map or {})}


def config_file(context: click.Context) -> str:
    """Returns the configuration file that a verb has read; empty if there is none."""
    return context.meta[_CONFIG_FILE] or ""


def origin(context: click.Context, parameter: click.Parameter) -> str | None:
    """Returns where the value of an option came from: a variable, or a file and its key.

    None stands for the command line.
    """
    source = context.get_parameter_source(parameter.name or "")
    if source is ParameterSource.ENVIRONMENT:
        variables = parameter.envvar
        return variables if isinstance(variables, str) else ", ".join(variables or ())
    if source is ParameterSource.DEFAULT_MAP:
        return f"{context.meta[_CONFIG_FILE]}: {(parameter.name or '').replace('_', '-')}"
    return None


@contextmanager
def placed() -> Iterator[None]:
    """Lets an error about an option name what the user has written: the option, a variable, or a file's key."""
    try:
        yield
    except (ConfigError, RuleError, UsageError) as problem:
        context = click.get_current_context()
        for parameter in context.command.params:
            if problem.where in {parameter.name, *parameter.opts}:
                problem.where = origin(context, parameter) or max(parameter.opts, key=len)
        raise


def find_manifest(folder: Path) -> Path:
    """Returns the one manifest in a folder.

    Args:
        folder: Where builds leave their output.

    Raises:
        UsageError: There is none, or more than one.
    """
    found = sorted(folder.glob("*.manifest.json"))
    if len(found) == 1:
        return found[0]
    names = ", ".join(path.name for path in found[:5])
    raise UsageError(
        f"{len(found)} manifests here: {names}" if found else "no manifest here",
        where=str(folder),
        fix="Name the manifest of the build with --manifest FILE.",
    )


def read_account(path: Path) -> Account:
    """Returns what is in a bundle, and who brings it.

    A manifest is believed; one that lies beside a bundle only if it speaks of just that bundle's files. A bundle
    without one tells itself, as far as it can.

    Args:
        path: A manifest, a bundle with its manifest beside it, or any other zip or directory.

    Raises:
        ManifestError: The manifest cannot be read as one.
        BundleError: The bundle cannot be read, or its manifest is that of another one.
    """
    from dataclasses import replace

    from slimpack import survey
    from slimpack.account import of_manifest

    path = path.absolute()
    if path.suffix == ".json" and not path.is_dir():
        manifest = read_manifest(path)
        name = path.name.removesuffix(".json").removesuffix(".manifest")
        return of_manifest(
            manifest, name=name + (".zip" if manifest.format == "zip" else ""), where=str(path)
        )
    beside = manifest_beside(path)
    if not beside.is_file():
        return survey.survey(path)
    manifest = read_manifest(beside)
    account = of_manifest(manifest, name=path.name, where=str(beside))
    return replace(account, archive_size=survey.check(path, manifest, beside=beside))


def manifest_beside(bundle: Path) -> Path:
    """Returns where a build puts the manifest of a bundle."""
    from slimpack.output import is_zip

    return bundle.parent / f"{bundle.stem if is_zip(bundle) else bundle.name}.manifest.json"


def read_manifest(path: Path) -> Manifest:
    """Returns a saved manifest.

    Args:
        path: The manifest, or the bundle that it lies beside.

    Raises:
        ManifestError: There is none, or it cannot be read as one.
    """
    from slimpack import manifest

    path = path.absolute()
    file = path if path.suffix == ".json" else manifest_beside(path)
    try:
        if file.stat().st_size > _LARGEST:
            raise ManifestError(
                "too large for a manifest", where=str(file), fix="Give the manifest of a build."
            )
        content = file.read_bytes()
    except OSError as problem:
        raise ManifestError(
            f"cannot be read: {problem.strerror}",
            where=str(file),
            fix="Give the .manifest.json of a build, or the bundle that it lies beside.",
        ) from problem
    return manifest.from_json(content, where=str(file))

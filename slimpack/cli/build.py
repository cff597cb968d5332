"""``slimpack build``: the main job."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from slimpack import config, target
from slimpack.build import Options
from slimpack.build import build as run
from slimpack.cache import Cache, open_cache
from slimpack.cli.cache import cache_limit_of, cache_options, root_of
from slimpack.cli.terminal import Reporter, color, show, width
from slimpack.errors import UsageError
from slimpack.manifest import to_json
from slimpack.model import Architecture, Kind
from slimpack.output import writing
from slimpack.plan import Wishes
from slimpack.report.text import text
from slimpack.resolve import interpreters
from slimpack.wheel import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from slimpack.build import Outcome
    from slimpack.manifest import Manifest

_WORKERS = 8
"""Most worker processes that are started unasked: each may hold a library of several hundred megabytes."""

_FORMATS = (".json", ".txt")


def _read_config(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    """Makes what the configuration says the defaults of the other options."""
    found = config.load(Path(value) if value else None, folder=Path.cwd())
    context.default_map = {**found.options(), **(context.default_map or {})}


def _option(*names: str, **settings: Any) -> Callable[..., Any]:  # noqa: ANN401 -- click's own settings
    long = next(name for name in names if name.startswith("--"))
    variable = long.split("/")[0].lstrip("-").replace("-", "_").upper()
    return click.option(*names, envvar=f"SLIMPACK_{variable}", **settings)


@click.command()
@click.argument("requirements", type=click.Path(path_type=Path))
@_option(
    "--config",
    is_eager=True,
    expose_value=False,
    callback=_read_config,
    metavar="FILE",
    type=click.Path(),
    help="Configuration. [default: slimpack.toml, or [tool.slimpack] of pyproject.toml, in this folder]",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="PATH",
    envvar="SLIMPACK_OUTPUT",
    help="The .zip, or the directory, to write; manifest and lock land beside it. "
    "[default: dist/<requirements' stem>.zip]",
)
@_option(
    "--source",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder with the app's own code and data.",
)
@_option("--runtime", metavar="NAME", help="Lambda runtime. [default: the newest with an interpreter here]")
@_option(
    "--arch", type=click.Choice(get_args(Architecture)), default="x86_64", help="Processor. [default: x86_64]"
)
@_option(
    "--kind",
    type=click.Choice(get_args(Kind)),
    default="lambda",
    help="What imports the bundle. [default: lambda]",
)
@_option("--layer", is_flag=True, help="Short for --kind lambda-layer.")
@_option("--glibc", metavar="VERSION", help="Newest glibc symbol version of a custom target.")
@_option(
    "--max-size", metavar="SIZE", help="Unzipped size to stay below, such as 200MiB. [default: the target's]"
)
@_option(
    "--resolver",
    type=click.Choice(["auto", "pip", "uv"]),
    default="auto",
    help="Who resolves. [default: auto]",
)
@_option("--upgrade", is_flag=True, help="Resolve anew, even if the lock beside the output still fits.")
@_option("--enable", multiple=True, metavar="RULE", help="Apply an opt-in rule; may be repeated.")
@_option("--disable", multiple=True, metavar="RULE", help="Do not apply a rule; may be repeated.")
@_option(
    "--keep", multiple=True, metavar="PATTERN", help="Keep files whatever the rules say; may be repeated."
)
@_option("--remove", multiple=True, metavar="PATTERN", help="Remove files; may be repeated.")
@_option(
    "--rules",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder with rule files of your own; may be repeated.",
)
@_option(
    "--compact/--no-compact", default=True, help="Drop from ELF files what no loader reads. [default: on]"
)
@_option("--max-wheel-size", metavar="SIZE", help="Unzipped size a wheel may have. [default: 8GiB]")
@_option(
    "--max-wheel-ratio",
    type=click.IntRange(1),
    metavar="N",
    help="How many times its compressed size a large file of a wheel may have. [default: 250]",
)
@_option(
    "--jobs", type=click.IntRange(1, 256), metavar="N", help="Worker processes. [default: one a processor]"
)
@_option("--cache/--no-cache", default=True, help="Keep wheels and finished bundles. [default: on]")
@cache_options
@_option("--dry-run", is_flag=True, help="Do everything, then write nothing.")
@_option(
    "--report",
    "reports",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also write the report to a file: .txt or .json; may be repeated.",
)
@_option("--json", "as_json", is_flag=True, help="Print the manifest instead of the report.")
@_option("-q", "--quiet", is_flag=True, help="No progress, and no report unless it is bad news.")
@click.pass_context
def build(context: click.Context, /, requirements: Path, **given: Any) -> None:  # noqa: ANN401 -- click's values
    """Turn REQUIREMENTS into a bundle for AWS Lambda, and account for every byte of it.

    REQUIREMENTS is a requirements.txt, or a pylock.toml. The bundle is written even if it is over the limit;
    the exit code is 1 then.
    """
    options = _options(requirements, given)
    for path in given["reports"]:
        if path.suffix not in _FORMATS:
            raise UsageError(
                f"no report of this kind: {path.name}", where="--report", fix="End it with .txt or .json."
            )
        _check_report(path)
    with Reporter(quiet=given["quiet"]) as progress, _cache(given) as cache:
        outcome = run(options, cache=cache, today=datetime.now(UTC).date(), progress=progress)
    manifest = outcome.manifest
    if given["as_json"]:
        show(to_json(manifest))
    elif not given["quiet"] or manifest.failed:
        show(text(manifest, name=options.output.name, width=width(), color=color()))
        show(_written(options, outcome))
    for path in given["reports"]:
        _write_report(path, manifest, options.output.name)
    context.exit(1 if manifest.failed else 0)


def _options(requirements: Path, given: dict[str, Any]) -> Options:
    kind: Kind = "lambda-layer" if given["layer"] else given["kind"]
    if given["layer"] and given["kind"] not in {"lambda", "lambda-layer"}:
        raise UsageError("--layer contradicts --kind", where="--layer", fix="Give only one of them.")
    size = given["max_size"]
    return Options(
        requirements=requirements,
        output=given["output"] or Path("dist", f"{_stem(requirements)}.zip"),
        target=target.make(
            runtime=given["runtime"] or interpreters.newest_runtime(),
            architecture=given["arch"],
            kind=kind,
            glibc=given["glibc"],
            size_limit=None if size is None else config.size(size, where="--max-size"),
        ),
        source=given["source"],
        resolver=given["resolver"],
        upgrade=given["upgrade"],
        wishes=Wishes(
            keep=tuple(given["keep"]),
            remove=tuple(given["remove"]),
            enable=tuple(given["enable"]),
            disable=tuple(given["disable"]),
        ),
        rules=tuple(given["rules"]),
        compact=given["compact"],
        limits=_limits(given["max_wheel_size"], given["max_wheel_ratio"]),
        jobs=given["jobs"] or min(len(os.sched_getaffinity(0)), _WORKERS),
        dry_run=given["dry_run"],
    )


def _limits(size: str | int | None, ratio: int | None) -> Limits:
    limits = Limits()
    if size is not None:
        limits = replace(limits, size=config.size(size, where="--max-wheel-size"))
    return limits if ratio is None else replace(limits, ratio=ratio)


def _stem(requirements: Path) -> str:
    """Returns the default name of a bundle: the file's, without suffix and without PEP 751's prefix."""
    stem = requirements.stem
    return stem.removeprefix("pylock.") if stem.startswith("pylock.") else stem


@contextmanager
def _cache(given: dict[str, Any]) -> Iterator[Cache]:
    if not given["cache"]:
        with tempfile.TemporaryDirectory(prefix="slimpack-") as folder:
            yield Cache(root=Path(folder), problem="switched off", wheel_store=Path(folder))
        return
    root, limit = root_of(given["cache_dir"]), cache_limit_of(given["cache_limit"])
    with open_cache(root, limit_bytes=limit) as opened:
        if opened.problem and not given["quiet"]:
            click.echo(f"warning: {opened.problem}", err=True)
        yield opened


def _write_report(path: Path, manifest: Manifest, name: str) -> None:
    content = to_json(manifest) if path.suffix == ".json" else text(manifest, name=name)
    new = path.with_name(f".{path.name}.new")
    with writing(path):
        try:
            new.write_text(content, encoding="utf-8")
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)


def _check_report(path: Path) -> None:
    """Refuses a report that could not be written once the bundle is there."""
    folder = path.absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK) or path.is_dir():
        raise UsageError(
            f"{path} cannot be written",
            where="--report",
            fix="Name a file in a folder that you may write to.",
        )


def _written(options: Options, outcome: Outcome) -> str:
    """Returns where the output lies, and what of it was not made anew."""
    if options.dry_run:
        return "\ndry run: nothing was written\n"
    lock = " (still fits; --upgrade resolves anew)" if outcome.reused_lock else ""
    cached = " (from the cache)" if outcome.cached else ""
    return f"""
bundle    {options.output}{cached}
manifest  {outcome.manifest_path}
lock      {outcome.lock_path}{lock}
"""

"""``slimpack cache``: where the cache is, what it holds, and how to make it smaller."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from slimpack.cache import DEFAULT_LIMIT_BYTES, clean, default_root, prune
from slimpack.cache import info as contents
from slimpack.cli.inputs import FilePath, placed
from slimpack.cli.terminal import show, show_json
from slimpack.report.words import mebibytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from slimpack.cache import Pruned


def cache_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that say where the cache is and how large it may become."""
    folder = click.option(
        "--cache-dir",
        type=FilePath(),
        metavar="DIR",
        envvar="SLIMPACK_CACHE_DIR",
        help="Folder of the cache. [default: slimpack in the user's cache folder]",
    )
    limit = click.option(
        "--cache-limit",
        metavar="SIZE",
        envvar="SLIMPACK_CACHE_LIMIT",
        help=f"Size that the cache is pruned to. [default: {mebibytes(DEFAULT_LIMIT_BYTES)}]",
    )
    return folder(limit(command))


def root_of(cache_dir: Path | None) -> Path:
    """Returns the folder of the cache that the options speak of."""
    return cache_dir or default_root(os.environ)


def cache_limit_of(cache_limit: str | int | None) -> int:
    """Returns the size in bytes that the cache is pruned to."""
    if cache_limit is None:
        return DEFAULT_LIMIT_BYTES
    from slimpack import config

    with placed():
        return config.size(cache_limit, where="--cache-limit")


@click.group()
def cache() -> None:
    """Show the cache of wheels and finished bundles, or make it smaller."""


@cache.command("dir")
@cache_options
def directory(cache_dir: Path | None, cache_limit: str | None) -> None:  # noqa: ARG001 -- all verbs take both
    """Print the folder of the cache."""
    show(f"{root_of(cache_dir)}\n")


@cache.command()
@cache_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(cache_dir: Path | None, cache_limit: str | None, *, as_json: bool) -> None:
    """Show what the cache holds."""
    held = contents(root_of(cache_dir))
    limit = cache_limit_of(cache_limit)
    if as_json:
        show_json(json.dumps({**asdict(held), "limit_bytes": limit}, default=str) + "\n")
        return
    show(
        f"folder   {held.root}\n"
        f"wheels   {held.wheels}, {mebibytes(held.wheel_bytes)}\n"
        f"bundles  {held.bundles}, {mebibytes(held.bundle_bytes)}\n"
        f"limit    {mebibytes(limit)}\n"
    )


@cache.command("prune")
@cache_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def prune_cache(cache_dir: Path | None, cache_limit: str | None, *, as_json: bool) -> None:
    """Remove what was not used for the longest time until the cache is within its limit."""
    _show_removed(prune(root_of(cache_dir), limit_bytes=cache_limit_of(cache_limit)), as_json=as_json)


@cache.command("clean")
@cache_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def clean_cache(cache_dir: Path | None, cache_limit: str | None, *, as_json: bool) -> None:  # noqa: ARG001 -- as above
    """Remove all wheels and bundles from the cache."""
    _show_removed(clean(root_of(cache_dir)), as_json=as_json)


def _show_removed(pruned: Pruned, *, as_json: bool) -> None:
    if as_json:
        show_json(json.dumps(asdict(pruned)) + "\n")
    else:
        show(f"removed {pruned.entries} entries, {mebibytes(pruned.bytes)}\n")

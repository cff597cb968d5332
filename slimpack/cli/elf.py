"""``slimpack elf``: look into a packed shared object, or make the plain one again."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from slimpack.cli.inputs import FilePath
from slimpack.cli.terminal import color, show, show_json, width
from slimpack.errors import UsageError
from slimpack.output import writing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@click.group()
def elf() -> None:
    """Look into shared objects that slimpack has packed."""


@elf.command("show")
@click.argument("file", type=FilePath())
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show_packed(file: Path, *, as_json: bool) -> None:
    """Show what of FILE is raw, what is packed, and what was pruned."""
    from slimpack.elf.packed import read_packed
    from slimpack.report.elf import account, text

    with _image(file) as image:
        packed = read_packed(image)
        found = None if packed is None else account(packed, size=len(image))
    if as_json:
        show_json(json.dumps({"schema_version": 1, "packed": found}, indent=1) + "\n")
    elif found is None:
        show(f"{file.name} is not packed\n")
    else:
        show(text(found, name=file.name, width=width(), color=color()))


@elf.command()
@click.argument("file", type=FilePath())
@click.option("-o", "--output", type=FilePath(), required=True, metavar="PATH", help="Where to put it.")
def unpack(file: Path, output: Path) -> None:
    """Make of FILE the plain shared object again that it was packed from, byte for byte."""
    from slimpack.elf.unpack import unpack as plain_of

    with _image(file) as image:
        plain = plain_of(image)
    new = output.with_name(f".{output.name}.new")
    with writing(output):
        try:
            new.write_bytes(plain)
            new.chmod(file.stat().st_mode & 0o777)
            new.replace(output)
        finally:
            new.unlink(missing_ok=True)


@contextmanager
def _image(path: Path) -> Iterator[bytes]:
    """Yields the content of an ELF file; what is wrong with it becomes an error about it."""
    from slimpack.elf.layout import ElfError, is_elf
    from slimpack.elf.packed import NotPackedError

    content, fix = b"", "Name a shared object of a bundle built with --pack."
    try:
        # Not mapped: an error on its way out holds views of the content, and the map could not be closed.
        content = path.read_bytes()
        yield content
    except OSError as problem:
        reason = problem.strerror or str(problem)
    except ElfError as problem:
        reason = problem.reason
        if is_elf(content) and not isinstance(problem, NotPackedError):
            fix = "The file is damaged: take it from the bundle anew, or build that again."
    else:
        return
    raise UsageError(f"cannot be read: {reason}", where=str(path), fix=fix)

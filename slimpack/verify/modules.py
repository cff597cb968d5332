"""Modules: the names under which distributions are imported. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slimpack.references import module_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def top_level(paths: Iterable[str]) -> tuple[str, ...]:
    """Returns the public names under which files can be imported, sorted.

    For a namespace package that is what lies in it: ``google.protobuf``, not ``google``.

    Args:
        paths: Places of a distribution's files in the installed tree.
    """
    modules: set[str] = set()
    packages: set[str] = set()
    for path in paths:
        if name := module_name(path):
            modules.add(name)
            if path.endswith("/__init__.py"):
                packages.add(name)
    return tuple(
        sorted(
            name
            for name in modules
            if not packages.intersection(_parents(name)) and not name.rpartition(".")[2].startswith("_")
        )
    )


def _parents(name: str) -> Iterator[str]:
    while name := name.rpartition(".")[0]:
        yield name

"""Reach: the modules that a handler imports, as far as sources tell. Pure."""

from __future__ import annotations

import ast
import re
import warnings
from typing import TYPE_CHECKING

from slimpack.references import imported, is_type_checking, module_name, package_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_LARGEST = 4 * 2**20
"""Bytes of a source beyond which its syntax tree is not worth its time: what is so large is a table."""

_MAY_IMPORT = re.compile(rb"\bimport\b")


def reached(start: str, paths: Iterable[str], source: Callable[[str], bytes]) -> tuple[str, ...]:
    """Returns the files of a module and of all that it imports, about in the order in which a start loads them.

    Both sides of each ``if`` and ``try`` count, and so do functions, by which lazy packages load: without them a
    quarter of what a handler with ``tf.keras`` loads would be missing; with them a tenth is too much.

    Args:
        start: Dotted name of the module.
        paths: Places of all files in the installed tree.
        source: Returns the content of a Python source.
    """
    # as importlib has it, an extension module comes before a source of the same name
    files = {name: path for path in sorted(paths, key=_suffix_first) if (name := module_name(path))}
    order: dict[str, None] = {}
    waiting = [start]
    while waiting:
        name = waiting.pop()
        parts = name.split(".")
        missing = [
            package
            for count in range(1, len(parts) + 1)
            if (package := ".".join(parts[:count])) in files and files[package] not in order
        ]
        if not missing:
            continue
        if missing[0] != name:
            waiting.append(name)  # a package comes before what is in it
        path = files[missing[0]]
        order[path] = None
        if path.endswith(".py"):
            waiting += reversed(list(dict.fromkeys(_imports(source(path), package_of(path)))))
    return tuple(order)


def _suffix_first(path: str) -> tuple[bool, str]:
    return path.endswith(".so"), path


def _imports(source: bytes, package: tuple[str, ...]) -> Iterator[str]:
    """Yields what a module imports, in order."""
    if len(source) > _LARGEST or not _MAY_IMPORT.search(source):
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other people's invalid escapes
            todo: list[ast.AST] = [ast.parse(source)]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    while todo:
        match todo.pop():
            case ast.Import(names=aliases):
                yield from (alias.name for alias in aliases)
            case ast.ImportFrom(module=module, names=aliases, level=level):
                yield from imported(module, [alias.name for alias in aliases], level, package)
            case ast.If(test=test, orelse=otherwise) if is_type_checking(test):
                todo += reversed(otherwise)
            case ast.stmt() | ast.Module() | ast.ExceptHandler() | ast.match_case() as node:
                inner = (one for one in ast.iter_child_nodes(node) if not isinstance(one, ast.expr))
                todo += reversed(list(inner))

"""Reading: which modules a module may read as text, its own file or those of its folder, by its syntax tree. Pure.

Where paths go is not followed: a module that says where it lies, and reads files, may read itself. Of the
20,059 modules of 172 distributions that are 99.
"""

from __future__ import annotations

import ast
import re
import warnings
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_PLACES = frozenset({"__file__", "__path__"})
_SOURCE_FILES = frozenset({"getfile", "getsourcefile", "getabsfile"})
"""Functions of ``inspect``: of what they are asked is not known, and may be a part of this module."""

_READS = frozenset(
    {
        *("open", "open_code", "FileIO", "read_text", "read_bytes", "run_path"),
        *("copy2", "copyfile", "copytree"),
        *("stat", "getsize", "getmtime"),
    }
)
"""Functions and methods that read a file, or tell its size or time."""

_LISTS = frozenset({"glob", "rglob", "iglob", "iterdir", "listdir", "scandir", "walk"})
"""Functions and methods that tell what lies in a folder."""

_ASKING = tuple(name.encode() for name in (*_PLACES, *_SOURCE_FILES, "__spec__", "files("))
"""What a source has to have, one of them, for its syntax tree to be worth its time."""

_SUFFIX = re.compile(r"(?:.*\*.*|\W*)\.py\W*")
"""A string that stands for many Python files: ``.py``, ``*.py``, ``test_*.py``."""

_TESTS = re.compile(r"(?:.*/)?(?:tests?/.*|test_\w+\.py|conftest\.py)")
"""Paths of tests."""


def readings(path: str, source: bytes) -> Iterator[str]:
    """Yields what a module may read as text: its own path, and a folder, with ``/`` at its end, with all that is below.

    Args:
        path: Its place in the installed tree.
        source: The file.
    """
    if not any(word in source for word in _ASKING):
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other people's invalid escapes
            nodes = list(ast.walk(ast.parse(source)))
        found = [*_readings(path, nodes)]
    except (SyntaxError, ValueError):
        return  # nobody can run it
    except (RecursionError, MemoryError):
        found = [path]
    yield from found


def _readings(path: str, nodes: Sequence[ast.AST]) -> Iterator[str]:
    if not any(_uses(node, _READS) for node in nodes):
        return
    itself = any(map(_is_place, nodes))
    if itself or any(_uses(node, _SOURCE_FILES) for node in nodes):
        yield path
    lists = any(_uses(node, _LISTS) for node in nodes) and any(map(_is_pattern, nodes))
    if lists and (itself or any(map(_is_folder, nodes))):
        folders = PurePosixPath(path).parents[
            :-1
        ]  # the whole tree is listed by tools, not by what runs on Lambda
        above = 0 if _TESTS.fullmatch(path) else max(0, *map(_climbs, nodes)) - 1  # tests list what they test
        yield from (f"{folder}/" for folder in folders[max(above, 0) :][:1])


def is_read(path: str, read: frozenset[str]) -> bool:
    """Returns whether a file is among what ``readings`` has yielded."""
    return path in read or any(f"{folder}/" in read for folder in PurePosixPath(path).parents)


def _is_place(node: ast.AST) -> bool:
    """Returns whether an expression is the path of its module's file, or those of its package."""
    match node:
        case ast.Name(id=name):
            return name in _PLACES
        case ast.Attribute(value=ast.Name(id="__spec__"), attr="origin"):
            return True
        case ast.Attribute(value=ast.Subscript(slice=ast.Name(id="__name__")), attr=name):  # of sys.modules
            return name in _PLACES
    return False


def _is_folder(node: ast.AST) -> bool:
    """Returns whether an expression is the folder of its module's resources."""
    match node:
        case ast.Call(
            func=ast.Name(id="files") | ast.Attribute(attr="files"),
            args=[ast.Name(id="__package__" | "__name__"), *_],
        ):
            return True
    return False


def _uses(node: ast.AST, names: frozenset[str]) -> bool:
    """Returns whether an expression is one of some functions or methods."""
    match node:
        case ast.Attribute(value=ast.Name(id="ast"), attr="walk"):
            return False
        case ast.Attribute(value=ast.Name(id="shutil"), attr="copy"):
            return "copyfile" in names
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in names
    return False


def _is_pattern(node: ast.AST) -> bool:
    """Returns whether an expression is a string that stands for many Python files."""
    match node:
        case ast.Constant(value=str(text)):
            return _SUFFIX.fullmatch(text) is not None
    return False


def _climbs(node: ast.AST) -> int:
    """Returns how many folders above a file an expression goes, at most: one to the folder that the file is in."""
    return sum(map(_up, ast.walk(node))) if isinstance(node, ast.expr) else 0


def _up(node: ast.AST) -> int:
    """Returns how many folders up a part of an expression goes."""
    match node:
        case ast.Attribute(attr="parent" | "pardir" | "__path__") | ast.Name(id="__path__"):
            return 1
        case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name)):
            return name in {"dirname", "files"}
        case ast.Subscript(value=ast.Attribute(attr="parents"), slice=ast.Constant(value=int(above))):
            return 1 + above
        case ast.Constant(value=str(text)):
            return text.split("/").count("..")
    return 0

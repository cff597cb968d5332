"""Reading: which modules a module may read as text, its own file or those of a folder, by its syntax tree. Pure.

Where paths go is not followed: a module that says where it lies, and reads files, may read itself. One that lists the
Python files of a folder is known by one function, or by its code outside of functions, that does both.
"""

from __future__ import annotations

import ast
import re
import warnings
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PLACES = {"__file__": 0, "__path__": 1}
"""Names that stand for places, with how many folders above the module's file they are."""

_SOURCE_FILES = frozenset({"getfile", "getsourcefile", "getabsfile"})
"""Functions of ``inspect``: of what they are asked is not known, and may be a part of this module."""

_ASKING = tuple(name.encode() for name in (*_PLACES, *_SOURCE_FILES, "__spec__", "files("))
"""What a source has to have, one of them, for its syntax tree to be worth its time."""

_READS = frozenset(
    {
        *("open", "open_code", "FileIO", "read_text", "read_bytes", "run_path"),
        *("stat", "lstat", "getsize", "getmtime", "getctime"),
    }
)
"""Functions and methods that read a file, or tell its size or time; all of ``shutil`` counts besides."""

_LISTS = frozenset({"glob", "rglob", "iglob", "iterdir", "listdir", "scandir", "walk"})
"""Functions and methods that tell what lies in a folder."""

_WORD = re.compile(r"\w")
_TESTS = re.compile(r"(?:.*/)?(?:tests?/.*|test_\w+\.py|conftest\.py)")
"""Paths of tests."""


def readings(path: str, source: bytes) -> Iterator[str]:
    """Yields what a module may read as text: its own path, and folders, with ``/`` at their end, and all below them.

    Args:
        path: Its place in the installed tree.
        source: The file.
    """
    if not any(word in source for word in _ASKING):
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other people's invalid escapes
            found = list(_readings(path, ast.parse(source)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        found = [path]  # the target's Python may be newer than this one
    yield from found


def is_read(path: str, read: frozenset[str]) -> bool:
    """Returns whether a file is among what ``readings`` has yielded."""
    return path in read or any(f"{folder}/" in read for folder in PurePosixPath(path).parents)


def _readings(path: str, tree: ast.Module) -> Iterator[str]:
    nodes = list(ast.walk(tree))
    if not any(map(_reads, nodes)):
        return
    if any(map(_is_file, nodes)):
        yield path
    # The whole tree is listed by tools, not by what runs on Lambda; and tests list all that they test.
    folders = PurePosixPath(path).parents[:-1]
    highest = 1 if _TESTS.fullmatch(path) else len(folders)
    listed = [above for above in _listed(tree) if above <= highest]
    if folders and listed:
        yield f"{folders[max(listed) - 1]}/"


def _listed(tree: ast.Module) -> Iterator[int]:
    """Yields how many folders above its file a module lists Python files: 1 for the folder that it lies in."""
    outside = list(_parts(tree))
    functions = [child for node, _ in outside for child in ast.iter_child_nodes(node) if _is_function(child)]
    known = _named(outside, _PLACES)
    for unit in (outside, *(list(_parts(function)) for function in functions)):
        nodes = [node for node, _ in unit]
        if any(map(_lists, nodes)) and any(map(_is_pattern, nodes)):
            yield from (max(above, 1) for above in _heights(unit, _named(unit, known)))


Parts = list[tuple[ast.AST, int]]
"""Nodes, and how many folders up what they are in goes with them."""


def _parts(root: ast.AST) -> Iterator[tuple[ast.AST, int]]:
    """Yields what a part of a module is made of: of a function all, of everything else what lies in no function."""
    waiting = [(root, 0)]
    while waiting:
        node, above = waiting.pop()
        yield node, above
        above += _up(node)
        children = ast.iter_child_nodes(node)
        waiting += [(one, above) for one in children if _is_function(root) or not _is_function(one)]


def _named(parts: Parts, known: Mapping[str, int]) -> Mapping[str, int]:
    """Returns the names that stand for a place, with how many folders it is above the module's file."""
    names = dict(known)
    nodes = [node for node, _ in parts if isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr)]
    for node in sorted(nodes, key=lambda one: one.lineno):
        heights = [] if node.value is None else list(_heights(list(_parts(node.value)), names))
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if heights:
            names |= {one.id: max(heights) for one in targets if isinstance(one, ast.Name)}
    return names


def _heights(parts: Parts, names: Mapping[str, int]) -> Iterator[int]:
    """Yields how many folders above the module's file the places are that are named."""
    for node, above in parts:
        match node:
            case ast.Name(id=name) if name in names:
                yield above + names[name]
            case ast.Call(func=function) if _name(function) == "files":
                yield above + 1
            case _ if _is_file(node):
                yield above


def _up(node: ast.AST) -> int:
    """Returns how many folders up an expression goes from what is in it."""
    above = sum(map(_climbs, ast.iter_child_nodes(node)))
    match node:
        case ast.Attribute(attr="parent"):
            above += 1
        case ast.Call(func=function) if _name(function) == "dirname":
            above += 1
        case ast.Subscript(value=ast.Attribute(attr="parents"), slice=ast.Constant(value=int(number))):
            above += number + 1
    return above


def _climbs(node: ast.AST) -> int:
    """Returns how many folders up a part of a path goes: ``..`` or ``os.pardir``."""
    match node:
        case ast.Constant(value=str(text)):
            return text.split("/").count("..")
        case ast.Attribute(attr="pardir"):
            return 1
    return 0


def _is_function(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def _is_file(node: ast.AST) -> bool:
    """Returns whether an expression is the path of a file that may be the module's."""
    match node:
        case ast.Name(id=name):
            return name in _PLACES
        case ast.Attribute(value=ast.Name(id="__spec__"), attr="origin"):
            return True
        case ast.Attribute(value=ast.Subscript(slice=ast.Name(id="__name__")), attr=name):  # of sys.modules
            return name in _PLACES
        case ast.Call(func=function):
            return _name(function) in _SOURCE_FILES
    return False


def _reads(node: ast.AST) -> bool:
    match node:
        case ast.alias(name="shutil") | ast.ImportFrom(module="shutil"):
            return True
    return _name(node) in _READS


def _lists(node: ast.AST) -> bool:
    match node:
        case ast.Attribute(value=ast.Name(id="ast"), attr="walk"):
            return False
    return _name(node) in _LISTS


def _name(node: ast.AST) -> str:
    """Returns what a function or a method is called, wherever it comes from; an empty string for other nodes."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def _is_pattern(node: ast.AST) -> bool:
    """Returns whether an expression is a string that stands for many Python files: ``.py``, ``*.py``, ``op_?.py``."""
    match node:
        case ast.Constant(value=str(text)):
            name, suffix, more = text.rpartition(".py")
            stands_for_many = not _WORD.search(name) or not set("*?[").isdisjoint(name)
            return bool(suffix) and not _WORD.search(more) and stands_for_many
    return False

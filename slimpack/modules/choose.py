"""Which modules can be packed, and why others cannot: those that somebody reads as a file stay as they are."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from slimpack.modules.reads import is_read

if TYPE_CHECKING:
    from collections.abc import Iterator

SMALLEST = 150
"""Bytes besides those of its path; what is smaller gains nothing by a stub and an entry in the archive."""

_MENTION = re.compile(rb"""["'/\\}]((?:[\w.-]+/)*[A-Za-z_]\w*\.py)["']""")
"""The name of a Python file as the end of a string, with as many folders as stand before it."""

_ALWAYS_MENTIONED = {"__init__.py"}
"""Names that stand in strings to find packages, not to read their files."""

_TEMPLATES = re.compile(r"(\w+_)?(templates?|skeletons?)")
"""Folders with files to be filled in and written elsewhere."""


def mentions(source: bytes) -> Iterator[str]:
    """Yields the Python files that a source names in strings: a bare name, or the end of a path.

    Args:
        source: The file. Comments and docstrings count, as long as the name stands in quotes there.
    """
    for name in _MENTION.findall(source):
        yield name.decode("ascii", "ignore")


def left_alone(
    path: str, source: bytes, *, mentioned: frozenset[str], read: frozenset[str], executable: bool
) -> str | None:
    """Returns why a module cannot be packed; None if it can.

    Args:
        path: Its place in the installed tree.
        source: The file.
        mentioned: The Python files that all kept sources name in strings.
        read: What ``readings`` has found in all of them.
        executable: Whether any execute bit is set.
    """
    *folders, name = path.split("/")
    if len(source) < SMALLEST + len(path):
        return "it is too small"
    if not all(part.isidentifier() for part in (*folders, name.removesuffix(".py"))) or not name.endswith(
        ".py"
    ):
        return "its path is no module's name"
    if folders[:1] == ["bin"] or (executable and source.startswith(b"#!")):
        return "it is a program"
    if any(_TEMPLATES.fullmatch(folder) for folder in folders):
        return "it is a template"
    if path in read:
        return "it may read its own file"
    if is_read(path, read):
        return "a kept module may read the files of its folder"
    if name not in _ALWAYS_MENTIONED and not mentioned.isdisjoint(_ends(folders, name)):
        return "a kept module names its file"
    return None


def _ends(folders: list[str], name: str) -> Iterator[str]:
    """Yields the ends of a path: ``c.py``, ``b/c.py``, ``a/b/c.py``."""
    for start in range(len(folders), -1, -1):
        yield "/".join((*folders[start:], name))

"""Cause: which of the files that a bundle lacks made a run fail. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from slimpack.plan import REMOVE
from slimpack.references import module_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_NO_MODULE = re.compile(r"No module named '?([\w.]+)'?")
_NO_NAME = re.compile(r"cannot import name '(\w+)' from (?:partially initialized module )?'([\w.]+)'")
_NO_ATTRIBUTE = re.compile(r"module '([\w.]+)' has no attribute '(\w+)'")
_NO_LIBRARY = re.compile(r"([\w.+-]+\.so[\w.]*): cannot open shared object file")
_NO_METADATA = re.compile(
    r"No package metadata was found for '?([\w.-]+)|The '([\w.-]+)[^']*' distribution was not"
)
_PATH = re.compile(r"[^\s'\"<>|:,;()\[\]]*[\w-]+[./][^\s'\"<>|:,;()\[\]]+")
"""Something in a message that may be a path, or the end of one."""

LOST = "lost"
"""In place of a rule: the bundle's manifest lists the file, and the bundle does not have it."""

_LONGEST = 100_000
"""Characters of a message that are looked at."""


def causes(message: str, removed: Mapping[str, str], *, roots: Sequence[str] = ()) -> tuple[str, ...]:
    """Returns those of the removed files that a failure complains about, or that would have to come back with them.

    What a message says comes first: a module, a name of a module, a library, metadata, a path. A guess is only as
    good as the message; whoever acts on it runs again and sees.

    Args:
        message: Type, message and stack of an exception.
        removed: What the bundle lacks: the rule, or ``LOST``, by place in the installed tree.
        roots: Folders that the bundle was at in the run.
    """
    text = message[:_LONGEST]
    known = _Removed(removed)
    for found in _complaints(text, known, roots):
        if found:
            return tuple(sorted(found))
    return ()


def remedy(explained: Sequence[str], removed: Mapping[str, str]) -> str | None:
    """Returns what to do about files that a run missed; None if there are none.

    Args:
        explained: What ``causes`` returned.
        removed: What it was given.
    """
    if not explained:
        return None
    explained = [path for path in explained if removed[path] == LOST] or explained
    path = explained[0]
    more = f" (and {len(explained) - 1} more)" if explained[1:] else ""
    rule = removed[path]
    if rule == LOST:
        return f"{path}{more} is in the manifest but not in the bundle: build it again."
    if rule == REMOVE:
        return f"{path}{more} was removed by a pattern of the configuration: take that out."
    keep = f'keep = ["/{path}"] in the configuration'
    return f"{path}{more} was removed by {rule}. Keep it, with {keep}, or build with --repair-rules."


class _Removed:
    """Removed files by what messages call them."""

    def __init__(self, paths: Iterable[str]) -> None:
        self.modules: dict[str, set[str]] = defaultdict(set)
        self.names: dict[str, set[str]] = defaultdict(set)
        self.metadata: dict[str, set[str]] = defaultdict(set)
        self.paths = set(paths)
        for path in self.paths:
            self.names[path.rpartition("/")[2]].add(path)
            if module := module_name(path):
                self.modules[module].add(path)
            top = path.split("/", 1)[0]
            if top.endswith((".dist-info", ".egg-info")):
                self.metadata[canonicalize_name(top.split("-", 1)[0])].add(path)

    def below(self, folder: str) -> set[str]:
        """Returns what is in a folder, subfolders included."""
        return {path for path in self.paths if path.startswith(f"{folder}/")}


def _complaints(text: str, removed: _Removed, roots: Sequence[str]) -> Iterator[set[str]]:
    """Yields the files that each part of a message is about, most telling first."""
    for missing in _NO_MODULE.finditer(text):
        yield _module(missing[1], removed)
    for pattern, package, name in ((_NO_NAME, 2, 1), (_NO_ATTRIBUTE, 1, 2)):
        for missing in pattern.finditer(text):
            yield _module(f"{missing[package]}.{missing[name]}", removed)
            yield _module(missing[package], removed)  # without its __init__.py it has no names
    for missing in _NO_LIBRARY.finditer(text):
        yield removed.names.get(missing[1], set())
    for missing in _NO_METADATA.finditer(text):
        yield removed.metadata.get(canonicalize_name(missing[1] or missing[2]), set())
    for mentioned in dict.fromkeys(match[0] for match in _PATH.finditer(text)):
        yield _at(mentioned, removed, roots)


def _module(name: str, removed: _Removed) -> set[str]:
    """Returns the file of a module, with those of the packages around it, and of a package its ``__init__.py``."""
    found = set(removed.modules.get(name, ()))
    while found and (name := name.rpartition(".")[0]):
        found |= removed.modules.get(name, set())
    return found


def _at(mentioned: str, removed: _Removed, roots: Sequence[str]) -> set[str]:
    """Returns the file at a path that a message mentions, or what is in the folder there."""
    path = mentioned.rstrip(".")
    for root in roots:
        if path.startswith(f"{root}/"):
            path = path[len(root) + 1 :]
            return {path} if path in removed.paths else removed.below(path)
    return {path} if path in removed.paths else set()

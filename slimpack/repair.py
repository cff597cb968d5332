"""Repairs: what a bundle lacks that an installation has, such as the work of ``*-nspkg.pth`` files."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from slimpack import findings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from slimpack.model import Finding, InventoryFile, Plan, Target

_DECLARED = re.compile(r"[\w.]+(?:\s+[\w.]+)*\s*", re.ASCII)
"""Content of ``namespace_packages.txt``: dotted names, one a line (setuptools)."""

_NAMESPACE_PTH = "-nspkg.pth"
"""End of the name of the files with which setuptools' namespace packages hook into ``site``."""


def declared_namespaces(
    files: Iterable[InventoryFile], read: Callable[[InventoryFile], bytes]
) -> frozenset[str]:
    """Returns the folders that wheels declare as namespace packages and bring without ``__init__.py``.

    Old wheels rely on a ``.pth`` file to make them importable, which nothing but Lambda's own runtimes reads, and
    there after the folders of layers.

    Args:
        files: The inventory.
        read: Returns the content of one of its files.
    """
    folders: set[str] = set()
    for file in files:
        path = PurePosixPath(file.path)
        if path.name == "namespace_packages.txt" and path.parent.suffix == ".dist-info":
            text = read(file).decode("utf-8", "replace")
            if _DECLARED.fullmatch(text):
                folders |= {name.replace(".", "/") for name in text.split()}
    return frozenset(folders)


def start_up_files(plan: Plan, target: Target) -> Iterator[Finding]:
    """Yields a finding for each kept ``.pth`` file that does something that no other file stands in for.

    Lambda's managed runtimes treat the task root and the layers' folder as site folders (``bootstrap.py`` of the
    runtime calls ``site.addsitedir``) and run such files; Greengrass and containers of one's own do not.

    Args:
        plan: As the guard left it.
        target: Where the bundle will run.
    """
    if target.kind in {"lambda", "lambda-layer"}:
        return
    for decision in plan.decisions:
        path = decision.file.path
        if decision.keep and path.endswith(".pth") and "/" not in path and not path.endswith(_NAMESPACE_PTH):
            yield findings.PTH_NOT_RUN.at(path, f"{decision.file.owner} brings a .pth file, which is not run")

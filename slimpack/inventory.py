"""The inventory: every file that the wheels and the app's own source would install, with its owner. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from slimpack import findings
from slimpack.errors import WheelError
from slimpack.model import APP, Distribution, Finding, Inventory, InventoryFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def collect(
    brought: Mapping[Distribution, Sequence[InventoryFile]], source: Iterable[InventoryFile] = ()
) -> Inventory:
    """Returns the inventory of a set of wheels and the app's source.

    Where two wheels install one path, identical content is no matter; otherwise the one that pip installs
    last wins, as it would in a plain install, and a finding names both. The app's own file wins over any.

    Args:
        brought: The files of each distribution.
        source: The app's own files.

    Raises:
        WheelError: One distribution installs a file where another needs a folder.
    """
    files: dict[str, InventoryFile] = {}
    problems: list[Finding] = []
    for distribution in install_order(brought):
        for file in brought[distribution]:
            _put(file, files, problems)
    for file in source:
        _put(file, files, problems)
    _refuse_files_as_folders(files)
    return Inventory(
        distributions=tuple(sorted(brought, key=lambda one: one.name)),
        files=tuple(files[path] for path in sorted(files)),
        findings=tuple(sorted(problems, key=lambda finding: finding.place)),
    )


def install_order(distributions: Iterable[Distribution]) -> list[Distribution]:
    """Returns distributions in the order in which pip installs them: what others need comes first.

    pip sorts by the length of the longest way from a requirement, longest first, then by name backwards.
    """
    by_name = {one.name: one for one in distributions}
    depth = dict.fromkeys(by_name, 0)
    for _ in by_name:  # a way without circles is no longer than this
        deeper = {
            needed: depth[one.name] + 1
            for one in by_name.values()
            for needed in one.requires
            if needed in depth and depth[needed] <= depth[one.name] < len(by_name)
        }
        if not deeper:
            break
        depth.update(deeper)
    return sorted(by_name.values(), key=lambda one: (depth[one.name], one.name), reverse=True)


def _put(file: InventoryFile, files: dict[str, InventoryFile], problems: list[Finding]) -> None:
    earlier = files.get(file.path)
    if earlier is not None and (earlier.sha256 is None or earlier.sha256 != file.sha256):
        winner = "the app's own file" if file.owner == APP else f"{file.owner}'s"
        problems.append(
            findings.INSTALL_CONFLICT.at(
                file.path, f"{earlier.owner} and {file.owner} install different files here; {winner} wins"
            )
        )
    if earlier is None:
        files[file.path] = file
        return
    same = file.sha256 is not None and earlier.sha256 == file.sha256
    stays, goes = (earlier, file) if same and file.owner != APP else (file, earlier)
    files[file.path] = replace(stays, also=(*earlier.also, goes.owner))


def _refuse_files_as_folders(files: Mapping[str, InventoryFile]) -> None:
    for path, file in files.items():
        folder = path
        while "/" in folder:
            folder = folder.rpartition("/")[0]
            if folder in files:
                raise WheelError(
                    f"{file.owner} needs a folder where {files[folder].owner} installs a file",
                    where=folder,
                    fix="Require only one of the two distributions.",
                )

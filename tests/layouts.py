"""Bundles in the layouts that other tools give them, made from wheels by the test."""

from __future__ import annotations

import csv
import io
import stat
import zipfile
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

APP = {"app.py": b"def handler(event, context): ...\n", "requirements.txt": b"alpha\n"}


def unpacked(*wheels: Path) -> dict[str, bytes]:
    """Returns the files of wheels as `sam build` puts them: unpacked, RECORD as it was in the wheel."""
    files: dict[str, bytes] = {}
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            files |= {info.filename: archive.read(info) for info in archive.infolist()}
    return files


def installed(*wheels: Path, requested: tuple[str, ...] = ()) -> dict[str, bytes]:
    """Returns the files of wheels as `pip install --target` puts them.

    RECORD is that of a home scheme whose folders were moved afterwards: scripts are `../../bin/run` in it, and are in
    `bin/`. Bytecode is there, and RECORD names it without hash and size.
    """
    files: dict[str, bytes] = {}
    for wheel in wheels:
        own = unpacked(wheel)
        info = next(path.partition("/")[0] for path in own if ".dist-info/" in path)
        rows = []
        for path, content in own.items():
            place = _installed(path)
            if path == f"{info}/RECORD":
                continue
            files[place] = content
            rows.append((f"../../{place}" if place.startswith("bin/") else place, "", str(len(content))))
            if place.endswith(".py") and not place.startswith("bin/"):
                compiled = (
                    PurePosixPath(place).parent
                    / "__pycache__"
                    / f"{PurePosixPath(place).stem}.cpython-312.pyc"
                )
                files[str(compiled)] = b"code of " + content
                rows.append((str(compiled), "", ""))
        files[f"{info}/INSTALLER"] = b"pip\n"
        rows.append((f"{info}/INSTALLER", "", "4"))
        if info.partition("-")[0] in requested:
            files[f"{info}/REQUESTED"] = b""
            rows.append((f"{info}/REQUESTED", "", "0"))
        rows.append((f"{info}/RECORD", "", ""))
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        files[f"{info}/RECORD"] = text.getvalue().encode()
    return files


def _installed(path: str) -> str:
    top, _, below = path.partition("/")
    if not top.endswith(".data"):
        return path
    kind, _, rest = below.partition("/")
    return f"bin/{rest}" if kind == "scripts" else rest


def zipped(
    path: Path,
    files: Mapping[str, bytes | str],
    *,
    links: Mapping[str, str] | None = None,
    folders: bool = False,
    prefix: str = "",
) -> Path:
    """Writes a zip.

    Args:
        path: Where.
        files: Contents by path.
        links: Aims of symbolic links by path, as `zip -y` writes them.
        folders: Whether folders have entries of their own, as `zip -r` writes them.
        prefix: Folder of the zip that all is in.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        if folders:
            parents = {str(one) for name in files for one in PurePosixPath(prefix + name).parents} - {"."}
            for parent in sorted(parents):
                archive.writestr(f"{parent}/", "")
        for name, content in files.items():
            info = zipfile.ZipInfo(prefix + name)
            info.external_attr = (stat.S_IFREG | 0o755) << 16
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
        for name, aim in (links or {}).items():
            info = zipfile.ZipInfo(prefix + name)
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, aim)
    return path


def written(folder: Path, files: Mapping[str, bytes | str], *, prefix: str = "") -> Path:
    """Writes files into a folder, which is created."""
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        place = folder / prefix / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder

"""Shop: the command line in a folder with tiny wheels, as a user runs it; nothing is downloaded."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wheel.wheelfile import WheelFile  # type: ignore[import-untyped]  # it ships no py.typed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

RUNTIME = f"python3.{max(10, min(14, sys.version_info.minor))}"
"""The one that an interpreter is surely here for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a run of the program ended with."""

    code: int
    out: str
    err: str


class Shop:
    """A folder with wheels, requirements and output, and the program to run there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "wheels").mkdir()
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PIP_", "UV_", "SLIMPACK_", "XDG_"))
        } | {
            "PIP_CONFIG_FILE": os.devnull,
            "SLIMPACK_CACHE_DIR": str(folder / "cache"),
            "COLUMNS": "80",
            "SLIMPACK_VERIFY": "0",
            "SLIMPACK_BYTECODE": "none",
        }

    def stock(self, *wheels: Path) -> None:
        for wheel in wheels:
            shutil.copy(wheel, self.folder / "wheels")

    def require(self, *lines: str) -> None:
        text = "\n".join(("--no-index", "--find-links wheels", *lines, ""))
        (self.folder / "requirements.txt").write_text(text)

    def command(self, *args: str) -> list[str]:
        return [sys.executable, "-m", "slimpack", *args]

    def run(self, *args: str, **environment: str) -> Done:
        done = subprocess.run(
            self.command(*args),
            cwd=self.folder,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Done(code=done.returncode, out=done.stdout, err=done.stderr)

    def build(self, *args: str, **environment: str) -> Done:
        return self.run(
            "build", "requirements.txt", "--runtime", RUNTIME, "-o", "out/app.zip", *args, **environment
        )

    def manifest(self, name: str = "out/app.manifest.json") -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads((self.folder / name).read_text())
        return loaded

    def files(self) -> dict[str, dict[str, Any]]:
        return {file["path"]: file for file in self.manifest()["files"]}

    def names(self) -> list[str]:
        with zipfile.ZipFile(self.folder / "out/app.zip") as bundle:
            return bundle.namelist()

    def left(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


def write_wheel(folder: Path, name: str, version: str, files: Mapping[str, str | bytes]) -> None:
    """Writes a wheel into a folder; for fixtures that outlive a test."""
    info = f"{name}-{version}.dist-info"
    own = {
        f"{info}/METADATA": f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with WheelFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for entry, content in {**files, **own}.items():
            wheel.writestr(entry, content)

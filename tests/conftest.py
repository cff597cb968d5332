"""Makers of small real inputs that several test modules share."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Protocol
from zipfile import ZIP_DEFLATED, ZipInfo

import pytest
from hypothesis import HealthCheck, settings
from packaging.utils import canonicalize_name
from shop import Shop
from wheel.wheelfile import WheelFile  # type: ignore[import-untyped]  # it ships no py.typed

from slimpack.cli import program

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path


class MakeWheel(Protocol):
    """Makes a valid wheel, the same bytes for the same arguments.

    ``files`` are by installed path, ``data`` by path below the ``.data`` folder (``scripts/run``);
    ``executable`` names those of either that get an execute bit.
    """

    def __call__(
        self,
        name: str,
        version: str,
        files: Mapping[str, bytes | str],
        *,
        requires: Collection[str] = (),
        extras: Collection[str] = (),
        tag: str = "py3-none-any",
        entry_points: str | None = None,
        executable: Collection[str] = (),
        data: Mapping[str, bytes | str] | None = None,
    ) -> Path: ...


class MakeElf(Protocol):
    """Compiles C source with gcc: ``make_elf("int f;", "-shared", "-fPIC", name="libf.so")``."""

    def __call__(self, source: str, *args: str, name: str = "made") -> Path: ...


class Cli(Protocol):
    """Runs the program in this process; returns its exit code, and what it wrote to stdout and stderr."""

    def __call__(self, *arguments: str | Path) -> tuple[int, str, str]: ...


def pytest_configure() -> None:
    """Lets tests send signals to programs: who runs in the background inherits that they are ignored.

    No example of Hypothesis fails for the time that it takes: machines are shared.
    """
    settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("shared")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def make_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeWheel:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "315532800")  # the time of RECORD, which WheelFile writes itself

    def make(
        name: str,
        version: str,
        files: Mapping[str, bytes | str],
        *,
        requires: Collection[str] = (),
        extras: Collection[str] = (),
        tag: str = "py3-none-any",
        entry_points: str | None = None,
        executable: Collection[str] = (),
        data: Mapping[str, bytes | str] | None = None,
    ) -> Path:
        stem = f"{canonicalize_name(name).replace('-', '_')}-{version}"
        metadata = [f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n"]
        metadata += (f"Provides-Extra: {extra}\n" for extra in extras)
        metadata += (f"Requires-Dist: {one}\n" for one in requires)
        pure = "true" if tag.endswith("-none-any") else "false"
        content = dict(files)
        content |= {f"{stem}.data/{path}": text for path, text in (data or {}).items()}
        content[f"{stem}.dist-info/METADATA"] = "".join(metadata)
        content[f"{stem}.dist-info/WHEEL"] = (
            f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: {pure}\nTag: {tag}\n"
        )
        if entry_points is not None:
            content[f"{stem}.dist-info/entry_points.txt"] = entry_points
        path = tmp_path / f"{stem}-{tag}.whl"
        with WheelFile(path, "w") as wheel:
            for entry, text in content.items():
                info = ZipInfo(entry)
                info.compress_type = ZIP_DEFLATED
                mode = 0o755 if entry.removeprefix(f"{stem}.data/") in executable else 0o644
                info.external_attr = (stat.S_IFREG | mode) << 16
                wheel.writestr(info, text)
        return path

    return make


@pytest.fixture
def make_elf(tmp_path: Path) -> MakeElf:
    if (compiler := shutil.which("gcc")) is None:
        pytest.skip("gcc is not installed: this test compiles its ELF files")

    def make(source: str, *args: str, name: str = "made") -> Path:
        code, path = tmp_path / f"{name}.c", tmp_path / name
        code.write_text(source)
        subprocess.run([compiler, "-o", path, code, *args], check=True)
        return path

    return make


@pytest.fixture
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    for name in [name for name in os.environ if name.startswith("SLIMPACK_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["slimpack", *map(str, arguments)])
        return program.run(), *capsys.readouterr()

    return call

"""A bundle that was good and is broken in one place: `invoke` names the place and the way out."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from typing import TYPE_CHECKING

import pytest
from runtimes import CLIENT
from shop import RUNTIME, Shop, write_wheel

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from shop import Done

APP = """
import ctypes
from importlib.metadata import version
from pathlib import Path

import units
from units.names import spaced

NATIVE = Path(units.__file__).with_name("_native.so")

def handler(event, context):
    table = Path(units.__file__).with_name("data") / f"{'-'.join(['unit', 'table'])}.txt"
    return {
        "data": table.read_text(),
        "native": ctypes.CDLL(str(NATIVE)).answer(),
        "version": version("units"),
        "namespace": spaced,
    }
"""

FILES = {
    "units/__init__.py": "",
    "units/names.py": "from space import WORD\nspaced = WORD\n",
    "units/data/unit-table.txt": "inch 2.54",
    "space/__init__.py": "WORD = 'spaced'\n",
}

ANSWER = {"data": "inch 2.54", "native": 42, "version": "1", "namespace": "spaced"}


def compiled(folder: Path, source: str, *arguments: str | Path, name: str) -> Path:
    if (compiler := shutil.which("gcc")) is None:
        pytest.skip("gcc is not installed: this test compiles its ELF files")
    code, path = folder / f"{name}.c", folder / name
    code.write_text(source)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", path, code, *arguments], check=True)
    return path


def libraries(folder: Path) -> dict[str, bytes]:
    """Returns an extension that needs a helper of its own, and the run time of OpenMP."""
    gomp = compiled(folder, "int omp(void) { return 40; }", "-Wl,-soname,libgomp.so.1", name="libgomp.so.1")
    helper = compiled(
        folder, "int helper(void) { return 2; }", "-Wl,-soname,libhelper.so", name="libhelper.so"
    )
    source = "int omp(void); int helper(void); int answer(void) { return omp() + helper(); }"
    options = ("-Wl,-rpath,$ORIGIN/../units.libs", gomp, helper)
    native = compiled(folder, source, *options, name="_native.so")
    return {
        "units/_native.so": native.read_bytes(),
        "units.libs/libgomp.so.1": gomp.read_bytes(),
        "units.libs/libhelper.so": helper.read_bytes(),
    }


RUN = ("--handler", "app.handler", "--event", "event.json", "--expect", "answer.json")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop with a bundle that works."""
    shop = Shop(tmp_path_factory.mktemp("good"))
    wheels = shop.folder / "wheels"
    write_wheel(wheels, "units", "1", {**FILES, **libraries(tmp_path_factory.mktemp("elf"))})
    client = {"awslambdaric/__init__.py": "", "awslambdaric/__main__.py": CLIENT}
    write_wheel(wheels, "awslambdaric", "4.0", client)
    shop.environment |= {"SLIMPACK_VERIFY": "0", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}
    shop.require("units")
    (shop.folder / "app").mkdir()
    (shop.folder / "app/app.py").write_text(APP)
    (shop.folder / "event.json").write_text("{}")
    (shop.folder / "answer.json").write_text(json.dumps(ANSWER))
    done = shop.build("--source", "app", *RUN)
    assert done.code == 0, done.out + done.err
    return shop


class Sabotage:
    """A copy of the good bundle with something wrong."""

    def __init__(self, shop: Shop, *, manifest: bool, modes: Mapping[str, int] | None = None) -> None:
        self.shop = shop
        self.modes = modes or {}
        with zipfile.ZipFile(shop.folder / "out/app.zip") as bundle:
            self.files = {name: bundle.read(name) for name in bundle.namelist()}
        beside = shop.folder / "bad.manifest.json"
        beside.unlink(missing_ok=True)
        if manifest:
            shutil.copy(shop.folder / "out/app.manifest.json", beside)

    def invoke(self) -> Done:
        with zipfile.ZipFile(self.shop.folder / "bad.zip", "w") as bundle:
            for name, content in self.files.items():
                info = zipfile.ZipInfo(name)
                info.external_attr = (0o100000 | self.modes.get(name, 0o644)) << 16
                bundle.writestr(info, content)
        done = self.shop.run("invoke", "bad.zip", "--runtime", RUNTIME, *RUN, COLUMNS="1000")
        assert done.code in {0, 1}, done.err
        return done


def test_what_is_not_broken_runs(good: Shop) -> None:
    done = Sabotage(good, manifest=True).invoke()

    assert done.code == 0, done.out
    assert "SLP" not in done.out
    assert "cause" not in done.out


@pytest.mark.parametrize(
    "path",
    [
        "units/names.py",
        "units/data/unit-table.txt",
        "units-1.dist-info/METADATA",
        "space/__init__.py",
        "units/_native.so",
    ],
    ids=["module", "data", "metadata", "namespace", "extension"],
)
def test_a_file_that_was_deleted_is_named_before_the_run_and_as_the_cause_of_its_failure(
    good: Shop, path: str
) -> None:
    bad = Sabotage(good, manifest=True)
    del bad.files[path]

    done = bad.invoke()

    assert done.code == 1
    assert f"warning SLP111 {path}: its manifest lists it, and the bundle does not have it" in done.out
    assert "fix: Build it again" in done.out
    assert f"cause\n  {path} is in the manifest but not in the bundle: build it again." in done.out


@pytest.mark.parametrize(
    ("library", "fix"),
    [
        ("libhelper.so", "Require a wheel that carries the library"),
        ("libgomp.so.1", "Require a wheel that carries it, such as scikit-learn"),
    ],
)
def test_a_library_that_was_deleted_is_missed_without_a_manifest(good: Shop, library: str, fix: str) -> None:
    bad = Sabotage(good, manifest=False)
    del bad.files[f"units.libs/{library}"]

    done = bad.invoke()

    assert done.code == 1
    assert f"error SLP101 units/_native.so: {library} is neither in the bundle nor in " in done.out
    assert f"fix: {fix}" in done.out


def test_a_file_that_others_may_not_read_is_found(good: Shop) -> None:
    done = Sabotage(good, manifest=False, modes={"units/names.py": 0o600}).invoke()

    assert done.code == 1
    assert "error SLP110 units/names.py: only its owner may read it" in done.out
    assert "fix: Give it mode 644" in done.out


def test_a_handler_that_was_renamed_is_found(good: Shop) -> None:
    bad = Sabotage(good, manifest=True)
    bad.files["app.py"] = bad.files["app.py"].replace(b"def handler", b"def handle")

    done = bad.invoke()

    assert done.code == 1
    assert "error SLP401 app.py: the module has no function 'handler' (did you mean 'handle'?)" in done.out
    assert "fix: Correct --handler" in done.out
    assert "SLP111 app.py: it has other content than its manifest says" in done.out


def test_a_library_for_another_processor_is_found(good: Shop) -> None:
    bad = Sabotage(good, manifest=False)
    content = bytearray(bad.files["units/_native.so"])
    content[18:20] = (183).to_bytes(2, "little")  # e_machine, EM_AARCH64
    bad.files["units/_native.so"] = bytes(content)

    done = bad.invoke()

    assert done.code == 1
    assert "error SLP103 units/_native.so: this extension module is for aarch64, not for x86_64" in done.out
    assert "fix: Build with the --arch of the function" in done.out


def test_a_library_for_a_newer_glibc_is_found(good: Shop, tmp_path: Path) -> None:
    (tmp_path / "versions").write_text("GLIBC_2.99 { fresh; };")
    options = ("-nostdlib", "-Wl,-soname,libc.so.6", f"-Wl,--version-script={tmp_path / 'versions'}")
    future = compiled(tmp_path, "int fresh(void) { return 42; }", *options, name="libc.so.6")
    source = "int fresh(void); int answer(void) { return fresh(); }"
    new = compiled(tmp_path, source, "-nostdlib", future, name="new.so")
    bad = Sabotage(good, manifest=False)
    bad.files["units/_native.so"] = new.read_bytes()

    done = bad.invoke()

    assert done.code == 1
    assert "error SLP102 units/_native.so: libc.so.6 of Amazon Linux" in done.out
    assert "is too old to have GLIBC_2.99" in done.out
    assert "fix: Take a release with an older manylinux tag" in done.out


def test_files_are_checked_even_where_nothing_can_be_run(good: Shop) -> None:
    bad = Sabotage(good, manifest=True)
    del bad.files["units.libs/libhelper.so"]
    bad.invoke()

    done = good.run("invoke", "bad.zip", "--arch", "arm64", *RUN, COLUMNS="1000")

    assert done.code == 2
    assert "not checked: no interpreter for " in done.err
    assert "SLP103 units/_native.so" in done.out
    assert "SLP111 units.libs/libhelper.so" in done.out

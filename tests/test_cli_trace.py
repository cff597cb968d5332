"""``slimpack trace`` as a user runs it; the runtime client is a wheel that the test makes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from runtimes import CLIENT, OWN_RUNTIME, make_tree, make_zip

from slimpack.profile import from_json

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import MakeWheel

    from slimpack.profile import Profile

HANDLER = """
import helper
def handler(event, context):
    if event == "raise":
        raise ValueError("a bad event")
    return {"half": event / 2}
"""

FILES = {"app.py": HANDLER, "helper.py": "", "unused.py": ""}


class Desk:
    """A folder with a bundle and an event."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("PIP_", "SLIMPACK_"))
            },
            "SLIMPACK_CACHE_DIR": str(folder / "cache"),
            **environment,
        }
        self.file("one.json", 1)
        self.file("bad.json", "raise")

    def file(self, name: str, value: object) -> None:
        (self.folder / name).write_text(json.dumps(value), encoding="utf-8")

    def slimpack(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "slimpack", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )

    def trace(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.slimpack(
            "trace", "b.zip", "--handler", "app.handler", "--runtime", OWN_RUNTIME, *arguments
        )

    def profile(self, name: str = "b.profile.json") -> Profile:
        return from_json((self.folder / name).read_bytes(), where=name)


@pytest.fixture
def desk(tmp_path: Path, make_wheel: MakeWheel) -> Desk:
    made = make_wheel(
        "awslambdaric", "4.0", {"awslambdaric/__init__.py": "", "awslambdaric/__main__.py": CLIENT}
    )
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    made.rename(wheels / made.name)
    make_zip(tmp_path / "b.zip", FILES)
    return Desk(tmp_path, {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)})


def test_a_profile_is_written_beside_the_bundle_and_reported(desk: Desk) -> None:
    done = desk.trace("--event", "one.json", "--repeat", "2")

    assert done.returncode == 0, done.stdout + done.stderr
    profile = desk.profile()
    assert [(run.times, run.events) for run in profile.runs] == [(2, ("one.json",))]
    assert [one.path for one in profile.files] == ["app.py", "helper.py"]
    assert f"b.zip  app.handler on {OWN_RUNTIME}, x86_64  (2 runs, times are medians)\n" in done.stdout
    assert " modules imported in " in done.stdout
    assert ", 2 of the bundle\n" in done.stdout
    assert "2 files opened, 0.1 KiB\n" in done.stdout
    assert " shared objects loaded, 0 of the bundle\n" in done.stdout
    assert done.stdout.endswith(f"\nprofile  {desk.folder / 'b.profile.json'}\n")


def test_the_same_bundle_as_a_directory_has_the_same_profile(desk: Desk) -> None:
    make_tree(desk.folder / "elsewhere" / "b", FILES)

    zipped = desk.trace("--event", "one.json", "--quiet")
    folder = desk.slimpack(
        *(
            "trace",
            "elsewhere/b",
            "--handler",
            "app.handler",
            "--runtime",
            OWN_RUNTIME,
            "--event",
            "one.json",
            "-q",
        )
    )

    assert (zipped.stdout, folder.stdout) == ("", ""), folder.stderr
    one, other = desk.profile(), desk.profile("elsewhere/b.profile.json")
    assert one.runs == other.runs
    assert one.files == other.files
    assert [(own.name, own.sha256) for own in one.modules if own.file] == [
        (own.name, own.sha256) for own in other.modules if own.file
    ]
    assert str(desk.folder) not in (desk.folder / "elsewhere" / "b.profile.json").read_text(encoding="utf-8")


def test_earlier_profiles_are_merged_and_json_is_the_profile(desk: Desk) -> None:
    desk.file("two.json", 2)
    desk.trace("--event", "one.json", "-o", "first.json")

    done = desk.trace("--event", "two.json", "-o", "both.json", "--merge", "first.json", "--json")

    assert done.returncode == 0, done.stderr
    both = desk.profile("both.json")
    assert from_json(done.stdout, where="stdout") == both
    assert [(run.times, run.events) for run in both.runs] == [(1, ("one.json",)), (1, ("two.json",))]
    assert next(one for one in both.modules if one.name == "helper").init == 2


def test_a_failing_handler_ends_with_1_and_without_a_profile(desk: Desk) -> None:
    desk.file("wanted.json", {"half": 7})

    failed = desk.trace("--event", "bad.json")
    other = desk.trace("--event", "one.json", "--expect", "wanted.json")

    assert (failed.returncode, other.returncode) == (1, 1)
    assert "ValueError: a bad event" in failed.stdout
    assert "differs from wanted.json at $.half: expected 7, given 0.5" in other.stdout
    assert not (desk.folder / "b.profile.json").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-o", "b.zip"), "b.zip is the bundle, or in it"),
        (("-o", "nowhere/p.json"), "cannot be written"),
        (("-o", "."), "cannot be written"),
        (("--merge", "none.json"), "none.json: cannot be read"),
        (("--merge", "b.zip"), "b.zip: no JSON"),
        (("--merge", "one.json"), "one.json: no slimpack profile"),
        (("--merge", "other.json"), "other.json: is of python3.99 on x86_64"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_runs(
    desk: Desk, arguments: tuple[str, ...], words: str
) -> None:
    other = {"schema_version": 1, "slimpack": "1", "runtime": "python3.99", "architecture": "x86_64"}
    lists = ("runs", "modules", "files", "libraries", "not_recorded")
    desk.file("other.json", {**other, **{name: [] for name in lists}})

    done = desk.trace(*arguments)

    assert done.returncode == 2
    assert words in done.stderr
    assert "unpacking" not in done.stderr
    assert (desk.folder / "b.zip").read_bytes()[:2] == b"PK"


def test_a_configured_output_is_the_bundles_and_not_the_profiles(desk: Desk) -> None:
    (desk.folder / "slimpack.toml").write_text(
        'output = "built.zip"\nhandler = "app.handler"\n', encoding="utf-8"
    )

    done = desk.trace("--event", "one.json")

    assert done.returncode == 0, done.stderr
    assert desk.profile().times == 1
    assert not (desk.folder / "built.zip").exists()


@pytest.mark.network
def test_numpy_leaves_most_of_its_libraries_untouched(tmp_path: Path) -> None:
    desk = Desk(tmp_path, {})
    make_tree(
        tmp_path / "source",
        {
            "app.py": "import numpy\ndef handler(event, context):\n    return float(numpy.linalg.det(numpy.eye(9)))"
        },
    )
    (tmp_path / "requirements.txt").write_text("numpy", encoding="ascii")
    built = desk.slimpack(
        *(
            "build",
            "requirements.txt",
            "--source",
            "source",
            "--runtime",
            OWN_RUNTIME,
            "-o",
            "b.zip",
            "--no-verify",
        )
    )
    assert built.returncode == 0, built.stderr

    done = desk.trace("--event", "one.json", "--repeat", "2")

    assert done.returncode == 0, done.stdout + done.stderr
    profile = desk.profile()
    assert {"numpy", "numpy._core._multiarray_umath"} <= {one.name for one in profile.modules}
    manifest = json.loads((tmp_path / "b.manifest.json").read_text(encoding="utf-8"))
    hashes = {one["path"]: one.get("sha256") for one in manifest["files"]}
    assert profile.files
    assert all(hashes[one.path] == one.sha256 for one in profile.files)
    if any(one.what == "touched pages" for one in profile.not_recorded):
        pytest.skip(str(profile.not_recorded))
    assert profile.not_recorded == ()
    blas = next(one for one in profile.libraries if one.path.startswith("numpy.libs/libscipy_openblas"))
    share = sum(one.touched for one in blas.segments) / sum(one.pages for one in blas.segments)
    assert 0.001 < share < 0.25

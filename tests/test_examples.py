"""The examples, built as a user builds them, answer from the zip as they do from a plain install."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from slimpack import target
from slimpack.resolve import interpreters

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
MIB = 1024 * 1024
OWN_RUNTIME = f"python3.{sys.version_info.minor}"

IRIS_LIMIT = {"Amazon Linux 2023": 180 * MIB, "Amazon Linux 2": 185 * MIB}
"""Bytes; the older system holds numpy and scipy to older releases, which are larger."""

TENSORFLOW_RUNTIMES = ("python3.12", "python3.13", "python3.11")
"""Where TensorFlow's wheels are; the first is the one that the README's figures are for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    example: str
    runtime: str
    exit_code: int
    report: str
    bundle: Path
    lock: Path
    manifest: dict[str, Any]

    @property
    def unzipped(self) -> int:
        """Bytes."""
        with zipfile.ZipFile(self.bundle) as archive:
            return sum(entry.file_size for entry in archive.infolist())


def python(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs our own interpreter."""
    return subprocess.run([sys.executable, *arguments], capture_output=True, encoding="utf-8", check=False)


def build(example: str, runtime: str, folder: Path) -> Built:
    """Trains the example's model if nobody has yet, then builds its bundle into the folder."""
    app = EXAMPLES / example / "app"
    if not any(app.glob("model.*")):
        trained = python(EXAMPLES / "prepare.py", example, "--runtime", runtime)
        assert trained.returncode == 0, trained.stderr
    bundle = folder / f"{example}.zip"
    options: list[str | Path] = ["--source", app, "--runtime", runtime, "--output", bundle]
    run = python("-m", "slimpack", "build", EXAMPLES / example / "requirements.txt", *options)
    assert run.returncode in {0, 1}, run.stderr
    return Built(
        example=example,
        runtime=runtime,
        exit_code=run.returncode,
        report=run.stdout,
        bundle=bundle,
        lock=folder / f"pylock.{example}.toml",
        manifest=json.loads((folder / f"{example}.manifest.json").read_text(encoding="utf-8")),
    )


def ask(
    bundle: Path, runtime: str, event: Path, expect: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs ``app.handler`` of a zip or folder with a bare interpreter of the runtime."""
    expected: list[str | Path] = [] if expect is None else ["--expect", expect]
    return python(EXAMPLES / "run_from_zip.py", bundle, "--runtime", runtime, "--event", event, *expected)


def answer(built: Built) -> str:
    """Returns what the handler answers from the zip, as JSON text, which also has to be what is expected."""
    folder = EXAMPLES / built.example
    run = ask(built.bundle, built.runtime, folder / "event.json", folder / "expected.json")
    assert run.returncode == 0, run.stderr
    return run.stdout


def answer_of_plain_install(built: Built) -> str:
    """Returns what the handler answers where pip has installed the same lock, nothing taken out."""
    interpreter = interpreters.find(target.make(runtime=built.runtime).python)
    with tempfile.TemporaryDirectory() as scratch:
        plain = Path(scratch) / "plain"
        pip = ["-m", "pip", "--python", str(interpreter), "--disable-pip-version-check"]
        options: list[str | Path] = [
            "--no-compile",
            "--only-binary=:all:",
            "--target",
            plain,
            "--requirement",
            built.lock,
        ]
        installed = python(*pip, "install", *options)
        assert installed.returncode == 0, installed.stderr
        shutil.copytree(EXAMPLES / built.example / "app", plain, dirs_exist_ok=True)
        run = ask(plain, built.runtime, EXAMPLES / built.example / "event.json")
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    """A folder that is gone after the tests: pytest would keep three of them, a gigabyte each."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def iris(scratch: Path) -> Built:
    return build("iris-knn", interpreters.newest_runtime(), scratch)


@pytest.fixture(scope="module")
def tensorflow(scratch: Path) -> Built:
    found = (name for name in TENSORFLOW_RUNTIMES if interpreters.find(target.make(runtime=name).python))
    runtime = next(found, None)
    if runtime is None:
        pytest.skip(f"no interpreter of {', '.join(TENSORFLOW_RUNTIMES)}")
    return build("tensorflow-mnist", runtime, scratch)


@pytest.mark.network
@pytest.mark.heavy
def test_iris_fits_and_answers_from_its_zip_like_a_plain_install(iris: Built) -> None:
    assert iris.exit_code == 0
    assert (
        iris.unzipped == iris.manifest["totals"]["size_after"] < IRIS_LIMIT[iris.manifest["target"]["system"]]
    )
    assert answer(iris) == answer_of_plain_install(iris)


@pytest.mark.network
@pytest.mark.heavy
def test_iris_refuses_an_event_without_a_measurement(iris: Built, tmp_path: Path) -> None:
    event = tmp_path / "event.json"
    event.write_text('{"sepal_length": 5.1, "sepal_width": "wide"}', encoding="utf-8")

    run = ask(iris.bundle, iris.runtime, event)

    assert run.returncode == 1
    assert "ValueError: sepal_width must be a positive number of centimetres, not 'wide'" in run.stderr


@pytest.mark.network
@pytest.mark.heavy
def test_tensorflow_is_over_the_limit_and_its_account_says_so(tensorflow: Built) -> None:
    totals = tensorflow.manifest["totals"]
    files = tensorflow.manifest["files"]
    owners = {one["name"]: one["size_after"] for one in tensorflow.manifest["distributions"]}

    assert tensorflow.exit_code == 1
    assert "OVER the limit" in tensorflow.report
    assert "SLP301" in {finding["code"] for finding in tensorflow.manifest["findings"]}
    assert totals["size_before"] > 1_380 * MIB
    assert tensorflow.unzipped == totals["size_after"] <= 825 * MIB
    assert sum(file["size_before"] for file in files) == totals["size_before"]
    assert max(owners, key=lambda name: owners[name]) == "tensorflow-cpu"
    assert {file["owner"] for file in files} <= {*owners, "(app)", "(slimpack)"}


@pytest.mark.network
@pytest.mark.heavy
def test_tensorflow_answers_from_its_zip_like_a_plain_install_digit_for_digit(tensorflow: Built) -> None:
    assert answer(tensorflow) == answer_of_plain_install(tensorflow)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A bundle whose handler tells what it can import."""
    bundle = tmp_path / "tiny.zip"
    source = """
        import importlib.util

        def handler(event, context):
            print("a line for the log")
            return {name: importlib.util.find_spec(name) is not None for name in event["names"]}
    """
    with zipfile.ZipFile(bundle, "w") as archive:
        archive.writestr("app.py", "\n".join(line[8:] for line in source.splitlines()))
        archive.writestr("beside.py", "")
    (tmp_path / "event.json").write_text('{"names": ["beside", "json", "pip", "slimpack"]}', encoding="utf-8")
    return bundle


def test_a_handler_is_run_with_the_bundle_and_the_standard_library_only(tiny: Path) -> None:
    run = ask(tiny, OWN_RUNTIME, tiny.with_name("event.json"))

    assert run.returncode == 0
    assert json.loads(run.stdout) == {"beside": True, "json": True, "pip": False, "slimpack": False}


@pytest.mark.parametrize(
    ("expected", "exit_code", "verdict"),
    [
        ({"beside": True}, 0, "as "),
        ({"beside": True, "pip": True}, 1, "differs from "),
        ({"missing": None}, 1, "differs from "),
    ],
)
def test_an_answer_must_have_what_is_expected_and_may_have_more(
    tiny: Path, expected: dict[str, Any], exit_code: int, verdict: str
) -> None:
    expect = tiny.with_name("expected.json")
    expect.write_text(json.dumps(expected), encoding="utf-8")

    run = ask(tiny, OWN_RUNTIME, tiny.with_name("event.json"), expect)

    assert run.returncode == exit_code
    assert f"app.handler on {OWN_RUNTIME}: {verdict}" in run.stderr

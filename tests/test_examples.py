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
from slimpack.elf.layout import is_elf
from slimpack.resolve import interpreters

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
MIB = 1024 * 1024

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
    manifest: dict[str, Any]

    @property
    def unzipped(self) -> int:
        """Bytes."""
        with zipfile.ZipFile(self.bundle) as archive:
            return sum(entry.file_size for entry in archive.infolist())


def python(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs our own interpreter."""
    return subprocess.run([sys.executable, *arguments], capture_output=True, encoding="utf-8", check=False)


def build(example: str, runtime: str, folder: Path, *more: str) -> Built:
    """Trains the example's model if nobody has yet, then builds its bundle into the folder, and runs it."""
    app = EXAMPLES / example / "app"
    if not any(app.glob("model.*")):
        trained = python(EXAMPLES / "prepare.py", example, "--runtime", runtime)
        assert trained.returncode == 0, trained.stderr
    bundle = folder / f"{example}.zip"
    options: list[str | Path] = [
        "--source",
        app,
        "--runtime",
        runtime,
        "--output",
        bundle,
        *call(example),
        *more,
    ]
    run = python("-m", "slimpack", "build", EXAMPLES / example / "requirements.txt", *options)
    assert run.returncode in {0, 1}, run.stderr
    assert bundle.exists(), run.stdout
    return Built(
        example=example,
        runtime=runtime,
        exit_code=run.returncode,
        report=run.stdout,
        bundle=bundle,
        manifest=json.loads((folder / f"{example}.manifest.json").read_text(encoding="utf-8")),
    )


def call(example: str) -> tuple[str | Path, ...]:
    """Returns the options that hand an example its event and tell what it shall answer."""
    folder = EXAMPLES / example
    return (
        *("--handler", "app.handler"),
        *("--event", folder / "event.json", "--expect", folder / "expected.json"),
    )


def invoke(built: Built, event: object, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Runs an example's handler from its zip with an event of the test's own."""
    file = folder / "own.json"
    file.write_text(json.dumps(event), encoding="utf-8")
    arguments: list[str | Path] = [built.bundle, "--handler", "app.handler", "--event", file, *options]
    return python("-m", "slimpack", "invoke", *arguments)


def holds(built: Built) -> bool:
    """Whether everything that was run before the bundle was handed over did what it should."""
    expected = json.loads((EXAMPLES / built.example / "expected.json").read_text(encoding="utf-8"))
    record = built.manifest["verification"]
    events = [one for one in record["tried"] if one["what"] == "event"]
    return (
        [json.loads(answer) for answer in record["answers"]] == [expected]
        and all(one.get("problem") is None for one in events)
        and not {"SLP401", "SLP402", "SLP403", "SLP404", "SLP405"} & codes(built)
    )


def codes(built: Built) -> set[str]:
    """Returns the codes of all findings."""
    return {finding["code"] for finding in built.manifest["findings"]}


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
def test_iris_fits_and_answers_as_expected(iris: Built) -> None:
    assert iris.exit_code == 0
    bytecode = sum(one["size_after"] for one in iris.manifest["files"] if one.get("rule") == "bytecode")
    assert iris.unzipped == iris.manifest["totals"]["size_after"]
    assert iris.unzipped - bytecode < IRIS_LIMIT[iris.manifest["target"]["system"]]
    assert bytecode > 20 * MIB
    assert iris.manifest["bytecode"]["lies"] == "beside"
    assert holds(iris)


@pytest.mark.network
@pytest.mark.heavy
def test_iris_does_what_a_plain_install_does(iris: Built, tmp_path: Path) -> None:
    event = {"sepal_length": 6.0, "sepal_width": 2.7, "petal_length": 5.0, "petal_width": 1.7}

    run = invoke(iris, event, tmp_path, "--against", "plain")

    assert run.returncode == 0, run.stdout + run.stderr
    assert "no difference in answers, exceptions and what was printed" in run.stdout


@pytest.mark.network
@pytest.mark.heavy
def test_iris_refuses_an_event_without_a_measurement(iris: Built, tmp_path: Path) -> None:
    run = invoke(iris, {"sepal_length": 5.1, "sepal_width": "wide"}, tmp_path)

    assert run.returncode == 1
    assert "ValueError: sepal_width must be a positive number of centimetres, not 'wide'" in run.stdout


@pytest.mark.network
@pytest.mark.heavy
def test_tensorflow_fits_packed_and_its_account_says_how(tensorflow: Built) -> None:
    totals = tensorflow.manifest["totals"]
    files = tensorflow.manifest["files"]
    owners = {one["name"]: one["size_after"] for one in tensorflow.manifest["distributions"]}

    packed = {file["path"]: file["packed"] for file in files if file["decision"] == "packed"}
    largest = packed["tensorflow/libtensorflow_cc.so.2"]

    assert tensorflow.exit_code == 0, tensorflow.report
    assert "packing of shared objects" in tensorflow.report
    assert tensorflow.manifest["bytecode"]["lies"] == "packed"
    assert sum(one.get("archived") is not None for one in packed.values()) > 1_000
    fit = tensorflow.manifest["fit"]
    assert fit["usage"] == "what app imports"
    forms = {one["path"]: one["form"] for one in fit["choices"]}
    assert forms["tensorflow/libtensorflow_cc.so.2"] == "warm"
    assert forms["tensorflow/python/eager/context.py"] in {"compiled", "raw", "hot"}
    assert "SLP301" not in codes(tensorflow)
    assert holds(tensorflow)
    assert totals["size_before"] > 1_380 * MIB
    assert tensorflow.unzipped == totals["size_after"] < 262_144_000
    assert largest["stored"] < 140_000_000
    assert largest["loaded"] > 500_000_000
    assert largest["symbols"] > 400_000
    assert sum(file["size_before"] for file in files) == totals["size_before"]
    assert max(owners, key=lambda name: owners[name]) == "tensorflow-cpu"
    assert {file["owner"] for file in files} <= {*owners, "(app)", "(slimpack)"}


@pytest.mark.network
@pytest.mark.heavy
def test_tensorflow_answers_like_a_plain_install_digit_for_digit(tensorflow: Built, tmp_path: Path) -> None:
    run = invoke(tensorflow, {"index": 7, "probabilities": True}, tmp_path, "--against", "plain")

    assert run.returncode == 0, run.stdout + run.stderr
    assert '"probabilities": [' in run.stdout
    assert "no difference in answers, exceptions and what was printed" in run.stdout


@pytest.mark.network
@pytest.mark.heavy
@pytest.mark.suites
@pytest.mark.parametrize("runtime", TENSORFLOW_RUNTIMES)
def test_tensorflow_fits_with_defaults_whatever_the_runtime(runtime: str, scratch: Path) -> None:
    if interpreters.find(target.make(runtime=runtime).python) is None:
        pytest.skip(f"no interpreter of {runtime}")
    built = build("tensorflow-mnist", runtime, scratch)

    assert built.exit_code == 0, built.report
    assert built.unzipped < 262_144_000
    assert holds(built)
    run = invoke(built, {"index": 3, "probabilities": True}, scratch, "--against", "plain")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "no difference in answers, exceptions and what was printed" in run.stdout


@pytest.mark.network
@pytest.mark.heavy
@pytest.mark.suites
def test_all_of_tensorflow_packed_takes_a_quarter_and_answers_alike(scratch: Path) -> None:
    built = build("tensorflow-mnist", TENSORFLOW_RUNTIMES[0], scratch, "--pack", "all")
    files = {one["path"]: one for one in built.manifest["files"]}
    with zipfile.ZipFile(built.bundle) as archive:
        native = {}
        for entry in archive.infolist():
            with archive.open(entry) as file:
                if is_elf(file.read(64)):
                    native[entry.filename] = entry.file_size

    assert built.exit_code == 0, built.report
    assert holds(built)
    assert sum(files[path]["size_before"] for path in native if path in files) > 700 * MIB
    assert sum(native.values()) < 200 * MIB
    assert native["tensorflow/libtensorflow_cc.so.2"] < 140_000_000


TOGETHER = """
import digits
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

frame = pd.DataFrame({"x": np.arange(40.0), "y": np.arange(40.0) ** 2, "g": ["a", "b"] * 20})
nearest = KNeighborsClassifier(3).fit(frame[["x", "y"]].to_numpy(), frame["g"])
linear = LogisticRegression().fit(frame[["x"]].to_numpy(), frame["y"] > 300)

def handler(event, context):
    means = frame.groupby("g")["y"].mean().to_dict()
    answers = [nearest.predict([[3.2, 9.0]]).tolist(), bool(linear.predict([[39.0]])[0])]
    return {"digit": digits.handler(event, context), "answers": answers, "means": means}
"""


@pytest.mark.network
@pytest.mark.heavy
@pytest.mark.suites
def test_tensorflow_scikit_learn_pandas_and_pillow_fit_together(tensorflow: Built, scratch: Path) -> None:
    app = scratch / "together" / "app"
    shutil.copytree(EXAMPLES / "tensorflow-mnist" / "app", app)  # its model is there: its bundle was built
    (app / "app.py").rename(app / "digits.py")
    (app / "app.py").write_text(TOGETHER, encoding="utf-8")
    requirements = app.parent / "requirements.txt"
    requirements.write_text("tensorflow-cpu\nscikit-learn\npandas\npillow\n", encoding="utf-8")
    bundle = app.parent / "together.zip"
    event = EXAMPLES / "tensorflow-mnist" / "event.json"
    given: list[str | Path] = ["--source", app, "--runtime", tensorflow.runtime, "--output", bundle]
    run: list[str | Path] = ["--handler", "app.handler", "--event", event]

    built = python("-m", "slimpack", "build", requirements, *given, *run)
    compared = python("-m", "slimpack", "invoke", bundle, *run, "--against", "plain")

    assert built.returncode == 0, built.stdout + built.stderr
    with zipfile.ZipFile(bundle) as archive:
        assert sum(entry.file_size for entry in archive.infolist()) < 262_144_000
    assert compared.returncode == 0, compared.stdout + compared.stderr
    assert "no difference in answers, exceptions and what was printed" in compared.stdout

"""Bundles of real packages lose nothing: they answer and import like a plain install of the same lock."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import imports
import pytest

from slimpack import target
from slimpack.elf import layout
from slimpack.references import module_name
from slimpack.resolve import interpreters

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.network, pytest.mark.heavy]

MIB = 1024 * 1024

CLASSICAL = """
numpy scipy pandas scikit-learn matplotlib pillow seaborn statsmodels scikit-image sympy networkx plotly h5py tables
lxml pyarrow polars duckdb dask
"""
BOOSTED = "xgboost lightgbm catboost numba shap jax nltk spacy gensim"
DEEP = "tensorflow-cpu keras onnxruntime transformers tokenizers grpcio protobuf opencv-python-headless boto3"

TAKE_PUBLIC_MODULES = {
    "pyarrow/library-copies",
    "sympy/benchmarks",
    "tensorflow/own-setup",
    "tensorflow/test-extension",
    "transformers/modular-sources",
    "xgboost/testing",
}
"""Rules that take modules whose names do not say that they are tests; each rule's reason says who needs them."""

BOOST = """
import json, sys
sys.path.insert(0, sys.argv[1])
import numpy, pandas, xgboost
random = numpy.random.default_rng(7)
table = pandas.DataFrame(random.normal(size=(400, 6)), columns=list("abcdef"))
table["g"] = pandas.Categorical(random.choice(["x", "y", "z"], size=400))
label = (table.a * 2 + table.b ** 2 + random.normal(size=400) > 0).astype(int)
data = xgboost.DMatrix(table, label, enable_categorical=True)
model = xgboost.train({"nthread": 1, "seed": 7, "objective": "binary:logistic"}, data, num_boost_round=12)
again = xgboost.Booster({"nthread": 1}, model_file=model.save_raw())
assert numpy.array_equal(again.predict(data), model.predict(data))
print(json.dumps({
    "predictions": model.predict(data).tolist(),
    "contributions": model.predict(data, pred_contribs=True)[0].tolist(),
    "mean": table.groupby("g", observed=True).mean().round(12).to_dict(),
}))
"""

GRADIENT = """
import json, sys
sys.path.insert(0, sys.argv[1])
import lightgbm, numpy
random = numpy.random.default_rng(7)
table = random.normal(size=(400, 6))
label = (table[:, 0] * 2 + table[:, 1] ** 2 > 0).astype(int)
settings = {"objective": "binary", "num_threads": 2, "deterministic": True, "seed": 7, "verbose": -1}
model = lightgbm.train(settings, lightgbm.Dataset(table, label), num_boost_round=12)
from sklearn.linear_model import LogisticRegression
maps = open("/proc/self/maps").read().splitlines()
print(json.dumps({
    "predictions": model.predict(table).tolist(),
    "logistic": LogisticRegression().fit(table, label).predict_proba(table).tolist(),
    "libgomp": sorted({line.split()[-1] for line in maps if "libgomp" in line}),
}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A bundle that was built as a folder."""

    python: Path
    """A bare interpreter of its runtime."""
    bundle: Path
    """The folder."""
    exit_code: int
    manifest: dict[str, Any]

    @property
    def files(self) -> dict[str, dict[str, Any]]:
        return {file["path"]: file for file in self.manifest["files"]}

    @property
    def folder(self) -> Path:
        return self.bundle.parent

    @property
    def lock(self) -> Path:
        return self.folder / f"pylock.{self.bundle.name}.toml"

    def plain(self) -> Path:
        """Installs what the lock names, as pip does it, and returns the folder."""
        tree = self.folder / "plain"
        cache = Path(slimpack("cache", "dir").stdout.strip())
        wheels = [cache / "wheels" / one["sha256"] / one["wheel"] for one in self.manifest["distributions"]]
        options = ("--no-deps", "--no-index", "--no-compile", "--quiet", "--target", tree)
        pip = ("-m", "pip", "--python", self.python, "--disable-pip-version-check")
        subprocess.run([sys.executable, *pip, "install", *options, *wheels], check=True)
        return tree

    def answer(self, tree: Path, program: str) -> Any:  # noqa: ANN401 -- any JSON value
        """Returns what a program prints that is given a folder of packages, with an environment like Lambda's."""
        libraries = [tree, tree / "lib", self.bundle / "lib"]  # a plain install borrows the repaired libgomp
        run = subprocess.run(
            [self.python, "-I", "-S", "-B", "-c", program, tree],
            env={"LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries)), "PATH": os.defpath},
            cwd=self.folder,
            stdout=subprocess.PIPE,
            check=True,
        )
        return json.loads(run.stdout.splitlines()[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A bundle and a plain install of the same lock."""

    built: Stack
    plain: Path
    requested: frozenset[str]
    """Names of the distributions that the requirements name."""
    paths: dict[str, list[str]]
    """Files of the plain install by distribution, without those that the bundle drops as a whole."""


def slimpack(*arguments: str | Path, **settings: Any) -> subprocess.CompletedProcess[str]:  # noqa: ANN401 -- subprocess's own
    return subprocess.run(
        [sys.executable, "-m", "slimpack", *arguments],
        capture_output=True,
        encoding="utf-8",
        check=False,
        **settings,
    )


@contextmanager
def stack(requirements: str, runtime: str = "python3.12", *options: str) -> Iterator[Stack]:
    """Builds a bundle, which is gone afterwards: pytest would keep three of them, a gigabyte each."""
    python = interpreters.find(target.make(runtime=runtime).python)
    if python is None:
        pytest.skip(f"no interpreter for {runtime}")
    with tempfile.TemporaryDirectory(prefix="slimpack-stack-") as scratch:
        wanted, bundle = Path(scratch, "requirements.txt"), Path(scratch, "bundle")
        wanted.write_text("\n".join(requirements.split()), encoding="utf-8")
        plain = ("--bytecode", "none")  # sources are read
        run = slimpack("build", wanted, "--output", bundle, "--runtime", runtime, *plain, *options)
        assert run.returncode in {0, 1}, run.stderr
        yield Stack(
            python=python,
            bundle=bundle,
            exit_code=run.returncode,
            manifest=json.loads(Path(scratch, "bundle.manifest.json").read_text(encoding="utf-8")),
        )


def taken(built: Stack) -> dict[str, str]:
    """Returns the modules that the bundle does not have, with the rules that took them."""
    removed = ((path, file["rule"]) for path, file in built.files.items() if file["decision"] == "removed")
    return {module: rule for path, rule in removed if (module := module_name(path))}


def dropped_whole(built: Stack) -> set[str]:
    """Returns the distributions of which no more is left than dist-info: nothing on Lambda imports them."""
    left = {
        file["owner"]
        for path, file in built.files.items()
        if file["decision"] != "removed" and not path.partition("/")[0].endswith(".dist-info")
    }
    return {one["name"] for one in built.manifest["distributions"]} - left


def test_xgboost_with_pandas_fits_and_predicts_like_a_plain_install() -> None:
    with stack("xgboost pandas") as built:
        assert built.exit_code == 0
        assert built.answer(built.bundle, BOOST) == built.answer(built.plain(), BOOST)
        assert built.manifest["totals"]["size_before"] > 600 * MIB
        assert built.manifest["totals"]["size_after"] < 200 * MIB


def test_lightgbm_gets_libgomp_from_the_wheel_that_carries_it_under_another_name() -> None:
    with stack("lightgbm scikit-learn") as built:
        repaired = built.files["lib/libgomp.so.1"]
        answer = built.answer(built.bundle, GRADIENT)
        plain = built.answer(built.plain(), GRADIENT)

        assert built.exit_code == 0
        assert repaired["decision"] == "added"
        assert "lightgbm/lib/lib_lightgbm.so" in repaired["note"]
        assert all(path.startswith(f"{built.bundle}/") for path in answer["libgomp"])
        assert f"{built.bundle}/lib/libgomp.so.1" in answer["libgomp"]
        assert {**answer, "libgomp": None} == {**plain, "libgomp": None}


def test_lightgbm_without_a_wheel_that_carries_libgomp_fails_and_says_what_to_do() -> None:
    with stack("lightgbm") as built:
        missing = [one for one in built.manifest["findings"] if one["code"] == "SLP101"]

        assert built.exit_code == 1
        assert [one["place"] for one in missing] == ["lightgbm/lib/lib_lightgbm.so"]
        assert "libgomp.so.1" in missing[0]["message"]
        assert "scikit-learn" in missing[0]["fix"]


def test_numpy_before_2_3_keeps_the_tests_that_its_testing_module_imports() -> None:
    program = """
import json, sys
sys.path.insert(0, sys.argv[1])
import numpy.testing, sklearn.linear_model
numpy.testing.assert_allclose(sklearn.linear_model.LinearRegression().fit([[0], [1]], [0, 1]).predict([[2]]), [2])
print(json.dumps(sorted(name for name in sys.modules if name.startswith("numpy._core.tests"))))
"""
    with stack("scikit-learn numpy<2.3", "python3.11") as built:
        needed = "numpy/_core/tests/_natype.py"
        overruled = built.files[needed]["overruled"]
        tests = [path for path in built.files if path.startswith("numpy/_core/tests/test_")]

        assert built.exit_code == 0
        assert overruled["rule"] == "numpy/tests"
        assert overruled["by"]["path"] == "numpy/testing/_private/utils.py"
        line = (built.bundle / overruled["by"]["path"]).read_text().splitlines()[overruled["by"]["line"] - 1]
        assert "numpy._core.tests._natype" in line
        assert tests
        assert all(built.files[path]["decision"] == "removed" for path in tests)
        assert built.answer(built.bundle, program) == built.answer(built.plain(), program)


def test_a_bundle_for_arm64_that_is_built_here_is_for_arm64_throughout() -> None:
    with stack("scikit-learn pandas xgboost", "python3.12", "--arch", "arm64") as built:
        contents = (path.read_bytes() for path in built.bundle.rglob("*") if path.is_file())
        machines = {layout.read(one).header.machine for one in contents if layout.is_elf(one)}
        wheels = {
            one["wheel"].removesuffix(".whl").rpartition("-")[2] for one in built.manifest["distributions"]
        }

        assert machines == {layout.EM_AARCH64}
        assert all(tags == "any" or tags.endswith("aarch64") for tags in wheels)
        assert not [one for one in built.manifest["findings"] if one["code"].startswith("SLP10")]


@pytest.fixture(scope="module", params=[CLASSICAL, BOOSTED, DEEP], ids=["classical", "boosted", "deep"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Together the three lists name 37 packages."""
    requested = frozenset(request.param.split())
    with stack(request.param) as built:
        plain = built.plain()
        gone = dropped_whole(built)
        paths = {owner: some for owner, some in imports.installed(plain).items() if owner not in gone}
        yield Pair(built=built, plain=plain, requested=requested, paths=paths)


def test_what_a_plain_install_imports_the_bundle_imports(pair: Pair) -> None:
    names = {owner: imports.top_level(paths) for owner, paths in pair.paths.items()}
    wanted = sorted({name for some in names.values() for name in some})

    expected = imports.each_alone(pair.built.python, pair.plain, wanted)
    found = imports.each_alone(pair.built.python, pair.built.bundle, wanted)

    assert all(names[owner] for owner in pair.requested)
    assert imports.differences(expected, found) == {}
    assert sum(outcome == imports.WORKS for outcome in expected.values()) > 0.9 * len(expected)


def test_every_public_module_imports_as_in_a_plain_install(pair: Pair) -> None:
    different: dict[str, tuple[str, str]] = {}

    for paths in pair.paths.values():
        modules = imports.public(paths)
        expected = imports.all_together(pair.built.python, pair.plain, modules)
        found = imports.all_together(pair.built.python, pair.built.bundle, modules)
        different |= imports.differences(expected, found)

    rules = taken(pair.built)
    assert {
        name: ends for name, ends in different.items() if rules.get(name) not in TAKE_PUBLIC_MODULES
    } == {}


def zip_elsewhere(built: Stack, place: str, *, umask: int, jobs: int, **environment: str) -> bytes:
    """Builds a zip from a copy of the lock, with nothing cached, and returns its bytes."""
    folder = built.folder / place
    folder.mkdir(parents=True)
    shutil.copy(built.lock, folder)
    options = ("--runtime", "python3.12", "--no-cache", "--jobs", str(jobs))
    run = slimpack(
        *("build", built.lock.name, "--output", "app.zip", *options),
        cwd=folder,
        umask=umask,
        env=os.environ | environment,
    )
    assert run.returncode == 0, run.stderr
    return (folder / "app.zip").read_bytes()


def test_the_same_lock_gives_the_same_zip_on_another_machine() -> None:
    with stack("scikit-learn pandas") as built:
        here = zip_elsewhere(built, "here", umask=0o022, jobs=1, PYTHONHASHSEED="1", TZ="UTC")
        there = zip_elsewhere(
            built, "some/where/else", umask=0o077, jobs=2, PYTHONHASHSEED="2", TZ="Asia/Tokyo", LC_ALL="C"
        )

    assert here == there

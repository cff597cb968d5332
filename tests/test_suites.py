"""Test suites that we did not write: packages whose shared objects are packed pass and fail as plain ones do."""

from __future__ import annotations

import json
import logging
import os
import re
import resource
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from slimpack import target
from slimpack.elf import layout
from slimpack.resolve import interpreters

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

pytestmark = [pytest.mark.suites, pytest.mark.network]

RUNTIME = "python3.12"
"""What is installed for, if there is an interpreter for it: the newest that all packages here have wheels for."""

TOOLS = ("hypothesis", "pytest", "pytest-repeat", "pytest-reportlog", "pytest-timeout")
"""What runs the suites; it is in the same tree as the package."""

SMALL = 128 * 1024
"""Bytes; a smaller file may gain nothing from being packed."""

LONGEST = 3600
"""Seconds for one run of a suite."""

AGAIN = 100
"""How often a test that ended differently is run on the plain tree, to see if it ends this way or that way there."""

Mode = Literal["plain", "demand", "eager"]

ENVIRONMENTS: dict[Mode, dict[str, str]] = {
    "plain": {},
    "demand": {"SLIMPACK_PAGER_STATS": "1"},
    "eager": {"SLIMPACK_PAGER_STATS": "1", "SLIMPACK_PAGER": "eager"},
}

COUNT = "slimpack_count"
COUNT_CODE = '''
"""Has the pager count in this process only: tests look at what the processes that they start print."""

import os

def pytest_collection_finish():  # all is imported, so the pager has read it
    os.environ.pop("SLIMPACK_PAGER_STATS", None)
'''

LOG = logging.getLogger(__name__)

LOADED = re.compile(r"^slimpack: loaded (\d+) blocks", re.MULTILINE)
ADDRESS = re.compile(r"0x[0-9a-f]+")
REPEATED = re.compile(rf"\[\d+-{AGAIN}\]$|-\d+-{AGAIN}(?=\]$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """Tests that come with a package."""

    requirements: tuple[str, ...]
    """The package, and what else its tests need."""
    tests: tuple[str, ...]
    """Files and folders of tests, below the tree or below what ``source`` or ``files`` bring."""
    least: int
    """So many tests have to pass, or something is wrong with how they are run."""
    pruned: int = 0
    """So many symbols at least have to go; none where no library exports enough names of C++ to be worth it."""
    options: tuple[str, ...] = ()
    """What else pytest is told."""
    source: str | None = None
    """Distribution whose source archive has the tests, if wheels leave them out."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Files of tests by name, for tests that come as a library."""


ONNX_CODE = """
import onnx.backend.test
import onnxruntime.backend

conformance = onnx.backend.test.BackendTest(onnxruntime.backend, __name__)
conformance.exclude("_cuda")  # they need a GPU
conformance.exclude("OnnxBackendRealModelTest")  # they download their models
globals().update(conformance.test_cases)
"""

FAST = ("-m", "not slow")
"""What these packages run by default when they are asked to test themselves."""

SUITES = {
    "numpy": Suite(
        requirements=("numpy",),
        tests=("numpy/fft", "numpy/linalg", "numpy/polynomial", "numpy/random"),
        options=FAST,
        least=2000,
    ),
    "numpy-core": Suite(
        requirements=("numpy",), tests=("numpy/_core", "numpy/lib", "numpy/ma"), options=FAST, least=40_000
    ),
    "scipy": Suite(
        requirements=("scipy",),
        tests=(
            "scipy/cluster",
            "scipy/fftpack",
            "scipy/integrate",
            "scipy/interpolate",
            "scipy/linalg/tests/test_decomp.py",
            "scipy/optimize/tests/test_linprog.py",
            "scipy/optimize/tests/test_minpack.py",
            "scipy/spatial",
            "scipy/special",
        ),
        options=FAST,
        least=4000,
    ),
    "pandas": Suite(
        requirements=("pandas",),
        tests=(
            "pandas/tests/groupby/aggregate",
            "pandas/tests/io/parser",
            "pandas/tests/libs",
            "pandas/tests/reshape/merge",
            "pandas/tests/tslibs",
            "pandas/tests/window",
        ),
        options=("-m", "not slow and not network and not db"),
        least=10_000,
    ),
    "scikit-learn": Suite(
        requirements=("scikit-learn",),
        tests=(
            "sklearn/linear_model/tests/test_sgd.py",
            "sklearn/neighbors",
            "sklearn/svm",
            "sklearn/tree",
        ),
        least=2000,
    ),
    "pyarrow": Suite(
        requirements=("pyarrow", "pandas"),
        tests=("pyarrow/tests",),
        # It compares what threads have allocated that read ahead: it fails on the plain tree too, 1 to 3 times in 100.
        options=(
            "--deselect",
            "pyarrow/tests/test_csv.py::TestThreadedStreamingCSVRead::test_batch_lifetime",
        ),
        least=5000,
        pruned=10_000,
    ),
    "h5py": Suite(requirements=("h5py",), tests=("h5py/tests",), least=800),
    "pillow": Suite(requirements=("pillow", "numpy"), tests=("Tests",), source="pillow", least=4000),
    "onnxruntime": Suite(
        requirements=("onnxruntime", "onnx"),
        tests=("test_onnx.py",),
        files={"test_onnx.py": ONNX_CODE},
        least=1500,
        pruned=1000,
    ),
}
QUICK = "numpy"
"""The one that runs with every change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a run of a suite ended."""

    outcomes: dict[str, tuple[str, ...]]
    """What became of each test, by its id; several if ids differ in an address only."""
    exit_code: int
    """Of pytest; negative if it was killed by a signal."""
    blocks: int
    """That the pager has loaded in pytest's own process."""
    seconds: float
    """Of processor time."""
    end: str
    """The last that it wrote."""

    @property
    def counts(self) -> Counter[str]:
        """Number of tests by what became of them."""
        several = (outcome.partition(" ")[0] for ends in self.outcomes.values() for outcome in ends)
        return Counter(several)

    def __str__(self) -> str:
        counts = ", ".join(f"{number} {outcome}" for outcome, number in self.counts.most_common())
        return f"{counts}; {self.blocks} blocks, {self.seconds:.0f} s"


@dataclass(frozen=True, kw_only=True)
class Trees:
    """A package and its tests as pip installs them, and the same with packed shared objects."""

    suite: Suite
    python: Path
    """A bare interpreter."""
    folder: Path
    """Holds ``plain``, ``packed``, and ``tests`` if no wheel brings them."""
    manifest: dict[str, Any]
    """Of the packed tree."""

    @cached_property
    def plain(self) -> Ran:
        """The suite on the plain tree."""
        return self.run("plain", "plain")

    @cached_property
    def demand(self) -> Ran:
        """The suite on the packed tree, what is cold loaded when it is touched."""
        return self.run("demand", "demand")

    @cached_property
    def eager(self) -> Ran:
        """The suite on the packed tree, all of a library loaded with it."""
        return self.run("eager", "eager")

    def run(self, mode: Mode, name: str, tests: Collection[str] = (), *options: str) -> Ran:
        """Runs the suite.

        Args:
            mode: On what.
            name: Of the folder to run in.
            tests: Ids of some of its tests; all of them if there are none.
            options: What pytest is told besides.
        """
        tree = self.folder / ("plain" if mode == "plain" else "packed")
        root = self.folder / "tests" if (self.folder / "tests").exists() else tree
        work = self.folder / f"run-{name}"
        log = work / "log.jsonl"
        work.mkdir()
        (work / "pytest.ini").write_text("[pytest]\n")
        (work / f"{COUNT}.py").write_text(COUNT_CODE)
        # Who handles SIGSEGV before the pager, as faulthandler does, has it load all at once.
        plugins = ("-p", "no:cacheprovider", "-p", "no:faulthandler", "-p", COUNT)
        command = ("-P", "-m", "pytest", "-q", "--tb=line", *plugins)
        places = ("-c", work / "pytest.ini", "--rootdir", root, "--basetemp", work / "tmp")
        watched = ("--timeout=900", "--hypothesis-seed=0", f"--report-log={log}")
        which = (f"{root}/{test}" for test in tests or self.suite.tests)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [self.python, *command, *places, *watched, *self.suite.options, *options, *which],
            env={
                "HOME": str(work),
                "LANG": "C.UTF-8",
                "OMP_NUM_THREADS": "1",  # more would wait for each other, and sum up in another order
                "OPENBLAS_NUM_THREADS": "1",
                "PATH": os.defpath,
                "PYTHONHASHSEED": "0",
                "PYTHONNOUSERSITE": "1",
                "PYTHONPATH": f"{tree}{os.pathsep}{work}",
                "TZ": "UTC",
                **ENVIRONMENTS[mode],
            },
            cwd=work if root == tree else root,  # those of a source archive open files below it
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=LONGEST,
            check=False,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return Ran(
            outcomes=outcomes(log.read_text(encoding="utf-8").replace(str(tree), "") if log.exists() else ""),
            exit_code=done.returncode,
            blocks=int((LOADED.findall(done.stderr) or ["0"])[-1]),
            seconds=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
            end=done.stdout[-4000:] + done.stderr[-4000:],
        )


def outcomes(log: str) -> dict[str, tuple[str, ...]]:
    """Returns what became of each test that a report log tells of."""
    found = defaultdict[str, list[str]](list)
    for line in log.splitlines():
        report = json.loads(line)
        phase, outcome = report.get("when", "collect"), report.get("outcome")
        if outcome is None or (outcome == "passed" and phase != "call"):
            continue
        if "wasxfail" in report:
            outcome = {"skipped": "xfailed", "passed": "xpassed"}.get(outcome, outcome)
        elif outcome == "failed":
            outcome = f"failed in {phase}, {raised(report['longrepr'])}"
        found[ADDRESS.sub("0x", report["nodeid"])].append(outcome)
    return {test: tuple(sorted(several)) for test, several in found.items()}


def raised(failure: Any) -> str:  # noqa: ANN401 -- pytest's own, as JSON
    """Returns the first word of why a test failed: an exception's name, or that of a statement."""
    message = failure["reprcrash"]["message"] if isinstance(failure, dict) else str(failure)
    return message.split(maxsplit=1)[0]


def differences(one: Ran, other: Ran) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Returns the tests that ended differently, or ran in one of two runs only, with their ends."""
    tests = sorted(one.outcomes.keys() | other.outcomes.keys())
    ends = {test: (one.outcomes.get(test, ()), other.outcomes.get(test, ())) for test in tests}
    return {test: both for test, both in ends.items() if both[0] != both[1]}


def unsteady(trees: Trees, tests: Collection[str], mode: Mode) -> set[str]:
    """Returns those tests that end this way or that way on the plain tree when they are run again and again."""
    if not tests:
        return set()
    ends = {test: set(trees.plain.outcomes.get(test, ())) for test in tests}
    functions = {test.partition("[")[0] for test in tests}  # repetition changes what is in brackets
    again = trees.run("plain", f"{mode}-again", functions, f"--count={AGAIN}")
    assert again.exit_code in {0, 1}, again.end
    for test, several in again.outcomes.items():
        if (name := REPEATED.sub("", test)) in ends:
            ends[name].update(several)
    LOG.info("again, on the plain tree: %s", ends)
    return {test for test, several in ends.items() if len(several) > 1}


def run(*command: str | Path) -> str:
    """Runs our own interpreter and returns what it printed."""
    done = subprocess.run([sys.executable, *command], capture_output=True, encoding="utf-8", check=False)
    assert done.returncode in {0, 1}, done.stderr  # 1: over the limit of Lambda, which is not at stake here
    return done.stdout


def install(suite: Suite, runtime: str, folder: Path) -> Trees:
    """Packs what the suite needs, and has pip install the same wheels."""
    python = interpreters.find(target.make(runtime=runtime).python)
    assert python is not None
    wanted = folder / "requirements.txt"
    wanted.write_text("\n".join((*suite.requirements, *TOOLS)))
    options = ("--runtime", runtime, "--pack", "all", "--bytecode", "none", "--disable", "*")  # sources stay
    run("-m", "slimpack", "build", wanted, "--output", folder / "packed", *options, "--no-verify", "--quiet")
    manifest = json.loads((folder / "packed.manifest.json").read_text(encoding="utf-8"))
    cache = Path(run("-m", "slimpack", "cache", "dir").strip())
    wheels = [cache / "wheels" / one["sha256"] / one["wheel"] for one in manifest["distributions"]]
    pip = ("-m", "pip", "--python", python, "--disable-pip-version-check", "--quiet")
    run(*pip, "install", "--no-deps", "--no-index", "--target", folder / "plain", *wheels)
    if suite.source is not None:
        version = next(one["version"] for one in manifest["distributions"] if one["name"] == suite.source)
        source = ("--no-binary", suite.source, "--dest", folder / "source", f"{suite.source}=={version}")
        run(*pip, "download", "--no-deps", *source)
        (archive,) = (folder / "source").iterdir()
        with tarfile.open(archive) as opened:
            opened.extractall(folder / "unpacked", filter="data")
        (unpacked,) = (folder / "unpacked").iterdir()
        unpacked.rename(folder / "tests")
    for name, content in suite.files.items():
        (folder / "tests").mkdir(exist_ok=True)
        (folder / "tests" / name).write_text(content)
    return Trees(suite=suite, python=python, folder=folder, manifest=manifest)


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=() if name == QUICK else pytest.mark.heavy) for name in SUITES],
)
def trees(request: pytest.FixtureRequest) -> Iterator[Trees]:
    """Both trees of a suite, which are gone afterwards: pytest would keep three of them, a gigabyte each."""
    known = interpreters.find(target.make(runtime=RUNTIME).python)
    runtime = RUNTIME if known else interpreters.newest_runtime()
    with tempfile.TemporaryDirectory(prefix="slimpack-suite-") as scratch:
        yield install(SUITES[request.param], runtime, Path(scratch))


def test_every_shared_object_is_packed_unless_it_is_small(trees: Trees) -> None:
    packed = [file["packed"] for file in trees.manifest["files"] if file["decision"] == "packed"]
    left = {
        file["path"]
        for file in trees.manifest["files"]
        if file["decision"] in {"kept", "compacted"}
        and file["size_after"] >= SMALL
        and layout.is_elf((trees.folder / "packed" / file["path"]).read_bytes())
    }

    before, stored = (sum(one[size] for one in packed) >> 20 for size in ("size_before", "stored"))
    symbols = sum(one["symbols"] for one in packed)
    LOG.info("%d packed, %d -> %d MiB, %d of their symbols pruned", len(packed), before, stored, symbols)

    assert packed
    assert left == set()
    assert symbols >= trees.suite.pruned


@pytest.mark.parametrize("mode", ["demand", "eager"])
def test_packed_libraries_pass_and_fail_as_plain_ones_do(
    trees: Trees, mode: Literal["demand", "eager"]
) -> None:
    packed = trees.demand if mode == "demand" else trees.eager
    LOG.info("plain: %s; %s: %s", trees.plain, mode, packed)

    passed, least = trees.plain.counts["passed"], trees.suite.least
    assert passed >= least, trees.plain.end
    assert {trees.plain.exit_code, packed.exit_code} <= {0, 1}, packed.end  # 1: tests failed
    different = differences(trees.plain, packed)
    steady = different.keys() - unsteady(trees, different, mode)
    assert {test: different[test] for test in sorted(steady)} == {}, packed.end


def test_on_demand_fewer_blocks_are_loaded_than_there_are(trees: Trees) -> None:
    assert 0 < trees.demand.blocks < trees.eager.blocks

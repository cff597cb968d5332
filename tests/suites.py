"""Test suites that we did not write: a package's tests, on the package as pip installs it and as slimpack packs it."""

from __future__ import annotations

import json
import logging
import os
import re
import resource
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter, defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from packed_tree import Python, pack_tree

from slimpack import target
from slimpack.resolve import interpreters

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

RUNTIME = "python3.12"
"""What is installed for, if there is an interpreter for it: the newest that all packages here have wheels for."""

TOOLS = ("hypothesis", "pytest", "pytest-repeat", "pytest-reportlog", "pytest-timeout")
"""What runs the suites; it is in the same tree as the package, and as packed."""

LONGEST = 3600
"""Seconds for one run of a suite."""

AGAIN = 100
"""How often a test that ended differently is run on the plain tree, to see if it ends this way or that way there."""

FAST = ("-m", "not slow")
"""What these packages run by default when they are asked to test themselves."""

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

NOT_IMPORTED = re.compile(r"bin/|[^/]+\.(dist-info|data)/")
"""Folders whose files nobody imports, so there is no bytecode for them and nothing to pack."""

PACKED, TOO_SMALL = "packed", "not packed: it is too small"
"""What becomes of most modules."""

MOST = 0.9
"""Share of modules that have to be packed, of those that are not too small: a ``conftest.py`` may name many files."""


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
    data: tuple[str, ...] = ()
    """Folders below what ``source`` brings with Python files that tests read: in a bundle, they would be the app's."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Files of tests by name, for tests that come as a library."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a run of a suite ended."""

    outcomes: dict[str, tuple[str, ...]]
    """What became of each test, by its id, with the lines of source that a failure went through; several if ids differ
    in an address only."""
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
    """A package and its tests as pip installs them, and the same with packed shared objects and modules."""

    suite: Suite
    python: Path
    """A bare interpreter."""
    folder: Path
    """Holds ``plain`` and ``packed``; and, if no wheel brings the tests, ``plain-tests`` and ``packed-tests``."""
    manifest: dict[str, Any]
    """Of the packed tree."""
    packed_tests: int
    """Modules of ``packed-tests`` that are packed."""

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

    @cached_property
    def modules(self) -> dict[str, str]:
        """What became of each module of the packed tree: ``packed``, or why it is not."""
        return {
            file["path"]: file["decision"] if file["decision"] == "packed" else file.get("note", "")
            for file in self.manifest["files"]
            if file["path"].endswith(".py")
            and file["decision"] in {"kept", "packed"}
            and not NOT_IMPORTED.match(file["path"])
        }

    @property
    def share(self) -> float:
        """Of the modules that are not too small for it, how many are packed."""
        counts = Counter(self.modules.values())
        return counts[PACKED] / (counts.total() - counts[TOO_SMALL])

    def told_of_modules(self) -> str:
        """Returns how many modules are packed, tests among them, and why others are not."""
        counts = Counter(self.modules.values())
        tests = sum(why == PACKED and "/tests/" in path for path, why in self.modules.items())
        why = ", ".join(f"{number} {reason}" for reason, number in counts.most_common())
        return f"{why}; {tests} of them are tests, {self.packed_tests} more are packed beside"

    def run(self, mode: Mode, name: str, tests: Collection[str] = (), *options: str) -> Ran:
        """Runs the suite.

        Args:
            mode: On what.
            name: Of the folder to run in.
            tests: Ids of some of its tests; all of them if there are none.
            options: What pytest is told besides.
        """
        tree = self.folder / ("plain" if mode == "plain" else "packed")
        beside = tree.with_name(f"{tree.name}-tests")
        root = beside if beside.exists() else tree
        work = self.folder / f"run-{name}"
        log = work / "log.jsonl"
        work.mkdir()
        (work / "pytest.ini").write_text("[pytest]\n")
        (work / f"{COUNT}.py").write_text(COUNT_CODE)
        # Who handles SIGSEGV before the pager, as faulthandler does, has it load all at once.
        plugins = ("-p", "no:cacheprovider", "-p", "no:faulthandler", "-p", COUNT)
        # To rewrite the assertions of a test module, pytest compiles what is in its file: of a packed one, the stub.
        command = ("-P", "-m", "pytest", "-q", "--tb=short", "--assert=plain", *plugins)
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
        told = log.read_text(encoding="utf-8") if log.exists() else ""
        for place in (root, tree, f"../{root.name}", f"../{tree.name}"):
            told = told.replace(f"{place}/", "")
        return Ran(
            outcomes=outcomes(told),
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
        outcome = " at ".join((outcome, *trace(report["longrepr"])))
        found[ADDRESS.sub("0x", report["nodeid"])].append(ADDRESS.sub("0x", outcome))
    return {test: tuple(sorted(several)) for test, several in found.items()}


def raised(failure: Any) -> str:  # noqa: ANN401 -- pytest's own, as JSON
    """Returns the first word of why a test failed: an exception's name, or that of a statement."""
    message = failure["reprcrash"]["message"] if isinstance(failure, dict) else str(failure)
    return message.split(maxsplit=1)[0]


def trace(failure: Any) -> Iterator[str]:  # noqa: ANN401 -- pytest's own, as JSON
    """Yields where a test failed, or was skipped: file, line, and what stands there."""
    match failure:
        case [path, line, _]:
            yield f"{path}:{line}"
        case {"reprtraceback": {"reprentries": entries}}:
            for entry in (one["data"] for one in entries):
                place = entry.get("reprfileloc") or {"path": "", "lineno": ""}
                source = (line.strip() for line in entry["lines"] if not line.startswith("E "))
                yield f"{place['path']}:{place['lineno']} {' '.join(source)}"


def differences(one: Ran, other: Ran) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Returns the tests that ended differently, or ran in one of two runs only, with their ends."""
    tests = sorted(one.outcomes.keys() | other.outcomes.keys())
    ends = {test: (one.outcomes.get(test, ()), other.outcomes.get(test, ())) for test in tests}
    return {test: both for test, both in ends.items() if both[0] != both[1]}


def steady_differences(trees: Trees, mode: Mode) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Returns the tests that end differently on the packed tree, and always the same way on the plain one."""
    different = differences(trees.plain, trees.demand if mode == "demand" else trees.eager)
    unsteady = _unsteady(trees, different, mode)
    return {test: ends for test, ends in different.items() if test not in unsteady}


def _unsteady(trees: Trees, tests: Collection[str], mode: Mode) -> set[str]:
    """Returns those tests that end this way or that way on the plain tree when they are run again and again."""
    if not tests:
        return set()
    LOG.info("different: %s", tests)
    ends = {test: set(trees.plain.outcomes.get(test, ())) for test in tests}
    functions = {test.partition("[")[0] for test in tests}  # repetition changes what is in brackets
    again = trees.run("plain", f"{mode}-again", functions, f"--count={AGAIN}")
    assert again.exit_code in {0, 1}, again.end
    for test, several in again.outcomes.items():
        if (name := REPEATED.sub("", test)) in ends:
            ends[name].update(several)
    LOG.info("again, on the plain tree: %s", ends)
    return {test for test, several in ends.items() if len(several) > 1}


@contextmanager
def installed(suite: Suite) -> Iterator[Trees]:
    """Installs what a suite needs into both trees; afterwards they are gone, for each may take a gigabyte."""
    known = interpreters.find(target.make(runtime=RUNTIME).python)
    runtime = RUNTIME if known else interpreters.newest_runtime()
    with tempfile.TemporaryDirectory(prefix="slimpack-suite-") as scratch:
        yield _install(suite, runtime, Path(scratch))


def _install(suite: Suite, runtime: str, folder: Path) -> Trees:
    """Packs what the suite needs, and has pip install the same wheels."""
    version = target.make(runtime=runtime).python
    python = interpreters.find(version)
    assert python is not None
    wanted = folder / "requirements.txt"
    wanted.write_text("\n".join((*suite.requirements, *TOOLS)))
    options = ("--runtime", runtime, "--pack", "all", "--bytecode", "all", "--disable", "*")  # tests stay
    _run("-m", "slimpack", "build", wanted, "--output", folder / "packed", *options, "--no-verify", "--quiet")
    manifest = json.loads((folder / "packed.manifest.json").read_text(encoding="utf-8"))
    cache = Path(_run("-m", "slimpack", "cache", "dir").strip())
    wheels = [cache / "wheels" / one["sha256"] / one["wheel"] for one in manifest["distributions"]]
    pip = ("-m", "pip", "--python", python, "--disable-pip-version-check", "--quiet")
    _run(*pip, "install", "--no-deps", "--no-index", "--target", folder / "plain", *wheels)
    beside = folder / "plain-tests"
    if suite.source is not None:
        release = next(one["version"] for one in manifest["distributions"] if one["name"] == suite.source)
        source = ("--no-binary", suite.source, "--dest", folder / "source", f"{suite.source}=={release}")
        _run(*pip, "download", "--no-deps", *source)
        (archive,) = (folder / "source").iterdir()
        with tarfile.open(archive) as opened:
            opened.extractall(folder / "unpacked", filter="data")
        (unpacked,) = (folder / "unpacked").iterdir()
        for one in (folder / "plain").iterdir():  # the package itself would be found there first
            shutil.rmtree(unpacked / one.name, ignore_errors=True)
        unpacked.rename(beside)
    for name, content in suite.files.items():
        beside.mkdir(exist_ok=True)
        (beside / name).write_text(content)
    packed_tests = 0
    if beside.exists():
        shutil.copytree(beside, folder / "packed-tests", symlinks=True)
        made = pack_tree(folder / "packed-tests", Python(version=version, executable=python), data=suite.data)
        packed_tests = len(made.packed)
    return Trees(suite=suite, python=python, folder=folder, manifest=manifest, packed_tests=packed_tests)


def _run(*command: str | Path) -> str:
    """Runs our own interpreter and returns what it printed."""
    done = subprocess.run([sys.executable, *command], capture_output=True, encoding="utf-8", check=False)
    assert done.returncode in {0, 1}, done.stderr  # 1: over the limit of Lambda, which is not at stake here
    return done.stdout

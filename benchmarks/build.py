"""Measures builds of the examples beside ``pip install --target``, ``strip`` and ``zip -9``.

README.md beside this file says what is measured, and how. The table goes to stdout, progress to stderr.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median
from typing import IO, TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from start import tell, warn_if_busy

from slimpack import manifest, target
from slimpack.report.words import mebibytes
from slimpack.resolve import interpreters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ROOT = Path(__file__).parent.parent
EXAMPLES = ("iris-knn", "tensorflow-mnist")
RUNTIME = "python3.12"
"""What is built for, if there is an interpreter for it: the newest that TensorFlow has wheels for."""

FIRST, SECOND, PEER = "slimpack, first build", "slimpack, second build", "pip, strip, zip -9"
SHARE = 0.5
"""The aim: what the first build may take of the peer's time."""
SECONDS = 3.0
"""The aim: what the second build may take."""

SAMPLE_SECONDS = 0.2
BLOCK = 512
"""Bytes of a block in ``ru_oublock`` (getrusage(2))."""
PARENT, RESIDENT = 1, 21
"""Fields of ``/proc/<pid>/stat`` behind the name (proc_pid_stat(5)): the parent, and resident pages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A program that is run and measured."""

    name: str
    """What it does, in a word."""
    command: tuple[str, ...]
    """Program and arguments."""
    folder: Path = ROOT
    """Where it runs."""
    fine: frozenset[int] = frozenset({0})
    """Exit codes with which its work is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a program and everything that it started took."""

    wall: float
    """Seconds from its start to its end."""
    processor: float
    """Seconds of user and system time."""
    largest: float
    """Most resident bytes of any one process; never less than this benchmark's own, some 40 MiB."""
    together: float
    """Most resident bytes of all processes at a time, as sampled; what they share counts for each."""
    written: float
    """Bytes that were given to file systems on disks, also of files that did not last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a contender."""

    steps: dict[str, Usage]
    """What each step took, in order."""
    unzipped: int
    """Bytes of the bundle's files."""
    zipped: int | None
    """Bytes of the zip; None if there was no zip program."""

    @property
    def total(self) -> Usage:
        """What the steps took, one after the other."""
        taken = self.steps.values()
        return Usage(
            wall=sum(one.wall for one in taken),
            processor=sum(one.processor for one in taken),
            largest=max(one.largest for one in taken),
            together=max(one.together for one in taken),
            written=sum(one.written for one in taken),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """The place of a benchmark and what it is about."""

    example: str
    """Name of the example."""
    runtime: str
    """Lambda runtime to build for."""
    interpreter: Path
    """Python of the runtime's version, for the peer."""
    work: Path
    """Folder that the example has to itself; on a disk, or no writes are counted."""
    log: IO[bytes]
    """Takes what the programs say."""

    @property
    def requirements(self) -> Path:
        """The requirements of the example."""
        return ROOT / "examples" / self.example / "requirements.txt"

    @property
    def cache(self) -> Path:
        """The folder of slimpack's cache."""
        return self.work / "cache"

    def warm_up(self) -> None:
        """Sees to it that all have every wheel at hand."""
        self.first_build()
        into = self.work / "downloaded"
        self._run([_pip(self.interpreter, "download", "--dest", str(into), "-r", str(self.requirements))])
        shutil.rmtree(into)

    def first_build(self) -> Run:
        """Builds where nothing was resolved or built before, though the wheels are cached."""
        shutil.rmtree(self.cache / "bundles", ignore_errors=True)
        _empty(self.work / "slimpack")
        return self._slimpack()

    def second_build(self) -> Run:
        """Builds again what was just built."""
        return self._slimpack()

    def peer(self) -> Run:
        """Does what people do by hand."""
        tree, bundle = self.work / "peer" / "tree", self.work / "peer" / "bundle.zip"
        _empty(self.work / "peer")
        steps = self._run(_peer_steps(self, tree, bundle))
        sizes = [path.lstat().st_size for path in tree.rglob("*") if not path.is_dir()]
        return Run(
            steps=steps, unzipped=sum(sizes), zipped=bundle.stat().st_size if bundle.exists() else None
        )

    def _slimpack(self) -> Run:
        output = self.work / "slimpack" / "bundle.zip"
        command = (
            *(sys.executable, "-P", "-m", "slimpack", "build", str(self.requirements), "--quiet"),
            *("--output", str(output), "--cache-dir", str(self.cache), "--runtime", self.runtime),
        )
        # 1: the bundle is over the limit, and built all the same
        steps = self._run([Step(name="build", command=command, folder=self.work, fine=frozenset({0, 1}))])
        account = output.with_name("bundle.manifest.json")
        totals = manifest.from_json(account.read_bytes(), where=str(account)).totals
        return Run(steps=steps, unzipped=totals.size_after, zipped=output.stat().st_size)

    def _run(self, steps: Sequence[Step]) -> dict[str, Usage]:
        return {step.name: measure(step, self.log) for step in steps}


def _peer_steps(bench: Bench, tree: Path, bundle: Path) -> list[Step]:
    """Returns the steps of the peer that this machine has programs for."""
    steps = [_pip(bench.interpreter, "install", "--target", str(tree), "-r", str(bench.requirements))]
    find, strip, zipper = shutil.which("find"), shutil.which("strip"), shutil.which("zip")
    if find and strip:
        command = (find, str(tree), "-type", "f", "-name", "*.so*", "-exec", strip, "{}", "+")
        # 1: strip did not understand one of the files, and went on with the others
        steps.append(Step(name="strip", command=command, fine=frozenset({0, 1})))
    if zipper:
        steps.append(Step(name="zip", command=(zipper, "-9", "-qr", str(bundle), "."), folder=tree))
    return steps


def _pip(interpreter: Path, *arguments: str) -> Step:
    """Returns a step of slimpack's own pip on behalf of another Python."""
    pip = (sys.executable, "-P", "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet")
    return Step(name="pip", command=(*pip, "--python", str(interpreter), *arguments))


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def measure(step: Step, log: IO[bytes]) -> Usage:
    """Runs a program to its end.

    Processor time, the largest process and blocks written are the kernel's own account (getrusage(2)) of the
    program and of all descendants that were waited for. Nothing that earlier runs wrote is still on its way
    to the disk when it starts.

    Args:
        step: What to run.
        log: Takes what it says.
    """
    log.truncate(0)
    log.seek(0)
    os.sync()
    started = time.monotonic()
    child = subprocess.Popen(
        step.command, cwd=step.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
    )
    with _sampling(child.pid) as resident:
        _, status, used = os.wait4(child.pid, 0)
    wall = time.monotonic() - started
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode not in step.fine:
        log.seek(0)
        said = log.read()[-2000:].decode(errors="replace")
        message = f"{' '.join(step.command)} ended with exit code {child.returncode}:\n{said}"
        raise SystemExit(message)
    return Usage(
        wall=wall,
        processor=used.ru_utime + used.ru_stime,
        largest=used.ru_maxrss * 1024,
        together=max(*resident, used.ru_maxrss * 1024),
        written=used.ru_oublock * BLOCK,
    )


@contextmanager
def _sampling(pid: int) -> Iterator[list[int]]:
    """Notes, as long as the block runs, the resident bytes of a process and its descendants."""
    found = [0]
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(SAMPLE_SECONDS):
            found.append(_resident(pid))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


def _resident(pid: int) -> int:
    children: dict[int, list[int]] = {}
    pages: dict[int, int] = {}
    for place in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            values = place.read_bytes().rpartition(b")")[2].split()
            one = int(place.parent.name)
            pages[one] = int(values[RESIDENT])
            children.setdefault(int(values[PARENT]), []).append(one)
    total, family = 0, [pid]
    while family:
        one = family.pop()
        total += pages.get(one, 0)
        family += children.get(one, [])
    return total * os.sysconf("SC_PAGESIZE")


def medians(runs: Sequence[Run]) -> Usage:
    """Returns the medians over runs, each field for itself."""
    totals = [run.total for run in runs]
    return Usage(
        **{field.name: median(getattr(one, field.name) for one in totals) for field in fields(Usage)}
    )


def compete(bench: Bench, rounds: int) -> dict[str, list[Run]]:
    """Returns the runs of each contender; they take turns, and who begins takes turns too."""
    runs: dict[str, list[Run]] = {FIRST: [], SECOND: [], PEER: []}
    tell(f"{bench.example}: warming up, which may download the wheels")
    bench.warm_up()
    ours: list[tuple[str, Callable[[], Run]]] = [(FIRST, bench.first_build), (SECOND, bench.second_build)]
    for number in range(rounds):
        turns = [*ours, (PEER, bench.peer)] if number % 2 == 0 else [(PEER, bench.peer), *ours]
        for name, turn in turns:
            run = turn()
            runs[name].append(run)
            tell(
                f"{bench.example}: run {number + 1} of {rounds}, {name}: "
                + ", ".join(f"{step} {usage.wall:.1f} s" for step, usage in run.steps.items())
            )
    return runs


def table(title: str, runs: dict[str, list[Run]]) -> Table:
    """Returns what the runs of an example took, in medians, a column for each contender."""
    shown = Table(title=title, title_justify="left", box=box.HORIZONTALS)
    shown.add_column("", no_wrap=True)
    for name in runs:
        shown.add_column(name.replace(", ", ",\n", 1), justify="right")
    taken = [medians(those) for those in runs.values()]
    last = [those[-1] for those in runs.values()]
    rows: list[tuple[str, list[str]]] = [
        ("wall time", [f"{one.wall:.1f} s" for one in taken]),
        ("processor time", [f"{one.processor:.1f} s" for one in taken]),
        ("memory, largest process", [_size(one.largest) for one in taken]),
        ("memory, all processes", [_size(one.together) for one in taken]),
        ("written to disk", [_size(one.written) for one in taken]),
        ("bundle, unzipped", [_size(one.unzipped) for one in last]),
        ("bundle, zipped", [_size(one.zipped) for one in last]),
    ]
    for name, cells in rows:
        shown.add_row(name, *cells)
    return shown


def verdict(runs: dict[str, list[Run]]) -> str:
    """Returns how the medians compare with what slimpack aims for."""
    taken = {name: medians(those) for name, those in runs.items()}
    steps = {name: median(run.steps[name].wall for run in runs[PEER]) for name in runs[PEER][0].steps}
    return (
        f"first build: {taken[FIRST].wall / taken[PEER].wall:.0%} of the peer's wall time, "
        f"{taken[FIRST].processor / taken[PEER].processor:.0%} of its processor time (aim: {SHARE:.0%})\n"
        f"second build: {taken[SECOND].wall:.1f} s (aim: under {SECONDS:g} s)\n"
        f"peer: {', '.join(f'{name} {wall:.1f} s' for name, wall in steps.items())}"
    )


def _size(size: float | None) -> str:
    return "-" if size is None else mebibytes(round(size))


def _warn() -> None:
    """Tells what makes the comparison less than whole."""
    for program, package in (("strip", "binutils"), ("zip", "zip")):
        if not shutil.which(program):
            tell(f"warning: no `{program}` was found (package {package}): the peer does without that step")
    warn_if_busy()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0].replace("``", "`"))
    parser.add_argument("--example", action="append", choices=EXAMPLES, help="may be repeated; default: both")
    parser.add_argument(
        "--runs", type=int, default=3, help="rounds, of which the medians are shown (default: 3)"
    )
    parser.add_argument(
        "--runtime", choices=target.runtimes(), help=f"default: {RUNTIME}, else the newest here"
    )
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "benchmarks", help="folder, on a disk")
    parser.add_argument("--json", action="store_true", help="print all runs as JSON instead of a table")
    arguments = parser.parse_args()
    if arguments.runs < 1:
        parser.error("--runs has to be 1 or more")
    if arguments.runtime is None:
        arguments.runtime = RUNTIME if _interpreter(RUNTIME) else interpreters.newest_runtime()
    arguments.interpreter = _interpreter(arguments.runtime)
    if arguments.interpreter is None:
        parser.error(f"the peer needs an interpreter for {arguments.runtime}, and none was found")
    return arguments


def _interpreter(runtime: str) -> Path | None:
    return interpreters.find(target.make(runtime=runtime).python)


def main() -> None:
    """Runs the benchmark."""
    arguments = _arguments()
    runtime, interpreter = arguments.runtime, arguments.interpreter
    _warn()
    results: dict[str, dict[str, list[Run]]] = {}
    for example in arguments.example or EXAMPLES:
        work = (arguments.work / example).absolute()
        work.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile() as log:
            bench = Bench(example=example, runtime=runtime, interpreter=interpreter, work=work, log=log)
            results[example] = compete(bench, arguments.runs)
    if arguments.json:
        plain = {
            example: {
                name: {"medians": asdict(medians(those)), "runs": [asdict(run) for run in those]}
                for name, those in runs.items()
            }
            for example, runs in results.items()
        }
        print(json.dumps({"runtime": runtime, "processors": os.cpu_count(), "examples": plain}, indent=1))
        return
    console = Console(width=80, highlight=False)
    for example, runs in results.items():
        console.print(table(f"{example}, {runtime}, medians of {arguments.runs}", runs))
        console.print(verdict(runs), markup=False)
        console.print()


if __name__ == "__main__":
    main()

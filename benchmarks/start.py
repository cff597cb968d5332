"""Measures cold starts of the examples: what slimpack builds beside plain installs of the same lock.

README.md beside this file says what is measured, and how. The table goes to stdout, progress to stderr.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

from slimpack import target
from slimpack.cache import open_cache
from slimpack.compare import difference
from slimpack.manifest import from_json
from slimpack.report.words import duration, mebibytes
from slimpack.resolve import interpreters
from slimpack.runtime import client, interpreter, unpack
from slimpack.runtime.environment import Function
from slimpack.runtime.invoke import run
from slimpack.runtime.stage import Stage
from slimpack.verify.plain import put

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from slimpack.model import Target

ROOT = Path(__file__).parent.parent
EXAMPLES = ("iris-knn", "tensorflow-mnist")
RUNTIME = "python3.12"
"""What is built for, if there is an interpreter for it: the newest that TensorFlow has wheels for."""

CONTENDERS = ("plain install", "plain, with bytecode", "bundle", "bundle, with profile")
"""What is started: what a zip of ``pip install --target`` has, the same after compileall, and what slimpack builds."""

CACHES = ("warm", "dropped")
"""Whether the files of the tree are in the page cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One cold start and its first event."""

    init: float
    """Seconds from the start of the process until it first asks for an event."""
    event: float
    """Seconds from the event's arrival until its answer."""
    peak: int
    """Bytes: the most memory that the function had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """An example, as each contender has it."""

    example: str
    """Its name."""
    built: Target
    """What it is built for."""
    trees: dict[str, Path]
    """Folders by contender."""

    def rounds(self, runs: int, work: Path) -> Iterator[tuple[str, dict[str, Start]]]:
        """Yields starts of all contenders in turn, with each state of the page cache, all of them cold.

        Args:
            runs: How many of each.
            work: Folder for the runtime client.

        Raises:
            SystemExit: A start failed, or an answer is another one.
        """
        folder = ROOT / "examples" / self.example
        event, expected = (
            json.loads((folder / name).read_text()) for name in ("event.json", "expected.json")
        )
        with ExitStack() as stack:
            stages = {name: self._stage(tree, work, stack) for name, tree in self.trees.items()}
            for stage in stages.values():
                _started(stage, event, expected)  # and all of them is in the page cache
            for number in range(runs):
                for cache in CACHES:
                    found = {}
                    for name, stage in stages.items():
                        if cache == "dropped":
                            drop(self.trees[name])
                        found[name] = _started(stage, event, expected)
                    words = ", ".join(f"{name} {duration(one.init)}" for name, one in found.items())
                    tell(f"{self.example}: run {number + 1} of {runs}, {cache}: {words}")
                    yield cache, found

    def _stage(self, tree: Path, work: Path, stack: ExitStack) -> Stage:
        scratch = stack.enter_context(unpack.scratch())
        with open_cache(work / "cache") as cache:
            folder = client.provide(self.built, scratch / "runtime", cache=cache, sdk=False, progress=tell)
        return Stage(
            target=self.built,
            tree=tree,
            interpreter=interpreter.choose(self.built, None),
            client=folder,
            scratch=scratch,
            function=Function(handler="app.handler", memory_mb=3008),
            owned=False,
            copied=False,
        )


def _started(stage: Stage, event: object, expected: object) -> Start:
    """Starts a function cold, hands it its event and checks the answer."""
    done = run(stage, [json.dumps(event).encode()])
    answer = done.outcomes[0].answer
    if done.failed or answer is None or difference(json.dumps(expected).encode(), answer) is not None:
        raise SystemExit(f"{stage.tree} answers {answer!r}: {done.outcomes[0].fault}")
    if done.starts[0].seconds is None or done.outcomes[0].seconds is None:
        raise SystemExit(f"{stage.tree} tells no times")
    return Start(init=done.starts[0].seconds, event=done.outcomes[0].seconds, peak=done.peak_bytes)


def drop(tree: Path) -> None:
    """Takes the files of a tree out of the page cache, and leaves all others there; posix_fadvise(2)."""
    os.sync()
    for path in tree.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def build(example: str, runtime: str, work: Path, sizes: Sequence[str]) -> Bench:
    """Builds an example for each contender.

    Args:
        example: Its name.
        runtime: Lambda runtime.
        work: Folder for it.
        sizes: Limits that bundles are built for besides, as ``--max-size`` takes them.
    """
    folder, made = ROOT / "examples" / example, work / example
    requirements, built = str(folder / "requirements.txt"), target.make(runtime=runtime)
    trees = {name: made / str(number) for number, name in enumerate(CONTENDERS)}
    options = (
        "--source",
        str(folder / "app"),
        "--runtime",
        runtime,
        "--handler",
        "app.handler",
        "--no-verify",
    )
    plain, compiled, bundle, profiled = trees.values()
    for tree in (plain, compiled):
        shutil.rmtree(tree, ignore_errors=True)
    tell(f"{example}: building")
    slimpack("build", requirements, *options, "--output", str(bundle), "--quiet")
    tell(f"{example}: tracing")
    call = ("--handler", "app.handler", "--event", str(folder / "event.json"), "--memory", "3008")
    profile = made / "profile.json"
    slimpack("trace", str(bundle), *call, "--output", str(profile), "--quiet")
    tell(f"{example}: building with the profile")
    slimpack("build", requirements, *options, "--profile", str(profile), "--output", str(profiled), "--quiet")
    for size in sizes:
        tell(f"{example}: building for {size}")
        tree = trees[f"bundle, {size}"] = made / size
        slimpack("build", requirements, *options, "--max-size", size, "--output", str(tree), "--quiet")
    tell(f"{example}: installing plainly")
    lock = bundle.parent / f"pylock.{bundle.name}.toml"
    with open_cache(work / "cache") as cache:
        put(
            plain,
            lock=lock,
            manifest=from_json((made / f"{bundle.name}.manifest.json").read_bytes(), where="manifest"),
            tree=bundle,
            target=built,
            cache=cache,
            jobs=os.cpu_count() or 1,
            progress=Silent(),
        )
    shutil.copytree(plain, compiled, symlinks=True)
    python = interpreter.choose(built, None).executable
    command = [str(python), "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", str(compiled)]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=False)  # some files are of other Pythons
    return Bench(example=example, built=built, trees=trees)


class Silent:
    """Hears of progress and keeps it for itself."""

    def phase(self, text: str) -> AbstractContextManager[None]:
        """Surrounds a phase."""
        tell(text)
        return nullcontext()

    def advance(self, done: int, total: int) -> None:
        """Hears how far it is."""

    def tell(self, words: str) -> None:
        """Hears what goes on."""


def slimpack(*arguments: str, fine: Sequence[int] = (0,)) -> str:
    """Runs the program and returns what it wrote to stdout."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "slimpack", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode not in fine:
        said = f"{done.stdout}{done.stderr}"[-2000:]
        message = f"slimpack {' '.join(arguments)} ended with exit code {done.returncode}:\n{said}"
        raise SystemExit(message)
    return done.stdout


def medians(starts: Sequence[Start]) -> Start:
    """Returns the medians over starts, each field for itself."""
    return Start(
        init=median(one.init for one in starts),
        event=median(one.event for one in starts),
        peak=int(median(one.peak for one in starts)),
    )


def table(title: str, starts: dict[str, list[Start]]) -> Table:
    """Returns the medians of an example, a column for each contender."""
    shown = Table(title=title, title_justify="left", box=box.HORIZONTALS)
    shown.add_column("", no_wrap=True)
    for name in starts:
        shown.add_column(name, justify="right")
    taken = [medians(those) for those in starts.values()]
    shown.add_row("init", *(duration(one.init) for one in taken))
    shown.add_row("first event", *(duration(one.event) for one in taken))
    shown.add_row("peak memory", *(mebibytes(one.peak) for one in taken))
    return shown


def tell(words: str) -> None:
    """Tells of progress."""
    print(words, file=sys.stderr)


def warn_if_busy() -> None:
    """Tells if the machine does other things as well."""
    load, processors = os.getloadavg()[0], os.cpu_count() or 1
    if load > processors / 4:
        tell(
            f"warning: the machine is busy (load {load:.1f}, {processors} processors): "
            "compare processor time rather than wall time"
        )


def python_of(runtime: str) -> Path:
    """Returns an interpreter of a runtime's version.

    Raises:
        SystemExit: There is none.
    """
    found = interpreters.find(target.make(runtime=runtime).python)
    if found is None:
        raise SystemExit(f"there is no interpreter for {runtime}")
    return Path(found)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--example", action="append", choices=EXAMPLES, help=f"may be repeated; default: {EXAMPLES[0]}"
    )
    parser.add_argument(
        "--runs", type=int, default=7, help="starts of each kind, of which the medians are shown (default: 7)"
    )
    parser.add_argument(
        "--runtime", choices=target.runtimes(), help=f"default: {RUNTIME}, else the newest here"
    )
    parser.add_argument(
        "--max-size",
        action="append",
        default=[],
        metavar="SIZE",
        help="a bundle for a lower limit, as 200MiB, starts as well; may be repeated",
    )
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "benchmarks", help="folder for bundles")
    parser.add_argument("--json", action="store_true", help="print all starts as JSON instead of a table")
    arguments = parser.parse_args()
    if arguments.runs < 1:
        parser.error("--runs has to be 1 or more")
    if arguments.runtime is None:
        found = interpreters.find(target.make(runtime=RUNTIME).python)
        arguments.runtime = RUNTIME if found else interpreters.newest_runtime()
    return arguments


def main() -> None:
    """Runs the benchmark."""
    arguments = _arguments()
    warn_if_busy()
    results: dict[str, dict[str, dict[str, list[Start]]]] = {}
    work = arguments.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    for example in arguments.example or EXAMPLES[:1]:
        bench = build(example, arguments.runtime, work, arguments.max_size)
        results[example] = {cache: {name: [] for name in bench.trees} for cache in CACHES}
        for cache, found in bench.rounds(arguments.runs, work):
            for name, start in found.items():
                results[example][cache][name].append(start)
    if arguments.json:
        plain = {
            example: {
                cache: {name: [asdict(start) for start in those] for name, those in each.items()}
                for cache, each in caches.items()
            }
            for example, caches in results.items()
        }
        print(json.dumps({"runtime": arguments.runtime, "examples": plain}, indent=1))
        return
    console = Console(width=100, highlight=False)
    for example, caches in results.items():
        for cache, each in caches.items():
            title = f"{example}, {arguments.runtime}, page cache {cache}, medians of {arguments.runs}"
            console.print(table(title, each))


if __name__ == "__main__":
    main()

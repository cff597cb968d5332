"""Measures cold starts of the examples: the bundle beside a plain install of the same lock.

README.md beside this file says what is measured, and how. The table goes to stdout, progress to stderr.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table

from slimpack import target
from slimpack.report.words import duration, mebibytes
from slimpack.resolve import interpreters

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parent.parent
EXAMPLES = ("iris-knn", "tensorflow-mnist")
RUNTIME = "python3.12"
"""What is built for, if there is an interpreter for it: the newest that TensorFlow has wheels for."""

PLAIN, BUNDLE = "plain install", "bundle"


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
    """An example, built."""

    example: str
    """Its name."""
    bundle: Path
    """The zip, with manifest and lock beside it."""

    @property
    def call(self) -> tuple[str, ...]:
        """What the program is told of handler and event."""
        return _call(ROOT / "examples" / self.example)

    def rounds(self, runs: int) -> Iterator[dict[str, Start]]:
        """Yields starts of both: the plain install, the bundle, the plain install and so on, all of them cold.

        ``slimpack invoke --against plain`` starts the plain install before and after the bundle, so that both see the
        same machine; of the two, the mean is taken.

        Args:
            runs: How many.

        Raises:
            SystemExit: A start failed, or an answer is another one.
        """
        for number in range(runs):
            command = ("invoke", str(self.bundle), *self.call, "--against", "plain", "--json")
            told = json.loads(slimpack(*command))
            found = {PLAIN: _start(told["against"]["medians"]), BUNDLE: _start(told["medians"])}
            tell(
                f"{self.example}: run {number + 1} of {runs}, "
                + ", ".join(f"{name} init {duration(one.init)}" for name, one in found.items())
            )
            yield found


def _call(folder: Path) -> tuple[str, ...]:
    event, expected = str(folder / "event.json"), str(folder / "expected.json")
    return ("--handler", "app.handler", "--event", event, "--expect", expected)


def _start(medians: dict[str, Any]) -> Start:
    return Start(init=medians["init_seconds"], event=medians["event_seconds"][0], peak=medians["peak_bytes"])


def build(example: str, runtime: str, work: Path) -> Bench:
    """Builds an example's bundle.

    Args:
        example: Its name.
        runtime: Lambda runtime.
        work: Folder for it.
    """
    folder, bundle = ROOT / "examples" / example, work / f"{example}.zip"
    tell(f"{example}: building")
    options = ("--source", str(folder / "app"), "--runtime", runtime, "--output", str(bundle), "--no-verify")
    # 1: the bundle is over the limit, and built all the same
    slimpack("build", str(folder / "requirements.txt"), *options, "--quiet", fine=(0, 1))
    return Bench(example=example, bundle=bundle)


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


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--example", action="append", choices=EXAMPLES, help=f"may be repeated; default: {EXAMPLES[0]}"
    )
    parser.add_argument(
        "--runs", type=int, default=5, help="starts, of which the medians are shown (default: 5)"
    )
    parser.add_argument(
        "--runtime", choices=target.runtimes(), help=f"default: {RUNTIME}, else the newest here"
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
    load, processors = os.getloadavg()[0], os.cpu_count() or 1
    if load > processors / 4:
        tell(f"warning: the machine is busy (load {load:.1f}, {processors} processors)")
    results: dict[str, dict[str, list[Start]]] = {}
    for example in arguments.example or EXAMPLES[:1]:
        bench = build(example, arguments.runtime, arguments.work.absolute())
        found = list(bench.rounds(arguments.runs))
        results[example] = {name: [one[name] for one in found] for name in (PLAIN, BUNDLE)}
    if arguments.json:
        plain = {
            example: {
                name: {"medians": asdict(medians(those)), "starts": [asdict(one) for one in those]}
                for name, those in starts.items()
            }
            for example, starts in results.items()
        }
        print(json.dumps({"runtime": arguments.runtime, "examples": plain}, indent=1))
        return
    console = Console(width=80, highlight=False)
    for example, starts in results.items():
        console.print(table(f"{example}, {arguments.runtime}, medians of {arguments.runs}", starts))


if __name__ == "__main__":
    main()

"""Measures what packing costs and gains: starts of an example with packed libraries, beside the same libraries plain.

README.md beside this file says what is measured, and how. The table goes to stdout, progress to stderr.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import subprocess
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median

from rich import box
from rich.console import Console
from rich.table import Table
from start import EXAMPLES, ROOT, RUNTIME, slimpack, tell

from slimpack import target
from slimpack.elf.pack import pack
from slimpack.report.words import duration, mebibytes
from slimpack.resolve import interpreters

CONTENDERS = {"not packed": "never", "packed": "all"}
"""Names, and what ``--pack`` is told."""
CACHES = ("warm", "dropped")
"""Whether the files of the tree are in the page cache."""

CHILD = """
import json, resource, sys, time
begun = time.monotonic()
sys.path.insert(0, sys.argv[1])
import app
answer = app.handler(json.load(open(sys.argv[2])), None)
seconds = time.monotonic() - begun
def number(file, name):
    return int(next(line for line in open(file) if line.startswith(name)).split()[1])
used = resource.getrusage(resource.RUSAGE_SELF)
print()
print(json.dumps({
    "answer": answer,
    "seconds": seconds,
    "processor": used.ru_utime + used.ru_stime,
    "peak": number("/proc/self/status", "VmHWM") * 1024,
    "read": number("/proc/self/io", "read_bytes"),
}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A start of the interpreter, the import of the handler, and its first answer."""

    seconds: float
    """From the beginning of the script to the answer."""
    processor: float
    """Seconds of processor time of the process, of all its threads."""
    peak: int
    """Bytes: the most that it had resident (``VmHWM``)."""
    read: int
    """Bytes that it caused to be read from disks (``read_bytes``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Largest:
    """How long the largest library takes to pack."""

    path: str
    """Place in the tree."""
    before: int
    """Bytes."""
    after: int
    """Bytes, packed; no symbols are pruned here."""
    seconds: float
    """From start to end, on all processors."""
    processor: float
    """Seconds of processor time."""


def build(example: str, runtime: str, work: Path) -> dict[str, Path]:
    """Builds an example's tree for each contender.

    Args:
        example: Its name.
        runtime: Lambda runtime.
        work: Folder for them.
    """
    folder, trees = ROOT / "examples" / example, {}
    for name, how in CONTENDERS.items():
        trees[name] = work / f"{example}-{how}"
        tell(f"{example}: building, {name}")
        options = (
            "--source",
            str(folder / "app"),
            "--runtime",
            runtime,
            "--pack",
            how,
            "--bytecode",
            "none",
            "--no-verify",
            "--quiet",
        )
        # 1: the bundle is over the limit, and built all the same
        slimpack(
            "build", str(folder / "requirements.txt"), "--output", str(trees[name]), *options, fine=(0, 1)
        )
    return trees


def drop(tree: Path) -> None:
    """Takes the files of a tree out of the page cache, and leaves all others there; posix_fadvise(2)."""
    os.sync()
    for path in tree.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def start(python: Path, tree: Path, event: Path) -> tuple[Start, object]:
    """Starts a tree's handler once, and returns what that took and the answer.

    Raises:
        SystemExit: It failed.
    """
    done = subprocess.run(
        [python, "-I", "-B", "-c", CHILD, tree, event],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{tree} failed:\n{done.stderr[-2000:]}")
    told = json.loads(done.stdout.splitlines()[-1])
    return Start(**{field.name: told[field.name] for field in fields(Start)}), told["answer"]


def rounds(python: Path, trees: dict[str, Path], event: Path, runs: int) -> dict[str, dict[str, list[Start]]]:
    """Starts the contenders in turn, with each state of the page cache.

    Raises:
        SystemExit: A start failed, or the answers differ.
    """
    found: dict[str, dict[str, list[Start]]] = {cache: {name: [] for name in trees} for cache in CACHES}
    expected = [
        start(python, tree, event)[1] for tree in trees.values()
    ]  # and all of both is in the page cache
    for number in range(runs):
        for cache in CACHES:
            for name, tree in trees.items():
                if cache == "dropped":
                    drop(tree)
                one, answer = start(python, tree, event)
                if answer != expected[0] or expected[1] != expected[0]:
                    raise SystemExit(f"{tree} answers {answer}, not {expected[0]}")
                found[cache][name].append(one)
                tell(f"run {number + 1} of {runs}, {cache}, {name}: {duration(one.seconds)}")
    return found


def largest(tree: Path) -> Largest:
    """Packs the largest library of a tree."""
    path = max(tree.rglob("*.so*"), key=lambda path: path.stat().st_size)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        image = bytes(view)
    tell(f"packing {path.name}")
    begun, used = time.monotonic(), time.process_time()
    packing = pack(image, pager_folder="$ORIGIN", jobs=os.cpu_count() or 1)
    return Largest(
        path=path.relative_to(tree).as_posix(),
        before=len(image),
        after=packing.size,
        seconds=time.monotonic() - begun,
        processor=time.process_time() - used,
    )


def table(title: str, starts: dict[str, list[Start]]) -> Table:
    """Returns the medians, a column for each contender, and the median ratio of starts that followed each other."""
    shown = Table(title=title, title_justify="left", box=box.HORIZONTALS)
    for name in ("", *starts, "ratio"):
        shown.add_column(name, justify="right" if name else "left", no_wrap=True)
    for name, field, words in (
        ("import + predict", "seconds", duration),
        ("processor time", "processor", duration),
        ("peak memory", "peak", mebibytes),
        ("read from disk", "read", mebibytes),
    ):
        columns = [[getattr(one, field) for one in those] for those in starts.values()]
        ratios = [packed / plain for plain, packed in zip(*columns, strict=True) if plain]
        ratio = f"{median(ratios):.2f}" if ratios else ""
        shown.add_row(name, *(words(type(column[0])(median(column))) for column in columns), ratio)
    return shown


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--example", choices=EXAMPLES, default=EXAMPLES[-1], help="default: %(default)s")
    parser.add_argument("--runs", type=int, default=5, help="starts of each kind (default: 5)")
    parser.add_argument("--runtime", choices=target.runtimes(), default=RUNTIME, help="default: %(default)s")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "benchmarks", help="folder for trees")
    parser.add_argument("--json", action="store_true", help="print all starts as JSON instead of tables")
    arguments = parser.parse_args()
    if arguments.runs < 1:
        parser.error("--runs has to be 1 or more")
    return arguments


def main() -> None:
    """Runs the benchmark."""
    arguments = _arguments()
    found = interpreters.find(target.make(runtime=arguments.runtime).python)
    if found is None:
        raise SystemExit(f"there is no interpreter for {arguments.runtime}")
    load, processors = os.getloadavg()[0], os.cpu_count() or 1
    if load > processors / 4:
        tell(
            f"warning: the machine is busy (load {load:.1f}, {processors} processors): look at processor time"
        )
    trees = build(arguments.example, arguments.runtime, arguments.work.absolute())
    event = ROOT / "examples" / arguments.example / "event.json"
    starts = rounds(Path(found), trees, event, arguments.runs)
    one = largest(trees["not packed"])
    if arguments.json:
        plain = {
            cache: {name: [asdict(start) for start in those] for name, those in each.items()}
            for cache, each in starts.items()
        }
        print(json.dumps({"runtime": arguments.runtime, "starts": plain, "largest": asdict(one)}, indent=1))
        return
    console = Console(width=80, highlight=False)
    for cache, each in starts.items():
        title = f"{arguments.example}, {arguments.runtime}, page cache {cache}, medians of {arguments.runs}"
        console.print(table(title, each))
    console.print(
        f"{one.path}: {mebibytes(one.before)} packed to {mebibytes(one.after)} in {duration(one.seconds)}, "
        f"{duration(one.processor)} of processor time"
    )


if __name__ == "__main__":
    main()

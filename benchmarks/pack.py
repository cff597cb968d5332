"""Measures what packing costs and gains: starts of an example with packed libraries, beside the same libraries plain.

README.md beside this file says what is measured, and how. The table goes to stdout, progress to stderr.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import resource
import subprocess
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median

from rich import box
from rich.console import Console
from rich.table import Table
from start import EXAMPLES, ROOT, RUNTIME, drop, python_of, slimpack, tell, warn_if_busy

from slimpack import target, ties
from slimpack.elf import layout
from slimpack.elf.pack import pack
from slimpack.elf.prune import prune
from slimpack.report.words import duration, mebibytes

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


LOADER = """
import ctypes, sys, time
begun = time.process_time()
ctypes.CDLL(sys.argv[1])
print(time.process_time() - begun)
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
    """How long the largest library takes to pack, and to load."""

    path: str
    """Place in the tree."""
    before: int
    """Bytes."""
    after: int
    """Bytes, packed."""
    symbols: int
    """Number of its exports that were pruned."""
    tied: float
    """Seconds that it took to find which of them the tree needs; not in the others."""
    seconds: float
    """From start to end of pruning and packing, on all processors."""
    processor: float
    """Seconds of processor time for it."""
    loading: dict[str, float]
    """Seconds of processor time that ``dlopen`` takes, median: as it is, pruned, and pruned and packed."""


def build(example: str, runtime: str, bytecode: str, work: Path) -> dict[str, Path]:
    """Builds an example's tree for each contender.

    Args:
        example: Its name.
        runtime: Lambda runtime.
        bytecode: What ``--bytecode`` is told.
        work: Folder for them.
    """
    folder, trees = ROOT / "examples" / example, {}
    given = ("--source", str(folder / "app"), "--runtime", runtime, "--bytecode", bytecode)
    for name, how in CONTENDERS.items():
        trees[name] = work / f"{example}-{how}-{bytecode}"
        tell(f"{example}: building, {name}")
        output = ("--pack", how, "--output", str(trees[name]), "--no-verify", "--quiet")
        # 1: the bundle is over the limit, and built all the same
        slimpack("build", str(folder / "requirements.txt"), *given, *output, fine=(0, 1))
    return trees


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


def native(tree: Path) -> int:
    """Returns the bytes of a tree's ELF files."""
    found = (
        path for path in tree.rglob("*") if path.is_file() and path.stat().st_size >= layout.FILE_HEADER.size
    )
    return sum(path.stat().st_size for path in found if is_elf(path))


def is_elf(path: Path) -> bool:
    """Whether a file begins as ELF files do."""
    with path.open("rb") as file:
        return layout.is_elf(file.read(layout.FILE_HEADER.size))


def load(python: Path, path: Path) -> float:
    """Returns the seconds of processor time that a new process takes to load a library."""
    done = subprocess.run(
        [python, "-I", "-c", LOADER, path], stdin=subprocess.DEVNULL, capture_output=True, check=True
    )
    return float(done.stdout)


def largest(python: Path, tree: Path, packed: Path, runs: int) -> Largest:
    """Prunes and packs the largest library of a tree, and loads it so many times in each form.

    Args:
        python: Interpreter that loads it.
        tree: Tree with nothing packed.
        packed: The same, packed.
        runs: Times that each is loaded, in turn.

    Raises:
        SystemExit: The process that looked for what needs it died.
    """
    path = max(tree.rglob("*.so*"), key=lambda path: path.stat().st_size)
    tell(f"packing {path.name}")
    begun = time.monotonic()
    tied = ties.find({one.as_posix(): one for one in tree.rglob("*") if one.is_file()})
    if tied is None:
        raise SystemExit(f"there is no telling what needs {path}")
    known = time.monotonic()
    own = tied[path.as_posix()]
    used = processor_time()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        pruning = prune(bytes(view), needed=own.needed, eager=own.eager)
    packing = pack(
        pruning.image,
        pager_folder="$ORIGIN",
        jobs=os.cpu_count() or 1,
        symbols=pruning.symbols,
        pruned=pruning.size,
    )
    seconds, used = time.monotonic() - known, processor_time() - used
    beside = path.with_name(f"pruned-{path.name}")  # where it finds what it needs
    beside.write_bytes(pruning.image)
    forms = {"as it is": path, "pruned": beside, "packed": packed / path.relative_to(tree)}
    turns = [{name: load(python, one) for name, one in forms.items()} for _ in range(runs)]
    beside.unlink()
    return Largest(
        path=path.relative_to(tree).as_posix(),
        before=path.stat().st_size,
        after=packing.size,
        symbols=pruning.symbols,
        tied=known - begun,
        seconds=seconds,
        processor=used,
        loading={name: median(turn[name] for turn in turns) for name in forms},
    )


def processor_time() -> float:
    """Returns the seconds of processor time of this process and of those of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


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
    parser.add_argument(
        "--bytecode", choices=("none", "all"), default="none", help="of both (default: %(default)s)"
    )
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "benchmarks", help="folder for trees")
    parser.add_argument("--json", action="store_true", help="print all starts as JSON instead of tables")
    arguments = parser.parse_args()
    if arguments.runs < 1:
        parser.error("--runs has to be 1 or more")
    return arguments


def main() -> None:
    """Runs the benchmark."""
    arguments = _arguments()
    python = python_of(arguments.runtime)
    warn_if_busy()
    trees = build(arguments.example, arguments.runtime, arguments.bytecode, arguments.work.absolute())
    event = ROOT / "examples" / arguments.example / "event.json"
    starts = rounds(python, trees, event, arguments.runs)
    one = largest(python, trees["not packed"], trees["packed"], arguments.runs)
    files = {name: native(tree) for name, tree in trees.items()}
    if arguments.json:
        plain = {
            cache: {name: [asdict(start) for start in those] for name, those in each.items()}
            for cache, each in starts.items()
        }
        found = {"runtime": arguments.runtime, "starts": plain, "native": files, "largest": asdict(one)}
        print(json.dumps(found, indent=1))
        return
    console = Console(width=80, highlight=False)
    for cache, each in starts.items():
        what = f"{arguments.example}, {arguments.runtime}, bytecode {arguments.bytecode}"
        title = f"{what}, page cache {cache}, medians of {arguments.runs}"
        console.print(table(title, each))
    console.print(
        f"{one.path}: {one.symbols:,} symbols pruned, {mebibytes(one.before)} packed to {mebibytes(one.after)} in "
        f"{duration(one.seconds)}, {duration(one.processor)} of processor time; "
        f"{duration(one.tied)} to find what the tree needs of it"
    )
    console.print(
        "loading it, processor time: "
        + ", ".join(f"{name} {duration(seconds)}" for name, seconds in one.loading.items())
    )
    console.print("shared objects: " + ", ".join(f"{name} {mebibytes(size)}" for name, size in files.items()))


if __name__ == "__main__":
    main()

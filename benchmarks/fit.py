"""Measures how well the optimiser foresees starts: what it expects of an example's forms, beside what they take.

README.md beside this file says what is measured, and how. The table goes to stdout, progress to stderr.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from statistics import median
from zlib import crc32

import pack
from rich import box
from rich.console import Console
from rich.table import Table
from start import EXAMPLES, ROOT, RUNTIME, python_of, slimpack, tell, warn_if_busy

from slimpack import target
from slimpack.manifest import from_json
from slimpack.report.words import duration, mebibytes

ROOMIEST, TIGHTEST = "64GiB", "1MiB"
"""Rooms in which all stays as it is, and in which all becomes as small as it can."""

SHARES = (1 / 4, 1 / 16)
"""Rooms between what the bundle takes in these two, as shares of the way from the smaller."""

ELSEWHERE = ("--kind", "custom", "--glibc", "2.34", "--max-size")
"""A platform like Lambda with another limit, which follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """An example as the optimiser made it with some options."""

    name: str
    """What is told apart."""
    size: int
    """Bytes of the bundle."""
    expected: float
    """Seconds that a start is expected to take for it; what every form costs alike is not in it."""
    tree: Path
    """Its folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What was expected of a form, and what came. Seconds are those more than with all the room."""

    form: str
    """Its name."""
    size: int
    """Bytes of the bundle."""
    expected: float
    """What was expected."""
    processor: float
    """What came, in processor time."""
    seconds: float
    """The same from the first line that runs to the answer."""


def build(example: str, runtime: str, work: Path) -> list[Form]:
    """Builds an example in forms that span the model; the first has all the room.

    Args:
        example: Its name.
        runtime: Lambda runtime.
        work: Folder for them.
    """
    folder, made = ROOT / "examples" / example, work / f"{example}-fit"
    profile = made / "profile.json"
    given = ("--source", str(folder / "app"), "--runtime", runtime, "--handler", "app.handler", "--no-verify")
    forms: list[Form] = []

    def add(name: str, *options: str) -> Form:
        tree = made / str(len(forms))
        tell(f"{example}: building, {name}")
        output = ("--output", str(tree), "--quiet")
        manifest = made / f"{tree.name}.manifest.json"
        manifest.unlink(missing_ok=True)  # of an earlier run, were this build to fail
        # 1: the bundle is over the limit, and built all the same
        slimpack("build", str(folder / "requirements.txt"), *given, *options, *output, fine=(0, 1))
        account = from_json(manifest.read_bytes(), where="manifest")
        if account.fit is None:
            raise SystemExit(f"{name}: nothing was chosen")
        expected = account.fit.milliseconds / 1000
        forms.append(Form(name=name, size=account.totals.size_after, expected=expected, tree=tree))
        return forms[-1]

    largest = add("all the room", *ELSEWHERE, ROOMIEST)
    add("all the room, no bytecode", *ELSEWHERE, ROOMIEST, "--bytecode", "none")
    smallest = add("no room", *ELSEWHERE, TIGHTEST)
    default = add("defaults")
    add("defaults, no bytecode", "--bytecode", "none")
    call = ("--handler", "app.handler", "--event", str(folder / "event.json"), "--memory", "3008")
    tell(f"{example}: tracing")
    slimpack("trace", str(default.tree), *call, "--output", str(profile), "--quiet")
    add("defaults, profile", "--profile", str(profile))
    for share in SHARES:
        room = round(smallest.size + (largest.size - smallest.size) * share)
        add(mebibytes(room), *ELSEWHERE, str(room))
        add(f"{mebibytes(room)}, profile", *ELSEWHERE, str(room), "--profile", str(profile))
    return forms


def measure(python: Path, forms: list[Form], event: Path, runs: int) -> list[list[pack.Start]]:
    """Starts the forms in turns, their files in the page cache; returns the starts of each.

    A start is quicker after one of the same files: each turn has another order, the same in every run of this.

    Raises:
        SystemExit: A start failed, or the answers differ.
    """
    found: list[list[pack.Start]] = [[] for _ in forms]
    answers = [pack.start(python, form.tree, event)[1] for form in forms]  # and all is in the page cache
    for number in range(runs):
        for at in sorted(range(len(forms)), key=lambda at: crc32(f"{number} {at}".encode())):
            form = forms[at]
            one, answer = pack.start(python, form.tree, event)
            if any(answer != other for other in answers):
                raise SystemExit(f"{form.tree} answers {answer}; all of them: {answers}")
            found[at].append(one)
            tell(f"run {number + 1} of {runs}, {form.name}: {duration(one.processor)} of processor time")
    return found


def compared(forms: list[Form], starts: list[list[pack.Start]]) -> list[Row]:
    """Returns what was expected and what came, against the first form; of the starts, medians over the turns."""
    return [
        Row(
            form=form.name,
            size=form.size,
            expected=form.expected - forms[0].expected,
            processor=median(
                mine.processor - first.processor for mine, first in zip(own, starts[0], strict=True)
            ),
            seconds=median(mine.seconds - first.seconds for mine, first in zip(own, starts[0], strict=True)),
        )
        for form, own in zip(forms, starts, strict=True)
    ]


def ordered(rows: list[Row]) -> tuple[int, int]:
    """Returns how many pairs of forms come in the order that is expected, and of how many one is expected."""
    pairs = [pair for pair in combinations(rows, 2) if pair[0].expected != pair[1].expected]
    right = [(one.expected < other.expected) == (one.processor < other.processor) for one, other in pairs]
    return sum(right), len(pairs)


def table(title: str, rows: list[Row]) -> Table:
    """Returns what was expected and what came, a row for each form, the quickest expected first."""
    shown = Table(title=title, title_justify="left", box=box.HORIZONTALS)
    for name in ("form", "bundle", "expected", "processor time", "off by", "wall time"):
        shown.add_column(name, justify="left" if name == "form" else "right", no_wrap=True)
    for row in sorted(rows, key=lambda row: row.expected):
        differences = (row.expected, row.processor, row.expected - row.processor, row.seconds)
        shown.add_row(row.form, mebibytes(row.size), *(f"{one * 1000:+,.0f} ms" for one in differences))
    return shown


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--example", choices=EXAMPLES, default=EXAMPLES[0], help="default: %(default)s")
    parser.add_argument("--runs", type=int, default=7, help="starts of each form (default: 7)")
    parser.add_argument("--runtime", choices=target.runtimes(), default=RUNTIME, help="default: %(default)s")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "benchmarks", help="folder for trees")
    parser.add_argument("--keep", action="store_true", help="leave the trees where they are")
    parser.add_argument("--json", action="store_true", help="print all starts as JSON instead of a table")
    arguments = parser.parse_args()
    if arguments.runs < 1:
        parser.error("--runs has to be 1 or more")
    return arguments


def main() -> None:
    """Runs the benchmark."""
    arguments = _arguments()
    python = python_of(arguments.runtime)
    warn_if_busy()
    forms = build(arguments.example, arguments.runtime, arguments.work.absolute())
    event = ROOT / "examples" / arguments.example / "event.json"
    starts = measure(python, forms, event, arguments.runs)
    if not arguments.keep:  # those of TensorFlow are several gigabytes
        for form in forms:
            shutil.rmtree(form.tree)
    rows = compared(forms, starts)
    right, pairs = ordered(rows)
    if arguments.json:
        told = [
            asdict(row) | {"starts": [asdict(start) for start in own]}
            for row, own in zip(rows, starts, strict=True)
        ]
        words = {"runtime": arguments.runtime, "example": arguments.example, "forms": told}
        print(json.dumps(words | {"pairs": pairs, "ordered": right}, indent=1))
        return
    title = f"{arguments.example}, {arguments.runtime}, differences from all the room, medians of {arguments.runs}"
    console = Console(width=100, highlight=False)
    console.print(table(title, rows))
    console.print(f"{right} of {pairs} pairs of forms in the right order")


if __name__ == "__main__":
    main()

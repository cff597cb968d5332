"""Packed libraries work with the loaders of other glibc releases than this machine's, and on the other processor.

``make roots`` unpacks Debian systems into build/roots. Programs run in them with their own loader and libraries, in a
PID namespace of their own; those for the other processor run under qemu-user.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torturing

from slimpack import ties
from slimpack.elf.compact import compact
from slimpack.elf.layout import ElfError, is_elf
from slimpack.elf.pack import pack
from slimpack.elf.packed import PAGER
from slimpack.elf.prune import prune

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slimpack.elf.prune import Pruning

pytestmark = pytest.mark.heavy

TOP = Path(__file__).parent.parent
EXAMPLES = TOP / "examples"
ROOM = ("unshare", "--map-root-user", "--fork", "--pid", "--kill-child", "--mount-proc")
ENTER = 'mount --rbind /dev "$0/dev" && mount -t proc proc "$0/proc" && chroot "$0" "$@"; exit $?'
STAY = '"$@"; exit $?'
"""Shell scripts: the first process of a namespace is not killed by signals as others are, so it is the shell."""
MODES = ("demand", "eager")
SKIPPED = 77
"""Exit code of a case that cannot be tried."""
SECONDS = 1800
"""After this long a program counts as hung; the slowest ones take minutes under an emulator."""

ANSWER = """
import json, sys
sys.path.insert(0, sys.argv[1])
import app
with open(f"{sys.argv[1]}/event.json") as file:
    print(json.dumps(app.handler(json.load(file), None)))
"""

NOT_EMULATED = re.compile(
    "crash_.*|file_is_.*|address_space_is_exhausted.*|mappings_are_exhausted|program_that_needs_packed_libraries"
)
"""Cases in whose way qemu-user gets: it says a line of its own when it kills a program, runs out of memory itself when
the program does, does not survive every SIGBUS, and the kernel starts no program for another processor."""

THROWING = """
#include <stdexcept>
__asm__(".text\\n.fill 70000,4,0\\n");
static int __attribute__((noinline)) refuse(int number) {
  if (number > 1) throw std::runtime_error("refused");
  return number;
}
extern "C" int caught(int number) {
  try { return refuse(number); } catch (const std::exception &) { return 42; }
}
__asm__(".text\\n.fill 70000,4,0\\n");
"""

CALLING = """
#include <dlfcn.h>
int main(int count, char **arguments) {
  void *library = dlopen(arguments[count - 1], RTLD_NOW);
  return !library || ((int (*)(int))dlsym(library, "caught"))(count) != 42;
}
"""

CLASSICAL = """
import json, sys
sys.path.insert(0, sys.argv[1])
import numpy, pandas, pyarrow.parquet
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsClassifier
samples = pandas.DataFrame({"length": [1.0, 1.2, 4.9, 5.1], "width": [0.2, 0.3, 1.8, 1.9]})
near = KNeighborsClassifier(2).fit(samples.to_numpy(), ["setosa", "setosa", "virginica", "virginica"])
line = LinearRegression().fit(samples[["length"]], samples["width"])
try:
    samples.to_numpy().dot(numpy.zeros(3))
except ValueError as problem:
    refused = type(problem).__name__
score = float(line.score(samples[["length"]], samples["width"]))
written = pyarrow.BufferOutputStream()
pyarrow.parquet.write_table(pyarrow.table(samples), written)
read = pyarrow.parquet.read_table(pyarrow.BufferReader(written.getvalue())).to_pandas()
print(json.dumps([str(near.predict([[4.0, 1.5]])[0]), round(score, 2), refused, read.equals(samples)]))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """An unpacked Debian system."""

    release: str
    glibc: str
    python: str
    """Its own interpreter."""
    machine: str = "x86_64"

    def __str__(self) -> str:
        return f"{self.release}-{self.machine}"

    @property
    def root(self) -> Path:
        return TOP / "build" / "roots" / f"{self.release}-{'arm64' if self.machine == 'aarch64' else 'amd64'}"

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """Yields an empty folder that its programs can reach; skips the test if they could not run."""
        if not self.root.is_dir():
            pytest.skip(f"{self.root} is missing: make roots")
        if subprocess.run([*ROOM, "true"], capture_output=True, check=False).returncode:
            pytest.skip("user namespaces are not allowed")
        if self.machine != "x86_64" and not shutil.which(f"qemu-{self.machine}"):
            pytest.skip(f"qemu-{self.machine} is not on the PATH")
        with tempfile.TemporaryDirectory(dir=self.root / "tmp") as folder:
            yield Path(folder)

    def run(
        self, program: Path, *arguments: str | Path, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program of its own, or of a folder of ours in it; other arguments that are paths are such, too."""
        places = [one if isinstance(one, str) else self._place(one) for one in (program, *arguments)]
        inner: tuple[str | Path, ...]
        if self.machine == "x86_64":
            inner = ("sh", "-c", ENTER, self.root, *places)
            environment |= {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        else:
            guest = [option for name, value in environment.items() for option in ("-E", f"{name}={value}")]
            inner = ("sh", "-c", STAY, "sh", f"qemu-{self.machine}", "-L", self.root, *guest, *places)
            environment = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
        command = (*ROOM, *inner)
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=SECONDS
        )

    def _place(self, path: Path) -> str:
        return str(path if self.machine != "x86_64" else Path("/", path.relative_to(self.root)))


BULLSEYE = System(release="bullseye", glibc="2.31", python="python3.9")
BOOKWORM = System(release="bookworm", glibc="2.36", python="python3.11")
TRIXIE = System(release="trixie", glibc="2.41", python="python3.13")
ARM64 = System(release="bookworm", glibc="2.36", python="python3.11", machine="aarch64")
SYSTEMS = (BULLSEYE, BOOKWORM, TRIXIE, ARM64)


def zig(machine: str, language: str = "cc") -> tuple[str, ...]:
    """Returns the compiler that makes programs for glibc 2.17 and later."""
    return (sys.executable, "-m", "ziglang", language, "-target", f"{machine}-linux-gnu.2.17")


@pytest.fixture(scope="module")
def torture_sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders with the programs and packed libraries of tests/torture, by processor."""
    sets = {}
    for machine in sorted({system.machine for system in SYSTEMS}):
        # zig links each library with a C++ runtime of its own, and then none catches what another one has thrown.
        cxx = ("g++",) if machine == "x86_64" and shutil.which("g++") else None
        folder = tmp_path_factory.mktemp(machine) / "set"
        sets[machine] = torturing.make(folder, machine=machine, cc=zig(machine), cxx=cxx).packed
    return sets


@pytest.fixture(scope="module")
def throwing_sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders with a packed library that has an unwinder of its own, and a program that calls it, by processor."""
    sets = {}
    for machine in sorted({system.machine for system in SYSTEMS}):
        folder = sets[machine] = tmp_path_factory.mktemp(machine)
        (folder / "library.cc").write_text(THROWING)
        (folder / "program.c").write_text(CALLING)
        shared = ("-shared", "-fPIC", "-O1", "-fno-sanitize=all", "-o", "library.so", "library.cc")
        subprocess.run([*zig(machine, "c++"), *shared], cwd=folder, check=True)
        subprocess.run([*zig(machine), "-o", "program", "program.c", "-ldl"], cwd=folder, check=True)
        image = b"".join(compact((folder / "library.so").read_bytes()).chunks)
        (folder / "library.so").write_bytes(b"".join(pack(image, pager_folder="$ORIGIN", level=3).chunks))
        shutil.copy(torturing.PREBUILT / f"libslimpager-{machine}.so.1", folder / PAGER)
    return sets


@pytest.mark.parametrize("system", SYSTEMS, ids=str)
def test_a_system_has_the_glibc_that_it_stands_for(system: System) -> None:
    with system.folder():
        ran = system.run(
            system.root / "usr/bin" / system.python,
            "-c",
            "import os; print(os.confstr('CS_GNU_LIBC_VERSION'))",
        )
    assert ran.stdout == f"glibc {system.glibc}\n", ran.stderr


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("system", SYSTEMS, ids=str)
def test_packed_libraries_stand_torture(system: System, mode: str, torture_sets: dict[str, Path]) -> None:
    failures: dict[str, str] = {}
    with system.folder() as folder:
        program = shutil.copytree(torture_sets[system.machine], folder / "set") / "torture"
        cases = system.run(program, "list").stdout.split()
        tried = [case for case in cases if system.machine == "x86_64" or not NOT_EMULATED.fullmatch(case)]
        for case in tried:
            ran = system.run(program, case, SLIMPACK_PAGER=mode)
            if ran.returncode not in {0, SKIPPED}:
                failures[case] = ran.stdout + ran.stderr

    assert len(tried) > 30
    assert failures == {}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("system", SYSTEMS, ids=str)
def test_an_unwinder_finds_packed_code(system: System, mode: str, throwing_sets: dict[str, Path]) -> None:
    """Before glibc 2.35, and where it is linked statically, it looks for the segment that an instruction is in."""
    with system.folder() as folder:
        place = shutil.copytree(throwing_sets[system.machine], folder / "set")
        ran = system.run(place / "program", place / "library.so", SLIMPACK_PAGER=mode)

    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.network
@pytest.mark.parametrize(
    ("example", "system"),
    [
        ("iris-knn", BOOKWORM),
        ("iris-knn", TRIXIE),
        ("iris-knn", ARM64),
        ("tensorflow-mnist", BOOKWORM),
        ("tensorflow-mnist", TRIXIE),
    ],
    ids=str,
)
def test_an_example_answers_as_expected_with_everything_packed(example: str, system: System) -> None:
    app = EXAMPLES / example / "app"
    if not any(app.glob("model.*")):
        pytest.skip("the model of the example is not trained: make models")
    with system.folder() as folder:
        bundle = folder / "bundle"
        build(example, system, bundle)
        shutil.copy(app.parent / "event.json", bundle)
        answers = [answer(system, ANSWER, bundle, mode) for mode in MODES]

    expected = json.loads((app.parent / "expected.json").read_text(encoding="utf-8"))
    assert answers == [expected, expected]


def build(example: str, system: System, bundle: Path) -> None:
    """Builds an example as a folder, with all libraries packed."""
    arch = "arm64" if system.machine == "aarch64" else "x86_64"
    options = (
        "--runtime",
        system.python,
        "--arch",
        arch,
        "--pack",
        "all",
        "--bytecode",
        "none",
        "--no-verify",
    )
    folder = EXAMPLES / example
    files = (folder / "requirements.txt", "--source", folder / "app", "--output", bundle)
    command = (sys.executable, "-m", "slimpack", "build", *options, *files)
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode in {0, 1}, run.stderr


@pytest.mark.network
def test_packages_of_an_old_python_work_packed_with_its_glibc() -> None:
    with BULLSEYE.folder() as folder:
        tree = folder / "tree"
        wheels = ("--python-version", "3.9", "--only-binary", ":all:", "--platform", "manylinux2014_x86_64")
        pip = (
            sys.executable,
            "-m",
            "pip",
            "--disable-pip-version-check",
            "install",
            "--quiet",
            "--no-compile",
        )
        subprocess.run([*pip, *wheels, "--target", tree, "pandas", "pyarrow", "scikit-learn"], check=True)
        prunings = pack_tree(tree)
        answers = [answer(BULLSEYE, CLASSICAL, tree, mode) for mode in MODES]

    assert len(prunings) > 100
    assert sum(one.symbols for one in prunings) > 10_000
    assert answers == [["virginica", 1.0, "ValueError", True]] * 2


def pack_tree(tree: Path) -> list[Pruning]:
    """Prunes and packs every library of a tree that can be, and returns what pruning did to each."""
    paths = [str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file()]
    for path in paths:
        image = (tree / path).read_bytes()
        if is_elf(image[:4]):
            (tree / path).write_bytes(b"".join(compact(image).chunks))
    prunings = []
    found = ties.find({path: tree / path for path in paths})
    assert found is not None
    for path, tie in found.items():
        image = (tree / path).read_bytes()
        folder = "$ORIGIN/" + "../" * path.count("/") + "pager"
        try:
            pruning = prune(image, needed=tie.needed, eager=tie.eager)
            symbols, size = pruning.symbols, pruning.size
            packing = pack(pruning.image, pager_folder=folder, level=3, symbols=symbols, pruned=size)
        except ElfError:
            continue
        (tree / path).write_bytes(b"".join(packing.chunks))
        prunings.append(pruning)
    (tree / "pager").mkdir()
    shutil.copy(torturing.PREBUILT / "libslimpager-x86_64.so.1", tree / "pager" / PAGER)
    return prunings


def answer(system: System, program: str, tree: Path, mode: str) -> object:
    """Returns what a Python program prints, which has to have caused blocks to be loaded."""
    place = "/" + str(tree.relative_to(system.root)) if system.machine == "x86_64" else str(tree)
    ran = system.run(
        system.root / "usr/bin" / system.python,
        *("-I", "-B", "-c", program, tree),
        LD_LIBRARY_PATH=f"{place}/lib",
        SLIMPACK_PAGER=mode,
        SLIMPACK_PAGER_STATS="1",
    )
    assert ran.returncode == 0, ran.stderr
    assert int(re.findall(r"^slimpack: loaded (\d+) blocks", ran.stderr, re.MULTILINE)[-1]) > 0
    return json.loads(ran.stdout.splitlines()[-1])

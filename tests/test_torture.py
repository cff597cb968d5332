"""Packed libraries stand what processes and debuggers do to them: every case of tests/torture, in both modes."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from torturing import SOURCES, TortureSet, make

if TYPE_CHECKING:
    from collections.abc import Sequence

SKIPPED = 77
MODES = ("demand", "eager")
CASES = [
    name
    for path in sorted(SOURCES.glob("*.c"))
    for name in re.findall(r"^CASE\((\w+)\)", path.read_text(), re.MULTILINE)
]
ONLY_PACKED = {"file_is_damaged", "file_is_overwritten", "file_is_truncated"}
"""Cases that a plain library does not survive."""


@functools.cache
def isolation() -> tuple[str, ...]:
    """Returns what to put before a command so that it can kill nobody but its own, as far as the system lets us."""
    usual = ("unshare", "--fork", "--pid", "--mount-proc", "--kill-child")
    for command in (usual, (*usual, "--map-root-user")):
        if (
            shutil.which("unshare")
            and not subprocess.run([*command, "true"], check=False, capture_output=True).returncode
        ):
            return command
    return ()


def run(
    command: Sequence[str | Path], mode: str = "demand", **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*isolation(), *command],
        env={**os.environ, "SLIMPACK_PAGER": mode, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture(scope="module")
def torture(tmp_path_factory: pytest.TempPathFactory) -> TortureSet:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed: this test compiles its ELF files")
    cxx = ("g++",) if shutil.which("g++") else None
    return make(tmp_path_factory.mktemp("torture") / "set", cxx=cxx)


Results = dict[str, tuple[str, str]]
"""By case: fine, skipped or FAILED, and what it said."""


def run_all(*command: str | Path, mode: str = "demand") -> Results:
    """Runs every case, each in a process of its own."""
    ran = run([*command, "all"], mode)
    pattern = re.compile(r"^(\w+) +(fine|skipped|FAILED)\n", re.MULTILINE)
    parts = pattern.split(ran.stdout)
    results = {case: (result, said) for said, case, result in zip(*(iter(parts),) * 3, strict=False)}
    assert set(results) == set(CASES), ran.stdout + ran.stderr
    return results


@pytest.fixture(scope="module", params=MODES)
def results(torture: TortureSet, request: pytest.FixtureRequest) -> Results:
    return run_all(torture.packed / "torture", mode=request.param)


@pytest.mark.parametrize("case", CASES)
def test_a_packed_library_stands(results: Results, case: str) -> None:
    result, said = results[case]
    if result == "skipped":
        pytest.skip(said.strip())
    assert (result, said) == ("fine", "")


def test_a_plain_library_stands_the_same(torture: TortureSet) -> None:
    """What the cases ask for is not the pager's doing."""
    results = run_all(torture.plain / "torture")
    assert {case: one for case, one in results.items() if one[0] == "FAILED"} == {}
    assert {case for case, one in results.items() if one[0] == "skipped"} >= ONLY_PACKED


def test_no_proc_is_needed(torture: TortureSet, tmp_path: Path) -> None:
    # given a root folder with nothing but libraries in it
    if os.geteuid():
        pytest.skip("chroot() is for root")
    root = tmp_path / "root"
    shutil.copytree(torture.packed, root / "set")
    files = {path for path in torture.packed.iterdir() if path.suffix == ".so" or path.name == "torture"}
    needed = subprocess.run(["ldd", *files], capture_output=True, text=True, check=True).stdout
    for path in {*re.findall(r"(/\S+) \(0x", needed), "/lib/x86_64-linux-gnu/libgcc_s.so.1"}:
        if Path(path).exists() and not path.startswith(str(torture.packed)):
            (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, root / path[1:])

    results = run_all("chroot", root, "/set/torture")

    assert {case: one for case, one in results.items() if one[0] == "FAILED"} == {}


def test_where_files_in_memory_are_never_to_be_run_they_still_hold_code(torture: TortureSet) -> None:
    # given vm.memfd_noexec=2, which belongs to a PID namespace
    script = 'echo 2 > /proc/sys/vm/memfd_noexec || exit 77; "$1" written_memory_must_not_become_executable'
    if not isolation():
        pytest.skip("no PID namespace can be made here")
    ran = run(["sh", "-c", script, "sh", torture.packed / "torture"])
    if ran.returncode == SKIPPED:
        pytest.skip("this kernel has no vm.memfd_noexec, or no PR_SET_MDWE")
    assert (ran.returncode, ran.stderr) == (0, "")


# -- tools that look into the file, or into the process ---------------------------------------------------------------


def test_tools_that_read_elf_files_understand_a_packed_one(torture: TortureSet) -> None:
    packed, plain = torture.packed / "libcold.so", torture.plain / "libcold.so"

    listed = run(["ldd", packed])
    headers = run(["readelf", "-lW", packed])
    everything = run(["readelf", "-aW", packed])
    listings = (run(["nm", "-D", "--defined-only", path]).stdout for path in (packed, plain))
    symbols = [[(line.split()[0], line.split()[2]) for line in text.splitlines()] for text in listings]

    assert listed.returncode == headers.returncode == everything.returncode == 0
    assert "not found" not in listed.stdout
    assert f"libslimpager.so.1 => {torture.packed}" in re.sub(r"/\./", "/", listed.stdout)
    assert headers.stderr == everything.stderr == ""
    assert headers.stdout.count("LOAD") > 4
    assert symbols[0] == symbols[1]


DEBUGGED = """
#include <dlfcn.h>
#include <stdio.h>
void stop_here(void *number) { printf("stopped %ld\\n", *(long *)number); }
int main(int count, char **arguments) {
  void *library = dlopen(arguments[count - 1], RTLD_NOW);
  long (*function)(long) = (long (*)(long))dlsym(library, "function5");
  long (*call_back)(void (*)(void *), void *) = (long (*)(void (*)(void *), void *))dlsym(library, "call_back");
  long number = function(3);
  call_back(stop_here, &number);
  number = function(4);
  stop_here(&number);
  return 0;
}
"""


@pytest.mark.parametrize("mode", MODES)
def test_a_debugger_stops_in_packed_code_that_is_there_and_shows_who_called(
    torture: TortureSet, tmp_path: Path, mode: str
) -> None:
    if shutil.which("gdb") is None:
        pytest.skip("gdb is not installed")
    (tmp_path / "debugged.c").write_text(DEBUGGED)
    subprocess.run(["gcc", "-g", "-o", tmp_path / "debugged", tmp_path / "debugged.c", "-ldl"], check=True)
    commands = [
        "set debuginfod enabled off",
        "handle SIGSEGV nostop noprint pass",
        "break stop_here",
        "run",
        "backtrace",
        "info sharedlibrary",
        "break function5",
        "continue",
        "backtrace",
        "info symbol $pc",
        "continue",
        "continue",
    ]
    script = [word for command in commands for word in ("-ex", command)]
    program = ("--args", tmp_path / "debugged", torture.packed / "libcold.so")

    ran = run(["gdb", "-nx", "-batch", *script, *program], mode)

    said = ran.stdout
    assert re.search(
        r"#0 .* stop_here .*\n#1 .* in call_back \(\) from .*libcold\.so\n#2 .* in main ", said
    ), said
    assert re.search(r"Yes.*libcold\.so\n", said)
    assert re.search(r"#0 .* in function5 \(\) from .*libcold\.so\n#1 .* in main ", said), said
    assert "function5 in section .text of" in said
    assert "stopped 40\n" in said
    assert "stopped 45\n" in said
    assert "exited normally" in said


def test_a_debugger_unwinds_by_the_plain_file_what_lacks_its_tables(
    torture: TortureSet, tmp_path: Path
) -> None:
    # given libraries whose unwind tables are packed, so that the file has none to read
    if shutil.which("gdb") is None or not (torture.packed / "libcatcher.so").exists():
        pytest.skip("gdb or g++ is not installed")
    source = """
#include <dlfcn.h>
int main(int count, char **arguments) {
  return ((int (*)(int))dlsym(dlopen(arguments[count - 1], RTLD_NOW), "catch_number"))(3);
}
"""
    (tmp_path / "debugged.c").write_text(source)
    subprocess.run(["gcc", "-g", "-o", tmp_path / "debugged", tmp_path / "debugged.c", "-ldl"], check=True)
    script = f"""
set debuginfod enabled off
set breakpoint pending on
handle SIGSEGV nostop noprint pass
break __cxa_throw
run
python
import gdb
for name in ("libthrower.so", "libcatcher.so"):
    base = next(int(line.split()[0], 16) for line in gdb.execute("info proc mappings", to_string=True).splitlines()
                if line.endswith("packed/" + name))
    gdb.execute(f"add-symbol-file {torture.plain}/{{name}} -o {{base}}", to_string=True)
end
backtrace
"""
    (tmp_path / "script").write_text(script)

    program = ("--args", tmp_path / "debugged", torture.packed / "libcatcher.so")
    ran = run(["gdb", "-nx", "-batch", "-x", tmp_path / "script", *program])

    frames = re.findall(r"^#\d+ .*? (?:in )?(\w+) \(", ran.stdout, re.MULTILINE)
    assert frames == ["__cxa_throw", "throw_number", "catch_number", "main"], ran.stdout + ran.stderr

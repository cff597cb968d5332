"""The code that loaders run is found: constructors, what they call, and nothing else."""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from slimpack.elf.dynamic import (
    DT_INIT,
    DT_INIT_ARRAY,
    DT_INIT_ARRAYSZ,
    DT_RELA,
    DT_RELASZ,
    Dynamic,
    read_dynamic,
    relocations,
)
from slimpack.elf.layout import PF_X, PT_GNU_EH_FRAME, ElfError, Layout, read
from slimpack.elf.start import run_by_loaders

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import MakeElf

CHAIN = ("constructor", "first", "second", "third")
"""Each calls the next."""

FAR = '__attribute__((used, noinline)) void far_{}(void) {{ __asm__(".fill 0x3000, 1, 0"); }}'
"""So that functions lie on pages of their own."""

SOURCE = "\n".join(
    (
        "int calls;",
        FAR.format("below"),
        "__attribute__((noinline)) void idle(void) { calls += 7; }",
        FAR.format("idle"),
        "__attribute__((noinline)) void third(void) { calls += 3; }",
        FAR.format("third"),
        "__attribute__((noinline)) void second(void) { third(); calls += 2; }",
        FAR.format("second"),
        "__attribute__((noinline)) void first(void) { second(); calls += 1; }",
        FAR.format("first"),
        "__attribute__((constructor)) void constructor(void) { first(); calls += 4; }",
    )
)
FLAGS = ("-shared", "-fPIC", "-O1", "-fvisibility=protected")


def symbols(path: Path) -> dict[str, int]:
    listed = subprocess.run(["nm", "-D", path], capture_output=True, encoding="utf-8", check=True).stdout
    rows = (line.split() for line in listed.splitlines())
    return {row[2]: int(row[0], 16) for row in rows if len(row) == 3}


def pages(path: Path, *names: str) -> set[int]:
    known = symbols(path)
    return {known[name] & -0x1000 for name in names}


def test_constructors_are_followed_two_calls_deep(make_elf: MakeElf) -> None:
    path = make_elf(SOURCE, *FLAGS, "-fno-toplevel-reorder", name="libstart.so")
    assert len(pages(path, *CHAIN, "idle")) == 5  # each on its own

    found = set(run_by_loaders(path.read_bytes()))

    assert pages(path, *CHAIN[:3]) <= found
    assert not pages(path, "third", "idle") & found


def test_arm64_calls_are_followed_as_well(tmp_path: Path) -> None:
    if not shutil.which("nm"):
        pytest.skip("nm is not installed: this test looks up where functions are")
    (tmp_path / "start.c").write_text(SOURCE)
    path = tmp_path / "libstart.so"
    compiler = (sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-gnu.2.17")
    subprocess.run([*compiler, *FLAGS, "-o", path, tmp_path / "start.c"], check=True)

    image = bytearray(path.read_bytes())
    # given that it is called by the older way: this linker leaves constructors out
    at = read_dynamic(memoryview(image), read(image)).segment.offset
    image[at : at + 16] = struct.pack("<QQ", DT_INIT, symbols(path)["constructor"])

    found = set(run_by_loaders(image))

    assert pages(path, *CHAIN[:3]) <= found
    assert not pages(path, "third", "idle") & found


def test_what_has_no_table_of_functions_tells_nothing(make_elf: MakeElf) -> None:
    path = make_elf(SOURCE, *FLAGS, "-fno-toplevel-reorder", "-Wl,--no-eh-frame-hdr", name="libstart.so")

    assert run_by_loaders(path.read_bytes()) == ()


def test_constructors_outside_the_code_and_calls_in_a_circle_do_no_harm(make_elf: MakeElf) -> None:
    circle = "void one(void); __attribute__((noinline)) void two(void) { one(); }\n"
    circle += "__attribute__((constructor, noinline)) void one(void) { two(); }\n"
    path = make_elf(circle, *FLAGS, name="libcircle.so")
    image = bytearray(path.read_bytes())
    sane = run_by_loaders(image)
    assert sane

    # given relocations of the constructors that lead anywhere
    layout, dynamic = read(image), read_dynamic(memoryview(image), read(image))
    places = places_of_constructors(image, layout, dynamic)
    assert places
    for at in places:
        for wrong in (2**64 - 1, 2**40, 1, 0x7FFFFFFFFFFFFFFF):
            damaged = bytearray(image)
            damaged[at + 16 : at + 24] = wrong.to_bytes(8, "little")
            assert set(run_by_loaders(damaged)) <= set(range(0, len(image), 0x1000))


def places_of_constructors(image: bytearray, layout: Layout, dynamic: Dynamic) -> list[int]:
    """Returns the offsets of the relocations of DT_INIT_ARRAY."""
    begin, size = dynamic.get(DT_INIT_ARRAY) or 0, dynamic.get(DT_INIT_ARRAYSZ) or 0
    table, length = dynamic.get(DT_RELA) or 0, dynamic.get(DT_RELASZ) or 0
    all_of_them = relocations(memoryview(image), layout, table, length)
    return [table + 24 * n for n, one in enumerate(all_of_them) if begin <= one[0] < begin + size]


def test_what_is_no_library_is_refused() -> None:
    with pytest.raises(ElfError):
        run_by_loaders(b"\x7fELF" + bytes(200))


def test_what_a_damaged_table_of_functions_names_outside_the_code_is_no_page_of_it(make_elf: MakeElf) -> None:
    path = make_elf(SOURCE, *FLAGS, "-fno-toplevel-reorder", name="libstart.so")
    image = bytearray(path.read_bytes())
    layout = read(image)
    (header,) = (one for one in layout.segments if one.type == PT_GNU_EH_FRAME)
    (count,) = struct.unpack_from("<I", image, header.offset + 8)
    code = [(one.address, one.address + one.file_size) for one in layout.loads if one.flags & PF_X]
    assert count

    for wrong in (-(2**31), 2**31 - 1, 0):
        damaged = bytearray(image)
        for number in range(count):
            struct.pack_into("<i", damaged, header.offset + 12 + 8 * number, wrong)

        found = run_by_loaders(damaged)

        assert all(any(start - start % 0x1000 <= one < end for start, end in code) for one in found)

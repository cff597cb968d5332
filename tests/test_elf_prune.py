"""Exports that nobody needs go, what used them works as before, and whoever may ask for one still gets it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slimpack.elf.compact import compact
from slimpack.elf.dynamic import (
    DT_JMPREL,
    DT_PLTRELSZ,
    DT_RELA,
    DT_RELACOUNT,
    DT_RELASZ,
    DT_SYMTAB,
    SYMBOL,
    read_dynamic,
    relocations,
    symbol_count,
    table,
)
from slimpack.elf.inspect import layout_problems
from slimpack.elf.layout import ElfError, read
from slimpack.elf.pack import pack
from slimpack.elf.packed import read_packed
from slimpack.elf.prune import gnu_hash, prune, sysv_hash
from slimpack.elf.symbols import Names, exchange, mentions
from slimpack.elf.unpack import pruned, unpack

if TYPE_CHECKING:
    from conftest import MakeElf

COUNT = 400


def mangled(number: int) -> str:
    return f"_ZN4demo8internal21A_rather_long_name_{number:03}_IiNS0_7defaultEEC2ERKS3_"


FUNCTIONS = "".join(
    f'int f{n}(int) __asm__("{mangled(n)}"); __attribute__((noinline)) int f{n}(int x) {{ return x * {n} + 1; }}\n'
    for n in range(COUNT)
)
LIBRARY = f"""
#include <math.h>
{FUNCTIONS}
int (*table[])(int) = {{ {", ".join(f"f{n}" for n in range(0, COUNT, 2))} }};
int data[4] __asm__("_ZN4demo4dataE") = {{1, 2, 3, 4}};
int *inside = data + 2;
extern int weak(void) __asm__("_ZN4demo4weakEv") __attribute__((weak));
__thread int each __asm__("_ZN4demo4eachE") = 5;
int standard(int x) __asm__("_ZNSt6vectorIiSaIiEE9push_backEi");
int standard(int x) {{ return x + 7; }}
static int chosen_one(void) {{ return 11; }}
static int (*choose(void))(void) {{ return chosen_one; }}
int chosen(void) __asm__("_ZN4demo6chosenEv") __attribute__((ifunc("choose")));
int c_name(int x) {{
  int sum = data[0] + *inside + each + standard(x) + chosen() + (int)floor(2.5) + (weak ? weak() : 0);
  for (int n = 0; n < {COUNT // 2}; n++) sum += table[n](x);
  return sum + {" + ".join(f"f{n}(x)" for n in range(1, COUNT, 2))};
}}
"""
EXPECTED = 1 + 3 + 5 + (2 + 7) + 11 + 2 + sum(2 * n + 1 for n in range(COUNT))
STAYING = {
    "c_name",
    "_ZN4demo4eachE",
    "_ZN4demo6chosenEv",
    "_ZNSt6vectorIiSaIiEE9push_backEi",
}

LINKED = [
    (),
    ("-Wl,-z,now",),
    ("-Wl,-z,lazy",),
    ("-Wl,--hash-style=sysv",),
    ("-Wl,--hash-style=both",),
    ("-Wl,-z,nocombreloc",),
    ("-Wl,-z,pack-relative-relocs",),
    ("-fuse-ld=gold",),
    ("-Wl,--version-script=versions",),
    ("-fno-plt",),
]


def make(make_elf: MakeElf, tmp_path: Path, *args: str, source: str = LIBRARY) -> bytes:
    (tmp_path / "versions").write_text("demo_1 { global: *; };\n")
    placed = [one.replace("versions", str(tmp_path / "versions")) for one in args]
    path = make_elf(
        source, "-shared", "-fPIC", "-O1", "-fno-builtin", "-w", "-lm", *placed, name="libmade.so"
    )
    return b"".join(compact(path.read_bytes()).chunks)


def bindings(image: bytes, gone: frozenset[bytes]) -> dict[int, object]:
    """Returns what loaders store where: for each place a symbol's name and an addend, or an address of the file.

    What is bound to a symbol that is gone from another file is given as its address here.
    """
    view = memoryview(image)
    layout = read(view)
    dynamic = read_dynamic(view, layout)
    names = Names(view, layout, dynamic)
    count = symbol_count(view, layout, dynamic)
    symbols = list(SYMBOL.iter_unpack(table(view, layout, dynamic, DT_SYMTAB, count * SYMBOL.size)))
    found: dict[int, object] = {}
    for tag, size in ((DT_RELA, DT_RELASZ), (DT_JMPREL, DT_PLTRELSZ)):
        address, length = dynamic.get(tag), dynamic.get(size)
        for place, info, addend in relocations(view, layout, address, length) if address and length else ():
            at, _, _, section, value, _ = symbols[info >> 32]
            kind = {7: 6}.get(info & 0xFFFFFFFF, info & 0xFFFFFFFF)  # a JUMP_SLOT stores what a GLOB_DAT does
            assert place not in found
            if info >> 32 and section and names[at] in gone:
                found[place] = (8, b"", value + addend)
            else:
                found[place] = (kind, names[at], addend)
    return found


def check(before: bytes, after: bytes) -> None:
    """Checks that a file is another one pruned, and nothing else."""
    gone = exchange(before).offered - exchange(after).offered
    assert gone
    assert bindings(after, frozenset()) == bindings(before, gone)
    assert len(after) == len(before)
    assert layout_problems(after) == ()


@pytest.mark.parametrize("args", LINKED, ids=" ".join)
@pytest.mark.parametrize("eager", [True, False])
def test_a_pruned_library_answers_as_before_without_the_names(
    make_elf: MakeElf, tmp_path: Path, args: tuple[str, ...], eager: bool
) -> None:
    # given
    image = make(make_elf, tmp_path, *args)

    # when
    kept = mangled(2).encode()
    result = prune(image, needed={kept}, eager=eager)

    # then
    if (
        "gold" in " ".join(args) and not eager
    ):  # it calls by way of what is bound late even what is in a table
        assert result.symbols == 0
        return
    after = bytes(result.image)
    check(image, after)
    assert result.symbols > COUNT / 3
    assert result.size > 0x4000

    # and loaders and tools understand it
    path = tmp_path / "libpruned.so"
    path.write_bytes(after)
    readelf = subprocess.run(
        ["readelf", "-dsrVW", "--use-dynamic", path], capture_output=True, text=True, check=True
    )
    assert readelf.stderr == ""
    readelf = subprocess.run(["readelf", "-lSdsrVW", path], capture_output=True, text=True, check=True)
    assert readelf.stderr == ""
    code = f"""
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
assert library.c_name(2) == {EXPECTED}, library.c_name(2)
for name in {sorted(one for one in STAYING if "each" not in one)!r} + [{mangled(2)!r}]:
    assert getattr(library, name)
assert library[{mangled(2)!r}](5) == 11
assert not hasattr(library, {mangled(4)!r})
"""
    subprocess.run([sys.executable, "-c", code, path], check=True)
    subprocess.run([sys.executable, "-c", code, path], check=True, env={"LD_BIND_NOW": "1"})


def test_what_can_be_bound_late_stays_unless_all_is_there(make_elf: MakeElf, tmp_path: Path) -> None:
    image = make(make_elf, tmp_path, "-Wl,-z,lazy")

    late = exchange(prune(image, needed=(), eager=False).image).offered
    early = exchange(prune(image, needed=(), eager=True).image).offered

    assert mangled(1).encode() in late  # called
    assert mangled(2).encode() not in late  # in a table only
    assert mangled(1).encode() not in early


def test_what_others_may_ask_for_stays(make_elf: MakeElf, tmp_path: Path) -> None:
    name = "_ZN4demo6uniqueE"
    unique = f'__asm__(".type {name}, @gnu_unique_object\\n.globl {name}\\n.data\\n{name}: .quad 1");'
    image = make(make_elf, tmp_path, source=LIBRARY + unique)

    after = exchange(prune(image, needed={mangled(8).encode()}, eager=True).image)

    assert {one.encode() for one in STAYING} <= after.offered
    assert name.encode() in after.offered
    assert {one for one in after.offered if b"A_rather" in one} == {mangled(8).encode()}
    assert after.wanted == exchange(image).wanted


def test_a_library_that_is_pruned_calls_the_one_that_others_replace(
    make_elf: MakeElf, tmp_path: Path
) -> None:
    """Two libraries define the same function: which one is used stays as the loader finds it."""
    image = make(make_elf, tmp_path)
    path = tmp_path / "libpruned.so"
    path.write_bytes(prune(image, needed={mangled(1).encode()}, eager=True).image)
    other = make_elf(
        f'int f(int) __asm__("{mangled(1)}"); int f(int x) {{ return 1000; }}',
        "-shared",
        "-fPIC",
        name="o.so",
    )
    code = f"""
import ctypes, sys
ctypes.CDLL(sys.argv[1], ctypes.RTLD_GLOBAL)
assert ctypes.CDLL(sys.argv[2]).c_name(2) == {EXPECTED} - 3 + 1000
"""
    subprocess.run([sys.executable, "-c", code, other, path], check=True)


def test_little_to_win_leaves_a_file_as_it_is(make_elf: MakeElf, tmp_path: Path) -> None:
    image = make(make_elf, tmp_path, source='int f(void) __asm__("_ZN1a1fEv"); int f(void) { return 1; }')

    result = prune(image, needed=(), eager=True)

    assert (result.image, result.symbols, result.size) == (image, 0, 0)


def test_all_needed_leaves_a_file_as_it_is(make_elf: MakeElf, tmp_path: Path) -> None:
    image = make(make_elf, tmp_path)

    result = prune(image, needed=exchange(image).offered, eager=True)

    assert (result.image, result.symbols) == (image, 0)


@pytest.mark.parametrize("target", ["x86_64-linux-gnu.2.26", "aarch64-linux-gnu.2.26"])
def test_libraries_of_the_other_linker_and_architecture_are_pruned(tmp_path: Path, target: str) -> None:
    source, made = tmp_path / "lib.c", tmp_path / "lib.so"
    source.write_text(LIBRARY.replace("floor(2.5)", "2"))
    build = f"-m ziglang cc -target {target} -shared -fPIC -O1 -s -w -o".split()
    subprocess.run([sys.executable, *build, made, source], check=True)
    image = b"".join(compact(made.read_bytes()).chunks)

    result = prune(image, needed=(), eager=True)

    after = bytes(result.image)
    assert result.symbols > COUNT * 0.9
    assert layout_problems(after) == ()
    assert exchange(after).wanted == exchange(image).wanted
    layout = read(after)
    dynamic = read_dynamic(memoryview(after), layout)
    address, size = dynamic.get(DT_RELA), dynamic.get(DT_RELASZ)
    assert address is not None
    assert size is not None
    kinds = [info & 0xFFFFFFFF for _, info, _ in relocations(memoryview(after), layout, address, size)]
    relative = 8 if target.startswith("x86") else 1027
    assert kinds[: dynamic.get(DT_RELACOUNT)] == [relative] * kinds.count(relative)
    assert DT_JMPREL not in dict(dynamic.entries)


def test_a_pruned_library_is_packed_and_tells_what_was_pruned(make_elf: MakeElf, tmp_path: Path) -> None:
    result = prune(make(make_elf, tmp_path), needed=(), eager=True)

    packing = pack(result.image, pager_folder="x", level=3, symbols=result.symbols, pruned=result.size)

    output = b"".join(packing.chunks)
    packed = read_packed(output)
    assert packed is not None
    assert pruned(packed) == (result.symbols, result.size)
    assert unpack(output) == result.image


def test_nothing_of_the_c_library_s_own_is_ever_pruned() -> None:
    """What libstdc++ exports may be in other libraries, too; which one is used must not change."""
    from slimpack.elf.prune import _FOREIGN

    found = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True, check=False).stdout
    places = [line.rpartition(" ")[2] for line in found.splitlines() if "libstdc++.so.6" in line]
    if not places:
        pytest.skip("there is no libstdc++ here")
    names = [name for name in exchange(Path(places[0]).read_bytes()).offered if name.startswith(b"_Z")]
    assert len(names) > 1000
    assert [name for name in names if _FOREIGN.search(name)] == []


def test_names_are_found_wherever_they_are_mentioned() -> None:
    assert set(mentions(b'x = "_ZN3fooEv" + y_Z3barv', own=True)) == {b"_ZN3fooEv", b"_Z3barv"}
    assert set(mentions(b"_ZN3fooEv_Z3barvtail", own=True)) == {b"_ZN3fooEv_Z3barvtail", b"_Z3barvtail"}


def test_an_elf_file_does_not_mention_what_it_only_exports(make_elf: MakeElf, tmp_path: Path) -> None:
    image = make(make_elf, tmp_path, source=LIBRARY + f'const char *named = "{mangled(3)}";')

    assert {one for one in mentions(image, own=False) if b"rather" in one} == {mangled(3).encode()}
    assert len({one for one in mentions(image, own=True) if b"rather" in one}) == COUNT


@given(st.binary(max_size=40))
def test_hashes_are_those_of_the_standards(name: bytes) -> None:
    value = 5381
    for byte in name:
        value = value * 33 + byte
    assert gnu_hash(name) == value % 2**32
    value = 0
    for byte in name:
        value = value * 16 + byte
        if high := value & 0xF0000000:
            value ^= high >> 24
        value &= 0x0FFFFFFF
    assert sysv_hash(name) == value


def test_hashes_of_known_names() -> None:
    assert (gnu_hash(b"printf"), sysv_hash(b"printf")) == (0x156B2BB8, 0x077905A6)
    assert (gnu_hash(b""), sysv_hash(b"")) == (5381, 0)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("small")
    (folder / "lib.c").write_text(LIBRARY)
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-w", "-O1", "-o", folder / "lib.so", folder / "lib.c", "-lm"], check=True
    )
    return b"".join(compact((folder / "lib.so").read_bytes()).chunks)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_damaged_tables_are_refused_and_no_more(small: bytes, data: st.DataObject) -> None:
    layout = read(small)
    first = layout.loads[0]
    dynamic = next(one for one in layout.segments if one.type == 2)
    ranges = [(0, first.file_end), (dynamic.offset, dynamic.file_end)]
    start, end = data.draw(st.sampled_from(ranges))
    image = bytearray(small)
    for _ in range(data.draw(st.integers(1, 6))):
        image[data.draw(st.integers(start, end - 1))] = data.draw(st.integers(0, 255))
    try:
        result = prune(image, needed=(), eager=True)
    except ElfError:
        return
    assert len(memoryview(result.image)) == len(small)

"""What is packed unpacks to the same bytes, loaders and tools go on understanding it, and the rest is left."""

from __future__ import annotations

import hashlib
import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slimpack.elf.compact import compact
from slimpack.elf.dynamic import (
    DF_TEXTREL,
    DT_FLAGS,
    DT_NEEDED,
    DT_RPATH,
    DT_RUNPATH,
    read_dynamic,
    string,
    symbol_count,
)
from slimpack.elf.inspect import layout_problems
from slimpack.elf.layout import PF_W, PF_X, PT_SLIMPACK, SHT_NOBITS, ElfError, loader_problems, read
from slimpack.elf.pack import pack
from slimpack.elf.packed import PAGER, compress, decompress, read_packed
from slimpack.elf.unpack import unpack

if TYPE_CHECKING:
    from conftest import MakeElf

BLOCK = 0x10000
LIBRARY = """
extern int puts(const char *);
static const char words[150000] = "words";
const char *table[] = {words, words + 1, words + 2};
__thread int calls = 1;
__attribute__((constructor)) static void construct(void) { table[1] = words + 3; }
__asm__(".text\\n.fill 150000,1,0x90\\n");
int answer(int x) { calls++; return x + calls; }
__asm__(".text\\n.fill 150000,1,0x90\\n");
int other(int x) { return answer(x) + 1; }
const char *word(int n) { if (n > 9) puts("out"); return table[n]; }
"""
# what fills the gaps differs, but no gap is an instruction of another architecture
AARCH64 = LIBRARY.replace("0x90", "0")

LINKED = [
    (),
    ("-Wl,-z,now",),
    ("-Wl,-z,noseparate-code",),
    ("-Wl,-z,max-page-size=65536",),
    ("-Wl,-z,max-page-size=2097152", "-Wl,-z,noseparate-code"),
    ("-Wl,--hash-style=sysv",),
    ("-Wl,--hash-style=both", "-Wl,-soname,libnamed.so"),
    ("-Wl,-z,pack-relative-relocs",),
    ("-Wl,-z,nocombreloc",),
    ("-fuse-ld=gold",),
    ("-g",),
    ("-nostartfiles", "-Wl,-Bsymbolic"),
]


def make(make_elf: MakeElf, *args: str, source: str = LIBRARY, name: str = "libmade.so") -> bytes:
    path = make_elf(source, "-shared", "-fPIC", "-O1", "-fno-toplevel-reorder", *args, name=name)
    return b"".join(compact(path.read_bytes()).chunks)


def packed(image: bytes, *, data: bool = True) -> bytes:
    packing = pack(image, pager_folder="$ORIGIN/pager", block_size=BLOCK, level=3, data=data)
    output = b"".join(packing.chunks)
    assert len(output) == packing.size
    return output


@pytest.mark.parametrize(("size", "block"), [(1 << 20, 0x10000), (33 << 20, 0x20000)])
def test_blocks_of_small_files_are_smaller(make_elf: MakeElf, tmp_path: Path, size: int, block: int) -> None:
    noise = tmp_path / "noise"  # nothing becomes 64 times smaller
    noise.write_bytes(hashlib.shake_128(b"noise").digest(size // 32))
    code = f'.text\\n.incbin \\"{noise}\\"\\n.fill {size},1,0x90\\n'
    image = make(make_elf, source=f'int one(void) {{ return 1; }} __asm__("{code}");')

    packing = pack(image, pager_folder="$ORIGIN/pager", level=3)

    assert {one.block_size for one in packing.ranges if one.flags & 1} == {block}


def pager_in(folder: Path) -> None:
    """Puts the pager where libraries in a folder look for it."""
    (folder / "pager").mkdir()
    prebuilt = Path(__file__).parent.parent / "slimpack" / "pager" / "libslimpager-x86_64.so.1"
    (folder / "pager" / PAGER).write_bytes(prebuilt.read_bytes())


def without_sections(image: bytes) -> bytes:
    """Returns a file without section headers, as some packers and protectors make them."""
    changed = bytearray(image)
    struct.pack_into("<Q", changed, 40, 0)
    struct.pack_into("<HHH", changed, 58, 64, 0, 0)
    return bytes(changed)


@pytest.mark.parametrize("args", LINKED, ids=" ".join)
def test_a_packed_library_is_smaller_loads_and_unpacks_to_the_same_bytes(
    make_elf: MakeElf, tmp_path: Path, args: tuple[str, ...]
) -> None:
    # given
    image = make(make_elf, *args)

    # when
    output = packed(image)

    # then
    assert len(output) < len(image) // 4
    assert unpack(output) == image
    assert loader_problems(read(output)) == ()

    # and tools understand it
    path = tmp_path / "libpacked.so"
    path.write_bytes(output)
    assert layout_problems(path) == ()
    readelf = subprocess.run(["readelf", "-lSdsVW", path], capture_output=True, text=True, check=True)
    assert readelf.stderr == ""
    assert f"Shared library: [{PAGER}]" in readelf.stdout
    assert "slimpack_attach" in readelf.stdout

    # and it works
    pager_in(tmp_path)
    code = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
library.word.restype = ctypes.c_char_p
assert [library.word(0), library.word(1), library.word(2)] == [b"words", b"ds", b"rds"]
assert [library.answer(40), library.other(40)] == [42, 44]
"""
    subprocess.run([sys.executable, "-c", code, path], check=True)


@pytest.mark.parametrize("target", ["x86_64-linux-gnu.2.26", "aarch64-linux-gnu.2.26"])
@pytest.mark.parametrize("sections", [True, False])
def test_libraries_of_the_other_linker_and_architecture_are_packed(
    tmp_path: Path, target: str, sections: bool
) -> None:
    source, made = tmp_path / "lib.c", tmp_path / "lib.so"
    source.write_text(AARCH64)
    build = f"-m ziglang cc -target {target} -shared -fPIC -O1 -s -o".split()
    subprocess.run([sys.executable, *build, made, source], check=True)
    image = b"".join(compact(made.read_bytes()).chunks)
    if not sections:
        image = without_sections(image)

    output = packed(image)

    assert unpack(output) == image
    assert loader_problems(read(output)) == ()
    assert len(output) < len(image)
    found = read_packed(output)
    assert found is not None
    page = 0x10000 if "aarch64" in target else 0x1000
    assert all((one.address | one.size) % page == 0 for one in found.ranges)
    # without section headers nobody knows what is data: only code that has a segment for itself is cold
    assert sections or {one.flags & 1 for one in found.ranges} == {1}


def test_names_versions_and_places_stay(make_elf: MakeElf) -> None:
    image = make(make_elf, "-Wl,-soname,libnamed.so.3")
    output = packed(image)
    before, after = read(image), read(output)
    old, new = (read_dynamic(memoryview(one), read(one)) for one in (image, output))

    kept = {tag: value for tag, value in old.entries if tag in (14, 25, 26, 27, 28)}
    assert kept
    assert kept.items() <= dict(new.entries).items()
    assert symbol_count(memoryview(output), after, new) == symbol_count(memoryview(image), before, old) + 1
    assert {one.name for one in before.sections} | {".slimpack"} == {one.name for one in after.sections}
    text = next(one for one in after.sections if one.name == ".text")
    assert text.type == SHT_NOBITS


@pytest.mark.parametrize(
    ("args", "tag", "path"),
    [
        ((), DT_RPATH, "$ORIGIN/pager"),
        (("-Wl,-rpath,/one:/two", "-Wl,--enable-new-dtags"), DT_RUNPATH, "/one:/two:$ORIGIN/pager"),
        (("-Wl,-rpath,/one", "-Wl,--disable-new-dtags"), DT_RPATH, "/one:$ORIGIN/pager"),
    ],
)
def test_the_run_path_is_extended_and_no_path_of_others_is_switched_off(
    make_elf: MakeElf, args: tuple[str, ...], tag: int, path: str
) -> None:
    output = packed(make(make_elf, *args))
    layout = read(output)
    dynamic = read_dynamic(memoryview(output), layout)

    paths = [entry for entry in dynamic.entries if entry[0] in (DT_RPATH, DT_RUNPATH)]
    assert [one for one, _ in paths] == [tag]
    assert string(memoryview(output), layout, dynamic, paths[0][1]).decode() == path
    assert sum(one == DT_NEEDED for one, _ in dynamic.entries) >= 1


def test_what_a_start_touches_stays_raw_and_the_rest_is_packed_as_before(make_elf: MakeElf) -> None:
    # given a library with a run of code that is known to be touched, not at borders of pages
    image = make(make_elf)
    code = next(one for one in read(image).loads if one.flags & PF_X)
    first = code.address - code.address % BLOCK + BLOCK
    hot = ((first + 100, first + 5000), (first + 2 * BLOCK, first + 2 * BLOCK + 1))

    # when
    packing = pack(image, pager_folder="$ORIGIN/pager", block_size=BLOCK, level=3, hot=hot)

    # then
    output = b"".join(packing.chunks)
    assert unpack(output) == image
    assert loader_problems(read(output)) == ()
    assert not any(one.address < end and start < one.end for one in packing.ranges for start, end in hot)
    cold = read_packed(packed(image))
    assert cold is not None
    missing = sum(one.size for one in cold.ranges) - sum(one.size for one in packing.ranges)
    assert missing == 2 * 0x1000 + 0x1000


def test_read_only_data_is_left_raw_on_demand(make_elf: MakeElf) -> None:
    image = make(make_elf)
    with_data, without = packed(image), packed(image, data=False)
    data = next(one for one in read(image).sections if one.name == ".rodata")

    def covers(output: bytes) -> bool:
        found = read_packed(output)
        assert found is not None
        return any(one.address <= data.address + BLOCK < one.end for one in found.ranges)

    assert covers(with_data)
    assert not covers(without)
    assert unpack(without) == image


def test_a_library_that_claims_in_vain_that_its_code_is_relocated_is_packed(
    make_elf: MakeElf, tmp_path: Path
) -> None:
    image = bytearray(make(make_elf, "-Wl,-z,now"))
    layout = read(image)
    segment = read_dynamic(memoryview(image), layout).segment
    for at in range(segment.offset, segment.file_end, 16):
        tag, value = struct.unpack_from("<qQ", image, at)
        if tag == DT_FLAGS:
            struct.pack_into("<qQ", image, at, tag, value | DF_TEXTREL)

    assert DF_TEXTREL & (read_dynamic(memoryview(image), layout).get(DT_FLAGS) or 0)
    output = packed(bytes(image))
    assert unpack(output) == image
    # the loader must not make holes writable, and then take what was loaded into them away
    assert not DF_TEXTREL & (read_dynamic(memoryview(output), read(output)).get(DT_FLAGS) or 0)
    (tmp_path / "libpacked.so").write_bytes(output)
    pager_in(tmp_path)
    code = "import ctypes, sys; assert ctypes.CDLL(sys.argv[1]).answer(40) == 42"
    subprocess.run([sys.executable, "-c", code, tmp_path / "libpacked.so"], check=True)


def test_what_is_beside_a_cleared_section_is_packed(make_elf: MakeElf, tmp_path: Path) -> None:
    source = (
        LIBRARY
        + """
    __attribute__((section("gpu_code"))) const char kernels[100000] = {[0 ... 99999] = 7};
    int kernel(int n) { return kernels[n]; }
    """
    )
    path = make_elf(source, "-shared", "-fPIC", "-O1", "-fno-toplevel-reorder", name="libmade.so")
    compaction = compact(path.read_bytes(), clear=("gpu_code",))
    image = b"".join(compaction.chunks)
    assert compaction.hollow

    output = packed(image)

    assert unpack(output) == image
    assert len(output) < 60_000
    path.write_bytes(output)
    assert layout_problems(path) == ()
    pager_in(tmp_path)
    code = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
library.word.restype = ctypes.c_char_p
assert [library.kernel(50_000), library.answer(40), library.word(1)] == [0, 42, b"ds"]
"""
    subprocess.run([sys.executable, "-c", code, path], check=True)


@pytest.mark.parametrize("early", [False, True], ids=["", "but not before the hook"])
def test_writable_data_is_packed_and_there_before_the_loader_relocates_it(
    make_elf: MakeElf, tmp_path: Path, early: bool
) -> None:
    # given: pointers that the loader makes read-only, and numbers that stay writable
    source = (
        LIBRARY
        + """
    static const char *const names[6000] = {[0 ... 5999] = words + 7};
    int numbers[6000] = {[0 ... 5999] = 3};
    long check(void) {
      long sum = 0;
      for (int n = 0; n < 6000; n++) sum += (names[n] == words + 7) + numbers[n]++;
      return sum;
    }
    """
    )
    image = make(make_elf, *(("-Wl,-z,pack-relative-relocs",) if early else ()), source=source)

    # when
    output = packed(image)

    # then
    found = read_packed(output)
    assert found is not None
    writable = [one for one in found.ranges if one.flags & PF_W]
    if early:  # the loader applies DT_RELR before it gets to the hook
        assert writable == []
    else:
        assert sum(one.size for one in writable) > 60000
        assert {one.moment for one in writable} == {"library"}
    assert unpack(output) == image
    path = tmp_path / "libpacked.so"
    path.write_bytes(output)
    assert layout_problems(path) == ()
    pager_in(tmp_path)
    code = "import ctypes, sys; check = ctypes.CDLL(sys.argv[1]).check; assert [check(), check()] == [24000, 30000]"
    subprocess.run([sys.executable, "-c", code, path], check=True)


RANGES = [
    (24, 3),  # a moment that there is none of
    (28, 5),  # a filter that there is none of
    (32, 0x1000),  # code behind what its filter can say
    (20, 7),  # writable and executable
    (20, 6),  # writable and loaded on touch
]


@pytest.mark.parametrize(("at", "value"), RANGES)
def test_ranges_that_contradict_themselves_are_refused(small: bytes, at: int, value: int) -> None:
    found = read_packed(small)
    assert found is not None
    number = next(number for number, one in enumerate(found.ranges) if one.filter == "x86_64")
    start = next(one.offset for one in found.layout.segments if one.type == PT_SLIMPACK)
    frame_size, index_size = struct.unpack_from("<II", small, start + 24)
    index = bytearray(decompress(small[start + 32 : start + 32 + frame_size], index_size))
    struct.pack_into("<I", index, 24 + 40 * number + at, value)
    frame = compress(bytes(index))
    changed = bytearray(small)
    assert abs(len(frame) - frame_size) < 16  # so that the rest is where it was, almost
    frame, rest = frame[:frame_size], frame[frame_size:]
    changed[start + 32 : start + 32 + frame_size] = frame + bytes(frame_size - len(frame))
    changed[start + 32 + frame_size : start + 32 + frame_size + len(rest)] = rest
    struct.pack_into("<I", changed, start + 24, len(frame) + len(rest))
    with pytest.raises(ElfError, match=r"^a range of its packed part is none$"):
        unpack(changed)


REFUSED = [
    ("it is a program", ("-pie",), "int main(void) { return 0; }", ()),
    ("it has nothing worth packing", (), "int f(void) { return 1; }", ()),
    (
        "its code is relocated",
        ("-Wl,-z,notext",),
        LIBRARY + '__asm__(".text\\n.quad answer\\n");',
        (),
    ),
    (
        "the kernel reads its code, for restartable sequences",
        (),
        LIBRARY + '__asm__(".section __rseq_cs,\\"aw\\"\\n.quad 0\\n.text");',
        (),
    ),
    (
        "it is written in Go, whose runtime handles SIGSEGV and blocks it past libc",
        (),
        LIBRARY
        + '__asm__(".section .note.go.buildid,\\"a\\",@note\\n.long 4,4,4\\n.asciz \\"Go\\\\0\\"\\n.long 7\\n.text");',
        (),
    ),
]


@pytest.mark.parametrize(("reason", "args", "source", "rest"), REFUSED, ids=[one[0] for one in REFUSED])
def test_what_is_not_understood_is_refused(
    make_elf: MakeElf, reason: str, args: tuple[str, ...], source: str, rest: tuple[str, ...]
) -> None:
    flags = args if "-pie" in args else ("-shared", "-fPIC", *args)
    image = make_elf(source, *flags, *rest, name="made.so").read_bytes()
    with pytest.raises(ElfError, match=f"^{re.escape(reason)}$"):
        packed(image)


@pytest.mark.parametrize("sections", [True, False])
def test_a_file_with_more_segments_than_linkers_make_is_refused(make_elf: MakeElf, sections: bool) -> None:
    image = make(make_elf, "-nostartfiles")
    if not sections:
        image = without_sections(image)
    described = image[64 : 64 + 56 * len(read(image).segments)]
    image += bytes(-len(image) % 8)

    def with_segments(number: int) -> bytes:
        changed = bytearray(image + described.ljust(56 * number, b"\0"))
        struct.pack_into("<Q", changed, 32, len(image))
        struct.pack_into("<H", changed, 56, number)
        return bytes(changed)

    most = with_segments(1000)
    assert unpack(packed(most)) == most
    with pytest.raises(ElfError, match=r"^it has more than 1000 segments$"):
        packed(with_segments(1001))


def test_a_packed_file_is_neither_packed_nor_compacted_again(make_elf: MakeElf) -> None:
    output = packed(make(make_elf))
    with pytest.raises(ElfError, match=r"^it is packed$"):
        packed(output)
    compaction = compact(output)
    assert (b"".join(compaction.chunks), compaction.refused) == (output, "it is packed")


def test_a_file_that_is_not_packed_is_not_unpacked(make_elf: MakeElf) -> None:
    image = make(make_elf)
    assert read_packed(image) is None
    with pytest.raises(ElfError, match=r"^it is not packed$"):
        unpack(image)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("small")
    (folder / "lib.c").write_text(LIBRARY)
    command = ["gcc", "-shared", "-fPIC", "-O1", "-fno-toplevel-reorder", "-s", "-o", "lib.so", "lib.c"]
    subprocess.run(command, cwd=folder, check=True)
    return packed(b"".join(compact((folder / "lib.so").read_bytes()).chunks))


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_packed_file_that_was_changed_is_never_unpacked_to_something_else(
    small: bytes, data: st.DataObject
) -> None:
    changed = bytearray(small)
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(small) - 1))] = data.draw(st.integers(0, 255))
    try:
        output = unpack(changed)
    except ElfError:
        return
    assert output == unpack(small)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_damaged_library_is_packed_or_refused(small: bytes, data: st.DataObject) -> None:
    image = bytearray(unpack(small))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.one_of(st.integers(0, 0x1000), st.integers(len(image) - 0x1800, len(image) - 1)))
        image[at] = data.draw(st.integers(0, 255))
    try:
        output = packed(bytes(image))
    except ElfError:
        return
    assert unpack(output) == image

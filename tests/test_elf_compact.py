from __future__ import annotations

import ctypes
import struct
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slimpack.elf.compact import Compaction, compact
from slimpack.elf.layout import (
    PROGRAM_HEADER,
    PT_LOAD,
    PT_NOTE,
    PT_PHDR,
    SECTION_HEADER,
    is_elf,
    loader_problems,
    read,
)
from slimpack.elf.memory import same_memory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import MakeElf

LIBRARY = """
__thread int calls;
static const char *words[] = {"a", "b"};
const char *word(int number) { return words[number]; }
int answer(void) { return 41 + ++calls; }
"""
PROGRAM = '#include <stdio.h>\nint main(void) { puts("it runs"); return 0; }\n'
SHARED = ("-shared", "-fPIC")


def content(compaction: Compaction) -> bytes:
    return b"".join(compaction.chunks)


def names(image: bytes | bytearray) -> list[str]:
    return [section.name for section in read(image).sections]


def check_sound(image: bytes | bytearray, output: bytes) -> None:
    """Checks what has to hold for every output."""
    assert same_memory(image, output)
    assert content(compact(output)) == output
    assert set(loader_problems(read(output))) <= set(loader_problems(read(image)))


def complaints(path: Path) -> str:
    """Returns what binutils have to complain about."""
    run = subprocess.run(["readelf", "-aW", path], capture_output=True, text=True, check=True)
    return run.stderr


@pytest.mark.parametrize(
    "args",
    [
        ("-g",),
        ("-g", "-gz"),
        ("-g3", "-gdwarf-4"),
        ("-g", "-Wl,-z,noseparate-code"),
        ("-g", "-Wl,--hash-style=sysv"),
        ("-g", "-Wl,--hash-style=gnu"),
        ("-g", "-Wl,--emit-relocs"),
        ("-g", "-Wl,-z,max-page-size=65536"),
        ("-g", "-Wl,-z,max-page-size=2097152", "-Wl,-z,noseparate-code"),
        ("-g", "-Wl,-z,relro,-z,now"),
        ("-g", "-fuse-ld=gold"),
        ("-flto", "-g"),
        ("-s",),
        (),
    ],
    ids=" ".join,
)
def test_a_library_shrinks_and_works_as_before(
    make_elf: MakeElf, tmp_path: Path, args: tuple[str, ...]
) -> None:
    # given
    image = make_elf(LIBRARY, *SHARED, *args, name="libbefore.so").read_bytes()

    # when
    compaction = compact(image)

    # then it is smaller, what strip makes is not, and the bytes are what they are said to be
    output = tmp_path / "libafter.so"
    output.write_bytes(content(compaction))
    assert output.stat().st_size == compaction.size < len(image)
    subprocess.run(["strip", "-o", tmp_path / "stripped", tmp_path / "libbefore.so"], check=True)
    assert compaction.size <= (tmp_path / "stripped").stat().st_size

    # and it is sound, loads, and works
    check_sound(image, output.read_bytes())
    assert complaints(output) == ""
    library = ctypes.CDLL(str(output))
    assert [library.answer(), library.answer()] == [42, 43]


def test_what_is_dropped_is_named_and_what_remains_is_linked_right(make_elf: MakeElf) -> None:
    image = make_elf(LIBRARY, *SHARED, "-g").read_bytes()

    compaction = compact(image)

    sections = read(content(compaction)).sections
    by_name = {section.name: section for section in sections}
    assert {".comment", ".symtab", ".strtab", ".debug_info"} <= set(compaction.dropped)
    assert set(names(image)) - set(by_name) == set(compaction.dropped)
    assert compaction.refused is None
    assert sections[by_name[".dynsym"].link].name == ".dynstr"
    assert sections[by_name[".rela.plt"].info].name == ".got.plt"
    assert sections[by_name[".rela.dyn"].info].name == ""


@pytest.mark.parametrize(
    "args",
    [("-pie",), ("-no-pie",), ("-static-pie",), ("-static",), ("-no-pie", "-Wl,-z,noseparate-code")],
    ids=" ".join,
)
def test_an_executable_still_runs(make_elf: MakeElf, tmp_path: Path, args: tuple[str, ...]) -> None:
    image = make_elf(PROGRAM, "-g", *args, name="before").read_bytes()

    compaction = compact(image)

    after = tmp_path / "after"
    after.write_bytes(content(compaction))
    after.chmod(0o755)
    assert compaction.size < len(image)
    check_sound(image, after.read_bytes())
    assert complaints(after) == ""
    assert subprocess.run([after], capture_output=True, check=True).stdout == b"it runs\n"


def test_debuggers_and_ldd_still_understand_the_output(make_elf: MakeElf, tmp_path: Path) -> None:
    after = tmp_path / "after"
    after.write_bytes(content(compact(make_elf(PROGRAM, "-g").read_bytes())))
    after.chmod(0o755)

    ldd = subprocess.run(["ldd", after], capture_output=True, text=True, check=True)
    dump = subprocess.run(["objdump", "-d", "-j", ".text", after], capture_output=True, text=True, check=True)

    assert "libc.so.6" in ldd.stdout
    assert "<main" not in dump.stdout
    assert dump.stderr == ""


def test_nothing_to_drop_leaves_the_file_as_it_is(make_elf: MakeElf) -> None:
    image = content(compact(make_elf(LIBRARY, *SHARED).read_bytes()))

    compaction = compact(image)

    assert content(compaction) == image
    assert (compaction.dropped, compaction.refused) == ((), None)


def test_a_section_that_some_program_may_read_by_name_is_kept(make_elf: MakeElf) -> None:
    # given a library with an aligned section that no segment maps
    code = (
        'asm(".section .fatbin,\\"\\",@progbits; .balign 64; .rept 99; .ascii \\"by name\\"; .endr; .text");'
    )
    image = make_elf(LIBRARY + code, *SHARED, "-g").read_bytes()

    # when
    output = content(compact(image))

    # then its content is found by its name as before, aligned, all else is gone
    (section,) = (section for section in read(output).sections if section.name == ".fatbin")
    assert output[section.offset : section.file_end] == b"by name" * 99
    assert (section.alignment, section.offset % 64) == (64, 0)
    assert ".debug_info" not in names(output)
    check_sound(image, output)


def test_a_string_table_that_a_kept_section_is_linked_to_is_kept(make_elf: MakeElf) -> None:
    image = bytearray(
        make_elf(LIBRARY + 'asm(".section .mine,\\"\\",@progbits; .byte 1; .text");', *SHARED).read_bytes()
    )
    layout = read(image)
    mine, strings = names(image).index(".mine"), names(image).index(".strtab")
    struct.pack_into("<I", image, layout.header.sections_offset + mine * SECTION_HEADER.size + 40, strings)

    compaction = compact(image)

    assert ".symtab" in compaction.dropped
    assert {".mine", ".strtab"} <= set(names(content(compaction)))
    check_sound(image, content(compaction))


def test_thousands_of_sections_are_numbered_the_extended_way(tmp_path: Path, make_elf: MakeElf) -> None:
    # given a library with more sections than e_shnum can count
    code = "\n".join(
        f'asm(".section s{number},\\"\\",@progbits; .byte 1; .text");' for number in range(65400)
    )
    image = make_elf(code, *SHARED, "-nostdlib", name="lib.so").read_bytes()

    # when
    compaction = compact(image)

    # then
    output = tmp_path / "after.so"
    output.write_bytes(content(compaction))
    assert compaction.dropped == (".comment", ".symtab", ".symtab_shndx", ".strtab")
    assert len(read(output.read_bytes()).sections) > 0xFF00
    run = subprocess.run(["readelf", "-SW", output], capture_output=True, text=True, check=True)
    assert "s65399" in run.stdout
    assert run.stderr == ""


def test_sections_that_ask_for_absurd_alignment_do_not_make_the_output_grow(make_elf: MakeElf) -> None:
    code = "\n".join(f'asm(".section s{number},\\"\\",@progbits; .byte 1; .text");' for number in range(999))
    image = bytearray(make_elf(LIBRARY + code, *SHARED).read_bytes())
    layout = read(image)
    for number, section in enumerate(layout.sections):
        if section.name.startswith("s"):
            place = layout.header.sections_offset + number * SECTION_HEADER.size
            struct.pack_into("<Q", image, place + 48, 1 << 40)

    compaction = compact(image)

    assert content(compaction) == image
    assert "more alignment" in (compaction.refused or "")


def test_bytes_behind_everything_that_is_described_are_never_lost(make_elf: MakeElf) -> None:
    image = make_elf(PROGRAM, "-g").read_bytes() + b"PK\x05\x06 an archive"

    compaction = compact(image)

    assert content(compaction) == image
    assert compaction.refused == "it holds 15 bytes behind what its headers describe"


def test_padding_behind_the_file_is_no_content(make_elf: MakeElf) -> None:
    image = make_elf(LIBRARY, *SHARED, "-g").read_bytes()

    assert content(compact(image + bytes(1000))) == content(compact(image))


@pytest.mark.parametrize(
    ("offset", "value", "reason"),
    [
        (4, 1, "no 64-bit little-endian file"),
        (5, 2, "no 64-bit little-endian file"),
        (16, 1, "neither an executable nor a shared object"),
        (16, 4, "neither an executable nor a shared object"),
        (18, 243, "for a processor that is not understood"),
    ],
)
def test_what_is_not_understood_is_left_as_it_is(
    make_elf: MakeElf, offset: int, value: int, reason: str
) -> None:
    image = bytearray(make_elf(LIBRARY, *SHARED, "-g").read_bytes())
    image[offset] = value

    compaction = compact(image)

    assert content(compaction) == image
    assert reason in (compaction.refused or "")


def test_debug_information_kept_apart_is_left_as_it_is(make_elf: MakeElf) -> None:
    path = make_elf(LIBRARY, *SHARED, "-g")
    subprocess.run(["objcopy", "--only-keep-debug", path], check=True)

    compaction = compact(path.read_bytes())

    assert compaction.refused is not None
    assert content(compaction) == path.read_bytes()


def test_a_file_without_section_headers_is_left_as_it_is(make_elf: MakeElf) -> None:
    layout = read(image := make_elf(LIBRARY, *SHARED, "-s").read_bytes())
    header = bytearray(image[: max(segment.file_end for segment in layout.segments)])
    struct.pack_into("<Q", header, 40, 0)
    struct.pack_into("<HH", header, 60, 0, 0)

    assert compact(header) == Compaction(chunks=(memoryview(header),), size=len(header))


def moved_by_patchelf(image: bytes, *, alignment: int, headers: bool = False) -> bytes:
    """Returns the file with one more segment behind everything else, as patchelf appends them.

    PT_NOTE becomes the PT_LOAD segment, and .comment the section in it. With ``headers``, the program headers
    lie in the new segment.
    """
    layout = read(image)
    offset = len(image) + -len(image) % alignment
    end = max(segment.end for segment in layout.segments)
    address = offset if headers else end + -end % alignment
    segments = [
        list(one)
        for one in PROGRAM_HEADER.iter_unpack(
            image[layout.header.segments_offset : layout.header.segments_end]
        )
    ]
    note = next(number for number, segment in enumerate(layout.segments) if segment.type == PT_NOTE)
    size = len(segments) * PROGRAM_HEADER.size + 100
    segments[note] = [PT_LOAD, 6, offset, address, address, size, size, alignment]
    for segment in segments:
        if headers and segment[0] == PT_PHDR:
            segment[2:5] = [offset, address, address]
    table = b"".join(PROGRAM_HEADER.pack(*segment) for segment in segments)
    output = bytearray(image.ljust(offset, b"\0") + (table if headers else bytes(len(table))) + b"N" * 100)
    if headers:
        struct.pack_into("<Q", output, 32, offset)
    else:
        output[layout.header.segments_offset : layout.header.segments_end] = table
    comment = next(number for number, one in enumerate(layout.sections) if one.name == ".comment")
    place = layout.header.sections_offset + comment * SECTION_HEADER.size
    struct.pack_into("<QQQQ", output, place + 8, 2, address, offset, size)
    return bytes(output)


@pytest.mark.parametrize("alignment", [0x1000, 0x10000, 0x200000])
def test_holes_before_segments_that_patchelf_moved_are_closed(
    make_elf: MakeElf, tmp_path: Path, alignment: int
) -> None:
    # given a library whose symbol table lies between its segments
    image = moved_by_patchelf(make_elf(LIBRARY, *SHARED, "-g3").read_bytes(), alignment=alignment)
    assert loader_problems(read(image)) == ()

    # when
    compaction = compact(image)

    # then nothing but page borders separates the segments in the file, and the loader takes it
    output = tmp_path / "after.so"
    output.write_bytes(content(compaction))
    loads = [segment for segment in read(output.read_bytes()).segments if segment.type == PT_LOAD]
    assert loads[-1].offset - loads[-2].file_end < 0x1000
    check_sound(image, output.read_bytes())
    assert complaints(output) == ""
    assert ctypes.CDLL(str(output)).answer() == 42


def test_program_headers_of_an_executable_stay_where_old_kernels_look(
    make_elf: MakeElf, tmp_path: Path
) -> None:
    # given an executable whose program headers lie at its end, as far from its start as in memory
    image = moved_by_patchelf(make_elf(PROGRAM, "-g3").read_bytes(), alignment=0x1000, headers=True)

    # when
    output = content(compact(image))

    # then they are not moved, although there is a hole before them, and it runs
    assert read(output).header.segments_offset == read(image).header.segments_offset
    after = tmp_path / "after"
    after.write_bytes(output)
    after.chmod(0o755)
    assert subprocess.run([after], capture_output=True, check=True).stdout == b"it runs\n"


def test_a_changed_byte_in_memory_is_seen(make_elf: MakeElf) -> None:
    image = make_elf(LIBRARY, *SHARED, "-g").read_bytes()
    output = bytearray(content(compact(image)))
    assert same_memory(image, output)

    output[read(output).segments[1].offset + 1] ^= 1

    assert not same_memory(image, output)
    assert not same_memory(image, output[: len(output) // 2])


EXTREMES = [number.to_bytes(8, "little") for number in (0, 1, 0xFFFF, 1 << 32, 1 << 63, (1 << 64) - 1)]


@pytest.fixture(scope="module")
def compiled() -> dict[str, bytes]:
    """What has been compiled once for all examples of a test."""
    return {}


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_makes_it_fail_grow_or_change_the_memory(
    make_elf: MakeElf, compiled: dict[str, bytes], data: st.DataObject
) -> None:
    if not compiled:
        compiled["library"] = moved_by_patchelf(
            make_elf(LIBRARY, *SHARED, "-g").read_bytes(), alignment=0x1000
        )
    image = bytearray(compiled["library"])
    sections = read(image).header.sections_offset
    places = st.integers(0, 64 + 11 * 56) | st.integers(sections, sections + 35 * 64)
    for place in data.draw(st.lists(places, max_size=5)):
        image[place : place + 8] = data.draw(st.binary(min_size=8, max_size=8) | st.sampled_from(EXTREMES))

    compaction = compact(image)

    output = content(compaction)
    assert len(output) == compaction.size <= len(image)
    if compaction.dropped:
        assert same_memory(image, output)
        assert content(compact(output)) == output
    else:
        assert output == image


def elf_files(wheel: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if is_elf((image := archive.read(name))[:4]):
                yield name, image


def download(folder: Path, *args: str) -> list[Path]:
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"]
    subprocess.run([*pip, "-d", folder, *args], check=True)
    return sorted(folder.glob("*.whl"))


@pytest.mark.network
def test_real_wheels_are_no_larger_than_strip_makes_them_and_work(tmp_path: Path) -> None:
    # given libraries that auditwheel has rewritten, some with holes of 2 MiB
    tree, stripped = tmp_path / "tree", tmp_path / "stripped"
    wheels = download(tmp_path, "pillow", "markupsafe", "charset-normalizer")
    for wheel in wheels:
        zipfile.ZipFile(wheel).extractall(tree)
    sizes = []

    # when
    for wheel in wheels:
        for name, image in elf_files(wheel):
            compaction = compact(image)
            assert compaction.refused is None
            output = content(compaction)
            check_sound(image, output)
            subprocess.run(["strip", "-o", stripped, tree / name], check=True)
            sizes.append((len(image), len(output), stripped.stat().st_size))
            before = complaints(tree / name)
            (tree / name).write_bytes(output)
            assert complaints(tree / name) in ("", before)

    # then
    original, compacted, by_strip = (sum(column) for column in zip(*sizes, strict=True))
    assert compacted < by_strip < original
    code = (
        "from PIL import Image, features; import markupsafe, charset_normalizer; print(features.check('jpg'))"
    )
    environment = {"PYTHONPATH": str(tree)}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout == "True\n"


@pytest.mark.network
def test_real_wheels_for_arm64_stay_sound(tmp_path: Path) -> None:
    wheels = download(
        tmp_path, "--platform=manylinux_2_28_aarch64", "--python-version=3.12", "pillow", "markupsafe"
    )

    original, compacted = 0, 0
    for wheel in wheels:
        for _, image in elf_files(wheel):
            compaction = compact(image)
            assert compaction.refused is None
            check_sound(image, content(compaction))
            original += len(image)
            compacted += compaction.size
    assert 0 < compacted < original


def test_a_section_whose_alignment_is_no_power_of_two_is_left_as_it_is(make_elf: MakeElf) -> None:
    image = bytearray(make_elf(LIBRARY, *SHARED, "-g").read_bytes())
    layout = read(image)
    number = next(at for at, section in enumerate(layout.sections) if section.name == ".data")
    struct.pack_into("<Q", image, layout.header.sections_offset + number * SECTION_HEADER.size + 48, 0x1808)

    compaction = compact(image)

    assert content(compaction) == image
    assert compaction.refused == "the alignment of a segment or a section is no power of two"

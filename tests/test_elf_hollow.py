"""Sections that are cleared read as zeros, take up no space, and nothing else changes."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from slimpack.elf.compact import compact
from slimpack.elf.hollow import hollow
from slimpack.elf.inspect import layout_problems
from slimpack.elf.layout import ET_DYN, PAGE, PT_PHDR, SHT_NOBITS, Section, loader_problems, read
from slimpack.elf.memory import same_memory

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import MakeElf

KERNELS = ".nv_fatbin"
SIZE = 3 * 65536 + 100
"""Bytes of the section in the library below: more than a page of any kernel."""

LIBRARY = f"""
#define _GNU_SOURCE
#include <link.h>
#include <stddef.h>
__asm__(".section {KERNELS},\\"a\\",@progbits\\n.balign 8\\nkernels: .fill {SIZE},1,7\\n.text\\n");
extern const unsigned char kernels[] __attribute__((visibility("hidden")));
static const unsigned char *registered = kernels;
static const char *words[] = {{"before", "after"}};
__thread int calls = 1;
long read_kernels(void) {{ long sum = 0; for (int i = 0; i < {SIZE}; i++) sum += registered[i]; return sum; }}
const char *word(int number) {{ return words[number]; }}
int answer(void) {{ return 40 + ++calls; }}
static int count(struct dl_phdr_info *info, size_t size, void *found) {{
  for (int i = 0; i < info->dlpi_phnum; i++)
    *(int *)found += info->dlpi_phdr[i].p_type == PT_DYNAMIC;
  return 0;
}}
int loaded(void) {{ int found = 0; dl_iterate_phdr(count, &found); return found; }}
"""
SHARED = ("-shared", "-fPIC", "-g")

LINKED = [
    (),
    ("-Wl,-z,noseparate-code",),
    ("-Wl,-z,max-page-size=65536",),
    ("-Wl,-z,max-page-size=2097152", "-Wl,-z,noseparate-code"),
    ("-fuse-ld=gold",),
    ("-s",),
]


def cleared(image: bytes) -> bytes:
    return b"".join(compact(image, clear=[KERNELS]).chunks)


def section(image: bytes, name: str = KERNELS) -> Section:
    return next(one for one in read(image).sections if one.name == name)


@pytest.mark.parametrize("args", LINKED, ids=" ".join)
def test_a_library_without_its_kernels_works_and_reads_zeros_where_they_were(
    make_elf: MakeElf, tmp_path: Path, args: tuple[str, ...]
) -> None:
    # given
    image = make_elf(LIBRARY, *SHARED, *args, name="libbefore.so").read_bytes()

    # when
    compaction = compact(image, clear=[KERNELS])
    output = b"".join(compaction.chunks)

    # then the section is gone from the file, and what is left says so
    assert compaction.hollow == (KERNELS,)
    assert SIZE - 2 * PAGE <= compaction.hollow_bytes <= SIZE
    plain = compact(image)
    assert plain.size - len(output) > compaction.hollow_bytes - 2 * PAGE
    assert section(output).type == SHT_NOBITS
    assert (section(output).address, section(output).size) == (section(image).address, SIZE)

    # and memory is the same, but for the zeros
    assert same_memory(image, output, clear=[KERNELS])
    assert not same_memory(image, output)
    assert loader_problems(read(output)) == ()
    path = tmp_path / "libafter.so"
    path.write_bytes(output)
    assert layout_problems(path) == ()
    readelf = subprocess.run(["readelf", "-aW", path], capture_output=True, text=True, check=True)
    assert readelf.stderr == ""

    # and it loads and works, thread-local storage and unwinders' walk over program headers included
    library = ctypes.CDLL(str(path))
    library.word.restype, library.read_kernels.restype = ctypes.c_char_p, ctypes.c_long
    assert library.read_kernels() == 0
    assert [library.word(0), library.word(1)] == [b"before", b"after"]
    assert [library.answer(), library.answer()] == [42, 43]
    assert library.loaded() > 2

    # and there is nothing left to do
    assert cleared(output) == output


def test_the_section_read_its_content_before(make_elf: MakeElf) -> None:
    library = ctypes.CDLL(str(make_elf(LIBRARY, *SHARED)))
    assert library.read_kernels() == 7 * SIZE


def test_program_headers_that_describe_themselves_go_on_doing_so(tmp_path: Path) -> None:
    # given a library that ld.lld or patchelf has given PT_PHDR, which bfd gives to what has an interpreter
    path = tmp_path / "lib.so"
    source = tmp_path / "lib.c"
    source.write_text(LIBRARY)
    for target in ("x86_64-linux-gnu.2.26", "aarch64-linux-gnu.2.26"):
        build = ["-m", "ziglang", "cc", "-target", target, "-shared", "-fPIC", "-O1", "-o", path, source]
        subprocess.run([sys.executable, *build], check=True)
        image = path.read_bytes()
        assert any(one.type == PT_PHDR for one in read(image).segments)

        output = cleared(image)

        layout = read(output)
        table = next(one for one in layout.segments if one.type == PT_PHDR)
        assert (table.offset, table.file_size) == (
            layout.header.segments_offset,
            layout.header.segments_end - layout.header.segments_offset,
        )
        assert loader_problems(layout) == ()
        assert same_memory(image, output, clear=[KERNELS])


@pytest.mark.parametrize(
    ("source", "args"),
    [
        (LIBRARY.replace(str(SIZE), "5000"), SHARED),
        (LIBRARY.replace('\\"a\\"', '\\"aw\\"'), SHARED),
        (LIBRARY.replace('\\"a\\"', '\\"\\"'), SHARED),
        (LIBRARY.replace(KERNELS, ".other"), SHARED),
        (LIBRARY + "int main(void) { return 0; }", ("-g",)),
    ],
    ids=["no whole page", "writable", "not mapped", "another name", "an executable"],
)
def test_what_cannot_be_cleared_is_left(make_elf: MakeElf, source: str, args: tuple[str, ...]) -> None:
    made = source if '\\"\\"' not in source else source.replace("registered[i]", "i")
    if made is not source:
        made = made.replace("static const unsigned char *registered = kernels;", "")
    image = make_elf(made, *args).read_bytes()

    with_rule = compact(image, clear=[KERNELS])

    assert with_rule.hollow == ()
    assert b"".join(with_rule.chunks) == b"".join(compact(image).chunks)
    assert read(image).header.type == ET_DYN


def test_without_names_a_layout_is_as_it_was(make_elf: MakeElf) -> None:
    layout = read(make_elf(LIBRARY, *SHARED).read_bytes())
    assert hollow(layout, ()).layout is layout
    assert hollow(layout, (".nothing",)).layout is layout


def test_a_section_that_another_one_lies_in_is_left(make_elf: MakeElf) -> None:
    # given a section header that claims a part of the kernels
    image = bytearray(make_elf(LIBRARY, *SHARED).read_bytes())
    layout = read(image)
    kernels = section(bytes(image))
    comment = next(i for i, one in enumerate(layout.sections) if one.name == ".comment")
    header = layout.header.sections_offset + 64 * comment
    image[header + 24 : header + 32] = (kernels.offset + PAGE).to_bytes(8, "little")

    assert compact(image, clear=[KERNELS]).hollow == ()


def test_a_byte_changed_elsewhere_is_seen(make_elf: MakeElf) -> None:
    image = make_elf(LIBRARY, *SHARED).read_bytes()
    output = bytearray(cleared(image))
    text = section(bytes(output), ".text")
    output[text.offset] ^= 1
    assert not same_memory(image, output, clear=[KERNELS])


def test_no_byte_of_it_is_left_on_the_pages_that_it_shared(make_elf: MakeElf) -> None:
    assert bytes([7]) * 64 not in cleared(make_elf(LIBRARY, *SHARED).read_bytes())

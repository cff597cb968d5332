from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slimpack.elf.layout import (
    PT_DYNAMIC,
    PT_GNU_RELRO,
    PT_LOAD,
    SHT_NOBITS,
    ElfError,
    Layout,
    is_elf,
    loader_problems,
    read,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import MakeElf

SOURCE = 'int counter; const char *text = "text"; int next(void) { return ++counter; }'


@pytest.fixture(scope="module")
def compiled() -> dict[str, bytes]:
    """What has been compiled once for all tests of this module."""
    return {}


@pytest.fixture
def library(make_elf: MakeElf, compiled: dict[str, bytes]) -> bytes:
    if "library" not in compiled:
        compiled["library"] = make_elf(SOURCE, "-shared", "-fPIC", "-g").read_bytes()
    return compiled["library"]


def patched(image: bytes, offset: int, code: str, value: int) -> bytes:
    changed = bytearray(image)
    struct.pack_into(f"<{code}", changed, offset, value)
    return bytes(changed)


def test_headers_segments_and_sections_are_read_as_readelf_reads_them(library: bytes) -> None:
    layout = read(library)

    names = [section.name for section in layout.sections]
    assert names[0] == ""
    assert {".text", ".dynsym", ".dynamic", ".bss", ".symtab", ".debug_info", ".shstrtab"} <= set(names)
    assert (layout.size, layout.header.machine) == (len(library), 62)
    assert layout.header.sections_end == len(library)
    dynamic = layout.sections[names.index(".dynamic")]
    (segment,) = (segment for segment in layout.segments if segment.type == PT_DYNAMIC)
    assert (segment.offset, segment.file_size) == (dynamic.offset, dynamic.size)
    assert dynamic.allocated
    assert layout.sections[dynamic.link].name == ".dynstr"
    bss = layout.sections[names.index(".bss")]
    assert (bss.type, bss.file_size, bss.file_end) == (SHT_NOBITS, 0, bss.offset)


def test_what_the_linker_makes_has_no_loader_problems(library: bytes) -> None:
    assert loader_problems(read(library)) == ()


def test_an_elf_file_is_told_by_its_first_bytes(library: bytes) -> None:
    assert is_elf(library[:4])
    assert not is_elf(b"#!/bin/sh")
    assert not is_elf(b"\x7fEL")


def test_numbers_too_large_for_the_header_are_read_from_the_null_section(library: bytes) -> None:
    # given a file whose header refers to section 0 for its counts
    layout = read(library)
    start = layout.header.sections_offset
    image = library
    for offset, code, value in [
        (56, "H", 0xFFFF),  # e_phnum is PN_XNUM
        (60, "H", 0),  # e_shnum
        (62, "H", 0xFFFF),  # e_shstrndx is SHN_XINDEX
        (start + 32, "Q", layout.header.sections),
        (start + 40, "I", layout.header.names_index),
        (start + 44, "I", layout.header.segments),
    ]:
        image = patched(image, offset, code, value)

    # then it reads as before, but for the null section itself
    extended = read(image)
    assert (extended.header, extended.segments) == (layout.header, layout.segments)
    assert extended.sections[1:] == layout.sections[1:]


def test_a_file_without_section_headers_is_read(library: bytes) -> None:
    image = patched(patched(patched(library, 40, "Q", 0), 60, "H", 0), 62, "H", 0)

    layout = read(image)

    assert (layout.sections, layout.segments) == ((), read(library).segments)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda image: image[:0], "no ELF file"),
        (lambda image: b"!" + image[1:], "no ELF file"),
        (lambda image: image[:20], "ends inside its ELF header"),
        (lambda image: patched(image, 4, "B", 1), "no 64-bit little-endian file"),
        (lambda image: patched(image, 5, "B", 2), "no 64-bit little-endian file"),
        (lambda image: patched(image, 20, "I", 2), "unknown ELF version 2"),
        (lambda image: patched(image, 32, "Q", 1 << 63), "program header table lies outside"),
        (lambda image: patched(image, 40, "Q", len(image) - 64), "section header table lies outside"),
        (lambda image: patched(image, 54, "H", 32), "program headers have 32 bytes"),
        (lambda image: patched(image, 58, "H", 40), "section headers have 40 bytes"),
        (lambda image: patched(image, 62, "H", 5000), "contradict each other"),
        (lambda image: patched(image, 62, "H", 1), "no string table"),
        (lambda image: patched(image, 64 + 32, "Q", 1 << 40), "segment at offset 0x0 lies outside"),
        (lambda image: image[: len(image) // 2], "lies outside the file"),
    ],
)
def test_a_damaged_file_is_refused_with_the_reason(
    library: bytes, damage: Callable[[bytes], bytes], reason: str
) -> None:
    with pytest.raises(ElfError, match=reason):
        read(damage(library))


def test_section_names_have_to_be_printable_and_inside_their_table(library: bytes) -> None:
    layout = read(library)
    names = layout.sections[layout.header.names_index]
    at = library.index(b".text\0", names.offset)

    with pytest.raises(ElfError, match="not printable"):
        read(patched(library, at, "B", 0x1B))
    with pytest.raises(ElfError, match="outside the table of names"):
        read(patched(library, layout.header.sections_offset + 64, "I", names.size))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"alignment": 0x800}, "no power of two of whole pages"),
        ({"alignment": 0x3000}, "no power of two of whole pages"),
        ({"alignment": 0x200000, "offset": 0x1000}, "forbids it in the file"),
        ({"memory_size": 0}, "more bytes in the file than in memory"),
        ({"address": 1 << 40}, "share a page or are out of order"),
        ({"memory_size": 1 << 20}, "share a page or are out of order"),
    ],
)
def test_the_oldest_loaders_rules_for_a_segment_are_applied(
    library: bytes, change: dict[str, int], problem: str
) -> None:
    assert any(problem in one for one in loader_problems(with_segment(read(library), PT_LOAD, change)))


@pytest.mark.parametrize("kind", [PT_DYNAMIC, PT_GNU_RELRO])
def test_what_the_loader_reads_in_memory_has_to_be_mapped(library: bytes, kind: int) -> None:
    (problem,) = loader_problems(with_segment(read(library), kind, {"address": 1 << 40}))

    assert problem.startswith("no PT_LOAD segment holds the PT_")


def test_a_file_with_nothing_to_load_has_a_problem(make_elf: MakeElf) -> None:
    layout = read(make_elf(SOURCE, "-c").read_bytes())

    assert loader_problems(layout) == ("it has no loadable segment",)


def with_segment(layout: Layout, kind: int, change: dict[str, int]) -> Layout:
    """Returns the layout with the first segment of a kind changed."""
    number = next(number for number, segment in enumerate(layout.segments) if segment.type == kind)
    segments = list(layout.segments)
    segments[number] = replace(segments[number], **change)
    return replace(layout, segments=tuple(segments))


EXTREMES = [number.to_bytes(8, "little") for number in (0, 1, 0xFFFF, 1 << 32, 1 << 63, (1 << 64) - 1)]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_raises_anything_but_an_elf_error(library: bytes, data: st.DataObject) -> None:
    image = bytearray(library)
    headers = st.integers(0, 64 + 11 * 56) | st.integers(len(image) - 3000, len(image) - 8)
    for place in data.draw(st.lists(headers | st.integers(0, len(image) - 8), max_size=5)):
        image[place : place + 8] = data.draw(st.binary(min_size=8, max_size=8) | st.sampled_from(EXTREMES))
    del image[data.draw(st.just(len(image)) | st.integers(0, len(image))) :]

    try:
        layout = read(bytes(image))
    except ElfError:
        return
    loader_problems(layout)
    assert all(segment.file_end <= len(image) for segment in layout.segments if segment.type == PT_LOAD)
    assert all(section.file_end <= len(image) for section in layout.sections if section.file_size)

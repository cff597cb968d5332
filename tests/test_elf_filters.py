"""Filters give back what they were given, whatever it is, and make what they are for smaller."""

from __future__ import annotations

import struct
import subprocess
from typing import TYPE_CHECKING, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimpack.elf.filters import FILTERS, MOST_REACH, Filter, apply, undo
from slimpack.elf.packed import compress

if TYPE_CHECKING:
    from pathlib import Path

REACH = 0x5000

MARKED = st.lists(
    st.one_of(
        st.sampled_from([b"\xe8", b"\x8b\x05", b"\x8d\x3d", b"\x8b\xe8", b"\xe8\xe8", b"\x94", b"\x90"]),
        st.integers(-REACH - 9, REACH + 9).map(lambda number: struct.pack("<i", number)),
        st.binary(max_size=5),
    ),
    max_size=40,
).map(b"".join)
"""What the filters look for, and operands near the ends of what they replace."""


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 8)


def test_every_filter_has_a_number() -> None:
    assert set(FILTERS) == set(get_args(Filter))


@pytest.mark.parametrize("name", FILTERS)
@given(content=st.one_of(MARKED, st.binary(max_size=300)), page=st.integers(0, 3))
def test_a_filter_gives_back_what_it_was_given(name: Filter, content: bytes, page: int) -> None:
    content, address = padded(content), page * 0x1000
    filtered = bytes(apply(name, content, address=address, reach=REACH))
    assert len(filtered) == len(content)
    assert undo(name, filtered, address=address, reach=REACH) == content


@pytest.mark.parametrize("name", FILTERS)
@given(content=st.one_of(MARKED, st.binary(max_size=300)))
def test_any_block_can_be_undone_and_comes_from_one_block_only(name: Filter, content: bytes) -> None:
    content = padded(content)
    plain = bytes(undo(name, content, address=0x1000, reach=REACH))
    assert apply(name, plain, address=0x1000, reach=REACH) == content


def test_calls_of_one_function_look_the_same() -> None:
    calls = b"".join(b"\xe8" + struct.pack("<i", 0x4000 - 0x1000 - at - 5) for at in range(0, 40, 5))
    filtered = bytes(apply("x86_64", calls, address=0x1000, reach=REACH))
    assert filtered == (b"\xe8" + struct.pack("<I", 0x4000)) * 8


def test_branches_to_one_function_look_the_same_on_aarch64() -> None:
    calls = b"".join(
        struct.pack("<I", 0x94000000 | (0x4000 - 0x1000 - at >> 2) & 0x3FFFFFF) for at in range(0, 32, 4)
    )
    assert apply("aarch64", calls, address=0x1000, reach=0) == struct.pack("<I", 0x94001000) * 8


@pytest.mark.parametrize(("name", "code", "step"), [("words", "<2i", 32), ("double words", "<3q", 24)])
def test_ascending_tables_become_small(name: Filter, code: str, step: int) -> None:
    columns = len(struct.unpack(code, bytes(struct.calcsize(code))))
    table = b"".join(struct.pack(code, *[step * at * (at % 7) for _ in range(columns)]) for at in range(2000))
    table = padded(table)
    filtered = apply(name, table, address=0, reach=0)
    assert len(compress(bytes(filtered))) < len(compress(table))


NATIVE = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "filters.h"
int main(int count, char **arguments)
{
	static unsigned char content[1 << 20] __attribute__((aligned(16)));
	struct range range = {.filter = (uint32_t)atoi(arguments[1]), .reach = (uint32_t)atoi(arguments[2])};
	size_t size = fread(content, 1, sizeof content, stdin);
	undo(&range, content, size, (uint64_t)atoi(arguments[3]));
	return count != 4 || fwrite(content, 1, size, stdout) != size;
}
"""


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("seed", range(3))
def test_the_pager_undoes_the_same(native: Path, name: Filter, seed: int) -> None:
    # given: many operands, at every place within the sixteen bytes that are looked at together
    pieces = [
        b"\xe8",
        b"\x8b\x05",
        b"\x8d\x35\x01",
        b"\x94\x01\x02\x97",
        b"\x90\xb0",
        b"\x8b\x8d\x05",
        b"\0" * 17,
    ]
    block, state = b"", seed + 1
    while len(block) < 20000:
        state = state * 6364136223846793005 + 1442695040888963407 & (1 << 64) - 1
        block += pieces[state >> 40 & 0xFF if state >> 40 & 0xFF < len(pieces) else seed]
        block += struct.pack("<i", (state >> 33 & 0x7FFF) - 0x4000)
    block = padded(block)

    # when
    command = [str(native), str(FILTERS.index(name)), str(0x8000), "4096"]
    undone = subprocess.run(command, input=block, capture_output=True, check=True).stdout

    # then
    assert undone == undo(name, block, address=0x1000, reach=0x8000)
    assert name == "none" or undone != block


@pytest.mark.parametrize("code", [b"\xe8", b"\x8b\x05", b"\x8d\x3d"])
@pytest.mark.parametrize("place", [0, 11, 0x2000 - 6])
def test_code_of_x86_64_has_its_limits_where_the_format_says(native: Path, code: bytes, place: int) -> None:
    # given: an operand as it is stored; the address behind it is n
    n = 0x1000 + place + len(code) + 4
    in_memory = {
        -n - 1: -n - 1,
        -n: REACH - n,
        -1: REACH - 1,
        0: -n,
        REACH - 1: REACH - 1 - n,
        REACH: REACH,
    }
    for stored, expected in in_memory.items():
        block = (bytes(place) + code + struct.pack("<i", stored)).ljust(0x2000, b"\0")

        # when
        undone = bytes(undo("x86_64", block, address=0x1000, reach=REACH))
        command = [str(native), str(FILTERS.index("x86_64")), str(REACH), "4096"]
        by_the_pager = subprocess.run(command, input=block, capture_output=True, check=True).stdout

        # then
        rest = block[place + len(code) + 4 :]
        assert undone == by_the_pager == bytes(place) + code + struct.pack("<i", expected) + rest
        assert apply("x86_64", undone, address=0x1000, reach=REACH) == block


@pytest.mark.parametrize("end", [b"\xe8\1\0\0", b"\x8b\x05\1\0\0", b"\x8d\x05\xe8\1\0"])
def test_an_operand_that_a_block_cuts_stays(native: Path, end: bytes) -> None:
    block = end.rjust(64, b"\0")
    command = [str(native), str(FILTERS.index("x86_64")), str(REACH), "4096"]

    by_the_pager = subprocess.run(command, input=block, capture_output=True, check=True).stdout

    assert block == undo("x86_64", block, address=0x1000, reach=REACH) == by_the_pager


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Path:
    folder = tmp_path_factory.mktemp("filters")
    (folder / "main.c").write_text(NATIVE)
    include = f"-I{pytestconfig.rootpath / 'slimpack' / 'pager'}"
    subprocess.run(
        ["gcc", "-O1", "-Wall", "-Werror", include, "-o", folder / "main", folder / "main.c"], check=True
    )
    return folder / "main"


def test_code_behind_what_the_filter_can_say_is_out_of_reach() -> None:
    block = b"\xe8" + struct.pack("<i", 5) + bytes(3)
    assert (
        undo("x86_64", apply("x86_64", block, address=0, reach=MOST_REACH), address=0, reach=MOST_REACH)
        == block
    )

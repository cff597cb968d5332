"""A hostile packed file costs no more than a real one of its size: it is refused before it is unfolded."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from slimpack.elf.compact import compact
from slimpack.elf.layout import (
    EM_X86_64,
    ET_DYN,
    FILE_HEADER,
    PROGRAM_HEADER,
    PT_LOAD,
    PT_NOTE,
    PT_SLIMPACK,
    ElfError,
    read,
)
from slimpack.elf.pack import pack
from slimpack.elf.packed import HEADER, INDEX, MAGIC, RANGE, VERSION, compress
from slimpack.elf.unpack import _RECIPE, _RUN, recipe, unpack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conftest import MakeElf

EMPTY = INDEX.pack(0, 0, 0, 0) + bytes(8)
LAST = len(_RECIPE.unpack(bytes(_RECIPE.size))) - 4


def made_up(
    *, loads: int = 1, index: bytes = EMPTY, runs: Sequence[tuple[int, int, int]] = (), size: int = 64
) -> bytes:
    """Returns a packed file that has nothing but headers, an index and a recipe."""
    steps = _RECIPE.pack(size, bytes(32), len(runs), 0, *[0] * LAST)
    frame, last = compress(index), compress(steps + b"".join(_RUN.pack(*run) for run in runs))
    part = HEADER.pack(MAGIC, VERSION, 0, 0, len(frame), len(index)) + frame + last
    start = FILE_HEADER.size + (loads + 1) * PROGRAM_HEADER.size
    identification = b"\x7fELF\2\1\1".ljust(16, b"\0")
    header = FILE_HEADER.pack(
        identification, ET_DYN, EM_X86_64, 1, 0, 64, 0, 0, 64, 56, loads + 1, 0, 0, 0
    )  # fmt: skip
    header += PROGRAM_HEADER.pack(PT_LOAD, 4, 0, 0, 0, start, start, 0x1000) * loads
    return header + PROGRAM_HEADER.pack(PT_SLIMPACK, 4, start, 0, 0, len(part), len(part), 8) + part


HOSTILE = {
    "an index of zeros": (
        "the index of its packed part lies outside, or is larger than its blocks ask for",
        {"index": INDEX.pack(0, 0, 0, 1 << 20) + bytes(8 << 20)},
    ),
    "ranges without blocks": (
        "the index of its packed part lies outside, or is larger than its blocks ask for",
        {"index": INDEX.pack(0, 0, 1 << 16, 0) + bytes(RANGE.size << 16)},
    ),
    "the same memory again and again": (
        "the recipe of its packed part is none",
        {"runs": [(0, 64, 0)] * 2},
    ),
    "the same segment again and again": (
        "the PT_LOAD segments at 0x0 and 0x0 share a page or are out of order",
        {"loads": 2, "runs": [(0, 64, 0)]},
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_asks_for_more_than_it_can_need_is_refused(name: str) -> None:
    reason, parts = HOSTILE[name]
    with pytest.raises(ElfError, match=f"^{re.escape(reason)}$"):
        unpack(made_up(**parts))  # type: ignore[arg-type]  # the table's values are of several types


def test_what_asks_for_no_more_is_only_refused_because_it_holds_something_else() -> None:
    with pytest.raises(ElfError, match="unpacks to another file"):
        unpack(made_up(runs=[(0, 32, 0), (32, 32, 32)]))


def test_a_file_of_which_parts_are_mapped_twice_is_not_packed(make_elf: MakeElf) -> None:
    # given
    code = '__asm__(".text\\n.fill 150000,1,0x90\\n"); int f(void) { return 1; }'
    path = make_elf(code, "-shared", "-fPIC", "-Wl,-soname,libmade.so", name="libmade.so")
    image = bytearray(b"".join(compact(path.read_bytes()).chunks))
    layout = read(image)
    number = max(at for at, one in enumerate(layout.segments) if one.type not in (PT_LOAD, PT_NOTE))
    whole = len(image) - len(image) % 0x1000
    PROGRAM_HEADER.pack_into(
        image,
        layout.header.segments_offset + number * PROGRAM_HEADER.size,
        *(PT_LOAD, 4, 0, 0x1000000, 0x1000000, whole, whole, 0x1000),
    )

    # then
    with pytest.raises(ElfError, match=r"^parts of it are mapped more than once$"):
        pack(image, pager_folder="$ORIGIN", level=3)
    assert recipe(memoryview(image), layout, [])

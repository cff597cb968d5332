"""Nothing of real libraries is lost: packed, each has the memory that it had, and unpacks to the same bytes.

Blocks are compressed at level 3, which is quick: another level gives other frames, and changes nothing else but which
ranges and files are not worth it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import struct
from bisect import bisect_right
from collections import Counter
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from oracle import (
    DT_NEEDED,
    DT_STRSZ,
    DT_STRTAB,
    PT_DYNAMIC,
    PT_LOAD,
    PT_PACKED,
    PT_PHDR,
    Oracle,
    PackedOracle,
)

from slimpack import resolve, target
from slimpack.cache import default_root, open_cache
from slimpack.elf.compact import compact
from slimpack.elf.layout import ElfError, loader_problems, read
from slimpack.elf.pack import NoGainError, block_size_of, pack
from slimpack.elf.prune import prune
from slimpack.elf.start import run_by_loaders
from slimpack.elf.unpack import unpack
from slimpack.warm import degrees
from slimpack.wheel import Wheel

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from oracle import Piece

    from slimpack.elf.prune import Pruning
    from slimpack.model import Architecture

pytestmark = [pytest.mark.network, pytest.mark.heavy]

STACKS = [
    ("tensorflow-cpu", "x86_64"),
    ("catboost", "x86_64"),
    ("jax", "x86_64"),
    ("librosa", "x86_64"),
    ("pyarrow pandas", "x86_64"),
    ("spacy", "x86_64"),
    ("xgboost pandas", "x86_64"),
    ("opencv-python-headless", "x86_64"),
    ("onnxruntime transformers", "x86_64"),
    ("polars duckdb", "x86_64"),
    ("scikit-learn", "x86_64"),
    ("scikit-learn pandas", "arm64"),
    ("pyarrow onnxruntime", "arm64"),
]

FINE = {"packed", "packed, and also pruned or with code left raw", "no gain"}
FOLDER = "$ORIGIN/../slimpack.libs"

ET_DYN = 3
PT_GNU_EH_FRAME = 0x6474E550
DT_SYMTAB, DT_RELA, DT_RELASZ, DT_RPATH, DT_RUNPATH, DT_VERSYM = 6, 7, 8, 15, 29, 0x6FFFFFF0
DT_HASH, DT_RELAENT, DT_RELACOUNT = 4, 9, 0x6FFFFFF9
DT_TEXTREL, DT_FLAGS, DF_TEXTREL = 22, 30, 4
DT_X86_64_PLT, DT_X86_64_PLTSZ, DT_X86_64_PLTENT = 0x70000000, 0x70000001, 0x70000003
GROWN = {DT_HASH, DT_STRTAB, DT_STRSZ, DT_SYMTAB, DT_VERSYM, DT_RELA, DT_RELASZ, DT_RELAENT}
DROPPED = {DT_RELACOUNT, DT_X86_64_PLT, DT_X86_64_PLTSZ, DT_X86_64_PLTENT}
RELATIVE = {62: 8, 183: 1027}
"""``R_X86_64_RELATIVE``, ``R_AARCH64_RELATIVE``."""
GLOB_DAT = {62: 6, 183: 1025}
LARGEST_PAGE = {62: 0x1000, 183: 0x10000}
MASKING = {
    *("pthread_sigmask", "sigprocmask", "sigaction", "signal", "__sysv_signal"),
    *("sigsuspend", "ppoll", "pselect", "epoll_pwait"),
}
"""Functions of libc that can block a signal or handle it."""
SYMBOL = 24


@pytest.mark.parametrize(("requirements", "architecture"), STACKS, ids=map(" ".join, STACKS))
def test_every_library_of_a_stack_keeps_its_memory_and_unpacks_to_the_same_bytes(
    requirements: str, architecture: Architecture, tmp_path: Path
) -> None:
    wanted = tmp_path / "requirements.txt"
    wanted.write_text("\n".join(requirements.split()), encoding="utf-8")
    runs_on = target.make(runtime="python3.12", architecture=architecture)

    with open_cache(default_root(os.environ)) as store:
        inputs = resolve.read(wanted, runs_on)
        wheels = resolve.prepare(inputs, store.wheel_store).wheels
        outcomes = {path: how for wheel in wheels.values() for path, how in outcomes_of(wheel).items()}

    counted = Counter(outcomes.values())
    logging.getLogger(__name__).info("%s for %s: %s", requirements, architecture, dict(counted))
    assert counted.total() > counted["no gain"]
    assert {path: how for path, how in outcomes.items() if how not in FINE} == {}


@cache
def outcomes_of(wheel: Path) -> dict[str, str]:
    """Packs every library of a wheel, and returns by its path that it was, or why it could not be."""
    outcomes: dict[str, str] = {}
    with Wheel.open(wheel) as opened:
        for file in opened.files:
            image = opened.read(file)
            if image.startswith(b"\x7fELF") and Oracle(image).type == ET_DYN:
                try:
                    compacted = b"".join(compact(image).chunks)
                    check(compacted)
                    outcomes[file.path] = "packed"
                    pruning = prune(compacted, needed=(), eager=False)
                    if (hot := run_at_start(compacted)) or pruning.symbols:
                        check(bytes(pruning.image), pruning, hot)
                        outcomes[file.path] = "packed, and also pruned or with code left raw"
                except NoGainError:
                    outcomes[file.path] = "no gain"
                except ElfError as problem:
                    outcomes[file.path] = problem.reason
                except AssertionError as difference:
                    raise AssertionError(f"{file.path} of {wheel.name}: {difference}") from difference
    return outcomes


def run_at_start(image: bytes) -> tuple[tuple[int, int], ...]:
    """Returns the runs of code that would be left raw if there was all the room for it."""
    layout = read(image)
    page = LARGEST_PAGE[layout.header.machine]
    found = degrees(run_by_loaders(image), block=block_size_of(len(image)), page=page)
    return found[-1].runs if found else ()


def check(image: bytes, pruning: Pruning | None = None, hot: Sequence[tuple[int, int]] = ()) -> None:
    symbols, size = (pruning.symbols, pruning.size) if pruning else (0, 0)
    jobs = os.cpu_count() or 1
    packing = pack(image, pager_folder=FOLDER, level=3, jobs=jobs, hot=hot, symbols=symbols, pruned=size)
    packed = b"".join(packing.chunks)

    assert hashlib.sha256(unpack(packed)).digest() == hashlib.sha256(image).digest()
    assert loader_problems(read(packed)) == ()
    before, after = Oracle(image), PackedOracle(packed)
    assert not list(after.breaches())
    assert_same_memory(before, after)
    assert_same_for_the_loader(before, after)


def assert_same_memory(before: Oracle, after: PackedOracle) -> None:
    """Every byte is what and where it was, with the permissions it had, and belongs to one run of memory."""
    whole = list(before.mapped())
    starts = [one.address for one in whole]
    found = [0] * len(whole)
    for piece in (*after.mapped(), *after.paged_in()):
        if piece.address >= whole[-1].end:
            continue  # it was added
        at = bisect_right(starts, piece.address) - 1
        one = whole[at]
        assert piece.end <= one.end
        assert piece.flags == one.flags
        expected = one.content[piece.address - one.address : piece.end - one.address]
        assert bytes(piece.content) == bytes(expected) or as_before(piece, before, after) == expected, hex(
            piece.address
        )
        found[at] += piece.end - piece.address
    assert found == [one.end - one.address for one in whole]
    holes = [(address, address + size) for address, size, *_ in after.ranges]
    runs = sorted([*holes, *((one.address, one.end) for one in after.mapped())])
    assert all(below <= above for (_, below), (above, _) in pairwise(runs))
    assert all(border % LARGEST_PAGE[after.machine] == 0 for hole in holes for border in hole)


def as_before(piece: Piece, before: Oracle, after: PackedOracle) -> bytes:
    """Returns the content of a piece with what packing changes put back: headers, and what the pager relocates."""
    content = bytearray(piece.content)
    patches = dict[int, bytes]()
    for start, end in ((0, 64), before.headers):
        patches |= {
            load.address + start - load.offset: bytes(before.view[start:end])
            for load in before.loads
            if load.offset <= start < load.offset + load.file_size
        }
    place, addend = after.displaced
    if place:
        patches[dict(before.dynamic)[DT_RELA]] = struct.pack("<QQQ", place, RELATIVE[before.machine], addend)
    for address, part in patches.items():
        if piece.address <= address < piece.end:
            content[address - piece.address : address - piece.address + len(part)] = part
    return bytes(content)


def assert_same_for_the_loader(before: Oracle, after: PackedOracle) -> None:
    """The loader is told what it was told, the pager besides, and unwinders find the library that code is in."""
    assert other_segments(before) == other_segments(after)
    for address, size, *_ in after.ranges:
        assert any(load.address <= address and address + size <= load.end for load in after.loads), hex(
            address
        )
    old, new = dict(before.dynamic), dict(after.dynamic)
    changed = GROWN | DROPPED | {DT_NEEDED, DT_RPATH, DT_RUNPATH, DT_TEXTREL}
    told = {one for one in before.dynamic if one[0] not in changed}
    if DT_FLAGS in old:  # no code is relocated in what is packed, whatever the file says
        told = told - {(DT_FLAGS, old[DT_FLAGS])} | {(DT_FLAGS, old[DT_FLAGS] & ~DF_TEXTREL)}
    assert told == {one for one in after.dynamic if one[0] not in changed}
    needed = [
        [own.string(value) for tag, value in own.dynamic if tag == DT_NEEDED] for own in (before, after)
    ]
    assert needed[1] == [*needed[0], "libslimpager.so.1"]
    path = DT_RUNPATH if DT_RUNPATH in old else DT_RPATH
    assert after.string(new[path]) == (f"{before.string(old[path])}:{FOLDER}" if path in old else FOLDER)
    assert after.strings.startswith(before.strings)

    slot, info, _ = struct.unpack("<QQQ", after.read(new[DT_RELA], 24))
    hook, kind = info >> 32, info & 0xFFFFFFFF
    assert (slot, kind) == (after.mark - 8, GLOB_DAT[after.machine])
    assert name_of(after, after.read(new[DT_SYMTAB] + SYMBOL * hook, SYMBOL)) == "slimpack_attach"
    if not after.displaced[0] and (size := old.get(DT_RELASZ)):
        assert after.read(new[DT_RELA] + 24, size) == before.read(old[DT_RELA], size)
    renamed = set(renamed_symbols(before, after, number=hook))
    if DT_VERSYM in old:
        versions = [own.read(dict(own.dynamic)[DT_VERSYM], 2 * hook).cast("H") for own in (before, after)]
        assert all(
            one == other or index in renamed for index, (one, other) in enumerate(zip(*versions, strict=True))
        )


def other_segments(own: Oracle) -> list[tuple[int, ...]]:
    """Returns what of the segments packing does not change, in their order."""
    changed = {PT_LOAD, PT_PHDR, PT_DYNAMIC, PT_PACKED}
    return [
        (one.type, one.flags, one.address, one.memory_size, one.type == PT_GNU_EH_FRAME or one.file_size)
        for one in own.segments
        if one.type not in changed
    ]


def renamed_symbols(before: Oracle, after: Oracle, *, number: int) -> Iterator[int]:
    """Yields the indices of symbols that differ, which may only be functions that the pager has an own one for."""
    tables = [own.read(dict(own.dynamic)[DT_SYMTAB], SYMBOL * number) for own in (before, after)]
    if tables[0] == tables[1]:
        return
    for index in range(number):
        one, other = (table[SYMBOL * index : SYMBOL * (index + 1)] for table in tables)
        if one != other:
            assert one[4:] == other[4:]
            assert name_of(before, one) in MASKING
            assert name_of(after, other) == f"slimpack_{name_of(before, one)}"
            yield index


def name_of(own: Oracle, symbol: memoryview) -> str:
    return own.string(int.from_bytes(symbol[:4], "little"))

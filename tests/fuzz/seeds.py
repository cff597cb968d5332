"""Makes the inputs that fuzzing in Python begins with: ``PYTHONPATH=tests python tests/fuzz/seeds.py FOLDER``.

It needs gcc, gold and ziglang. The inputs hold tables in today's form of the packed part: when that changes, they are
to be made anew.
"""

from __future__ import annotations

import hashlib
import re
import struct
import subprocess
import sys
import tempfile
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

from fuzz import targets

from slimpack.elf.compact import compact
from slimpack.elf.layout import (
    EM_AARCH64,
    EM_X86_64,
    ET_DYN,
    FILE_HEADER,
    PROGRAM_HEADER,
    PT_LOAD,
    PT_SLIMPACK,
)
from slimpack.elf.pack import pack
from slimpack.elf.packed import HEADER, Range, decompress, encode
from slimpack.elf.unpack import _BYTES, _RECIPE, _RUN, unpack

if TYPE_CHECKING:
    from slimpack.elf.filters import Filter
    from slimpack.elf.packed import Moment

LIBRARY = """
extern int pthread_sigmask(int, const void *, void *);
extern int puts(const char *);
const char *table[] = {"one", "two"};
static int zeros[40];
%s
__asm__(".text\\n.p2align 4\\n.fill %d,1,%s\\n");
int answer(int x) { zeros[x] = x; return x + 1; }
int call(void) { return pthread_sigmask(0, 0, 0) + puts(table[1]); }
"""
CODE = LIBRARY % ("__thread int calls = 1;", 24576, "0x90")
DATA = LIBRARY % (
    'static const char words[40000] = "w"; const char *word(int n) { return words + n; }',
    4096,
    "0x90",
)
WRITABLE = LIBRARY % ("char filled[20000] = {[0 ... 19999] = 7};", 24576, "0x90")
CONSTRUCTORS = """
__attribute__((noinline)) static int begun(int x) { return call() + x; }
__attribute__((constructor)) static void begin(void) { zeros[1] = begun(2); }
"""
EXPORTS = """
extern int puts(const char *);
extern int gone(void) __asm__("_ZN3foo4goneEv");
int data __asm__("_ZN3foo4dataE") = 4, *at = &data;
{}
int (*table[])(int) = {{f11, f12, f13}};
int called(int x) {{ return f14(x) + f15(x) + puts("_ZN3bar3bazEv") + gone(); }}
""".format(
    "\n".join(
        f'int f{n}(int) __asm__("_ZN3foo6name{n}Ei"); int f{n}(int x) {{ return x + {n}; }}'
        for n in range(10, 34)
    )
)
GCC = ["gcc", "-shared", "-fPIC", "-O1", "-nostdlib", "-s", "-fno-toplevel-reorder"]
SMALL = [*GCC, "-Wl,-z,noseparate-code"]
ZIG = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-gnu.2.26", *GCC[1:-1]]
LIBRARIES = {
    "plain": {
        "code": (CODE, GCC),
        "one-segment": (CODE, SMALL),
        "both-hashes": (CODE, [*GCC, "-Wl,--hash-style=both", "-Wl,-soname,libs.so", "-Wl,-rpath,/one"]),
        "relr": (CODE, [*GCC, "-Wl,-z,pack-relative-relocs", "-Wl,-z,now"]),
        "data": (DATA, [*GCC, "-fno-asynchronous-unwind-tables"]),
        "gold": (DATA, [*GCC, "-fuse-ld=gold"]),
        "writable": (WRITABLE, GCC),
        "aarch64": (LIBRARY % ("", 200000, "0"), ZIG),
        "constructors": (CODE + CONSTRUCTORS, GCC),
        "constructors-aarch64": (LIBRARY % ("", 200000, "0") + CONSTRUCTORS, ZIG),
    },
    "pruned": {
        "now": (EXPORTS, [*SMALL, "-Wl,-z,now"]),
        "lazy": (EXPORTS, [*SMALL, "-Wl,-z,lazy"]),
        "both-hashes": (EXPORTS, [*SMALL, "-Wl,--hash-style=both", "-Wl,--default-symver"]),
        "old-hash": (EXPORTS, [*SMALL, "-Wl,--hash-style=sysv"]),
    },
}


def compiled(source: str, command: list[str]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "lib.c")
        path.write_text(source)
        subprocess.run([*command, "-o", "lib.so", "lib.c"], cwd=folder, check=True)
        return b"".join(compact(Path(folder, "lib.so").read_bytes()).chunks)


def shortened(image: bytes) -> bytes:
    """Leaves the longest repetitions out, as targets.filled() puts them in again."""
    runs = [(one.start(), len(one[0]) // 64) for one in re.finditer(rb"(.)\1{191,}", image, re.DOTALL)]
    longest = sorted(sorted(runs, key=lambda run: -run[1])[:15])
    head, body, at = bytes([len(longest)]), b"", 0
    for start, repeated in longest:
        size = min(repeated, 0xFFF)
        head += struct.pack("<HHB", start - at, size, image[start])
        body += image[at:start]
        at = start + 64 * size
    assert targets.filled(head + body + image[at:]) == image
    return head + body + image[at:]


def without_sections(image: bytes) -> bytes:
    changed = bytearray(image)
    struct.pack_into("<Q", changed, 40, 0)
    struct.pack_into("<HHH", changed, 58, 64, 0, 0)
    return bytes(changed)


def parts(
    ranges: list[tuple[int, int, int, Moment, Filter]],
    blocks: list[tuple[int, int, int]],
    *,
    machine: int,
) -> bytes:
    """Returns an input for targets.made(): a packed file that has a few bytes of its own, and some ranges.

    Args:
        ranges: Address, size, flags, moment and filter of each.
        blocks: What targets.made() makes the blocks of.
        machine: ``e_machine``.
    """
    own = bytes(range(256)) * 6
    size = 512 + len(own)
    header = FILE_HEADER.pack(
        b"\x7fELF\2\1\1".ljust(16, b"\0"), ET_DYN, machine, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0
    )
    header += PROGRAM_HEADER.pack(PT_LOAD, 4, 0, 0, 0, size, size, 0x1000)
    header += PROGRAM_HEADER.pack(PT_SLIMPACK, 4, 0, 0, 0, 0, 0, 8)
    head = header.ljust(512, b"\0") + own
    numbers = [0, *accumulate(-(-length // 0x10000) for _, length, *_ in ranges)]
    made = [
        Range(
            address=address,
            size=length,
            flags=flags,
            moment=moment,
            block_size=0x10000,
            first_block=first,
            filter=kind,
            reach=0x40000 if kind == "x86_64" else 0,
        )
        for (address, length, flags, moment, kind), first in zip(ranges, numbers, strict=False)
    ]
    first, frame, *_ = encode(mark=0, relocation=None, ranges=made, frames=[b"?"] * len(blocks), recipe=b"")
    index = decompress(frame, HEADER.unpack(first)[5])
    runs, at = [(0, len(own), 512)], len(own)
    for address, length, *_ in ranges:
        runs.append((at, length, address))
        at += length
    description = b"".join(struct.pack("<BBH", *one) for one in blocks)

    def whole(digest: bytes) -> bytes:
        rest = [0] * (len(_RECIPE.unpack(bytes(_RECIPE.size))) - 4)
        steps = _RECIPE.pack(at + 40, digest, len(runs), 1, *rest)
        steps += b"".join(_RUN.pack(*run) for run in runs) + _BYTES.pack(at, 40) + b"L" * 40
        sizes = (len(head), len(index), len(description), len(steps))
        return struct.pack("<BHHHH", 3, *sizes) + head + index + description + steps

    with patch.object(hashlib, "sha256") as sha256:
        sha256().digest.return_value = bytes(32)
        content = unpack(targets.made(whole(bytes(32))))
    result = whole(hashlib.sha256(content).digest())
    assert unpack(targets.made(result)) == content
    return result


def main() -> None:
    folder = Path(sys.argv[1])
    seeds: dict[str, bytes] = {}
    for target, libraries in LIBRARIES.items():
        for name, (source, command) in libraries.items():
            image = compiled(source, command)
            seeds[f"{target}/{name}"] = shortened(image)
            if target == "plain":
                seeds[f"plain/{name}-without-sections"] = shortened(without_sections(image))
                output = b"".join(pack(image, pager_folder="$ORIGIN", block_size=0x10000, level=3).chunks)
                seeds[f"packed/{name}"] = shortened(output)
    seeds["packed/parts"] = parts([(0x1000, 0x2000, 5, "touch", "x86_64")], [(3, 1, 512)], machine=EM_X86_64)
    seeds["packed/parts-of-all-kinds"] = parts(
        [
            (0x1000, 0x12000, 5, "touch", "x86_64"),
            (0x20000, 0x3000, 4, "touch", "words"),
            (0x23000, 0x2000, 4, "relocation", "double words"),
            (0x26000, 0x2000, 6, "library", "double words"),
            (0x28000, 0x1000, 4, "library", "none"),
        ],
        [(0xE8, 1, 4096), (0x88, 5, 512), (1, 1, 768), (9, 2, 512), (5, 0, 512), (7, 3, 256)],
        machine=EM_X86_64,
    )
    seeds["packed/parts-aarch64"] = parts(
        [(0x10000, 0x20000, 5, "touch", "aarch64")], [(0x90, 1, 4096), (0x94, 0, 4096)], machine=EM_AARCH64
    )
    for path, content in seeds.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


if __name__ == "__main__":
    main()

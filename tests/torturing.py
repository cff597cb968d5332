"""Builds the torture set with any compiler: the programs and libraries of tests/torture, plain and packed.

``python tests/torturing.py FOLDER --machine aarch64 --cc "aarch64-linux-gnu-gcc" --cxx "aarch64-linux-gnu-g++"``
makes ``FOLDER/plain`` and ``FOLDER/packed``. Take a folder to where it is to be run, ``packed/torture all`` or
``packed/torture CASE`` there, with ``SLIMPACK_PAGER=eager`` or without. Exit code 0 is fine, 77 is skipped.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from slimpack.elf.compact import compact
from slimpack.elf.pack import pack
from slimpack.elf.packed import PAGER

SOURCES = Path(__file__).parent / "torture"
PREBUILT = Path(__file__).parent.parent / "slimpack" / "pager"
BLOCK_SIZE = 0x10000
GUARD = {"x86_64": "-fcf-protection=full", "aarch64": "-mbranch-protection=standard"}
SHARED = ("-shared", "-fPIC", "-O1", "-fno-sanitize=all", "-Wl,-rpath,$ORIGIN", "-pthread")
PACKED: dict[str, tuple[str, ...]] = {"cold": (), "broken": (), "plugin": ("cold",)}
"""Libraries in C, and those that each needs."""
PACKED_CXX: dict[str, tuple[str, ...]] = {"thrower": (), "catcher": ("thrower",)}
"""Libraries in C++."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TortureSet:
    """Two folders with the same programs and libraries."""

    plain: Path
    """As the compiler made them."""
    packed: Path
    """The libraries packed, the pager beside them."""


def make(
    folder: Path,
    *,
    machine: str = "x86_64",
    cc: tuple[str, ...] = ("gcc",),
    cxx: tuple[str, ...] | None = None,
) -> TortureSet:
    """Compiles the set and packs it."""
    made = TortureSet(plain=folder / "plain", packed=folder / "packed")
    made.plain.mkdir(parents=True)
    names = []
    for compiler, suffix, libraries in ((cc, "c", PACKED), (cxx, "cc", PACKED_CXX)):
        for name, needed in libraries.items() if compiler else ():
            source = SOURCES / "libraries" / f"{name}.{suffix}"
            target = made.plain / f"lib{name}.so"
            options = (*SHARED, GUARD[machine], f"-Wl,-soname,{target.name}")
            links = (f"-L{made.plain}", *(f"-l{one}" for one in needed))
            subprocess.run([*(compiler or ()), *options, "-o", target, source, *links], check=True)
            names.append(target.name)
    handler = SOURCES / "libraries" / "handler.c"
    subprocess.run([*cc, *SHARED, "-o", made.plain / "libhandler.so", handler], check=True)
    program = (*cc, "-O1", "-Wall", "-Wextra", "-Wno-unused-value", "-pthread")
    cases = sorted(set(SOURCES.glob("*.c")) - {SOURCES / "linked.c"})
    subprocess.run([*program, "-o", made.plain / "torture", *cases, "-ldl"], check=True)
    links = (f"-L{made.plain}", "-lcold", "-Wl,-rpath,$ORIGIN")
    subprocess.run([*program, "-o", made.plain / "linked", SOURCES / "linked.c", *links], check=True)

    shutil.copytree(made.plain, made.packed)
    for name in names:
        image = b"".join(compact((made.plain / name).read_bytes()).chunks)
        packing = pack(image, pager_folder="$ORIGIN", block_size=BLOCK_SIZE, level=3)
        (made.packed / name).write_bytes(b"".join(packing.chunks))
    shutil.copy(PREBUILT / f"libslimpager-{machine}.so.1", made.packed / PAGER)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--machine", default="x86_64", choices=["x86_64", "aarch64"])
    parser.add_argument("--cc", default="gcc", type=shlex.split)
    parser.add_argument("--cxx", default="", type=shlex.split)
    options = parser.parse_args()
    make(options.folder, machine=options.machine, cc=tuple(options.cc), cxx=tuple(options.cxx))


if __name__ == "__main__":
    main()

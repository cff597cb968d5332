"""What the files of a bundle need of each other's symbols is found, wherever it stands."""

from __future__ import annotations

import marshal
import pickle
from typing import TYPE_CHECKING

import pytest

from slimpack import ties

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from conftest import MakeElf

ONE = """
int used(void) __asm__("_ZN3one4usedEv"); int used(void) { return 1; }
int twice(void) __asm__("_ZN3one5twiceEv"); int twice(void) { return 2; }
int named(void) __asm__("_ZN3one5namedEv"); int named(void) { return 3; }
int spare(void) __asm__("_ZN3one5spareEv"); int spare(void) { return 4; }
"""
OTHER = """
extern int used(void) __asm__("_ZN3one4usedEv");
int twice(void) __asm__("_ZN3one5twiceEv"); int twice(void) { return used(); }
"""
SHARED = ("-shared", "-fPIC", "-s")


def bundle(tmp_path: Path, *files: Path) -> list[str]:
    (tmp_path / "app.py").write_text("lookup('_ZN3one5namedEv')")
    (tmp_path / "empty").touch()
    return ["app.py", "empty", *(file.name for file in files)]


def find(folder: Path, paths: list[str]) -> Mapping[str, ties.Ties]:
    found = ties.find({path: folder / path for path in paths})
    assert found is not None
    return found


def test_names_are_needed_that_others_use_define_or_mention(make_elf: MakeElf, tmp_path: Path) -> None:
    one = make_elf(ONE, *SHARED, name="libone.so")
    other = make_elf(OTHER, *SHARED, name="libother.so")

    found = find(tmp_path, bundle(tmp_path, one, other))

    assert set(found) == {"libone.so", "libother.so"}
    assert found["libone.so"].needed == {b"_ZN3one4usedEv", b"_ZN3one5twiceEv", b"_ZN3one5namedEv"}
    assert found["libother.so"].needed == {b"_ZN3one5twiceEv"}


def stored(name: str) -> dict[str, bytes]:
    """Returns files in which a name stands, with what such files put right behind it."""
    return {
        "pickle": pickle.dumps([name, 1], protocol=2),
        "bytecode": marshal.dumps(compile(f"x = {name!r}, None", "f", "exec")),
        "names": f"a_Zone{name}_ZN3one4nextEv".encode(),
        "long": b"_Z1f" * 1000 + name.encode() + b"_Z1f" * 1000,
    }


@pytest.mark.parametrize("kind", stored(""))
def test_names_are_needed_whatever_stands_right_behind_them(
    make_elf: MakeElf, tmp_path: Path, kind: str
) -> None:
    one = make_elf(ONE, *SHARED, name="libone.so")
    (tmp_path / "data").write_bytes(stored("_ZN3one5spareEv")[kind])

    found = find(tmp_path, ["libone.so", "data"])

    assert b"_ZN3one5spareEv" in found["libone.so"].needed
    assert b"_ZN3one4usedEv" not in found["libone.so"].needed
    assert one.exists()


def test_all_is_there_if_what_a_file_depends_on_has_it(make_elf: MakeElf, tmp_path: Path) -> None:
    one = make_elf(ONE, *SHARED, "-Wl,-soname,libone.so.1", name="libone-1234.so")
    link = (*SHARED, f"-Wl,-rpath,{tmp_path}")
    linked = make_elf(OTHER, *link, str(one), name="liblinked.so")
    loose = make_elf(OTHER, *SHARED, name="libloose.so")
    python = make_elf(
        "extern int PyLong_AsLong(void); int f(void) { return PyLong_AsLong(); }", *SHARED, name="p.so"
    )
    weak = make_elf(
        "extern int g(void) __attribute__((weak)); int f(void) { return g ? g() : 0; }",
        *SHARED,
        name="weak.so",
    )
    system = make_elf('extern int puts(char *); int f(void) { return puts("x"); }', *SHARED, name="system.so")

    call = make_elf(
        "extern int f(void); int main(void) { return f(); }",
        str(python),
        f"-Wl,-rpath,{tmp_path}",
        "-Wl,--unresolved-symbols=ignore-all",
        name="call",
    )
    paths = bundle(tmp_path, one, linked, loose, python, weak, system)
    found = find(tmp_path, paths)

    assert {path: one.eager for path, one in found.items()} == {
        "libone-1234.so": True,
        "liblinked.so": True,
        "libloose.so": False,
        "p.so": True,
        "weak.so": True,
        "system.so": True,
    }
    # a program has no interpreter's functions
    assert not find(tmp_path, [*paths, call.name])["p.so"].eager


def test_a_file_that_is_not_understood_needs_all_that_it_names(make_elf: MakeElf, tmp_path: Path) -> None:
    one = make_elf(ONE, *SHARED, name="libone.so")
    other = make_elf(OTHER, *SHARED, name="libother.so")
    broken = bytearray(other.read_bytes())
    broken[4] = 1  # a 32-bit file, it says
    other.write_bytes(broken)

    found = find(tmp_path, bundle(tmp_path, one, other))

    assert set(found) == {"libone.so"}
    assert b"_ZN3one4usedEv" in found["libone.so"].needed
    assert b"_ZN3one5spareEv" not in found["libone.so"].needed

"""Bytecode: right for the target, the same wherever and in whatever order it is made, and never a guess."""

from __future__ import annotations

import marshal
import subprocess
import sys
from importlib.util import MAGIC_NUMBER, cache_from_source, source_hash
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING

import pytest

from slimpack.bytecode import HEADER, MAGIC, Bytecode, compile_all, home, magic, place
from slimpack.resolve import interpreters

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HERE = sys.version_info[:2]

SOURCES = {
    "a/__init__.py": b"",
    "a/names.py": b"import os\nself = os\nKNOWN = {'b', 'a', 'c', 'd'}\ndef f(x): return x in {'b', 'a', 'c', 'd'}\n",
    "a/same.py": b"""import os
self = os
unusual_name = 'unusual_name'
class C:
    def m(self): return (1.5, 'text')
""",
    "a/escape.py": b"pattern = '\\d'\nassert (1, 'always true')\n",
    "a/latin.py": b"# -*- coding: latin-1 -*-\nname = '\xe9'\n",
}


def made(
    root: Path, sources: Mapping[str, bytes], *, jobs: int = 1, home: str = "", names: list[str] | None = None
) -> Bytecode:
    for path, content in sources.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return compile_all(
        {path: root / path for path in (names or sources)},
        python=HERE,
        interpreter=Path(sys.executable),
        home=home,
        jobs=jobs,
        progress=lambda _done, _all: None,
    )


def code_of(pyc: bytes) -> CodeType:
    code = marshal.loads(pyc[HEADER:])  # noqa: S302 -- made here
    assert isinstance(code, CodeType)
    return code


def file_names(code: CodeType) -> Iterator[str]:
    yield code.co_filename
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield from file_names(one)


def test_bytecode_is_what_the_interpreter_takes_without_looking_at_the_source(tmp_path: Path) -> None:
    outcome = made(tmp_path, SOURCES)

    assert list(outcome.pycs) == sorted(SOURCES)
    assert (outcome.skipped, outcome.unavailable) == ({}, None)
    assert outcome.compiler == f"CPython {sys.version.split()[0]}"
    for path, pyc in outcome.pycs.items():
        assert pyc[:HEADER] == MAGIC_NUMBER + b"\1\0\0\0" + source_hash(SOURCES[path])
        assert code_of(pyc).co_name == "<module>"


def test_an_import_runs_the_bytecode_and_shows_where_it_lies(tmp_path: Path) -> None:
    # given bytecode of another text than that of the source, so that it shows which one runs
    source = b"def where(): return where.__code__.co_filename\nX = 'old'\n"
    outcome = made(tmp_path, {"m.py": source}, home="/var/task")
    (tmp_path / place("m.py", HERE)).parent.mkdir()
    (tmp_path / place("m.py", HERE)).write_bytes(outcome.pycs["m.py"])
    (tmp_path / "m.py").write_bytes(source.replace(b"old", b"new"))

    told = subprocess.run(
        [sys.executable, "-c", "import m; print(m.X, m.where())"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )

    assert told.stdout == f"old {tmp_path}/m.py\n"


@pytest.mark.parametrize("path", ["m.py", "a/b/m.py", "a/__init__.py"])
def test_bytecode_lies_where_the_interpreter_looks_for_it(path: str) -> None:
    assert place(path, HERE) == cache_from_source(path)


@pytest.mark.parametrize(("folder", "expected"), [("", "a/names.py"), ("/var/task", "/var/task/a/names.py")])
def test_nothing_of_the_places_it_was_made_in_is_in_it(folder: str, expected: str, tmp_path: Path) -> None:
    outcome = made(tmp_path, SOURCES, home=folder)

    assert set(file_names(code_of(outcome.pycs["a/names.py"]))) == {expected}
    for pyc in outcome.pycs.values():
        assert str(tmp_path).encode() not in pyc


def test_the_same_bytes_in_any_order_beside_anything_by_any_number_of_processes(tmp_path: Path) -> None:
    # given that names are shared with other sources, and with what the compiler itself has in memory
    many = SOURCES | {f"b/m{i}.py": f"import os\nself = unusual_name = 'x{i}'\n".encode() for i in range(20)}
    whole = made(tmp_path / "one", many)
    parallel = made(tmp_path / "two", many, jobs=3)

    assert parallel == whole
    for path in SOURCES:
        assert made(tmp_path / "three", SOURCES, names=[path]).pycs[path] == whole.pycs[path]


def test_what_cannot_be_compiled_is_skipped_and_told(tmp_path: Path) -> None:
    bad = {
        "old.py": b"print 'two'\n",
        "null.py": b"x = 1\0\n",
        "encoding.py": b"# -*- coding: klingon -*-\nx = 1\n",
        "bytes.py": b"x = '\xff'\n",
        "deep.py": b"x = " + b"(" * 5000 + b")" * 5000 + b"\n",
        "template.py": b"class {{ name }}:\n    pass\n",
    }
    outcome = made(tmp_path, bad | {"fine.py": b"x = 1\n"})

    assert list(outcome.pycs) == ["fine.py"]
    assert list(outcome.skipped) == sorted(bad)
    assert "(line 1)" in outcome.skipped["old.py"]
    assert all(outcome.skipped.values())


def test_a_file_that_is_gone_is_skipped(tmp_path: Path) -> None:
    outcome = made(tmp_path, {"a.py": b"x = 1\n"}, names=["a.py", "gone.py"])

    assert "FileNotFoundError" in outcome.skipped["gone.py"]
    assert list(outcome.pycs) == ["a.py"]


def test_a_source_that_kills_the_compiler_costs_itself_only(tmp_path: Path) -> None:
    # given an interpreter that dies of one source, as CPython did of some
    fake = tmp_path / "python"
    script = """
import builtins, os, runpy, sys
real = compile
def compile(source, name, *args, **options):
    if "deadly" in name:
        os._exit(139)
    return real(source, name, *args, **options)
builtins.compile = compile
sys.path.insert(0, "")
runpy.run_path(sys.argv[-1], run_name="__main__")
"""
    fake.write_text(f"#!{sys.executable}\n{script}")
    fake.chmod(0o755)
    for name in ("a", "deadly", "z"):
        (tmp_path / f"{name}.py").write_text("x = 1\n")

    outcome = compile_all(
        {f"{name}.py": tmp_path / f"{name}.py" for name in ("a", "deadly", "z")},
        python=HERE,
        interpreter=fake,
        home="",
        jobs=1,
        progress=lambda _done, _all: None,
    )

    assert list(outcome.pycs) == ["a.py", "z.py"]
    assert outcome.skipped == {"deadly.py": "the compiler has died"}


def test_without_an_interpreter_nothing_is_made_and_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text("x = 1\n")

    def attempt(python: tuple[int, int], interpreter: Path | None) -> Bytecode:
        return compile_all(
            {"m.py": tmp_path / "m.py"},
            python=python,
            interpreter=interpreter,
            home="",
            jobs=1,
            progress=lambda _done, _all: None,
        )

    other = (3, 10) if HERE != (3, 10) else (3, 11)
    assert attempt(HERE, None).unavailable == f"no interpreter of Python {HERE[0]}.{HERE[1]} was found"
    assert "its bytecode is not that of Python" in (attempt(other, Path(sys.executable)).unavailable or "")
    assert "does not start" in (attempt(HERE, tmp_path / "missing").unavailable or "")
    assert "no Python interpreter" in (attempt(HERE, Path("/bin/true")).unavailable or "")
    assert "not known" in (attempt((3, 99), Path(sys.executable)).unavailable or "")
    for outcome in (attempt(HERE, None), attempt(other, Path(sys.executable))):
        assert (outcome.pycs, outcome.skipped, outcome.compiler) == ({}, {}, None)


@pytest.mark.parametrize("version", sorted(MAGIC))
def test_the_magic_numbers_are_those_of_the_interpreters(version: tuple[int, int]) -> None:
    found = interpreters.find(version)
    if found is None:
        pytest.skip("no such interpreter is here")
    told = subprocess.run(
        [str(found), "-c", "from importlib.util import MAGIC_NUMBER; print(MAGIC_NUMBER.hex())"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert bytes.fromhex(told.stdout) == magic(version)


def test_the_home_of_a_bundle_is_known_where_lambda_puts_it() -> None:
    assert (home("lambda"), home("lambda-layer"), home("custom")) == ("/var/task", "/opt/python", "")

"""Imports: what of a folder of packages can be imported by a bare interpreter, and in what two folders differ."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

WORKS = "works"
"""The outcome of an import that nothing is wrong with; any other one tells what is."""

_FRESH_IMPORT_SECONDS = 300
_WALK_SECONDS = 1800

_CHILD = """
import importlib, json, os, sys
tree, *names = json.load(sys.stdin)
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
sys.path.insert(0, tree)
sys.argv[:] = [""]
for name in names:
    print(json.dumps([name, None]), file=answers, flush=True)
    try:
        importlib.import_module(name)
    except BaseException as problem:
        outcome = f"{type(problem).__name__}: {problem}"
    else:
        outcome = "works"
    print(json.dumps([name, outcome]), file=answers, flush=True)
os._exit(0)
"""
"""Tells of each module before it is imported and after it, so that one that ends the process is known."""

_PASSING = re.compile(r"0x[0-9a-f]{6,}|/tmp/[\w./-]+")
"""What in a message is another one at every run: addresses, temporary files."""

_PRIVATE = re.compile(r"_.*|tests?|conftest|test_.*|.*_test")
"""A part of a module's name that says that it is for the package alone, or for its test-suite."""


def installed(tree: Path) -> dict[str, list[str]]:
    """Returns the paths of the files of each distribution, by canonical name, as their RECORDs have them."""
    return {
        canonicalize_name(one.metadata["Name"]): [file.as_posix() for file in one.files or ()]
        for one in metadata.distributions(path=[str(tree)])
    }


def top_level(paths: Iterable[str]) -> list[str]:
    """Returns the names under which a distribution is imported, without the private ones.

    For a namespace package that is what lies in it: ``google.protobuf``, not ``google``.

    Args:
        paths: Of the distribution's files, relative to the folder they are installed in.
    """
    names = {module for path in paths if (module := _module(path))}
    packages = {".".join(PurePosixPath(path).parent.parts) for path in paths if path.endswith("/__init__.py")}
    return sorted(
        name
        for name in names
        if not any(parent in packages for parent in _parents(name))
        and not name.rpartition(".")[2].startswith("_")
    )


def public(paths: Iterable[str]) -> list[str]:
    """Returns the modules of a distribution that are neither private nor part of its tests.

    Args:
        paths: Of the distribution's files, relative to the folder they are installed in.
    """
    names = {module for path in paths if (module := _module(path))}
    return sorted(name for name in names if not any(map(_PRIVATE.fullmatch, name.split("."))))


def each_alone(python: Path, tree: Path, names: Iterable[str]) -> dict[str, str]:
    """Returns the outcome of importing each module in an interpreter of its own.

    Args:
        python: The interpreter; besides its standard library it sees the folder only.
        tree: The folder of packages.
        names: Of the modules.
    """
    outcomes: dict[str, str] = {}
    for name in names:
        outcomes |= _run(python, tree, [name], seconds=_FRESH_IMPORT_SECONDS)
    return outcomes


def all_together(python: Path, tree: Path, names: Sequence[str]) -> dict[str, str]:
    """Returns the outcome of importing modules one after the other in one interpreter.

    Where a module ends the interpreter or does not return, another one goes on with the next.

    Args:
        python: The interpreter; besides its standard library it sees the folder only.
        tree: The folder of packages.
        names: Of the modules.
    """
    outcomes: dict[str, str] = {}
    while todo := [name for name in names if name not in outcomes]:
        outcomes |= _run(python, tree, todo, seconds=_WALK_SECONDS)
    return outcomes


def differences(plain: Mapping[str, str], bundle: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Returns the modules whose import ends in two ways, with both."""
    return {name: (plain[name], bundle[name]) for name in plain if plain[name] != bundle[name]}


def _run(python: Path, tree: Path, names: Sequence[str], *, seconds: float) -> dict[str, str]:
    """Returns what became of the imports, up to the one at which the interpreter came to its end."""
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [python, "-I", "-S", "-X", f"pycache_prefix={_bytecode_of(tree)}", "-c", _CHILD],
            cwd=home,
            env={
                "HOME": home,
                "LD_LIBRARY_PATH": f"{tree}:{tree / 'lib'}",
                "PATH": os.defpath,
                "TMPDIR": home,
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            encoding="utf-8",
            start_new_session=True,
        )
        try:
            said, _ = process.communicate(json.dumps([str(tree), *names]), timeout=seconds)
            end = f"ended the interpreter with {process.returncode}"
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            said, _ = process.communicate()
            end = "did not return"
    outcomes = dict(json.loads(line) for line in said.splitlines())
    assert outcomes, f"the interpreter did not begin: {end}"
    return {name: end if outcome is None else _lasting(outcome, tree) for name, outcome in outcomes.items()}


def _bytecode_of(tree: Path) -> Path:
    """Returns the folder beside a tree where its bytecode goes: nothing is compiled twice, the tree stays as it is."""
    return tree.with_name(f"{tree.name}.bytecode")


def _lasting(outcome: str, tree: Path) -> str:
    return _PASSING.sub("<...>", outcome.replace(str(tree), "<tree>"))


def _module(path: str) -> str | None:
    """Returns the module that a file is, such as ``a.b`` for ``a/b.abi3.so``."""
    pure = PurePosixPath(path)
    stem = pure.name.split(".", 1)[0]
    if pure.suffix not in {".py", ".so"}:
        return None
    parts = pure.parent.parts if pure.name == "__init__.py" else (*pure.parent.parts, stem)
    return ".".join(parts) if parts and all(part.isidentifier() for part in parts) else None


def _parents(name: str) -> Iterable[str]:
    while name := name.rpartition(".")[0]:
        yield name

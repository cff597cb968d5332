"""Trees of tiny modules, plain and packed side by side, and programs that real interpreters run in them."""

from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from slimpack import bytecode
from slimpack.model import Staged
from slimpack.modules.archive import LOADER, Tier
from slimpack.modules.pack import LOADER_FILE, examine, pack, put

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from slimpack.bytecode import Bytecode
    from slimpack.model import Addition


_ASK_ALL = """
import json, os, sys
told = {}
for name, program in json.loads(sys.argv.pop()).items():
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.dup2(writing, 1), os.dup2(writing, 2), os.close(reading)
        exec(compile(program, "<program>", "exec"), {"__name__": "__main__"})
        sys.stdout.flush(), os._exit(0)
    os.close(writing)
    with open(reading) as file:
        told[name] = file.read()
    os.wait()
print(json.dumps(told))
"""
"""Forks, since an interpreter starts slowly. An error ends the child's loop with a traceback, which is told too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Python:
    """An interpreter to test with."""

    version: tuple[int, int]
    executable: Path

    def compile(
        self, root: Path, paths: Collection[str], *, jobs: int = 1, home: str = "/var/task"
    ) -> Bytecode:
        return bytecode.compile_all(
            {path: root / path for path in paths} | {LOADER: LOADER_FILE},
            python=self.version,
            interpreter=self.executable,
            home=home,
            jobs=jobs,
            progress=lambda _done, _all: None,
        )

    def run(self, root: Path, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs it in a tree as Lambda does: nothing is written, the tree is on the path."""
        return subprocess.run(
            [str(self.executable), "-s", "-B", *args],
            cwd=root,
            env={"PYTHONPATH": str(root), "PYTHONHASHSEED": "0"} | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def answers(self, root: Path, programs: Mapping[str, str]) -> dict[str, str]:
        """Returns what programs print in a tree, which is called ROOT there; each has a process of its own."""
        done = self.run(root, "-c", _ASK_ALL, json.dumps(programs))
        assert done.returncode == 0, done.stderr
        told: dict[str, str] = json.loads(done.stdout.replace(str(root), "ROOT"))
        return told


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedTree:
    """What became of a tree."""

    packed: Mapping[str, Staged]
    additions: tuple[Addition, ...]
    left: Mapping[str, str]


def write_tree(root: Path, files: Mapping[str, str | bytes]) -> Path:
    for path, content in files.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def pack_tree(
    root: Path, python: Python, *, data: tuple[str, ...] = (), compiled: bool = True, tier: Tier = Tier.HOT
) -> PackedTree:
    """Packs the modules of a tree in place, with or without their code, and writes what goes with them.

    Files whose paths begin with one of ``data`` stay as they are.
    """
    found = sorted(str(path.relative_to(root)) for path in root.rglob("*.py"))
    paths = [path for path in found if not path.startswith(data)]
    made = python.compile(root, paths)
    there = {path: staged(root, path) for path in paths}
    stock = examine(there, root=root, wanted=paths, bytecode=made)
    modules = [
        replace(one, code=one.code if compiled else b"", tier=tier, read=tier is Tier.RAW)
        for one in stock.modules.values()
    ]
    outcome = pack(
        there,
        modules,
        bytecode=made if compiled else bytecode.Bytecode(),
        python=python.version,
        jobs=1,
    )
    put(outcome.stubs, root=root)
    write_tree(root, {one.path: one.content or b"" for one in outcome.additions})
    return PackedTree(packed=outcome.packed, additions=outcome.additions, left=stock.left)


def staged(root: Path, path: str) -> Staged:
    content = (root / path).read_bytes()
    return Staged(path=path, size=len(content), sha256=hashlib.sha256(content).hexdigest(), compacted=False)

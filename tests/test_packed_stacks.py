"""Real stacks, packed as far as can be: they are much smaller, and their handlers answer as they do unpacked."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from handlers import STACKS

if TYPE_CHECKING:
    from pathlib import Path

    from handlers import Stack

pytestmark = [pytest.mark.network, pytest.mark.heavy]


SMALLER = {
    "catboost": 0.45,
    "jax": 0.4,
    "librosa": 0.4,
    "pyarrow-pandas": 0.4,
    "spacy": 0.45,
    "xgboost": 0.45,
}
"""Largest share of the bytes of shared objects that may be left, by the name of the stack."""


def build(folder: Path, pack: str, stack: Stack) -> dict[str, Any]:
    """Builds a bundle, runs its handler, and returns its manifest."""
    events = sorted(map(str, folder.glob("*-??.json")))
    given = [*stack.options, *(part for path in events for part in ("--event", path))]
    source, output = str(folder / "app"), str(folder / f"{pack}.zip")
    paths = [str(folder / "requirements.txt"), "--source", source, "--output", output]
    wanted = ["--runtime", "python3.12", "--pack", pack, "--bytecode", "none"]
    command = [sys.executable, "-m", "slimpack", "build", *paths, *wanted, *given]
    run = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert run.returncode in {0, 1}, run.stderr
    manifest: dict[str, Any] = json.loads((folder / f"{pack}.manifest.json").read_text(encoding="utf-8"))
    errors = {one["code"] for one in manifest["findings"] if one["severity"] == "error"}
    assert errors <= {"SLP301"}, run.stdout  # some are too large unpacked
    return manifest


@pytest.mark.parametrize("name", SMALLER)
def test_a_packed_stack_is_smaller_and_answers_as_it_does_unpacked(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # given
    stack = STACKS[name]
    stack.put(tmp_path)

    # when
    plain = build(tmp_path, "never", stack)
    packed = build(tmp_path, "all", stack)

    # then
    assert plain["verification"]["answers"]
    assert packed["verification"]["answers"] == plain["verification"]["answers"]
    before = sum(one["packed"]["size_before"] for one in packed["files"] if one.get("packed"))
    after = sum(one["size_after"] for one in packed["files"] if one.get("packed"))
    left = [
        one["size_after"] for one in packed["files"] if one["path"].endswith(".so") and not one.get("packed")
    ]
    figures = [one["totals"]["size_after"] / 2**20 for one in (plain, packed)]
    capsys.readouterr()
    with capsys.disabled():
        sys.stdout.write(f"\n{name}: {figures[0]:.1f} -> {figures[1]:.1f} MiB, ")
        sys.stdout.write(f"packed files {before / 2**20:.1f} -> {after / 2**20:.1f} MiB\n")
    assert after + sum(left) < SMALLER[name] * (before + sum(left))

"""What fuzzing has found goes through the readers and the pager again, without a fuzzer."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fuzz.targets import TARGETS

if TYPE_CHECKING:
    import os

ROOT = Path(__file__).parent.parent
CORPUS = ROOT / "tests" / "fuzz" / "corpus"
BASE, PER_BYTE = 4 << 20, 1024
"""Bytes of memory that any input may ask for, and for each byte of it."""


@pytest.mark.parametrize("target", TARGETS)
def test_hostile_files_are_read_packed_and_unpacked_or_refused_in_bounded_memory(target: str) -> None:
    inputs = sorted((CORPUS / target).iterdir())
    assert inputs
    tracemalloc.start()
    try:
        for path in inputs:
            data = path.read_bytes()
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()

            TARGETS[target](data)

            _, peak = tracemalloc.get_traced_memory()
            assert peak - before <= BASE + PER_BYTE * len(data), path.name
    finally:
        tracemalloc.stop()


@pytest.mark.network
def test_the_pager_refuses_hostile_libraries_or_loads_the_right_bytes(tmp_path: Path) -> None:
    # given
    subprocess.run(["make", "--silent", "build/zstd/zstd.c"], cwd=ROOT, check=True)
    replay = tmp_path / "replay"
    options = "-std=gnu11 -O1 -DREPLAY -DZSTD_DISABLE_ASM=1 -DZSTD_TRACE=0 -isystem build/zstd"
    command: list[str | os.PathLike[str]] = [sys.executable, "-m", "ziglang", "cc", *options.split()]
    command += ["-o", replay, "tests/fuzz/pager.c", "build/zstd/zstd.c"]
    subprocess.run(
        command, cwd=ROOT, check=True
    )  # with checks for undefined behaviour, unless they are refused
    inputs = sorted((CORPUS / "pager").iterdir())
    assert inputs

    # when
    ran = subprocess.run([replay, *inputs], capture_output=True, text=True, check=False)

    # then
    assert (ran.returncode, ran.stderr) == (0, "")

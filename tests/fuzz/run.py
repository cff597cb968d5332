"""Fuzz one of the targets in Python with atheris: ``run.py plain corpus -runs=100000``, options as those of libFuzzer.

An input of some bytes may make the process larger by a bounded number of bytes only.
"""

from __future__ import annotations

import resource
import sys

import atheris  # type: ignore[import-untyped,import-not-found,unused-ignore]  # installed by `make fuzz`

with atheris.instrument_imports(include=["slimpack.elf"]):
    from fuzz import targets

_BASE, _PER_BYTE = 16 << 20, 1024
"""Bytes: what a run may add, whatever its input, and for each byte of it."""


def _largest() -> int:
    """Returns how large the process has been, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    name = sys.argv.pop(1)
    target = targets.TARGETS[name]

    def run(data: bytes) -> None:
        before = _largest()
        target(data)
        grown = _largest() - before
        assert grown <= _BASE + _PER_BYTE * len(data), f"{grown} bytes of memory for {len(data)}"

    atheris.Setup(sys.argv, run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

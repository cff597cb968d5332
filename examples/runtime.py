"""Prints the first Lambda runtime of its arguments that this machine has an interpreter for.

    python examples/runtime.py python3.12 python3.13

Without arguments it looks for the newest one.
"""

from __future__ import annotations

import sys

from slimpack import target
from slimpack.resolve import interpreters


def main() -> int:
    wanted = sys.argv[1:] or [*reversed(target.runtimes())]
    for runtime in wanted:
        if interpreters.find(target.make(runtime=runtime).python):
            print(runtime)
            return 0
    print(f"Found no interpreter for {', '.join(wanted)}. Install one of them.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())

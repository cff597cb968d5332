"""Build: compiles the native libraries of this folder, the same bytes on any machine: ``build.py [FOLDER]``.

Needs the compiler that the development dependencies name, zig, which brings both targets along.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent

ZIG = "0.17.1"
"""Release of the compiler that the libraries of this folder come from; another may make other code."""

MACHINES = ("x86_64", "aarch64")

_FLAGS = (
    "-std=c11", "-Wall", "-Wextra", "-Werror", "-Os", "-g0", "-fPIC", "-ffreestanding", "-fvisibility=hidden",
    "-fno-stack-protector", "-fno-sanitize=all", "-fno-unwind-tables", "-fno-asynchronous-unwind-tables",
    "-shared", "-nostdlib", "-Wl,--build-id=none", "-Wl,-s", "-Wl,-z,max-page-size=65536",
    "-Wl,-soname,slimpack_pages.so",
)  # fmt: skip


def build(folder: Path) -> None:
    """Compiles ``pages.c`` for both processors.

    Args:
        folder: Where the libraries go.
    """
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
        for machine in MACHINES:
            subprocess.run(
                [
                    *(sys.executable, "-m", "ziglang", "cc", "-target", f"{machine}-linux-gnu.2.17"),
                    *_FLAGS,
                    *("-o", str((folder / f"pages-{machine}.so").absolute()), "pages.c"),
                ],
                cwd=HERE,  # no path of this machine gets into the file
                env=environment,
                check=True,
            )


if __name__ == "__main__":
    build(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)

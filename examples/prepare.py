"""Trains the model of an example in a virtual environment of its own.

    python examples/prepare.py iris-knn --runtime python3.13

The environment has the interpreter of the runtime that the bundle is for, and what the example's requirements name.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from slimpack import target
from slimpack.resolve import interpreters

EXAMPLES = Path(__file__).parent


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("example", choices=sorted(path.parent.name for path in EXAMPLES.glob("*/train.py")))
    parser.add_argument("--runtime", choices=target.runtimes(), required=True)
    arguments = parser.parse_args()
    folder = EXAMPLES / arguments.example
    try:
        python = environment(folder, arguments.runtime)
        subprocess.run([python, folder / "train.py"], check=True)
    except subprocess.CalledProcessError as error:
        print(f"{arguments.example}: {error}", file=sys.stderr)
        return 1
    return 0


def environment(folder: Path, runtime: str) -> Path:
    """Returns the interpreter of the example's environment, made when its requirements are new or have changed."""
    requirements = sorted(folder.glob("requirements*.txt"))
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in requirements)).hexdigest()
    place = folder / "build" / runtime
    python, stamp = place / "bin" / "python", place / "requirements.sha256"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == digest:
        return python
    print(
        f"{folder.name}: installing {' + '.join(path.name for path in requirements)} for {runtime}",
        flush=True,
    )
    shutil.rmtree(place, ignore_errors=True)
    base = interpreters.find(target.make(runtime=runtime).python)
    if base is None:
        raise SystemExit(f"Found no interpreter for {runtime}. Install one, or name another runtime.")
    # Our own pip installs into it: the target's interpreter may come with an old one, or with none.
    subprocess.run([base, "-m", "venv", "--without-pip", place], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", "--no-input"]
    listed = [f"--requirement={path}" for path in requirements]
    subprocess.run([*pip, "install", "--quiet", "--only-binary=:all:", *listed], check=True)
    stamp.write_text(digest, encoding="utf-8")
    return python


if __name__ == "__main__":
    sys.exit(main())

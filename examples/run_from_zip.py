"""Runs the handler of a bundle with an interpreter of its runtime and nothing else on its path.

    python examples/run_from_zip.py dist/iris-knn.zip --runtime python3.13 \\
        --event examples/iris-knn/event.json --expect examples/iris-knn/expected.json

Prints the answer as JSON. The answer must have every key of the expected one, with the same value; it may have more.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from slimpack import target
from slimpack.resolve import interpreters

CALL = """
import importlib, json, sys
root, handler, event = sys.argv[1:]
sys.path.insert(0, root)
module, function = handler.split(".")
answer = getattr(importlib.import_module(module), function)(json.loads(event), None)
print("\\n" + json.dumps(answer))
"""
"""What the interpreter runs. Its last line is the answer, whatever the handler prints before."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path, help="a zip, or a folder that one was unpacked into")
    parser.add_argument("--runtime", choices=target.runtimes(), required=True)
    parser.add_argument("--handler", default="app.handler", help="module.function")
    parser.add_argument("--event", type=Path, required=True, help="a JSON file")
    parser.add_argument("--expect", type=Path, help="a JSON file to compare the answer with")
    arguments = parser.parse_args()
    interpreter = interpreters.find(target.make(runtime=arguments.runtime).python)
    if interpreter is None:
        parser.error(f"found no interpreter for {arguments.runtime}")
    event = arguments.event.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="slimpack-example-") as scratch:
        root = arguments.bundle.resolve()
        if root.is_file():
            root = unpack(root, Path(scratch) / "task")
        answer = call(interpreter, root, arguments.handler, event, home=Path(scratch))
    print(json.dumps(answer, indent=2))
    if arguments.expect is None:
        return 0
    expected = json.loads(arguments.expect.read_text(encoding="utf-8"))
    wrong = {key for key in expected if key not in answer or answer[key] != expected[key]}
    verdict = (
        f"differs from {arguments.expect} in {', '.join(sorted(wrong))}"
        if wrong
        else f"as {arguments.expect} says"
    )
    print(f"{arguments.handler} on {arguments.runtime}: {verdict}", file=sys.stderr)
    return 1 if wrong else 0


def unpack(bundle: Path, root: Path) -> Path:
    """Unpacks a zip into a folder, and forbids writing there as Lambda does."""
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(root)
    for folder, _, _ in os.walk(root):
        Path(folder).chmod(0o555)
    return root


def call(python: Path, root: Path, handler: str, event: str, *, home: Path) -> Any:  # noqa: ANN401 -- any JSON value
    """Returns what the handler answers, asked in a process with an environment like Lambda's."""
    libraries = [str(root), str(root / "lib"), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
    run = subprocess.run(
        [python, "-I", "-S", "-B", "-c", CALL, root, handler, event],
        cwd=root,
        env={
            "HOME": str(home),
            "LAMBDA_TASK_ROOT": str(root),
            "LD_LIBRARY_PATH": os.pathsep.join(libraries),
            "PATH": os.defpath,
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=False,
        encoding="utf-8",
    )
    if run.returncode:
        raise SystemExit(f"{handler} failed with exit code {run.returncode}")
    return json.loads(run.stdout.splitlines()[-1])


if __name__ == "__main__":
    sys.exit(main())

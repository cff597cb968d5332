"""Small bundles and what runs them: a runtime client of some forty lines, for tests that need no package index."""

from __future__ import annotations

import shutil
import sys
import textwrap
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slimpack.runtime
from slimpack import target
from slimpack.runtime import interpreter
from slimpack.runtime.environment import Function
from slimpack.runtime.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Mapping

OWN_RUNTIME = f"python3.{sys.version_info.minor}"

CLIENT = """
import http.client, importlib, json, os, sys, traceback

def main(args):
    sys.stdout.reconfigure(line_buffering=True)
    host, port = os.environ["AWS_LAMBDA_RUNTIME_API"].split(":")
    connection = http.client.HTTPConnection(host, int(port))

    def ask(method, path, body=None):
        connection.request(method, "/2018-06-01/runtime/" + path, body)
        response = connection.getresponse()
        return response, response.read()

    def failure(problem):
        return json.dumps({
            "errorType": type(problem).__name__,
            "errorMessage": str(problem),
            "stackTrace": traceback.format_tb(problem.__traceback__),
        })

    module, function = args[1].rsplit(".", 1)
    try:
        handler = getattr(importlib.import_module(module), function)
    except Exception as problem:
        ask("POST", "init/error", failure(problem))
        sys.exit(1)
    while True:
        response, event = ask("GET", "invocation/next")
        id_ = response.headers["Lambda-Runtime-Aws-Request-Id"]
        try:
            answer = json.dumps(handler(json.loads(event), dict(response.headers)))
        except Exception as problem:
            ask("POST", f"invocation/{id_}/error", failure(problem))
        else:
            response, text = ask("POST", f"invocation/{id_}/response", answer)
            if response.status != 202:
                sys.exit(f"refused: {text.decode()}")
"""


def make_zip(path: Path, files: Mapping[str, str], modes: Mapping[str, int] | None = None) -> Path:
    """Writes a bundle whose files have mode 644 unless told otherwise."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (0o100000 | (modes or {}).get(name, 0o644)) << 16
            archive.writestr(info, textwrap.dedent(text))
    return path


def make_tree(folder: Path, files: Mapping[str, str]) -> Path:
    """Writes files into a folder that others may read, even if pytest's own may not be passed through."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text), encoding="utf-8")
    return folder


def make_client(folder: Path) -> Path:
    """Writes a stand-in for awslambdaric, with slimpack's own bootstrap."""
    make_tree(folder, {"awslambdaric/__init__.py": "", "awslambdaric/__main__.py": CLIENT})
    shutil.copy(Path(slimpack.runtime.__file__).with_name("bootstrap.py"), folder)
    return folder


def make_stage(folder: Path, files: Mapping[str, str], *, room: bool = True, **function: Any) -> Stage:  # noqa: ANN401 -- fields
    """Returns a stage for ``app.handler`` of a tree with these files; those of a layer are below ``python/``."""
    is_layer = any(name.startswith("python/") for name in files)
    runs_on = target.make(runtime=OWN_RUNTIME, kind="lambda-layer" if is_layer else "lambda")
    scratch = folder / "scratch"
    scratch.mkdir(parents=True)
    return Stage(
        target=runs_on,
        tree=make_tree(folder / "task", files),
        interpreter=interpreter.choose(runs_on, None),
        client=make_client(folder / "client"),
        scratch=scratch,
        function=Function(**{"handler": "app.handler", "timeout_seconds": 20.0, **function}),
        owned=False,
        room=room,
    )

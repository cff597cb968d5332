"""Our Runtime API and AWS's own Runtime Interface Emulator, asked the same with the same client.

The emulator comes inside the wheel of ``aws-sam-cli``. When it ends, it kills every process that it may, so it only
ever gets a process namespace of its own.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

import pytest
from runtimes import OWN_RUNTIME, make_tree

from slimpack import target
from slimpack.cache import Cache
from slimpack.runtime import client, interpreter
from slimpack.runtime.environment import Function
from slimpack.runtime.invoke import run
from slimpack.runtime.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from slimpack.runtime.api import Fault

pytestmark = [pytest.mark.network, pytest.mark.heavy]

APP = """
    import os, sys, time

    class Own(Exception):
        pass

    def echo(event, context):
        return event

    def raises(event, context):
        raise ValueError("bad \\u00e9 \\U0001f600")

    def own(event, context):
        raise Own("a", 1)

    def exits(event, context):
        sys.exit(3)

    def dies(event, context):
        os._exit(0)

    def crashes(event, context):
        os.kill(os.getpid(), 11)

    def opaque(event, context):
        return {"x": object()}

    def huge(event, context):
        return "x" * (6 * 2**20 + 101)

    def slow(event, context):
        time.sleep(30)

    def not_a_number(event, context):
        return float("nan")

    def surrogate(event, context):
        return "\\ud800"

    def octets(event, context):
        return b"octets"
"""

FILES = {
    "app.py": APP,
    "lacks.py": "import one_that_nobody_has\ndef handler(event, context): pass\n",
    "broken.py": "def handler(:\n",
    "throws.py": "raise KeyError('x')\n",
    "leaves.py": "import sys\nsys.exit(5)\n",
}

TIMEOUT = 1
"""Seconds."""

REQUEST = re.compile(r"RequestId: [0-9a-f-]{36} ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What both need."""

    stage: Stage
    emulator: Path


def apart() -> list[str]:
    """Returns the command that gives a program a process namespace of its own."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", *user, "--pid", "--fork", "--mount-proc", "--kill-child"]
    if shutil.which("unshare") is None or subprocess.run([*command, "true"], check=False).returncode:
        pytest.skip("no process namespace can be had, and the emulator may kill what is in its own")
    return command


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Room:
    folder = tmp_path_factory.mktemp("rie")
    machine = {"x86_64": "x86_64", "aarch64": "arm64"}[platform.machine()]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    subprocess.run([*pip, "--dest", folder, "aws-sam-cli"], check=True)
    with zipfile.ZipFile(next(folder.glob("aws_sam_cli*.whl"))) as wheel:
        emulator = folder / "emulator"
        emulator.write_bytes(wheel.read(f"samcli/local/rapid/aws-lambda-rie-{machine}"))
    emulator.chmod(0o755)
    runs_on = target.make(runtime=OWN_RUNTIME)
    (folder / "scratch").mkdir()
    stage = Stage(
        target=runs_on,
        tree=make_tree(folder / "task", FILES),
        interpreter=interpreter.choose(runs_on, None),
        client=client.provide(
            runs_on,
            folder / "client",
            cache=Cache(root=folder / "cache", problem=None, wheel_store=folder / "wheels"),
            sdk=False,
        ),
        scratch=folder / "scratch",
        function=Function(handler="app.echo", timeout_seconds=TIMEOUT),
        owned=False,
    )
    return Room(stage=stage, emulator=emulator)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@contextmanager
def emulated(room: Room, handler: str) -> Iterator[int]:
    """Yields the port of an emulator that runs a handler."""
    port, stage = free_port(), room.stage
    addresses = [
        *("--runtime-interface-emulator-address", f"127.0.0.1:{port}"),
        *("--runtime-api-address", f"127.0.0.1:{free_port()}"),
    ]
    process = subprocess.Popen(
        [*apart(), room.emulator, *addresses, stage.interpreter.executable, "-m", "awslambdaric", handler],
        cwd=stage.tree,
        env={
            "PATH": os.defpath,
            "PYTHONPATH": str(stage.client),
            "PYTHONDONTWRITEBYTECODE": "1",
            "AWS_LAMBDA_FUNCTION_TIMEOUT": str(TIMEOUT),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(200):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.05)
        yield port
    finally:
        process.kill()
        process.wait()


def ask_emulator(room: Room, handler: str, event: str) -> str:
    """Returns what the emulator answers, be it good or bad."""
    with emulated(room, handler) as port:
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", "/2015-03-31/functions/function/invocations", event.encode())
        body = connection.getresponse().read().decode()
        connection.close()
    return body


def ask(room: Room, handler: str, event: str = "{}") -> str | Fault:
    """Returns our answer, or why there is none."""
    stage = replace(room.stage, function=replace(room.stage.function, handler=handler))
    (outcome,) = run(stage, [event.encode()]).outcomes
    if outcome.fault is not None:
        return outcome.fault
    assert outcome.answer is not None
    return outcome.answer


def failure(room: Room, handler: str) -> Fault:
    fault = ask(room, handler)
    assert not isinstance(fault, str)
    return fault


@pytest.mark.parametrize(
    ("handler", "event"),
    [
        ("app.echo", '{"a": [1, 2.5, null, true, "\u00e9"], "": {}}'),
        ("app.echo", '"\u00e9 \U0001f600"'),
        ("app.echo", "null"),
        ("app.echo", "12345678901234567890"),
        ("app.not_a_number", "{}"),
        ("app.surrogate", "{}"),
        ("app.octets", "{}"),
    ],
)
def test_answers_are_the_same_to_the_last_character(room: Room, handler: str, event: str) -> None:
    assert ask(room, handler, event) == ask_emulator(room, handler, event)


@pytest.mark.parametrize(
    ("handler", "type_"),
    [
        ("app.raises", "ValueError"),
        ("app.own", "Own"),
        ("app.opaque", "Runtime.MarshalError"),
        ("app.exits", "Runtime.ExitError"),
        ("app.dies", "Runtime.ExitError"),
        ("app.crashes", "Runtime.ExitError"),
        ("app.missing", "Runtime.HandlerNotFound"),
        ("app", "Runtime.MalformedHandlerName"),
        ("nowhere.handler", "Runtime.ImportModuleError"),
        ("lacks.handler", "Runtime.ImportModuleError"),
        ("broken.handler", "Runtime.UserCodeSyntaxError"),
        ("throws.handler", "KeyError"),
    ],
)
def test_failures_have_the_same_type_message_and_stack(room: Room, handler: str, type_: str) -> None:
    told: dict[str, Any] = json.loads(ask_emulator(room, handler, "{}"))

    fault = failure(room, handler)

    assert fault.type == told["errorType"] == type_
    assert REQUEST.sub("", fault.message) == REQUEST.sub("", told["errorMessage"])
    assert places(fault.stack) == places(told.get("stackTrace", []), at=room.stage)


def places(stack: list[str] | tuple[str, ...], at: Stage | None = None) -> list[str]:
    """Returns a stack with the folders in it as Lambda has them."""
    text = "\n".join(stack)
    if at is not None:
        text = text.replace(str(at.tree), "/var/task").replace(str(at.interpreter.prefix), "/var/lang")
    return text.splitlines()


def test_an_answer_of_more_than_six_megabytes_is_too_large_for_both(room: Room) -> None:
    told = json.loads(ask_emulator(room, "app.huge", "{}"))

    fault = failure(room, "app.huge")

    assert fault.type == told["errorType"] == "Function.ResponseSizeTooLarge"
    # we tell how large it is, the emulator does not
    assert re.sub(r" \(\d+ bytes\) exceeded", " exceeded", fault.message) == told["errorMessage"]


def test_a_timeout_is_plain_text_there_and_has_a_type_here(room: Room) -> None:
    told = ask_emulator(room, "app.slow", "{}")

    fault = failure(room, "app.slow")

    assert told == "Task timed out after 1.00 seconds"
    assert fault.type == "Sandbox.Timedout"
    assert fault.message.endswith(told)


def test_a_module_that_ends_the_process_is_silence_there_and_has_a_type_here(room: Room) -> None:
    told = ask_emulator(room, "leaves.handler", "{}")

    fault = failure(room, "leaves.handler")

    assert told == ""
    assert (fault.type, fault.message) == (
        "Runtime.ExitError",
        "Runtime exited with error: exit status 5",
    )

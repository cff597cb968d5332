"""The real runtime client, from the package index: what it reports is what Lambda reports."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from runtimes import OWN_RUNTIME, make_zip

from slimpack import target
from slimpack.cache import Cache, open_cache
from slimpack.runtime import client, interpreter
from slimpack.runtime.environment import Function
from slimpack.runtime.invoke import run
from slimpack.runtime.stage import Stage
from slimpack.runtime.unpack import scratch, unpack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from slimpack.runtime.invoke import Run

pytestmark = pytest.mark.network

OWN = target.make(runtime=OWN_RUNTIME)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cache]:
    with open_cache(tmp_path_factory.mktemp("cache")) as opened:
        yield opened


def invoke(
    cache: Cache, bundle: Path, *events: bytes, handler: str = "app.handler", room: bool = True
) -> Run:
    with scratch() as folder:
        stage = Stage(
            target=OWN,
            tree=unpack(bundle, folder / "task"),
            interpreter=interpreter.choose(OWN, None),
            client=client.provide(OWN, folder / "client", cache=cache, sdk=False),
            scratch=folder,
            function=Function(handler=handler, timeout_seconds=10.0),
            room=room,
        )
        return run(stage, events)


@pytest.mark.parametrize("room", [True, False])
def test_a_handler_answers(cache: Cache, tmp_path: Path, room: bool) -> None:
    source = """
        import logging
        logging.getLogger().setLevel("INFO")
        def handler(event, context):
            logging.info("seen")
            print("ü", event)
            return {"id": context.aws_request_id, "left": context.get_remaining_time_in_millis(), "event": event}
    """
    done = invoke(cache, make_zip(tmp_path / "b.zip", {"app.py": source}), b'{"a": "\xc3\xbc"}', room=room)

    (outcome,) = done.outcomes
    assert outcome.fault is None
    answer = json.loads(outcome.answer or "")
    assert answer["event"] == {"a": "ü"}
    assert 0 < answer["left"] <= 10_000
    assert outcome.log.text.endswith("seen\nü {'a': 'ü'}\n")
    assert f"\t{answer['id']}\t" in outcome.log.text


@pytest.mark.parametrize(
    ("source", "handler", "kind", "message"),
    [
        ("import nope_nope", "app.handler", "Runtime.ImportModuleError", "No module named 'nope_nope'"),
        ("x = 1", "app.handler", "Runtime.HandlerNotFound", "Handler 'handler' missing on module 'app'"),
        ("x = 1", "handler", "Runtime.MalformedHandlerName", "Bad handler 'handler'"),
        ("x = 1", "none.handler", "Runtime.ImportModuleError", "No module named 'none'"),
        ("x = 1", "sys.exit", "Runtime.BuiltInModuleConflict", "sys"),
        ("def f(:", "app.f", "Runtime.UserCodeSyntaxError", "Syntax error in module 'app'"),
        ("raise KeyError(5)", "app.f", "KeyError", "5"),
        ("import sys; sys.exit(3)", "app.f", "Runtime.ExitError", "exit status 3"),
        ("f = lambda event, context: object()", "app.f", "Runtime.MarshalError", "not JSON serializable"),
        ("f = lambda event, context: 1 / event", "app.f", "ZeroDivisionError", "division by zero"),
        ("f = lambda event: 1", "app.f", "TypeError", "positional argument"),
        ("f = lambda event, context: 'x' * 7_000_000", "app.f", "Function.ResponseSizeTooLarge", "7000002"),
        ("import os; f = lambda event, context: os._exit(0)", "app.f", "Runtime.ExitError", "without"),
    ],
)
def test_errors_are_those_of_lambda(
    cache: Cache, tmp_path: Path, source: str, handler: str, *, kind: str, message: str
) -> None:
    done = invoke(cache, make_zip(tmp_path / "b.zip", {"app.py": source}), b"0", handler=handler)

    fault = done.outcomes[0].fault
    assert fault is not None
    assert fault.type == kind
    assert message in fault.message


def test_a_file_that_only_its_owner_may_read_fails_as_on_lambda(cache: Cache, tmp_path: Path) -> None:
    files = {"app.py": "import secret\ndef handler(event, context): return secret.x", "secret.py": "x = 1"}
    bundle = make_zip(tmp_path / "b.zip", files, {"secret.py": 0o600})

    done = invoke(cache, bundle, b"0")

    if any(one.what == "user" for one in done.not_emulated):
        pytest.skip("runs as root, who may read everything")
    fault = done.outcomes[0].fault
    assert fault is not None
    assert "Permission denied" in fault.message
    assert "secret.py" in fault.message


def test_a_module_may_be_named_with_slashes(cache: Cache, tmp_path: Path) -> None:
    bundle = make_zip(tmp_path / "b.zip", {"pkg/app.py": "def handler(event, context): return 1"})

    assert invoke(cache, bundle, b"0", handler="pkg/app.handler").outcomes[0].answer == "1"


def test_the_client_comes_from_the_cache_the_second_time(cache: Cache, tmp_path: Path) -> None:
    client.provide(OWN, tmp_path / "first", cache=cache, sdk=False)
    heard: list[str] = []

    client.provide(OWN, tmp_path / "second", cache=cache, sdk=False, progress=heard.append)

    assert heard == []
    assert (tmp_path / "second" / "bootstrap.py").is_file()

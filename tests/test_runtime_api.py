from __future__ import annotations

import http.client
import json
import socket
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING

import pytest

from slimpack.runtime.api import PAYLOAD_LIMIT, Answered, Failed, Invocation, Ready, Report, RuntimeApi, Taken

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "/2018-06-01/runtime"
INVOCATION = Invocation(
    id="id-1", event=b'{"a": 1}', deadline_ms=1234, function_arn="arn:of:function", trace_id="Root=1"
)


class Service:
    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.reports: SimpleQueue[Report] = SimpleQueue()
        self.api = RuntimeApi(self.listener, self.reports.put)

    def heard(self) -> Report:
        return self.reports.get(timeout=10)

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes, http.client.HTTPMessage]:
        connection = self.connect()
        connection.request(method, PREFIX + path, body, headers or {})
        response = connection.getresponse()
        told = (response.status, response.read(), response.headers)
        connection.close()
        return told

    def hand_over(self) -> None:
        """Lets the client take the event."""
        self.api.offer(INVOCATION)
        assert self.ask("GET", "/invocation/next")[0] == 200
        assert isinstance(self.heard(), Ready)
        taken = self.heard()
        assert isinstance(taken, Taken)
        assert taken.id == "id-1"


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    with made.api:
        yield made


def test_an_event_comes_with_the_headers_that_clients_read(service: Service) -> None:
    service.api.offer(INVOCATION)

    status, body, headers = service.ask("GET", "/invocation/next")

    assert (status, body) == (200, b'{"a": 1}')
    assert headers["Lambda-Runtime-Aws-Request-Id"] == "id-1"
    assert headers["Lambda-Runtime-Deadline-Ms"] == "1234"
    assert headers["Lambda-Runtime-Invoked-Function-Arn"] == "arn:of:function"
    assert headers["Lambda-Runtime-Trace-Id"] == "Root=1"
    assert headers["Content-Type"] == "application/json"


def test_an_answer_is_passed_on_once(service: Service) -> None:
    service.hand_over()

    first, second = (service.ask("POST", "/invocation/id-1/response", b'"x"')[0] for _ in range(2))

    answered = service.heard()
    assert isinstance(answered, Answered)
    assert (answered.id, answered.body) == ("id-1", b'"x"')
    assert (first, second) == (202, 400)
    assert service.reports.empty()


def test_one_connection_serves_many_events(service: Service) -> None:
    connection = service.connect()
    for _ in range(3):
        service.api.offer(INVOCATION)
        connection.request("GET", f"{PREFIX}/invocation/next")
        connection.getresponse().read()
        connection.request("POST", f"{PREFIX}/invocation/id-1/response", b"1")
        assert connection.getresponse().read() == b'{"status":"OK"}\n'
    connection.close()


def test_an_error_is_told_with_type_message_and_stack(service: Service) -> None:
    service.hand_over()
    body = json.dumps({"errorType": "KeyError", "errorMessage": "'a'", "stackTrace": ["line 1", "line 2"]})

    status, *_ = service.ask("POST", "/invocation/id-1/error", body.encode())

    failed = service.heard()
    assert status == 202
    assert isinstance(failed, Failed)
    assert (failed.id, failed.fault.type, failed.fault.message) == ("id-1", "KeyError", "'a'")
    assert failed.fault.stack == ("line 1", "line 2")


def test_init_fails_once_and_before_the_first_event(service: Service) -> None:
    first, second = (service.ask("POST", "/init/error", b'{"errorType": "X"}')[0] for _ in range(2))

    failed = service.heard()
    assert (first, second) == (202, 400)
    assert isinstance(failed, Failed)
    assert failed.id is None
    assert service.reports.empty()


@pytest.mark.parametrize("body", [b"\xff\xfe", b"[1]", b"[" * 100_000, b""])
def test_an_error_that_is_no_object_takes_its_type_from_the_header(service: Service, body: bytes) -> None:
    service.ask("POST", "/init/error", body, {"Lambda-Runtime-Function-Error-Type": "Runtime.Odd"})

    failed = service.heard()
    assert isinstance(failed, Failed)
    assert failed.fault.type == "Runtime.Odd"


def test_an_answer_at_the_limit_is_taken(service: Service) -> None:
    service.hand_over()

    status, *_ = service.ask("POST", "/invocation/id-1/response", b"x" * PAYLOAD_LIMIT)

    assert status == 202
    assert isinstance(service.heard(), Answered)


def test_an_answer_above_the_limit_is_an_error_of_the_function(service: Service) -> None:
    service.hand_over()

    status, body, _ = service.ask("POST", "/invocation/id-1/response", b"x" * (PAYLOAD_LIMIT + 1))

    failed = service.heard()
    assert status == 413
    assert json.loads(body)["errorType"] == "RequestEntityTooLarge"
    assert isinstance(failed, Failed)
    assert failed.fault.type == "Function.ResponseSizeTooLarge"
    assert "6291557" in failed.fault.message


def test_the_id_of_another_event_is_refused(service: Service) -> None:
    service.hand_over()

    status, body, _ = service.ask("POST", "/invocation/id-2/response", b"1")

    assert (status, json.loads(body)["errorType"]) == (400, "InvalidRequestID")
    assert service.reports.empty()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/invocation/id-1/response", 404),
        ("POST", "/invocation/next", 404),
        ("POST", "/invocation//response/x", 404),
        ("PUT", "/invocation/next", 501),
    ],
)
def test_what_is_no_part_of_the_interface_is_refused(
    service: Service, method: str, path: str, status: int
) -> None:
    assert service.ask(method, path, b"")[0] == status


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        b"\r\n",
        b"\x00\xff garbage\r\n\r\n",
        b"GET " + b"a" * 100_000,
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"h%d: x\r\n" % number for number in range(500)) + b"\r\n",
        b"POST /2018-06-01/runtime/init/error HTTP/1.1\r\n\r\n",
        b"POST /2018-06-01/runtime/init/error HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"POST /2018-06-01/runtime/init/error HTTP/1.1\r\nContent-Length: 1e9\r\n\r\n",
        b"POST /2018-06-01/runtime/init/error HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
        b"POST /2018-06-01/runtime/init/error HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf",
        b"POST /2018-06-01/runtime/init/error HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /2018-06-01/runtime/init/error HTTP/1.1\r\nContent-Length: 99999999999999999\r\n\r\nx",
    ],
)
def test_a_malformed_request_disturbs_nobody(service: Service, request_: bytes) -> None:
    with (
        suppress(ConnectionError),  # cut off with something unread
        socket.create_connection(("127.0.0.1", service.port), timeout=10) as client,
    ):
        client.sendall(request_)
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):
            pass

    service.hand_over()


def test_connections_beyond_the_limit_are_closed_and_the_next_ones_served(service: Service) -> None:
    clients = [socket.create_connection(("127.0.0.1", service.port), timeout=10) for _ in range(80)]
    try:
        assert clients[-1].recv(1) == b""
    finally:
        for client in clients:
            client.close()

    while True:
        try:
            assert service.ask("GET", "/none")[0] == 404
        except (ConnectionError, http.client.HTTPException):
            continue  # the closed ones have not all been noticed yet
        break


def test_the_end_of_the_server_ends_a_waiting_client() -> None:
    service = Service()
    with service.api, socket.create_connection(("127.0.0.1", service.port), timeout=10) as client:
        client.sendall(f"GET {PREFIX}/invocation/next HTTP/1.1\r\n\r\n".encode())
        assert isinstance(service.heard(), Ready)

        service.api.__exit__(None, None, None)

        assert client.recv(1) == b""

"""The Runtime API: the loopback server that a Lambda runtime client asks for events and tells its answers.

Protocol: AWS Lambda developer guide, "Using the Lambda runtime API", version 2018-06-01. Only what a runtime
client needs is here: no extensions, no telemetry, no response streaming.
"""

from __future__ import annotations

import json
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

PAYLOAD_LIMIT = 6 * 2**20 + 100
"""Bytes that an event or an answer may have: 6 MiB and what Lambda adds for its own envelope."""

_PREFIX = "/2018-06-01/runtime/"

_DRAINED = 64 * 2**20
"""Bytes of a body over the limit that are read, so that its sender hears why; beyond, the connection is cut."""

_CONNECTIONS = 64
"""Connections at a time; a runtime client needs one."""

_ID_LENGTH = 64
"""Characters that a request id in a path may have to be looked at; ours have 36."""

_SHOWN = 16384
"""Characters of a message, and of an entry of a stack trace, that are kept."""

_STACK_LINES = 1000
"""Lines of a stack trace that are kept; Python's recursion limit is about as deep."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """An event on its way to the handler."""

    id: str
    """Request id, a UUID."""
    event: bytes
    """JSON text, UTF-8."""
    deadline_ms: int
    """When the function times out, in milliseconds since the epoch."""
    function_arn: str
    """Amazon Resource Name of the function."""
    trace_id: str
    """X-Ray trace header."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why there is no answer, as Lambda reports it."""

    type: str
    """An exception's class, or one of Lambda's own such as ``Runtime.ImportModuleError``."""
    message: str
    """What happened."""
    stack: tuple[str, ...] = ()
    """The traceback, outermost first, as the client formats it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The client asks for an event and waits."""

    at: float
    """Monotonic clock, seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """The client has got an event."""

    id: str
    """Its request id."""
    at: float
    """Monotonic clock, seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The handler has returned."""

    id: str
    """The request id of its event."""
    body: bytes
    """What it returned, as the client put it into words."""
    at: float
    """Monotonic clock, seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The handler has raised, or the client could not even find it."""

    id: str | None
    """The request id of its event; None during init."""
    fault: Fault
    """What the client says."""
    at: float
    """Monotonic clock, seconds."""


Report = Ready | Taken | Answered | Failed
"""What the API has heard."""


class RuntimeApi:
    """The server; a context manager. It serves one client process on a socket that it is given."""

    def __init__(self, listener: socket.socket, tell: Callable[[Report], None]) -> None:
        """Takes a listening socket, which it closes.

        Args:
            listener: Bound and listening; it may belong to another network namespace.
            tell: Gets every report, from several threads.
        """
        self._listener = listener
        self._tell = tell
        self._waiting: SimpleQueue[Invocation | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._running: str | None = None
        self._began = False
        self._closed = False
        self._connections: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept, name="slimpack-runtime-api", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._closed = True
            connections = tuple(self._connections)
        for one in (self._listener, *connections):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)  # wakes up the thread that waits in it
        self._waiting.put(None)
        self._thread.join()
        self._listener.close()

    def offer(self, invocation: Invocation) -> None:
        """Hands an event to the client, at once if it waits and else when it next asks."""
        self._waiting.put(invocation)

    def take(self) -> Invocation | None:
        """Waits for an event and marks it as running; None when the server ends."""
        self._tell(Ready(at=monotonic()))
        while True:
            # looked at once a second: whoever asks twice at the same time would otherwise wait for ever
            with suppress(Empty):
                invocation = self._waiting.get(timeout=1)
                if invocation is None:
                    self._waiting.put(None)
                    return None
                with self._lock:
                    self._running = invocation.id
                    self._began = True
                self._tell(Taken(id=invocation.id, at=monotonic()))
                return invocation
            if self._closed:
                return None

    def finish(self, report: Answered | Failed) -> bool:
        """Passes on how an event ended, or that init failed; returns whether that could be.

        Only a running event can end, and only once. Init can fail once, and before the first event.
        """
        with self._lock:
            if report.id != self._running or (report.id is None and self._began):
                return False
            self._running = None
            self._began = True
        self._tell(report)
        return True

    def _accept(self) -> None:
        while not self._closed:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                full = self._closed or len(self._connections) >= _CONNECTIONS
                if not full:
                    self._connections.add(connection)
            if full:
                connection.close()
                continue
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with suppress(
                OSError, ValueError
            ):  # the other end is gone, or has closed in the middle of a line
                _Exchange(connection, self)
        finally:
            with self._lock:
                self._connections.discard(connection)
            connection.close()


class _Exchange(BaseHTTPRequestHandler):
    """One connection; ``http.server`` reads request lines and headers, both of which it bounds."""

    protocol_version = "HTTP/1.1"
    server_version = "slimpack"
    sys_version = ""
    disable_nagle_algorithm = True  # a body would wait until the headers before it are acknowledged

    def __init__(self, connection: socket.socket, api: RuntimeApi) -> None:
        self._api = api
        super().__init__(connection, ("", 0), None)  # type: ignore[arg-type]  # no server object is needed

    def log_message(self, *_: Any) -> None:  # noqa: ANN401 -- the base class's signature
        """Keeps quiet: stderr belongs to the command line."""

    def do_GET(self) -> None:
        """Answers ``invocation/next``."""
        if self.path != f"{_PREFIX}invocation/next":
            self._refuse(HTTPStatus.NOT_FOUND, "InvalidPath", "There is no such resource.")
            return
        invocation = self._api.take()
        if invocation is None:
            self.close_connection = True
            return
        headers = {
            "Content-Type": "application/json",
            "Lambda-Runtime-Aws-Request-Id": invocation.id,
            "Lambda-Runtime-Deadline-Ms": str(invocation.deadline_ms),
            "Lambda-Runtime-Invoked-Function-Arn": invocation.function_arn,
            "Lambda-Runtime-Trace-Id": invocation.trace_id,
        }
        self._send(HTTPStatus.OK, invocation.event, headers)

    def do_POST(self) -> None:
        """Answers ``invocation/<id>/response``, ``invocation/<id>/error`` and ``init/error``."""
        size = self._size()
        if size is None:
            return
        parts = self.path.removeprefix(_PREFIX).split("/")
        known = self.path.startswith(_PREFIX) and (
            parts == ["init", "error"]
            or (len(parts) == 3 and parts[0] == "invocation" and parts[2] in {"response", "error"})  # noqa: PLR2004
        )
        id_ = unquote(parts[1])[:_ID_LENGTH] if known and parts[0] == "invocation" else None
        if size > PAYLOAD_LIMIT:
            self._too_large(size, id_)
            return
        body = self.rfile.read(size)
        at = monotonic()
        if len(body) < size:
            self.close_connection = True
        elif not known:
            self._refuse(HTTPStatus.NOT_FOUND, "InvalidPath", "There is no such resource.")
        else:
            answered = id_ is not None and parts[2] == "response"
            report = (
                Answered(id=id_ or "", body=body, at=at)
                if answered
                else Failed(id=id_, fault=self._fault(body), at=at)
            )
            if self._api.finish(report):
                self._send(HTTPStatus.ACCEPTED, b'{"status":"OK"}\n', {"Content-Type": "application/json"})
            else:
                self._refuse(HTTPStatus.BAD_REQUEST, "InvalidRequestID", "No event with this id is running.")

    def _size(self) -> int | None:
        """Returns the bytes of the body; None, and the refusal sent, if they are not told."""
        told = self.headers.get("Content-Length", "")
        # int() would also take signs, spaces and other scripts' digits
        if "Transfer-Encoding" in self.headers or not (told.isascii() and told.isdigit() and len(told) <= 18):  # noqa: PLR2004
            self.close_connection = True
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "LengthRequired", "State the length of the body.")
            return None
        return int(told)

    def _too_large(self, size: int, id_: str | None) -> None:
        left = min(size, _DRAINED)
        while left and (piece := self.rfile.read(min(left, 2**16))):
            left -= len(piece)
        if id_ is not None:
            message = (
                f"Response payload size ({size} bytes) exceeded maximum allowed payload size "
                f"({PAYLOAD_LIMIT} bytes)."
            )
            fault = Fault(type="Function.ResponseSizeTooLarge", message=message)
            self._api.finish(Failed(id=id_, fault=fault, at=monotonic()))
        self.close_connection = True
        self._refuse(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "RequestEntityTooLarge",
            f"Exceeded maximum allowed payload size ({PAYLOAD_LIMIT} bytes).",
        )

    def _fault(self, body: bytes) -> Fault:
        """Returns what a client says of an error; the header stands in for what the body does not tell."""
        named = self.headers.get("Lambda-Runtime-Function-Error-Type", "")
        try:
            told = json.loads(body)
        except (ValueError, RecursionError):
            told = None
        if not isinstance(told, dict):
            return Fault(type=named or "Runtime.Unknown", message=body[:_SHOWN].decode(errors="replace"))
        stack = told.get("stackTrace")
        return Fault(
            type=str(told.get("errorType") or named or "Runtime.Unknown")[:_SHOWN],
            message=str(told.get("errorMessage") or "")[:_SHOWN],
            stack=tuple(str(line)[:_SHOWN] for line in stack[:_STACK_LINES])
            if isinstance(stack, list)
            else (),
        )

    def _refuse(self, status: HTTPStatus, type_: str, message: str) -> None:
        body = json.dumps({"errorMessage": message, "errorType": type_}).encode()
        self._send(status, body, {"Content-Type": "application/json"})

    def _send(self, status: HTTPStatus, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

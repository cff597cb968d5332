"""Sandbox: a process started as Lambda would start it, in a room of its own where the machine allows that."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Self

from slimpack.errors import RuntimeRoomError
from slimpack.runtime.log import Log

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

UID, GID = 993, 990
"""User and group that functions have on Lambda (``sbx_user1051``)."""

TMP_BYTES = 512 * 2**20
"""Size of ``/tmp`` unless a function asks for more ("Lambda quotas")."""

_LIMITS = {"RLIMIT_NOFILE": 1024, "RLIMIT_CORE": 0}
_PROCESSES = {"RLIMIT_NPROC": 1024}
"""What a process may have ("Lambda quotas"). The kernel counts processes by user, so outside a room the user's own
would be counted too."""

_PATIENCE = 30.0
"""Seconds that the launcher has to make the room; it takes a fraction of one."""

NOTES = 1023
"""Number of the descriptor for notes: the last that a function may have, so that its own files get the usual ones.
``native/pages.c`` and ``slimpack_trace.py`` know it, too."""

_MESSAGE = 2**16
"""Bytes of a message of the launcher."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """Something of the host's that is in the room."""

    source: Path
    """A folder or a file."""
    place: str
    """Where it is in the room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What the root of a room is made of, besides the system's own folders."""

    root: Path
    """An empty folder of the host's that the root is mounted on."""
    mounts: tuple[Mount, ...]
    """In the order in which they are mounted; a later one may lie in an earlier one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to start."""

    command: tuple[str, ...]
    """Program, by its whole path, and arguments."""
    environment: Mapping[str, str]
    """All its variables; the address of the Runtime API is added."""
    folder: str
    """Its working directory."""
    room: Room | None
    """None to start it among the host's own files, with the host's network."""
    drop_user: bool = True
    """Whether root starts it as another user."""
    notes: int | None = None
    """Descriptor of a file that the process has as number ``NOTES``; None if it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The process has ended; all that it started has ended too, or, in a room, is being ended."""

    status: int
    """Exit code, or the number of the signal that killed it, negative."""
    peak_bytes: int
    """The most memory that it, or a child it waited for, had resident."""
    at: float
    """Monotonic clock, seconds."""
    reason: str | None = None
    """Why it never began; None if it did."""


class RefusedError(Exception):
    """This machine does not allow a room. The text says which step failed."""


class Sandbox:
    """A running process; a context manager that kills it and everything it has started."""

    def __init__(self, order: Order, tell: Callable[[Ended], None]) -> None:
        """Starts a process.

        Args:
            order: What to start.
            tell: Hears, from another thread, that the process has ended.

        Raises:
            RefusedError: The machine does not allow the room that is asked for.
            RuntimeRoomError: The process cannot be started.
        """
        self._tell = tell
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        reading, writing = os.pipe()
        self.log = Log(reading)
        """What the process prints to stdout and stderr, in one stream as on Lambda."""
        # apart from slimpack's own folders: the launcher needs the standard library only
        launcher = [sys.executable, "-I", "-S", "-B", str(Path(__file__).with_name("launcher.py"))]
        with theirs:
            self._process = subprocess.Popen(
                [*launcher, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                env={},
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        os.close(writing)
        self._is_room = order.room is not None
        self._function: int | None = None
        self._watcher: threading.Thread | None = None
        try:
            attached = [] if order.notes is None else [order.notes]
            socket.send_fds(self._control, [json.dumps(_plain(order)).encode()], attached)
            self._control.settimeout(_PATIENCE)
            _, (descriptor,) = self._hear("listening", descriptors=1)
            self.listener = socket.socket(fileno=descriptor)
            """The listening socket of the Runtime API, in the process's own network namespace."""
        except BaseException:
            self._stop()
            raise

    def started(self) -> float:
        """Waits for the moment at which the process began, and returns it: monotonic clock, seconds.

        Raises:
            RuntimeRoomError: It could not be started.
        """
        try:
            told, _ = self._hear("started")
        except RefusedError as problem:
            raise RuntimeRoomError(
                str(problem), fix="Name another interpreter with --interpreter."
            ) from problem
        if not self._is_room:
            self._function = told["process"]
        self._control.settimeout(None)
        self._watcher = threading.Thread(target=self._watch, name="slimpack-sandbox", daemon=True)
        self._watcher.start()
        return float(told["started"])

    def processes(self) -> list[int]:
        """Returns the ids of the process and all that descends from it."""
        # outside a room the launcher itself keeps watch; with one, its only child does
        found = _children(self._process.pid)
        if self._is_room:
            found = [pid for keeper in found for pid in _children(keeper)]
        for pid in found:  # grows while it is walked through
            found.extend(_children(pid))
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def kill(self) -> None:
        """Kills the process and everything it has started; ``tell`` does not hear of it."""
        for pid in self.processes():
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)

    def _stop(self) -> None:
        with suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)  # tells the launcher, and wakes up the watcher
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        if self._function is not None and self._process.returncode != 0:
            with suppress(ProcessLookupError):  # outside a room the function may have killed the launcher
                os.killpg(self._function, signal.SIGKILL)
        if self._watcher is not None:
            self._watcher.join()
        self._control.close()
        self.log.close()

    def _hear(self, kind: str, *, descriptors: int = 0) -> tuple[dict[str, Any], list[int]]:
        try:
            data, attached, _, _ = socket.recv_fds(self._control, _MESSAGE, descriptors)
            told: dict[str, Any] = json.loads(data)
        except (OSError, ValueError) as problem:
            said = self.log.cut().text.strip()
            raise RuntimeRoomError(
                f"the launcher ended before it was done: {said or problem}",
                fix="This is a fault in slimpack: please report it.",
            ) from problem
        if kind not in told:
            raise RefusedError(told.get("refused", "no reason was given"))
        return told, attached

    def _watch(self) -> None:
        """Waits for the end of the process."""
        try:
            told = json.loads(self._control.recv(_MESSAGE))
        except (
            OSError,
            ValueError,
        ):  # nobody wants to know any more, or the function has killed the launcher
            told = {"refused": "was lost: what watches over it is gone"}
        at = monotonic()
        if "ended" in told:
            status = os.waitstatus_to_exitcode(told["ended"])
            self._tell(Ended(status=status, peak_bytes=told["peak_kib"] * 1024, at=at))
        else:
            self._tell(Ended(status=127, peak_bytes=0, at=at, reason=told["refused"]))


def _plain(order: Order) -> dict[str, Any]:
    """Returns an order as the launcher reads it."""
    room = order.room
    drops_user = order.drop_user and os.geteuid() == 0  # in a user namespace without the other user it stays
    return {
        "command": order.command,
        "environment": dict(order.environment),
        "folder": order.folder,
        "limits": _LIMITS | _PROCESSES if room is not None or drops_user else _LIMITS,
        "user": [UID, GID] if drops_user else None,
        "notes": None if order.notes is None else NOTES,
        "room": None
        if room is None
        else {
            "root": str(room.root),
            "mounts": [(str(one.source), one.place) for one in room.mounts],
            "user": [UID, GID],
            "tmp_bytes": TMP_BYTES,
        },
    }


def _children(pid: int) -> list[int]:
    """Returns the child processes of a process; proc(5), ``/proc/[pid]/task/[tid]/children``."""
    found: list[int] = []
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found.extend(int(one) for one in (thread / "children").read_text(encoding="ascii").split())
    return found

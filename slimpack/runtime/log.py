"""Log: what a process prints, kept within bounds: the beginning and the end, and a count of what is between."""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass

_HEAD = _TAIL = 128 * 2**10
"""Bytes that are kept of the beginning and of the end."""

_PIECE = 64 * 2**10
"""Bytes that are read at once: what a pipe holds."""

_PAUSE_MILLISECONDS = 50
"""How often it is looked whether the log shall be closed."""

_PIECES = 1024
"""Pieces that a cut reads at most: who prints without end must not hold it up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """What was printed in some stretch of time."""

    text: str
    """Beginning and end; a line between them tells what was left out. What is no UTF-8 is replaced."""
    omitted_bytes: int = 0
    """Bytes that were left out."""


class Log:
    """The reading end of a pipe, emptied all the time by a thread of its own."""

    def __init__(self, descriptor: int) -> None:
        """Takes the descriptor, which it closes.

        Args:
            descriptor: The reading end of a pipe.
        """
        self._descriptor = descriptor
        os.set_blocking(descriptor, False)
        self._lock = threading.Lock()
        self._at_end = False
        self._closing = threading.Event()
        self._begin()
        self._thread = threading.Thread(target=self._pump, name="slimpack-log", daemon=True)
        self._thread.start()

    def cut(self) -> Printed:
        """Returns what was printed since the last cut; all that is in the pipe by now counts."""
        with self._lock:
            for _ in range(_PIECES):
                if not self._read():
                    break
            head, tail, omitted = bytes(self._head), b"".join(self._tail), self._omitted
            self._begin()
        if not omitted:
            return Printed(text=(head + tail).decode(errors="replace"))
        text = head.decode(errors="replace") + f"\n… {omitted:,} bytes left out …\n"
        return Printed(text=text + tail.decode(errors="replace"), omitted_bytes=omitted)

    def close(self) -> None:
        """Closes the pipe."""
        self._closing.set()
        self._thread.join()
        os.close(self._descriptor)

    def _begin(self) -> None:
        self._head = bytearray()
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0
        self._omitted = 0

    def _pump(self) -> None:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        while not self._closing.is_set() and not self._at_end:
            if poll.poll(_PAUSE_MILLISECONDS):
                with self._lock:
                    self._read()

    def _read(self) -> bool:
        """Takes one piece out of the pipe; returns whether there was one."""
        with suppress(BlockingIOError):
            piece = os.read(self._descriptor, _PIECE)
            self._at_end = not piece
            self._add(piece)
            return bool(piece)
        return False

    def _add(self, piece: bytes) -> None:
        room = _HEAD - len(self._head)
        self._head += piece[:room]
        if rest := piece[room:]:
            self._tail.append(rest)
            self._tail_bytes += len(rest)
        while self._tail_bytes - len(self._tail[0] if self._tail else b"") >= _TAIL:
            gone = self._tail.popleft()
            self._tail_bytes -= len(gone)
            self._omitted += len(gone)

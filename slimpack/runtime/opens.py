"""Opens: the files of a folder that anybody opens, as the kernel tells (inotify(7)); no rights are needed for it."""

from __future__ import annotations

import ctypes
import errno
import os
import select
import struct
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

_IN_OPEN, _IN_Q_OVERFLOW, _IN_ISDIR, _IN_ONLYDIR = 0x20, 0x4000, 0x40000000, 0x1000000

_EVENT = struct.Struct("iIII")
"""``struct inotify_event`` without the name: watch, mask, cookie, length of the name."""

_PIECE = 2**18
"""Bytes that are read at once."""

_PAUSE_MILLISECONDS = 50
"""How often it is looked whether it shall end."""

_MOST = 1_000_000
"""Files that are kept in mind."""

_libc = ctypes.CDLL(None, use_errno=True)


class Opens:
    """Which files are opened; a context manager that stops watching."""

    def __init__(self, folder: Path) -> None:
        """Begins to watch a folder and all below it.

        A mount elsewhere of the same folder is the same folder, so that this sees through namespaces.

        Args:
            folder: The folder.
        """
        self.refused: str | None = None
        """Why nothing is seen; None if it is."""
        self.lost = False
        """Whether the kernel, or this class, has dropped some."""
        self._folders: dict[int, str] = {}
        self._seen: dict[str, None] = {}
        self._told = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._descriptor = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            self.refused = f"inotify: {os.strerror(ctypes.get_errno())}"
            return
        for place, _, _ in os.walk(folder):
            watch = _libc.inotify_add_watch(self._descriptor, os.fsencode(place), _IN_OPEN | _IN_ONLYDIR)
            if watch < 0:
                number = ctypes.get_errno()
                limit = " (fs.inotify.max_user_watches)" if number == errno.ENOSPC else ""
                self.refused = f"inotify: {os.strerror(number)}{limit}"
                return
            self._folders[watch] = os.fsencode(os.path.relpath(place, folder)).decode(errors="replace")
        self._thread = threading.Thread(target=self._pump, name="slimpack-opens", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def cut(self) -> tuple[str, ...]:
        """Returns the files that were opened for the first time since the last cut, in order, relative paths."""
        with self._lock:
            while self._thread is not None and self._read():
                pass
            found = list(self._seen)[self._told :]
            self._told = len(self._seen)
        return tuple(found)

    def _pump(self) -> None:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        while not self._closing.is_set():
            if poll.poll(_PAUSE_MILLISECONDS):
                with self._lock:
                    self._read()

    def _read(self) -> bool:
        """Takes what the kernel has; returns whether it had something."""
        data = b""
        with suppress(BlockingIOError):
            data = os.read(self._descriptor, _PIECE)
        at = 0
        while at < len(data):
            watch, mask, _, length = _EVENT.unpack_from(data, at)
            at += _EVENT.size + length
            if mask & _IN_Q_OVERFLOW:
                self.lost = True
            elif mask & _IN_OPEN and not mask & _IN_ISDIR:
                name = data[at - length : at].rstrip(b"\0").decode(errors="replace")
                folder = self._folders[watch]
                self._note(name if folder == "." else f"{folder}/{name}")
        return bool(data)

    def _note(self, path: str) -> None:
        if path in self._seen:
            return
        if len(self._seen) >= _MOST:
            self.lost = True
        else:
            self._seen[path] = None

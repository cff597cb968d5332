"""Bytecode: what an interpreter of the target's version makes of Python sources (PEP 552, ``unchecked-hash``)."""

from __future__ import annotations

import json
import os
import queue
import select
import struct
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import IO, TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

MAGIC = {(3, 10): 3439, (3, 11): 3495, (3, 12): 3531, (3, 13): 3571, (3, 14): 3627}
"""Magic numbers of the final releases (Include/internal/pycore_magic_number.h; Lib/importlib/_bootstrap_external.py
before 3.14). Alphas and betas have others, and Lambda has no use for their bytecode."""

HEADER = 16
"""Bytes of a ``.pyc`` before its code."""

_HOMES = {"lambda": "/var/task", "lambda-layer": "/opt/python"}
"""Where the installed tree lies at run time, by kind of the target."""

_SECONDS = 120.0
"""After this long a source counts as hanging; the largest known takes two."""

_SIZE = struct.Struct("<I")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bytecode:
    """What came of compiling."""

    pycs: Mapping[str, bytes] = field(default_factory=dict)
    """The ``.pyc`` of each source, by the source's place in the installed tree, sorted."""
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Why a source has none, likewise."""
    compiler: str | None = None
    """What compiled, such as ``CPython 3.12.4``; None if nothing did."""
    unavailable: str | None = None
    """Why nothing could be compiled; None if all is well."""


def magic(python: tuple[int, int]) -> bytes:
    """Returns the magic number of a version's bytecode, as files begin with it.

    Args:
        python: Major and minor version.
    """
    return MAGIC[python].to_bytes(2, "little") + b"\r\n"


def home(kind: str) -> str:
    """Returns the folder that the installed tree is in at run time, empty where that is not known.

    Args:
        kind: Of the target.
    """
    return _HOMES.get(kind, "")


def place(path: str, python: tuple[int, int]) -> str:
    """Returns where a source's bytecode is looked for (PEP 3147).

    Args:
        path: The source.
        python: Major and minor version of the interpreter.
    """
    source = PurePosixPath(path)
    return str(source.parent / "__pycache__" / f"{source.stem}.cpython-{python[0]}{python[1]}.pyc")


def compile_all(
    sources: Mapping[str, Path],
    *,
    python: tuple[int, int],
    interpreter: Path | None,
    home: str,
    jobs: int,
    progress: Callable[[int, int], None],
) -> Bytecode:
    """Compiles sources.

    The outcome depends on the sources, their places and the release of the interpreter, on nothing else. Tracebacks and
    ``inspect`` show where a module was loaded from, wherever that is: importing it corrects the file name in its code.
    That takes a moment, which is saved if it lies in ``home``.

    Args:
        sources: Files by their place in the installed tree.
        python: Major and minor version of the target's interpreter.
        interpreter: A CPython of that version, for any processor that can be run here; None if there is none.
        home: Folder that the installed tree is in at run time, empty if that is not known.
        jobs: Processes at a time.
        progress: Called with the number of sources that are done and that of all.
    """
    version = f"{python[0]}.{python[1]}"
    if python not in MAGIC:
        return Bytecode(unavailable=f"the magic number of Python {version} is not known")
    if interpreter is None:
        return Bytecode(unavailable=f"no interpreter of Python {version} was found")
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    for path in sorted(sources):
        waiting.put(path)
    run = _Run(
        interpreter=interpreter, python=python, home=home, sources=sources, waiting=waiting, progress=progress
    )
    with ThreadPoolExecutor(jobs) as pool:
        for task in [pool.submit(run.serve) for _ in range(jobs)]:
            task.result()
    if run.unavailable is not None:
        return Bytecode(unavailable=run.unavailable)
    return Bytecode(
        pycs=dict(sorted(run.pycs.items())),
        skipped=dict(sorted(run.skipped.items())),
        compiler=run.compiler,
    )


@dataclass(slots=True, kw_only=True)
class _Run:
    """What the threads share, each of which speaks to one process."""

    interpreter: Path
    """What compiles."""
    python: tuple[int, int]
    """The version that it has to have."""
    home: str
    """Before the paths of sources, to name their code's files."""
    sources: Mapping[str, Path]
    """Files by place in the installed tree."""
    waiting: queue.SimpleQueue[str]
    """Places that no thread has taken yet."""
    progress: Callable[[int, int], None]
    """Whom to tell."""
    lock: Lock = field(default_factory=Lock)
    """Held to call ``progress``."""
    pycs: dict[str, bytes] = field(default_factory=dict)
    """What came of them."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Why nothing came of them."""
    compiler: str | None = None
    """What compiled."""
    unavailable: str | None = None
    """Why nothing could."""

    def serve(self) -> None:
        """Compiles what is waiting, in a process that is started again when it dies."""
        while self.unavailable is None and not self.waiting.empty():
            try:
                process = _start(self.interpreter)
            except OSError as problem:
                self.unavailable = f"{self.interpreter} does not start: {problem}"
                return
            try:
                self.compiler = self._greet(process)
                while self._next(process):
                    pass
            except _Gone as problem:
                self.unavailable = self.unavailable or str(problem)
            finally:
                process.kill()
                process.communicate()

    def _greet(self, process: subprocess.Popen[bytes]) -> str:
        """Returns what the process says that it is.

        Raises:
            _Gone: It is not what is wanted.
        """
        try:
            told = json.loads(b"".join(_line(process)))
            name, version, number = told["implementation"], told["version"], bytes.fromhex(told["magic"])
        except (_Gone, ValueError, TypeError, KeyError) as problem:
            raise _Gone(f"{self.interpreter} is no Python interpreter that runs here") from problem
        if name != "cpython" or number != magic(self.python):
            raise _Gone(
                f"{self.interpreter} is {name} {version}, and its bytecode is not that of"
                f" Python {self.python[0]}.{self.python[1]}"
            )
        return f"CPython {version}"

    def _next(self, process: subprocess.Popen[bytes]) -> bool:
        """Has the next source compiled; returns whether the process can go on."""
        try:
            path = self.waiting.get_nowait()
        except queue.Empty:
            return False
        named = f"{self.home}/{path}" if self.home else path
        goes_on = True
        try:
            worked, answer = _ask(process, str(self.sources[path].absolute()), named)
        except _Gone as problem:
            worked, answer, goes_on = False, f"the compiler {problem}".encode(), False
        if worked:
            self.pycs[path] = answer
        else:
            self.skipped[path] = answer.decode("utf-8", "replace")
        with self.lock:
            self.progress(len(self.pycs) + len(self.skipped), len(self.sources))
        return goes_on


class _Gone(Exception):  # noqa: N818 -- never leaves this module
    """A process that does not answer, or that is not what it should be."""


def _start(interpreter: Path) -> subprocess.Popen[bytes]:
    script = Path(__file__).with_name("compiler.py")
    return subprocess.Popen(
        # -S, -s: nothing but the standard library; the seed orders sets, and -I would have it ignored
        [str(interpreter.absolute()), "-S", "-s", "-B", "-X", "utf8", str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={"PATH": os.defpath, "PYTHONHASHSEED": "0"},
        start_new_session=True,
    )


def _ask(process: subprocess.Popen[bytes], source: str, name: str) -> tuple[bool, bytes]:
    """Returns whether a source could be compiled, and its ``.pyc`` or the reason.

    Raises:
        _Gone: There is no answer.
    """
    incoming = cast("IO[bytes]", process.stdin)
    texts = [text.encode("utf-8", "surrogateescape") for text in (source, name)]
    try:
        incoming.write(b"".join(_SIZE.pack(len(text)) + text for text in texts))
        incoming.flush()
    except OSError as problem:
        raise _Gone("has died") from problem
    deadline = time.monotonic() + _SECONDS
    head = _read(process, 1 + _SIZE.size, deadline)
    (size,) = _SIZE.unpack_from(head, 1)
    return head[0] == 1, _read(process, size, deadline)


def _line(process: subprocess.Popen[bytes]) -> Iterator[bytes]:
    deadline = time.monotonic() + _SECONDS
    while (byte := _read(process, 1, deadline)) != b"\n":
        yield byte


def _read(process: subprocess.Popen[bytes], size: int, deadline: float) -> bytes:
    """Returns exactly so many bytes of what a process writes.

    Raises:
        _Gone: It writes less, or takes too long.
    """
    content = bytearray()
    descriptor = cast("IO[bytes]", process.stdout).fileno()
    while len(content) < size:
        ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise _Gone("took too long")
        if not (piece := os.read(descriptor, size - len(content))):
            with suppress(subprocess.TimeoutExpired):
                process.wait(1.0)
            raise _Gone("has died")
        content += piece
    return bytes(content)

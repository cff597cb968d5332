"""Compiler: the process in which an interpreter of the target's version compiles sources.

Run as a script by CPython 3.10 to 3.14, with its standard library only. It writes one line of JSON that says what it
is, then answers requests from standard input, one by one. A request is two texts, the file to read and the name that
the code gives as its file, each with its bytes before it (``<I``); the answer is one byte, 1 if it worked, and a
``.pyc`` (PEP 552), or the reason in UTF-8, with its bytes before it.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    del sys.path[0]  # the folder of this file: its modules are not to be taken for the standard library's

import importlib.util
import json
import marshal
import platform
import resource
import struct
import types
import warnings

TYPE_CHECKING = False  # ``typing`` takes long to import
if TYPE_CHECKING:
    from typing import BinaryIO

_SIZE = struct.Struct("<I")

_UNCHECKED = struct.pack("<I", 0b01)
"""Flags of a ``.pyc``: the hash of the source stands in it, and is not compared (PEP 552)."""


def main() -> None:
    """Answers requests until there are no more."""
    warnings.simplefilter("ignore")
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))  # sources can crash a compiler
    incoming, outgoing = sys.stdin.buffer, sys.stdout.buffer
    told = {
        "implementation": sys.implementation.name,
        "version": platform.python_version(),
        "magic": importlib.util.MAGIC_NUMBER.hex(),
    }
    outgoing.write(json.dumps(told).encode() + b"\n")
    outgoing.flush()
    while (place := _text(incoming)) is not None:
        name = _text(incoming)
        try:
            answer, worked = compiled(place, name or ""), True
        except (SyntaxError, ValueError, OSError, RecursionError, MemoryError, OverflowError) as problem:
            answer, worked = _reason(problem).encode("utf-8", "replace"), False
        outgoing.write(bytes([worked]) + _SIZE.pack(len(answer)) + answer)
        outgoing.flush()


def compiled(place: str, name: str) -> bytes:
    """Returns the ``.pyc`` of a source, the same bytes whatever was compiled before.

    Args:
        place: The file.
        name: What its code objects have as ``co_filename``.

    Raises:
        SyntaxError: It is no Python of this version.
    """
    with open(place, "rb") as file:  # noqa: PTH123 -- pathlib takes long to import
        source = file.read()
    code = compile(source, name, "exec", dont_inherit=True, optimize=0)
    held = list(_names(code))  # ``marshal`` marks what has more than one reference: now all names have
    written = marshal.dumps(code)
    del held
    return importlib.util.MAGIC_NUMBER + _UNCHECKED + importlib.util.source_hash(source) + written


def _names(code: types.CodeType) -> list[object]:
    """Returns the strings of a code object, which others in the process may hold as well, or not."""
    held: list[object] = [code.co_filename, code.co_name, getattr(code, "co_qualname", None)]
    held += (*code.co_names, *code.co_varnames, *code.co_cellvars, *code.co_freevars)
    waiting: list[object] = list(code.co_consts)
    while waiting:
        one = waiting.pop()
        if isinstance(one, types.CodeType):
            held += _names(one)
        elif isinstance(one, (tuple, frozenset)):
            waiting += one
        else:
            held.append(one)
    return held


def _reason(problem: BaseException) -> str:
    if isinstance(problem, SyntaxError):
        return f"{problem.msg} (line {problem.lineno})" if problem.lineno else str(problem.msg)
    return f"{type(problem).__name__}: {problem}".rstrip(": ")


def _text(stream: BinaryIO) -> str | None:
    head = stream.read(_SIZE.size)
    if len(head) < _SIZE.size:
        return None
    return stream.read(*_SIZE.unpack(head)).decode("utf-8", "surrogateescape")


if __name__ == "__main__":
    main()

"""Loads packed modules: their code and their source come from the archive of their tree, not from their file.

This file goes into bundles as it is, with nothing but CPython 3.10 to 3.14 at hand; ``docs/packed-modules.md`` says
what it promises and has the archive's format. The ``1`` of its name is the format's.

In place of a packed module lies a stub, one line that calls ``run``. That happens once in a process: this module
teaches ``SourceFileLoader`` to find code in the archive, so that what is imported later never gets to its stub, and
``linecache``, once somebody imports it, to find source there. The finders, and with them the order of ``sys.path``, are
as they were; so are loaders, specs and the modules' own attributes, for nothing is set on them. A file that is not the
stub any more is taken as what it is.

A program's folder, or the tree, may come before the standard library on ``sys.path`` and have a ``token.py``, so
nothing is imported here that is written in Python.
"""

from __future__ import annotations

import _frozen_importlib_external as _external
import marshal
import mmap
import os
import sys
import zlib
from _frozen_importlib import _call_with_frames_removed  # type: ignore[attr-defined]  # not for everybody
from _imp import _fix_co_filename  # type: ignore[attr-defined]
from _struct import Struct
from _struct import error as _StructError  # type: ignore[attr-defined]  # noqa: N812 -- it is a class

TYPE_CHECKING = False  # as ``typing`` has it, which takes longer to import than all of this
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any

_MAGIC = b"SLPKMOD1"
_HEAD, _COUNTS, _BLOCK, _ENTRY = (Struct(one) for one in ("<8sII", "<II", "<IIII", "<IIIIIII"))
_DEFLATE, _LZMA = 1, 2
_KEPT = 8
"""Blocks that stay unpacked: what is imported next mostly lies where the last module lay."""

_Loader = _external.SourceFileLoader
_HIDDEN = "<frozen importlib._bootstrap_external>"
"""The file name by which CPython knows frames of the import system (``remove_importlib_frames`` in Python/import.c,
``is_internal_frame`` in Python/_warnings.c)."""

_plain_get_code, _plain_get_data = _Loader.get_code, _Loader.get_data
_plain_updatecache: Any = None
"""That of ``linecache``; None until somebody has imported it."""

_trees: dict[str, Archive] = {}
"""Archives by the folder of their tree, as the paths of its modules begin, with the slash; never changed in place."""


class Archive:
    """The packed modules of a tree."""

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self._open()
        except (ValueError, _StructError, zlib.error) as error:
            raise self.damaged(error) from error

    def _open(self) -> None:
        with open(self.path, "rb") as file:  # noqa: PTH123 -- pathlib too takes long
            self._content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        magic, python, size = _HEAD.unpack_from(self._content)
        if magic != _MAGIC:
            raise ImportError(f"{self.path} is no archive of packed modules", path=self.path)
        self.runs_here = python.to_bytes(4, "little") == _external.MAGIC_NUMBER and not sys.flags.optimize
        """Whether its bytecode is what this interpreter would make of the sources."""
        self._start = _HEAD.size + size
        index = zlib.decompress(self._content[_HEAD.size : self._start])
        blocks, modules = _COUNTS.unpack_from(index)
        middle = _COUNTS.size + blocks * _BLOCK.size
        end = middle + modules * _ENTRY.size
        self._blocks = list(_BLOCK.iter_unpack(index[_COUNTS.size : middle]))
        self.entries = dict(zip(index[end:].decode().split("\n"), _ENTRY.iter_unpack(index[middle:end])))  # noqa: B905 -- as many by the format
        """Where code and source of each module are, and how long its stub is, by its path in the tree."""
        self._recent: dict[int, bytes] = {}
        offset, packed, *_ = self._blocks[-1]
        if len(self.entries) != modules or self._start + offset + packed > len(self._content):
            raise ValueError("it is too short")

    def damaged(self, why: Exception) -> ImportError:
        """Returns what to raise where the archive cannot be read."""
        return ImportError(f"{self.path} is damaged: {why}", path=self.path)

    def code(self, name: str) -> bytes:
        """Returns a module's code as ``marshal`` writes it; nothing if the archive has only its source."""
        block, offset, size = self.entries[name][:3]
        return self._block(block)[offset : offset + size] if size else b""

    def source(self, name: str) -> bytes:
        """Returns a module's source."""
        block, offset, size = self.entries[name][3:6]
        return self._block(block)[offset : offset + size] if size else b""

    def _block(self, number: int) -> bytes:
        content = self._recent.get(number)
        if content is None:
            offset, packed, size, method = self._blocks[number]
            start = self._start + offset
            content = self._content[start : start + packed]
            if method == _DEFLATE:
                try:
                    content = zlib.decompress(content, bufsize=size)
                except zlib.error as error:
                    raise self.damaged(error) from error
            elif method == _LZMA:
                content = self._expand(content, size)
            if len(content) != size:
                raise self.damaged(ValueError("a block is too short"))
            # Without a lock: the worst that can happen is that a block is unpacked twice.
            self._recent = dict([*self._recent.items()][1 - _KEPT :]) | {number: content}
        return content

    def _expand(self, stored: bytes, size: int) -> bytes:
        import _lzma

        filters = [{"id": _lzma.FILTER_LZMA2, "dict_size": max(size, 4096)}]
        try:
            return _lzma.LZMADecompressor(_lzma.FORMAT_RAW, filters=filters).decompress(stored)
        except _lzma.LZMAError as error:
            raise self.damaged(error) from error


def run(name: str, namespace: dict[str, Any], local: dict[str, Any]) -> None:
    """Executes a module in place of its stub, which calls this.

    Args:
        name: Path of the module in its tree.
        namespace: The stub's globals.
        local: Its locals; others than its globals only if ``exec`` was told so.

    Raises:
        ImportError: The archive is not there, or damaged.
    """
    stub = sys._getframe(1).f_code  # noqa: SLF001 -- the way to the caller
    code = _load(_tree(namespace.get("__file__"), name), name, stub.co_filename)
    if getattr(namespace.get("__spec__"), "_initializing", False):
        # It is being imported, and the stub has become a part of the import system: of tracebacks its frame is left
        # out, and ``warnings`` does not count it.
        _fix_co_filename(stub, _HIDDEN)
    _call_with_frames_removed(exec, code, namespace, local)


def run_linecache(namespace: dict[str, Any]) -> None:
    """Executes ``linecache`` in its globals, and teaches it: its code is but a call of this."""
    code = _plain_get_code(namespace["__spec__"].loader, "linecache")
    _call_with_frames_removed(exec, code, namespace)
    _teach_linecache()


def _load(archive: Archive, name: str, path: str) -> CodeType:
    """Returns the code of a module as if it had been compiled from a file."""
    if archive.runs_here and (written := archive.code(name)):
        try:
            code: CodeType = marshal.loads(written)  # noqa: S302 -- as importlib does
        except (EOFError, ValueError, TypeError) as error:
            raise archive.damaged(error) from error
        _fix_co_filename(code, path)
        return code
    return compile(archive.source(name), path, "exec", dont_inherit=True)


def _tree(file: object, name: str) -> Archive:
    """Returns the archive that has a module.

    Args:
        file: The ``__file__`` that the stub sees: its own, or anything if ``exec`` ran its text.
        name: Path of the module in its tree.
    """
    if isinstance(file, str) and file.endswith(name):
        archive = _open(file[: -len(name)])
        if archive and name in archive.entries:
            return archive
    known = [archive for archive in _trees.values() if name in archive.entries]
    for archive in known or filter(None, map(_open, sys.path)):
        if name in archive.entries:
            return archive
    raise ImportError(
        f"{name} is packed, and its archive slimpack.libs/modules is missing or lacks it", path=name
    )


def _open(folder: str) -> Archive | None:
    """Returns the archive of a tree, None if there is none."""
    global _trees  # noqa: PLW0603 -- the import system's state is the process's
    folder = os.path.join(folder if folder.startswith("/") else os.path.abspath(folder), "")  # noqa: PTH100, PTH118
    if folder not in _trees:
        try:
            _trees = {**_trees, folder: Archive(folder + "slimpack.libs/modules")}
        except (FileNotFoundError, NotADirectoryError):
            return None
    return _trees[folder]


def _find(path: str) -> tuple[Archive, str] | None:
    """Returns archive and name of the packed module that a file is the stub of; None if it is no stub."""
    for folder, archive in _trees.items():
        if path.startswith(folder) and (name := path[len(folder) :]) in archive.entries:
            try:
                if os.stat(path).st_size == archive.entries[name][6]:  # noqa: PTH116
                    return archive, name
            except OSError:
                pass  # the plain loader will tell
    return None


def _get_code(self: _Loader, fullname: str) -> CodeType | None:
    path = self.get_filename(fullname)
    found = _find(path)
    if (
        _plain_updatecache is None
        and not _teach_linecache()
        and fullname == "linecache"
        and found is None
        and getattr(_linecache().get("__spec__"), "loader", None) is self  # it is being imported
    ):
        return compile('__import__("_slimpack1").run_linecache(globals())', _HIDDEN, "exec")
    if found is None or type(self).source_to_code is not _Loader.source_to_code:
        return _plain_get_code(self, fullname)  # the second: it makes code of its own from the source
    return _load(*found, path)


def _get_data(self: _Loader, path: str) -> bytes:
    found = _find(str(path))
    return _plain_get_data(self, path) if found is None else found[0].source(found[1])


def _teach_linecache() -> bool:
    """Lets ``linecache`` find sources in archives if somebody has imported it; returns whether that is so."""
    global _plain_updatecache
    namespace = _linecache()
    plain = namespace.get("updatecache")
    if plain is not None and plain is not _updatecache:
        _plain_updatecache, namespace["updatecache"] = plain, _updatecache
    return plain is not None


def _linecache() -> dict[str, Any]:
    """Returns the globals of ``linecache``, as far as there are any: a lazy module would be loaded for an attribute."""
    module = sys.modules.get("linecache")
    return {} if module is None else object.__getattribute__(module, "__dict__")


def _updatecache(filename: str, module_globals: dict[str, Any] | None = None) -> list[str]:
    lines: list[str] = _plain_updatecache(filename, module_globals)
    if len(lines) == 1 and (name := _stubbed(lines[0])):
        try:
            cache = _linecache()["cache"]
            size, time, _, path = cache[filename]
            text = _external.decode_source(_tree(path, name).source(name))
        except Exception:  # noqa: BLE001 -- whoever formats a traceback wants no other error
            return lines
        lines = [f"{line}\n" for line in text.removesuffix("\n").split("\n")]
        cache[filename] = size, time, lines, path
    return lines


def _stubbed(line: str) -> str:
    """Returns the path of the module that a line is the stub of; nothing if it is no stub."""
    found, _, rest = line.rpartition('.run("')
    name = rest.removesuffix('",globals(),locals())\n')
    plain = '__import__("_slimpack1")'
    run = f'__import__("runpy").run_path(__file__[:-{len(name)}]+"_slimpack1.py")'
    program = f'({plain}if __name__!="__main__"else __import__("types").SimpleNamespace(**{run}))'
    return name if name != rest and found in {plain, program} else ""


for _one in (run, run_linecache, _get_code):
    _fix_co_filename(_one.__code__, _HIDDEN)  # so that they too are left out of tracebacks
_Loader.get_code, _Loader.get_data = _get_code, _get_data  # type: ignore[method-assign, assignment]
_teach_linecache()

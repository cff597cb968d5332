"""Packing of modules: in the sandbox, sources give way to stubs, and what they were goes into the archive."""

from __future__ import annotations

import ast
import hashlib
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from slimpack.bytecode import HEADER, magic, place
from slimpack.errors import BooksError
from slimpack.model import Addition, PackedFile
from slimpack.modules import archive
from slimpack.modules.archive import LOADER, PLACE, Module, Tier, stub, write
from slimpack.modules.choose import left_alone, mentions
from slimpack.output import writing

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from slimpack.bytecode import Bytecode
    from slimpack.model import Staged

LOADER_FILE = Path(__file__).with_name(LOADER)
"""What loads packed modules. To have its bytecode in the bundle, compile it with the rest, as ``archive.LOADER``."""

_ARCHIVE_REASON = "It holds the packed modules."
_LOADER_REASON = "It loads packed modules."


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What packing has done."""

    staged: Mapping[str, Staged]
    """All files, those that were packed as their stubs."""
    left: Mapping[str, str]
    """Why modules that were to be packed are as they were, by path."""
    additions: tuple[Addition, ...]
    """The archive and its loader; none if nothing was packed."""


def pack(
    staged: Mapping[str, Staged],
    *,
    root: Path,
    wanted: Mapping[str, Tier],
    read: Collection[str],
    bytecode: Bytecode,
    python: tuple[int, int],
    jobs: int,
) -> Outcome:
    """Packs modules in place.

    What was packed is read back and compared before the first file is overwritten.

    Args:
        staged: What is in the sandbox.
        root: Folder of the sandbox that the installed tree is in.
        wanted: Sources to pack, in the order in which a start imports them, as far as that is known, and how quickly
            their code is to be there.
        read: Those of them whose source lines a start reads, as far as that is known.
        bytecode: What came of compiling them, and the loader. Modules that could not be compiled stay as they are; if
            nothing could be, code is compiled at run time, as it is for plain modules.
        python: Major and minor version of the target's interpreter.
        jobs: Blocks that are packed at a time.

    Raises:
        BooksError: The archive would not give back what was put in.
        OutputError: The sandbox cannot be written.
    """
    with writing(root):
        sources = {path: (root / path).read_bytes() for path in staged if path.endswith(".py")}
    named = frozenset(name for source in sources.values() for name in mentions(source))
    left: dict[str, str] = {}
    modules: list[Module] = []
    for path, tier in wanted.items():
        source = sources[path]
        executable = bool((root / path).stat().st_mode & 0o111)
        reason = left_alone(path, source, mentioned=named, executable=executable)
        if reason := reason or _no_code(path, source, bytecode):
            left[path] = reason
        else:
            code = bytecode.pycs[path][HEADER:] if bytecode.unavailable is None else b""
            modules.append(Module(path=path, source=source, code=code, tier=tier, read=path in read))
    if not modules:
        return Outcome(staged=staged, left=left, additions=())
    content = write(modules, magic=magic(python) if bytecode.unavailable is None else bytes(4), jobs=jobs)
    if [replace(one, tier=Tier.HOT, read=False) for one in modules] != list(archive.read(content)):
        raise BooksError("the archive of packed modules would not give back what was put in", where=PLACE)
    after = dict(staged)
    for one in modules:
        text = stub(one)
        with writing(root / one.path):
            (root / one.path).write_bytes(text)
        digest = hashlib.sha256(text).hexdigest()
        packed = PackedFile(size_before=len(one.source), stored=0, loaded=len(one.source))
        after[one.path] = replace(staged[one.path], size=len(text), sha256=digest, packed=packed)
    return Outcome(staged=after, left=left, additions=tuple(_additions(content, bytecode, python)))


def _no_code(path: str, source: bytes, bytecode: Bytecode) -> str | None:
    """Returns why a source makes no module."""
    if bytecode.unavailable is None:
        return None if path in bytecode.pycs else bytecode.skipped.get(path, "it was not compiled")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as problem:
        return f"{type(problem).__name__}: {problem}"
    return None


def _additions(content: bytes, bytecode: Bytecode, python: tuple[int, int]) -> list[Addition]:
    made = [
        Addition(path=PLACE, rule="pack", reason=_ARCHIVE_REASON, content=content),
        Addition(path=LOADER, rule="pack", reason=_LOADER_REASON, content=LOADER_FILE.read_bytes()),
    ]
    if LOADER in bytecode.pycs:
        compiled = bytecode.pycs[LOADER]
        made.append(
            Addition(path=place(LOADER, python), rule="pack", reason=_LOADER_REASON, content=compiled)
        )
    return made

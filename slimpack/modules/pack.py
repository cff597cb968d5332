"""Packing of modules: sources of the sandbox go into the archive, and stubs take their places."""

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
from slimpack.modules.archive import LOADER, PLACE, Module, Tier, shares, stub, write
from slimpack.modules.choose import left_alone, mentions
from slimpack.output import writing

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from slimpack.bytecode import Bytecode
    from slimpack.model import Staged

RULE = "modules"
"""Stands as rule at the archive and its loader."""

LOADER_FILE = Path(__file__).with_name(LOADER)
"""What loads packed modules. To have its bytecode in the bundle, compile it with the rest, as ``archive.LOADER``."""

_ARCHIVE_REASON = "It holds the packed modules."
_LOADER_REASON = "It loads packed modules."


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What packing makes of modules; the sandbox is as it was until the stubs are put into it."""

    packed: Mapping[str, Staged]
    """What is packed, as the stubs that will be there, by path."""
    stubs: Mapping[str, bytes]
    """Their content."""
    left: Mapping[str, str]
    """Why modules that were to be packed stay as they are, by path."""
    additions: tuple[Addition, ...]
    """The archive and its loader; none if nothing is packed."""


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
    """Packs modules.

    What was packed is read back and compared.

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
        OutputError: The sandbox cannot be read.
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
        return Outcome(packed={}, stubs={}, left=left, additions=())
    content = write(modules, magic=magic(python) if bytecode.unavailable is None else bytes(4), jobs=jobs)
    if [replace(one, tier=Tier.HOT, read=False) for one in modules] != list(archive.read(content)):
        raise BooksError("the archive of packed modules would not give back what was put in", where=PLACE)
    packed: dict[str, Staged] = {}
    stubs = {one.path: stub(one) for one in modules}
    for path, share in shares(content).items():
        text, size = stubs[path], len(sources[path])
        packed[path] = replace(
            staged[path],
            size=len(text),
            sha256=hashlib.sha256(text).hexdigest(),
            packed=PackedFile(size_before=size, stored=0, loaded=size, archived=share),
        )
    return Outcome(
        packed=packed, stubs=stubs, left=left, additions=tuple(_additions(content, bytecode, python))
    )


def put(stubs: Mapping[str, bytes], *, root: Path) -> None:
    """Puts stubs into the places of the modules that are packed.

    Args:
        stubs: By path of the module.
        root: Folder of the sandbox that the installed tree is in.

    Raises:
        OutputError: The sandbox cannot be written.
    """
    with writing(root):
        for path, text in stubs.items():
            (root / path).write_bytes(text)


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
        Addition(path=PLACE, rule=RULE, reason=_ARCHIVE_REASON, content=content),
        Addition(path=LOADER, rule=RULE, reason=_LOADER_REASON, content=LOADER_FILE.read_bytes()),
    ]
    if LOADER in bytecode.pycs:
        compiled = bytecode.pycs[LOADER]
        made.append(Addition(path=place(LOADER, python), rule=RULE, reason=_LOADER_REASON, content=compiled))
    return made

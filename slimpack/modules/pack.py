"""Packing of modules: sources of the sandbox go into the archive, and stubs take their places."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from slimpack.bytecode import HEADER, magic, place
from slimpack.errors import BooksError
from slimpack.model import Addition, PackedFile
from slimpack.modules import archive
from slimpack.modules.archive import LOADER, PLACE, Module, Tier, shares, stub, write
from slimpack.modules.choose import left_alone, mentions
from slimpack.modules.reads import readings
from slimpack.output import writing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from slimpack.bytecode import Bytecode
    from slimpack.model import Staged

RULE = "modules"
"""Stands as rule at the archive and its loader."""

LOADER_FILE = Path(__file__).with_name(LOADER)
"""What loads packed modules. To have its bytecode in the bundle, compile it with the rest, as ``archive.LOADER``."""

_ARCHIVE_REASON = "It holds the packed modules."
_LOADER_REASON = "It loads packed modules."


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """What could be packed."""

    modules: Mapping[str, Module]
    """By path."""
    left: Mapping[str, str]
    """Why others cannot, by path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What packing makes of modules; the sandbox is as it was until the stubs are put into it."""

    packed: Mapping[str, Staged] = field(default_factory=dict)
    """What is packed, as the stubs that will be there, by path."""
    stubs: Mapping[str, bytes] = field(default_factory=dict)
    """Their content."""
    additions: tuple[Addition, ...] = ()
    """The archive and its loader; none if nothing is packed."""

    @property
    def size(self) -> int:
        """Bytes of it in the bundle."""
        return sum(one.size for one in self.packed.values()) + sum(
            len(one.content or b"") for one in self.additions
        )


def examine(staged: Mapping[str, Staged], *, root: Path, wanted: Iterable[str], bytecode: Bytecode) -> Stock:
    """Returns which modules can be packed.

    Args:
        staged: What is in the sandbox.
        root: Folder of the sandbox that the installed tree is in.
        wanted: Sources that are to be packed if they can be.
        bytecode: What came of compiling them.

    Raises:
        OutputError: The sandbox cannot be read.
    """
    with writing(root):
        sources = {path: (root / path).read_bytes() for path in staged if path.endswith(".py")}
    named = frozenset(name for source in sources.values() for name in mentions(source))
    read = frozenset(one for path, source in sources.items() for one in readings(path, source))
    left: dict[str, str] = {}
    modules: dict[str, Module] = {}
    for path in wanted:
        source = sources[path]
        executable = bool((root / path).stat().st_mode & 0o111)
        if reason := left_alone(path, source, mentioned=named, read=read, executable=executable):
            left[path] = reason
        elif path in bytecode.pycs:
            modules[path] = Module(path=path, source=source, code=bytecode.pycs[path][HEADER:])
        else:
            left[path] = bytecode.skipped.get(path, "it was not compiled")
    return Stock(modules=modules, left=left)


def pack(
    staged: Mapping[str, Staged],
    modules: Sequence[Module],
    *,
    bytecode: Bytecode,
    python: tuple[int, int],
    jobs: int,
) -> Outcome:
    """Packs modules.

    What was packed is read back and compared.

    Args:
        staged: What is in the sandbox.
        modules: Those to pack, in the order in which a start imports them, as far as that is known.
        bytecode: What came of compiling them, and the loader.
        python: Major and minor version of the target's interpreter.
        jobs: Blocks that are packed at a time.

    Raises:
        BooksError: The archive would not give back what was put in.
    """
    if not modules:
        return Outcome()
    number = magic(python) if any(one.code for one in modules) else bytes(4)
    content = write(modules, magic=number, jobs=jobs)
    if [replace(one, tier=Tier.HOT, read=False) for one in modules] != list(archive.read(content)):
        raise BooksError("the archive of packed modules would not give back what was put in", where=PLACE)
    packed: dict[str, Staged] = {}
    stubs = {one.path: stub(one) for one in modules}
    sizes = {one.path: len(one.source) for one in modules}
    for path, share in shares(content).items():
        text = stubs[path]
        packed[path] = replace(
            staged[path],
            size=len(text),
            sha256=hashlib.sha256(text).hexdigest(),
            packed=PackedFile(size_before=sizes[path], stored=0, loaded=sizes[path], archived=share),
        )
    return Outcome(packed=packed, stubs=stubs, additions=tuple(_additions(content, bytecode, python)))


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


def _additions(content: bytes, bytecode: Bytecode, python: tuple[int, int]) -> list[Addition]:
    made = [
        Addition(path=PLACE, rule=RULE, reason=_ARCHIVE_REASON, content=content),
        Addition(path=LOADER, rule=RULE, reason=_LOADER_REASON, content=LOADER_FILE.read_bytes()),
    ]
    if LOADER in bytecode.pycs:
        compiled = bytecode.pycs[LOADER]
        made.append(Addition(path=place(LOADER, python), rule=RULE, reason=_LOADER_REASON, content=compiled))
    return made

"""Inspect ELF files with LIEF: the facts they state, and whether a compacted one is still sound.

The only module that imports lief. Run it in worker processes: a parser that crashes must not take a build
down.
"""

from __future__ import annotations

import hashlib
import io
import mmap
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import lief

from slimpack.elf.compact import compact as compact_image
from slimpack.elf.layout import FILE_HEADER, ElfError, is_elf, loader_problems, read
from slimpack.elf.memory import same_memory
from slimpack.model import ElfFacts, SymbolVersion

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from _typeshed import ReadableBuffer

    Content = ReadableBuffer | Callable[[], ReadableBuffer]

lief.logging.disable()

_BLOCK = 1 << 20
"""Bytes that are hashed and written at a time."""
_STRIDE = 2048
"""Every how many pages a compacted file is compared with the original."""
_VER_FLG_BASE, _VER_FLG_WEAK = 1, 2
"""Flags of symbol versions: names the file itself; may be missing."""
_NO_TEXT = "it holds a name that is no text"
_CLASSES = (1, 2)
"""``EI_CLASS`` of 32-bit and 64-bit files."""
_TYPES: dict[int, Literal["EXEC", "DYN", "REL"]] = {
    int(lief.ELF.Header.FILE_TYPE.EXEC): "EXEC",
    int(lief.ELF.Header.FILE_TYPE.DYN): "DYN",
    int(lief.ELF.Header.FILE_TYPE.REL): "REL",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Treated:
    """What became of one ELF file on its way into the bundle."""

    facts: ElfFacts | None
    """What it says of itself; None if LIEF does not understand it."""
    size: int
    """Bytes written."""
    sha256: str
    """Hash of what was written, hexadecimal."""
    dropped: tuple[str, ...]
    """Names of the sections that were dropped or cleared; empty if the file was written unchanged."""
    cleared: int
    """Bytes of what was cleared."""
    left_as_it_was: str | None
    """Why a file was written unchanged that may hold something to drop; None otherwise."""
    problems: tuple[str, ...]
    """What keeps the target's loader from loading what was written."""


def treat(
    content: Content, path: str, destination: Path, *, compact: bool = True, clear: Collection[str] = ()
) -> Treated:
    """Writes an ELF file compacted, and checks the outcome; what fails the check is written as it was.

    Args:
        content: The whole file, or a function that returns it. With a function, the process never holds more
            than the file and a little: it is let go before LIEF reads the outcome, and asked for again only
            if that has a problem.
        path: Its place in the installed tree.
        destination: The file to write; overwritten, and incomplete if the process dies.
        compact: Whether to compact it; otherwise it is only written and inspected.
        clear: Names of mapped sections that are to read as zeros when it is compacted.

    Raises:
        OSError: The destination cannot be written.
    """
    written = _write_compacted(_image(content), destination, compact=compact, clear=clear)
    facts, problems = examine(destination, path)
    if problems and written.dropped:
        original = _image(content)
        facts_before, problems_before = examine(original, path)
        if added := [problem for problem in problems if problem not in problems_before]:
            written = _write([original], destination, left_as_it_was=f"compacted, {added[0]}")
            facts, problems = facts_before, problems_before
    return replace(written, facts=facts, problems=problems)


def inspect(file: Path | ReadableBuffer, path: str) -> ElfFacts:
    """Reads what an ELF file says of itself.

    Args:
        file: The file or its content.
        path: Its place in the installed tree.

    Raises:
        ElfError: LIEF does not understand it.
    """
    binary = _parse(file)
    return _facts(binary, path)


def layout_problems(file: Path | ReadableBuffer) -> tuple[str, ...]:
    """Says what keeps the target's loader from loading an ELF file, by LIEF's account and by our own.

    Args:
        file: The file or its content.

    Returns:
        One sentence for each problem; empty if there is none.
    """
    return examine(file, "")[1]


def examine(file: Path | ReadableBuffer, path: str) -> tuple[ElfFacts | None, tuple[str, ...]]:
    """Returns the facts of a file and what is wrong with its layout, parsing it once.

    Args:
        file: The file or its content.
        path: Its place in the installed tree.
    """
    try:
        binary = _parse(file)
        facts = _facts(binary, path)
    except ElfError as error:
        return None, (error.reason,)
    if facts.type not in ("EXEC", "DYN"):
        return facts, ()
    try:
        sound, problem = lief.ELF.check_layout(binary)
    except UnicodeDecodeError:  # its message quotes a name
        sound, problem = False, _NO_TEXT
    problems = () if sound else (problem,)
    try:
        return facts, problems + _loader_problems(file)
    except ElfError:  # another class or byte order: no loader of the targets takes it, and LIEF has judged it
        return facts, problems


def _image(content: Content) -> ReadableBuffer:
    return content() if callable(content) else content


def _write_compacted(
    image: ReadableBuffer, destination: Path, *, compact: bool, clear: Collection[str]
) -> Treated:
    """Writes a file, compacted or not; everything that refers to its memory ends with this function."""
    if not compact:
        return _write([image], destination)
    compaction = compact_image(image, clear=clear)
    written = _write(compaction.chunks, destination, left_as_it_was=compaction.refused)
    changed = (*compaction.dropped, *compaction.hollow)
    if not changed:
        return written
    with destination.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as output:
        if same_memory(image, output, clear=clear, stride=_STRIDE):
            return replace(written, dropped=changed, cleared=compaction.hollow_bytes)
    return _write([image], destination, left_as_it_was="compacted, it would differ in memory")


def _write(
    chunks: Iterable[ReadableBuffer], destination: Path, *, left_as_it_was: str | None = None
) -> Treated:
    digest, size = hashlib.sha256(), 0
    with destination.open("wb") as file:
        for chunk in chunks:
            view = memoryview(chunk).cast("B")
            for start in range(0, len(view), _BLOCK):
                block = view[start : start + _BLOCK]
                digest.update(block)
                file.write(block)
            size += len(view)
    return Treated(
        facts=None,
        size=size,
        sha256=digest.hexdigest(),
        dropped=(),
        cleared=0,
        left_as_it_was=left_as_it_was,
        problems=(),
    )


def _loader_problems(file: Path | ReadableBuffer) -> tuple[str, ...]:
    if not isinstance(file, Path):
        return loader_problems(read(file))
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            return loader_problems(read(content))
        except ElfError as error:
            reason = (
                error.reason
            )  # the error itself holds views of the content, which could not be closed then
    raise ElfError(reason)


def _parse(file: Path | ReadableBuffer) -> lief.ELF.Binary:
    """Parses a file without its symbols and relocations, which would take seconds and gigabytes.

    Whoever uses the result has to bind it to a name first: its parts do not keep it alive.
    """
    config = lief.ELF.ParserConfig()
    config.parse_dyn_symbols = False
    config.parse_symtab_symbols = False
    config.parse_relocations = False
    config.parse_notes = False
    config.parse_overlay = False
    # LIEF takes bytes that are no ELF file for a file name, and returns a header that is none unfilled.
    binary = None
    if _has_header(file):
        binary = lief.ELF.parse(str(file) if isinstance(file, Path) else io.BytesIO(file), config)
    if binary is None:
        raise ElfError("LIEF does not understand it")
    return binary


def _has_header(file: Path | ReadableBuffer) -> bool:
    """Whether a file begins with a whole ELF header of a known class."""
    if isinstance(file, Path):
        with file.open("rb") as stream:
            head = stream.read(FILE_HEADER.size)
    else:
        head = bytes(memoryview(file).cast("B")[: FILE_HEADER.size])
    return is_elf(head) and len(head) == FILE_HEADER.size and head[4] in _CLASSES


def _facts(binary: lief.ELF.Binary, path: str) -> ElfFacts:
    try:
        with warnings.catch_warnings(
            action="ignore", category=RuntimeWarning
        ):  # of numbers it has no name for
            return _facts_of(binary, path)
    except UnicodeDecodeError as error:  # LIEF's only answer to names that are no text
        raise ElfError(_NO_TEXT) from error


def _facts_of(binary: lief.ELF.Binary, path: str) -> ElfFacts:
    header, tag = binary.header, lief.ELF.DynamicEntry.TAG
    entries = {entry.tag: entry for entry in binary.dynamic_entries}
    soname, runpath, rpath = entries.get(tag.SONAME), entries.get(tag.RUNPATH), entries.get(tag.RPATH)
    search_path = ""
    if isinstance(runpath, lief.ELF.DynamicEntryRunPath):
        search_path = _text(runpath.runpath)
    elif isinstance(rpath, lief.ELF.DynamicEntryRpath):
        search_path = _text(rpath.rpath)
    return ElfFacts(
        path=path,
        type=_TYPES.get(int(header.file_type), "OTHER"),
        machine=_machine(header),
        soname=_text(soname.name) if isinstance(soname, lief.ELF.DynamicSharedObject) else None,
        needed=tuple(_text(name) for name in binary.libraries),
        search_path=tuple(part for part in search_path.split(":") if part),
        search_path_first=runpath is None and rpath is not None,
        versions=tuple(
            SymbolVersion(library=_text(requirement.name), version=_text(version.name))
            for requirement in binary.symbols_version_requirement
            for version in requirement.get_auxiliary_symbols()
            if not version.flags & _VER_FLG_WEAK
        ),
        provides=tuple(
            _text(next(iter(definition.auxiliary_symbols)).name)
            for definition in binary.symbols_version_definition
            if not definition.flags & _VER_FLG_BASE
        ),
        interpreter=_text(binary.interpreter) if binary.has_interpreter else None,
    )


def _machine(header: lief.ELF.Header) -> str:
    """Returns the machine as ``platform.machine()`` names it, its other modes marked."""
    machine: lief.ELF.ARCH | int = header.machine_type
    name = machine.name.lower() if isinstance(machine, lief.ELF.ARCH) else f"machine {machine}"
    if name in ("x86_64", "aarch64"):
        name += "" if header.identity_class == lief.ELF.Header.CLASS.ELF64 else "-32"
        name += "" if header.identity_data == lief.ELF.Header.ELF_DATA.LSB else "-be"
    return name


def _text(value: str | bytes) -> str:
    """Returns a name as text; LIEF gives bytes where they are no UTF-8."""
    return value if isinstance(value, str) else value.decode("utf-8", "backslashreplace")

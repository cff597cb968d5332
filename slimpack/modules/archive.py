"""Archive of packed modules: the format that ``_slimpack1.py`` reads at run time; ``docs/packed-modules.md`` has it."""

from __future__ import annotations

import lzma
import re
import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import TYPE_CHECKING

from zlib_ng import zlib_ng

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

MAGIC = b"SLPKMOD1"
"""What an archive begins with; the digit is the format's, and that of the loader's name."""

LOADER = "_slimpack1.py"
"""Place of the loader in the installed tree."""

PLACE = "slimpack.libs/modules"
"""Place of the archive in the installed tree."""

_HEAD = struct.Struct("<8sII")
"""Magic, magic number of the bytecode, bytes of the packed index."""

_COUNTS = struct.Struct("<II")
"""Blocks and modules."""

_BLOCK = struct.Struct("<IIII")
"""Offset behind the index, packed bytes, unpacked bytes, method."""

_ENTRY = struct.Struct("<IIIIIII")
"""Of the code and of the source: number of the block, offset in it, bytes; then the bytes of the stub."""

_SAMPLES = 12
"""Blocks that tell how small the rest will become."""

_PROGRAM = re.compile(rb"""\b__name__\s*==\s*["']__main__["']""")
"""Code that does something when its module is run as a program."""


class Method(IntEnum):
    """How a block is packed."""

    STORED = 0
    """Not at all."""
    DEFLATE = 1
    """zlib (RFC 1950): unpacks four times as fast."""
    LZMA = 2
    """LZMA2 without a container: a quarter smaller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How the modules' code or sources are cut into blocks."""

    method: Method
    """How blocks are packed."""
    bytes: int
    """Unpacked bytes of a block; what is larger by itself has one of its own."""


class Tier(Enum):
    """How quickly a module's code is there, from the quickest, which takes the most room."""

    RAW = Layout(method=Method.STORED, bytes=1)
    """As it is: quicker than a file of its own, since no file is looked for and opened."""
    HOT = Layout(method=Method.DEFLATE, bytes=64 * 2**10)
    """Quick to unpack, and little in a block that may not be wanted."""
    COLD = Layout(method=Method.LZMA, bytes=256 * 2**10)
    """Small: for what most starts do not need."""


READ = Layout(method=Method.DEFLATE, bytes=64 * 2**10)
"""Sources that a start reads: TensorFlow notes where its operators are registered, with the lines of 75 modules."""

UNREAD = Layout(method=Method.LZMA, bytes=64 * 2**10)
"""Other sources: for tracebacks, and for the few who look at functions' sources."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A module to pack."""

    path: str
    """Place in the installed tree."""
    source: bytes
    """The file."""
    code: bytes
    """Its code as ``marshal`` writes it; empty to have it compiled from the source at run time."""
    tier: Tier = Tier.HOT
    """How quickly its code is to be there."""
    read: bool = False
    """Whether its source is to be there quickly, too."""


def stub(module: Module) -> bytes:
    """Returns what lies in the place of a packed module; its path has no quotes, backslashes or line breaks.

    A program may be run by its path, with a search path that does not have the tree: it finds the loader by itself.
    """
    loader = LOADER.removesuffix(".py")
    found = f'__import__("{loader}")'
    if module.path.endswith("__main__.py") or _PROGRAM.search(module.source):
        run = f'__import__("runpy").run_path(__file__[:-{len(module.path)}]+"{LOADER}")'
        found = f'({found}if __name__!="__main__"else __import__("types").SimpleNamespace(**{run}))'
    return f'{found}.run("{module.path}",globals(),locals())\n'.encode()


def write(modules: Sequence[Module], *, magic: bytes, jobs: int) -> bytes:
    """Returns an archive: the same bytes for the same modules in the same order.

    Args:
        modules: In the order in which they lie beside each other; the best is that in which a start needs them.
        magic: Magic number of the interpreter that the code is for, four bytes (PEP 552); zeros without code.
        jobs: Blocks that are packed at a time.
    """
    blocks: list[tuple[Layout, bytes]] = []
    code: dict[str, tuple[int, int, int]] = {}
    for tier in Tier:
        code |= _cut((one for one in modules if one.tier is tier), tier.value, lambda one: one.code, blocks)
    source: dict[str, tuple[int, int, int]] = {}
    for wanted, layout in ((True, READ), (False, UNREAD)):
        some = sorted((one for one in modules if one.read is wanted), key=lambda one: one.path)
        source |= _cut(some, layout, lambda one: one.source, blocks)
    with ThreadPoolExecutor(jobs) as pool:
        packed = list(pool.map(lambda block: _pack(*block), blocks))
    index = [_COUNTS.pack(len(blocks), len(modules))]
    offset = 0
    for (layout, content), stored in zip(blocks, packed, strict=True):
        index.append(_BLOCK.pack(offset, len(stored), len(content), layout.method))
        offset += len(stored)
    index += (_ENTRY.pack(*code[one.path], *source[one.path], len(stub(one))) for one in modules)
    index.append("\n".join(one.path for one in modules).encode())
    table = zlib_ng.compress(b"".join(index), 9)
    return b"".join((_HEAD.pack(MAGIC, int.from_bytes(magic, "little"), len(table)), table, *packed))


def expected(layout: Layout, contents: Sequence[bytes]) -> float:
    """Returns what share of some contents is expected to be left once they are packed, 1 for none.

    Some blocks are packed, spread over all of them: a few megabytes, however much there is.

    Args:
        layout: How they are cut and packed.
        contents: In the order in which they would lie beside each other.
    """
    if layout.method is Method.STORED or not contents:
        return 1.0
    whole = b"".join(contents)
    count = max(1, len(whole) // layout.bytes)
    step = max(1, count // _SAMPLES)
    samples = [whole[start * layout.bytes :][: layout.bytes] for start in range(0, count, step)]
    return sum(len(_pack(layout, one)) for one in samples) / max(1, sum(map(len, samples)))


def read(archive: bytes) -> Iterator[Module]:
    """Yields what is in an archive, in its order; how quickly it is there is not told.

    Args:
        archive: What ``write`` made; others' are not to be trusted to this.
    """
    _, _, size = _HEAD.unpack_from(archive)
    index = zlib_ng.decompress(archive[_HEAD.size : _HEAD.size + size])
    count, modules = _COUNTS.unpack_from(index)
    middle = _COUNTS.size + count * _BLOCK.size
    end = middle + modules * _ENTRY.size
    blocks = [
        _unpack(archive[_HEAD.size + size + offset :][:stored], length, Method(method))
        for offset, stored, length, method in _BLOCK.iter_unpack(index[_COUNTS.size : middle])
    ]
    for path, entry in zip(
        index[end:].decode().split("\n"), _ENTRY.iter_unpack(index[middle:end]), strict=True
    ):
        code, source = (blocks[block][offset:][:size] for block, offset, size in (entry[:3], entry[3:6]))
        yield Module(path=path, source=source, code=code)


def shares(archive: bytes) -> dict[str, int]:
    """Returns how many bytes of an archive are each module's, as if its blocks were packed evenly.

    Together they are all blocks; index and head are nobody's.

    Args:
        archive: What ``write`` made.
    """
    _, _, size = _HEAD.unpack_from(archive)
    index = zlib_ng.decompress(archive[_HEAD.size : _HEAD.size + size])
    count, modules = _COUNTS.unpack_from(index)
    middle = _COUNTS.size + count * _BLOCK.size
    end = middle + modules * _ENTRY.size
    blocks = list(_BLOCK.iter_unpack(index[_COUNTS.size : middle]))
    taken: dict[str, int] = {}
    for path, entry in zip(
        index[end:].decode().split("\n"), _ENTRY.iter_unpack(index[middle:end]), strict=True
    ):
        taken[path] = 0
        for number, offset, length in (entry[:3], entry[3:6]):
            _, stored, whole, _ = blocks[number]
            if length:
                taken[path] += stored * (offset + length) // whole - stored * offset // whole
    return taken


def _cut(
    modules: Iterable[Module],
    layout: Layout,
    part: Callable[[Module], bytes],
    blocks: list[tuple[Layout, bytes]],
) -> dict[str, tuple[int, int, int]]:
    """Appends a part of each module to blocks; returns block, offset and bytes by path."""
    places: dict[str, tuple[int, int, int]] = {}
    waiting: list[bytes] = []
    filled = 0
    for one in modules:
        content = part(one)
        if waiting and filled + len(content) > layout.bytes:
            blocks.append((layout, b"".join(waiting)))
            waiting, filled = [], 0
        places[one.path] = (len(blocks), filled, len(content))
        waiting.append(content)
        filled += len(content)
    if waiting:
        blocks.append((layout, b"".join(waiting)))
    return places


def _pack(layout: Layout, content: bytes) -> bytes:
    if layout.method is Method.STORED:
        return content
    if layout.method is Method.DEFLATE:
        return zlib_ng.compress(content, 9)
    return lzma.compress(content, lzma.FORMAT_RAW, filters=_filters(len(content)))


def _unpack(stored: bytes, size: int, method: Method) -> bytes:
    if method is Method.STORED:
        return stored
    if method is Method.DEFLATE:
        return zlib_ng.decompress(stored)
    return lzma.decompress(stored, lzma.FORMAT_RAW, filters=_filters(size))


def _filters(size: int) -> list[dict[str, int]]:
    """Returns how LZMA2 packs so many bytes: all is said, for presets may change with the library.

    liblzma 5.2.5 (of 2020), 5.4.1 and 5.8.4 were seen to make the same bytes of it.
    """
    return [
        {
            "id": lzma.FILTER_LZMA2,
            "dict_size": max(size, 4096),
            "lc": 3,
            "lp": 0,
            "pb": 2,
            "mode": lzma.MODE_NORMAL,
            "nice_len": 64,
            "mf": lzma.MF_BT4,
            "depth": 0,
        }
    ]

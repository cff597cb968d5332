"""Archive: a zip whose bytes depend on nothing but paths, content and execute bits of its members.

The format is that of PKWARE's APPNOTE.TXT 6.3.10; section numbers below are its. Everything it leaves open
is fixed here: members sorted by path, one date, one host system, two modes, no comments, no extra fields,
no data descriptors. There are no entries for folders: Lambda, ``unzip``, ``bsdtar`` and Java make folders
themselves, and nothing imports from the zip as it is, for a shared object cannot be loaded from one.

Deflate is zlib-ng's. ISA-L is five times faster, but its output differs between processors (without SSE4.2,
with it, with AVX2, ARM); zlib-ng 2.3 was seen to give the same bytes on all of them, as the only functions
it still chooses by processor compute equal values (https://github.com/zlib-ng/zlib-ng/pull/1681). Two
things more make the bytes reproducible: every piece gets a compressor of its own, since a used one
remembers (https://github.com/zlib-ng/zlib-ng/issues/2100), and pieces are cut by size, never by the number
of threads. Another release of zlib-ng may give other bytes: ``COMPRESSOR`` names the one in use.
"""

from __future__ import annotations

import stat
import struct
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING

from zlib_ng import zlib_ng

from slimpack.errors import BooksError, OutputError
from slimpack.output import writing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from concurrent.futures import Future
    from pathlib import Path

_LEVEL = 5
"""The knee of the curve: 6 takes a quarter more time for 0.5 % less, 4 is 8 % faster for 2.3 % more."""

_PIECE_BYTES = 2**20
"""What a thread compresses at a time. Larger pieces save nothing, as each knows the end of the one before."""

_WINDOW_BYTES = 2**15
"""How far back deflate looks (RFC 1951 section 2)."""

_PIECES = 200
"""Small members that one thread takes at a time."""

COMPRESSOR = f"zlib-ng {zlib_ng.ZLIBNG_RUNTIME_VERSION} level {_LEVEL}"
"""What deflates. Archives are only comparable byte for byte, and cacheable, between equal ones."""

_DATE = (1 << 5) | 1
"""1980-01-01 as MS-DOS has it, the earliest there is (4.4.6); the time is 0."""

_UNIX = 3 << 8
"""Host system of the mode bits in the external attributes (4.4.2)."""

_UTF8 = 1 << 11
"""Flag: the name is UTF-8 (4.4.4). Without it readers take code page 437, which agrees on ASCII."""

_STORED, _DEFLATED = 0, 8

_MAX16, _MAX32 = 0xFFFF, 0xFFFFFFFF
"""Values that send a reader to the zip64 structures (4.4.1.4), so that nothing else may have them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A file that goes into the archive."""

    path: str
    """Place in the archive, relative, with forward slashes."""
    source: Path
    """Where its content is."""
    size: int
    """Bytes of it."""
    executable: bool
    """Whether it gets mode 755 and not 644."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    """A part of a member, or all of it, that is compressed at once."""

    member: Member
    """The member."""
    start: int
    """Offset of its first byte in the member."""
    length: int
    """Bytes."""

    @property
    def last(self) -> bool:
        """Whether the member ends with it."""
        return self.start + self.length == self.member.size


@dataclass(frozen=True, slots=True, kw_only=True)
class _Packed:
    """A piece as the archive has it."""

    piece: _Piece
    """The piece."""
    content: bytes
    """Deflated, unless ``stored``."""
    stored: bool
    """Whether the piece is a whole member that deflate does not make smaller, as it was."""
    crc: int
    """CRC-32 of the piece before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """What headers say of a member."""

    member: Member
    """The member."""
    name: bytes
    """Its path in UTF-8."""
    offset: int
    """Where its local header is."""
    method: int
    """Stored or deflated."""
    crc: int
    """CRC-32 of its content."""
    packed_size: int
    """Bytes of it in the archive."""

    @property
    def data_offset(self) -> int:
        """Where its content is in the archive."""
        return self.offset + len(_local_header(self))


def write_zip(destination: Path, members: Sequence[Member], *, jobs: int) -> int:
    """Writes an archive and returns its size in bytes. Memory use does not depend on the size of the members.

    Args:
        destination: The zip; an existing file is overwritten.
        members: What goes into it, each path once, in any order.
        jobs: Threads; the result does not depend on it.

    Raises:
        OutputError: The archive cannot be written, or a member cannot be read. No archive is left behind.
        BooksError: A member has not the size it is said to have.
    """
    ordered = sorted(members, key=lambda member: member.path)
    with writing(destination), destination.open("wb") as file:
        try:
            with ThreadPoolExecutor(jobs) as pool:
                _write(file, _pack_all(pool, _batches(ordered), ahead=2 * jobs))
            file.flush()
            return file.tell()
        except BaseException:
            destination.unlink(missing_ok=True)
            raise


def _batches(members: Iterable[Member]) -> Iterator[list[_Piece]]:
    """Yields the pieces of all members in order, grouped into work for one thread."""
    batch: list[_Piece] = []
    size = 0
    for member in members:
        for start in range(0, max(member.size, 1), _PIECE_BYTES):
            piece = _Piece(member=member, start=start, length=min(_PIECE_BYTES, member.size - start))
            if batch and (size + piece.length > _PIECE_BYTES or len(batch) == _PIECES):
                yield batch
                batch, size = [], 0
            batch.append(piece)
            size += piece.length
    if batch:
        yield batch


def _pack_all(pool: ThreadPoolExecutor, batches: Iterable[list[_Piece]], *, ahead: int) -> Iterator[_Packed]:
    """Yields packed pieces in order, while threads work on as many batches as ``ahead`` says, and no more."""
    waiting: deque[Future[list[_Packed]]] = deque()
    for batch in batches:
        waiting.append(pool.submit(_pack_batch, batch))
        if len(waiting) > ahead:
            yield from waiting.popleft().result()
    while waiting:
        yield from waiting.popleft().result()


def _pack_batch(batch: list[_Piece]) -> list[_Packed]:
    return [_pack(piece) for piece in batch]


def _pack(piece: _Piece) -> _Packed:
    """Reads and deflates a piece; pieces of one member joined are one deflate stream.

    Each but the last ends with an empty stored block (Z_SYNC_FLUSH), which puts the next one on a byte
    boundary, and each but the first starts with the window that the one before leaves behind.
    """
    window, content = _read(piece)
    if window:
        compressor = zlib_ng.compressobj(_LEVEL, zlib_ng.DEFLATED, -zlib_ng.MAX_WBITS, zdict=window)
    else:
        compressor = zlib_ng.compressobj(_LEVEL, zlib_ng.DEFLATED, -zlib_ng.MAX_WBITS)
    deflated = compressor.compress(content)
    deflated += compressor.flush(zlib_ng.Z_FINISH if piece.last else zlib_ng.Z_SYNC_FLUSH)
    stored = piece.length == piece.member.size and len(deflated) >= len(content)
    return _Packed(
        piece=piece, content=content if stored else deflated, stored=stored, crc=zlib_ng.crc32(content)
    )


def _read(piece: _Piece) -> tuple[bytes, bytes]:
    """Returns the bytes of the member before a piece that deflate can refer to, and the piece."""
    before = min(piece.start, _WINDOW_BYTES)
    more = int(piece.last)  # one byte too many shows that the file has grown
    try:
        with piece.member.source.open("rb") as file:
            file.seek(piece.start - before)
            data = file.read(before + piece.length + more)
    except OSError as problem:
        raise OutputError(
            f"a file of the bundle cannot be read: {problem.strerror}", where=str(piece.member.source)
        ) from problem
    if len(data) != before + piece.length:
        raise BooksError(
            f"a file of the bundle has not the {piece.member.size} bytes it is said to have",
            where=str(piece.member.source),
            fix="Build again, and change no file while slimpack runs.",
        )
    return data[:before], data[before:]


def _write(file: IO[bytes], pieces: Iterator[_Packed]) -> None:
    """Writes the whole archive: local headers and contents, then the central directory."""
    entries = [_write_member(file, packed, pieces) for packed in pieces]
    start = file.tell()
    for entry in entries:
        file.write(_central_header(entry))
    file.write(_end(len(entries), start=start, size=file.tell() - start))


def _write_member(file: IO[bytes], first: _Packed, pieces: Iterator[_Packed]) -> _Entry:
    """Writes a member, given its first piece and the iterator that has its others.

    A member of many pieces gets its header twice, the second time with CRC and packed size. A data descriptor
    after the content (4.3.9) would do as well, but not every reader of streams knows those.
    """
    member = first.piece.member
    entry = _Entry(
        member=member,
        name=_name(member),
        offset=file.tell(),
        method=_STORED if first.stored else _DEFLATED,
        crc=first.crc,
        packed_size=len(first.content),
    )
    file.write(_local_header(entry))
    file.write(first.content)
    if first.piece.last:
        return entry
    crc, packed_size, packed = first.crc, len(first.content), first
    while not packed.piece.last:
        packed = next(pieces)
        file.write(packed.content)
        crc = zlib_ng.crc32_combine(crc, packed.crc, packed.piece.length)
        packed_size += len(packed.content)
    entry = replace(entry, crc=crc, packed_size=packed_size)
    if packed_size >= member.size:
        entry = _store(file, entry)
    file.seek(entry.offset)
    file.write(_local_header(entry))
    file.seek(entry.data_offset + entry.packed_size)
    return entry


def _store(file: IO[bytes], entry: _Entry) -> _Entry:
    """Replaces the content of the last entry, which deflate did not make smaller, by the member as it is."""
    file.seek(entry.data_offset)
    file.truncate()
    crc = 0
    for batch in _batches([entry.member]):
        for piece in batch:
            _, content = _read(piece)
            crc = zlib_ng.crc32(content, crc)
            file.write(content)
    return replace(entry, method=_STORED, crc=crc, packed_size=entry.member.size)


def _name(member: Member) -> bytes:
    try:
        return member.path.encode()
    except UnicodeEncodeError as problem:
        raise OutputError(
            "a zip cannot hold a file name that is no Unicode text",
            where=ascii(member.path),
            fix="Give the file another name.",
        ) from problem


def _local_header(entry: _Entry) -> bytes:
    """Returns the header before the content (4.3.7), with zip64's field (4.5.3) if the member is that large.

    Whether it is depends on the size alone, because what is larger packed is stored.
    """
    sizes = (entry.packed_size, entry.member.size)
    extra = b""
    if entry.member.size >= _MAX32:
        extra = struct.pack("<2H2Q", 1, 16, entry.member.size, entry.packed_size)
        sizes = (_MAX32, _MAX32)
    fixed = struct.pack(
        "<4s5H3I2H",
        b"PK\3\4",
        _version(extra),
        _flags(entry),
        entry.method,
        0,
        _DATE,
        entry.crc,
        *sizes,
        len(entry.name),
        len(extra),
    )
    return fixed + entry.name + extra


def _central_header(entry: _Entry) -> bytes:
    """Returns the entry of the central directory (4.3.12); zip64's field has what does not fit (4.5.3)."""
    values = (entry.member.size, entry.packed_size, entry.offset)
    large = [value for value in values if value >= _MAX32]
    size, packed_size, offset = (min(value, _MAX32) for value in values)
    extra = struct.pack(f"<2H{len(large)}Q", 1, 8 * len(large), *large) if large else b""
    mode = stat.S_IFREG | (0o755 if entry.member.executable else 0o644)
    fixed = struct.pack(
        "<4s6H3I5H2I",
        b"PK\1\2",
        _UNIX | _version(extra),
        _version(extra),
        _flags(entry),
        entry.method,
        0,
        _DATE,
        entry.crc,
        packed_size,
        size,
        len(entry.name),
        len(extra),
        0,  # comment
        0,  # disk
        0,  # internal attributes
        mode << 16,
        offset,
    )
    return fixed + entry.name + extra


def _end(entries: int, *, start: int, size: int) -> bytes:
    """Returns what ends the archive (4.3.16), after its zip64 form (4.3.14, 4.3.15) where that is needed.

    Args:
        entries: Members.
        start: Offset of the central directory.
        size: Bytes of it.
    """
    zip64 = b""
    if entries >= _MAX16 or max(start, size) >= _MAX32:
        version = _version(b"zip64")
        zip64 = struct.pack(
            "<4sQ2H2I4Q", b"PK\6\6", 44, _UNIX | version, version, 0, 0, entries, entries, size, start
        )
        zip64 += struct.pack("<4sIQI", b"PK\6\7", 0, start + size, 1)
    count = min(entries, _MAX16)
    return zip64 + struct.pack(
        "<4s4H2IH", b"PK\5\6", 0, 0, count, count, min(size, _MAX32), min(start, _MAX32), 0
    )


def _version(zip64: bytes) -> int:
    """Returns the version of the format that a reader needs (4.4.3): 2.0 knows deflate, 4.5 zip64."""
    return 45 if zip64 else 20


def _flags(entry: _Entry) -> int:
    return 0 if entry.name.isascii() else _UTF8

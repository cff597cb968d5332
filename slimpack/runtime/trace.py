"""Trace: cold runs of a handler that tell what it imports, opens, loads and touches."""

from __future__ import annotations

import ast
import bisect
import fcntl
import hashlib
import mmap
import os
import posixpath
import re
from array import array
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Self

from slimpack import __version__, profile
from slimpack.elf import layout
from slimpack.runtime import client
from slimpack.runtime.invoke import Run, run
from slimpack.runtime.opens import Opens
from slimpack.runtime.sandbox import NOTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from slimpack.runtime.invoke import Session
    from slimpack.runtime.stage import Stage

_NOTES_LIMIT = 64 * 2**20
"""Bytes of notes that a run may make."""

_GUEST = ("slimpack_trace.py",)
"""What the interpreter runs in place of the bootstrap, which it runs in turn."""

_PRESENT = 1 << 63 | 1 << 62
"""Bits of an entry of ``/proc/[pid]/pagemap``: in memory, or swapped (proc(5))."""

_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S+) [0-9a-f]+ \S+ \d+ *(.*)")
"""A mapping's first line in ``/proc/[pid]/smaps``."""

_FLAGS = "VmFlags:"
_WATCHED = "uw"
"""Begin of a mapping's last line there; the flag of one that a userfaultfd watches for writes (proc(5))."""

_PF_W, _PF_X = 2, 1
"""``p_flags`` (ELF specification, "Program Header")."""

_PIECE = 2**20
"""Bytes that are hashed at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """Runs, and what they used."""

    runs: tuple[Run, ...]
    """At least one; after one that failed there are no more."""
    profile: profile.Profile | None
    """What they used; None if one failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mapping:
    """A mapping of a file of the bundle that is not writable."""

    start: int
    """Address."""
    end: int
    """First address behind it."""
    watched: bool
    """Whether the kernel maps its pages one by one."""
    touched: tuple[int, ...]
    """Addresses of its pages that are mapped, ascending."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cut:
    """What is known at a moment at which the function waits for an event."""

    notes: int
    """Bytes of the notes."""
    opened: tuple[str, ...]
    """Files that were opened since the last cut."""
    mappings: dict[str, list[_Mapping]]
    """By path in the bundle."""


@dataclass(slots=True, kw_only=True)
class _Notes:
    """What the function's process has noted up to a moment."""

    modules: dict[int, tuple[str, str | None, float, float]] = field(default_factory=dict)
    """Name, file, seconds without and with what it imports, by running number."""
    objects: dict[str, int] = field(default_factory=dict)
    """Base address by name, in the order in which they were loaded."""
    problem: str | None = None
    """Why pages could not be watched."""
    unread: int = 0
    """Lines that say nothing."""


def trace(stage: Stage, events: Sequence[tuple[str, bytes]], *, repeat: int = 1) -> Traced:
    """Runs a function from a cold start over events, and notes what it uses.

    Args:
        stage: What to start.
        events: Their names, and JSON texts.
        repeat: How often, at least once.

    Raises:
        RuntimeRoomError: The interpreter cannot be started.
    """
    stage = replace(stage, tree=stage.tree.resolve(), copied=False, bootstrap=_GUEST)
    runs: list[Run] = []
    watched: list[_Watch] = []
    for _ in range(repeat):
        with _Watch(stage) as watch:
            runs.append(run(watch.stage, [content for _, content in events], between=watch))
        if runs[-1].failed:
            return Traced(runs=tuple(runs), profile=None)
        watched.append(watch)
    contents = _contents(stage.tree)
    origin = profile.RunRecord(
        bundle=_digest(contents),
        handler=stage.function.handler,
        events=tuple(name for name, _ in events),
        times=1,
    )
    tables = _Tables(stage.tree)
    found = [_profile(stage, watch, origin, contents, tables) for watch in watched]
    return Traced(runs=tuple(runs), profile=profile.merge(found))


class _Watch:
    """Watches one run; a context manager, and what is called between its phases."""

    def __init__(self, stage: Stage) -> None:
        self._places = [stage.place(room=room).rstrip("/") + "/" for room in (True, False)]
        self._notes = _make_notes(self._places)
        self.emulated = stage.interpreter.emulator is not None
        self.stage = replace(stage, notes=self._notes, audit=None if self.emulated else client.AUDIT)
        """What to start."""
        self.opens = Opens(stage.tree)
        self.cuts: list[_Cut] = []
        """After init, and after the last event."""
        self.several = False
        """Whether the function has started processes."""
        self.closed = False
        """Whether the function has closed the descriptor for notes."""
        self.unreadable: str | None = None
        """Why the mappings could not be looked at."""

    def __enter__(self) -> Self:
        self._header = os.lseek(self._notes, 0, os.SEEK_CUR)
        return self

    def __exit__(self, *_: object) -> None:
        self.opens.__exit__(None, None, None)
        self._text = os.pread(self._notes, max([self._header, *(cut.notes for cut in self.cuts)]), 0)
        os.close(self._notes)

    def __call__(self, session: Session) -> None:
        """Looks at the function's process, which waits for an event."""
        processes = session.processes()
        self.several = self.several or len(processes) > 1
        self.closed = self.closed or not _has_notes(processes[:1])
        mappings: dict[str, list[_Mapping]] = {}
        if processes and not self.emulated:
            try:
                mappings = _mappings(processes[0], self.relative)
            except (OSError, ValueError) as problem:
                self.unreadable = str(problem)
        noted = min(os.lseek(self._notes, 0, os.SEEK_CUR), _NOTES_LIMIT)
        self.cuts.append(_Cut(notes=noted, opened=self.opens.cut(), mappings=mappings))

    def notes(self, cut: _Cut) -> _Notes:
        """Returns what was noted up to a cut."""
        return _read_notes(self._text[self._header : cut.notes], self.relative)

    @property
    def full(self) -> bool:
        """Whether there was no room for more notes."""
        return self.cuts[-1].notes >= _NOTES_LIMIT

    def relative(self, path: str) -> str | None:
        """Returns the place in the bundle of a file by its path for the function; None for any other file."""
        path = posixpath.normpath(path)
        return next((path[len(place) :] for place in self._places if path.startswith(place)), None)


def _has_notes(processes: Iterable[int]) -> bool:
    """Returns whether processes still have the file for notes; True as well if that cannot be told."""
    try:
        return all(os.readlink(f"/proc/{pid}/fd/{NOTES}").startswith("/memfd:") for pid in processes)  # noqa: PTH115 -- no path
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _make_notes(folders: Iterable[str]) -> int:
    """Returns a file in memory that cannot grow over its limit, with what ``native/pages.c`` wants to know."""
    notes = os.memfd_create("slimpack-notes", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.truncate(notes, _NOTES_LIMIT)
    fcntl.fcntl(notes, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    os.write(notes, os.fsencode("".join(f"{folder}\n" for folder in folders) + "\n"))
    return notes


def _read_notes(text: bytes, relative: Callable[[str], str | None]) -> _Notes:
    """Returns what lines say; the function itself could have written any of them."""
    found = _Notes()
    for line in text.splitlines():
        try:
            if line.startswith(b"M\t"):
                number, own, whole, name, origin = line[2:].decode("ascii").split("\t")
                place = ast.literal_eval(origin)
                found.modules[int(number)] = (
                    str(ast.literal_eval(name)).encode(errors="replace").decode(),
                    None if place is None else relative(str(place)),
                    max(int(own), 0) / 1e9,
                    max(int(whole), 0) / 1e9,
                )
            elif line.startswith(b"L "):
                _, address, name = line.decode(errors="replace").split(" ", 2)
                found.objects[name] = int(address, 16)
            elif line.startswith(b"U "):
                _, number, step = line.decode("ascii").split(" ", 2)
                found.problem = f"{step}: {os.strerror(int(number, 16))}"
            else:
                found.unread += 1
        except (ValueError, SyntaxError, OverflowError, RecursionError, MemoryError):
            found.unread += 1
    return found


def _mappings(pid: int, relative: Callable[[str], str | None]) -> dict[str, list[_Mapping]]:
    """Returns the mappings of a process of files of the bundle that it cannot write to, by path.

    Raises:
        OSError: It is not ours to look at, or has ended.
    """
    found: dict[str, list[_Mapping]] = {}
    with Path(f"/proc/{pid}/pagemap").open("rb", buffering=0) as pagemap:
        start = end = 0
        path: str | None = None
        for line in Path(f"/proc/{pid}/smaps").read_text(encoding="utf-8", errors="replace").splitlines():
            if begin := _MAPPING.fullmatch(line):
                start, end = int(begin[1], 16), int(begin[2], 16)
                path = relative(begin[4]) if "w" not in begin[3] else None
            elif path is not None and line.startswith(_FLAGS):
                entries = array("Q")
                entries.frombytes(
                    os.pread(pagemap.fileno(), (end - start) // profile.PAGE * 8, start // profile.PAGE * 8)
                )
                touched = (
                    start + index * profile.PAGE for index, one in enumerate(entries) if one & _PRESENT
                )
                found.setdefault(path, []).append(
                    _Mapping(start=start, end=end, watched=_WATCHED in line.split(), touched=tuple(touched))
                )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Content:
    """A file of the bundle."""

    size: int
    """Bytes."""
    sha256: str
    """Hash, hexadecimal."""


def _contents(tree: Path) -> dict[str, _Content]:
    """Returns the files of a bundle by path; what cannot be read is left out."""
    found = {}
    for root, _, names in os.walk(tree):
        for name in names:
            place = Path(root, name)
            path = os.fsencode(place.relative_to(tree)).decode(errors="replace")
            with suppress(OSError), place.open("rb") as file:
                hashed = hashlib.sha256()
                size = 0
                while piece := file.read(_PIECE):
                    hashed.update(piece)
                    size += len(piece)
                found[path] = _Content(size=size, sha256=hashed.hexdigest())
    return found


def _digest(contents: dict[str, _Content]) -> str:
    lines = (f"{content.sha256}  {path}\n" for path, content in sorted(contents.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


class _Tables:
    """The segments of the bundle's shared objects that are not written to, each read once."""

    def __init__(self, tree: Path) -> None:
        self._tree = tree
        self._known: dict[str, tuple[profile.SegmentRecord, ...]] = {}

    def of(self, path: str) -> tuple[profile.SegmentRecord, ...]:
        """Returns the segments of a file, untouched; none of what is no ELF file that we understand."""
        if path not in self._known:
            self._known[path] = ()
            with (
                suppress(OSError, ValueError, layout.ElfError),
                (self._tree / path).open("rb") as file,
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as image,
            ):
                self._known[path] = tuple(_segments(layout.read(image)))
        return self._known[path]


def _segments(elf: layout.Layout) -> Iterator[profile.SegmentRecord]:
    for load in elf.loads:
        first = load.address // profile.PAGE
        pages = -(-(load.address + load.memory_size) // profile.PAGE) - first
        if not load.flags & _PF_W and pages:
            yield profile.SegmentRecord(
                address=first * profile.PAGE,
                pages=pages,
                executable=bool(load.flags & _PF_X),
                init=(),
                invoke=(),
            )


def _profile(
    stage: Stage,
    watch: _Watch,
    origin: profile.RunRecord,
    contents: dict[str, _Content],
    tables: _Tables,
) -> profile.Profile:
    """Returns the profile of one run."""
    init, end = watch.cuts
    early, late = watch.notes(init), watch.notes(end)

    def sha256(path: str | None) -> str | None:
        content = None if path is None else contents.get(path)
        return None if content is None else content.sha256

    modules = tuple(
        profile.ModuleRecord(
            name=name,
            file=file,
            sha256=sha256(file),
            init=int(number in early.modules),
            invoke=int(number not in early.modules),
            own=(round(own, 6),),
            whole=(round(whole, 6),),
        )
        for number, (name, file, own, whole) in sorted(late.modules.items())
    )
    files = tuple(
        profile.FileRecord(
            path=path,
            sha256=sha256(path),
            size=contents[path].size if path in contents else 0,
            init=int(cut is init),
            invoke=int(cut is end),
        )
        for cut in (init, end)
        for path in cut.opened
    )
    libraries, unwatched = [], []
    for name, base in late.objects.items():
        path = watch.relative(name)
        segments: tuple[profile.SegmentRecord, ...] = ()
        if path is not None:
            mappings = [cut.mappings.get(path, []) for cut in (init, end)]
            segments = tuple(
                found for one in tables.of(path) if (found := _touched(one, base, *mappings)) is not None
            )
            if len(segments) < len(tables.of(path)) or not segments:
                unwatched.append(path)
        if name:  # the interpreter itself has none
            libraries.append(
                profile.LibraryRecord(
                    path=path or PurePosixPath(name).name,
                    sha256=sha256(path),
                    init=int(name in early.objects),
                    invoke=int(name not in early.objects),
                    segments=segments,
                )
            )
    return profile.Profile(
        schema_version=profile.SCHEMA_VERSION,
        slimpack=__version__,
        runtime=stage.target.runtime,
        architecture=stage.target.architecture,
        runs=(origin,),
        modules=modules,
        files=files,
        libraries=tuple(libraries),
        not_recorded=tuple(
            profile.NotRecorded(what=what, reason=reason) for what, reason in _missing(watch, late, unwatched)
        ),
    )


def _touched(
    segment: profile.SegmentRecord, base: int, early: list[_Mapping], late: list[_Mapping]
) -> profile.SegmentRecord | None:
    """Returns a segment with the pages of it that were touched, given where its file is mapped; None if unknown."""
    start = base + segment.address
    end = start + segment.pages * profile.PAGE
    own = [one for one in late if one.start < end and start < one.end]
    if not own or not all(one.watched for one in own):
        return None

    def pages(mappings: list[_Mapping]) -> set[int]:
        found: set[int] = set()
        for one in mappings:
            inside = one.touched[
                bisect.bisect_left(one.touched, start) : bisect.bisect_left(one.touched, end)
            ]
            found.update((address - start) // profile.PAGE for address in inside)
        return found

    init = pages(early)
    return replace(
        segment,
        init=profile.ranges(sorted(init)),
        invoke=profile.ranges(sorted(pages(late) - init)),
    )


def _missing(watch: _Watch, notes: _Notes, unwatched: list[str]) -> Iterator[tuple[str, str]]:
    """Yields what a run's profile lacks, and why."""
    if watch.opens.refused is not None:
        yield "files", watch.opens.refused
    elif watch.opens.lost:
        yield "files", "more were opened at once than the kernel keeps (fs.inotify.max_queued_events)"
    if watch.closed:
        yield "modules and libraries", "the function has closed the descriptor that they are noted to"
    if watch.full:
        yield "modules", f"notes of more than {_NOTES_LIMIT:,} bytes"
    if notes.unread:
        yield "notes", f"{notes.unread:,} lines are not slimpack's"
    if (problem := _no_pages(watch, notes)) is not None:
        yield problem
        return
    for path in unwatched:
        yield (
            f"touched pages of {path}",
            "it was unloaded again, or is mapped in a way that is not understood",
        )
    if watch.several:
        yield "touched pages of child processes", "only the function's own process is watched"


def _no_pages(watch: _Watch, notes: _Notes) -> tuple[str, str] | None:
    """Returns why nothing is known of shared objects or of their pages; None if something is."""
    if watch.emulated:
        return "libraries", "the processor is emulated"
    if not notes.objects:
        return "libraries", "the interpreter's dynamic linker takes no auditing library"
    if notes.problem is not None:
        return "touched pages", f"{notes.problem}; it takes Linux 6.7, and a system that allows userfaultfd"
    if watch.unreadable is not None:
        return "touched pages", watch.unreadable
    return None

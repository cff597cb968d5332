"""The tree: packages, folders and files with their sizes, as many of them as there is room for. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush, nsmallest
from itertools import accumulate, count
from operator import itemgetter
from typing import TYPE_CHECKING

from slimpack.model import SLIMPACK

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from slimpack.account import Account
    from slimpack.diff import Diff
    from slimpack.manifest import FileRecord

    _Row = tuple[str, FileRecord | None, int, int]
    """Path, record, bytes in the bundle, bytes in the base."""

_DEEPEST = 40
"""Folders one inside the other; what lies deeper is rolled up. No real package goes half as deep."""

_SLACK = 1000
"""Files that may wait in vain to be shown."""

_AFTER_SLASH = "0"
"""The character after the slash: where the names that begin with a folder's end, in sorted order."""

_ARCHIVE = "slimpack.libs/modules"
"""Where the archive of packed modules is, whose bytes are counted with the modules."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """A file, or files of a folder that there was no room for one by one."""

    files: int
    """How many files it stands for."""
    before: int
    """Bytes that a plain install has."""
    after: int
    """Bytes in the bundle, with what packed modules take in their archive."""
    packed: int
    """Bytes that packing saves, less those that bytecode takes in the archive."""
    base: int
    """Bytes in the bundle that it is compared with; 0 without one."""
    what: str
    """What happened, as in ``FileRecord.decision``; ``gone`` if only the base has it, ``several`` if not one thing."""
    record: FileRecord | None
    """The file's; None if it is gone, or if there are several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A line of the tree."""

    name: str
    """Package, folder or file: the part of the path that those above it do not have."""
    inside: int
    """How many lines are directly inside it."""
    leaf: Leaf | None
    """What is not divided further; None for what has something inside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """The files of a bundle, and of the base that it is compared with, by package."""

    name: str
    """The bundle's."""
    parts: tuple[_Part, ...]
    """Files of each owner, sorted by its name."""

    @classmethod
    def of(cls, account: Account, diff: Diff | None) -> Tree:
        """Returns the tree of a bundle.

        Args:
            account: The bundle.
            diff: What has changed against the base, if there is one.
        """
        return cls(name=account.name, parts=_parts(account, diff))

    def lines(self, most: int) -> tuple[Node, ...]:
        """Returns the bundle, its packages, their folders and files, each before what is inside it.

        Sizes of the leaves always sum up to those of the bundle: the heaviest have lines of their own, and what
        there is no room for is one leaf of its folder. A folder with one thing inside is one line with it.

        Args:
            most: Lines of packages, folders and files; at most as many more stand for what was rolled up.
        """
        shown = _heaviest(self.parts, most)
        names = {spot.name for spot in shown}
        rest = [(part, 0, len(part.paths)) for part in self.parts if part.owner not in names]
        return tuple(_lines(self.name, shown, rest))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """The files of one owner, as columns; sums are running ones, so that those of any range are at hand."""

    owner: str
    paths: list[str]
    records: list[FileRecord | None]
    before: list[int]
    after: list[int]
    packed: list[int]
    base: list[int]
    weight: list[int]


@dataclass(slots=True, kw_only=True, eq=False)
class _Spot:
    """A file or folder: a range of the sorted paths of its owner."""

    part: _Part
    name: str
    low: int
    high: int
    start: int = 0
    """Characters of the paths that belong to those above it, and to itself."""
    depth: int = 0
    inside: list[_Spot] = field(default_factory=list)
    """What is shown of what is inside it."""


if TYPE_CHECKING:
    _Range = tuple[_Part, int, int]
    """Files of an owner, from and up to which."""

    _Queued = tuple[int, int, _Spot | None, _Part, int, int, int]
    """What waits to be shown: weight, negative; turn among those as heavy; folder; range; where names inside start."""


def _parts(account: Account, diff: Diff | None) -> tuple[_Part, ...]:
    """Returns the files of both bundles by owner.

    What packed modules take in their archive is counted with them and not with the archive, as
    ``manifest.by_owner`` has it. What was renamed is the file that the diff takes it for.
    """
    changes = {} if diff is None else {one.path: one for one in diff.files}
    archived = {} if diff is None else {one.path: _archived(one) for one in diff.base.files}
    rows: dict[str, list[_Row]] = defaultdict(list)
    for file in account.files:
        change, after = changes.pop(file.path, None), file.size_after + _archived(file)
        base = 0 if diff is None else after if change is None else change.before + archived.get(file.path, 0)
        rows[file.owner].append((file.path, file, after, base))
    for path, gone in changes.items():
        rows[gone.owner].append((path, None, 0, gone.before + archived.get(path, 0)))
    surplus = sum(row[2] for those in rows.values() for row in those) - account.size
    surplus_of_base = sum(row[3] for those in rows.values() for row in those)
    surplus_of_base -= 0 if diff is None else diff.base.size
    if surplus or surplus_of_base:
        rows[SLIMPACK] = _less(rows[SLIMPACK], surplus, surplus_of_base)
    return tuple(_part(owner, those) for owner, those in sorted(rows.items()))


def _archived(file: FileRecord) -> int:
    return 0 if file.packed is None else file.packed.archived or 0


def _less(rows: list[_Row], after: int, base: int) -> list[_Row]:
    """Returns the rows of slimpack without the bytes of the archive that are counted with the modules in it."""
    path, record, there, there_of_base = max(
        rows, key=lambda row: (row[2] + row[3], row[0]), default=(_ARCHIVE, None, 0, 0)
    )
    others = [row for row in rows if row[0] != path]
    return [*others, (path, record, there - after, there_of_base - base)]


def _part(owner: str, rows: Sequence[_Row]) -> _Part:
    rows = sorted(rows, key=itemgetter(0))
    paths, records, after, base = map(list, zip(*rows, strict=True))
    before = [0 if record is None else record.size_before for record in records]
    weights = [one + abs(other) + abs(third) for one, other, third in zip(before, after, base, strict=True)]
    return _Part(
        owner=owner,
        paths=paths,
        records=records,
        before=_running(before),
        after=_running(after),
        packed=_running([_packing(record) for record in records]),
        base=_running(base),
        weight=_running(weights),
    )


def _running(sizes: Iterable[int]) -> list[int]:
    return list(accumulate(sizes, initial=0))


def _packing(file: FileRecord | None) -> int:
    if file is None or file.packed is None:
        return 0
    return file.packed.size_before - file.size_after - (file.packed.archived or 0)


def _heaviest(parts: Sequence[_Part], most: int) -> list[_Spot]:
    """Returns the packages that are shown, with what is shown of their folders and files: the heaviest of all.

    What is inside a folder is never heavier than the folder, so that no file is shown without its folder.
    """
    turn = count()
    heap: list[_Queued] = [
        (-part.weight[-1], next(turn), None, part, 0, len(part.paths), 0) for part in parts
    ]
    heapify(heap)
    shown: list[_Spot] = []
    too_light = -1
    for left in range(most, 0, -1):
        if not heap:
            break
        _, _, above, part, low, high, start = heappop(heap)
        name = part.owner if above is None else part.paths[low][above.start : start].removesuffix("/")
        depth = 0 if above is None else above.depth + 1
        spot = _Spot(part=part, name=name, low=low, high=high, start=start, depth=depth)
        (shown if above is None else above.inside).append(spot)
        if high - low == 1 or depth == _DEEPEST:
            continue
        for first, end, begin in _inside(spot):
            if (weight := part.weight[end] - part.weight[first]) > too_light:
                heappush(heap, (-weight, next(turn), spot, part, first, end, begin))
        if len(heap) > 2 * left + _SLACK:  # only the first so many can ever have their turn
            heap = nsmallest(left, heap)
            too_light = -heap[-1][0]
    return sorted(shown, key=lambda one: one.name)


def _inside(spot: _Spot) -> Iterator[tuple[int, int, int]]:
    """Yields what is directly inside a folder: its range, and where the names inside that start."""
    paths = spot.part.paths
    low = spot.low
    while low < spot.high:
        path, high, start = paths[low], low + 1, len(paths[low])
        slash = path.find("/", spot.start)
        if slash >= 0:
            high = bisect_left(paths, f"{path[:slash]}{_AFTER_SLASH}", high, spot.high)
        if high - low > 1:
            start = path.rfind("/", 0, _shared(path, paths[high - 1])) + 1
        yield low, high, start
        low = high


def _shared(first: str, last: str) -> int:
    """Returns with how many characters both begin; whatever sorts between them begins with the same."""
    pairs = enumerate(zip(first, last, strict=False))
    return next((index for index, (one, other) in pairs if one != other), min(len(first), len(last)))


def _lines(name: str, shown: Sequence[_Spot], rest: Sequence[_Range]) -> Iterator[Node]:
    """Yields the lines of what is shown."""
    stack: list[_Spot | Leaf] = [*([_leaf(rest)] if rest else []), *reversed(shown)]
    yield Node(name=name, inside=len(stack), leaf=None)
    while stack:
        item = stack.pop()
        if isinstance(item, Leaf):
            yield Node(name=f"({item.files:,} smaller)", inside=0, leaf=item)
            continue
        shown = sorted(item.inside, key=lambda one: one.low)
        ends = [item.low, *(one.high for one in shown)]
        starts = [*(one.low for one in shown), item.high]
        rest = [(item.part, low, high) for low, high in zip(ends, starts, strict=True) if low < high]
        if not shown:
            yield Node(name=item.name, inside=0, leaf=_leaf(rest))
            continue
        inside: list[_Spot | Leaf] = [*([_leaf(rest)] if rest else []), *reversed(shown)]
        yield Node(name=item.name, inside=len(inside), leaf=None)
        stack += inside


def _leaf(ranges: Sequence[_Range]) -> Leaf:
    """Returns what stands for the files of some ranges."""
    files = sum(high - low for _, low, high in ranges)
    whats = {_what(one) for part, low, high in ranges for one in part.records[low:high]}
    part, low, _ = ranges[0]
    return Leaf(
        files=files,
        before=_sum("before", ranges),
        after=_sum("after", ranges),
        packed=_sum("packed", ranges),
        base=_sum("base", ranges),
        what=whats.pop() if len(whats) == 1 else "several",
        record=part.records[low] if files == 1 else None,
    )


def _sum(column: str, ranges: Sequence[_Range]) -> int:
    return sum(getattr(part, column)[high] - getattr(part, column)[low] for part, low, high in ranges)


def _what(record: FileRecord | None) -> str:
    return "gone" if record is None else record.decision

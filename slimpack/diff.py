"""The diff: what has become larger or smaller from one bundle to another, and why. Pure."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from packaging.version import InvalidVersion, Version

from slimpack.errors import BooksError
from slimpack.graph import way
from slimpack.installed import source_of
from slimpack.model import APP, SLIMPACK
from slimpack.why import leads

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from slimpack.account import Account
    from slimpack.manifest import FileRecord

_BUILD = re.compile(
    r"-[0-9a-f]{8}(?=\.so\b)"  # the hash that auditwheel puts into the names of libraries
    r"|\.cpython-3[0-9]+t?(?=[.-])"  # PEP 3147 and PEP 3149
    r"|(?<=-)[^/]+(?=\.dist-info/)"
)
"""Parts of a path that change with each release, or with each Python, although it is the same file."""

_SHORT = 12
"""Characters of a commit that tell it apart."""

Kind = Literal["added", "removed", "changed", "unchanged"]

Cause = Literal[
    "upgrade",
    "downgrade",
    "requested",
    "dependency",
    "dropped",
    "rules",
    "compaction",
    "packing",
    "bytecode",
    "source",
    "content",
]
"""Why a size is another: another version; asked for by the requirements, or by another distribution; no longer needed;
other rules; compacted or not; packed or not; bytecode; the app's own files; the same version with other files."""


_OF_A_WHOLE: frozenset[Cause | None] = frozenset({"requested", "dependency", "dropped"})
"""What happens to all files of a distribution."""

_PACKING = frozenset({"pack", "modules"})
"""Rules of the files that slimpack adds for what it has packed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """A file that is not as large as it was."""

    path: str
    """Place in the bundle."""
    owner: str
    """Who brings it (in the head; in the base if it is gone)."""
    before: int
    """Bytes in the base; 0 if it is new."""
    after: int
    """Bytes in the head; 0 if it is gone."""
    cause: Cause
    """Why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageChange:
    """An owner of files, and how its size has changed."""

    name: str
    """Canonical distribution name, ``(app)``, ``(slimpack)`` or ``(other)``."""
    kind: Kind
    """Whether it is new, gone, other or as it was."""
    version_before: str
    """PEP 440 version; empty where there is none."""
    version_after: str
    """Likewise."""
    before: int
    """Bytes in the base."""
    after: int
    """Bytes in the head."""
    causes: tuple[Cause, ...]
    """Why, the one of most bytes first; empty for what is unchanged."""
    via: tuple[str, ...] = ()
    """The way to it from the requirements (in the base for what is gone): names, root first, itself last."""

    @property
    def delta(self) -> int:
        """Bytes that it has grown by."""
        return self.after - self.before


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """All that has changed between two bundles."""

    base: Account
    """What it is compared with."""
    head: Account
    """What is compared."""
    packages: tuple[PackageChange, ...]
    """All owners of either, by size of the change, largest first, then by name; sums are those of the bundles."""
    files: tuple[FileChange, ...]
    """Files whose size or content changed, by size of the change, largest first, then by path."""
    notes: tuple[str, ...] = ()
    """What limits the comparison, as sentences: another target, another version of slimpack, other rules."""

    @property
    def delta(self) -> int:
        """Bytes that the bundle has grown by."""
        return self.head.size - self.base.size

    @property
    def changed(self) -> tuple[PackageChange, ...]:
        """What is not unchanged."""
        return tuple(one for one in self.packages if one.kind != "unchanged")


def diff(base: Account, head: Account) -> Diff:
    """Returns what has changed.

    Args:
        base: What to compare with.
        head: What to compare.

    Raises:
        BooksError: The changes do not add up to that of the bundle.
    """
    sides = _Sides.of(base, head)
    files = list(sides.files())
    packages = sides.packages(files)
    changes = tuple(one for one, _ in files)
    _balance(base, head, changes, packages)
    return Diff(
        base=base,
        head=head,
        packages=tuple(sorted(packages, key=lambda one: (-abs(one.delta), one.name))),
        files=tuple(sorted(changes, key=lambda one: (-abs(one.after - one.before), one.path))),
        notes=tuple(_notes(base, head)),
    )


def of_another_commit(base_commit: str, merge_base: str) -> str | None:
    """Returns that a base is not where the branch begins, as a sentence; None if it is.

    Args:
        base_commit: Commit that the base was built from; it may be shortened.
        merge_base: The last commit that both branches have in common (``git merge-base``); likewise.
    """
    shorter, longer = sorted((base_commit.lower(), merge_base.lower()), key=len)
    if longer.startswith(shorter):
        return None
    return (
        f"The base was built from commit {base_commit[:_SHORT]}, but the branch begins at {merge_base[:_SHORT]}: "
        "what changed between the two shows as well."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """One of the two bundles, looked up."""

    account: Account
    """The bundle."""
    prefix: str
    """Folder that the installed tree is in, with a slash at the end; empty for the root."""
    files: Mapping[tuple[str, bool], FileRecord]
    """Its files by what they are called on both sides; those that were removed as well."""
    sizes: Mapping[str, int]
    """Bytes by owner, of those that have a file in it."""
    versions: Mapping[str, str]
    """Versions by distribution, of those as well that have no file in it."""

    @classmethod
    def of(cls, account: Account) -> _Side:
        sizes = account.sizes()
        prefix = account.manifest.target.prefix if account.manifest else ""
        return cls(
            account=account,
            prefix=prefix,
            files=_by_key(account, prefix),
            sizes={file.owner: sizes.get(file.owner, 0) for file in account.files if _is_in(file)},
            versions=account.versions(),
        )


def _by_key(account: Account, prefix: str) -> dict[tuple[str, bool], FileRecord]:
    """Returns the files of a bundle by paths that they have in another release, or in a layer, as well.

    Where two would have the same, they go by their full path.
    """
    keys = [_BUILD.sub("", file.path.removeprefix(prefix)) for file in account.files]
    number = Counter(keys)
    return {
        (key, True) if number[key] == 1 else (file.path, False): file
        for key, file in zip(keys, account.files, strict=True)
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sides:
    """The two bundles."""

    base: _Side
    """What to compare with."""
    head: _Side
    """What to compare."""
    turns: Mapping[str, Cause]
    """What has become of distributions as a whole; those that are there in the same version are not in it."""

    @classmethod
    def of(cls, base: Account, head: Account) -> _Sides:
        old, new = base.versions(), head.versions()
        requested = {one.name for one in head.distributions if one.requested}
        turns: dict[str, Cause | None] = {}
        for name in old.keys() | new.keys():
            if name not in new:
                turns[name] = "dropped"
            elif name not in old:
                turns[name] = "requested" if name in requested else "dependency"
            else:
                turns[name] = _order(old[name], new[name])
        return cls(
            base=_Side.of(base),
            head=_Side.of(head),
            turns={name: turn for name, turn in turns.items() if turn is not None},
        )

    def files(self) -> Iterator[tuple[FileChange, int]]:
        """Yields the files that are not as they were, and the bytes that their owner has more or less for them."""
        for key in self.base.files.keys() | self.head.files.keys():
            before, after = self.base.files.get(key), self.head.files.get(key)
            shown = next((one for one in (after, before) if one is not None and _is_in(one)), None)
            if shown is None or _are_same(before, after):
                continue
            change = FileChange(
                path=shown.path,
                owner=shown.owner,
                before=0 if before is None else before.size_after,
                after=0 if after is None else after.size_after,
                cause=self._cause(shown, before, after),
            )
            yield change, abs(change.after + _archived(after) - change.before - _archived(before))

    def packages(self, files: Iterable[tuple[FileChange, int]]) -> list[PackageChange]:
        """Returns all owners of either bundle.

        Args:
            files: What ``files`` yields.
        """
        weights: dict[str, Counter[Cause]] = defaultdict(Counter)
        for change, weight in files:
            weights[change.owner][change.cause] += weight
        to_base, to_head = leads(self.base.account), leads(self.head.account)
        return [
            self._package(owner, weights[owner], via=way(to_head, owner) or way(to_base, owner))
            for owner in self.base.sizes.keys() | self.head.sizes.keys()
        ]

    def _package(self, owner: str, weights: Counter[Cause], *, via: tuple[str, ...]) -> PackageChange:
        before, after = self.base.sizes.get(owner), self.head.sizes.get(owner)
        causes = sorted(weights, key=lambda one: (-weights[one], get_args(Cause).index(one)))
        if not causes and (before != after or owner in self.turns):
            causes = [self.turns.get(owner, "content")]
        kind: Kind = (
            "added"
            if before is None
            else "removed"
            if after is None
            else "changed"
            if causes
            else "unchanged"
        )
        return PackageChange(
            name=owner,
            kind=kind,
            version_before=self.base.versions.get(owner, ""),
            version_after=self.head.versions.get(owner, ""),
            before=before or 0,
            after=after or 0,
            causes=tuple(causes),
            via=via,
        )

    def _cause(self, shown: FileRecord, before: FileRecord | None, after: FileRecord | None) -> Cause:
        """Returns why a file is not as it was.

        Args:
            shown: Its record, in the head if it is there.
            before: Its record in the base.
            after: Its record in the head.
        """
        turn = self.turns.get(shown.owner)
        old, new = (one if one is not None and _is_in(one) else None for one in (before, after))
        causes: tuple[tuple[Cause | None, bool], ...] = (
            (turn, turn in _OF_A_WHOLE),
            ("bytecode", self._is_compiled_in_one(shown, old, new)),
            ("packing", shown.owner == SLIMPACK and shown.rule in _PACKING),
            ("packing", old is not None and new is not None and (old.packed is None) != (new.packed is None)),
            (turn, turn is not None),
            ("bytecode", shown.path.endswith(".pyc") and (old is None or new is None)),
            ("rules", _differ_by_rule(before, after)),
            ("source", shown.owner == APP),
            ("packing", _became_other(old, new) and shown.packed is not None),
            ("packing", _packed_otherwise(old, new)),
            ("compaction", _became_other(old, new)),
        )
        return next((cause for cause, holds in causes if holds and cause is not None), "content")

    def _is_compiled_in_one(self, shown: FileRecord, old: FileRecord | None, new: FileRecord | None) -> bool:
        """Returns whether bytecode is in one bundle only, though its source is in both."""
        has, lacks = (self.base, self.head) if new is None else (self.head, self.base)
        source = source_of(shown.path.removeprefix(has.prefix))
        if source is None or (old is not None and new is not None):
            return False
        found = lacks.files.get((_BUILD.sub("", source), True))
        return found is not None and _is_in(found)


def _order(old: str, new: str) -> Cause | None:
    """Returns whether a version is later or earlier than another; None if they are spellings of one (PEP 440)."""
    if old == new:
        return None
    try:
        before, after = Version(old), Version(new)
    except InvalidVersion:
        return "upgrade"
    return None if before == after else "upgrade" if before < after else "downgrade"


def _is_in(file: FileRecord) -> bool:
    return file.decision != "removed"


def _archived(file: FileRecord | None) -> int:
    """Returns the bytes that a packed module takes in the archive of modules, which its owner counts as its own."""
    return 0 if file is None or file.packed is None else file.packed.archived or 0


def _are_same(before: FileRecord | None, after: FileRecord | None) -> bool:
    """Returns whether a file is as it was, as far as hashes tell; without them, whether it is as large."""
    if before is None or after is None or _is_in(before) != _is_in(after):
        return False
    hashes = {before.sha256, after.sha256} - {None}
    return before.size_after == after.size_after and len(hashes) <= 1 and before.packed == after.packed


def _became_other(before: FileRecord | None, after: FileRecord | None) -> bool:
    """Returns whether a file came as large from its wheel in both bundles, and lies in them in other sizes."""
    return (
        before is not None
        and after is not None
        and before.size_before == after.size_before > 0
        and before.size_after != after.size_after
    )


def _packed_otherwise(before: FileRecord | None, after: FileRecord | None) -> bool:
    """Returns whether a file is packed in both bundles, and was as large before that."""
    return (
        before is not None
        and after is not None
        and before.packed is not None
        and after.packed is not None
        and before.packed.size_before == after.packed.size_before
    )


def _differ_by_rule(before: FileRecord | None, after: FileRecord | None) -> bool:
    """Returns whether a rule, or the configuration, has removed, cleared or added a file in one bundle only."""
    if before is None or after is None:
        one = before or after
        return one is not None and one.decision == "added" and one.rule is not None
    return _is_in(before) != _is_in(after) or before.cleared_by != after.cleared_by


def _balance(
    base: Account, head: Account, files: Iterable[FileChange], packages: Iterable[PackageChange]
) -> None:
    """Checks that every byte is accounted for."""
    packages = tuple(packages)
    sums = (
        sum(one.before for one in packages) == base.size,
        sum(one.after for one in packages) == head.size,
        sum(one.after - one.before for one in files) == head.size - base.size,
    )
    if not all(sums):
        raise BooksError(
            f"the changes from {base.name} to {head.name} do not add up to those of the bundles",
            fix="This is a fault in slimpack: please report it with both manifests.",
        )


def _notes(base: Account, head: Account) -> Iterator[str]:
    """Yields what limits the comparison."""
    for verb, word, before, after in (
        ("is", "for", base.runtime, head.runtime),
        ("is", "for", base.architecture, head.architecture),
        ("is", "for", _kind(base), _kind(head)),
        ("was built", "by slimpack", _version(base), _version(head)),
    ):
        if before and after and before != after:
            yield f"The base {verb} {word} {before}, the head {word} {after}."
    one, other = base.manifest, head.manifest
    if one and other and one.rules_sha256 != other.rules_sha256:
        yield "The rules of the two builds are not the same."
    for side, account, opposite in (("base", base, other), ("head", head, one)):
        if account.manifest is None:
            if opposite is not None:
                yield f"The {side} has no manifest: what was removed from it, and why, nobody can tell."
            yield from (f"The {side}: {note}" for note in account.notes)


def _kind(account: Account) -> str | None:
    return account.manifest.target.kind if account.manifest else None


def _version(account: Account) -> str | None:
    return account.manifest.slimpack if account.manifest else None

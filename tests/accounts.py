"""Accounts that the tests of diff and why share: drawn up by hand, or made by hypothesis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from hypothesis import strategies as st

from slimpack.account import OTHER, Account
from slimpack.manifest import DistributionRecord, FileRecord, by_owner
from slimpack.model import APP, SLIMPACK, PackedFile

if TYPE_CHECKING:
    from collections.abc import Iterable

DECISIONS: tuple[Literal["kept", "compacted", "packed", "removed", "added"], ...] = (
    "kept",
    "compacted",
    "packed",
    "removed",
    "added",
)

NAMES = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta")


def package(
    name: str, *requires: str, version: str = "1.0", at: tuple[str, ...] = (), requested: bool = False
) -> DistributionRecord:
    """Returns a distribution; one that has a place in the requirements is requested."""
    return DistributionRecord(
        name=name,
        version=version,
        wheel="",
        sha256="",
        size_before=0,
        size_after=0,
        requires=requires,
        requested=requested or bool(at),
        required_at=at,
    )


def record(path: str, owner: str, size: int, **changes: object) -> FileRecord:
    """Returns a file of a bundle."""
    given = {"decision": "kept", "size_before": size, "size_after": size, **changes}
    return FileRecord(path=path, owner=owner, **given)  # type: ignore[arg-type]


def account(
    distributions: Iterable[DistributionRecord],
    files: Iterable[FileRecord] | Mapping[str, int],
    *,
    name: str = "app.zip",
) -> Account:
    """Returns an account; of ``files`` it is enough to tell bytes by owner."""
    records = (
        tuple(record(f"{owner}/a.py", owner, size) for owner, size in files.items())
        if isinstance(files, Mapping)
        else tuple(files)
    )
    return Account(
        name=name,
        origin="zip",
        distributions=tuple(sorted(distributions, key=lambda one: one.name)),
        files=tuple(sorted(records, key=lambda one: one.path)),
        size=sum(one.size_after for one in records),
    )


@st.composite
def accounts(draw: st.DrawFn) -> Account:
    """Draws bundles: rings of needs, removed, packed and archived files, files of nobody."""
    names = draw(st.lists(st.sampled_from(NAMES), unique=True))
    distributions = [
        package(
            name,
            *sorted(draw(st.sets(st.sampled_from(names), max_size=3))),
            version=draw(st.sampled_from(("1.0", "1.0.0", "2.0", "1.0+cpu", "no version", ""))),
            requested=draw(st.booleans()),
        )
        for name in names
    ]
    owners = st.sampled_from([*names, APP, SLIMPACK, OTHER])
    paths = st.sampled_from(
        [f"{folder}{name}" for folder in ("", "p/", "p-1.dist-info/") for name in ("a.py", "a.pyc", "b.so")]
        + ["l/lib-0123abcd.so", "l/lib-89ab4567.so", "l/lib-.so", "=a.py"]
    )
    files = []
    archived = 0
    for path in draw(st.sets(paths)):
        decision = draw(st.sampled_from(DECISIONS))
        size = 0 if decision == "removed" else draw(st.integers(0, 100))
        before = 0 if decision == "added" else max(size, draw(st.integers(0, 100)))
        packed = None
        if decision == "packed":
            share = draw(st.none() | st.integers(0, 50))
            archived += share or 0
            packed = PackedFile(size_before=before, stored=0, loaded=before, archived=share)
        files.append(
            FileRecord(
                path=path,
                owner=draw(owners),
                decision=decision,
                size_before=before,
                size_after=size,
                sha256=draw(st.sampled_from((None, "aa", "bb"))),
                rule=draw(st.sampled_from((None, "p/rule", "bytecode", "pack"))),
                cleared_by=draw(st.sampled_from((None, "p/clear"))),
                packed=packed,
            )
        )
    if archived:
        extra = draw(st.integers(0, 9))
        files.append(
            record("slimpack.libs/modules", SLIMPACK, archived + extra, decision="added", size_before=0)
        )
    made = account(distributions, files)
    assert sum(after for _, after in by_owner(made.files).values()) == made.size
    return made

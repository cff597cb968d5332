"""Data: a review as JSON, with a schema that ``docs/review.schema.json`` publishes. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from pydantic import TypeAdapter

from slimpack import __version__
from slimpack.diff import FileChange, PackageChange  # noqa: TC001 -- pydantic reads the annotations at run time
from slimpack.gate import Check  # noqa: TC001 -- the same
from slimpack.manifest import as_plain
from slimpack.model import Severity  # noqa: TC001 -- the same
from slimpack.report.places import placed

if TYPE_CHECKING:
    from slimpack.account import Account
    from slimpack.diff import Diff
    from slimpack.gate import Review

SCHEMA_VERSION = 1
"""Raised when a field changes its meaning or goes; a new field does not raise it."""

MOST = 1000
"""Findings, checks, and files that changed."""

PACKAGES = 10_000
"""Packages, of a bundle and of a comparison."""

_WAY = 100
"""Packages of a way, those nearest to its end; longer ones are made up."""

_LONGEST = 4096
"""Characters of a text, as many as a path of Linux may have; longer ones are made up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageRecord:
    """An owner of files of the bundle."""

    name: str
    """Canonical distribution name, ``(app)``, ``(slimpack)`` or ``(other)``."""
    size: int
    """Bytes in the bundle."""
    version: str | None = None
    """PEP 440 version; left out where there is none."""
    requested: bool = False
    """Whether the requirements name it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleRecord:
    """A bundle."""

    name: str
    """File name."""
    origin: Literal["manifest", "zip", "directory"]
    """What told of it."""
    size: int
    """Bytes, unzipped: what limits count."""
    archive_size: int | None = None
    """Bytes of the zip; left out for a directory."""
    runtime: str | None = None
    """Lambda's identifier; left out if nothing tells."""
    architecture: Literal["x86_64", "arm64"] | None = None
    """The processor; likewise."""
    notes: tuple[str, ...] = ()
    """What it could not tell of itself, as sentences."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingRecord:
    """Something that the gate, or the build before it, has to say."""

    code: str
    """``SLP`` and three digits; ``slimpack rule CODE`` explains it."""
    severity: Severity
    """Errors fail."""
    message: str
    """What."""
    place: str
    """Where: a path, a package, a requirements line."""
    fingerprint: str
    """The same for the same finding of another build."""
    fix: str | None = None
    """What helps."""
    actual: int | None = None
    """Bytes that there are, where it is about a size."""
    limit: int | None = None
    """Bytes that there may be."""
    file: str | None = None
    """File of the repository that it goes back to, from the root of the repository; left out if nothing tells."""
    line: int | None = None
    """Line in it, from 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffRecord:
    """What has changed since the base."""

    base: BundleRecord
    """What it is compared with."""
    delta: int
    """Bytes that the bundle has grown by."""
    packages: tuple[PackageChange, ...]
    """Owners of files whose size or content changed, by size of the change, largest first."""
    files: tuple[FileChange, ...]
    """Files likewise, the first of them."""
    notes: tuple[str, ...] = ()
    """What limits the comparison, as sentences."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """How many there are of what is not all listed."""

    findings: int = 0
    """Findings."""
    checks: int = 0
    """Checks."""
    packages: int = 0
    """Packages of the bundle."""
    changed_packages: int = 0
    """Packages that changed."""
    changed_files: int = 0
    """Files that changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewRecord:
    """What there is to tell of a bundle."""

    schema_version: int
    """``SCHEMA_VERSION`` of the writer."""
    slimpack: str
    """Version of slimpack that wrote it."""
    key: str
    """Tells apart the bundles of one repository."""
    status: Literal["pass", "warn", "fail"]
    """The worst of the findings."""
    bundle: BundleRecord
    """The bundle."""
    findings: tuple[FindingRecord, ...]
    """Errors first."""
    checks: tuple[Check, ...]
    """All that was judged."""
    packages: tuple[PackageRecord, ...]
    """By size, largest first."""
    limit: int | None = None
    """Unzipped bytes to stay below, the reserve taken off; left out where no target is known."""
    diff: DiffRecord | None = None
    """What has changed since the base; left out if there is none."""
    left_out: LeftOut | None = None
    """What the lists do not have; left out if they have all."""


def data(review: Review) -> str:
    """Returns a review as JSON text, in ASCII; what is unset is left out."""
    return json.dumps(_plain(_record(review)), indent=1) + "\n"


def json_schema() -> dict[str, Any]:
    """Returns the JSON Schema of reviews (draft 2020-12), as ``docs/review.schema.json`` has it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **TypeAdapter(ReviewRecord).json_schema(mode="serialization"),
    }


def _record(review: Review) -> ReviewRecord:
    account, verdict = review.account, review.verdict
    requested = {one.name for one in account.distributions if one.requested}
    versions = account.versions()
    sizes = sorted(account.sizes().items(), key=lambda row: (-row[1], row[0]))
    left_out = LeftOut(
        findings=max(0, len(verdict.findings) - MOST),
        checks=max(0, len(verdict.checks) - MOST),
        packages=max(0, len(sizes) - PACKAGES),
        changed_packages=max(0, len(review.diff.changed) - PACKAGES) if review.diff else 0,
        changed_files=max(0, len(review.diff.files) - MOST) if review.diff else 0,
    )
    return ReviewRecord(
        schema_version=SCHEMA_VERSION,
        slimpack=__version__,
        key=review.key,
        status=verdict.status,
        bundle=_bundle(account),
        limit=review.limit,
        findings=tuple(
            FindingRecord(
                **as_plain(one.finding),
                fingerprint=one.fingerprint,
                file=one.place.file if one.place else None,
                line=one.place.line if one.place else None,
            )
            for one in placed(review, verdict.findings[:MOST])
        ),
        checks=verdict.checks[:MOST],
        packages=tuple(
            PackageRecord(
                name=name, version=versions.get(name) or None, size=size, requested=name in requested
            )
            for name, size in sizes[:PACKAGES]
        ),
        diff=_diff(review.diff) if review.diff else None,
        left_out=left_out if left_out != LeftOut() else None,
    )


def _bundle(account: Account) -> BundleRecord:
    return BundleRecord(
        name=account.name,
        origin=account.origin,
        size=account.size,
        archive_size=account.archive_size,
        runtime=account.runtime,
        architecture=account.architecture,
        notes=account.notes,
    )


def _diff(diff: Diff) -> DiffRecord:
    return DiffRecord(
        base=_bundle(diff.base),
        delta=diff.delta,
        packages=tuple(replace(one, via=one.via[-_WAY:]) for one in diff.changed[:PACKAGES]),
        files=diff.files[:MOST],
        notes=diff.notes,
    )


def _plain(value: object) -> Any:  # noqa: ANN401 -- JSON
    """Returns a value as JSON knows it, without what is unset.

    Texts are not endless, and have no halves of characters, which many readers of JSON refuse.
    """
    if is_dataclass(value) and not isinstance(value, type):
        items = [(field, getattr(value, field.name)) for field in fields(value)]
        return {
            field.name: _plain(item)
            for field, item in items
            if item is not None and not (isinstance(item, tuple | bool) and item == field.default)
        }
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value[:_LONGEST].encode(errors="replace").decode() if isinstance(value, str) else value

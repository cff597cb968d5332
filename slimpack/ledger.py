"""The ledger: what was planned and what was written, brought together into the manifest. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from slimpack import findings
from slimpack.manifest import (
    SCHEMA_VERSION,
    BytecodeRecord,
    DistributionRecord,
    FileRecord,
    FitRecord,
    LockRecord,
    Manifest,
    RuleRecord,
    TargetRecord,
    VerificationRecord,
    by_owner,
    sums,
)
from slimpack.model import Risk, Severity
from slimpack.plan import KEEP, REMOVE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Literal

    from slimpack.model import Addition, Decision, Distribution, Finding, Overruled, Staged, Target
    from slimpack.rules import RuleBook


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """A file that was added."""

    addition: Addition
    """As planned."""
    path: str
    """Place in the bundle."""
    size: int
    """Bytes."""
    sha256: str
    """Hash, hexadecimal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entries:
    """All that goes into the account."""

    target: Target
    """Where the bundle will run."""
    distributions: Sequence[Distribution]
    """Of the inventory."""
    decisions: Sequence[Decision]
    """One for each file of the inventory."""
    staged: Mapping[str, Staged]
    """What was written, by place in the installed tree."""
    added: Sequence[Added]
    """What was added."""
    findings: Sequence[Finding]
    """What was found on the way."""
    book: RuleBook
    """The rules."""
    offers: Mapping[str, tuple[int, int]]
    """Files and bytes that opt-in rules would take, by id."""
    lock: LockRecord
    """What the bundle was built from."""
    verification: VerificationRecord | None = None
    """What was run; None if nothing was."""
    bytecode: BytecodeRecord | None = None
    """How the bundle has bytecode; None if it has none."""
    fit: FitRecord | None = None
    """How the forms of modules and shared objects were chosen."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """What is to be said of Python files, by place in the installed tree."""


def account(entries: Entries, *, version: str, format: Literal["zip", "directory"]) -> Manifest:  # noqa: A002 -- the field's name
    """Returns the manifest, as far as it can be known before the archive is written.

    Args:
        entries: All that goes into it.
        version: Version of slimpack.
        format: What the bundle will be.
    """
    files = tuple(sorted(_files(entries), key=lambda file: file.path))
    totals = sums(files, archive_size=None)
    found = list(entries.findings)
    target = entries.target
    if totals.size_after >= target.room:
        reserved = f", {target.reserve:,} of {target.size_limit:,} being reserved" if target.reserve else ""
        found.append(
            findings.OVER_LIMIT.at(
                target.kind,
                f"{totals.size_after:,} bytes unzipped, must stay below {target.room:,}{reserved}",
                actual=totals.size_after,
                limit=target.room,
            )
        )
    if not totals.files_after:
        found.append(findings.EMPTY_BUNDLE.at(target.kind, "everything was removed"))
    return Manifest(
        schema_version=SCHEMA_VERSION,
        slimpack=version,
        format=format,
        target=TargetRecord(
            kind=target.kind,
            runtime=target.runtime,
            architecture=target.architecture,
            system=target.system,
            glibc=".".join(map(str, target.glibc)),
            size_limit=target.size_limit,
            prefix=target.prefix,
            upload_limit=target.upload_limit,
            reserve=target.reserve,
        ),
        lock=entries.lock,
        rules_sha256=entries.book.digest,
        totals=totals,
        distributions=tuple(_distributions(entries.distributions, files)),
        rules=tuple(_rules(entries.decisions, entries.staged, entries.book)),
        offers=tuple(_offers(entries.offers, entries.book)),
        findings=by_severity(found),
        files=files,
        verification=entries.verification,
        bytecode=entries.bytecode,
        fit=entries.fit,
    )


def by_severity(found: Iterable[Finding]) -> tuple[Finding, ...]:
    """Returns findings in the order in which a person wants them: errors first, then by code and place."""
    order = list(Severity)
    return tuple(sorted(found, key=lambda one: (order.index(one.severity), one.code, one.place, one.message)))


def _files(entries: Entries) -> Iterable[FileRecord]:
    prefix = entries.target.prefix
    for decision in entries.decisions:
        file = decision.file
        if not decision.keep:
            yield FileRecord(
                path=prefix + file.path,
                owner=file.owner,
                decision="removed",
                size_before=file.size,
                size_after=0,
                sha256=file.sha256,
                rule=decision.rule,
            )
            continue
        staged = entries.staged[file.path]
        yield FileRecord(
            path=prefix + file.path,
            owner=file.owner,
            decision=_decision(staged),
            size_before=file.size,
            size_after=staged.size,
            sha256=staged.sha256,
            executable=file.executable,
            rule=decision.rule,
            overruled=_below(prefix, decision.overruled),
            note=f"left as it was: {staged.left_as_it_was}"
            if staged.left_as_it_was
            else entries.notes.get(file.path),
            cleared_by=decision.clear if staged.cleared else None,
            cleared=staged.cleared,
            packed=staged.packed,
        )
    for one in entries.added:
        copied = one.addition.copy_of is not None
        yield FileRecord(
            path=one.path,
            owner=one.addition.owner,
            decision="added",
            size_before=0,
            size_after=one.size,
            sha256=one.sha256,
            executable=copied,
            rule=one.addition.rule,
            note=one.addition.reason,
        )


def _decision(staged: Staged) -> Literal["kept", "compacted", "packed"]:
    if staged.packed is not None:
        return "packed"
    return "compacted" if staged.compacted else "kept"


def _below(prefix: str, overruled: Overruled | None) -> Overruled | None:
    """Returns who overruled a rule, with the place that it has in the bundle."""
    if overruled is None:
        return None
    return replace(overruled, by=replace(overruled.by, path=prefix + overruled.by.path))


def _distributions(
    distributions: Sequence[Distribution], files: Sequence[FileRecord]
) -> Iterable[DistributionRecord]:
    sizes = by_owner(files)
    for one in distributions:
        before, after = sizes.get(one.name, (0, 0))
        yield DistributionRecord(
            name=one.name,
            version=one.version,
            wheel=one.wheel,
            sha256=one.sha256,
            size_before=before,
            size_after=after,
            requires=one.requires,
            requested=one.requested,
            required_at=one.required_at,
        )


def _rules(decisions: Sequence[Decision], staged: Mapping[str, Staged], book: RuleBook) -> list[RuleRecord]:
    took: dict[str, list[int]] = defaultdict(list)
    overruled: Counter[str] = Counter()
    for decision in decisions:
        if decision.overruled is not None:
            overruled[decision.overruled.rule] += 1
        elif decision.rule is not None and not decision.keep:
            took[decision.rule].append(decision.file.size)
        elif decision.rule is not None:
            took[decision.rule] += []
        if decision.keep and decision.clear and (cleared := staged[decision.file.path].cleared):
            took[decision.clear].append(cleared)
    records = [
        _record(name, book, files=len(took[name]), size=sum(took[name]), overruled=overruled[name])
        for name in sorted(set(took) | set(overruled))
    ]
    return sorted(records, key=lambda record: (-record.bytes, record.id))


def _offers(offers: Mapping[str, tuple[int, int]], book: RuleBook) -> list[RuleRecord]:
    records = [
        _record(name, book, files=files, size=size, overruled=0) for name, (files, size) in offers.items()
    ]
    return sorted(records, key=lambda record: (-record.bytes, record.id))


def _record(name: str, book: RuleBook, *, files: int, size: int, overruled: int) -> RuleRecord:
    rule = book.by_id.get(name)
    own = {KEEP: "The configuration keeps it.", REMOVE: "The configuration removes it."}
    return RuleRecord(
        id=name,
        reason=rule.reason if rule else own[name],
        risk=rule.risk if rule else Risk.OPT_IN,
        files=files,
        bytes=size,
        overruled=overruled,
        breaks=rule.breaks if rule else None,
    )

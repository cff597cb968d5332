"""The manifest: the account of a bundle, every byte of it, as values and as JSON. Pure."""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from slimpack import schema
from slimpack.errors import BooksError, ManifestError
from slimpack.fit import FormName  # noqa: TC001 -- pydantic reads the annotation at run time
from slimpack.model import (
    SLIMPACK,
    Architecture,
    Finding,
    Kind,
    Overruled,
    PackedFile,
    Risk,
    Severity,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SCHEMA_VERSION = 1
"""Raised when a field changes its meaning or goes; a new field does not raise it."""

Size = Annotated[int, Field(ge=0, lt=2**63)]
"""Bytes, as many as a file system can count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetRecord:
    """Where the bundle will run."""

    kind: Kind
    """What imports it."""
    runtime: str
    """Lambda's identifier."""
    architecture: Architecture
    """The processor."""
    system: str
    """The base system in words."""
    glibc: str
    """Newest glibc symbol version of the base system, such as ``2.34``."""
    size_limit: Size
    """Unzipped bytes to stay below (exclusive)."""
    prefix: str = ""
    """Folder of the bundle that the installed tree is in: ``python/`` for a layer."""
    upload_limit: int | None = None
    """Zipped bytes of a direct upload (inclusive)."""
    reserve: Size = 0
    """Bytes of the limit that others take: attached layers."""

    @property
    def room(self) -> int:
        """Bytes that the bundle itself must stay below (exclusive)."""
        return self.size_limit - self.reserve


@dataclass(frozen=True, slots=True, kw_only=True)
class DistributionRecord:
    """A distribution of the inventory and what became of it."""

    name: str
    """Canonical name (PEP 503)."""
    version: str
    """PEP 440 version."""
    wheel: str
    """File name of the wheel."""
    sha256: str
    """Hash of the wheel file, hexadecimal."""
    size_before: Size
    """Bytes that it would install."""
    size_after: Size
    """Bytes of it in the bundle, with its bytecode, and with what its packed modules take in their archive."""
    requires: tuple[str, ...] = ()
    """Canonical names of what it needs on the target."""
    requested: bool = False
    """Whether the requirements name it."""
    required_at: tuple[str, ...] = ()
    """Places in the requirements that ask for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """A file of the inventory, or one that slimpack added, and what became of it."""

    path: str
    """Place in the bundle, relative to its root; for a removed file, where it would have been."""
    owner: str
    """Canonical distribution name, ``(app)`` or ``(slimpack)``; of bytecode that of its source."""
    decision: Literal["kept", "compacted", "packed", "removed", "added"]
    """What happened to it."""
    size_before: Size
    """Bytes in the inventory; 0 for an added file."""
    size_after: Size
    """Bytes in the bundle; 0 for a removed file."""
    sha256: str | None = None
    """Hash of the content in the bundle, hexadecimal; of a removed file what RECORD says."""
    executable: bool = False
    """Whether the bundle has it with mode 755 and not 644."""
    rule: str | None = None
    """Id of the rule that decided, ``config:keep`` or ``config:remove``; None for what no rule speaks of."""
    overruled: Overruled | None = None
    """The rule that did not get its way, and the kept code that needs the file."""
    note: str | None = None
    """Why it was added, or why it was left as it was, is not packed or has no bytecode."""
    cleared_by: str | None = None
    """Id of the rule that cleared sections of it, so that they read as zeros and take up no space."""
    cleared: Size = 0
    """Bytes that the cleared sections took up."""
    packed: PackedFile | None = None
    """What packing has done to it; None if it is not packed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleRecord:
    """A rule that had something to do in this bundle."""

    id: str
    """``<file>/<name>``, or ``config:keep`` / ``config:remove``."""
    reason: str
    """Why."""
    risk: Risk
    """Whether it may change behaviour."""
    files: int
    """Files it took out, or cleared sections of."""
    bytes: Size
    """Bytes it took out."""
    overruled: int
    """Files that the guard kept in spite of it."""
    breaks: str | None = None
    """What stops working, for an opt-in rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedRecord:
    """A module that was imported, or an event that was handed to the handler."""

    what: Literal["import", "event"]
    """Which of them."""
    name: str
    """The module, or the event; ``init`` where there was none."""
    problem: str | None = None
    """Why it failed; None if it did not."""
    seconds: float | None = None
    """What the event took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationRecord:
    """What was run before the bundle was handed over. The figures are of the machine that built it."""

    tried: tuple[TriedRecord, ...]
    """Imports, then events."""
    init_seconds: float | None = None
    """From the start of the process to its first request for an event; None without a handler."""
    peak_bytes: Size | None = None
    """The most memory that the handler was seen to use."""
    answers: tuple[str, ...] = ()
    """What the handler returned, as JSON."""
    not_emulated: tuple[str, ...] = ()
    """In what the run differed from one on Lambda."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BytecodeRecord:
    """How the bundle has bytecode."""

    compiler: str
    """What made it, such as ``CPython 3.12.4``."""
    lies: Literal["beside", "packed"]
    """Whether it lies beside the sources, or is packed with them; what cannot be packed has it beside its source."""
    reason: str
    """Why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceRecord:
    """The form that a module or a shared object got, out of several."""

    path: str
    """Place in the bundle."""
    form: FormName
    """Which one."""
    price: int
    """Bytes that this takes more than the smallest form."""
    worth: float
    """Milliseconds that a start is expected to take less than with the smallest form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitRecord:
    """How the forms of modules and shared objects were chosen."""

    usage: str
    """By what it is known what a start needs."""
    room: Size
    """Bytes to stay below."""
    milliseconds: float
    """What a cold start is expected to take for all modules and shared objects of the bundle, those too that could have
    no other form; what every form costs alike is not in it."""
    choices: tuple[ChoiceRecord, ...]
    """Sorted by path; what could have no other form is not in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """The sums. They are computed from the files and checked against the bundle."""

    files_before: int
    """Files of the inventory."""
    files_after: int
    """Files of the bundle."""
    size_before: Size
    """Bytes of the inventory."""
    size_after: Size
    """Bytes of the bundle, unzipped: what the limit counts."""
    archive_size: Size | None = None
    """Bytes of the zip; None for a directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockRecord:
    """The lock that the bundle was built from."""

    sha256: str
    """Hash of the lock file, hexadecimal."""
    resolver: str
    """Who resolved it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The account of one bundle."""

    schema_version: int
    """``SCHEMA_VERSION`` of the writer."""
    slimpack: str
    """Version of slimpack that built the bundle."""
    format: Literal["zip", "directory"]
    """What the bundle is."""
    target: TargetRecord
    """Where it will run."""
    lock: LockRecord
    """What it was built from."""
    rules_sha256: str
    """Hash over the text of all rules that were considered, hexadecimal."""
    totals: Totals
    """The sums."""
    distributions: tuple[DistributionRecord, ...]
    """Sorted by name."""
    rules: tuple[RuleRecord, ...]
    """What took something out or was overruled; sorted by bytes, largest first."""
    offers: tuple[RuleRecord, ...]
    """Opt-in rules that are off, with what they would take; sorted by bytes, largest first."""
    findings: tuple[Finding, ...]
    """What the build has to say, errors first."""
    files: tuple[FileRecord, ...]
    """Sorted by path."""
    verification: VerificationRecord | None = None
    """What was run before the bundle was handed over; None if nothing was."""
    bytecode: BytecodeRecord | None = None
    """How the bundle has bytecode; None if it has none of slimpack's."""
    fit: FitRecord | None = None
    """How the forms of modules and shared objects were chosen; None if there was no choice."""

    @property
    def over_limit(self) -> bool:
        """Whether the bundle is not below the target's limit, less what is reserved."""
        return self.totals.size_after >= self.target.room

    @property
    def failed(self) -> bool:
        """Whether any finding is an error."""
        return any(finding.severity is Severity.ERROR for finding in self.findings)

    def by_owner(self) -> Mapping[str, tuple[int, int]]:
        """Returns bytes before and after by owner; they sum up to the totals."""
        return by_owner(self.files)


def by_owner(files: Iterable[FileRecord]) -> dict[str, tuple[int, int]]:
    """Returns bytes before and after by owner; they sum up to those of the files.

    What packed modules take in their archive is their owners', the rest of it slimpack's.

    Args:
        files: The records of a bundle.
    """
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for file in files:
        sums[file.owner][0] += file.size_before
        sums[file.owner][1] += file.size_after
        if file.packed is not None and file.packed.archived:
            sums[file.owner][1] += file.packed.archived
            sums[SLIMPACK][1] -= file.packed.archived
    return {owner: (before, after) for owner, (before, after) in sums.items()}


def sums(files: Iterable[FileRecord], *, archive_size: int | None) -> Totals:
    """Returns the totals of file records."""
    files = tuple(files)
    return Totals(
        files_before=sum(file.decision != "added" for file in files),
        files_after=sum(file.decision != "removed" for file in files),
        size_before=sum(file.size_before for file in files),
        size_after=sum(file.size_after for file in files),
        archive_size=archive_size,
    )


def balance(manifest: Manifest, *, inventory: Mapping[str, int], bundle: Mapping[str, int]) -> None:
    """Checks that every byte is accounted for, before and after.

    Args:
        manifest: The account.
        inventory: Bytes by path of everything that a plain install would have brought.
        bundle: Bytes by path of what was really written.

    Raises:
        BooksError: A file or a byte is missing or counted twice.
    """
    before = {file.path: file.size_before for file in manifest.files if file.decision != "added"}
    after = {file.path: file.size_after for file in manifest.files if file.decision != "removed"}
    for name, account, truth in (("inventory", before, inventory), ("bundle", after, bundle)):
        if account != truth:
            wrong = sorted(set(account.items()) ^ set(truth.items()))[:3]
            raise BooksError(
                f"the account of the {name} does not balance: {wrong}",
                fix="This is a fault in slimpack: please report it with the manifest.",
            )
    if (len(before), len(after)) != (manifest.totals.files_before, manifest.totals.files_after):
        raise BooksError("a path is in the account twice", fix="Please report this with the manifest.")
    if sums(manifest.files, archive_size=manifest.totals.archive_size) != manifest.totals:
        raise BooksError(
            "the totals are not the sums of the files", fix="Please report this with the manifest."
        )
    owned = manifest.by_owner()
    for one in manifest.distributions:
        if owned.get(one.name, (0, 0)) != (one.size_before, one.size_after):
            raise BooksError(f"the sums of {one.name} are not those of its files", fix="Please report this.")


def to_json(manifest: Manifest) -> str:
    """Returns a manifest as JSON text: one line for each file, distribution and rule; nulls left out."""
    lines = []
    for field in dataclasses.fields(manifest):
        value = getattr(manifest, field.name)
        if isinstance(value, tuple):
            items = ",\n  ".join(_compact(as_plain(item)) for item in value)
            text = f"[\n  {items}\n ]" if items else "[]"
        else:
            text = _compact(as_plain(value))
        lines.append(f" {json.dumps(field.name)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def from_json(text: str | bytes, *, where: str) -> Manifest:
    """Returns the manifest that a JSON text holds.

    Args:
        text: UTF-8.
        where: The file, for messages.

    Raises:
        ManifestError: The text is no manifest, or has a schema that this version does not know.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise ManifestError(
            f"no JSON: {problem}", where=where, fix="Give the .manifest.json that slimpack wrote."
        ) from problem
    if not isinstance(data, dict) or "schema_version" not in data or "slimpack" not in data:
        raise ManifestError(
            "no slimpack manifest", where=where, fix="Give the .manifest.json that slimpack wrote."
        )
    if data["schema_version"] != SCHEMA_VERSION:
        raise ManifestError(
            f"manifest of schema {data['schema_version']!r}, this slimpack knows {SCHEMA_VERSION}",
            where=where,
            fix="Build the bundle again with this version of slimpack.",
        )
    return schema.read(Manifest, data, where=where, error=ManifestError)


def json_schema() -> dict[str, Any]:
    """Returns the JSON Schema of manifests (draft 2020-12), as ``docs/manifest.schema.json`` has it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **TypeAdapter(Manifest).json_schema(mode="serialization"),
    }


def as_plain(value: object) -> Any:  # noqa: ANN401 -- JSON
    """Returns a value of this module as JSON knows it; what is unset is left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: as_plain(item)
            for field in dataclasses.fields(value)
            if (item := getattr(value, field.name)) is not None and item != () and item is not False
        }
    return [as_plain(item) for item in value] if isinstance(value, tuple) else value


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": "))

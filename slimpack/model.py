"""The nouns of slimpack as frozen values: target, lock, inventory, rule, decision, finding."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date  # noqa: TC003 -- pydantic reads the annotation at run time
from enum import StrEnum
from typing import Literal

APP = "(app)"
"""Owner of the files that ``--source`` adds. No distribution can have this name (PEP 503)."""

SLIMPACK = "(slimpack)"
"""Owner of the files that slimpack itself adds."""

Architecture = Literal["x86_64", "arm64"]
"""Lambda's names; ELF and wheel tags call the second one aarch64."""

Kind = Literal["lambda", "lambda-layer", "greengrass", "custom"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a bundle will run."""

    kind: Kind
    """What imports the bundle."""
    runtime: str
    """Lambda's identifier, such as ``python3.13``."""
    architecture: Architecture
    """The processor."""
    system: str
    """The base system in words, such as ``Amazon Linux 2023``."""
    glibc: tuple[int, int]
    """The newest glibc symbol version that the base system provides."""
    versions: dict[str, str]
    """Newest symbol version by family in the base system, such as ``{"GLIBCXX": "3.4.29"}``."""
    libraries: frozenset[str]
    """SONAMEs that the base system provides."""
    library_path: tuple[str, ...]
    """``LD_LIBRARY_PATH`` folders inside the bundle, relative to its root; ``""`` is the root itself."""
    prefix: str
    """Folder of the archive under which Python files go: ``""``, or ``python/`` for a layer."""
    size_limit: int
    """Unzipped size in bytes that the bundle must stay below (exclusive)."""
    upload_limit: int | None
    """Zipped size in bytes that a direct upload may have (inclusive); None where there is no such thing."""
    end_of_support: date | None
    """Day on which the platform stops supporting the runtime."""
    reserve: int = 0
    """Bytes of that limit that others take: attached layers."""

    @property
    def room(self) -> int:
        """Bytes that the bundle itself must stay below (exclusive)."""
        return self.size_limit - self.reserve

    @property
    def python(self) -> tuple[int, int]:
        """Major and minor version of the target's Python."""
        major, minor = self.runtime.removeprefix("python").split(".")
        return int(major), int(minor)

    @property
    def machine(self) -> Literal["x86_64", "aarch64"]:
        """The architecture as ``platform.machine()``, ELF and wheel tags name it."""
        return "aarch64" if self.architecture == "arm64" else "x86_64"


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedWheel:
    """One wheel of a lock."""

    name: str
    """Canonical distribution name (PEP 503)."""
    version: str
    """PEP 440 version."""
    filename: str
    """The wheel's file name."""
    sha256: str
    """Hash of the wheel file, hexadecimal."""
    size: int | None
    """Size of the wheel file in bytes, where the index told it."""
    url: str | None
    """Where it can be had, without credentials; None for a wheel that only a path names."""
    path: str | None
    """A local file, absolute here and relative in the lock file where it lies near; None for one from an index."""
    index: str | None
    """The index it came from, without credentials."""
    requires: tuple[str, ...]
    """Canonical names of the distributions that it needs on the target, sorted; empty before it was fetched."""
    requested: bool
    """Whether the requirements name it, not merely something that needs it."""
    required_at: tuple[str, ...] = ()
    """Places (``requirements.txt:3``) that ask for it; empty for what only others need."""
    extras: tuple[str, ...] = ()
    """Canonical names of the extras that the requirements ask for, sorted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """The resolved set of wheels with hashes (PEP 751)."""

    wheels: tuple[LockedWheel, ...]
    """Sorted by name; a name occurs once."""
    inputs_digest: str
    """SHA-256 over everything that resolution read: requirements, constraints, target, index settings."""
    resolver: str
    """Who resolved it, such as ``pip 26.0`` or ``uv 0.9.1``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InventoryFile:
    """A file that the wheels, or the app's own source, would install."""

    path: str
    """Place in the installed tree, relative to its root, with forward slashes."""
    size: int
    """Bytes."""
    owner: str
    """Canonical name of the distribution that brings it, or ``APP``."""
    entry: str
    """Name of the entry in the wheel, or the path relative to the source folder."""
    sha256: str | None
    """Hash of the content, hexadecimal; None where RECORD does not tell and nothing was read."""
    executable: bool
    """Whether any execute bit is set where it comes from."""
    also: tuple[str, ...] = ()
    """Other distributions that install the same path; this one's content is what a plain install would have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryPoint:
    """An object that a distribution registers for others to load (entry points specification)."""

    path: str
    """Place of the ``entry_points.txt`` in the installed tree."""
    line: int
    """Line in it."""
    group: str
    """Who is to load it, such as ``console_scripts``."""
    module: str
    """Dotted name of the module that has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """A distribution of the inventory."""

    name: str
    """Canonical name (PEP 503)."""
    version: str
    """PEP 440 version."""
    wheel: str
    """File name of the wheel."""
    sha256: str
    """Hash of the wheel file, hexadecimal."""
    requires: tuple[str, ...]
    """Canonical names of what it needs on the target, sorted."""
    requested: bool
    """Whether the requirements name it."""
    required_at: tuple[str, ...]
    """Places in the requirements that ask for it."""
    entry_points: tuple[EntryPoint, ...] = ()
    """What it registers, in the order of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """Everything that a plain install would have put into the folder."""

    distributions: tuple[Distribution, ...]
    """Sorted by name."""
    files: tuple[InventoryFile, ...]
    """Sorted by path; a path occurs once."""
    findings: tuple[Finding, ...] = ()
    """Files that two wheels install with different content."""


class Action(StrEnum):
    """What a rule does with the files it matches."""

    REMOVE = "remove"
    KEEP = "keep"
    ADD = "add"
    CLEAR = "clear"


class Risk(StrEnum):
    """Whether a rule may change behaviour."""

    SAFE = "safe"
    OPT_IN = "opt-in"


class Need(StrEnum):
    """How kept code needs a file, strongest first."""

    IMPORT = "import"
    """Imported while a kept module is imported."""
    LIBRARY = "library"
    """Named by a NEEDED entry of a kept ELF file."""
    METADATA = "metadata"
    """Asked for through ``importlib.metadata``."""
    STUB = "stub"
    """A type stub that ``lazy_loader.attach_stub`` reads."""
    EXPORT = "export"
    """Named in the ``__all__`` of a kept package, whose submodules a star import loads."""
    ENTRY_POINT = "entry-point"
    """Named by a kept entry point, or registered for a group that kept code names."""
    LAZY_IMPORT = "lazy-import"
    """Imported inside a function of a kept module."""
    MENTION = "mention"
    """Named by a string in a kept module."""
    RUN = "run"
    """A run of the bundle failed without it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """How a rule was shown to hold."""

    version: str
    """Release that was measured."""
    files: int
    """Files the rule took from it."""
    bytes: int
    """Bytes the rule took from it."""
    shown: str
    """What was run or read, in a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """Paths that hold a rule's patterns to their meaning."""

    match: tuple[str, ...] = ()
    """Paths that the rule must match."""
    miss: tuple[str, ...] = ()
    """Paths that it must not match."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A declarative statement about some files of a distribution; ``docs/rules.md`` has the format."""

    id: str
    """``<file stem>/<name>``."""
    distributions: tuple[str, ...]
    """Canonical names it speaks of, shell wildcards allowed; ``("*",)`` for every distribution."""
    action: Action
    """What happens."""
    paths: tuple[str, ...]
    """Gitignore-style patterns over installed paths; empty when ``whole``."""
    whole: bool
    """Whether it speaks of every file of the distribution."""
    versions: str
    """PEP 440 specifier of the releases it holds for; empty for all."""
    targets: tuple[str, ...]
    """Kinds, runtimes or architectures it holds for; empty for all."""
    risk: Risk
    """``safe`` rules apply by default."""
    breaks: str | None
    """What stops working; required for opt-in."""
    reason: str
    """Why, for a person."""
    required_by: tuple[str, ...]
    """Holds only while just these, or what goes whole, need the distribution; empty: whoever needs it."""
    tolerates: tuple[Need, ...]
    """Weak needs (lazy import, mention) that do not overrule it; the reason says why."""
    provided: bool
    """Whether the runtime itself provides what is removed, so that imports of it go on working."""
    optional_libraries: tuple[str, ...]
    """NEEDED names whose absence the matched files' own package handles."""
    content: str | None
    """Text of an added file."""
    sections: tuple[str, ...]
    """Names of the ELF sections to clear."""
    probe: str | None
    """Python code that must still run afterwards."""
    evidence: tuple[Evidence, ...]
    """At least one measurement."""
    examples: Examples
    """What the patterns must and must not match."""
    origin: str
    """The file that states it, for messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A line of kept code, or a kept file, that needs another file."""

    need: Need
    """How."""
    path: str
    """The kept file."""
    line: int | None = None
    """Line in it; None for what has no lines."""
    target: str
    """What it names: a module, a SONAME, a distribution, a file name."""

    def __str__(self) -> str:
        place = self.path if self.line is None else f"{self.path}:{self.line}"
        return f"{place} ({self.need.value} of {self.target})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Overruled:
    """A rule that did not get its way on one file."""

    rule: str
    """Id of the rule."""
    by: Reference
    """The kept code that needs the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What happens to one file of the inventory."""

    file: InventoryFile
    """The file."""
    keep: bool
    """Whether it goes into the bundle."""
    rule: str | None
    """Id of the rule or ``config:keep`` / ``config:remove``; None for what no rule speaks of."""
    overruled: Overruled | None = None
    """The rule that wanted it removed, and what needs it."""
    clear: str | None = None
    """Id of the rule that clears sections of it, should it be kept; None where no rule does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """A file that slimpack adds so that the bundle works."""

    path: str
    """Place in the installed tree; with ``absolute`` in the archive, outside any prefix."""
    rule: str
    """Id of the rule or of the repair."""
    reason: str
    """Why."""
    content: bytes | None = None
    """The bytes; None when it is a copy."""
    copy_of: str | None = None
    """Path of the file of the installed tree it is a copy of."""
    owner: str = SLIMPACK
    """Whose bytes it is counted with."""
    absolute: bool = False
    """Whether the path is relative to the archive's root and not below the target's prefix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What happens to all files."""

    decisions: tuple[Decision, ...]
    """One for each file of the inventory, sorted by path."""
    additions: tuple[Addition, ...] = ()
    """Files that no wheel brings, sorted by path."""
    findings: tuple[Finding, ...] = ()
    """User patterns that matched nothing, user removals that something needs."""
    entry_points: tuple[EntryPoint, ...] = ()
    """What the distributions register, kept or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolVersion:
    """A versioned symbol set that an ELF file requires from a library (``.gnu.version_r``)."""

    library: str
    """SONAME of the library that has to provide it."""
    version: str
    """Such as ``GLIBC_2.28`` or ``CXXABI_1.3.8``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ElfFacts:
    """What an ELF file says of itself."""

    path: str
    """Place in the installed tree."""
    type: Literal["EXEC", "DYN", "REL", "OTHER"]
    """``e_type``."""
    machine: str
    """``x86_64``, ``aarch64``, or what else ``e_machine`` says."""
    soname: str | None
    """DT_SONAME."""
    needed: tuple[str, ...]
    """DT_NEEDED, in order."""
    search_path: tuple[str, ...]
    """DT_RUNPATH, else DT_RPATH, split at colons."""
    versions: tuple[SymbolVersion, ...]
    """Symbol versions it requires."""
    interpreter: str | None
    """PT_INTERP of an executable."""
    provides: tuple[str, ...] = ()
    """Symbol versions it defines (``.gnu.version_d``), its own name not included."""
    search_path_first: bool = False
    """Whether ``search_path`` is a DT_RPATH, which loaders follow before ``LD_LIBRARY_PATH``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedFile:
    """What became of a shared object, or of a Python module, that was packed."""

    size_before: int
    """Bytes that it had."""
    stored: int
    """Bytes of the packed file that are compressed blocks; the rest is as loaders read it."""
    loaded: int
    """Bytes that the blocks have once they are loaded; of a module those of its source."""
    pruned: int = 0
    """Bytes that its tables of symbols are shorter by."""
    symbols: int = 0
    """Number of exports that are gone with them, since nobody in the bundle needs them."""
    archived: int | None = None
    """Bytes that source and bytecode of a module take in the archive of packed modules; None for a shared object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """A file in the sandbox, and what was learnt while it was written."""

    path: str
    """Place in the installed tree."""
    size: int
    """Bytes as written."""
    sha256: str
    """Hash of what was written, hexadecimal."""
    compacted: bool
    """Whether it is smaller than it came."""
    cleared: int = 0
    """Bytes of what was cleared in it, which it no longer takes up."""
    packed: PackedFile | None = None
    """What packing has done to it; None if it was not packed."""
    left_as_it_was: str | None = None
    """Why an ELF file was not compacted; None when it was, or when there was nothing to gain."""
    problems: tuple[str, ...] = ()
    """Rules of the target's loader that an ELF file breaks, and broke before it was written."""
    references: tuple[Reference, ...] = ()
    """What a Python file refers to, as far as it may concern what was removed."""
    elf: ElfFacts | None = None
    """What an ELF file says of itself."""


class Severity(StrEnum):
    """How much a finding matters."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that a build, a check or a run has to say."""

    code: str
    """``SLP`` and three digits; ``slimpack.findings`` is the catalogue."""
    severity: Severity
    """Errors fail the build with exit code 1."""
    message: str
    """What."""
    place: str
    """Where: a path, a package, a requirements line."""
    fix: str | None = None
    """What the user can do."""
    actual: int | None = None
    """Bytes that there are, where it is about a size."""
    limit: int | None = None
    """Bytes that there may be."""

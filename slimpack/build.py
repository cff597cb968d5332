"""The pipeline: requirements in; a bundle, its manifest and its lock out."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from collections import defaultdict
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from slimpack import __version__, findings, guard, plan, profile, repair, resolve, untouched
from slimpack.archive import COMPRESSOR, Member, write_zip
from slimpack.assemble import add, assemble, install
from slimpack.elf import closure
from slimpack.elf.inspect import inspect
from slimpack.elf.layout import ElfError, is_elf
from slimpack.errors import ManifestError, RuntimeRoomError, SourceError, UsageError
from slimpack.ledger import Added, Entries, account, by_severity
from slimpack.manifest import (
    LockRecord,
    TriedRecord,
    VerificationRecord,
    balance,
    from_json,
    to_json,
)
from slimpack.model import SLIMPACK, Need, Reference, Severity
from slimpack.output import claim, is_zip, writing
from slimpack.plan import Wishes
from slimpack.rules import load_rules
from slimpack.runtime import interpreter
from slimpack.settle import Room, settle
from slimpack.source import read_source
from slimpack.stock import take
from slimpack.verify.modules import top_level
from slimpack.verify.run import Subject, Verdict, look, verify
from slimpack.wheel import Limits

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import date

    from slimpack.cache import Cache
    from slimpack.elf.closure import Closure
    from slimpack.manifest import Manifest
    from slimpack.model import (
        Addition,
        ElfFacts,
        Finding,
        Inventory,
        InventoryFile,
        Lock,
        Overruled,
        Plan,
        Staged,
        Target,
    )
    from slimpack.output import Claim
    from slimpack.packing import Pack
    from slimpack.profile import Profile
    from slimpack.progress import Progress
    from slimpack.rules import RuleBook
    from slimpack.runtime.interpreter import Interpreter
    from slimpack.settle import Compiled, Settled
    from slimpack.stock import Stock
    from slimpack.verify.run import Trial


UNFIT = frozenset(
    kind.code
    for kind in (
        findings.NO_HANDLER,
        findings.IMPORT_FAILS,
        findings.EVENT_FAILS,
        findings.ANSWER_DIFFERS,
    )
)
"""Findings of a verification that another run may not have: what has them is not kept for a second build."""


_ANSWER = 64 * 2**10
"""Bytes of an answer that the manifest keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a build is asked to do."""

    requirements: Path
    """``requirements.txt``, or a ``pylock.toml``."""
    output: Path
    """A path that ends in ``.zip``, or a directory."""
    target: Target
    """Where the bundle will run."""
    source: Path | None = None
    """Folder with the app's own code and data."""
    resolver: Literal["auto", "pip", "uv"] = "auto"
    """Who resolves."""
    upgrade: bool = False
    """Whether to resolve anew although the lock beside the output still fits."""
    wishes: Wishes = Wishes()  # noqa: RUF009 -- frozen
    """The user's own patterns and switches."""
    rules: tuple[Path, ...] = ()
    """Folders with rules of the user's own."""
    compact: bool = True
    """Whether ELF files are compacted."""
    bytecode: Compiled = "auto"
    """Which Python modules get bytecode."""
    pack: Pack = "auto"
    """Whether shared objects are packed, and modules to make room for bytecode."""
    profile: Profile | None = None
    """What runs of the handler have used; None if nobody looked."""
    drop_cold: bool = False
    """Whether what no run has used is removed."""
    prune: bool | None = None
    """Whether exports that nobody in the bundle needs are taken from what is packed; None for: unless others may load
    its libraries, as those of a layer."""
    trial: Trial | None = None
    """What to run before the bundle is handed over; None for nothing."""
    handler: str = ""
    """What Lambda will call: looked for in the files even if nothing is run. Empty for none."""
    limits: Limits = Limits()  # noqa: RUF009 -- frozen
    """What a wheel may be."""
    jobs: int = 1
    """Worker processes."""
    dry_run: bool = False
    """Whether the output is thrown away once it is accounted for."""

    @property
    def zipped(self) -> bool:
        """Whether the bundle is a zip."""
        return is_zip(self.output)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a build ended with."""

    manifest: Manifest
    """The account."""
    bundle_path: Path
    """Where the bundle lies: aside if verification failed; nothing lies there after a dry run."""
    manifest_path: Path
    """Where the manifest lies, likewise."""
    lock_path: Path
    """Where the lock lies."""
    reused_lock: bool
    """Whether the lock beside the output still fitted, so that nothing was resolved."""
    cached: bool
    """Whether the cache had the bundle."""


def build(options: Options, *, cache: Cache, today: date, progress: Progress) -> Outcome:
    """Builds a bundle.

    One that is over the limit, or that cannot run on the target, is handed over all the same: the findings in
    its manifest have the verdict.

    Args:
        options: What to do.
        cache: Where wheels and finished bundles are kept.
        today: The day, for the end of a runtime's support.
        progress: Whom to tell.

    Raises:
        SlimpackError: There is no result, and nothing half-written is left.
    """
    book = load_rules(options.rules)
    if options.drop_cold:
        book = book.with_rule(untouched.RULE)
    names = Names.of(options.output)
    plan.check(options.wishes, book)
    python = None if options.trial is None else _interpreter(options.target, options.trial)
    if options.drop_cold and isinstance(python, RuntimeRoomError):
        raise UsageError(
            f"what is removed by a profile has to be tried; {python.what.removeprefix('not checked: ')}",
            where="--drop-cold",
            fix=python.fix,
        )
    source = _read_source(options.source, options.output, names) if options.source is not None else ()
    inputs = resolve.read(options.requirements, options.target, resolver=options.resolver)
    with claim(options.output, manifest=names.manifest, lock=names.lock) as claimed:
        with progress.phase("resolving and fetching"):
            fetched = resolve.prepare(
                inputs,
                cache.wheel_store,
                earlier=None if options.upgrade else options.output.with_name(names.lock),
                limits=options.limits,
                progress=progress.tell,
            )
        lock = fetched.lock
        lock_text = resolve.lock.text(lock, options.target, options.output.absolute().parent)
        with writing(claimed.lock):
            claimed.lock.write_text(lock_text, encoding="utf-8")
        job = _Job(
            options=options,
            book=book,
            lock=lock,
            lock_record=LockRecord(sha256=_sha256(lock_text), resolver=lock.resolver),
            wheels=fetched.wheels,
            source=source,
            python=python,
            compiler=_compiler(options, python),
            findings=tuple(_support_findings(options.target, today)),
        )
        cache.touch_wheels(one.sha256 for one in lock.wheels)
        manifest = _from_cache(cache, job, claimed)
        cached = manifest is not None
        if manifest is None:
            manifest, lasting = _make(job, claimed, cache, progress)
            if options.zipped and lasting and UNFIT.isdisjoint(one.code for one in manifest.findings):
                files = {"bundle.zip": claimed.bundle, "manifest.json": claimed.manifest}
                if problem := cache.put_bundle(job.key(), files):
                    progress.tell(problem)
        aside = claimed.failed_bundle.exists()
        bundle = claimed.failed_bundle if aside else claimed.bundle
        account_of_it = claimed.failed_manifest if aside else claimed.manifest
        if options.dry_run:
            _discard(bundle, account_of_it, claimed.lock)
    return Outcome(
        manifest=manifest,
        bundle_path=options.output.with_name(bundle.name),
        manifest_path=options.output.with_name(account_of_it.name),
        lock_path=options.output.with_name(names.lock),
        reused_lock=fetched.reused,
        cached=cached,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What lies beside a bundle."""

    manifest: str
    """The manifest: the output's stem and ``.manifest.json``."""
    lock: str
    """The lock, named as PEP 751 demands, ``pylock.<name>.toml``; a dot of the name is written as in a URL: ``%2E``."""

    @classmethod
    def of(cls, destination: Path) -> Names:
        """Returns the names that go with an output.

        Args:
            destination: The zip or directory.
        """
        stem = destination.stem if is_zip(destination) else destination.absolute().name
        return cls(
            manifest=f"{stem}.manifest.json",
            lock=f"pylock.{stem.replace('%', '%25').replace('.', '%2E')}.toml",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """All that the bytes of a bundle depend on."""

    options: Options
    """What to do."""
    book: RuleBook
    """The rules."""
    lock: Lock
    """What to install."""
    lock_record: LockRecord
    """The same, for the manifest."""
    wheels: Mapping[str, Path]
    """Wheel files by canonical distribution name."""
    source: tuple[InventoryFile, ...]
    """The app's own files."""
    python: Interpreter | RuntimeRoomError | None
    """What runs the bundle, or why nothing could; None if that is not wanted."""
    compiler: Path | None
    """What makes bytecode; None if there is nothing, or if none is wanted."""
    findings: tuple[Finding, ...]
    """What is known before anything was read."""

    def key(self) -> str:
        """Returns the hash under which the cache has the bundle; whatever could change a byte is in it."""
        options = self.options
        parts = {
            "slimpack": __version__,
            "code": _code_digest(),
            "compressor": COMPRESSOR,
            "libraries": {
                name: installed_version(name) for name in ("lief", "pathspec", "packaging", "zstandard")
            },
            "python": sys.version_info[:2],  # decides which sources ``ast`` can read
            "target": asdict(options.target) | {"libraries": sorted(options.target.libraries)},
            "lock": self.lock_record.sha256,
            "wheels": sorted((one.name, one.sha256) for one in self.lock.wheels),
            "rules": self.book.digest,
            "wishes": asdict(options.wishes),
            "compact": options.compact,
            "bytecode": options.bytecode,
            "compiler": None
            if self.compiler is None
            else [str(self.compiler), self.compiler.stat().st_mtime_ns],
            "pack": options.pack,
            "drop_cold": options.drop_cold,
            "profile": None if options.profile is None else _sha256(profile.to_json(options.profile)),
            "prune": options.prune,
            "limits": asdict(options.limits),
            "source": [(file.path, file.sha256, file.executable) for file in self.source],
            "findings": [asdict(finding) for finding in self.findings],
            "trial": None if options.trial is None else asdict(options.trial),
            "handler": options.handler,
            "interpreter": None
            if self.python is None
            else str(self.python)
            if isinstance(self.python, RuntimeRoomError)
            else [asdict(self.python), self.python.executable.stat().st_mtime_ns],
        }
        return _sha256(json.dumps(parts, sort_keys=True, default=str))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tree:
    """The sandbox once the guard has nothing more to say."""

    plan: Plan
    """The plan as the guard left it."""
    staged: Mapping[str, Staged]
    """What was written, by place in the installed tree."""


def _make(job: _Job, claimed: Claim, cache: Cache, progress: Progress) -> tuple[Manifest, bool]:
    """Builds the bundle in the claimed place; returns its account, and whether tomorrow's would be the same."""
    options, target = job.options, job.options.target
    sandbox = claimed.folder / "sandbox" if options.zipped else claimed.bundle
    stock = take(job.lock, job.wheels, job.source, limits=options.limits)
    needed: dict[str, Reference] = {}
    while True:
        filled = _fill(job, stock, sandbox, needed, progress)
        verdict = _verify(job, stock, filled, cache, progress)
        new = set(verdict.missing) - set(needed)
        if options.trial is None or not options.trial.repair or not new:
            break
        needed |= {path: verdict.missing[path] for path in new}
        progress.tell(f"a run missed {len(new)} removed files: they come back")
        _empty(sandbox)  # with the files, what was added for want of them goes
    tree = filled.tree
    manifest = account(
        Entries(
            target=target,
            distributions=stock.inventory.distributions,
            decisions=tree.plan.decisions,
            staged=tree.staged,
            added=filled.added,
            findings=(
                *job.findings,
                *stock.inventory.findings,
                *tree.plan.findings,
                *repair.start_up_files(tree.plan, target),
                *filled.findings,
                *_elf_findings(tree.staged.values()),
                *_cold_findings(tree.plan),
                *verdict.findings,
            ),
            book=job.book,
            offers=plan.offers(tree.plan, stock.inventory, job.book, target),
            lock=job.lock_record,
            verification=_record(verdict) if verdict.ran else None,
            bytecode=filled.settled.bytecode,
            fit=filled.settled.fit,
            notes=filled.settled.notes,
        ),
        version=__version__,
        format="zip" if options.zipped else "directory",
    )
    if options.zipped:
        manifest = _archive(manifest, sandbox, claimed, options.jobs, progress)
    balance(
        manifest,
        inventory={target.prefix + file.path: file.size for file in stock.inventory.files},
        bundle=_sizes(sandbox),
    )
    with writing(claimed.manifest):
        claimed.manifest.write_text(to_json(manifest), encoding="utf-8")
    if any(one.severity is Severity.ERROR for one in verdict.findings):
        claimed.mark_failed()
    return manifest, verdict.lasting


@dataclass(frozen=True, slots=True, kw_only=True)
class _Filled:
    """The sandbox with everything that goes into the bundle."""

    tree: _Tree
    """What the wheels and the app brought."""
    added: tuple[Added, ...]
    """What slimpack added."""
    findings: tuple[Finding, ...]
    """What the closure check found once all was there, and what could not be packed or compiled."""
    settled: Settled
    """What became of modules and shared objects."""
    sandbox: Path
    """The folder."""


def _fill(
    job: _Job, stock: Stock, sandbox: Path, needed: Mapping[str, Reference], progress: Progress
) -> _Filled:
    """Writes everything that goes into the bundle, what runs have missed included."""
    target = job.options.target
    root = sandbox / target.prefix
    with writing(root):
        root.mkdir(parents=True, exist_ok=True)  # even if nothing goes into it
    tree = _assemble(job, stock.inventory, root, needed, progress)
    final = plan.with_additions(
        tree.plan, stock.inventory, job.book, target, job.options.wishes, namespaces=stock.namespaces
    )
    closed = _closed(job, tree, {})
    added = tuple(_add(one, sandbox, target) for one in (*final.additions, *closed.repairs))
    settled = _settle(job, tree, added, sandbox=sandbox, progress=progress)
    added += tuple(_add(one, sandbox, target) for one in settled.additions)
    _set_folder_modes(sandbox)
    packed = replace(tree, staged=settled.staged)
    # What packing made names the pager, and has tables of its own: what it needs is looked up as well.
    after = _closed(job, packed, _added_elf(added, tree.staged, sandbox))
    return _Filled(
        tree=packed,
        added=added,
        settled=settled,
        findings=(*after.findings, *(_lost_by_packing(one) for one in after.repairs), *settled.findings),
        sandbox=sandbox,
    )


def _closed(job: _Job, tree: _Tree, added: Mapping[str, ElfFacts]) -> Closure:
    """Looks up everything that the ELF files of the sandbox need."""
    return closure.check(
        [one.elf for one in tree.staged.values() if one.elf is not None],
        job.options.target,
        files=set(tree.staged),
        optional=plan.optional_libraries(tree.plan, job.book),
        added=added,
    )


def _added_elf(added: Iterable[Added], copied: Mapping[str, Staged], sandbox: Path) -> dict[str, ElfFacts]:
    """Returns what the ELF files that slimpack has added say of themselves, by place in the bundle.

    Args:
        added: What it has added.
        copied: What there was when copies were made.
        sandbox: Where all of it lies.
    """
    facts: dict[str, ElfFacts] = {}
    for one in added:
        original = copied.get(one.addition.copy_of or "")
        if original is not None and original.elf is not None:
            facts[one.path] = replace(original.elf, path=one.path)
        elif is_elf((one.addition.content or b"")[:64]):
            with suppress(ElfError):  # then it is not there for those who need it
                facts[one.path] = inspect(sandbox / one.path, one.path)
    return facts


def _lost_by_packing(repair: Addition) -> Finding:
    """Returns a finding about a library that was found before packing, and is not after it."""
    return findings.MISSING_LIBRARY.at(
        repair.copy_of or repair.path,
        f"it was found before libraries were packed: {repair.reason}",
        "Please report it with the manifest; --pack never until then.",
    )


def _settle(job: _Job, tree: _Tree, added: Sequence[Added], *, sandbox: Path, progress: Progress) -> Settled:
    """Gives modules and shared objects the forms with which the bundle fits and starts soonest."""
    options = job.options
    room = Room(
        root=sandbox / options.target.prefix,
        staged=tree.staged,
        owners={one.file.path: one.file.owner for one in tree.plan.decisions if one.keep},
        kept=plan.as_they_are(tree.plan, job.book),
        target=options.target,
        others={f"{SLIMPACK}/{one.path}": sandbox / one.path for one in added},
        added=sum(one.size for one in added),
        handler=options.handler,
        compiler=job.compiler,
        profile=options.profile,
        prune=options.target.kind != "lambda-layer" if options.prune is None else options.prune,
    )
    return settle(room, options.bytecode, options.pack, jobs=options.jobs, progress=progress)


def _verify(job: _Job, stock: Stock, filled: _Filled, cache: Cache, progress: Progress) -> Verdict:
    """Runs what is in the sandbox as on Lambda, or only looks for the handler if no run is wanted."""
    options = job.options
    kept: dict[str, list[str]] = defaultdict(list)
    removed: dict[str, str] = {}
    for one in filled.tree.plan.decisions:
        if one.keep:
            kept[one.file.owner].append(one.file.path)
        elif one.rule is not None:
            removed[one.file.path] = one.rule
    provided = {rule.id for rule in job.book.rules if rule.provided}
    names = [one.name for one in stock.inventory.distributions]

    def plain(folder: Path) -> Path:
        with progress.phase("installing plainly, to compare"):
            install(
                stock.inventory.files,
                wheels=job.wheels,
                source=options.source,
                limits=options.limits,
                root=folder / options.target.prefix,
                jobs=options.jobs,
                progress=progress.advance,
            )
        return folder

    subject = Subject(
        target=options.target,
        tree=filled.sandbox,
        modules={name: top_level(kept[name]) for name in names if name in kept},
        removed=removed,
        sdk=not provided.isdisjoint(removed.values()),
    )
    if options.trial is None or job.python is None:
        return Verdict(findings=look(subject, options.handler, runs=False), missing={}, ran=False)
    verdict = verify(
        subject,
        options.trial,
        python=job.python,
        plain=plain,
        cache=cache,
        progress=progress,
    )
    return _untried(verdict) if options.drop_cold and not verdict.ran else verdict


def _untried(verdict: Verdict) -> Verdict:
    """Returns a verdict by which it is an error that nothing was run: what is gone has to be tried."""
    return replace(
        verdict,
        findings=tuple(
            replace(
                one,
                severity=Severity.ERROR,
                message=f"what is removed by a profile has to be tried; {one.message}",
            )
            if one.code == findings.NOT_CHECKED.code
            else one
            for one in verdict.findings
        ),
    )


def _record(verdict: Verdict) -> VerificationRecord:
    return VerificationRecord(
        tried=tuple(TriedRecord(**asdict(one)) for one in verdict.tried),
        init_seconds=verdict.init_seconds,
        peak_bytes=verdict.peak_bytes,
        answers=tuple(_head(answer) for answer in verdict.answers),
        not_emulated=verdict.not_emulated,
    )


def _head(answer: str) -> str:
    """Returns as much of an answer as a manifest has."""
    content = answer.encode()
    if len(content) <= _ANSWER:
        return answer
    return f"{content[:_ANSWER].decode(errors='ignore')}... ({len(content):,} bytes)"


def _assemble(
    job: _Job, inventory: Inventory, root: Path, missed: Mapping[str, Reference], progress: Progress
) -> _Tree:
    """Writes what is kept, and goes on as long as the guard finds that more has to be."""
    options = job.options
    cold = (
        untouched.untouched(inventory, options.profile, prefix=options.target.prefix)
        if options.drop_cold and options.profile is not None
        else ()
    )

    def propose(standing: Collection[str] = ()) -> Plan:
        proposed = plan.propose(
            inventory, job.book, options.target, options.wishes, standing=standing, cold=cold
        )
        return plan.with_needed(proposed, missed)

    current = propose()
    needles = guard.needles(current)
    staged: dict[str, Staged] = {}
    references: list[Reference] = []
    folders: dict[str, tuple[str, ...]] = {}
    needed: dict[str, Overruled] = {}
    with progress.phase("reading, checking and compacting files"):
        while missing := [one.file for one in current.decisions if one.keep and one.file.path not in staged]:
            new = assemble(
                missing,
                wheels=job.wheels,
                source=options.source,
                limits=options.limits,
                root=root,
                needles=needles,
                compact=options.compact,
                clear={
                    one.file.path: job.book.by_id[one.clear].sections
                    for one in current.decisions
                    if one.clear
                },
                jobs=options.jobs,
                progress=progress.advance,
            )
            staged |= new
            references += _references(new.values())
            folders |= {
                path: tuple(closure.search_folders(one.elf, path)) for path, one in new.items() if one.elf
            }
            current = guard.overrule(current, references, job.book, folders=folders)
            while fallen := {
                name: overruled
                for name, overruled in guard.fallen(current, job.book).items()
                if name not in needed
            }:
                # What stays as a whole is subject to the other rules, and what only it needs stays as well.
                needed |= fallen
                current = guard.standing(propose(standing=needed), needed, current)
                needles |= guard.needles(current)
                current = guard.overrule(current, references, job.book, folders=folders)
    return _Tree(plan=current, staged=staged)


def _references(staged: Iterable[Staged]) -> Iterator[Reference]:
    for one in staged:
        yield from one.references
        if one.elf is not None:
            for name in one.elf.needed:
                yield Reference(need=Need.LIBRARY, path=one.path, line=None, target=name)


def _cold_findings(made: Plan) -> Iterator[Finding]:
    """Yields what is risked by having removed what no run has used."""
    sizes = [one.file.size for one in made.decisions if not one.keep and one.rule == plan.COLD]
    if sizes:
        yield findings.DROPPED_COLD.at(
            "--drop-cold", f"{len(sizes):,} files, {sum(sizes):,} bytes, that no run of the profile has used"
        )


def _add(addition: Addition, sandbox: Path, target: Target) -> Added:
    path = addition.path if addition.absolute else target.prefix + addition.path
    size, sha256 = add(addition, place=sandbox / path, root=sandbox / target.prefix)
    return Added(addition=addition, path=path, size=size, sha256=sha256)


def _archive(manifest: Manifest, sandbox: Path, claimed: Claim, jobs: int, progress: Progress) -> Manifest:
    """Writes the zip; returns the account with its size."""
    members = [
        Member(path=file.path, source=sandbox / file.path, size=file.size_after, executable=file.executable)
        for file in manifest.files
        if file.decision != "removed"
    ]
    with progress.phase("writing the zip"):
        size = write_zip(claimed.bundle, members, jobs=jobs)
    found = manifest.findings
    limit = manifest.target.upload_limit
    if limit is not None and size > limit:
        found = by_severity(
            (
                *found,
                findings.UPLOAD_NEEDS_S3.at(
                    "zip", f"{size:,} bytes zipped, a direct upload may have {limit:,}"
                ),
            )
        )
    return replace(manifest, findings=found, totals=replace(manifest.totals, archive_size=size))


def _elf_findings(staged: Iterable[Staged]) -> Iterator[Finding]:
    for one in staged:
        for problem in one.problems:
            yield findings.LOADER_REFUSES.at(one.path, problem)
        if one.left_as_it_was:
            yield findings.LEFT_AS_IT_WAS.at(one.path, one.left_as_it_was)


def _support_findings(target: Target, today: date) -> Iterator[Finding]:
    if target.end_of_support is not None and target.end_of_support < today:
        yield findings.RUNTIME_UNSUPPORTED.at(
            target.runtime, f"its support ended on {target.end_of_support.isoformat()}"
        )


def _read_source(folder: Path, destination: Path, names: Names) -> tuple[InventoryFile, ...]:
    """Returns the app's own files with their hashes, without what earlier builds left among them."""
    ours = [destination, destination.with_name(names.manifest), destination.with_name(names.lock)]
    outputs = [os.path.relpath(path.resolve(), folder.resolve()) for path in ours]
    return tuple(
        replace(file, sha256=_sha256_of(folder / file.entry))
        for file in read_source(folder)
        if not any(file.entry == path or file.entry.startswith(f"{path}/") for path in outputs)
        and not _WORKING_FOLDER.search(file.entry)
    )


def _interpreter(target: Target, trial: Trial) -> Interpreter | RuntimeRoomError:
    """Returns what runs a bundle, or why nothing can; raises if the user has named what cannot."""
    try:
        return interpreter.choose(target, trial.interpreter)
    except RuntimeRoomError as problem:
        if trial.interpreter is not None:
            raise
        return problem


def _compiler(options: Options, python: Interpreter | RuntimeRoomError | None) -> Path | None:
    """Returns what makes bytecode: what runs the bundle, or another Python of the version if that is emulated."""
    if options.bytecode == "none":
        return None
    if isinstance(python, interpreter.Interpreter) and python.emulator is None:
        return python.executable
    return resolve.interpreters.find(options.target.python)


def _code_digest() -> str:
    """Returns a hash over slimpack itself: in a checkout the version stays while the code changes."""
    digest = hashlib.sha256()
    package = Path(__file__).parent
    parts = ("*.py", "targets.toml", "*.so", "*.so.1")
    for path in sorted(path for part in parts for path in package.rglob(part)):
        digest.update(f"{path.relative_to(package)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


_WORKING_FOLDER = re.compile(r"(^|/)\.[^/]+\.slimpack/")
"""Where another build may be at work (see ``output.claim``)."""


def _sha256_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as problem:
        raise SourceError(
            f"cannot be read: {problem.strerror}", where=str(path), fix="Make it readable, or ignore it."
        ) from problem


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _sizes(folder: Path) -> dict[str, int]:
    """Returns the bytes of each file that really lies in a folder, by relative path."""
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in folder.rglob("*")
        if not path.is_dir()
    }


def _set_folder_modes(folder: Path) -> None:
    """Gives all folders mode 755, whatever the umask says: Lambda reads them as another user."""
    with writing(folder):
        for path in (folder, *folder.rglob("*")):
            if path.is_dir():
                path.chmod(0o755)


def _from_cache(cache: Cache, job: _Job, claimed: Claim) -> Manifest | None:
    """Puts a finished bundle into the claimed place; None if the cache does not have it."""
    places = {"bundle.zip": claimed.bundle, "manifest.json": claimed.manifest}
    if not job.options.zipped or not cache.get_bundle(job.key(), places):
        return None
    try:
        return from_json(claimed.manifest.read_bytes(), where="the cached manifest")
    except ManifestError:  # a cache never makes a build fail
        return None


def _empty(folder: Path) -> None:
    with writing(folder):
        shutil.rmtree(folder)
        folder.mkdir()


def _discard(*places: Path) -> None:
    """Takes away what was written, so that nothing is handed over."""
    for path in places:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

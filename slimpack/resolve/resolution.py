"""Resolution: the one who decides whether pip or uv resolves, and says why neither can."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from packaging.utils import canonicalize_name

from slimpack import redact
from slimpack.errors import ResolutionError, SlimpackError, WheelError
from slimpack.model import Lock, LockedWheel
from slimpack.resolve import failure, fetch, interpreters, pip, uv
from slimpack.resolve.candidate import Candidate, Fit, filename_of, same_place
from slimpack.resolve.environment import holds, markers
from slimpack.resolve.process import ToolFailedError
from slimpack.resolve.requirements import local_path
from slimpack.wheel import Wheel

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Self

    from slimpack.model import Target
    from slimpack.resolve.failure import NoMatch
    from slimpack.resolve.indexes import Indexes
    from slimpack.resolve.process import Progress
    from slimpack.resolve.requirements import Requested, Requirements
    from slimpack.resolve.uv import Uv
    from slimpack.wheel import Limits

Resolver = Literal["auto", "pip", "uv"]
"""Who resolves; ``auto`` takes uv where it is installed and nothing speaks for pip."""


_WHEEL = re.compile(r"[\w.+!-]+\.whl")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """All that resolution reads, except the indexes themselves."""

    path: Path
    """The requirements file or lock that the user named."""
    target: Target
    """What is being built for."""
    resolver: Resolver
    """Who shall resolve."""
    requirements: Requirements | None
    """The requirements; None for a lock."""
    indexes: Indexes
    """Where packages come from."""
    digest: str
    """SHA-256 over all of it, without credentials: they may change and the lock still holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """One resolution of requirements for a target."""

    inputs: Inputs
    requirements: Requirements
    store: Path
    limits: Limits
    progress: Progress
    interpreter: Path | None
    """One of the target's version, if this machine is of the target's kind: pip gets markers right with it."""
    uv_here: Uv | None
    """The uv on this machine, if it may be used."""
    listed: dict[str, list[str]] = field(default_factory=dict)
    """What ``_files`` has found so far."""

    @classmethod
    def of(
        cls, inputs: Inputs, requirements: Requirements, store: Path, limits: Limits, progress: Progress
    ) -> Self:
        """Returns a resolution with what this machine has for it.

        Args:
            inputs: What was read.
            requirements: The requirements in it.
            store: Folder for wheels that have to be built.
            limits: What a local wheel may be.
            progress: Hears what is going on.
        """
        here = interpreters.is_host(inputs.target)
        return cls(
            inputs=inputs,
            requirements=requirements,
            store=store,
            limits=limits,
            progress=progress,
            interpreter=interpreters.find(inputs.target.python) if here else None,
            uv_here=None if inputs.resolver == "pip" else uv.find(),
        )

    def run(self) -> Lock:
        """Returns the lock.

        Raises:
            ResolutionError: There is no set of wheels for the target.
            WheelError: A local wheel is damaged or hostile.
            OutputError: The store cannot be written.
        """
        self._check_local_wheels()
        candidates, resolver = self._candidates()
        if not candidates:
            raise ResolutionError(
                f"nothing is required on {self.inputs.target.runtime}, {self.inputs.target.architecture}",
                where=str(self.requirements.path),
                fix="Correct the markers behind the semicolons.",
            )
        wheels = [self._locked(one) for one in self._hashed(candidates)]
        return Lock(
            wheels=tuple(sorted(wheels, key=lambda one: one.name)),
            inputs_digest=self.inputs.digest,
            resolver=resolver,
        )

    def _check_local_wheels(self) -> None:
        """Looks at the wheels that the requirements name before a resolver does.

        uv unpacks them, and has no limit to what comes out.
        """
        for one in self.requirements.requested:
            if one.local and not one.is_source and holds(one.marker, markers(self.inputs.target)):
                try:
                    Wheel.open(one.local, self.limits).close()
                except WheelError as problem:
                    problem.where = f"{one.place}: {problem.where}"
                    raise

    def _damaged(self, output: str) -> WheelError | None:
        """Returns what is wrong with the local wheel that a resolver could not read, if that is what it says."""
        folders = (local_path(place) or Path(place) for place in self.inputs.indexes.values("find-links"))
        local = [
            *(one.local for one in self.requirements.requested if one.local),
            *(folder / name for folder in folders for name in set(_WHEEL.findall(output))),
        ]
        for path in local:
            if path.name in output and path.is_file():
                try:
                    with Wheel.open(path, self.limits) as wheel:
                        for file in wheel.files:
                            wheel.read(file)
                except WheelError as problem:
                    return problem
        return None

    def _candidates(self) -> tuple[list[Candidate], str]:
        """Returns what a resolver chose, and which one it was.

        uv comes first where it is there: it is quicker, and evaluates markers for any target. pip has to do what
        uv cannot: build from source, for a target of this machine's kind.
        """
        tried = self.uv_here is not None and not self._prefers_pip
        if self.uv_here is not None and tried:
            self.progress(f"resolving with {self.uv_here.version}")
            if found := self._with_uv(self.uv_here):
                return list(found), self.uv_here.version
        if self.interpreter is None or (self.inputs.resolver == "uv" and not self.uv_here):
            raise self._nobody_resolves()
        self.progress(f"resolving with {pip.version()}")
        return self._with_pip(self.interpreter, wheels_only=not (tried or self._sources)), pip.version()

    def _with_uv(self, program: Uv) -> Sequence[Candidate] | None:
        """Returns what uv chose; None if something has to be built, and can be here."""
        given = (self.requirements, self.inputs.target, self.inputs.indexes)
        missing: Sequence[str] = ()
        try:
            found = program.resolve(*given, fit=self._fit, files=self._files)
        except uv.MissingWheelsError as problem:
            missing = problem.names
        except ToolFailedError as problem:
            raise self._explained(problem) from problem
        if not missing and not self._sources:
            return found
        files = {self._wanted(name): self._files(name) for name in missing}
        if self.interpreter is None:
            raise self._cannot_build(files)
        if files and not any(map(failure.has_source, files.values())):
            raise self._without_wheel(files)
        return None

    @property
    def _prefers_pip(self) -> bool:
        """Whether pip gets the first try: something has to be built, or uv would have to search for the right glibc."""
        searches = self.inputs.resolver == "auto" and not uv.knows(self.inputs.target)
        return self.interpreter is not None and bool(self._sources or searches)

    def _with_pip(self, interpreter: Path, *, wheels_only: bool) -> list[Candidate]:
        """Returns what pip chose: wheels only, if they do, else with sources built."""
        given = (self.requirements, self.inputs.target, self.inputs.indexes)
        if wheels_only:
            try:
                return pip.resolve(*given, interpreter=interpreter, sources=False)
            except ToolFailedError as problem:
                if not self._source_may_help(problem.output):
                    raise self._explained(problem) from problem
        self.progress("some packages have no wheel that fits: resolving with their sources")
        try:
            candidates = pip.resolve(*given, interpreter=interpreter, sources=True)
        except ToolFailedError as problem:
            raise self._explained(problem) from problem
        return [one if one.is_wheel else self._build(one, interpreter) for one in candidates]

    def _source_may_help(self, output: str) -> bool:
        """Returns whether pip, which found no solution with wheels, may find one with sources.

        pip says of most conflicts that something has no matching distribution; only a new release tells.
        """
        missing = failure.no_match(output)
        if missing is None:
            return False
        files = self._files(missing.name)
        return (
            failure.newest_is_source(files, self._fit)
            if failure.is_conflict(output)
            else failure.has_source(files)
        )

    def _explained(self, problem: ToolFailedError) -> SlimpackError:
        """Returns what a resolver's failure means, with the places in the requirements that it is about."""
        missing = failure.no_match(problem.output)
        if missing and not failure.is_conflict(problem.output):
            wanted = self._wanted(missing.name, str(missing.specifier), missing.other_python)
            return self._without_wheel({wanted: self._files(missing.name)})
        if asked := self._without_release(problem.output):
            return self._without_wheel(asked)
        if damaged := self._damaged(problem.output):
            return damaged
        error = failure.explain(problem.output)
        places = [
            one.place for one in self.requirements.requested if not one.constraint and _names(error.what, one)
        ]
        error.where = ", ".join(places) or None
        return error

    def _without_release(self, output: str) -> dict[NoMatch, list[str]]:
        """Returns what the requirements ask for of which no such release exists, with the files that do.

        uv says of that what it says of a contradiction; only what its words name is looked up.
        """
        if not failure.is_unsolvable(output):
            return {}
        try:
            found = {
                failure.NoMatch.of(one.name, [one.specifier]): self._files(one.name)
                for one in self.requirements.requested
                if one.name and one.specifier and _names(output, one)
            }
        except SlimpackError:  # pip, which lists the files, does not get at the indexes
            return {}
        return {one: files for one, files in found.items() if files and not one.exists(files)}

    def _build(self, source: Candidate, interpreter: Path) -> Candidate:
        self.progress(f"building {source.name} {source.version} from source")
        with fetch.workspace(self.store) as folder:
            try:
                wheel = pip.build(source, folder, self.inputs.indexes, interpreter=interpreter)
            except ToolFailedError as problem:
                raise ResolutionError(
                    f"{source.name} {source.version} has no wheel that fits, and building it from source failed",
                    where=self._where([source.name]),
                    fix="Build its wheel by hand, or with --debug to see all messages, and name its file in the "
                    "requirements; or require a release that has a wheel.",
                ) from problem
            sha256 = fetch.sha256_of(wheel)
            return replace(
                source, built=fetch.put(wheel, sha256, self.store).resolve(), hashes={"sha256": sha256}
            )

    def _hashed(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Returns candidates that all have a SHA-256.

        What has none that anybody told is downloaded for it; so is what has a secret in its URL, which is not in the
        lock and hence known only now.
        """
        own = [(one, one.built or local_path(one.link), one.hashes.get("sha256", "")) for one in candidates]
        found = {one.link: told or fetch.sha256_of(path) for one, path, told in own if path}
        wanted = {
            one.link: told
            for one, path, told in own
            if not path and (not told or redact.masked_url(one.link) != redact.public_url(one.link))
        }
        if wanted:
            found |= fetch.download(
                wanted, self.inputs.target, self.store, indexes=self.inputs.indexes, progress=self.progress
            )
        return [
            replace(one, hashes={"sha256": found[one.link]}) if one.link in found else one
            for one in candidates
        ]

    def _locked(self, chosen: Candidate) -> LockedWheel:
        fit = Fit.to(self.inputs.target, {*self._fit.trusted, *({chosen.filename} if chosen.built else ())})
        if fit.rank(chosen.filename) is None:
            raise self._without_wheel({failure.NoMatch.of(chosen.name): [chosen.filename]})
        path = chosen.built or local_path(chosen.link)
        asking = [one for one in self.requirements.requested if self._asks(one, chosen)]
        return LockedWheel(
            name=chosen.name,
            version=chosen.version,
            filename=chosen.filename,
            sha256=chosen.hashes["sha256"],
            size=chosen.size,
            url=None if path else redact.masked_url(chosen.link),
            path=str(path) if path else None,
            index=redact.public_url(chosen.index) if chosen.index else None,
            requires=(),
            requested=bool(asking),
            required_at=tuple(one.place for one in asking),
            extras=tuple(sorted(frozenset[str]().union(*(one.extras for one in asking)))),
        )

    def _asks(self, requested: Requested, chosen: Candidate) -> bool:
        if requested.constraint or not holds(requested.marker, markers(self.inputs.target)):
            return False
        if requested.name is None:
            return requested.link is not None and same_place(requested.link, chosen.link)
        return requested.name == chosen.name

    @property
    def _fit(self) -> Fit:
        named = (filename_of(one.link) for one in self.requirements.requested if one.link)
        return Fit.to(self.inputs.target, named)

    @property
    def _sources(self) -> tuple[str, ...]:
        """What the requirements ask to be built, by name or URL."""
        named = (one.name or redact.public_url(one.link or "") for one in self.requirements.sources)
        return (*named, *(f"--no-binary {one}" for one in self.inputs.indexes.values("no-binary")))

    def _where(self, names: Iterable[str]) -> str | None:
        """Returns the places that ask for distributions."""
        wanted = set(names)
        places = [
            one.place for one in self.requirements.requested if one.name in wanted and not one.constraint
        ]
        return ", ".join(places) or None

    def _without_wheel(self, files: Mapping[NoMatch, Sequence[str]]) -> ResolutionError:
        """Returns the error about all distributions that have no fitting wheel, with the files they have."""
        where = self._where(one.name for one in files)
        return failure.without_wheel(files, self.inputs.target, self._fit, where=where)

    def _files(self, name: str) -> list[str]:
        """Returns the names of the files that there are of a distribution; asks the indexes once."""
        if name not in self.listed:
            direct = [
                filename_of(one.link) for one in self.requirements.requested if one.name == name and one.link
            ]
            try:
                self.listed[name] = direct or pip.listed(name, self.inputs.indexes)
            except ToolFailedError as problem:
                raise failure.explain(problem.output) from problem
        return self.listed[name]

    def _cannot_build(self, files: Mapping[NoMatch, Sequence[str]]) -> ResolutionError:
        """Returns the error about all that would have to be built for a target that is not of this machine's kind."""
        told = self._without_wheel(files) if files else None
        if told and not self._sources:
            return told
        target = self.inputs.target
        what = (
            f"{', '.join(self._sources)} would have to be built for {target.runtime} on {target.architecture}"
        )
        return ResolutionError(
            f"{what}, and this machine cannot{f'; {told.what}' if told else ''}",
            where=", ".join(one.place for one in self.requirements.sources) or None,
            fix=f"Build the wheels on a machine like the target, or {self._missing_here()}, and try again.",
        )

    def _wanted(
        self, name: str, specifier: str = "", other_python: Iterable[tuple[str, str]] = ()
    ) -> NoMatch:
        own = (one.specifier for one in self.requirements.requested if one.name == name)
        return failure.NoMatch.of(name, (one for one in (*own, specifier) if one), other_python)

    def _nobody_resolves(self) -> ResolutionError:
        """Returns the error that says why pip will not do and uv is not there."""
        target = self.inputs.target
        if self.inputs.resolver == "uv":
            what = "uv is not installed"
        else:
            what = (
                f"pip cannot resolve for {target.runtime} on {target.architecture} here: it evaluates environment "
                "markers with the interpreter that runs it"
            )
        fix = "Install uv (pip install 'slimpack[uv]')"
        if self.inputs.resolver == "pip":
            fix = (
                "Leave --resolver out, so that uv resolves"
                if uv.find()
                else f"{fix} and leave --resolver out"
            )
        other = "leave --resolver out" if self.interpreter else self._missing_here()
        return ResolutionError(what, where="--resolver", fix=f"{fix}, or {other}.")

    def _missing_here(self) -> str:
        """Returns what would make this machine one that can build for the target."""
        target = self.inputs.target
        if not interpreters.is_host(target):
            return f"use a Linux machine with a processor of type {target.architecture}"
        return f"install Python {'.'.join(map(str, target.python))}"


def _names(words: str, requested: Requested) -> bool:
    """Returns whether words about a failure name a requirement: its distribution, or its URL."""
    parts = urlsplit(requested.link or "")
    place = f"{parts.netloc.rpartition('@')[2]}{parts.path.partition('@')[0]}"
    name = rf"(?<![\w-]){requested.name}(?!\w|-[a-z])"  # not a part of another one's
    by_name = requested.name and re.search(name, canonicalize_name(words))
    return bool(by_name or (place and place in words))

"""Installed: whose the files of a tree are and what needs what, as its dist-info folders tell. Pure.

Formats: RECORD and REQUESTED (PEP 376, PEP 627), METADATA (core metadata specification), WHEEL (PEP 427), and what
setuptools left beside packages before there were wheels (``installed-files.txt``, ``top_level.txt``).
"""

from __future__ import annotations

import csv
import email.parser
import posixpath
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidName, canonicalize_name

from slimpack import graph, paths
from slimpack.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

_FOLDER = re.compile(
    r"(?P<path>(?P<site>(?:[^/]+/)*)(?P<stem>[^/]+)\.(?:dist|egg)-info)(?:/(?P<file>[^/]+))?", re.IGNORECASE
)
"""A file in a dist-info or egg-info folder, or an egg-info that is a file itself."""

_BYTECODE = re.compile(r"(?P<folder>(?:[^/]+/)*)__pycache__/(?P<stem>[^/]+?)\.[^/.]+(?:\.opt-[^/.]+)?\.pyc")
"""A compiled module as PEP 3147 and PEP 488 have it."""

_EXTENSION = re.compile(r"\.cpython-3(?P<minor>[0-9]{1,2})t?-(?P<machine>x86_64|aarch64)-linux-gnu\.so$")
"""How names of extension modules end (PEP 3149)."""

_TAG = re.compile(r"(?P<python>[^-\s]+)-(?P<abi>[^-\s]+)-(?P<platform>[^-\s]+)")
"""A wheel tag (PEP 425)."""

_CPYTHON = re.compile(r"cp3(?P<minor>[0-9]{1,2})t?")
_MACHINE = re.compile(r".*_(?P<machine>x86_64|aarch64)")

_NAME = re.compile(r"\s*([A-Za-z0-9._-]+)")
_QUOTED = re.compile(r"""["']([^"']*)["']""")

_MOST_DISTRIBUTIONS = 5_000
"""In one tree; the largest environments have some hundreds."""

_MOST_REQUIREMENTS = 100_000
"""Requires-Dist entries that name what is in the tree; parsing one takes some 50 µs."""

_MOST_TEXT = 128 * 2**20
"""Bytes of metadata in one tree; some 100 for each file and 5,000 for each distribution are usual."""

_LONGEST_VERSION = 100
"""Characters of a version; the rest is left out."""

_HOSTILE = "Don't deploy this bundle before you know who made it: no installer writes such metadata."


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A distribution as a tree has it."""

    name: str
    """Canonical name (PEP 503)."""
    version: str
    """PEP 440 version, if its maker keeps to that; empty if nothing tells."""
    requires: tuple[str, ...]
    """Canonical names of what it needs of this tree, sorted."""
    requested: bool
    """Whether it is there for its own sake, as far as the tree tells."""


@dataclass(slots=True, kw_only=True)
class _Folder:
    """A dist-info or egg-info folder."""

    path: str
    """Place in the tree; of an egg-info that is a file its own."""
    site: str
    """Folder that it is in, with a slash at the end: where Python finds the modules. Empty for the root."""
    stem: str
    """Its name without the suffix."""
    files: set[str] = field(default_factory=set)
    """Names of the files in it; none for an egg-info that is a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """What a distribution says of itself."""

    name: str
    """Canonical name."""
    version: str
    """Its version."""
    requires: tuple[str, ...]
    """``Requires-Dist``, as it stands there."""
    marked: bool
    """Whether an installer has left a mark that the user asked for it (REQUESTED)."""


class Tree:
    """A tree of files, its metadata read."""

    def __init__(self, sizes: Mapping[str, int], read: Callable[[str], bytes], *, name: str) -> None:
        """Reads what the tree says of itself.

        Args:
            sizes: Bytes by path.
            read: Returns the content of a file; is asked for small ones.
            name: The tree's, for messages.

        Raises:
            BundleError: It says more than any installer writes, or asks too much of a reader.
        """
        self._sizes, self._read, self._name = sizes, read, name
        self._text = 0
        self._claims: dict[str, tuple[str, bool]] = {}
        self._tops: dict[str, str] = {}
        self._said: dict[str, _Said] = {}
        self._exact: dict[str, int] = {}
        self._copies: dict[str, list[str]] = {}
        self._pythons: set[int] = set()
        self._machines: set[str] = set()
        self._sources = {path: source for path in sizes if (source := source_of(path)) is not None}
        self._wanted = sizes.keys() | set(self._sources.values())
        folders = self._folders()
        if len(folders) > _MOST_DISTRIBUTIONS:
            raise self._refusal(f"has metadata of {len(folders):,} distributions, more than any real one")
        for folder in folders:
            self._take(folder)
        self._look_at_extensions()
        self.owners = {path: owner for path in sizes if (owner := self._owner(path)) is not None}
        """Canonical names by path, as far as a distribution claims it."""

    @property
    def copies(self) -> dict[str, tuple[str, ...]]:
        """Versions of distributions that are in it more than once, by canonical name."""
        return {name: tuple(versions) for name, versions in self._copies.items() if len(versions) > 1}

    @property
    def python(self) -> int | None:
        """Minor version of the CPython 3 that it is for; None if nothing tells, or not all agree."""
        return next(iter(self._pythons)) if len(self._pythons) == 1 else None

    @property
    def machine(self) -> str | None:
        """``x86_64`` or ``aarch64``; None if nothing tells, or not all agree."""
        return next(iter(self._machines)) if len(self._machines) == 1 else None

    def distributions(self, markers: Mapping[str, str]) -> tuple[Installed, ...]:
        """Returns the distributions, sorted by name.

        Args:
            markers: Values of marker variables where the tree runs (PEP 508).

        Raises:
            BundleError: They require more than any real ones.
        """
        requirements = self._requirements()
        marked = {said.name for said in self._said.values() if said.marked}
        needs = _Needs(requirements=requirements, markers=markers)
        if marked:  # then what nobody needs came with an extra that the user has asked for
            needs.explain(set(requirements) - marked, roots=marked)
        requested = graph.sources(needs.found, marked)
        return tuple(
            Installed(
                name=name,
                version=self._said[name].version,
                requires=tuple(sorted(needs.found[name])),
                requested=name in requested,
            )
            for name in sorted(self._said)
        )

    def _folders(self) -> list[_Folder]:
        """Returns the metadata folders, outer ones first."""
        folders: dict[str, _Folder] = {}
        for path in self._sizes:
            # a regular expression takes its time on a hundred thousand paths
            if "-info" in path[-300:].lower() and (found := _FOLDER.fullmatch(path)):
                folder = folders.setdefault(
                    found["path"], _Folder(path=found["path"], site=found["site"], stem=found["stem"])
                )
                if found["file"]:
                    folder.files.add(found["file"])
        return sorted(folders.values(), key=lambda one: (one.site.count("/"), one.path))

    def _take(self, folder: _Folder) -> None:
        """Notes what one distribution says of itself and claims."""
        inside = {f"{folder.path}/{file}" for file in folder.files} or {folder.path}
        if any(path in self._claims for path in inside):
            return  # a copy that another distribution carries within itself, as setuptools does
        said = self._identify(folder)
        if said is None:
            return
        for path in inside:
            self._claims[path] = (said.name, True)
        self._tops[folder.path] = said.name
        exact = 0
        if "RECORD" in folder.files:
            exact = self._take_record(folder, said.name)
        elif "installed-files.txt" in folder.files:
            for line in self._lines(f"{folder.path}/installed-files.txt"):
                self._claim(_normal(f"{folder.path}/{line}"), said.name, size=None)
        else:
            for top in self._top_level(folder, said.name):
                self._tops.setdefault(folder.site + top, said.name)
        self._copies.setdefault(said.name, []).append(said.version)
        if exact > self._exact.get(said.name, -1):  # an installer that did not clean up has left the others
            self._said[said.name], self._exact[said.name] = said, exact
        self._take_tags(folder)

    def _top_level(self, folder: _Folder, name: str) -> Iterable[str]:
        """Returns what a distribution brings that has no record of it: what it says, or what has its name."""
        if "top_level.txt" in folder.files:
            return self._lines(f"{folder.path}/top_level.txt")
        return {name.replace("-", "_"), folder.stem.partition("-")[0]}

    def _identify(self, folder: _Folder) -> _Said | None:
        """Returns what a distribution says of itself; None if that is not even a name."""
        file = next((name for name in ("METADATA", "PKG-INFO") if name in folder.files), None)
        text = "" if file is None else self._words(f"{folder.path}/{file}")
        if not folder.files:
            text = self._words(folder.path)
        headers = email.parser.HeaderParser().parsestr(text)
        stem_name, _, stem_version = folder.stem.partition("-")
        name = str(headers.get("Name", "") or stem_name).strip()
        version = str(headers.get("Version", "") or stem_version.partition("-py")[0]).strip()
        try:
            canonical = canonicalize_name(name, validate=True)
        except InvalidName:
            return None
        return _Said(
            name=canonical,
            version=version[:_LONGEST_VERSION],
            requires=tuple(str(one) for one in headers.get_all("Requires-Dist", ())),
            marked="REQUESTED" in folder.files,
        )

    def _take_record(self, folder: _Folder, owner: str) -> int:
        """Notes the files that RECORD names, and returns how many of them have the size that it tells.

        A line has path, hash and size; paths are relative to the folder that the dist-info folder is in.
        """
        exact = 0
        try:
            for row in csv.reader(self._words(f"{folder.path}/RECORD").split("\n")):
                if row and row[0]:
                    size = int(row[2]) if len(row) > 2 and re.fullmatch("[0-9]{1,18}", row[2]) else None  # noqa: PLR2004 -- path, hash, size
                    exact += self._claim_installed(folder.site, row[0], owner, size)
        except csv.Error as problem:
            raise self._refusal(f"{folder.path}/RECORD is no table ({problem})") from problem
        return exact

    def _claim_installed(self, site: str, path: str, owner: str, size: int | None) -> bool:
        """Notes a line of RECORD for the first place of those it may mean that there is a file in."""
        place = next((one for one in _places(site, path) if one in self._wanted), None)
        return place is not None and self._claim(place, owner, size)

    def _claim(self, path: str, owner: str, size: int | None) -> bool:
        """Notes whose a file is: the first who says so, unless only a later one tells the right size.

        Returns:
            Whether the size is right.
        """
        if path not in self._wanted:
            return False
        exact = size is not None and size == self._sizes.get(path)
        known = self._claims.get(path)
        if known is None or (exact and not known[1]):
            self._claims[path] = (owner, exact)
        return exact

    def _take_tags(self, folder: _Folder) -> None:
        """Notes what Python and which processor a wheel was made for."""
        if "WHEEL" not in folder.files:
            return
        headers = email.parser.HeaderParser().parsestr(self._words(f"{folder.path}/WHEEL"))
        for tag in headers.get_all("Tag", ()):
            if found := _TAG.fullmatch(str(tag).strip()):
                if python := _CPYTHON.fullmatch(found["abi"]):
                    self._pythons.add(int(python["minor"]))
                if machine := _MACHINE.fullmatch(found["platform"]):
                    self._machines.add(machine["machine"])

    def _look_at_extensions(self) -> None:
        """Lets extension modules tell what the tree is for, where no wheel does."""
        found = [one for path in self._sizes if path.endswith(".so") and (one := _EXTENSION.search(path))]
        self._pythons = self._pythons or {int(one["minor"]) for one in found}
        self._machines = self._machines or {one["machine"] for one in found}

    def _owner(self, path: str) -> str | None:
        """Returns who claims a file, bytecode with its source."""
        for place in filter(None, (path, self._sources.get(path))):
            if place in self._claims:
                return self._claims[place][0]
        return self._owner_of_top(path)

    def _owner_of_top(self, path: str) -> str | None:
        """Returns whose module or package at the top of a site a path is in."""
        place = self._sources.get(path, path)
        end = len(place)
        while end > 0:
            owner = self._tops.get(place[:end]) or self._tops.get(_module(place[:end]))
            if owner is not None:
                return owner
            end = place.rfind("/", 0, end)
        return None

    def _requirements(self) -> dict[str, list[Requirement]]:
        """Returns what each distribution requires of the others, markers not yet evaluated."""
        found: dict[str, list[Requirement]] = {}
        count = 0
        for name, said in self._said.items():
            found[name] = []
            for text in dict.fromkeys(said.requires):
                start = _NAME.match(text)
                if start is None or canonicalize_name(start[1]) not in self._said:
                    continue
                count += 1
                if count > _MOST_REQUIREMENTS:
                    raise self._refusal(f"has more than {_MOST_REQUIREMENTS:,} requirements of its own files")
                try:
                    found[name].append(Requirement(text))
                except (InvalidRequirement, RecursionError):
                    continue  # as installers pass over it
        return found

    def _lines(self, path: str) -> Iterator[str]:
        return filter(None, (line.strip() for line in self._words(path).splitlines()))

    def _words(self, path: str) -> str:
        """Returns a text; no honest tree has much of it."""
        self._text += self._sizes[path]
        if self._text > _MOST_TEXT:
            raise self._refusal(f"has more than {_MOST_TEXT:,} bytes of metadata")
        return self._read(path).decode("utf-8", "replace")

    def _refusal(self, what: str) -> BundleError:
        return BundleError(what, where=paths.shown(self._name), fix=_HOSTILE)


def source_of(path: str) -> str | None:
    """Returns the source of compiled bytecode; None for any other file."""
    if not path.endswith(".pyc"):
        return None
    found = _BYTECODE.fullmatch(path)
    # beside its source, as `compileall -b` puts it, it has its name (PEP 3147)
    return path[:-1] if found is None else f"{found['folder']}{found['stem']}.py"


class _Needs:
    """Which distributions need which, extras included as far as somebody asks for them."""

    def __init__(
        self, *, requirements: Mapping[str, Iterable[Requirement]], markers: Mapping[str, str]
    ) -> None:
        self._markers = markers
        self._requirements = {
            name: [(one, _mentioned(one)) for one in several] for name, several in requirements.items()
        }
        self._active: dict[str, set[str]] = {name: set() for name in requirements}
        self.found: dict[str, set[str]] = {name: set() for name in requirements}
        """Names of what is needed, by who needs it."""
        for name in requirements:
            self._activate(name, "")

    def explain(self, orphans: set[str], *, roots: set[str]) -> None:
        """Activates the extras that bring what nobody needs otherwise.

        Args:
            orphans: What must have come with something else.
            roots: What the user has asked for, perhaps with extras.
        """
        orphans = orphans.difference(*self.found.values())
        for name in sorted(roots):
            mentioned = {extra for _, several in self._requirements[name] for extra in several}
            for extra in sorted(mentioned - self._active[name]):
                brings = {
                    canonicalize_name(one.name)
                    for one, several in self._requirements[name]
                    if extra in several and self._holds(one, extra) and not self._holds(one, "")
                }
                if brings & orphans:
                    self._activate(name, extra)

    def _activate(self, name: str, extra: str) -> None:
        waiting = [(name, extra)]
        while waiting:
            name, extra = waiting.pop()
            if extra in self._active[name]:
                continue
            self._active[name].add(extra)
            for one, mentioned in self._requirements[name]:
                if (extra and extra not in mentioned) or not self._holds(one, extra):
                    continue
                other = canonicalize_name(one.name)
                if other != name:
                    self.found[name].add(other)
                waiting += ((other, canonicalize_name(asked)) for asked in one.extras)

    def _holds(self, one: Requirement, extra: str) -> bool:
        return one.marker is None or one.marker.evaluate({**self._markers, "extra": extra})


def _mentioned(one: Requirement) -> frozenset[str]:
    """Returns the extras that a marker may speak of: for any other it is as true as for none."""
    text = str(one.marker or "")
    return frozenset(map(canonicalize_name, _QUOTED.findall(text))) if "extra" in text else frozenset()


def _places(site: str, path: str) -> Iterator[str]:
    """Yields the places that a line of RECORD may mean, the one that it should mean first.

    ``pip install --target`` moves folders about and leaves RECORD as it was: ``../../bin/run`` is ``bin/run``.
    Who merely unpacks a wheel may leave the folders of its ``.data`` where they were, or not (PEP 427).
    """
    place = _normal(site + path)
    yield place
    parts = path.split("/")
    while parts and parts[0] == "..":
        parts = parts[1:]
    yield site + "/".join(parts)
    top, _, below = path.partition("/")
    if top.endswith(".data"):
        kind, _, rest = below.partition("/")
        yield site + ("bin/" if kind == "scripts" else "") + rest


def _normal(path: str) -> str:
    return posixpath.normpath(path)


def _module(path: str) -> str:
    """Returns the path of a module without what tells its kind: ``six`` for ``six.py``."""
    folder, _, name = path.rpartition("/")
    stem = name.partition(".")[0]
    return f"{folder}/{stem}" if folder else stem

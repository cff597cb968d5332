"""Closure: whether everything that the bundle's ELF files need is in the bundle or in the target's base system.

The rules are those of ``ld.so(8)`` and of glibc's ``elf/dl-load.c`` and ``elf/dl-version.c``. Nothing is loaded,
so a bundle for another processor is checked as well as one for this machine.
"""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from slimpack import findings
from slimpack.model import Addition, ElfFacts, Finding, Target

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from slimpack.model import SymbolVersion

_INTERPRETERS = {"x86_64": "/lib64/ld-linux-x86-64.so.2", "aarch64": "/lib/ld-linux-aarch64.so.1"}
"""The program loader of each machine (its psABI)."""

_MANGLED = re.compile(r"(?P<stem>.+?)(-[0-9a-f]{8})+(?P<rest>\.so(\..+)?)")
"""How auditwheel names its copies: ``libgomp-a34b3233.so.1.0.0``."""

_ORIGIN = re.compile(r"\$(ORIGIN|\{ORIGIN\})(?=/|$)")
"""The folder of the file itself; what does not begin with it leads out of the bundle."""

_NOT_PRELOADED = re.compile(r"lib(atomic|gcc_s|gfortran|gomp|quadmath|slimpager|stdc\+\+)\.so\.\d+")
"""What wheels expect of a system with a compiler, and the pager: no package loads these on behalf of another one."""

_EXTENSION_MODULE = re.compile(r"(?P<module>[^.]+)\.(cpython-\w+-[\w-]+|abi3(-[\w-]+)?)\.so")
"""File names that Python imports: ``EXT_SUFFIX`` of PEP 3149 or the stable ABI."""

_MACHINE_WORD = re.compile(
    r"(x86|i[3-6]86|amd64|x64|aarch64|arm64|armv\d|ppc64|s390|riscv|loongarch)", re.IGNORECASE
)
"""In the name of a file that is for one machine by intent."""

_VERSION = re.compile(r"(?P<family>GLIBC|GLIBCXX|CXXABI|GCC)_(?P<number>\d+(\.\d+)*)")
_ABI_MARKER = "GLIBC_ABI_"
"""Begins names such as ``GLIBC_ABI_DT_RELR`` that mark what a loader must understand."""
_ABI_MARKERS_SINCE = (2, 36)
"""The glibc that introduced the first of them."""

_FIXES = {
    "libgomp.so.1": "Require a wheel that carries it, such as scikit-learn, "
    "or put the library into lib/ of the source folder.",
    "libGL.so.1": "Take the package's variant without a display, such as opencv-python-headless.",
    "libslimpager.so.1": "Please report it with the manifest; --pack never until then.",
}
"""What helps with libraries that people often miss."""

_NAMED = 3
"""How many of those who need something a message names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Closure:
    """What the bundle lacks."""

    findings: tuple[Finding, ...]
    """What is wrong or worth knowing, sorted."""
    repairs: tuple[Addition, ...]
    """Copies that make libraries found which the bundle has under another name, sorted by path."""


def check(
    facts: Iterable[ElfFacts],
    target: Target,
    *,
    files: Collection[str],
    optional: Mapping[str, Collection[str]],
    added: Mapping[str, ElfFacts] = MappingProxyType({}),
) -> Closure:
    """Looks up everything that a bundle's ELF files need, as the target's loader would.

    A library that lies where the loader does not look counts as found if the package that needs it carries it
    itself, or if another one does under that very name: Python packages load such libraries by path before
    they are needed.

    Args:
        facts: Of all ELF files of the bundle.
        target: Where it will run.
        files: Paths of all files in the installed tree.
        optional: By path of an ELF file, the NEEDED names that its package can do without.
        added: By place in the archive, ELF files that slimpack has put there: no package knows of them, so they are
            found only where the loader looks.
    """
    bundle = _bundle(facts, target, files, added)
    lookup = _look_up(bundle, optional)
    found = [*lookup.findings, *_versions(bundle), *_interpreters(bundle)]
    blamed = {one.place for one in found}
    found += (one for one in _foreign(bundle) if one.place not in blamed)
    return Closure(
        findings=tuple(sorted(found, key=lambda one: (one.code, one.place, one.message))),
        repairs=lookup.repairs,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bundle:
    """The bundle's dynamically loadable ELF files, by path in the archive."""

    target: Target
    """Where it will run."""
    files: frozenset[str]
    """Paths of all its files in the archive, without those for other machines."""
    native: Mapping[str, ElfFacts]
    """What the target's loader can load, sorted by path."""
    foreign: Mapping[str, ElfFacts]
    """What is for other machines, sorted by path."""
    named: Mapping[str, Sequence[str]]
    """Paths of native files by SONAME and by file name."""
    added: Mapping[str, ElfFacts]
    """What slimpack has put there, sorted by path."""


def _bundle(
    facts: Iterable[ElfFacts], target: Target, files: Collection[str], added: Mapping[str, ElfFacts]
) -> _Bundle:
    native, foreign = {}, {}
    named = defaultdict(list)
    for one in sorted(facts, key=lambda one: one.path):
        path = target.prefix + one.path
        if one.type not in ("EXEC", "DYN"):
            continue
        if one.machine != target.machine:
            foreign[path] = one
            continue
        native[path] = one
        for name in {one.soname or "", posixpath.basename(path)}:
            named[name].append(path)
    return _Bundle(
        target=target,
        files=(frozenset(target.prefix + path for path in files) - foreign.keys()) | added.keys(),
        native=native,
        foreign=foreign,
        named=named,
        added=dict(sorted(added.items())),
    )


def _look_up(bundle: _Bundle, optional: Mapping[str, Collection[str]]) -> Closure:
    """Looks up every NEEDED name, and again those of the copies that this makes necessary."""
    lost: dict[str, list[str]] = defaultdict(list)
    dispensable: dict[str, list[str]] = defaultdict(list)
    repairs: dict[str, Addition] = {}
    needers: Mapping[str, ElfFacts] = {**bundle.native, **bundle.added}
    while needers:
        unfound: dict[str, list[ElfFacts]] = defaultdict(list)
        for path, needer in needers.items():
            for name in needer.needed:
                if name in repairs or _is_found(bundle, name, needer, path):
                    continue
                if name in optional.get(needer.path, ()):
                    dispensable[name].append(needer.path)
                else:
                    unfound[name].append(needer)
        needers = {}
        for name, those in sorted(unfound.items()):
            names = [one.path for one in those]
            original = _copied_from(bundle, name, those)
            if original is None or not bundle.target.library_path:
                lost[name] += names
                continue
            repairs[name] = repair = Addition(
                path=posixpath.join(bundle.target.library_path[-1], name),
                rule=f"repair/{name}",
                reason=f"{bundle.target.system} has no {name}, and the loader would not find the bundle's own; "
                f"needed by {_list(names)}",
                copy_of=original.path,
                absolute=True,
            )
            needers[repair.path] = replace(original, path=repair.path)
    return Closure(
        findings=(*_lost(bundle, lost), *_dispensable(dispensable)),
        repairs=tuple(sorted(repairs.values(), key=lambda one: one.path)),
    )


def _is_found(bundle: _Bundle, name: str, needer: ElfFacts, path: str) -> bool:
    """Whether the loader finds a library, or will have it loaded by then."""
    if name in bundle.target.libraries:
        return True
    folders = (*search_folders(needer, path), *bundle.target.library_path)
    if any(posixpath.join(folder, name) in bundle.files for folder in folders):
        return True
    if path not in bundle.native:  # a copy of ours, of which no package knows
        return False
    elsewhere = bundle.named.get(name, ())
    if _NOT_PRELOADED.fullmatch(name):
        elsewhere = [one for one in elsewhere if _package(bundle.native[one]) == _package(needer)]
    return bool(elsewhere)


def search_folders(facts: ElfFacts, path: str) -> Iterator[str]:
    """Yields the folders of the archive that a file's RUNPATH or RPATH names."""
    here = posixpath.dirname(path) or "."
    for entry in facts.search_path:
        if not (origin := _ORIGIN.match(entry)):
            continue
        folder = posixpath.normpath(here + entry[origin.end() :])
        if folder.partition("/")[0] != "..":
            yield "" if folder == "." else folder


def _package(facts: ElfFacts) -> str:
    """Returns the top folder of a file, which is the same for a package and what auditwheel puts beside it."""
    return facts.path.partition("/")[0].removesuffix(".libs")


def _copied_from(bundle: _Bundle, name: str, needers: Sequence[ElfFacts]) -> ElfFacts | None:
    """Returns the file of the bundle that is a library under another name, or in a place of its own."""
    versions = {one.version for needer in needers for one in needer.versions if one.library == name}
    candidates = [
        one
        for path, one in bundle.native.items()
        if (path in bundle.named.get(name, ()) or _is_mangled(posixpath.basename(path), name))
        and versions <= set(one.provides)
    ]
    return max(candidates, key=lambda one: (len(one.provides), _numbers(one.path)), default=None)


def _is_mangled(file: str, name: str) -> bool:
    """Whether a file name is auditwheel's for a library: the same name, and at least its version."""
    match = _MANGLED.fullmatch(file)
    if match is None:
        return False
    original = match["stem"] + match["rest"]
    return original == name or (not name.endswith(".so") and original.startswith(f"{name}."))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text))


def _lost(bundle: _Bundle, lost: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    foreign = {
        name: path
        for path, one in bundle.foreign.items()
        for name in (one.soname, posixpath.basename(path))
        if name
    }
    for name, needers in lost.items():
        if name in foreign:
            one = bundle.foreign[foreign[name]]
            yield findings.WRONG_ARCHITECTURE.at(
                one.path,
                f"this {name} is for {one.machine}, not for {bundle.target.machine}; "
                f"needed by {_list(needers)}",
            )
        else:
            misplaced = [path for path in bundle.added if posixpath.basename(path) == name]
            where = f"is neither in the bundle nor in {bundle.target.system}"
            if misplaced:
                where = f"is in the bundle as {misplaced[0]}, where the loader does not look"
            yield findings.MISSING_LIBRARY.at(
                needers[0],
                f"{name} {where}; needed by {_list(needers)}",
                fix=_FIXES.get(name),
            )


def _dispensable(dispensable: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    for name, needers in dispensable.items():
        yield findings.OPTIONAL_LIBRARY.at(
            needers[0], f"{name} is not in the bundle; of use to, but not needed by {_list(needers)}"
        )


def _versions(bundle: _Bundle) -> Iterator[Finding]:
    """Compares the symbol versions that base-system libraries have to provide with those they do."""
    above: dict[tuple[str, str], list[tuple[tuple[int, ...], str, ElfFacts]]] = defaultdict(list)
    for path, facts in (*bundle.native.items(), *bundle.added.items()):
        for version in facts.versions:
            if version.library not in bundle.target.libraries:
                continue
            ceiling = _ceiling(bundle.target, version)
            if ceiling is None or ceiling.needed <= ceiling.provided:
                continue
            if not _brings_its_own(bundle, version, facts, path):
                above[version.library, ceiling.family].append((ceiling.needed, version.version, facts))
    for (library, _), those in above.items():
        _, newest, _ = max(those, key=lambda one: one[0])
        needers = list(dict.fromkeys(facts.path for _, _, facts in those))
        yield findings.VERSION_ABOVE_CEILING.at(
            needers[0],
            f"{library} of {bundle.target.system} is too old to have {newest}; needed by {_list(needers)}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ceiling:
    """A symbol version compared with what the base system has."""

    family: str
    """Such as ``GLIBC``."""
    needed: tuple[int, ...]
    """Its number."""
    provided: tuple[int, ...]
    """The newest number of its family in the base system."""


def _ceiling(target: Target, version: SymbolVersion) -> _Ceiling | None:
    """Returns how a version compares; None for what has no order, such as ``GLIBC_PRIVATE``."""
    if version.version.startswith(_ABI_MARKER):
        return _Ceiling(family=version.version, needed=_ABI_MARKERS_SINCE, provided=target.glibc)
    match = _VERSION.fullmatch(version.version)
    if match is None:
        return None
    family, needed = match["family"], _numbers(match["number"])
    if family == "GLIBC":
        return _Ceiling(family=family, needed=needed, provided=target.glibc)
    if family in target.versions:
        return _Ceiling(family=family, needed=needed, provided=_numbers(target.versions[family]))
    return None


def _brings_its_own(bundle: _Bundle, version: SymbolVersion, needer: ElfFacts, path: str) -> bool:
    """Whether the bundle's own copy of a base-system library comes first and has the version.

    ``LD_LIBRARY_PATH`` names the base system's folders before the bundle's, and RUNPATH comes after both: only
    RPATH comes first.
    """
    if not needer.search_path_first:
        return False
    for folder in search_folders(needer, path):
        if own := bundle.native.get(posixpath.join(folder, version.library)):
            return version.version in own.provides
    return False


def _interpreters(bundle: _Bundle) -> Iterator[Finding]:
    expected = _INTERPRETERS[bundle.target.machine]
    for facts in bundle.native.values():
        if facts.interpreter not in (None, expected):
            yield findings.MISSING_LIBRARY.at(
                facts.path,
                f"it is to be started by {facts.interpreter}, which {bundle.target.system} does not have",
                fix="Take a release that was built for glibc.",
            )


def _foreign(bundle: _Bundle) -> Iterator[Finding]:
    for path, facts in bundle.foreign.items():
        if _is_imported(bundle, path):
            yield findings.WRONG_ARCHITECTURE.at(
                facts.path,
                f"this extension module is for {facts.machine}, not for {bundle.target.machine}",
            )
        else:
            yield findings.FOREIGN_ELF.at(
                facts.path, f"it is for {facts.machine}, not for {bundle.target.machine}"
            )


def _is_imported(bundle: _Bundle, path: str) -> bool:
    """Whether Python would import a foreign file, and finds no other one for the module."""
    folder, file = posixpath.split(path)
    if match := _EXTENSION_MODULE.fullmatch(file):
        start = posixpath.join(folder, match["module"]) + "."
        return not any(other.startswith(start) for other in bundle.native)
    module, _, suffix = file.rpartition(".")
    return (
        suffix == "so"
        and module.isidentifier()
        and not _MACHINE_WORD.search(module)
        and posixpath.join(folder, "__init__.py") in bundle.files
    )


def _list(paths: Sequence[str]) -> str:
    """Returns the first few paths and how many more there are."""
    if len(paths) <= _NAMED:
        return ", ".join(paths)
    return f"{', '.join(paths[:_NAMED])} and {len(paths) - _NAMED} more"

"""The guard: overrules rules that would remove what kept code needs. Pure."""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from slimpack import findings
from slimpack.model import APP, Need, Overruled, Reference
from slimpack.plan import COLD, REMOVE
from slimpack.references import BELOW, Needles, module_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from slimpack.model import Decision, Finding, Plan
    from slimpack.rules import RuleBook

_DIST_INFO = re.compile(r"(?P<name>[^/]+?)-[^/-]+\.dist-info/(?P<file>[^/]+)")

_PLACEHOLDER = re.compile(r"^(?:(?:%s|\{[^}/]*\}|\.{0,2})/)+")
"""What stands before a relative path: ``%s/``, ``{}/``, ``./``, ``../``, ``/``."""

_READ_WITH_RECORD = ("RECORD", "top_level.txt")
"""What ``importlib.metadata`` reads to tell which files and modules a distribution has."""

_COMMANDS = ("console_scripts", "gui_scripts")
"""Groups that who packs or installs programs names. A distribution that is dropped takes its own along."""

_IMPORTS = {Need.IMPORT, Need.LAZY_IMPORT, Need.EXPORT}
"""Needs that an import fulfils, sooner or later."""


def needles(plan: Plan) -> Needles:
    """Returns what to look for in kept files: the names of what the plan removes.

    Args:
        plan: As proposed.
    """
    kept_folders: set[str] = set()
    kept_modules: set[str] = set()
    for decision in plan.decisions:
        if decision.keep:
            path = decision.file.path
            kept_modules.add(module_name(path) or "")
            while "/" in path and (path := path.rpartition("/")[0]) not in kept_folders:
                kept_folders.add(path)
    kept_modules |= {folder.replace("/", ".") for folder in kept_folders}
    words: set[str] = set()
    modules: set[str] = set()
    names: set[str] = set()
    folders: set[str] = set()
    gone: set[str] = set()
    for decision in plan.decisions:
        path = decision.file.path
        if decision.keep:
            continue
        gone.add(path)
        module = module_name(path)
        if module is None or path.endswith(".so"):
            names.add(path.rpartition("/")[2])
            folders.add(path.partition("/")[0])
        if module is not None:
            modules.add(module)
            words.add(_topmost_removed(module, kept_modules))
    groups = {one.group for one in plan.entry_points if one.path in gone} - {*_COMMANDS, ""}
    return Needles(
        words=_encoded(words),
        modules=_encoded(modules),
        names=_encoded(names),
        folders=_encoded(folder for folder in folders if folder.isidentifier()),
        groups=_encoded(groups),
    )


def _encoded(texts: Iterable[str]) -> frozenset[bytes]:
    return frozenset(text.encode() for text in texts)


def _topmost_removed(module: str, kept: set[str]) -> str:
    """Returns the last part of the shortest prefix of a module that nothing kept lies below."""
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        if ".".join(parts[:count]) not in kept:
            return parts[count - 1]
    return parts[-1]


def overrule(
    plan: Plan,
    references: Iterable[Reference],
    book: RuleBook,
    *,
    folders: Mapping[str, Sequence[str]] | None = None,
) -> Plan:
    """Returns the plan with everything kept that the references need.

    What comes back may need more; the caller reads it and calls again until the plan no longer changes.

    Args:
        plan: As proposed, or as an earlier round left it.
        references: What kept files refer to.
        book: The rules.
        folders: By path of an ELF file, the folders of the installed tree that its RUNPATH or RPATH names.
    """
    references = tuple(references)
    while True:
        after = _overruled(plan, references, book, folders or {})
        if after.decisions == plan.decisions:
            return after
        # An entry point may have come back, or what a rule tolerated in code that it did not speak of.
        plan = after


def _overruled(
    plan: Plan, references: Iterable[Reference], book: RuleBook, folders: Mapping[str, Sequence[str]]
) -> Plan:
    removed = _Removed(plan, folders)
    by_path = {decision.file.path: decision for decision in plan.decisions}
    stubs = {reference.target for reference in references if reference.need is Need.STUB}
    restored: dict[str, Overruled] = {}
    problems: dict[str, Finding] = {}
    for reference in (*references, *_registered(plan, by_path)):
        if reference.path.endswith(".pyi") and reference.path not in stubs:
            continue
        needer = by_path.get(reference.path)
        for decision in removed.needed_by(reference, owner=needer.file.owner if needer else APP):
            path = decision.file.path
            if path in restored:
                continue
            if decision.rule == REMOVE:
                if reference.need in {Need.IMPORT, Need.LIBRARY, Need.EXPORT}:
                    problems.setdefault(
                        path,
                        findings.REMOVED_BUT_NEEDED.at(
                            path, f"removed by the configuration, needed by {reference}"
                        ),
                    )
            elif not _tolerated(reference, decision, book, needer):
                for each in removed.together_with(decision, reference.need, book):
                    restored.setdefault(each.file.path, Overruled(rule=str(each.rule), by=reference))
    known = {finding.place for finding in plan.findings if finding.code == findings.REMOVED_BUT_NEEDED.code}
    return replace(
        plan,
        decisions=tuple(
            replace(decision, keep=True, overruled=restored[decision.file.path])
            if decision.file.path in restored
            else decision
            for decision in plan.decisions
        ),
        findings=(*plan.findings, *(problems[path] for path in sorted(problems) if path not in known)),
    )


def _registered(plan: Plan, by_path: Mapping[str, Decision]) -> Iterator[Reference]:
    """Yields the modules that entry points name whose file is kept: any code may load them."""
    for point in plan.entry_points:
        if point.path in by_path and by_path[point.path].keep:
            yield Reference(need=Need.ENTRY_POINT, path=point.path, line=point.line, target=point.module)


def fallen(plan: Plan, book: RuleBook) -> dict[str, Overruled]:
    """Returns the distributions that a rule would drop whole and that kept code needs, with what needs them.

    Args:
        plan: As the guard left it.
        book: The rules.
    """
    return {
        decision.file.owner: decision.overruled
        for decision in reversed(plan.decisions)
        if decision.overruled is not None
        and book.by_id[decision.overruled.rule].whole
        and decision.overruled.by.need is not Need.METADATA
    }


def standing(plan: Plan, needed: Mapping[str, Overruled], earlier: Plan) -> Plan:
    """Returns a plan that was proposed without dropping some distributions whole, with the reason noted.

    Args:
        plan: As proposed.
        needed: What ``fallen`` told.
        earlier: The plan before. What came back there stays, unless it only did with its whole distribution.
    """
    back = {
        decision.file.path: decision.overruled
        for decision in earlier.decisions
        if decision.keep and decision.overruled is not None and decision.file.owner not in needed
    }

    def noted(decision: Decision) -> Decision:
        if decision.keep and decision.file.owner in needed and decision.rule is None:
            return replace(decision, overruled=needed[decision.file.owner])
        if not decision.keep and decision.file.path in back:
            return replace(decision, keep=True, overruled=back[decision.file.path])
        return decision

    return replace(plan, decisions=tuple(noted(decision) for decision in plan.decisions))


def _tolerated(reference: Reference, decision: Decision, book: RuleBook, needer: Decision | None) -> bool:
    """Returns whether a rule answers for a need: its reason says why the packages it knows can do without.

    It does not speak of what it wanted gone itself: code that came back needs all that it names. Where a
    profile is the reason, runs did without, whoever names it.
    """
    rule = book.by_id[str(decision.rule)]
    if rule.provided and reference.need in {*_IMPORTS, Need.METADATA, Need.ENTRY_POINT}:
        return True
    if reference.need not in rule.tolerates:
        return False
    if needer is None or (needer.overruled is not None and needer.overruled.rule == rule.id):
        return False
    if rule.id == COLD:
        return True
    # Who loads an entry point is not known, so it does not matter who registers it.
    registered = reference.need is Need.ENTRY_POINT and not reference.target.startswith("[")
    return registered or needer.file.owner in {decision.file.owner, *rule.required_by}


@dataclass(frozen=True, slots=True)
class _Names:
    modules: Mapping[str, list[Decision]]
    names: Mapping[str, list[Decision]]
    metadata: Mapping[str, list[Decision]]
    owners: Mapping[str, list[Decision]]


class _Removed:
    """What a plan removes, by the names under which code can ask for it."""

    def __init__(self, plan: Plan, folders: Mapping[str, Sequence[str]]) -> None:
        modules: dict[str, list[Decision]] = defaultdict(list)
        names: dict[str, list[Decision]] = defaultdict(list)
        metadata: dict[str, list[Decision]] = defaultdict(list)
        owners: dict[str, list[Decision]] = defaultdict(list)
        self._folders = folders
        self._kept_by_name: dict[str, list[Decision]] = defaultdict(list)
        self._kept_paths: set[str] = set()
        self._present: set[str] = set()
        for decision in plan.decisions:
            path = decision.file.path
            name = path.rpartition("/")[2]
            if decision.keep:
                self._kept_by_name[name].append(decision)
                self._kept_paths.add(path)
                self._present.add(decision.file.owner)
                continue
            module = module_name(path)
            if module is not None:
                modules[module].append(decision)
                parent = module.rpartition(".")[0]
                if not path.endswith("/__init__.py") and parent:
                    # A folder without __init__.py is a package too: importing it needs one of its modules.
                    modules[f"{parent}:"].append(decision)
            if module is None or path.endswith(".so"):
                names[name].append(decision)
            found = _DIST_INFO.fullmatch(path)
            if found:
                metadata[canonicalize_name(found["name"])].append(decision)
            owners[decision.file.owner].append(decision)
        self._groups: dict[str, list[str]] = defaultdict(list)
        for point in plan.entry_points:
            if point.path not in self._kept_paths:
                self._groups[f"[{point.group}]"].append(point.path)
        self._by = _Names(modules=modules, names=names, metadata=metadata, owners=owners)

    def needed_by(self, reference: Reference, *, owner: str) -> Iterator[Decision]:
        """Yields the removed files that a reference names.

        Args:
            reference: What a kept file refers to.
            owner: The distribution of that file.
        """
        match reference.need:
            case Need.IMPORT | Need.LAZY_IMPORT | Need.EXPORT:
                yield from self._modules(reference.target)
            case Need.ENTRY_POINT if reference.target in self._groups:
                for path in self._groups[reference.target]:
                    yield from self._at(path)
            case Need.ENTRY_POINT:
                yield from self._modules(reference.target)
            case Need.LIBRARY:
                yield from self._libraries(reference.target, self._folders.get(reference.path, ()), owner)
            case Need.STUB:
                yield from self._at(reference.target)
            case Need.METADATA:
                yield from self._metadata(reference.target)
            case Need.MENTION:
                yield from self._mentioned(reference.target, owner)

    def together_with(self, decision: Decision, need: Need, book: RuleBook) -> Iterable[Decision]:
        """Returns what has to come back with a file: its whole distribution if that went as a whole."""
        if book.by_id[str(decision.rule)].whole and need is not Need.METADATA:
            return [one for one in self._by.owners[decision.file.owner] if one.rule == decision.rule]
        return [decision]

    def _modules(self, target: str) -> Iterator[Decision]:
        """Yields the files of a module and of the packages around it."""
        parts = target.split(".")
        for count in range(1, len(parts) + 1):
            name = ".".join(parts[:count])
            if name in self._by.modules:
                yield from self._by.modules[name]
            elif count == len(parts) and f"{name.replace('.', '/')}/__init__.py" not in self._kept_paths:
                yield from self._by.modules[f"{name}:"]

    def _metadata(self, target: str) -> Iterator[Decision]:
        """Yields the dist-info files that answer a question about one distribution, or about all (``*``).

        Who asks about all does not miss a distribution that is not there; half of one would mislead it.
        """
        name, _, kind = target.rpartition(":")
        wanted = {"RECORD": _READ_WITH_RECORD, "entry_points.txt": ("METADATA", kind)}.get(kind, (kind,))
        if name != "*":
            group = self._by.metadata.get(canonicalize_name(name), [])
        else:
            group = [
                one for some in self._by.metadata.values() for one in some if one.file.owner in self._present
            ]
        yield from (one for one in group if one.file.path.rpartition("/")[2] in wanted)

    def _at(self, path: str) -> Iterator[Decision]:
        """Yields the file in a place, if it is one that is no module."""
        return (one for one in self._by.names.get(path.rpartition("/")[2], ()) if one.file.path == path)

    def _libraries(self, name: str, folders: Sequence[str], owner: str) -> Iterable[Decision]:
        """Returns the file that the loader finds first, or those that a package may have loaded before."""
        for folder in folders:
            path = posixpath.join(folder, name)
            if path in self._kept_paths:
                return ()
            if found := list(self._at(path)):
                return found
        if name in self._kept_by_name:
            return ()
        candidates = self._by.names.get(name, [])
        return [one for one in candidates if one.file.owner == owner] or candidates

    def _mentioned(self, text: str, owner: str) -> Iterator[Decision]:
        """Yields the files that a string can mean, unless its distribution keeps one that it means as well.

        ``package/**/name`` stands for a name in code that knows the package of another distribution: there it has to
        be the only one of that name, for that is weaker than a path that begins with the package.
        """
        folder, below, name_there = text.partition(BELOW)
        tail = _PLACEHOLDER.sub("", name_there if below else text)
        name = tail.rpartition("/")[2]
        if any(one.file.owner == owner and _ends(one, tail) for one in self._kept_by_name.get(name, ())):
            return
        candidates = [one for one in self._by.names.get(name, ()) if _ends(one, tail)]
        if below:
            kept = (one for one in self._kept_by_name.get(name, ()) if _ends(one, tail))
            there = [one for one in (*candidates, *kept) if one.file.path.startswith(f"{folder}/")]
            if len(there) == 1:
                yield from (one for one in there if not one.keep)
            return
        for one in candidates:
            own = one.file.owner == owner or (owner == APP and "/" in tail)
            if own or one.file.path == tail:
                yield one


def _ends(decision: Decision, tail: str) -> bool:
    """Returns whether a file has a path that ends with some whole parts."""
    return f"/{decision.file.path}".endswith(f"/{tail}")

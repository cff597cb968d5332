"""The guard: overrules rules that would remove what kept code needs. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from slimpack import findings
from slimpack.model import APP, Need, Overruled
from slimpack.plan import REMOVE
from slimpack.references import Needles, module_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from slimpack.model import Decision, Finding, Plan, Reference
    from slimpack.rules import RuleBook

_DIST_INFO = re.compile(r"(?P<name>[^/]+?)-[^/-]+\.dist-info/(?P<file>[^/]+)")

_PLACEHOLDER = re.compile(r"^(?:(?:%s|\{[^}/]*\}|\.{0,2})/)+")
"""What stands before a relative path: ``%s/``, ``{}/``, ``./``, ``../``, ``/``."""

_READ_WITH_RECORD = ("RECORD", "top_level.txt")
"""What ``importlib.metadata`` reads to tell which files and modules a distribution has."""


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
    words: set[bytes] = set()
    names: set[bytes] = set()
    for decision in plan.decisions:
        if decision.keep:
            continue
        module = module_name(decision.file.path)
        if module is None or decision.file.path.endswith(".so"):
            names.add(decision.file.path.rpartition("/")[2].encode())
        if module is not None:
            words.add(_topmost_removed(module, kept_modules).encode())
    return Needles(words=frozenset(words), names=frozenset(names))


def _topmost_removed(module: str, kept: set[str]) -> str:
    """Returns the last part of the shortest prefix of a module that nothing kept lies below."""
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        if ".".join(parts[:count]) not in kept:
            return parts[count - 1]
    return parts[-1]


def overrule(plan: Plan, references: Iterable[Reference], book: RuleBook) -> Plan:
    """Returns the plan with everything kept that the references need.

    What comes back may need more; the caller reads it and calls again until the plan no longer changes.

    Args:
        plan: As proposed, or as an earlier round left it.
        references: What kept files refer to.
        book: The rules.
    """
    removed = _Removed(plan)
    owners = {decision.file.path: decision.file.owner for decision in plan.decisions}
    restored: dict[str, Overruled] = {}
    problems: dict[str, Finding] = {}
    for reference in references:
        for decision in removed.needed_by(reference, owner=owners.get(reference.path, APP)):
            path = decision.file.path
            if path in restored:
                continue
            if decision.rule == REMOVE:
                if reference.need in {Need.IMPORT, Need.LIBRARY}:
                    problems.setdefault(
                        path,
                        findings.REMOVED_BUT_NEEDED.at(
                            path, f"removed by the configuration, needed by {reference}"
                        ),
                    )
            elif not _tolerated(reference, decision, book, owners):
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


def standing(plan: Plan, needed: Mapping[str, Overruled]) -> Plan:
    """Returns a plan that was proposed without dropping some distributions whole, with the reason noted.

    Args:
        plan: As proposed.
        needed: What ``fallen`` told.
    """
    return replace(
        plan,
        decisions=tuple(
            replace(decision, overruled=needed[decision.file.owner])
            if decision.keep and decision.file.owner in needed and decision.rule is None
            else decision
            for decision in plan.decisions
        ),
    )


def _tolerated(reference: Reference, decision: Decision, book: RuleBook, owners: Mapping[str, str]) -> bool:
    """Returns whether a rule answers for a need: its reason says why the packages it knows can do without."""
    rule = book.by_id[str(decision.rule)]
    if rule.provided and reference.need in {Need.IMPORT, Need.LAZY_IMPORT, Need.METADATA}:
        return True
    known = {decision.file.owner, *rule.required_by}
    return reference.need in rule.tolerates and owners.get(reference.path, APP) in known


@dataclass(frozen=True, slots=True)
class _Names:
    modules: Mapping[str, list[Decision]]
    names: Mapping[str, list[Decision]]
    metadata: Mapping[str, list[Decision]]
    owners: Mapping[str, list[Decision]]


class _Removed:
    """What a plan removes, by the names under which code can ask for it."""

    def __init__(self, plan: Plan) -> None:
        modules: dict[str, list[Decision]] = defaultdict(list)
        names: dict[str, list[Decision]] = defaultdict(list)
        metadata: dict[str, list[Decision]] = defaultdict(list)
        owners: dict[str, list[Decision]] = defaultdict(list)
        self._kept_basenames: set[str] = set()
        self._kept_by_name: dict[str, list[str]] = defaultdict(list)
        self._kept_paths: set[str] = set()
        self._present: set[str] = set()
        for decision in plan.decisions:
            path = decision.file.path
            name = path.rpartition("/")[2]
            if decision.keep:
                self._kept_basenames.add(name)
                self._kept_by_name[f"{decision.file.owner}/{name}"].append(path)
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
        self._by = _Names(modules=modules, names=names, metadata=metadata, owners=owners)

    def needed_by(self, reference: Reference, *, owner: str) -> Iterator[Decision]:
        """Yields the removed files that a reference names.

        Args:
            reference: What a kept file refers to.
            owner: The distribution of that file.
        """
        match reference.need:
            case Need.IMPORT | Need.LAZY_IMPORT:
                yield from self._modules(reference.target)
            case Need.LIBRARY:
                if reference.target not in self._kept_basenames:
                    yield from self._by.names.get(reference.target, ())
            case Need.STUB:
                yield from (
                    one
                    for one in self._by.names.get(reference.target.rpartition("/")[2], ())
                    if one.file.path == reference.target
                )
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
        wanted = {"RECORD": _READ_WITH_RECORD, "METADATA": ("METADATA", "entry_points.txt")}.get(
            kind, (kind,)
        )
        if name != "*":
            group = self._by.metadata.get(canonicalize_name(name), [])
        else:
            group = [
                one for some in self._by.metadata.values() for one in some if one.file.owner in self._present
            ]
        yield from (one for one in group if one.file.path.rpartition("/")[2] in wanted)

    def _mentioned(self, text: str, owner: str) -> Iterator[Decision]:
        """Yields the files that a string can mean, unless its distribution keeps one that it means as well."""
        tail = _PLACEHOLDER.sub("", text)
        name = tail.rpartition("/")[2]
        if any(f"/{path}".endswith(f"/{tail}") for path in self._kept_by_name[f"{owner}/{name}"]):
            return
        for decision in self._by.names.get(name, ()):
            its_own = decision.file.owner == owner or (owner == APP and "/" in tail)
            if its_own and f"/{decision.file.path}".endswith(f"/{tail}"):
                yield decision

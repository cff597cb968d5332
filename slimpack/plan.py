"""The plan: an inventory and rules in, a decision for every file out. Pure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from slimpack import findings
from slimpack.errors import ConfigError, RuleError
from slimpack.model import APP, Action, Addition, Decision, Overruled, Plan, Risk
from slimpack.rules import COMMON, NAMESPACE, patterns, speaks_of
from slimpack.schema import suggest
from slimpack.untouched import RULE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from slimpack.model import Distribution, Finding, Inventory, InventoryFile, Reference, Rule, Target
    from slimpack.rules import RuleBook

KEEP = "config:keep"
"""Stands in for a rule id where the user's own pattern keeps a file."""

REMOVE = "config:remove"
"""Stands in for a rule id where the user's own pattern removes a file."""

COLD = RULE.id
"""Stands at files that no run of a profile has used."""

_WHOLE_FILE = (Action.REMOVE, Action.KEEP)
"""What a rule can want for a file as a whole; one file gets only one of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the user's configuration says about rules and files; it wins over shipped rules."""

    keep: tuple[str, ...] = ()
    """Gitignore-style patterns over installed paths."""
    remove: tuple[str, ...] = ()
    """The same; where both match, ``keep`` wins."""
    enable: tuple[str, ...] = ()
    """Ids of opt-in rules to apply; shell wildcards allowed."""
    disable: tuple[str, ...] = ()
    """Ids of rules not to apply; shell wildcards allowed."""


def propose(
    inventory: Inventory,
    book: RuleBook,
    target: Target,
    wishes: Wishes,
    *,
    standing: Collection[str] = (),
    cold: Collection[str] = (),
) -> Plan:
    """Returns what the rules and the user want, before the guard has looked at it.

    Args:
        inventory: Everything that a plain install would bring.
        book: The rules.
        target: Where the bundle will run.
        wishes: The user's own patterns and switches.
        standing: Distributions that the guard would not let go as a whole.
        cold: Files that go unless a rule or the user keeps them.

    Raises:
        ConfigError: A wish names a rule that does not exist.
        RuleError: Two rules claim one file with different actions, or a wish is no pattern.
    """
    rules_of = _rules_of(inventory, book, target, _enabled(book, wishes))
    dropped = _dropped_whole(inventory.distributions, rules_of, standing)
    keep, remove = patterns(wishes.keep, where="keep"), patterns(wishes.remove, where="remove")
    decisions = []
    for file in inventory.files:
        if keep.match_file(file.path):
            decision = Decision(file=file, keep=True, rule=KEEP)
        elif remove.match_file(file.path):
            decision = Decision(file=file, keep=False, rule=REMOVE)
        elif file.owner == APP:
            decision = Decision(file=file, keep=True, rule=None)
        else:
            # What another wheel brings as well goes only with that one.
            gone = all(owner in dropped for owner in (file.owner, *file.also))
            rule = dropped[file.owner] if gone else _claim(file, rules_of[file.owner], book, _WHOLE_FILE)
            decision = Decision(
                file=file, keep=rule is None or rule.action is Action.KEEP, rule=rule.id if rule else None
            )
        if decision.keep and decision.rule is None and file.path in cold:
            decision = replace(decision, keep=False, rule=COLD)
        clearing = _claim(file, rules_of.get(file.owner, ()), book, (Action.CLEAR,))
        if clearing and decision.rule != KEEP:
            decision = replace(decision, clear=clearing.id)
        decisions.append(decision)
    return Plan(
        decisions=tuple(decisions),
        findings=tuple(_without_match(wishes, book, decisions, rules_of)),
        entry_points=tuple(point for one in inventory.distributions for point in one.entry_points),
    )


def with_needed(plan: Plan, needed: Mapping[str, Reference]) -> Plan:
    """Returns a plan that keeps what a run of the bundle has missed, whatever rule takes it.

    Args:
        plan: As proposed.
        needed: Who asked, by place in the installed tree.
    """
    return replace(
        plan,
        decisions=tuple(
            replace(one, keep=True, overruled=Overruled(rule=one.rule, by=needed[one.file.path]))
            if not one.keep and one.rule not in {None, REMOVE} and one.file.path in needed
            else one
            for one in plan.decisions
        ),
    )


def check(wishes: Wishes, book: RuleBook) -> None:
    """Refuses wishes that no plan could follow, before anything is resolved.

    Args:
        wishes: The user's own patterns and switches.
        book: The rules.

    Raises:
        ConfigError: A wish names a rule that does not exist.
        RuleError: A wish is no pattern.
    """
    _enabled(book, wishes)
    patterns(wishes.keep, where="keep")
    patterns(wishes.remove, where="remove")


def with_additions(
    plan: Plan,
    inventory: Inventory,
    book: RuleBook,
    target: Target,
    wishes: Wishes,
    *,
    namespaces: Collection[str] = (),
) -> Plan:
    """Returns a plan with the files that ``add`` rules want and that it does not keep anyway.

    Args:
        plan: As the guard left it.
        inventory: What it was made from.
        book: The rules.
        target: Where the bundle will run.
        wishes: The user's own switches.
        namespaces: Folders (``google`` or ``a/b``) that wheels declare as namespace packages.
    """
    rules_of = _rules_of(inventory, book, target, _enabled(book, wishes))
    return replace(plan, additions=_additions(plan, rules_of, namespaces))


def offers(plan: Plan, inventory: Inventory, book: RuleBook, target: Target) -> dict[str, tuple[int, int]]:
    """Returns what each opt-in rule that is off would take: files and bytes by rule id.

    The guard has not looked at it: what it would keep is counted too.
    """
    kept = [decision.file for decision in plan.decisions if decision.keep and decision.file.owner != APP]
    took = {decision.rule for decision in plan.decisions if not decision.keep}
    taken: dict[str, tuple[int, int]] = {}
    for rule in book.rules:
        if rule.risk is not Risk.OPT_IN or rule.action is not Action.REMOVE or rule.id in took:
            continue
        speaking = _rules_of(inventory, book, target, {rule.id})
        owners = {name for name, rules in speaking.items() if rules}
        if rule.whole:
            owners &= set(_dropped_whole(inventory.distributions, speaking))
        sizes = [
            file.size
            for file in kept
            if file.owner in owners and (rule.whole or book.specs[rule.id].match_file(file.path))
        ]
        if sizes:
            taken[rule.id] = (len(sizes), sum(sizes))
    return taken


def optional_libraries(plan: Plan, book: RuleBook) -> dict[str, frozenset[str]]:
    """Returns by path the libraries that a kept ELF file can do without, as keep rules state them."""
    return {
        decision.file.path: frozenset(rule.optional_libraries)
        for decision in plan.decisions
        if decision.keep and (rule := book.by_id.get(decision.rule or "")) and rule.optional_libraries
    }


def as_they_are(plan: Plan, book: RuleBook) -> dict[str, str]:
    """Returns by path the files that are not to be packed, and who says so.

    What the user keeps is not; of what a rule keeps, modules are not, since they are kept to be read as files. Shared
    objects are loaded either way.
    """
    said: dict[str, str] = {}
    for decision in plan.decisions:
        rule = book.by_id.get(decision.rule or "")
        if decision.rule == KEEP:
            said[decision.file.path] = "the configuration keeps it"
        elif rule and rule.action is Action.KEEP and decision.file.path.endswith(".py"):
            said[decision.file.path] = "a rule keeps it"
    return said


def _enabled(book: RuleBook, wishes: Wishes) -> frozenset[str]:
    """Returns the ids of the rules that apply: safe ones and enabled ones, without the disabled."""
    for option, wanted in [("enable", one) for one in wishes.enable] + [
        ("disable", one) for one in wishes.disable
    ]:
        if not book.matching(wanted):
            raise ConfigError(
                f"no rule has the id {wanted!r}{suggest(wanted, list(book.by_id))}",
                where=option,
                fix="`slimpack rule` lists all ids.",
            )
    on = {rule.id for rule in book.rules if rule.risk is Risk.SAFE}
    on |= {rule.id for wanted in wishes.enable for rule in book.matching(wanted)}
    return frozenset(on - {rule.id for wanted in wishes.disable for rule in book.matching(wanted)})


def _rules_of(
    inventory: Inventory, book: RuleBook, target: Target, chosen: Collection[str]
) -> dict[str, list[Rule]]:
    """Returns, by distribution, those of the chosen rules that speak of it."""
    return {
        one.name: [
            rule
            for rule in book.rules
            if rule.id in chosen and speaks_of(rule, name=one.name, version=one.version, runs_on=target)
        ]
        for one in inventory.distributions
    }


def _dropped_whole(
    distributions: Sequence[Distribution],
    rules_of: Mapping[str, Sequence[Rule]],
    standing: Collection[str] = (),
) -> dict[str, Rule]:
    """Returns the distributions that go as a whole, with the rule that says so.

    Dropping one can free another (tensorboard, then werkzeug), so this goes on until nothing changes.
    """
    needed_by: dict[str, set[str]] = defaultdict(set)
    for one in distributions:
        for name in one.requires:
            if name != one.name:
                needed_by[name].add(one.name)
    dropped: dict[str, Rule] = {}
    changed = True
    while changed:
        changed = False
        for one in distributions:
            if one.name in dropped or one.name in standing:
                continue
            for rule in rules_of[one.name]:
                # What the requirements name is wanted, unless the user switched on the very rule against it.
                wanted = one.requested and rule.risk is Risk.SAFE
                holders = needed_by[one.name] - set(rule.required_by) - set(dropped)
                if (
                    rule.whole
                    and rule.action is Action.REMOVE
                    and not wanted
                    and not (rule.required_by and holders)
                ):
                    dropped[one.name] = rule
                    changed = True
                    break
    return dropped


def _claim(
    file: InventoryFile, rules: Sequence[Rule], book: RuleBook, actions: Collection[Action]
) -> Rule | None:
    """Returns the rule with one of some actions that speaks of a file; the distribution's own goes before."""
    for own in (True, False):
        claims = [
            rule
            for rule in rules
            if (rule.id.split("/", 1)[0] != COMMON) is own
            and rule.action in actions
            and not rule.whole
            and book.specs[rule.id].match_file(file.path)
        ]
        if len({rule.action for rule in claims}) > 1:
            raise RuleError(
                f"{claims[0].id!r} and {claims[-1].id!r} claim {file.path} with different actions",
                where=claims[-1].origin,
                fix="Exclude the file from one of them with a pattern that begins with '!'.",
            )
        if claims:
            return claims[0]
    return None


def _additions(
    plan: Plan, rules_of: Mapping[str, Sequence[Rule]], namespaces: Collection[str]
) -> tuple[Addition, ...]:
    kept = {decision.file.path for decision in plan.decisions if decision.keep}
    folders = {path[:i] for path in kept for i, c in enumerate(path) if c == "/"}
    additions: dict[str, Addition] = {}
    adding = {rule.id: rule for rules in rules_of.values() for rule in rules if rule.action is Action.ADD}
    for rule in sorted(adding.values(), key=lambda rule: (rule.id.split("/", 1)[0] == COMMON, rule.id)):
        for pattern in rule.paths:
            wanted = (
                [pattern.replace(NAMESPACE, name) for name in sorted(namespaces)]
                if NAMESPACE in pattern
                else [pattern]
            )
            for path in wanted:
                if path not in kept and path.rpartition("/")[0] in folders | {""}:
                    additions.setdefault(
                        path,
                        Addition(
                            path=path, rule=rule.id, reason=rule.reason, content=(rule.content or "").encode()
                        ),
                    )
    return tuple(additions[path] for path in sorted(additions))


def _without_match(
    wishes: Wishes, book: RuleBook, decisions: Sequence[Decision], rules_of: Mapping[str, Sequence[Rule]]
) -> Iterator[Finding]:
    """Yields a finding for every wish that came to nothing: silence would pass for success."""
    for option, lines in (("keep", wishes.keep), ("remove", wishes.remove)):
        for line in lines:
            positive = patterns([line.removeprefix("!")], where=option)
            if not any(positive.match_file(decision.file.path) for decision in decisions):
                yield findings.PATTERN_WITHOUT_MATCH.at(option, f"the pattern {line!r} matches no file")
    used = {rule for decision in decisions for rule in (decision.rule, decision.clear)}
    used |= {rule.id for rules in rules_of.values() for rule in rules if rule.action is Action.ADD}
    for wanted in wishes.enable:
        if not any(rule.id in used for rule in book.matching(wanted)):
            yield findings.PATTERN_WITHOUT_MATCH.at("enable", f"the rule {wanted!r} found nothing to do")

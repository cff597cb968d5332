"""Small values that many tests need: targets, inventories, rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slimpack import target as targets
from slimpack.guard import overrule
from slimpack.ledger import Added, Entries, account
from slimpack.manifest import LockRecord, Manifest
from slimpack.model import (
    Distribution,
    Finding,
    Inventory,
    InventoryFile,
    Need,
    Reference,
    Rule,
    Staged,
    Target,
)
from slimpack.plan import Wishes, offers, propose, with_additions
from slimpack.rules import RuleBook, parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LAMBDA = targets.make(runtime="python3.12")


def target(**changes: object) -> Target:
    return targets.make(**{"runtime": "python3.12", **changes})  # type: ignore[arg-type]


def file(path: str, owner: str = "pkg", *, size: int = 100, sha256: str | None = "aa") -> InventoryFile:
    return InventoryFile(path=path, size=size, owner=owner, entry=path, sha256=sha256, executable=False)


def distribution(
    name: str = "pkg", version: str = "1.0", *, requires: tuple[str, ...] = (), requested: bool = True
) -> Distribution:
    return Distribution(
        name=name,
        version=version,
        wheel=f"{name}-{version}-py3-none-any.whl",
        sha256="bb",
        requires=requires,
        requested=requested,
        required_at=("requirements.txt:1",) if requested else (),
    )


def reference(target: str, need: Need = Need.IMPORT, path: str = "pkg/a.py") -> Reference:
    return Reference(need=need, path=path, line=3, target=target)


def inventory(*files: InventoryFile, distributions: tuple[Distribution, ...] = ()) -> Inventory:
    named = {one.name for one in distributions}
    owners = sorted({one.owner for one in files} - named - {"(app)"})
    return Inventory(
        distributions=tuple(
            sorted((*distributions, *(distribution(owner) for owner in owners)), key=lambda one: one.name)
        ),
        files=tuple(sorted(files, key=lambda one: one.path)),
    )


def rules(text: str, stem: str = "pkg") -> tuple[Rule, ...]:
    """Parses rules, with the parts that every rule needs filled in."""
    whole = []
    for part in text.split("[[rule]]")[1:]:
        lines = part.strip().splitlines()
        keys = {line.split("=")[0].strip() for line in lines}
        lines += [
            line
            for key, line in {
                "action": 'action = "remove"',
                "reason": 'reason = "because"',
                "evidence": 'evidence = [{version = "1", files = 1, bytes = 1, shown = "run"}]',
            }.items()
            if key not in keys
        ]
        whole.append("[[rule]]\n" + "\n".join(lines))
    return parse(
        "\n".join((text.split("[[rule]]", maxsplit=1)[0], *whole)).encode(), stem=stem, origin=f"{stem}.toml"
    )


def book(*parsed: tuple[Rule, ...]) -> RuleBook:
    return RuleBook(rules=tuple(rule for some in parsed for rule in some), digest="cc")


def account_of(
    stock: Inventory,
    rule_book: RuleBook,
    *,
    wishes: Wishes = Wishes(),  # noqa: B008 -- frozen
    sizes: Mapping[str, int] | None = None,
    references: Iterable[Reference] = (),
    findings: tuple[Finding, ...] = (),
    runs_on: Target = LAMBDA,
) -> Manifest:
    """Returns the manifest of a bundle that was never written: planned, guarded, and staged in name only."""
    plan = overrule(propose(stock, rule_book, runs_on, wishes), references, rule_book)
    plan = with_additions(plan, stock, rule_book, runs_on, wishes)
    sizes = sizes or {}
    staged = {
        one.file.path: Staged(
            path=one.file.path,
            size=sizes.get(one.file.path, one.file.size),
            sha256="ee",
            compacted=one.file.path in sizes,
        )
        for one in plan.decisions
        if one.keep
    }
    entries = Entries(
        target=runs_on,
        distributions=stock.distributions,
        decisions=plan.decisions,
        staged=staged,
        added=[
            Added(addition=one, path=one.path, size=len(one.content or b""), sha256="ff")
            for one in plan.additions
        ],
        findings=(*plan.findings, *findings),
        book=rule_book,
        offers=offers(plan, stock, rule_book, runs_on),
        lock=LockRecord(sha256="dd", resolver="none"),
    )
    return account(entries, version="0", format="directory")

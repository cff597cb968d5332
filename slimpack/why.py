"""Why: what a distribution of a bundle is here for, and what would go with it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from slimpack.errors import UsageError
from slimpack.graph import Graph, dominators, post_order, reach, shortest, sources, steps
from slimpack.schema import suggest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slimpack.account import Account
    from slimpack.manifest import DistributionRecord

_SITE = re.compile(r"^(?:python/)?(?:lib/python3\.[0-9]+/site-packages/)?")
"""Folders of a layer that Python finds modules in."""

_NUMBER = re.compile(r"[0-9]{1,9}")

_SUGGESTED = 5
"""Packages that an error names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """What there is to say of one distribution."""

    name: str
    """Canonical name (PEP 503)."""
    version: str
    """PEP 440 version."""
    requested: bool
    """Whether the requirements name it."""
    required_at: tuple[str, ...]
    """Places in the requirements that ask for it, or for those that it is here for."""
    paths: tuple[tuple[str, ...], ...]
    """A shortest way to it from each distribution that the requirements name: names, root first, itself last."""
    needed_by: tuple[str, ...]
    """Those that need it directly, sorted."""
    own: int
    """Bytes of it in the bundle."""
    retained: int
    """Bytes that would go if it went: its own, and those of what is here for nobody else."""
    retains: tuple[str, ...]
    """What would go with it, sorted by size, largest first; without itself."""


def why(account: Account, name: str) -> Why:
    """Returns what a distribution is here for.

    Args:
        account: The bundle.
        name: Its name, in any spelling.

    Raises:
        UsageError: The bundle has no such distribution.
    """
    canonical = canonicalize_name(name)
    records = {one.name: one for one in account.distributions}
    if canonical not in records:
        raise _unknown(account, name, tuple(records))
    needs, roots = _needs(account)
    sizes = account.sizes()
    gone = reach(_below(dominators(needs, roots)), [canonical])
    ways = shortest(needs, sorted(roots), canonical)
    return Why(
        name=canonical,
        version=records[canonical].version,
        requested=records[canonical].requested,
        required_at=_places(records, canonical, ways),
        paths=tuple(sorted(ways.values(), key=lambda way: (len(way), way))),
        needed_by=account.needed_by().get(canonical, ()),
        own=sizes.get(canonical, 0),
        retained=sum(sizes.get(one, 0) for one in gone),
        retains=tuple(sorted(gone - {canonical}, key=lambda one: (-sizes.get(one, 0), one))),
    )


def retained(account: Account) -> Mapping[str, int]:
    """Returns by distribution the bytes that would go if it went."""
    needs, roots = _needs(account)
    sizes = account.sizes()
    above = dominators(needs, roots)
    sums = {name: sizes.get(name, 0) for name in above}
    # what is below comes first
    for name in post_order(_below(above), [name for name, over in above.items() if over is None]):
        if (over := above[name]) is not None:
            sums[over] += sums[name]
    return sums


def lines(account: Account) -> Mapping[str, str]:
    """Returns by distribution the first line of the requirements that it is here for, those without one left out."""
    needs, roots = _needs(account)
    asked = {one.name: one.required_at for one in account.distributions if one.required_at}
    places = [(place, root) for root in roots for place in asked.get(root, ())]
    found: dict[str, str] = {}
    for place, root in sorted(places, key=lambda one: (_line(one[0]), one[1])):
        waiting = [root]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found[name] = place
                waiting += needs[name]
    return found | {name: places[0] for name, places in asked.items()}


def leads(account: Account) -> Mapping[str, str | None]:
    """Returns for each distribution the one before it on a shortest way from the requirements, for ``graph.way``."""
    return steps(*_needs(account))


def _needs(account: Account) -> tuple[Graph, set[str]]:
    """Returns who needs whom, and where ways begin: at what is requested, or else at what nobody needs."""
    names = {one.name for one in account.distributions}
    needs = {
        one.name: tuple(other for other in one.requires if other in names) for one in account.distributions
    }
    return needs, sources(needs, [one.name for one in account.distributions if one.requested])


def _places(
    records: Mapping[str, DistributionRecord], name: str, ways: Mapping[str, tuple[str, ...]]
) -> tuple[str, ...]:
    """Returns where the requirements ask for a distribution, or else for those that it is here for."""
    if own := records[name].required_at:
        return own
    return tuple(sorted({place for root in ways for place in records[root].required_at}, key=_line))


def _line(place: str) -> tuple[str, int, str]:
    """Returns what places are sorted by: file, then line."""
    file, _, line = place.rpartition(":")
    return (file, int(line), "") if _NUMBER.fullmatch(line) else (place, 0, line)


def _below(above: Mapping[str, str | None]) -> dict[str, list[str]]:
    """Returns by name those that it is the nearest one above of."""
    below: dict[str, list[str]] = {name: [] for name in above}
    for name, over in above.items():
        if over is not None:
            below[over].append(name)
    return below


def _unknown(account: Account, name: str, known: Sequence[str]) -> UsageError:
    """Returns the error for a name that no distribution has: of a module, or a misspelt one."""
    owners = sorted({file.owner for file in account.files if _module(file.path) == name} & set(known))
    if owners:
        commands = " or ".join(f"`slimpack why {owner}`" for owner in owners[:_SUGGESTED])
        return UsageError(
            f"no package is called {name!r}; {' and '.join(owners[:_SUGGESTED])} brings a module of that name",
            where=account.name,
            fix=f"Try {commands}.",
        )
    few = ", ".join(known[:_SUGGESTED])
    listed = f"Packages of the bundle: {few}{', …' if len(known) > _SUGGESTED else ''}."
    return UsageError(
        f"no package is called {name!r}{suggest(canonicalize_name(name), known)}",
        where=account.name,
        fix=listed if known else "No file of the bundle tells what package it belongs to.",
    )


def _module(path: str) -> str:
    """Returns the name of the module or package at the top of the tree that a file is in."""
    return _SITE.sub("", path).partition("/")[0].partition(".")[0]

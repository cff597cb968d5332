"""Graphs: names and the names each of them needs. Pure.

A graph is a mapping of every name to those that it needs, rings allowed; the names that it maps to are keys, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

Graph = dict[str, tuple[str, ...]]


def reach(
    graph: Mapping[str, Collection[str]], start: Iterable[str], *, past: Collection[str] = ()
) -> set[str]:
    """Returns all names that there is a way to, those to start with included.

    Args:
        graph: The graph.
        start: Where ways begin.
        past: Names that no way goes through.
    """
    seen = set(start).difference(past)
    waiting = list(seen)
    while waiting:
        for name in graph[waiting.pop()]:
            if name not in seen and name not in past:
                seen.add(name)
                waiting.append(name)
    return seen


def turned(graph: Mapping[str, Collection[str]]) -> Graph:
    """Returns the graph of who is needed by whom, names sorted."""
    found: dict[str, list[str]] = {name: [] for name in graph}
    for name in sorted(graph):
        for other in graph[name]:
            found[other].append(name)
    return {name: tuple(others) for name, others in found.items()}


def post_order(graph: Mapping[str, Collection[str]], start: Iterable[str]) -> list[str]:
    """Returns all names that there is a way to, each one after those that it needs, as far as rings let it."""
    seen: set[str] = set()
    order: list[str] = []
    for root in start:
        path = [] if root in seen else [(root, iter(graph[root]))]
        seen.add(root)
        while path:
            name, others = path[-1]
            other = next((one for one in others if one not in seen), None)
            if other is None:
                path.pop()
                order.append(name)
            else:
                seen.add(other)
                path.append((other, iter(graph[other])))
    return order


def sources(graph: Mapping[str, Collection[str]], known: Iterable[str] = ()) -> set[str]:
    """Returns a few names from which there is a way to all others; of a ring that nobody else needs, all its names.

    Args:
        graph: The graph.
        known: Names to start with, which are among those returned.
    """
    found = set(known)
    seen = reach(graph, found)
    needed_by = turned(graph)
    # the last one of a post-order is in no ring that another one needs (Kosaraju 1978)
    for name in reversed(post_order(graph, sorted(graph))):
        if name not in seen:
            ring = reach(needed_by, [name], past=seen)
            found |= ring
            seen |= reach(graph, ring, past=seen)
    return found


def steps(graph: Mapping[str, Collection[str]], start: Iterable[str]) -> dict[str, str | None]:
    """Returns for each name that there is a way to the one before it on a shortest way; None where one begins."""
    before: dict[str, str | None] = dict.fromkeys(sorted(start))
    row = list(before)
    while row:
        reached = []
        for name in row:
            for other in sorted(graph[name]):
                if other not in before:
                    before[other] = name
                    reached.append(other)
        row = reached
    return before


def way(before: Mapping[str, str | None], end: str) -> tuple[str, ...]:
    """Returns the way that leads to a name; empty if there is none.

    Args:
        before: What ``steps`` returned.
        end: Where the way ends.
    """
    names: list[str] = []
    name = end if end in before else None
    while name is not None:
        names.append(name)
        name = before[name]
    return tuple(reversed(names))


def shortest(
    graph: Mapping[str, Collection[str]], start: Iterable[str], end: str
) -> dict[str, tuple[str, ...]]:
    """Returns a shortest way to a name from each of those to start with, where there is one.

    Args:
        graph: The graph.
        start: Where ways begin.
        end: Where they end.
    """
    after = steps(turned(graph), [end])
    return {root: way(after, root)[::-1] for root in start if root in after}


def dominators(graph: Mapping[str, Collection[str]], roots: Collection[str]) -> dict[str, str | None]:
    """Returns by name the nearest one without which there were no way to it; None if that is no single one.

    Only names that there is a way to are in it. Source: the SEMI-NCA algorithm of L. Georgiadis, "Linear-Time
    Algorithms for Dominators and Related Problems", 2005, section 2.3. Numbers are those of a depth-first search;
    0 is a common root above all roots, which no name has.

    Args:
        graph: The graph.
        roots: Where ways begin.
    """
    names, parents = _searched(graph, roots)
    number = {name: place for place, name in enumerate(names) if place}
    needed_by: list[list[int]] = [[] for _ in names]
    for place, name in enumerate(names):
        for other in graph[name] if place else sorted(roots):
            needed_by[number[other]].append(place)
    up, label = list(parents), list(range(len(names)))
    semi = list(label)
    for place in range(len(names) - 1, 0, -1):
        for needing in needed_by[place]:
            _compress(needing, place, up, label)
            semi[place] = min(semi[place], label[needing])
        label[place] = semi[place]
    above = list(parents)
    for place in range(1, len(names)):
        while above[place] > semi[place]:
            above[place] = above[above[place]]
    return {name: names[above[place]] if above[place] else None for name, place in number.items()}


def _searched(graph: Mapping[str, Collection[str]], roots: Collection[str]) -> tuple[list[str], list[int]]:
    """Returns names in the order of a depth-first search, and the number of the one that each was found from."""
    names, parents = [""], [0]
    seen: set[str] = set()
    path = [(0, iter(sorted(roots)))]
    while path:
        place, others = path[-1]
        other = next((one for one in others if one not in seen), None)
        if other is None:
            path.pop()
        else:
            seen.add(other)
            names.append(other)
            parents.append(place)
            path.append((len(names) - 1, iter(graph[other])))
    return names, parents


def _compress(place: int, bound: int, up: list[int], label: list[int]) -> None:
    """Lets a number know the least label on its way up, as far as that leads through numbers above a bound."""
    below = []
    while place > bound and up[place] > bound:
        below.append(place)
        place = up[place]
    for one in reversed(below):
        label[one] = min(label[one], label[up[one]])
        up[one] = up[up[one]]

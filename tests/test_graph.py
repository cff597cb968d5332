from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from slimpack.graph import Graph, dominators, post_order, reach, shortest, sources, steps, way

NAMES = "abcdefgh"


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    size = draw(st.integers(1, len(NAMES)))
    names = NAMES[:size]
    return {name: tuple(sorted(draw(st.sets(st.sampled_from(names), max_size=3)))) for name in names}


def brute(graph: Graph, roots: list[str], gone: str) -> set[str]:
    """Returns what there is a way to once a name is taken out of the graph."""
    left = {name: tuple(one for one in needs if one != gone) for name, needs in graph.items() if name != gone}
    return reach(left, [root for root in roots if root != gone])


def test_what_is_needed_comes_before_what_needs_it() -> None:
    assert post_order({"a": ("b", "c"), "b": ("c",), "c": ()}, ["a"]) == ["c", "b", "a"]


def test_a_ring_that_nobody_needs_is_a_source_as_a_whole() -> None:
    assert sources({"a": ("b",), "b": ("a", "c"), "c": ("d",), "d": ("c",)}) == {"a", "b"}


def test_what_is_known_explains_what_it_leads_to() -> None:
    graph = {"a": ("b",), "b": ("c",), "c": (), "d": ()}

    assert sources(graph) == {"a", "d"}
    assert sources(graph, ["b"]) == {"a", "b", "d"}
    assert sources(graph, ["a"]) == {"a", "d"}


def test_of_shortest_ways_the_first_in_the_alphabet_is_taken() -> None:
    graph = {"r": ("x", "y"), "s": ("r",), "x": ("e",), "y": ("e",), "e": (), "t": ()}

    assert way(steps(graph, ["r", "s"]), "e") == ("r", "x", "e")
    assert shortest(graph, ["r", "s", "t", "e"], "e") == {
        "r": ("r", "x", "e"),
        "s": ("s", "r", "x", "e"),
        "e": ("e",),
    }
    assert way(steps(graph, ["r"]), "t") == ()


def test_a_diamond_is_dominated_by_its_top() -> None:
    graph = {"a": ("b", "c"), "b": ("d",), "c": ("d",), "d": ("e",), "e": ("b",)}

    assert dominators(graph, ["a"]) == {"a": None, "b": "a", "c": "a", "d": "a", "e": "d"}


@given(graphs(), st.data())
def test_dominators_are_what_no_way_goes_around(graph: Graph, data: st.DataObject) -> None:
    roots = sorted(data.draw(st.sets(st.sampled_from(sorted(graph)), min_size=1)))

    above = dominators(graph, roots)

    assert above.keys() == reach(graph, roots)
    for name in above:
        chain = set()
        over = above[name]
        while over is not None:
            chain.add(over)
            over = above[over]
        assert chain == {one for one in above if one != name and name not in brute(graph, roots, one)}


@given(graphs())
def test_sources_lead_to_everything_and_none_can_be_spared(graph: Graph) -> None:
    found = sources(graph)

    assert reach(graph, found) == set(graph)
    for one in found:
        ring = {other for other in found if one in reach(graph, [other])}
        assert reach(graph, found - ring) & ring == set()


@given(graphs(), st.data())
def test_shortest_ways_are_ways_and_none_is_shorter(graph: Graph, data: st.DataObject) -> None:
    start, end = data.draw(st.sampled_from(sorted(graph))), data.draw(st.sampled_from(sorted(graph)))

    found = shortest(graph, [start], end).get(start)

    assert (found is not None) == (end in reach(graph, [start]))
    if found is not None:
        assert (found[0], found[-1]) == (start, end)
        assert all(two in graph[one] for one, two in pairwise(found))
        reached = {start}
        for _ in found[2:]:
            reached |= {two for one in reached for two in graph[one]}
        assert len(found) <= 2 or end not in reached


def test_a_long_chain_needs_no_recursion() -> None:
    names = [f"{number:05}" for number in range(5000)]
    graph: Graph = dict(pairwise_needs(names))

    assert len(way(steps(graph, names[:1]), names[-1])) == len(names)
    assert dominators(graph, names[:1])[names[-1]] == names[-2]


def pairwise_needs(names: list[str]) -> list[tuple[str, tuple[str, ...]]]:
    return [*((one, (two,)) for one, two in pairwise(names)), (names[-1], ())]

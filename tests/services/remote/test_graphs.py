"""Structures of graphs hosted and in process, alone and beside each other: as enumeration says."""

import itertools
from typing import Any

import networkx as nx
import pytest

from services.query import query_of
from services.reasoner.reason import Reasoner

EDGES = [[0, 1], [1, 2], [2, 0], [2, 3], [3, 4], [4, 0]]
NODES, LINKS = range(5), range(len(EDGES))
OVER_NODES = {"independent_set": -1, "vertex_cover": 1, "dominating_set": 1}
OVER_EDGES = {"matching": -1, "spanning_tree": 1, "shortest_path": 1}
KINDS = {**OVER_NODES, **OVER_EDGES}
WEIGHTS = {"n": [2, 1, 3, 1, 2], "e": [2, 1, 4, 1, 3, 2]}


def kept(kind: str, x: tuple[int, ...]) -> bool:
    """Whether a choice is one."""
    taken = [edge for edge, one in zip(EDGES, x) if one]
    ends = [v for edge in taken for v in edge]
    made = nx.Graph(taken)
    if kind == "independent_set":
        return not any(x[a] and x[b] for a, b in EDGES)
    if kind == "vertex_cover":
        return all(x[a] or x[b] for a, b in EDGES)
    if kind == "dominating_set":
        return all(x[v] or any(x[w] for e in EDGES if v in e for w in e) for v in NODES)
    if kind == "matching":
        return len(set(ends)) == len(ends)
    made.add_nodes_from(NODES if kind == "spanning_tree" else (0, 3))
    if kind == "spanning_tree":
        return nx.is_tree(made)
    degrees = dict(made.degree())
    return nx.is_tree(made) and degrees[0] == degrees[3] == 1 and max(degrees.values()) <= 2


def rule(kind: str) -> dict[str, Any]:
    name = "n" if kind in OVER_NODES else "e"
    more = {"start": 0, "goal": 3} if kind == "shortest_path" else {}
    return {"kind": f"graph.{kind}", "scope": [name], "params": {"edges": EDGES, **more}}


def weighed(name: str, sign: int) -> list[dict[str, Any]]:
    return [
        {
            "kind": "discrete.table",
            "scope": [name],
            "required": False,
            "weight": 1,
            "params": {"sites": [k], "costs": [0, sign * w]},
        }
        for k, w in enumerate(WEIGHTS[name])
    ]


def both(remote, catalogue, variables, terms, evidence, steps=None) -> list[Any]:
    written = {"variables": variables, "terms": terms, "evidence": evidence}
    budget = {"seconds": 30} if steps is None else {"steps": steps}
    asked = query_of({**written, "budget": budget})
    return [Reasoner(kinds).reason(asked)[0] for kinds in (catalogue, remote)]


def sized(name: str) -> dict[str, Any]:
    return {"values": [0, 1], "shape": [len(WEIGHTS[name])]}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("given", [None, 0, 1])
def test_each_hosted_as_in_process(remote, catalogue, kind, given) -> None:
    name = "n" if kind in OVER_NODES else "e"
    told = [None, given, *[None] * (len(WEIGHTS[name]) - 2)]
    terms = [rule(kind), *weighed(name, KINDS[kind])]
    least = min(
        KINDS[kind] * sum(w for w, one in zip(WEIGHTS[name], x) if one)
        for x in itertools.product((0, 1), repeat=len(WEIGHTS[name]))
        if kept(kind, x) and given in (None, x[1])
    )
    for answer in both(remote, catalogue, {name: sized(name)}, terms, {name: told}):
        assert (answer.status, answer.energy, answer.bound) == ("OPTIMAL", least, least)
        assert kept(kind, tuple(answer.values[name]))


MIXTURES = [
    ("independent_set", "dominating_set"),
    ("vertex_cover", "matching"),
    ("dominating_set", "spanning_tree"),
    ("spanning_tree", "shortest_path"),
    ("independent_set", "vertex_cover", "matching"),
    ("vertex_cover", "shortest_path"),
]


@pytest.mark.parametrize("kinds", MIXTURES)
def test_kinds_beside_each_other(remote, catalogue, kinds) -> None:
    """Nodes and edges in one energy; a chosen first edge needs its first node."""
    variables = {"n": sized("n"), "e": sized("e")}
    clause = {
        "kind": "discrete.clause",
        "scope": ["e", "n"],
        "params": {"clauses": [[[0, 1, False], [len(EDGES), 1, True]]]},
    }
    terms = [*map(rule, kinds), clause, *weighed("n", 1), *weighed("e", 1)]
    least = None
    for n in itertools.product((0, 1), repeat=len(NODES)):
        for e in itertools.product((0, 1), repeat=len(LINKS)):
            good = all(kept(kind, n if kind in OVER_NODES else e) for kind in kinds)
            if good and (not e[0] or n[0]):
                parts = (("n", n), ("e", e))
                own = sum(w for name, x in parts for w, one in zip(WEIGHTS[name], x) if one)
                least = own if least is None else min(least, own)
    wanted = "INFEASIBLE" if least is None else "OPTIMAL"
    for answer in both(remote, catalogue, variables, terms, {}):
        assert (answer.status, answer.energy) == (wanted, least)


@pytest.mark.parametrize("kind", KINDS)
def test_beside_real_numbers(remote, catalogue, kind) -> None:
    """An energy of numbers alone changes nothing of what is chosen."""
    name = "n" if kind in OVER_NODES else "e"
    variables = {name: sized(name), "r": {"low": -1.0, "high": 1.0, "shape": [2]}}
    pull = {"kind": "kinds.Pull", "scope": ["r"], "weight": 1, "params": {}}
    terms = [rule(kind), *weighed(name, KINDS[kind]), pull]
    mine, theirs = both(remote, catalogue, variables, terms, {}, steps=60)
    for answer in (mine, theirs):
        assert kept(kind, tuple(answer.values[name]))
        assert answer.values["r"] == pytest.approx([0.3, 0.3], abs=1e-3)
    assert mine.energy == pytest.approx(theirs.energy, abs=1e-5)


def test_labels_under_rules(remote, catalogue) -> None:
    """Scores are an input, told with the evidence; a node without scores is told by the others."""
    variables = {"labels": {"values": ["a", "b"], "shape": [4]}}
    edges = [[0, 1], [1, 2], [2, 3, 0.5]]
    scores = [[2.0, 0.0], [0.1, 0.0], [0.0, 0.2], [None, None]]
    labels = {"kind": "graph.labels", "scope": ["scores", "labels"], "params": {"edges": edges}}
    equal = {"kind": "discrete.equal", "scope": ["labels"], "params": {"pairs": [[0, 3]]}}
    asked = query_of(
        {
            "variables": variables,
            "inputs": {"scores": {"shape": [4, 2], "low": -9.0, "high": 9.0}},
            "terms": [labels, equal],
            "evidence": {"scores": [*scores[:3], None]},
        }
    )
    mine, theirs = (Reasoner(kinds).reason(asked)[0] for kinds in (catalogue, remote))
    assert (mine.status, mine.values) == ("OPTIMAL", {"labels": ["a"] * 4})
    assert (theirs.status, theirs.values, theirs.energy) == ("OPTIMAL", mine.values, mine.energy)

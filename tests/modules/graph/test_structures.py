"""Sets of nodes and edges of a graph: by enumeration, odd graphs, mistakes, planted failures."""

import itertools
import random

import networkx as nx
import pytest

from engine import Budget, Finite, Problem, Status, Variable, answers, required
from engine.errors import BadQuery
from engine.testing import check_term
from modules.catalogue import Catalogue
from modules.discrete.linear import Linear
from modules.discrete.table import Table
from modules.graph.spanning_tree import SpanningTree

CATALOGUE = Catalogue(entry_points=False)
NODES = {"independent_set": -1, "vertex_cover": 1, "dominating_set": 1}
EDGES = {"matching": -1, "spanning_tree": 1, "shortest_path": 1}


def build(kind, sites, edges, **more):
    x = Variable("x", Finite((0, 1), (sites,)))
    return CATALOGUE.kind(f"graph.{kind}").build([x], {"edges": edges, **more})


def cheapest(rule, weights):
    """The answer of least weight under a rule."""
    x = rule.scope[0].variable
    sizes = [1.0 * Table(x, sites=[k], costs=[0, w]) for k, w in enumerate(weights) if w]
    (answer,) = answers(Problem(sum(sizes, required(rule))), budget=Budget(seconds=20))
    return answer


def graph(seed, nodes=6):
    """A small graph with loops, repeated edges and nodes without edges, and weights."""
    rng = random.Random(seed)
    edges = [[rng.randrange(nodes), rng.randrange(nodes)] for _ in range(rng.randint(0, 9))]
    return edges, [rng.choice([1, 1, 2, 0.5, -1]) for _ in range(max(nodes, len(edges)))]


def keeps(kind, edges, chosen, nodes):
    """Whether a choice is one, said by sets and networkx."""
    if kind in NODES:
        inside = {k for k in range(nodes) if chosen[k]}
        if kind == "independent_set":
            return not any(a in inside and b in inside for a, b in edges)
        if kind == "vertex_cover":
            return all(a in inside or b in inside for a, b in edges)
        near = {k: {k} for k in range(nodes)}
        for a, b in edges:
            near[a].add(b)
            near[b].add(a)
        return all(near[k] & inside for k in range(nodes))
    taken = [e for e, one in zip(edges, chosen, strict=True) if one]
    made = nx.MultiGraph()
    made.add_edges_from(taken)
    if kind == "matching":
        ends = [x for e in taken for x in e]
        return len(ends) == len(set(ends))
    if kind == "spanning_tree":
        made.add_nodes_from(x for e in edges for x in e)
        return nx.is_tree(made)
    made.add_nodes_from([0, 1])
    degrees = dict(made.degree())
    path = all(d == (1 if v < 2 else 2) for v, d in degrees.items() if v < 2 or d)
    return path and nx.is_forest(made) and nx.has_path(made, 0, 1)


@pytest.mark.parametrize("kind", [*NODES, *EDGES])
@pytest.mark.parametrize("seed", range(6))
def test_the_best_choice_is_that_of_enumeration(kind, seed):
    edges, weights = graph(seed)
    edges = edges or [[0, 1]]
    sites = 6 if kind in NODES else len(edges)
    more = {"start": 0, "goal": 1} if kind == "shortest_path" else {}
    rule, sign = build(kind, sites, edges, **more), (NODES | EDGES)[kind]
    weights = [sign * w for w in weights[:sites]]
    best = None
    for chosen in itertools.product((0, 1), repeat=sites):
        fits = keeps(kind, edges, chosen, 6)
        assert rule.holds(list(chosen)) is fits, (chosen, edges)
        if fits:
            cost = sum(w for w, one in zip(weights, chosen, strict=True) if one)
            best = cost if best is None else min(best, cost)
    answer = cheapest(rule, weights)
    if best is None:
        assert answer.status is Status.INFEASIBLE
    else:
        assert (answer.status, answer.energy) == (Status.OPTIMAL, pytest.approx(best, abs=1e-9))
        assert keeps(kind, edges, answer.values["x"], 6)


def test_a_loop_decides_its_node():
    assert cheapest(build("independent_set", 2, [[0, 0]]), [-1, -1]).values["x"] == [0, 1]
    assert cheapest(build("vertex_cover", 2, [[0, 0]]), [1, 1]).values["x"] == [1, 0]
    assert cheapest(build("dominating_set", 2, [[0, 0], [0, 1]]), [1, 2]).values["x"] == [1, 0]
    assert cheapest(build("matching", 2, [[0, 0], [0, 1]]), [-1, -1]).values["x"] == [0, 1]
    tree = cheapest(build("spanning_tree", 3, [[0, 1], [1, 1], [0, 1]]), [2, -9, 1])
    assert tree.values["x"] == [0, 0, 1]


def test_nodes_without_edges():
    for kind, chosen in (("independent_set", 1), ("vertex_cover", 0), ("dominating_set", 1)):
        weight = NODES[kind]
        assert cheapest(build(kind, 3, []), [weight] * 3).values["x"] == [chosen] * 3


def test_a_graph_in_two_pieces_has_no_spanning_tree_and_no_path_across():
    edges = [[0, 1], [2, 3], [1, 0]]
    tree = build("spanning_tree", 3, edges)
    (answer,) = answers(Problem(tree))
    assert answer.status is Status.INFEASIBLE
    assert tree.explain([1, 1, 0]) == [
        "node 2: chosen edges do not join it to node 0",
        "node 3: chosen edges do not join it to node 0",
        "2 edges are chosen, not 3",
    ]
    (answer,) = answers(Problem(build("shortest_path", 3, edges, start=0, goal=3)))
    assert answer.status is Status.INFEASIBLE
    assert cheapest(build("spanning_tree", 1, [[0, 1]], root=5), [1]).status is Status.INFEASIBLE


def test_a_path_from_a_node_to_itself_has_no_edges():
    rule = build("shortest_path", 3, [[0, 1], [1, 2], [2, 0]], start=2, goal=2)
    assert cheapest(rule, [-1, -1, -1]).values["x"] == [0, 0, 0]


def test_a_cycle_beside_the_path_is_none():
    edges = [[0, 1], [2, 3], [3, 4], [4, 2]]
    rule = build("shortest_path", 4, edges, start=0, goal=1)
    assert not rule.holds([1, 1, 1, 1])
    assert rule.explain([1, 1, 1, 1])[0].startswith("edge 1: [2, 3] does not hang together")
    assert cheapest(rule, [1, -5, -5, -5]).values["x"] == [1, 0, 0, 0]


@pytest.mark.parametrize("seed", range(4))
def test_a_tree_of_a_dozen_nodes_is_a_least_one(seed):
    rng = random.Random(seed)
    made = nx.gnm_random_graph(9, 14, seed=seed)
    made.add_edges_from(zip(range(8), range(1, 9)))
    edges = [list(e) for e in made.edges()]
    weights = [rng.randint(1, 9) for _ in edges]
    for (a, b), w in zip(edges, weights, strict=True):
        made[a][b]["weight"] = w
    answer = cheapest(build("spanning_tree", len(edges), edges), weights)
    wanted = nx.minimum_spanning_tree(made).size(weight="weight")
    assert (answer.status, answer.energy) == (Status.OPTIMAL, wanted)
    length = nx.shortest_path_length(made, 0, 8, weight="weight")
    path = cheapest(build("shortest_path", len(edges), edges, start=0, goal=8), weights)
    assert (path.status, path.energy) == (Status.OPTIMAL, length)


def under_degrees(edges, weights, most):
    """The tree of least weight with so many edges at a node."""
    tree = build("spanning_tree", len(edges), edges)
    x = tree.scope[0].variable
    energy = required(tree)
    for node in {v for edge in edges for v in edge}:
        own = [[k, 1, 1] for k, edge in enumerate(edges) if node in edge]
        energy = energy + required(Linear(x, terms=own, compare="<=", constant=most))
    for k, weight in enumerate(weights):
        energy = energy + 1.0 * Table(x, sites=[k], costs=[0, weight])
    (answer,) = answers(Problem(energy), budget=Budget(seconds=60))
    return answer


def test_the_tree_of_the_karate_club_is_the_least():
    """Under degrees the least weights are those that CP-SAT proved with a flow through the tree."""
    made = nx.karate_club_graph()
    edges = [list(e) for e in made.edges()]
    weights = [made.edges[e]["weight"] for e in made.edges()]
    wanted = nx.minimum_spanning_tree(made).size(weight="weight")
    assert wanted == 68
    answer = cheapest(build("spanning_tree", len(edges), edges), weights)
    assert (answer.status, answer.energy, answer.bound) == (Status.OPTIMAL, 68, 68)
    for most, least in ((5, 70), (4, 74)):
        answer = under_degrees(edges, weights, most)
        assert (answer.status, answer.energy, answer.bound) == (Status.OPTIMAL, least, least)
    assert under_degrees(edges, weights, 2).status is Status.INFEASIBLE


@pytest.mark.parametrize("seed", range(12))
def test_trees_with_few_edges_at_a_node_are_those_of_enumeration(seed):
    rng = random.Random(seed)
    edges = [[rng.randrange(6), rng.randrange(6)] for _ in range(11)]
    weights = [rng.choice([1, 2, 0.5, -1, 7]) for _ in edges]
    least = None
    for chosen in itertools.product((0, 1), repeat=len(edges)):
        ends = [v for one, edge in zip(chosen, edges, strict=True) if one for v in edge]
        few = all(ends.count(v) <= 2 for v in ends)
        if few and keeps("spanning_tree", edges, chosen, 6):
            own = sum(w for one, w in zip(chosen, weights, strict=True) if one)
            least = own if least is None else min(least, own)
    answer = under_degrees(edges, weights, 2)
    wanted = Status.INFEASIBLE if least is None else Status.OPTIMAL
    assert (answer.status, answer.energy) == (wanted, least)


def test_a_large_tree_whose_levels_are_too_many_to_write_out():
    made = nx.gnm_random_graph(2000, 8000, seed=1)
    made.add_edges_from(zip(range(1999), range(1, 2000)))
    edges = [list(e) for e in made.edges()]
    weights = [1 + k % 97 for k in range(len(edges))]
    for (a, b), w in zip(edges, weights, strict=True):
        made[a][b]["weight"] = w
    tree = build("spanning_tree", len(edges), edges)
    x = tree.scope[0].variable
    by_weight = {}
    for k, w in enumerate(weights):
        by_weight.setdefault(w, []).append([k])
    costs = (1.0 * Table(x, sites=s, costs=[0, w]) for w, s in by_weight.items())
    (answer,) = answers(Problem(sum(costs, required(tree))), budget=Budget(seconds=60))
    wanted = nx.minimum_spanning_tree(made).size(weight="weight")
    assert (answer.status, answer.energy) == (Status.OPTIMAL, wanted)


@pytest.mark.parametrize("kind", [*NODES, *EDGES])
def test_mistakes_say_where_they_stand(kind):
    more = {"start": 0, "goal": 1} if kind == "shortest_path" else {}
    with pytest.raises(BadQuery) as caught:
        build(kind, 2, [[0, 1], [0, 1, 2]], **more)
    assert [m.path for m in caught.value.mistakes] == ["params.edges[1]"]
    wrong = {"edges[0][1]"} if kind in NODES else {"edges"}
    with pytest.raises(BadQuery) as caught:
        build(kind, 3, [[0, 7]], **more)
    assert {m.path for m in caught.value.mistakes} == {f"params.{path}" for path in wrong}
    x = Variable("x", Finite((0, 1, 2), (1,)))
    with pytest.raises(BadQuery, match="has the values"):
        CATALOGUE.kind(f"graph.{kind}").build([x], {"edges": [], **more})


def test_a_tree_that_forgets_a_cycle_is_caught():
    class Forgetful(SpanningTree):
        def holds(self, *values):
            return sum(self.chosen(values)) == self.links.nodes - 1

    x = Variable("x", Finite((0, 1), (4,)))
    with pytest.raises(AssertionError):
        check_term(Forgetful(x, edges=[[0, 1], [1, 2], [2, 0], [2, 3]]))


def test_rules_weigh_too():
    """At a price a rule may break: dropping one edge is cheaper than a second node."""
    rule = build("vertex_cover", 4, [[0, 1], [2, 3]])
    x = rule.scope[0].variable
    sizes = sum((1.0 * Table(x, sites=[k], costs=[0, 3]) for k in range(4)), 2.0 * rule)
    (answer,) = answers(Problem(sizes))
    assert (answer.status, answer.energy) == (Status.OPTIMAL, 4.0)

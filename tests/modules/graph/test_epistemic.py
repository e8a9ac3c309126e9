"""Energies of what is not known on a graph: dense oracles, laws, networks, kinds, every door."""

import json
from dataclasses import replace

import networkx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from engine import Finite, Input, Problem, Real, Variable, answers
from engine.answer import Flag
from engine.domain import Told
from engine.energy.lesson import Lesson
from engine.errors import BadQuery
from examples.generators.blocks import SEED, STRANGE, blocks, open_blocks
from modules.discrete.equal import Equal
from modules.graph.doubt import Doubt
from modules.graph.epistemic import baselines
from modules.graph.epistemic.backbones import BACKBONES, backbone, outputs
from modules.graph.epistemic.data import (
    Nodes,
    as_features,
    from_data,
    from_networkx,
    nodes_of,
    read_nodes,
    rows_at,
    unit_rows,
)
from modules.graph.epistemic.diffusion import Graph, diffuse, diffuse_logs, graph_of, without_edges
from modules.graph.epistemic.energies import GraphEnergy, fitted_of
from modules.graph.epistemic.model import load_model, model_of
from modules.graph.epistemic.term import Epistemic
from modules.graph.epistemic.training import labelled_nodes, train_network
from tests.support.paths import ROOT

WEIGHTS = "blocks.safetensors"
EDGES = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=14)


def dense(graph: Graph) -> np.ndarray:
    """D^-1 (A + I) of a small graph."""
    a = np.eye(graph.nodes)
    a[graph.ends[0], graph.ends[1]] = 1
    return a / a.sum(1, keepdims=True)


def tensor(edges) -> torch.Tensor:
    return torch.tensor(edges, dtype=torch.int64).reshape(-1, 2)


def random_outputs(n: int, seed: int = 0, d: int = 4, classes: int = 3):
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    h = torch.randn(n, d, generator=rng) + 3 * torch.nn.functional.one_hot(labels, d)
    return h, 4 * h[:, :classes], labels


# ---------------------------------------------------------------- what flows


@given(EDGES, st.integers(0, 4), st.sampled_from([0.0, 0.5, 1.0]))
@settings(max_examples=60, deadline=None)
def test_what_flows_is_what_dense_matrices_say(edges, steps: int, alpha: float) -> None:
    """Loops, repetitions, both ways, nodes without edges and parts apart are among them."""
    graph = graph_of(tensor(edges), 7)
    ways = {(a, b) for a, b in edges if a != b} | {(b, a) for a, b in edges if a != b}
    assert sorted(map(tuple, graph.ends.T.tolist())) == sorted(ways)
    z = torch.randn(7, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    p, wanted = dense(graph), z.numpy()
    for _ in range(steps):
        wanted = alpha * wanted + (1 - alpha) * p @ wanted
    np.testing.assert_allclose(diffuse(z, graph, steps, alpha), wanted, atol=1e-12)
    logs = diffuse_logs(z, graph, steps, alpha)
    np.testing.assert_allclose(logs.exp(), diffuse(z.exp(), graph, steps, alpha), rtol=1e-12)


def test_evidence_beyond_what_numbers_hold_flows_all_the_same(monkeypatch) -> None:
    """e of 2,000 and of -2,000 nats; a node with none at all; pieces of a sum are the whole."""
    graph = graph_of(tensor([[0, 1], [1, 2], [2, 3]]), 5)
    z = torch.tensor([[2000.0], [-2000.0], [3.0], [-torch.inf], [-torch.inf]]).double()
    found = diffuse_logs(z, graph, 1, 0.5)[:, 0]
    assert found[0] == pytest.approx(2000 + np.log(0.75))
    assert found[1] == pytest.approx(2000 + np.log(1 / 6))
    assert found[2] == pytest.approx(3 + np.log(0.5 + 1 / 6))
    assert found[3] == pytest.approx(3 + np.log(0.25)) and found[4] == -torch.inf
    monkeypatch.setattr("modules.graph.epistemic.diffusion.PIECE", 3)
    torch.testing.assert_close(diffuse_logs(z, graph, 1, 0.5)[:, 0], found)


def test_a_node_that_is_none_is_refused() -> None:
    with pytest.raises(BadQuery, match=r"edges\[1\]"):
        graph_of(tensor([[0, 1], [0, 5]]), 5)


# ---------------------------------------------------------------- the energies


def test_energies_are_the_formulas_in_dense_numpy() -> None:
    h, logits, labels = random_outputs(7)
    graph = graph_of(tensor([[0, 1], [1, 2], [4, 5]]), 7)
    fitted = GraphEnergy(steps=3, alpha=0.3, weights=(1, 2, 3)).fit(h, logits, labels, graph=graph)
    e = fitted.log_evidence(h, logits).numpy()
    p = np.linalg.matrix_power(0.3 * np.eye(7) + 0.7 * dense(graph), 3)
    own = -np.log(np.exp(e).sum(1))
    local, group = -np.log(np.exp(p @ e).sum(1)), p @ own
    found = fitted.score(h, logits, graph)
    for name, wanted in (("independent", own), ("local", local), ("group", group)):
        np.testing.assert_allclose(getattr(found, name), wanted, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.total, own + 2 * local + 3 * group, rtol=1e-9)
    beta = p @ np.exp(e)
    chances = (1 + beta) / (3 + beta.sum(1, keepdims=True))
    np.testing.assert_allclose(fitted.predict(h, logits, graph), chances, rtol=1e-6)


def test_without_a_graph_or_without_edges_the_three_are_one() -> None:
    h, logits, labels = random_outputs(9)
    fitted = GraphEnergy().fit(h, logits, labels)
    for graph in (None, without_edges(9)):
        found = fitted.score(h, logits, graph)
        torch.testing.assert_close(found.local, found.independent)
        torch.testing.assert_close(found.group, found.independent)
        torch.testing.assert_close(found.total, 3 * found.independent)


def test_nodes_in_another_order_have_their_own_energies() -> None:
    h, logits, labels = random_outputs(12)
    edges = tensor([[0, 3], [3, 6], [1, 4], [7, 8], [2, 11]])
    fitted = GraphEnergy().fit(h, logits, labels, graph=graph_of(edges, 12))
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    place = order.argsort()
    one = fitted.score(h, logits, graph_of(edges, 12)).parts
    other = fitted.score(h[order], logits[order], graph_of(place[edges], 12)).parts
    torch.testing.assert_close(other, one[order])


def test_a_broken_node_gives_no_evidence_and_is_outvoted() -> None:
    h, logits, labels = random_outputs(30)
    alike = (labels[:, None] == labels) & (torch.arange(30)[:, None] < torch.arange(30))
    edges = alike.nonzero()
    graph = graph_of(edges, 30)
    fitted = GraphEnergy().fit(h, logits, labels, graph=graph)
    h, logits = h.clone(), logits.clone()
    h[0], logits[0] = 500.0, torch.tensor([-900.0, 0.0, 900.0])  # far off, and sure of class 2
    found = fitted.score(h, logits, graph)
    assert found.independent[0] > fitted.limits[0]
    assert fitted.predict(h, logits, graph)[0].argmax() == 0
    assert fitted.predict(h, logits, graph, gated=True)[0].argmax() == 0


def test_evidence_that_is_far_too_much_is_not_stood_by_either() -> None:
    """Logits that outgrow the distance: an energy below all that is known."""
    h, logits, labels = random_outputs(30)
    fitted = GraphEnergy().fit(h, logits, labels)
    assert fitted.inside(fitted.score(h, logits)).double().mean() >= 0.9
    found = fitted.score(h, logits + 1000)
    assert not fitted.inside(found).any() and not fitted.parts_inside(found)[:, 0].any()
    gated = fitted.predict(h, logits + 1000, gated=True)
    torch.testing.assert_close(gated, torch.full_like(gated, 1 / 3))  # nothing is known


def test_a_file_keeps_the_fitted_energies() -> None:
    h, logits, labels = random_outputs(20)
    fitted = GraphEnergy(gamma=2.0, steps=4, alpha=0.25).fit(h, logits, labels, labels < 2)
    again = fitted_of(fitted.tensors())
    assert again.settings == fitted.settings and torch.equal(again.limits, fitted.limits)
    assert torch.equal(again.usual, fitted.usual)
    assert torch.equal(again.score(h, logits).total, fitted.score(h, logits).total)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(BadQuery, match="alpha"):
        GraphEnergy(alpha=2.0)
    with pytest.raises(BadQuery, match="weights"):
        GraphEnergy(weights=(1.0, -1.0, 0.0))
    h, logits, labels = random_outputs(6)
    fitted = GraphEnergy().fit(h, logits, labels)
    with pytest.raises(BadQuery, match="6 nodes, and the graph has 7"):
        fitted.score(h, logits, graph_of(tensor([[0, 6]]), 7))


def test_peers_on_a_small_graph() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    graph = graph_of(tensor([[0, 1]]), 3)
    own = -np.log(np.exp(logits.numpy()).sum(1))
    np.testing.assert_allclose(baselines.logit_energy(logits), own, rtol=1e-6)
    np.testing.assert_allclose(
        baselines.gnn_safe(logits, graph, 1), [(own[0] + own[1]) / 2] * 2 + [own[2] / 2], rtol=1e-6
    )
    assert baselines.entropy(logits)[1] == pytest.approx(np.log(2))
    assert baselines.ensemble([logits, logits]).abs().max() < 1e-12
    assert baselines.ensemble([logits, -logits])[0] > 0.1


# ---------------------------------------------------------------- networks and their data


@pytest.fixture(scope="module")
def learned() -> Nodes:
    made = blocks(SEED, 150)
    return nodes_of(made["features"], made["edges"], made["labels"])


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_learns_and_hears_no_one_without_edges(name: str, learned: Nodes) -> None:
    labelled = labelled_nodes(learned.labels, 15, 0)
    assert labelled.sum() == 45
    network = backbone(name, learned.features.shape[1], 3, 16)
    done = train_network(network, learned, labelled, rate=0.02, steps=60)
    h, logits = outputs(network, learned.features, learned.graph)
    right = (logits.argmax(1) == learned.labels)[~labelled].double().mean()
    assert right > 0.8 and h.shape == (150, 16) and done.steps <= 60
    alone = [outputs(network, rows_at(learned.features, own), None)[1]
             for own in torch.eye(150, dtype=torch.bool)[:3]]  # fmt: skip
    free = outputs(network, learned.features, None)[1]
    torch.testing.assert_close(torch.cat(alone), free[:3], rtol=1e-4, atol=1e-5)
    again = outputs(network, as_features(learned.features.to_dense()), learned.graph)[1]
    torch.testing.assert_close(again, logits, rtol=1e-4, atol=1e-4)


def test_sparse_rows_train_as_dense_ones(learned: Nodes) -> None:
    """The product of sparse rows has the gradient of a dense one."""
    sparse = as_features(torch.eye(30)[torch.arange(40) % 30])
    assert sparse.layout == torch.sparse_csr
    graph, labels = graph_of(tensor([[k, k + 1] for k in range(39)]), 40), torch.arange(40) % 2
    for name in ("gcn", "gin", "appnp"):
        grads = []
        for x in (sparse, sparse.to_dense()):
            network = backbone(name, 30, 2, 8).train()
            torch.manual_seed(0)
            loss = torch.nn.functional.cross_entropy(network(x, graph.ends)[1], labels)
            loss.backward()
            grads.append([p.grad for p in network.parameters()])
        for one, other in zip(*grads, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


class Plain(torch.nn.Module):
    """Any network of the form: it knows nothing of this project."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two = torch.nn.Linear(48, 8), torch.nn.Linear(8, 3)

    def forward(self, features, edges):
        near = torch.zeros_like(features).index_add(0, edges[0], features[edges[1]])
        h = self.one(features + near).relu()
        return h, self.two(h)


def test_any_module_is_scored_after_it_was_trained(learned: Nodes) -> None:
    labelled = labelled_nodes(learned.labels, 15, 0)
    network = Plain()
    train_network(network, learned, labelled, rate=0.02, steps=60)
    model = model_of(network, learned.features, learned.graph, learned.labels, labelled)
    made = open_blocks()
    graph = graph_of(torch.as_tensor(made["edges"]), 120)
    strange = torch.arange(120) >= 120 - STRANGE
    far = np.where(strange[:, None], 5, 1) * made["features"]
    found = model.energies(far, graph)
    assert found.independent[strange].median() > found.independent[~strange].median()
    judged = model.judge(made["features"], graph)
    assert judged.logs.exp().sum(1) == pytest.approx(torch.ones(120).double())
    with pytest.raises(BadQuery, match="no such pair"):
        outputs(Unfit(), learned.features, None)


class Unfit(torch.nn.Module):
    def forward(self, features, edges):
        return features


def test_digits_with_ten_neighbours_are_the_same_code_path() -> None:
    """No graph is given: ten nearest pictures each; 7 to 9 are left out, then noise."""
    from sklearn.datasets import load_digits
    from sklearn.neighbors import kneighbors_graph

    pixels, y = load_digits(return_X_y=True)
    x = torch.tensor(pixels / 16, dtype=torch.float32)
    near = kneighbors_graph(pixels, 10).tocoo()
    whole = nodes_of(x, np.stack([near.row, near.col], 1), y)
    known = whole.labels < 7
    own = whole.at(known)
    labelled = labelled_nodes(own.labels, 20, 0)
    network = backbone("gcn", 64, 7, 32)
    train_network(network, own, labelled, rate=0.01, steps=150)
    model = model_of(network, own.features, own.graph, own.labels, labelled)
    total = model.energies(whole.features, whole.graph).total
    wins = (total[~known][:, None] > total[known][None]).double().mean()
    assert wins > 0.85
    noisy = known & (torch.arange(len(y)) % 2 == 0)
    features = torch.where(
        noisy[:, None],
        torch.randn(len(y), 64, generator=torch.Generator().manual_seed(0)),
        whole.features,
    )
    found = model.energies(features, whole.graph)
    flat = replace(model.fitted, evidence=replace(model.fitted.evidence, gamma=0.0))
    near = replace(model, fitted=flat)
    wins, alone = (
        (total[noisy][:, None] > total[known & ~noisy][None]).double().mean()
        for total in (found.total, near.energies(features, whole.graph).total)
    )
    assert wins > max(0.75, alone + 0.05)  # distance is what finds noise
    assert model.fitted.inside(found)[noisy].double().mean() < 0.2


def test_graphs_of_others(learned: Nodes, tmp_path) -> None:
    from torch_geometric.data import Data

    features = learned.features.to_dense()
    data = Data(x=features, edge_index=learned.graph.ends, y=learned.labels)
    net = networkx.Graph()
    for k, (x, y) in enumerate(zip(features.tolist(), learned.labels.tolist(), strict=True)):
        net.add_node(f"n{k}", x=x, block=y)
    net.add_edges_from([(f"n{a}", f"n{b}") for a, b in learned.graph.ends.T.tolist()])
    for made in (from_data(data), from_networkx(net, label="block")):
        assert torch.equal(made.graph.ends, learned.graph.ends)
        assert torch.equal(made.labels, learned.labels)
        torch.testing.assert_close(made.features.to_dense(), features)
    with pytest.raises(BadQuery, match="'y'"):
        from_networkx(net, label="y")
    with pytest.raises(BadQuery, match="nan"):
        nodes_of(features * torch.nan, [], None)
    with pytest.raises(BadQuery, match=r"(?s)labels.*edges"):
        nodes_of(features, [[0, 1, 2]], [0])


@pytest.mark.parametrize("form", ["rows", "pairs"])
def test_graphs_in_files(form: str, tmp_path) -> None:
    made = blocks(3, 30)
    if form == "rows":
        adjacency = torch.zeros(30, 30)
        adjacency[made["edges"][:, 0], made["edges"][:, 1]] = 1  # one way, as such files have it
        held = {"labels": made["labels"]}
        for name, full in (("adj", adjacency), ("attr", torch.as_tensor(made["features"]).float())):
            rows = csr_matrix(full.numpy())
            held |= {
                f"{name}_data": rows.data,
                f"{name}_indices": rows.indices.astype(np.int32),
                f"{name}_indptr": rows.indptr.astype(np.int32),
                f"{name}_shape": np.array(full.shape),
            }
            ends = held[f"{name}_indptr"]
            for a, b in zip(ends, ends[1:], strict=False):  # columns in any order
                held[f"{name}_indices"][a:b] = held[f"{name}_indices"][a:b][::-1]
    else:
        held = made
    np.savez(tmp_path / "g.npz", **held)
    read = read_nodes(tmp_path / "g.npz")
    assert torch.equal(read.graph.ends, graph_of(torch.as_tensor(made["edges"]), 30).ends)
    np.testing.assert_array_equal(read.features.to_dense(), made["features"])
    unit = unit_rows(as_features(read.features)).to_dense().norm(dim=1)
    assert ((unit - 1).abs() < 1e-6).logical_or(unit == 0).all()


@pytest.mark.parametrize("broken", ["text", "pickle", "short", "outside", "nothing"])
def test_files_that_hold_no_graph_are_refused(broken: str, tmp_path) -> None:
    path, made = tmp_path / "g.npz", blocks(3, 30)
    if broken == "text":
        path.write_text("no archive")
    elif broken == "pickle":
        np.savez(path, features=np.array([{}], dtype=object), edges=made["edges"])
    elif broken == "short":
        np.savez(path, **(made | {"labels": made["labels"][:-1]}))
    elif broken == "outside":
        np.savez(path, **(made | {"edges": made["edges"] + 1}))
    else:
        np.savez(path, labels=made["labels"])
    with pytest.raises(BadQuery):
        read_nodes(path)


# ---------------------------------------------------------------- kinds


def graph_scope(n: int, m: int, *asked: Variable):
    width = load_model(WEIGHTS).width
    edges = Input("edges", Told((m, 2), low=0, high=max(0, n - 1), integer=True))
    return (Input("features", Real((n, width))), edges, *asked)


def labels_problem(made, values=(0, 1, 2)) -> Problem:
    n, m = len(made["features"]), len(made["edges"])
    scope = graph_scope(n, m, Variable("labels", Finite(values, (n,))))
    return Problem(1.0 * Epistemic(*scope, weights=WEIGHTS), scope)


def doubt_problem(made) -> Problem:
    n, m = len(made["features"]), len(made["edges"])
    scope = graph_scope(n, m, Variable("doubt", Real((n, 3))))
    return Problem(Doubt(*scope, weights=WEIGHTS), scope)


def test_labels_are_the_likeliest_and_strange_nodes_are_not_stood_by() -> None:
    made = open_blocks()
    problem = labels_problem(made)
    given = {name: made[name] for name in ("features", "edges")}
    (answer,) = answers(problem.given(**given))
    model = load_model(WEIGHTS)
    judged = model.judge(made["features"], graph_of(torch.as_tensor(made["edges"]), 120))
    assert answer.status == "OPTIMAL" and answer.values["labels"] == judged.logs.argmax(1).tolist()
    assert answer.energy == pytest.approx(-float(judged.logs.max(1).values.sum()), rel=1e-5)
    doubted = {place.site[0] for place in answer.abstained}
    assert doubted == set((~judged.inside).nonzero().reshape(-1).tolist())
    assert Flag.ABSTAIN in answer.flags and len(doubted & set(range(114, 120))) >= 5
    other = labels_problem(made, (2, 0, 1))  # another order of values: the same labels
    (again,) = answers(other.given(**given))
    assert again.values == answer.values


def test_the_three_energies_are_answered_and_those_beyond_their_band_named() -> None:
    made = open_blocks()
    given = {name: made[name] for name in ("features", "edges")}
    (answer,) = answers(doubt_problem(made).given(**given))
    model = load_model(WEIGHTS)
    found = model.energies(made["features"], graph_of(torch.as_tensor(made["edges"]), 120))
    np.testing.assert_allclose(answer.values["doubt"], found.parts, rtol=1e-6)
    outside = (~model.fitted.parts_inside(found)).nonzero().tolist()
    assert [list(place.site) for place in answer.abstained] == outside
    assert {114, 115, 116, 117, 118, 119} <= {v for v, k in outside if k == 0}


def test_labels_keep_rules_beside_them_in_one_search() -> None:
    """Two nodes must have one label: the least sum of their costs, proved."""
    made = open_blocks()
    *told, labels = graph_scope(
        120, len(made["edges"]), Variable("labels", Finite((0, 1, 2), (120,)))
    )
    term = Epistemic(*told, labels, weights=WEIGHTS)
    problem = Problem(1.0 * term + Equal(labels, pairs=[[0, 1]]), (*told, labels))
    given = {name: made[name] for name in ("features", "edges")}
    (answer,) = answers(problem.given(**given))
    costs = (
        -load_model(WEIGHTS)
        .judge(made["features"], graph_of(torch.as_tensor(made["edges"]), 120))
        .logs
    )
    alone = costs.min(1).values
    wanted = alone[2:].sum() + (costs[0] + costs[1]).min()
    assert answer.status == "OPTIMAL" and answer.energy == pytest.approx(float(wanted), rel=1e-5)
    assert answer.values["labels"][0] == answer.values["labels"][1]


def test_doubt_is_computed_and_no_evidence_bends_it() -> None:
    made = open_blocks()
    given = {name: made[name] for name in ("features", "edges")}
    far = {**given, "features": made["features"] * 1e6}
    (answer,) = answers(doubt_problem(made).given(**far))
    assert answer.status == "OPTIMAL" and len(answer.abstained) == 3 * 120
    (answer,) = answers(doubt_problem(made).given(**given, doubt=np.zeros((120, 3))))
    assert answer.status in ("INFEASIBLE", "UNSATISFIED")


def test_rows_side_by_side_are_rows_alone() -> None:
    one, two = blocks(5, 12), blocks(6, 12)
    m = min(len(one["edges"]), len(two["edges"]))
    rows = [{"features": g["features"], "edges": g["edges"][:m]} for g in (one, two)]
    cut = {**one, "edges": one["edges"][:m]}
    for make in (labels_problem, doubt_problem):
        both = answers(make(cut).given_rows(rows))
        alone = [answers(make(cut).given(**row))[0] for row in rows]
        for a, b in zip(both, alone, strict=True):
            assert a.values == b.values and a.abstained == b.abstained
            assert a.energy == pytest.approx(b.energy)


def test_absent_nodes_take_their_edges_along() -> None:
    """As if they had never been: the others have the energies of the smaller graph."""
    made = blocks(7, 20)
    here = [list(map(float, x)) for x in made["features"]]
    gone = [k in (3, 4, 19) for k in range(20)]
    features = [None if out else x for x, out in zip(here, gone, strict=True)]
    edges = [None if k == 0 else e for k, e in enumerate(made["edges"].tolist())]
    given = {"features": features, "edges": edges}
    (labels,) = answers(labels_problem(made).given(**given))
    (doubt,) = answers(doubt_problem(made).given(**given))
    kept = ~torch.tensor(gone)
    small = nodes_of(made["features"], made["edges"][1:]).at(kept)
    model = load_model(WEIGHTS)
    found = model.energies(small.features, small.graph).parts
    np.testing.assert_allclose(np.array(doubt.values["doubt"])[kept.numpy()], found, rtol=1e-5)
    assert doubt.values["doubt"][3] == [0.0, 0.0, 0.0]
    assert {3, 4, 19}.isdisjoint({p.site[0] for p in (*labels.abstained, *doubt.abstained)})


def test_without_edges_it_scores_any_classifier() -> None:
    made = open_blocks()
    features, _, labels = graph_scope(120, 1, Variable("labels", Finite((0, 1, 2), (120,))))
    problem = Problem(1.0 * Epistemic(features, labels, weights=WEIGHTS), (features, labels))
    (answer,) = answers(problem.given(features=made["features"]))
    model = load_model(WEIGHTS)
    inside = model.judge(made["features"], None).inside
    assert {p.site[0] for p in answer.abstained} == set((~inside).nonzero().reshape(-1).tolist())


@pytest.mark.parametrize(
    ("scope", "told"),
    [
        (lambda: graph_scope(4, 3, Variable("y", Finite((0, 1), (5,)))), "5"),
        (lambda: graph_scope(4, 3, Variable("y", Finite((0, 7), (4,)))), "7 is no class"),
        (lambda: graph_scope(4, 3, Variable("y", Real((4,)))), "labels"),
        (lambda: graph_scope(4, 3), "scope"),
        (
            lambda: (Input("x", Real((4, 3))), Variable("y", Finite((0, 1), (4,)))),
            r"give \(nodes, 48\)",
        ),
        (
            lambda: (
                *graph_scope(4, 3)[:1],
                Input("e", Real((3,))),
                Variable("y", Finite((0,), (4,))),
            ),
            r"give \(edges, 2\)",
        ),
    ],
)
def test_wrong_scopes_are_refused(scope, told: str) -> None:
    with pytest.raises(BadQuery, match=told):
        Epistemic(*scope(), weights=WEIGHTS)


def test_a_doubt_of_another_shape_and_edges_out_of_range_are_refused() -> None:
    with pytest.raises(BadQuery, match="independent, local, group"):
        Doubt(*graph_scope(4, 3, Variable("d", Real((4,)))), weights=WEIGHTS)
    made = {"features": np.zeros((4, 48)), "edges": np.array([[0, 9]])}
    with pytest.raises(BadQuery, match="9"):
        answers(labels_problem(made).given(**made))


def test_a_lesson_is_learned_and_asked(tmp_path) -> None:
    out = tmp_path / "w.safetensors"
    params = {"hidden": 8, "rate": 0.02, "backbone": "appnp", "unit": True, "labelled": 10}
    said = Epistemic.learn(
        Lesson(ROOT / "examples" / "blocks.npz", out, steps=60, params=params, command="basin ...")
    )
    assert "300 nodes, 693 edges, 3 classes" in said[0] and "held-out nodes are right" in said[2]
    model = load_model(str(out))
    assert model.unit and model.classes == (0, 1, 2) and model.fitted.limits.isfinite().all()
    with pytest.raises(BadQuery, match="weights"):
        load_model(str(ROOT / "modules" / "discrete" / "tabular" / "loans.safetensors"))
    with pytest.raises(BadQuery, match="backbone"):
        Epistemic.learn(Lesson(ROOT / "examples" / "blocks.npz", out, params={"backbone": "x"}))


def test_the_shipped_files_are_the_generator_s() -> None:
    for name, made in (("blocks.npz", blocks(SEED, 300)), ("blocks_open.npz", open_blocks())):
        with np.load(ROOT / "examples" / name) as file:
            assert all(np.array_equal(file[key], array) for key, array in made.items())


def test_from_the_command_line(capsys) -> None:
    """`basin ask` names nodes and energies; `basin score` says the same of doubt that is given."""
    from services.cli.ask import AskArguments, ask

    file = str(ROOT / "examples" / "blocks_trust.yaml")
    assert ask(AskArguments([file], json=True)) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["status"] == "OPTIMAL" and told["flags"] == ["ABSTAIN"]
    strange = {p["site"][0] for p in told["abstained"] if p["site"][1] == 0}
    assert {114, 115, 116, 117, 118, 119} <= strange


def test_no_more_memory_than_edges_ask_for() -> None:
    """Nothing as large as n x n, nor as edges x embedding, is made to score 20,000 nodes."""
    from tests.support.largest import Largest

    made = blocks(1, 20_000)
    model = load_model(WEIGHTS)
    nodes = nodes_of(made["features"], made["edges"])
    with Largest() as seen:
        model.energies(nodes.features, nodes.graph)
    assert seen.numbers <= 20_000 * 48

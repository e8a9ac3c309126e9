"""Labels of nodes: the least energy by enumeration, absent scores, rules beside, mistakes."""

import itertools
import math

import numpy as np
import pytest
import torch

from engine import Finite, Input, Problem, Real, Status, Variable, answers, required
from engine.energy.lesson import Lesson
from engine.errors import BadQuery
from engine.explain.margins import margins
from engine.testing import check_term
from modules.discrete.equal import Equal
from modules.discrete.linear import Linear
from modules.graph._couplings import Couplings, load_couplings
from modules.graph.labels import Labels

EDGES = [[0, 1], [1, 2], [2, 3, 0.5], [3, 4], [4, 0], [2, 2]]


def made(n=5, k=3, edges=EDGES, smoothness=0.8):
    scores, labels = (
        Input("scores", Real((n, k))),
        Variable("labels", Finite(tuple("abc"[:k]), (n,))),
    )
    return Labels(scores, labels, edges=edges, smoothness=smoothness)


def told(term, scores, *rules, **evidence):
    features, labels = (view.variable for view in term.scope)
    problem = Problem(sum(map(required, rules), 1.0 * term), (labels, features))
    problem = problem.given(scores=scores, **evidence)
    return problem, answers(problem)[0]


def cost(scores, labels, present=None):
    """By its definition."""
    total = 0.0
    for v, row in enumerate(scores):
        if present is None or present[v]:
            total -= row[labels[v]] - math.log(sum(map(math.exp, row)))
    for a, b, *w in EDGES:
        total += 0.8 * (w[0] if w else 1) * (labels[a] != labels[b])
    return total


@pytest.mark.parametrize("seed", range(5))
def test_the_best_labels_are_those_of_enumeration(seed):
    scores = np.random.default_rng(seed).normal(size=(5, 3)) * 2
    term = made()
    every = {x: cost(scores, x) for x in itertools.product(range(3), repeat=5)}
    problem, answer = told(term, scores)
    best = min(every, key=every.get)
    assert answer.status is Status.OPTIMAL
    assert answer.energy == pytest.approx(every[best], abs=1e-5)
    assert ["abc".index(y) for y in answer.values["labels"]] == list(best)
    got = margins(problem, answer)["labels"]
    for v in range(5):
        margin = min(e for x, e in every.items() if x[v] != best[v]) - every[best]
        assert got.low[v] <= margin + 1e-5 and got.high[v] >= margin - 1e-5


def test_rules_count_beside():
    scores = np.random.default_rng(0).normal(size=(5, 3))
    term = made()
    labels = term.scope[1].variable
    few = Linear(labels, terms=[[v, "a", 1] for v in range(5)], compare="==", constant=2)
    _, answer = told(term, scores, few, Equal(labels, pairs=[[0, 3]]))
    fits = [
        cost(scores, x)
        for x in itertools.product(range(3), repeat=5)
        if x.count(0) == 2 and x[0] == x[3]
    ]
    assert answer.status is Status.OPTIMAL and answer.energy == pytest.approx(min(fits), abs=1e-5)


def test_a_node_without_scores_is_told_by_its_neighbours():
    scores = [[3.0, 0, 0], None, [3.0, 0, 0], [0, 3.0, 0], [0, 3.0, 0]]
    _, answer = told(made(), scores)
    assert answer.values["labels"][1] == "a"
    want = cost([s or [0, 0, 0] for s in scores], [0, 0, 0, 1, 1], [s is not None for s in scores])
    assert answer.energy == pytest.approx(want, abs=1e-5)


def test_labels_that_are_given_stay():
    scores = np.zeros((5, 3))
    _, answer = told(made(), scores, labels=["c", None, None, None, None])
    assert answer.values["labels"] == ["c"] * 5


@pytest.mark.parametrize(
    "more, path",
    [
        ({"n": 4}, "edges[3][1]"),
        ({"edges": [[0, 1, -1]]}, "edges[0][2]"),
        ({"edges": [[0]]}, "edges[0]"),
        ({"smoothness": -1}, "smoothness"),
        ({"smoothness": math.nan}, "smoothness"),
    ],
)
def test_mistakes(more, path):
    with pytest.raises(BadQuery) as caught:
        made(**more)
    assert caught.value.mistakes[0].path == path


def test_scores_of_another_shape_are_refused():
    scores, labels = Input("scores", Real((4, 3))), Variable("labels", Finite((0, 1), (4,)))
    with pytest.raises(BadQuery, match=r"\[4, 2\]"):
        Labels(scores, labels, edges=[])


def blocks(path, seed=0, n=60):
    """A file of a graph in which label 0 seeks 1, and 2 seeks 2; some labels are not known."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    wanted = {(0, 1), (1, 0), (2, 2)}
    edges = [
        [a, b]
        for a in range(n)
        for b in range(a)
        if rng.random() < (0.3 if (labels[a], labels[b]) in wanted else 0.02)
    ]
    labels[:5] = -1
    np.savez(path, features=np.ones((n, 2), np.float32), edges=np.array(edges), labels=labels)
    return labels, edges


def test_couplings_are_counted_kept_and_weighed(tmp_path):
    labels, edges = blocks(tmp_path / "graph.npz")
    lesson = Lesson(tmp_path / "graph.npz", tmp_path / "W.safetensors", command="basin train it")
    said = Labels.learn(lesson)
    assert said[-1] == f"wrote {lesson.out}" and "3 classes" in said[0]
    kept = load_couplings(str(lesson.out))
    assert kept.made == "basin train it"
    pairs = np.ones((3, 3))
    for a, b in edges:
        if labels[a] >= 0 and labels[b] >= 0:
            pairs[labels[a], labels[b]] += 1
            pairs[labels[b], labels[a]] += 1
    share = pairs / pairs.sum()
    lift = -np.log(share / np.outer(share.sum(1), share.sum(0)))
    assert kept.prices.numpy() == pytest.approx(lift - lift.min(), abs=1e-12)
    assert kept.prices[0, 1] < kept.prices[0, 0] and kept.prices[2, 2] < kept.prices[2, 1]
    scores, asked = Input("scores", Real((5, 3))), Variable("labels", Finite((0, 1, 2), (5,)))
    term = Labels(scores, asked, edges=EDGES, smoothness=0.8, weights=str(lesson.out))
    check_term(term)
    numbers = np.random.default_rng(1).normal(size=(5, 3))
    price = np.round(kept.prices.numpy() * 2**24) / 2**24

    def total(x):
        own = sum(-numbers[v, x[v]] + math.log(np.exp(numbers[v]).sum()) for v in range(5))
        paid = [0.8 * (w[0] if w else 1) * price[x[a], x[b]] for a, b, *w in EDGES if a != b]
        return own + sum(paid)

    _, answer = told(term, numbers)
    least = min(map(total, itertools.product(range(3), repeat=5)))
    assert answer.status is Status.OPTIMAL
    assert answer.energy == pytest.approx(least, abs=1e-5)


def test_files_of_couplings_that_do_not_fit(tmp_path):
    blocks(tmp_path / "graph.npz")
    Labels.learn(Lesson(tmp_path / "graph.npz", tmp_path / "W.safetensors"))
    scores, asked = Input("scores", Real((2, 2))), Variable("labels", Finite((0, 1), (2,)))
    with pytest.raises(BadQuery, match="3 classes, and the labels have 2"):
        Labels(scores, asked, edges=[[0, 1]], weights=str(tmp_path / "W.safetensors"))
    with pytest.raises(BadQuery, match="basin train graph.labels"):
        Labels(scores, asked, edges=[[0, 1]], weights=str(tmp_path / "graph.npz"))
    for prices in ([[0, 1], [2, 0]], [[0, -1], [-1, 0]], [[0, math.nan], [math.nan, 0]], [[0, 1]]):
        Couplings(torch.tensor(prices)).save(tmp_path / "wrong.safetensors")
        with pytest.raises(
            BadQuery, match="holds no couplings|prices holds numbers that are not finite"
        ):
            Labels(scores, asked, edges=[[0, 1]], weights=str(tmp_path / "wrong.safetensors"))
    with pytest.raises(BadQuery, match="is unknown"):
        Labels.learn(Lesson(tmp_path / "graph.npz", tmp_path / "W", params={"rate": 1}))
    np.savez(tmp_path / "none.npz", features=np.ones((2, 1)), edges=[[0, 1]], labels=[-1, -1])
    with pytest.raises(BadQuery, match="classes"):
        Labels.learn(Lesson(tmp_path / "none.npz", tmp_path / "W"))

"""Labels on a large graph: costs of the labels of each node, and a price for ends that differ."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from engine import Factors, Finite, Problem, Term, Variable, answers
from engine.changes import energy_changes
from engine.factors import Table
from engine.minimizers.annealing import Annealing
from engine.solve import Budget
from engine.testing import check_term
from tests.support.largest import Largest


class Labels(Term):
    """E = sum_i costs[i, x_i] + price * (number of edges whose ends differ)."""

    dtype = torch.float64
    fixed_structure = True

    def __init__(self, labels, costs, edges, price):
        """costs (n, k) float64, edges (m, 2) int64; all tensors."""
        super().__init__(labels)
        self.price, ends = price, torch.cat([edges, edges.flip(1)])
        order = ends[:, 0].argsort(stable=True)
        end, near = ends[order].T.contiguous()  # each edge from both of its ends
        for name, own in (("costs", costs), ("edges", edges), ("end", end), ("near", near)):
            self.register_buffer(name, own)

    def energy(self, x):  # (B, n, k) -> (B,)
        a, b = self.edges.T
        differ = (1 - (x[:, a] * x[:, b]).sum(-1)).sum(-1)
        return (x * self.costs).sum((1, 2)) + self.price * differ

    def cost(self, x):  # (B, n) places -> (B,): looked up, one state after the other
        own = self.costs.gather(1, x.T).sum(0)
        a, b = self.edges.T
        return own + self.price * torch.stack([(one[a] != one[b]).sum() for one in x])

    def changes(self, sites, x):  # (m, 2), (B, n) -> (B, m, k): what stands at the near ends counts
        (n, k), site = self.costs.shape, sites[:, 1]
        place = site.new_full((n,), -1)
        place[site] = torch.arange(len(site), device=site.device)
        seen = place[self.end] >= 0
        first, near = k * place[self.end[seen]], self.near[seen]
        out = []
        for one in x:
            alike = torch.bincount(first + one[near], minlength=k * len(site)).view(-1, k)
            after = self.costs[site] - self.price * alike
            out.append(after - after.gather(1, one[site][:, None]))
        return torch.stack(out)

    def factors(self, labels):  # one table for the nodes, one for all edges
        (n, k), m = self.costs.shape, len(self.edges)
        own, differ = Factors.unary(self.costs.numpy()), np.argwhere(~np.eye(k, dtype=bool))
        prices, edge = np.full(len(differ), self.price), np.arange(m)
        table = Table(self.edges.numpy(), differ, prices, term=0 * edge, part=n + edge)
        return replace(own, tables=(*own.tables, table))

    def floor(self):
        return float(self.costs.min(1).values.sum())


def drawn(n: int, m: int, k: int, seed: int = 0) -> Labels:
    """Random costs, random edges between different nodes."""
    rng = np.random.default_rng(seed)
    edges = rng.integers(0, n, (m, 2))
    edges[:, 1] = (edges[:, 0] + 1 + edges[:, 1] % (n - 1)) % n
    costs = rng.integers(0, 1 << 20, (n, k)) / (1 << 20)
    labels = Variable("labels", Finite(tuple(range(k)), (n,)))
    return Labels(labels, torch.from_numpy(costs), torch.from_numpy(edges), 0.5)


def plain_energy(term: Labels, x: np.ndarray) -> float:
    """The same in plain numpy. (n,)"""
    a, b = term.edges.numpy().T
    return float(term.costs.numpy()[np.arange(len(x)), x].sum() + 0.5 * (x[a] != x[b]).sum())


def settled(term: Labels, x: np.ndarray) -> np.ndarray:
    """Every node in turn to its best label, until none moves, in plain numpy."""
    costs, edges, x = term.costs.numpy(), term.edges.numpy(), x.copy()
    near = [[] for _ in costs]
    for a, b in edges.tolist():
        near[a].append(b)
        near[b].append(a)
    moved = True
    while moved:
        moved = False
        for i, others in enumerate(near):
            after = costs[i] - 0.5 * np.bincount(x[others], minlength=costs.shape[1])
            if after.min() < after[x[i]] - 1e-12:
                x[i], moved = after.argmin(), True
    return x


@pytest.mark.parametrize("seed", range(3))
def test_the_term_keeps_its_contract(seed: int) -> None:
    check_term(drawn(6, 9, 3, seed))


def test_a_small_graph_is_proved_least() -> None:
    term = drawn(8, 12, 3)
    (answer,) = answers(Problem(term))
    least = min(plain_energy(term, np.array(x)) for x in np.ndindex(*[3] * 8))
    assert answer.status == "OPTIMAL" and answer.energy == pytest.approx(least)


def test_costs_and_changes_are_those_of_plain_numpy() -> None:
    """1,000 nodes, all sites at once; the changes also out of order, and of some."""
    term = drawn(1000, 10_000, 7)
    problem = Problem(term)
    x = np.random.default_rng(1).integers(0, 7, (3, 1000))
    state = {"labels": torch.from_numpy(x).to(torch.uint8)}
    np.testing.assert_allclose(term(state), [plain_energy(term, one) for one in x])
    every = energy_changes(problem, np.arange(1000), state)
    some = np.random.default_rng(2).permutation(1000)[:50]
    np.testing.assert_array_equal(every[:, some], energy_changes(problem, some, state))
    for site in some[:10]:
        for label in range(7):
            after = x.copy()
            after[:, site] = label
            rise = [plain_energy(term, b) - plain_energy(term, a) for a, b in zip(x, after)]
            np.testing.assert_allclose(every[:, site, label], rise, atol=1e-9)


def test_annealing_beats_going_downhill_and_makes_no_one_hot_states() -> None:
    """Sweeps of 64 particles; no tensor is as large as their states relaxed, or as n x n."""
    term = drawn(1000, 10_000, 7)
    with Largest() as seen:
        (answer,) = answers(Problem(term), Annealing(sweeps=100), budget=Budget(steps=100))
    values = np.array(answer.values["labels"])
    assert answer.status == "SCORED" and answer.energy == pytest.approx(plain_energy(term, values))
    greedy = settled(term, term.costs.numpy().argmin(1))
    assert answer.energy <= plain_energy(term, greedy)
    assert plain_energy(term, settled(term, values)) == pytest.approx(answer.energy)
    assert seen.numbers < 64 * 1000 * 7

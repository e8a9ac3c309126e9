"""Chains, trees and grids of small width: exact minimum with proof, and ln Z, against oracles.

The oracles are a forward recursion over a chain, in float64, and enumeration in fractions.
"""

import math
import statistics
from dataclasses import replace

import numpy as np
import torch

from benchmarks.common import Row, at_least, at_most, clock, one_core
from engine import Factors, Finite, Problem, Status, Term, Variable, answers
from engine.factors import Table
from engine.sampling.exact import log_partition
from engine.search.minibuckets import minibucket_bounds
from modules.discrete.table import Table as Costs
from tests.support.networks import case, grid

SITES, VALUES, TIMES = 10_000, 27, 5
NETWORKS = 40


class Chain(Term):
    """E = sum of costs of single sites + one table of costs of neighbours."""

    fixed_structure = True

    def __init__(self, x, single: np.ndarray, pair: np.ndarray):
        super().__init__(x)
        self.single, self.pair = torch.from_numpy(single), torch.from_numpy(pair)

    def cost(self, x):  # (B, n) places -> (B,)
        x = x.long()
        alone = self.single[torch.arange(x.shape[1]), x].sum(1)
        return alone + self.pair[x[:, :-1], x[:, 1:]].sum(1)

    def energy(self, x):  # (B, n, k) -> (B,)
        x = x.double()
        both = torch.einsum("bik,kl,bil->b", x[:, :-1], self.pair, x[:, 1:])
        return (x * self.single).sum((1, 2)) + both

    def factors(self, domain):
        n, k = domain.sites, domain.event[-1]
        one = Factors.unary(self.single.numpy())
        pairs = np.stack([np.arange(n - 1), np.arange(1, n)], 1)
        part = np.arange(n - 1)
        every = np.indices((k, k)).reshape(2, -1).T
        shared = Table(pairs, every, self.pair.numpy().reshape(-1), 0.0, 0 * part, part)
        decimals = replace(one.tables[0], computed=False)
        return replace(one, tables=(decimals, shared))


def chain(rng: np.random.Generator, sites: int = SITES) -> tuple[Problem, np.ndarray, np.ndarray]:
    """Costs of three decimals, drawn."""
    single, pair = rng.random((sites, VALUES)).round(3), rng.random((VALUES, VALUES)).round(3)
    x = Variable("x", Finite(range(VALUES), (sites,)))
    return Problem(1.0 * Chain(x, single, pair)), single, pair


def recursion(single: np.ndarray, pair: np.ndarray) -> tuple[float, float]:
    """The least energy and ln Z at temperature 1, site after site."""
    least, log = single[0], -single[0]
    for own in single[1:]:
        least = (least[:, None] + pair).min(0) + own
        step = log[:, None] - pair
        top = step.max(0)
        log = np.log(np.exp(step - top).sum(0)) + top - own
    return float(least.min()), float(log.max() + math.log(np.exp(log - log.max()).sum()))


def rows(seed: int = 0) -> list[Row]:
    """All rows."""
    rng = np.random.default_rng(seed)
    with one_core():
        small, _, _ = chain(rng, 50)
        answers(small), log_partition(small)  # the kernels are loaded
        return [*_chains(rng), *_networks(seed), *_bounds(rng)]


def _chains(rng: np.random.Generator) -> list[Row]:
    least, sums, peer, off, far, proved = [], [], [], 0, 0.0, 0
    for _ in range(TIMES):
        problem, single, pair = chain(rng)
        with clock() as spent:
            (answer,) = answers(problem)
        least.append(spent.cpu)
        with clock() as spent:
            (told,) = log_partition(problem)
        sums.append(spent.cpu)
        with clock() as spent:
            energy, log = recursion(single, pair)
        peer.append(spent.cpu)
        proved += answer.status is Status.OPTIMAL and answer.bound == answer.energy
        off += answer.energy is None or abs(answer.energy - energy) > 1e-6
        far = max(far, abs(told - log) / abs(log))
    title = f"chain of {SITES:,} sites x {VALUES} values"
    oracle = "forward recursion in numpy, least energy and ln Z together"
    return [
        at_most(f"{title}: exact minimum with proof, the problem prepared too", min(least), 0.2,
                "s", peer=oracle, peer_value=min(peer),
                note=f"CPU, least of {TIMES} problems; proved {proved}, off the oracle {off}"),
        at_most(f"{title}: ln Z", min(sums), 0.2, "s", peer=oracle, peer_value=min(peer),
                note=f"CPU, least of {TIMES} problems, prepared before"),
        at_most(f"{title}: ln Z from the oracle's, relative", far, 1e-12, ""),
    ]  # fmt: skip


def _networks(seed: int) -> list[Row]:
    exact, sums, count, spent_on = 0, 0, 0, []
    for k in range(NETWORKS):
        made = case(1000 * seed + k)
        problem = made.problem
        with clock() as spent:
            told = answers(problem)
        spent_on.append(1000 * spent.cpu / len(told))
        for row, (answer, log) in enumerate(zip(told, log_partition(problem))):
            states = [float(cost) for cost in made.states(row).values()]
            count += 1
            if not states:
                exact += answer.status is Status.INFEASIBLE
                sums += log == -math.inf
                continue
            exact += answer.status is Status.OPTIMAL and answer.energy == min(states)
            want = -min(states) + math.log(math.fsum(math.exp(min(states) - e) for e in states))
            sums += abs(log - want) <= 1e-12 * max(1.0, abs(want))
    title = f"{NETWORKS} random trees and grids of all families, {count} rows"
    return [
        at_least(f"{title}: least energy as enumerated, proved", 100 * exact / count, 100, "%",
                 note=f"a row takes {statistics.median(spent_on):.1f} ms CPU, median"),
        at_least(f"{title}: ln Z as enumerated", 100 * sums / count, 100, "%"),
    ]  # fmt: skip


def _bounds(rng: np.random.Generator) -> list[Row]:
    """A lattice that is too wide: how far mini-buckets come, of an energy that annealing finds."""
    x = Variable("x", Finite(range(4), (400,)))
    energy = 1.0 * Costs(x, sites=grid(20, 20), costs=(1 - np.eye(4)).tolist())
    for site in range(400):
        energy = energy + 1.0 * Costs(x, sites=[site], costs=rng.random(4).round(2).tolist())
    problem = Problem(energy)
    (answer,) = answers(problem)
    with clock() as spent:
        bound = minibucket_bounds(problem, 1 << 16)
    assert bound is not None and answer.energy is not None
    title = "lattice of 20 x 20 sites x 4 values"
    return [
        at_least(f"{title}: the bound of mini-buckets, of the best energy found",
                 100 * float(bound[0]) / answer.energy, 90, "%",
                 note=f"{spent.cpu:.2f} s CPU; {answer.status.value} at {answer.energy:.6g}"),
    ]  # fmt: skip

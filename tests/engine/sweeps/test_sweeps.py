"""Fused sweeps equal the plain reference, and stand at the exact distribution."""

import itertools
import math

import numpy as np
import pytest
import torch

from engine.domain import Real, Variable
from engine.energy import required
from engine.factors import Clauses, Counted, Different, Factors, Sums, Table, floats, ints
from engine.kernels import sweeps
from engine.minimizers.annealing import Annealing
from engine.minimizers.gibbs import Gibbs
from engine.problem import Problem
from engine.random import Stream
from engine.sweeps.layout import lay_out
from engine.sweeps.reference import plain_energy, reference
from tests.support.terms import (
    Bowl,
    Count,
    Distinct,
    boltzmann,
    costs_of,
    distance,
    free_spins,
    pairwise,
    sites,
    ternary,
)

# ---------------------------------------------------------------- the fused sweep


def random_factors(rng: np.random.Generator, rows: int) -> Factors:
    """Every family of structure over five sites, two of them a tight line; whole numbers."""
    sizes = ints([2, 2, 3, 3, 3, 4])
    n = len(sizes)

    def lists(count):
        site, value, start = [], [], [0]
        for _ in range(count):
            length = int(rng.integers(1, 5))
            s = rng.integers(0, n, length)
            site.append(s)
            value.append(np.array([rng.integers(0, sizes[q]) for q in s]))
            start.append(start[-1] + length)
        return dict(start=ints(start), site=np.concatenate(site), value=np.concatenate(value),
                    term=ints([0] * count), part=ints(range(count)))  # fmt: skip

    def table(scopes, shape, wild):
        tuples = ints(list(itertools.product(*map(range, shape))))
        costs = rng.integers(-3, 4, (rows, len(tuples)) if rows > 1 else len(tuples)).astype(float)
        if wild:
            costs[..., 0] = math.inf
        return Table(ints(scopes), tuples, costs, term=ints([0] * len(scopes)),
                     part=ints(range(len(scopes))))  # fmt: skip

    counted, clauses, sums = lists(3), lists(3), lists(2)
    return Factors(
        sizes,
        n,
        Counted(**counted, low=ints([0, 1, 2]), high=ints([1, 1, 3])),
        Clauses(**clauses, sign=rng.random(len(clauses["site"])) < 0.5),
        Sums(**sums, coefficient=rng.integers(-2, 3, len(sums["site"])).astype(float),
             low=floats([-1, 0]), high=floats([0, math.inf])),
        Different(ints([0, 3]), ints([2, 3, 4]), ints([0]), ints([0])),
        (
            table([[0], [1]], (2,), False),
            table([[0, 2], [1, 3]], (2, 3), True),
            table([[2, 4, 5]], (3, 3, 4), False),
            Table(ints([[2, 3], [5, 5]]), ints([[0, 1], [1, 1]]), floats([2.0, -1.0]), 1.0,
                  ints([0, 0]), ints([0, 1])),
        ),
    )  # fmt: skip


def fused(factors: Factors, allowed: np.ndarray, weight, betas, x, rng: Stream, row: int = 0,
          dense: int | None = None):  # fmt: skip
    """The fused sweeps of one row, beginning with sweep 0; x (P, n) is changed in place."""
    layout = lay_out(factors)
    n = len(factors.sizes)
    options = np.zeros(n, dtype=np.int32)
    choices = np.zeros(len(allowed), dtype=np.int16)
    for i, at in enumerate(layout.structure.offset[:-1]):
        values = np.flatnonzero(allowed[at : at + factors.sizes[i]])
        options[i] = len(values)
        choices[at : at + len(values)] = values
    field = layout.field[row if len(layout.field) > 1 else 0]
    score = np.full((len(x), 4), np.inf)
    best, blame = x.copy(), np.zeros(layout.rules)
    key = rng.words[0].numpy().astype(np.uint64)
    args = (np.asarray(betas, dtype=np.float64), key, rng.lane, 0, x, best, score)
    if layout.pairs is not None:
        sweeps.sweep_pairs(layout.pairs, options, layout.pair_field[0],
                           float(layout.pair_constant[0]), *args)  # fmt: skip
    elif layout.couplings is not None:
        sweeps.sweep_couplings(layout.couplings, layout.structure.offset, choices, options, field,
                               *args, np.zeros((0, 0, 2)))  # fmt: skip
    else:
        sweeps.sweep(layout.structure, row, choices, options, field, weight, *args, blame,
                     np.zeros((0, 0, 2)))  # fmt: skip
    return best, score, blame


@pytest.mark.parametrize("seed", range(12))
def test_sweep_equals_the_plain_reference(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    rows = 1 + seed % 3
    if seed % 2:
        monkeypatch.setattr(
            "engine.sweeps.layout.DENSE", 8
        )  # the larger tables are searched by key
    factors = random_factors(rng, rows)
    allowed = rng.random(int(factors.sizes.sum())) < 0.85
    offset = np.concatenate([[0], np.cumsum(factors.sizes)])
    x = np.array([[rng.integers(0, k) for k in factors.sizes] for _ in range(3)], dtype=np.int16)
    x[1:] = x[0]
    allowed[offset[:-1] + x[0]] = True
    weight = rng.integers(1, 4, lay_out(factors).rules).astype(float)
    stream = Stream(seed, torch.tensor([seed * 7919 - 5]))
    betas = [0.1, 0.5, 0.0, 1.0, 3.0]
    words = np.stack([stream.at(t).bits(3, len(factors.sizes) + 3).numpy() for t in range(5)], 1)
    expected = [
        reference(factors, allowed, weight, betas, words[p], x[p].astype(int), rows - 1)
        for p in range(3)
    ]
    best, score, blame = fused(factors, allowed, weight, betas, x, stream, rows - 1)
    for p, (state, cost, broken) in enumerate(expected):
        assert x[p].tolist() == state.tolist()
        assert score[p, 0] == pytest.approx(cost) and score[p, 1] == pytest.approx(broken)
        found = plain_energy(factors, best[p].astype(int), weight, rows - 1)
        assert score[p, 2] == pytest.approx(found[0]) and score[p, 3] == pytest.approx(found[1])
    assert blame.sum() == pytest.approx(score[:, 1].sum())
    assert len({tuple(y) for y in x.tolist()}) > 1  # particles draw their own numbers


@pytest.mark.parametrize("seed", range(4))
def test_fast_form_equals_the_plain_reference(seed: int) -> None:
    x = sites(9, 2)
    problem = Problem(1.0 * pairwise(x, seed, whole=True))
    factors, _ = problem.factored()
    assert lay_out(factors).pairs is not None
    rng = Stream(seed, problem.keys)
    start = np.random.default_rng(seed).integers(0, 2, (2, 9)).astype(np.int16)
    betas = [0.05, 0.1, 0.3, 0.5, 2.0]
    words = np.stack([rng.at(t).bits(2, 9).numpy() for t in range(5)], 1)
    allowed = np.ones(18, dtype=bool)
    expected = [
        reference(factors, allowed, np.zeros(0), betas, words[p], start[p].astype(int))
        for p in range(2)
    ]
    best, score, _ = fused(factors, allowed, np.zeros(0), betas, start, rng)
    for p in range(2):
        assert start[p].tolist() == expected[p][0].tolist()
        assert score[p, 0] == pytest.approx(expected[p][1])
        assert score[p, 2] == pytest.approx(
            plain_energy(factors, best[p].astype(int), np.zeros(0))[0]
        )


def random_pairs(rng: np.random.Generator, rows: int) -> Factors:
    """Costs of single sites and of pairs of sites, some pairs twice; whole numbers."""
    sizes = ints([3, 3, 3, 2, 4, 2])
    tuples = ints([*np.ndindex(3, 2)])
    ring = np.stack([ints([0, 1, 2]), ints([1, 2, 0])], 1)
    costs = rng.integers(-3, 4, 9).astype(float)
    three = ints(range(3))
    tables = [Table(ring, ints([*np.ndindex(3, 3)]), costs, 0.0, 0 * three, three)]
    for scopes in ([[0, 3], [2, 5]], [[1, 3], [0, 3], [4, 5]]):
        costs = rng.integers(-3, 4, len(tuples)).astype(float)
        m = len(scopes)
        tables.append(Table(ints(scopes), tuples, costs, 1.0, ints([0] * m), ints(range(m))))
    own = rng.integers(-3, 4, (rows, 3) if rows > 1 else 3).astype(float)
    first = Table(ints([[0], [2]]), ints([[0], [1], [2]]), own, 0.0, ints([0, 0]), ints([0, 1]))
    return Factors(sizes, len(sizes), tables=(*tables, first))


@pytest.mark.parametrize("seed", range(6))
def test_couplings_equal_the_plain_reference(seed: int) -> None:
    """Of any number of values, which evidence may narrow; the cost is carried and counted anew."""
    rng, rows = np.random.default_rng(seed), 1 + seed % 2
    factors = random_pairs(rng, rows)
    assert lay_out(factors).couplings is not None
    x = np.array([[rng.integers(0, k) for k in factors.sizes] for _ in range(3)], dtype=np.int16)
    allowed = rng.random(int(factors.sizes.sum())) < 0.85
    offset = np.concatenate([[0], np.cumsum(factors.sizes)])
    allowed[(offset[:-1] + x).reshape(-1)] = True
    stream = Stream(seed, torch.tensor([seed * 7919 - 5]))
    betas = [0.1, 0.5, 0.0, 1.0, 3.0] * 20
    words = np.stack([stream.at(t).bits(3, 6).numpy() for t in range(len(betas))], 1)
    none = np.zeros(0)
    expected = [
        reference(factors, allowed, none, betas, words[p], x[p].astype(int), rows - 1)
        for p in range(3)
    ]
    best, score, _ = fused(factors, allowed, none, betas, x, stream, rows - 1)
    for p, (state, cost, _) in enumerate(expected):
        assert x[p].tolist() == state.tolist()
        assert score[p, 0] == pytest.approx(cost)
        found = plain_energy(factors, best[p].astype(int), none, rows - 1)
        assert score[p, 2] == pytest.approx(found[0])


@pytest.mark.parametrize("seed", range(3))
def test_sweeps_one_by_one_are_sweeps_at_once(seed: int) -> None:
    """Of couplings: the cost that is carried from call to call is that of the state."""
    factors = random_pairs(np.random.default_rng(seed), 1)
    layout, n = lay_out(factors), len(factors.sizes)
    offset, values = layout.structure.offset, np.concatenate([np.arange(k) for k in factors.sizes])
    key = np.array([seed, 7], dtype=np.uint64)
    runs = []
    for parts in ([range(200)], [range(t, t + 1) for t in range(200)]):
        x = np.zeros((2, n), dtype=np.int16)
        best, score = x.copy(), np.full((2, 4), np.inf)
        for part in parts:
            sweeps.sweep_couplings(layout.couplings, offset, values.astype(np.int16),
                                   factors.sizes.astype(np.int32), layout.field[0],
                                   np.full(len(part), 0.4), key, 1, part[0], x, best, score,
                                   np.zeros((0, 0, 2)))  # fmt: skip
            for y, cost in zip(x, score[:, 0], strict=True):
                assert cost == pytest.approx(plain_energy(factors, y, np.zeros(0))[0])
        runs.append((x.tolist(), best.tolist(), score))
    assert runs[0][:2] == runs[1][:2]
    np.testing.assert_allclose(runs[0][2], runs[1][2])


@pytest.mark.parametrize(
    ("problem", "beta"),
    [(ternary(), 0.6), (Problem(1.0 * pairwise(sites(5, 2), 3)), 0.5), (free_spins(), 1.0)],
)
def test_annealing_stands_at_the_exact_distribution(problem: Problem, beta: float) -> None:
    minimizer = Annealing(sweeps=8, hot=beta, cold=beta, patience=None)
    places, energy, _ = costs_of(problem)
    n, k = problem.domains["x"].event
    rng = Stream(11, problem.keys)
    start = {"x": problem.domain("x").encode([0] * n).expand(4000, n)}
    s = minimizer.init(problem, start, rng.at(0))._replace(bound=torch.tensor([-1e9]))
    code = k ** np.arange(n)[::-1]
    counts = np.zeros(len(places))
    for step in range(1, 31):
        s = minimizer.step(problem, s._replace(done=torch.tensor([False])), rng.at(step))
        if step > 5:
            counts += np.bincount(s.places.numpy().astype(int) @ code, minlength=len(places))
    assert distance(counts, boltzmann(energy, beta)) < 0.02


def test_multipliers_weigh_rules_in_the_distribution() -> None:
    x = sites(3, 3)
    problem = Problem(1.0 * pairwise(x, 5) + required(Distinct(x)))
    factors, _ = problem.factored()
    places, energy, violation = costs_of(problem)
    weight, beta = np.full(lay_out(factors).rules, 0.8), 0.7
    # as explicit structure the rule counts by how much each value is used too often
    broken = np.array([plain_energy(factors, y, weight)[1] for y in places])
    assert ((broken > 0) == (violation > 0)).all()
    counts = np.zeros(len(places))
    states = np.zeros((3000, 3), dtype=np.int16)
    for step in range(30):
        rng = Stream(step, problem.keys)
        fused(factors, np.ones(9, dtype=bool), weight, [beta] * 5, states, rng)
        if step > 5:
            counts += np.bincount(states.astype(int) @ [9, 3, 1], minlength=27)
    assert distance(counts, boltzmann(energy + 0.8 * broken, beta)) < 0.02


@pytest.mark.parametrize("blind", [False, True])
def test_gibbs_stands_at_the_exact_distribution(blind: bool) -> None:
    """Also where the gradient says nothing about a part of the energy."""
    x = sites(4, 3)
    energy = 1.0 * pairwise(x, 4, explicit=False)
    if blind:
        energy = energy + 0.5 * Count(x, 2)
    problem = Problem(energy)
    minimizer = Gibbs(steps=1, hot=0.5, cold=0.5, patience=None)
    places, costs, _ = costs_of(problem)
    rng = Stream(3, problem.keys)
    s = minimizer.init(problem, {"x": problem.domain("x").sample(3000, rng)}, rng.at(0))
    counts = np.zeros(81)
    for step in range(1, 160):
        s = minimizer.step(problem, s, rng.at(step))
        if step > 60:
            state = problem.places(s.frame.decided(s.now.hot, s.now.real))
            counts += np.bincount(state @ [27, 9, 3, 1], minlength=81)
    assert distance(counts, boltzmann(costs, 0.5)) < 0.02


def test_langevin_stands_at_the_exact_distribution() -> None:
    x = Variable("x", Real((2,)))
    problem = Problem(1.0 * Bowl(x, torch.diag(torch.tensor([1.0, 2.0])), torch.tensor([1.0, 0.0])))
    minimizer = Gibbs(hot=2.0, cold=2.0, patience=None)
    rng = Stream(3, problem.keys)
    s = minimizer.init(problem, {"x": problem.domain("x").sample(4000, rng)}, rng.at(0))
    seen = []
    for step in range(1, 150):
        s = minimizer.step(problem, s, rng.at(step))._replace(done=torch.tensor([False]))
        s = s._replace(pace=torch.full_like(s.pace, 0.05))
        if step > 80 and step % 5 == 0:
            seen.append(s.now.real)
    every_x = torch.cat(seen).double()
    assert torch.allclose(every_x.mean(0), torch.tensor([1.0, 0.0]).double(), atol=0.02)
    assert torch.allclose(every_x.var(0), torch.tensor([1 / 2, 1 / 8]).double(), rtol=0.05)

"""Moves that keep lines of sites that differ: every state visited does, and all of them are met."""

import itertools

import numpy as np
import pytest
import torch

from engine import Budget, Finite, Problem, Variable, answers
from engine.factors import Different, Factors, ints
from engine.kernels import sweeps
from engine.minimizers.annealing import Annealing
from engine.random import Stream
from engine.sweeps.layout import lay_out, lines_to_keep
from engine.sweeps.run import OpenValues, seat_lines
from modules.discrete.all_different import AllDifferent
from modules.discrete.table import Table


def lines(sizes, *every):
    start = np.cumsum([0, *map(len, every)])
    site = ints([s for line in every for s in line])
    part = ints(range(len(every)))
    return Factors(ints(sizes), len(sizes), different=Different(ints(start), site, 0 * part, part))


def test_the_longest_lines_that_share_no_site_are_kept():
    every = lines([5] * 8 + [4], [0, 1, 2], [2, 3, 4, 5], [6, 7], [0, 1, 6], [3, 4, 8])
    assert lines_to_keep(every) == [1, 3]


def opened(layout, allowed):
    """All values that a mask leaves, packed."""
    offset, n = layout.structure.offset, len(layout.sizes)
    options, choices = np.zeros((1, n), np.int32), np.zeros((1, int(offset[-1])), np.int16)
    for i in range(n):
        values = np.flatnonzero(allowed[offset[i] : offset[i + 1]])
        options[0, i] = len(values)
        choices[0, offset[i] : offset[i] + len(values)] = values
    return OpenValues(choices, options)


@pytest.mark.parametrize("seed", range(20))
def test_sites_are_seated_wherever_they_can_be(seed):
    """Against all assignments of five sites to six values."""
    rng = np.random.default_rng(seed)
    layout = lay_out(lines([6] * 5, range(5)), [0])
    allowed = rng.random(30) < 0.35
    allowed[6 * np.arange(5) + rng.integers(0, 6, 5)] = True
    grid = allowed.reshape(5, 6)
    can = any(grid[range(5), p].all() for p in itertools.permutations(range(6), 5))
    left = opened(layout, allowed)
    x = np.array([[[rng.choice(np.flatnonzero(row)) for row in grid] for _ in range(8)]], np.int16)
    before = x.copy()
    seat_lines(layout, left, x)
    for one, old in zip(x[0], before[0], strict=True):
        assert grid[range(5), one].all()
        assert (len(set(one.tolist())) == 5) is can
        if len(set(old.tolist())) == 5:
            assert one.tolist() == old.tolist()


@pytest.mark.parametrize("values", [4, 5])
def test_states_are_met_as_often_as_their_energy_says(values):
    """Four sites that differ, beside a free one: the exact distribution over those states."""
    rng = np.random.default_rng(values)
    x = Variable("x", Finite(tuple(range(values)), (4,)))
    y = Variable("y", Finite((0, 1, 2), ()))
    costs = rng.integers(0, 4, (values, values, 3)).astype(float)
    energy = 1.0 * Table(x, y, sites=[[0, 1, 4], [2, 3, 4]], costs=costs.tolist())
    problem = Problem(AllDifferent(x, lines=[[0, 1, 2, 3]]) + energy)
    factors = problem.form.factors
    layout = lay_out(factors, lines_to_keep(factors))
    assert layout.kept and layout.rules == 0
    allowed = np.ones(int(layout.structure.offset[-1]), bool)
    left = opened(layout, allowed)
    states = [(*p, v) for p in itertools.permutations(range(values), 4) for v in range(3)]
    each = np.array([costs[a, b, v] + costs[c, d, v] for a, b, c, d, v in states])
    wanted = np.exp(-0.7 * each) / np.exp(-0.7 * each).sum()
    particles, met = 20_000, dict.fromkeys(states, 0)
    places = np.tile(np.array([*range(4), 0], np.int16), (particles, 1))
    stream = Stream(3, torch.tensor([5]))
    key, score = stream.words[0].numpy().astype(np.uint64), np.full((particles, 4), np.inf)
    sweeps.sweep(
        layout.structure, 0, left.choices[0], left.options[0], layout.field[0], np.zeros(0),
        np.full(60, 0.7), key, stream.lane, 0, places, places.copy(), score, np.zeros(0),
        np.zeros((0, 0, 2)),
    )  # fmt: skip
    for state in places.tolist():
        met[tuple(state)] += 1
    share = np.array([met[s] for s in states]) / particles
    assert np.abs(share - wanted).sum() / 2 < 0.02 + np.sqrt(len(states) / particles) / 2
    where = {s: e for s, e in zip(states, each, strict=True)}
    assert score[:, 0].tolist() == [where[tuple(s)] for s in places.tolist()]


@pytest.mark.parametrize("seed", range(4))
def test_an_assignment_of_pairs_is_solved(seed):
    """Seven facilities at nine places (quadratic assignment), with evidence, against all."""
    rng = np.random.default_rng(seed)
    n, k = 6, 8
    x = Variable("x", Finite(tuple(range(k)), (n,)))
    far = rng.integers(1, 9, (k, k)).astype(float)
    pairs = list(itertools.combinations(range(n), 2))
    flow = rng.integers(0, 5, len(pairs))
    terms = [
        float(f) * Table(x, sites=list(two), costs=far.tolist())
        for f, two in zip(flow, pairs, strict=True)
        if f
    ]
    problem = Problem(AllDifferent(x, lines=[[*range(n)]]) + sum(terms[1:], terms[0]))
    problem = problem.given(x=[3, None, None, None, None, None])
    every = np.array([p for p in itertools.permutations(range(k), n) if p[0] == 3])
    best = min(
        sum(f * far[every[:, a], every[:, b]] for f, (a, b) in zip(flow, pairs, strict=True))
    )
    (answer,) = answers(problem, Annealing(patience=5), budget=Budget(steps=40))
    assert answer.energy == best and answer.status in ("SATISFIED", "OPTIMAL")


def test_lines_that_evidence_leaves_no_room_are_not_called_kept():
    x = Variable("x", Finite((0, 1, 2, 3), (3,)))
    energy = AllDifferent(x, lines=[[0, 1, 2]]) + 1.0 * Table(x, sites=[0, 1], costs=[[1] * 4] * 4)
    problem = Problem(energy).given(x=[1, 1, None])
    (answer,) = answers(problem, Annealing(patience=1), budget=Budget(steps=5))
    assert answer.status == "UNSATISFIED"

"""Tabu search makes the best move that is not forbidden, and keeps lines of sites that differ."""

import itertools

import numpy as np
import pytest
import torch

from engine import Budget, Finite, Problem, Status, Variable, answers, required
from engine.errors import BadQuery
from engine.minimizers.tabu import Tabu
from engine.random import Stream
from modules.discrete.all_different import AllDifferent
from modules.discrete.linear import Linear
from modules.discrete.table import Table


def problem_of(seed: int, sites: int = 5, values: int = 5, more: bool = True) -> Problem:
    """An assignment with costs of pairs and threes; with a rule that is no line, and some sites of
    it with fewer values."""
    rng = np.random.default_rng(seed)
    x = Variable("x", Finite(tuple(range(values)), (sites,)))
    energy = required(AllDifferent(x, lines=[[*range(sites)]]))
    for pair in itertools.combinations(range(sites), 2):
        costs = rng.integers(0, 9, (values, values)).tolist()
        energy = energy + 1.0 * Table(x, sites=[*pair], costs=costs)
    energy = energy + 0.5 * Table(
        x, sites=[0, 2, 4], costs=rng.integers(0, 9, (values,) * 3).tolist()
    )
    if not more:
        return Problem(energy)
    terms = [[0, k, k] for k in range(values)] + [[1, k, k] for k in range(values)]
    energy = energy + required(Linear(x, terms=terms, compare=">=", constant=3))
    return Problem(energy).given_rows([{}, {"x": [None, 0, None, None, None]}])


def neighbours(problem: Problem, row: int, places: np.ndarray) -> list[np.ndarray]:
    """Single moves; to a value that another site has, an exchange."""
    allowed = problem.select([row]).domain("x").allowed[0].numpy()
    out = []
    for i, b in zip(*np.nonzero(allowed), strict=True):
        other = places.copy()
        if places[i] == b:
            continue
        holder = np.flatnonzero(places == b)
        if len(holder):
            if not allowed[holder[0], places[i]]:
                continue
            other[holder[0]] = places[i]
        other[i] = b
        out.append(other)
    return out


@pytest.mark.parametrize("seed", range(4))
def test_each_move_is_the_best_of_all(seed: int) -> None:
    """While nothing is forbidden or broken; and what is carried is what the energy says."""
    problem = problem_of(seed)
    minimizer, rng = Tabu(sweeps=6, tenure=0, visit=1), Stream(seed, problem.keys)
    s = minimizer.init(problem, {"x": problem.domain("x").sample(3, rng)}, rng.at(0))
    for step in range(1, 5):
        before = s.places.numpy().copy()
        weights = s.multiplier.numpy().copy()
        s = minimizer.step(problem, s, rng.at(step))
        for k, (old, new) in enumerate(zip(before, s.places.numpy(), strict=True)):
            row, visible = k // 3, slice(0, 5)
            assert len(set(new[visible].tolist())) == 5
            every = neighbours(problem, row, old[visible])
            assert any((new[visible] == one).all() for one in every)
            totals = problem.totals(problem.state(np.stack([new[visible], *every])))
            told = s.scores[k]
            unit = 1 if s.plan.scale is None else float(s.plan.scale.unit)
            assert float(told[0]) == pytest.approx(unit * float(totals.energy[0]), abs=1e-6)
            assert float(told[1]) == pytest.approx(float(totals.violation[0]), abs=1e-6)
            if step == 1 and float(totals.violation.max()) == 0:
                assert float(totals.energy[0]) == pytest.approx(
                    float(totals.energy.min()), abs=1e-6
                )
        assert (s.multiplier.numpy() >= weights).all()


@pytest.mark.parametrize("seed", range(3))
def test_it_finds_what_enumeration_finds(seed: int) -> None:
    problem = problem_of(seed)
    found = answers(problem, Tabu(sweeps=40, patience=3), particles=4, seed=seed)
    for row, answer in enumerate(found):
        allowed = problem.domain("x").allowed[row].numpy()
        orders = [p for p in itertools.permutations(range(5)) if allowed[range(5), p].all()]
        totals = problem.totals(problem.state(np.array(orders)))
        least = float(totals.energy[totals.violation == 0].min())
        assert answer.energy == pytest.approx(least, abs=1e-6)
        assert answer.status in (Status.OPTIMAL, Status.SATISFIED)


def test_more_values_than_sites_and_rules_that_are_broken_at_first() -> None:
    x = Variable("x", Finite((0, 1, 2, 3, 4, 5), (4,)))
    lines = AllDifferent(x, lines=[[0, 1, 2, 3]])
    total = Linear(
        x, terms=[[s, k, k] for s in range(4) for k in range(6)], compare="==", constant=7
    )
    problem = Problem(
        required(lines) + required(total) + 1.0 * Table(x, sites=[0], costs=[5, 4, 3, 2, 1, 0])
    )
    (answer,) = answers(problem, Tabu(sweeps=50, patience=4), particles=2)
    assert sum(answer.values["x"]) == 7 and len(set(answer.values["x"])) == 4
    assert answer.energy == 1  # 4 + 2 + 1 + 0


def test_alone_as_in_company_and_taken_up() -> None:
    problem = problem_of(1)
    together = answers(problem, Tabu(sweeps=20, patience=2), seed=5, particles=2)
    alone = [
        answers(problem.select([r]), Tabu(sweeps=20, patience=2), seed=5, particles=2)[0]
        for r in (0, 1)
    ]
    assert [a.values for a in together] == [a.values for a in alone]
    (short,) = answers(problem.select([0]), Tabu(visit=1), budget=Budget(steps=2), particles=1)
    assert short.values is not None


def test_what_it_does_not_take() -> None:
    x = Variable("x", Finite((0, 1, 2), (3,)))
    pairs = Problem(1.0 * Table(x, sites=[0, 1], costs=torch.eye(3).tolist()))
    assert "use annealing" in (Tabu().refuses(pairs) or "")
    with pytest.raises(BadQuery, match="tenure"):
        Tabu(tenure=-1)

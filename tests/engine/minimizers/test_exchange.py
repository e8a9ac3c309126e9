"""Exchange stays inside what rules allow, and finds what is least there."""

import itertools

import numpy as np
import pytest
import torch

from engine import Budget, Finite, Problem, Status, Variable, answers, required, solve
from engine.kernels.exchange import exchange
from engine.minimizer import score
from engine.minimizers.exchange import Exchange, _begun, _groups
from engine.minimizers.portfolio import Portfolio
from engine.search.messages import coupled_of
from engine.search.prepared import LARGE
from modules.discrete.equal import Equal
from modules.discrete.linear import Linear
from modules.discrete.table import Table
from tests.support.terms import counted_problem


def model(seed, n=6, k=3):
    """Costs of sites and pairs, of which counts, links and forbidden pairs leave some states."""
    rng = np.random.default_rng(seed)
    x = Variable("x", Finite(tuple(range(k)), (n,)))
    energy = 1.0 * Table(x, sites=[[0]], costs=rng.integers(-4, 5, k).tolist())
    for site in range(1, n):
        energy = energy + 1.0 * Table(x, sites=[[site]], costs=rng.integers(-4, 5, k).tolist())
    for a, b in rng.permutation(list(itertools.combinations(range(n), 2)))[: n + 1].tolist():
        costs = rng.integers(-3, 4, (k, k)).astype(object)
        if rng.random() < 0.2:
            costs[tuple(rng.integers(0, k, 2))] = None
        energy = energy + 1.0 * Table(x, sites=[[a, b]], costs=costs.tolist())
    for value in range(k):
        low, high = sorted(rng.integers(0, n, 2).tolist())
        terms = [[site, value, 1] for site in range(n)]
        energy = energy + required(Linear(x, terms=terms, compare="<=", constant=high + 1))
        low = min(low, n // k)
        energy = energy + required(Linear(x, terms=terms, compare=">=", constant=low))
    if rng.random() < 0.7:
        energy = energy + required(Equal(x, pairs=[rng.permutation(n)[:2].tolist()]))
    problem = Problem(energy)
    every = np.array(list(itertools.product(range(k), repeat=n)))
    told, broken = score(problem, problem.state(every))
    good = (broken == 0) & torch.isfinite(told)
    return problem, float(told[good].min()) if bool(good.any()) else None


def test_the_least_is_mostly_found_and_nothing_below():
    begun, right, every = 0, 0, 0
    for seed in range(25):
        problem, least = model(seed)
        budget = Budget(steps=60)
        (answer,) = answers(problem, Exchange(visit=2_000), particles=2, budget=budget, seed=seed)
        if least is None:
            assert answer.status is Status.UNSATISFIED
            continue
        every += 1
        if answer.status is not Status.UNSATISFIED:  # mending may meet no state to begin at
            begun += 1
            right += answer.energy == pytest.approx(least)
            assert answer.energy >= least - 1e-9
    assert begun >= 0.8 * every and right >= 0.9 * begun


def test_sites_that_are_bound_are_one_group_whichever_way_pairs_are_written():
    x = Variable("x", Finite((0, 1, 2), (6,)))
    energy = 1.0 * Table(x, sites=[[0, 1]], costs=[[0, 1, 1], [1, 0, 1], [1, 1, 0]])
    energy = energy + required(Equal(x, pairs=[[3, 1], [1, 4], [5, 2]]))
    alike = [[0, None, None], [None, 0, None], [None, None, 0]]
    problem = Problem(energy + 1.0 * Table(x, sites=[[4, 0]], costs=alike))
    made = coupled_of(problem.concrete(0), problem.explicits[0].scale, problem.allowed[0])
    of = _groups(made).of
    assert [int((of == of[site]).sum()) for site in range(6)] == [4, 4, 2, 4, 4, 2]


def test_compiled_and_plain_moves_are_the_same():
    problem = counted_problem()
    told = []
    for run in (exchange.py_func, exchange.compiled):
        now = _begun(problem, 0)
        c, g = now.coupled, now.groups
        x = c.mended(now.x)
        best, out = x.copy(), np.zeros(2)
        with np.errstate(over="ignore"):
            run(
                *c.near, c.ends, c.table, c.floats, c.cost.astype(np.float64), g.possible,
                g.start, g.members, g.of, *c.literals, c.rows.low, c.rows.high, c.rows.sums(x),
                x, best, out, np.uint64(7), np.uint64(9), 3, 0, 400, 2.0 / c.spread.max(),
                2 * c.spread.max(),
            )  # fmt: skip
        assert not c.rows.missed(x).any() and not c.rows.missed(best).any()
        told.append((x.tolist(), best.tolist(), out.tolist()))
    assert told[0] == told[1]


def test_what_it_refuses():
    x = Variable("x", Finite((0, 1), (4,)))
    pairs = 1.0 * Table(x, sites=[[0, 1], [2, 3]], costs=[[0, 1], [1, 0]])
    count = required(Linear(x, terms=[[k, 1, 1] for k in range(4)], compare="==", constant=2))
    assert Exchange().refuses(Problem(pairs + count)) is None
    assert "rules that count" in (Exchange().refuses(Problem(pairs)) or "")
    assert "nothing that costs" in (Exchange().refuses(Problem(count)) or "")
    for wrong in ({"visit": 0}, {"rounds": 0}):
        with pytest.raises(Exception, match="give at least 1"):
            Exchange(**wrong)


def test_the_default_has_it_beside_annealing_where_much_is_weighed_under_counts():
    n, k = 45, 20
    x = Variable("x", Finite(tuple(range(k)), (n,)))
    costs = [[abs(a - b) + 0.5 * ((a * b) % 3) for b in range(k)] for a in range(k)]
    pairs = [[a, (a + step) % n] for a in range(n) for step in (1, 3, 7, 9, 11, 13, 17, 19)]
    assert len(pairs) * k * k > LARGE
    few = Linear(x, terms=[[site, 0, 1] for site in range(n)], compare="<=", constant=3)
    problem = Problem(1.0 * Table(x, sites=pairs, costs=costs) + required(few))
    members = [type(m).__name__ for m in Portfolio()._of(problem)]
    if members[0] in ("LinearRelaxation", "SoftConsistency"):
        members = [type(m).__name__ for m in Portfolio(opening=False)._of(problem)]
    assert members[0] == "Annealing" and "Exchange" in members
    (answer,) = answers(problem, budget=Budget(steps=20))
    assert answer.status in (Status.SATISFIED, Status.OPTIMAL)
    assert answer.bound is not None and answer.bound <= answer.energy


def test_no_state_outside_of_evidence_is_taken():
    x = Variable("x", Finite((0, 1, 2), (4,)))
    alike = [[0 if a == b else None for b in range(3)] for a in range(3)]
    energy = 1.0 * Table(x, sites=[0, 1], costs=alike)
    energy = energy + 1.0 * Table(x, sites=[2, 3], costs=[[5, 1, 2], [0, 3, 1], [1, 1, 0]])
    counts = [[site, 1, 1] for site in range(4)]
    energy = energy + required(Linear(x, terms=counts, compare="<=", constant=3))
    problem = Problem(energy).given(x=[0, 2, None, None])  # which no state keeps
    *_, last = solve(problem, Exchange(), particles=2, budget=Budget(steps=5), seed=0)
    assert bool(problem.inside(last.report.x).all()) or float(last.report.violation[0]) > 0
    (answer,) = answers(problem, Portfolio())
    assert answer.status is Status.INFEASIBLE

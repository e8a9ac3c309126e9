"""Messages: bounds hold whatever the messages and prices are; trees are exact; margins enclose."""

import math
from fractions import Fraction

import numpy as np
import pytest

from engine import Budget, Finite, Problem, Status, Variable, answers, required
from engine.explain.margins import margins
from engine.factors import Factors
from engine.minimizer import score
from engine.minimizers.message_passing import MessagePassing
from engine.minimizers.portfolio import Portfolio
from engine.search.messages import BITS, Passing, coupled_of, refusal
from engine.solve import solve


def model(seed, tree=False):
    """A random weighted model of few sites, and the least energy by enumeration."""
    from modules.catalogue import Catalogue

    kinds = Catalogue(entry_points=False)
    rng = np.random.default_rng(seed)
    n, k = int(rng.integers(2, 6)), int(rng.integers(2, 4))
    unit = float(rng.choice([1, 0.1, 0.37]))
    x = Variable("x", Finite(tuple(range(k)), (n,)))

    def table(sites, shape):
        costs = np.round(rng.integers(-5, 6, shape) * unit, 6).astype(object)
        if len(shape) > 1 and not tree and rng.random() < 0.2:
            costs[tuple(rng.integers(0, shape))] = None
        return kinds.kind("discrete.table").build([x], {"sites": sites, "costs": costs.tolist()})

    energy = sum((1.0 * table([v], (k,)) for v in range(1, n)), 1.0 * table([0], (k,)))
    pairs = [(v, int(rng.integers(0, v))) for v in range(1, n)]
    if not tree:
        pairs += [tuple(rng.choice(n, 2, replace=False).tolist()) for _ in range(3)]
    for a, b in pairs:
        energy = energy + 1.0 * table([a, b], (k, k))
    if not tree and rng.random() < 0.6:
        terms = [[v, int(rng.integers(k)), int(rng.integers(-2, 4))] for v in range(n)]
        params = {"terms": terms, "compare": str(rng.choice(["<=", ">=", "=="])), "constant": 1}
        energy = energy + required(kinds.kind("discrete.linear").build([x], params))
    if not tree and rng.random() < 0.4:
        group = [[[v, 0] for v in range(n)]]
        energy = energy + required(kinds.kind("discrete.exactly_one").build([x], {"groups": group}))
    problem = Problem(energy)
    every = problem.state(np.array(list(np.ndindex(*[k] * n)), dtype=np.int64))
    told, broken = score(problem, every)
    told = told.numpy().copy()
    told[(broken > 0).numpy()] = math.inf
    return problem, told, np.array(list(np.ndindex(*[k] * n)))


def bound_of(problem, seed, steps=30):
    *_, last = solve(problem, MessagePassing(visit=300), budget=Budget(steps=steps), seed=seed)
    return float(last.report.bound[0]), float(last.report.energy[0])


@pytest.mark.parametrize("seed", range(40))
def test_bounds_lie_below_the_least_energy(seed):
    problem, told, _ = model(seed)
    if MessagePassing().refuses(problem):
        return
    bound, energy = bound_of(problem, seed)
    assert bound <= told.min() + 1e-9
    if np.isfinite(told.min()):
        assert energy >= told.min() - 1e-9


@pytest.mark.parametrize("seed", range(20))
def test_bounds_hold_whatever_the_messages_and_prices_are(seed):
    problem, told, _ = model(seed)
    if MessagePassing().refuses(problem) or not np.isfinite(told.min()):
        return
    scale = problem.explicits[0].scale
    made = coupled_of(problem.concrete(0), scale, problem.allowed[0])
    rng = np.random.default_rng(seed)
    for size in (0, 1.0, 1e6, 2.0**BITS, 1e30):
        message = rng.normal(size=(len(made.ends), 2, made.cost.shape[1])) * size
        price = rng.integers(-1000, 1000, made.rows.count)
        price = np.where(np.isinf(made.rows.high), np.minimum(price, 0), price)
        price = np.where(np.isinf(made.rows.low), np.maximum(price, 0), price)
        bound = made.bound(message, price, made.possible)
        assert bound is None or scale.below(bound) <= told.min() + 1e-9


@pytest.mark.parametrize("seed", range(10))
def test_trees_are_exact(seed):
    problem, told, _ = model(seed, tree=True)
    bound, energy = bound_of(problem, seed)
    assert bound == pytest.approx(told.min(), abs=1e-9) == energy


@pytest.mark.parametrize("seed", range(12))
def test_no_pass_lowers_the_bound(seed):
    problem, _, _ = model(seed)
    if MessagePassing().refuses(problem):
        return
    made = coupled_of(problem.concrete(0), problem.explicits[0].scale, problem.allowed[0])
    now, last = Passing.begun(made), None
    for _ in range(10):
        now, _ = now.passed(1, math.inf)
        told = made.bound(now.message, now.price, now.possible)
        if made.rows.count or told is None:
            return
        assert last is None or told >= last - 1
        last = told


def test_a_message_that_makes_cost_out_of_nothing_is_caught():
    """The bound is summed from the costs themselves, so a search that counts its own is not."""
    problem, told, _ = model(2, tree=True)
    made = coupled_of(problem.concrete(0), problem.explicits[0].scale, problem.allowed[0])
    message = np.zeros((len(made.ends), 2, made.cost.shape[1]))
    message[0, 0] = 2.0**BITS  # handed to one end, and not taken from the pair
    site, _ = made._least(made._moved(message, np.zeros(0, np.int64)), made.possible)
    assert problem.explicits[0].scale.below(int(site.sum()) // made.fine) > told.min()
    honest = made.bound(message, np.zeros(0, np.int64), made.possible)
    assert problem.explicits[0].scale.below(honest) <= told.min()


@pytest.mark.parametrize("seed", range(30))
def test_margins_enclose_those_of_enumeration(seed):
    problem, told, places = model(seed)
    if MessagePassing().refuses(problem) or not np.isfinite(told.min()):
        return
    (answer,) = answers(problem)
    assert answer.status is Status.OPTIMAL
    got = margins(problem, answer)["x"]
    x = np.array(answer.values["x"])
    for v, value in enumerate(x):
        others = told[places[:, v] != value]
        margin = others.min(initial=math.inf) - told.min()
        assert got.low[v] <= margin + 1e-6 and got.high[v] >= margin - 1e-6


def test_margins_of_a_chain_are_known():
    from modules.discrete.table import Table

    x = Variable("x", Finite((0, 1), (5,)))
    chain = Table(x, sites=[[k, k + 1] for k in range(4)], costs=[[0, 3], [3, 0]])
    problem = Problem(1.0 * chain + 1.0 * Table(x, sites=[0], costs=[0, 2]))
    (answer,) = answers(problem)
    got = margins(problem, answer)["x"]
    assert got.low.tolist() == [2.0] * 5 and got.high[0] == 5.0


def test_what_has_no_such_form_is_refused():
    from modules.discrete.table import Table

    x = Variable("x", Finite((0, 1), (3,)))
    alone = Problem(1.0 * Table(x, sites=[[0], [1]], costs=[0, 1]))
    assert "no costs of pairs" in MessagePassing().refuses(alone)
    got = margins(alone, answers(alone)[0])
    assert got is not None and got["x"].low.tolist() == got["x"].high.tolist() == [1, 1, 0]
    triple = Table(x, sites=[0, 1, 2], costs=[[[0, 1], [1, 5]], [[1, 5], [5, 9]]])
    pair = 1.0 * Table(x, sites=[[0, 1]], costs=[[0, 1], [1, 0]])
    more = Problem(pair + 1.0 * triple)
    assert margins(more, answers(more)[0]) is None
    assert refusal(Factors(np.array([2, 2]), 2)) == "nothing that costs"


def test_the_portfolio_asks_for_messages_where_much_is_weighed_in_pairs():
    from modules.graph.cut import Cut

    n = 1500
    x = Variable("x", Finite((0, 1, 2), (n,)))
    rng = np.random.default_rng(0)
    edges = [[int(a), int(b), -1] for a, b in rng.integers(0, n, (3 * n, 2)) if a != b]
    problem = Problem(1.0 * Cut(x, edges=edges))
    members = [type(m).__name__ for m in Portfolio(opening=False)._of(problem)]
    assert "MessagePassing" in members and "MiniBuckets" not in members


def test_margins_are_exact_where_float64_is_not():
    """Costs apart by more than float64 holds: bounds are subtracted as whole units."""
    from modules.discrete.table import Table

    x = Variable("x", Finite((0, 1), (2,)))
    costs = 1.0 * Table(x, sites=[0], costs=[1e9, 2e9]) + 1.0 * Table(x, sites=[1], costs=[0, 1e-7])
    problem = Problem(costs + 1.0 * Table(x, sites=[0, 1], costs=[[3e-8, 3e-8], [0, 0]]))
    got = margins(problem, answers(problem)[0])["x"]
    assert got.low[1] == got.high[1] == 1e-7


@pytest.mark.parametrize("seed", range(20))
def test_margins_enclose_where_units_are_rounded(seed):
    """A forbidding cost makes units coarse: what one change costs is known as closely, no more."""
    from modules.discrete.table import Table

    rng = np.random.default_rng(seed)
    x = Variable("x", Finite((0, 1), (2,)))
    costs = rng.choice([0.1, 2.0, 7.0], (4, 2, 2))
    costs[0, 1, 1] = 1e15
    weights = rng.choice([1 / 3, 0.001, 0.7], 4)
    weights[0] = 1 / 3
    tables = [
        float(w) * Table(x, sites=[0, 1], costs=c.tolist())
        for w, c in zip(weights, costs, strict=True)
    ]
    problem = Problem(sum(tables[1:], tables[0]))
    assert problem.explicits[0].scale.error
    total = sum(
        (Fraction(str(w)) * np.vectorize(lambda one: Fraction(str(one)))(c))
        for w, c in zip(weights.tolist(), costs, strict=True)
    )
    (answer,) = answers(problem)
    a, b = answer.values["x"]
    got = margins(problem, answer)["x"]
    for site, others in ((0, total[1 - a]), (1, total[:, 1 - b])):
        true = float(min(others) - total[a, b])
        assert got.low[site] <= true <= got.high[site]

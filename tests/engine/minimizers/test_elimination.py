"""Elimination proves what enumeration finds: the least energy, whether it is the only one, the next
ones, and that nothing keeps the rules."""

import itertools
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import Finite, Problem, Status, Variable, answers
from engine.energy import Term
from engine.factors import Factors, Table
from engine.minimizers.elimination import LeastByElimination
from engine.minimizers.portfolio import Portfolio
from engine.search import elimination, network
from engine.search.plans import shared_plan
from engine.testing import check_minimizer
from modules.discrete.linear import Linear
from modules.discrete.table import Table as Costs
from tests.support.networks import Case, case, different, grid, table


def check(made: Case, minimizer: LeastByElimination) -> None:
    """Each row against all its states, in exact arithmetic."""
    for row, answer in enumerate(answers(made.problem, minimizer)):
        states = made.states(row)
        if not states:
            assert answer.status is Status.INFEASIBLE, made.name
            continue
        costs = sorted(states.values())
        assert answer.values is not None
        found = [tuple(answer.values["x"]), *(tuple(a.values["x"]) for a in answer.alternatives)]
        assert answer.status is Status.OPTIMAL, made.name
        assert answer.energy == answer.bound == float(costs[0]), made.name
        assert [states[x] for x in found] == costs[: len(found)], made.name
        assert len(set(found)) == len(found) == min(len(costs), 1 + minimizer.alternatives)
        assert answer.unique is (costs.count(costs[0]) == 1), made.name


@pytest.mark.parametrize("seed", range(40))
def test_trees_and_grids_against_enumeration(seed: int) -> None:
    """Tables, groups, clauses, sums, choices, hidden sites; three rows of evidence each."""
    check(case(seed), LeastByElimination(unique=True, alternatives=seed % 3))


@settings(max_examples=25)
@given(seed=st.integers(1_000, 10**6), visit=st.sampled_from([1, 50, 10**7]))
def test_any_number_of_steps_ends_the_same(seed: int, visit: int) -> None:
    check(case(seed), LeastByElimination(unique=True, alternatives=2, visit=visit))


@pytest.mark.parametrize("seed", range(4))
def test_its_laws_hold(seed: int) -> None:
    check_minimizer(LeastByElimination(alternatives=1, visit=20), case(seed).problem, steps=40)


def recursion(costs: np.ndarray, pairs: np.ndarray, down: np.ndarray) -> float:
    """The least cost of a grid of two values, column by column over all states of a column.
    costs (h, w, 2), pairs (2, 2) of neighbours in a row, down (2, 2) in a column."""
    h, w, _ = costs.shape
    every = np.array(list(itertools.product((0, 1), repeat=h)))
    inside = sum(down[every[:, k], every[:, k + 1]] for k in range(h - 1))
    across = sum(pairs[every[:, None, k], every[None, :, k]] for k in range(h))
    total = inside + costs[np.arange(h), 0, every].sum(1)
    for column in range(1, w):
        own = inside + costs[np.arange(h), column, every].sum(1)
        total = (total[:, None] + across).min(0) + own
    return float(total.min())


@pytest.mark.parametrize("height", [5, 6])
def test_grids_of_width_six_against_a_recursion(height: int) -> None:
    rng = np.random.default_rng(height)
    costs = rng.integers(0, 1000, (height, 20, 2))
    pairs, down = rng.integers(0, 300, (2, 2, 2))
    x = Variable("x", Finite((0, 1), (height, 20)))
    at = np.arange(height * 20).reshape(height, 20)
    across = np.stack([at[:, :-1].ravel(), at[:, 1:].ravel()], 1).tolist()
    below = np.stack([at[:-1].ravel(), at[1:].ravel()], 1).tolist()
    energy = 0.1 * Costs(x, sites=across, costs=pairs.tolist())
    energy = energy + 0.1 * Costs(x, sites=below, costs=down.tolist())
    for site, own in enumerate(costs.reshape(-1, 2).tolist()):
        energy = energy + 0.1 * Costs(x, sites=[site], costs=own)
    (answer,) = answers(Problem(energy))
    least = recursion(costs, pairs, down)
    assert answer.status is Status.OPTIMAL
    assert answer.energy == float(Fraction(int(least), 10)) == answer.bound


# ---------------------------------------------------------------- numbers


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6))
def test_large_costs_beside_small_ones_are_exact(seed: int) -> None:
    """1e12 beside hundredths: whole units tell them apart."""
    rng = np.random.default_rng(seed)
    x = Variable("x", Finite((0, 1, 2), (5,)))
    edges = [[0, 1], [1, 2], [2, 3], [3, 4]]
    parts = [table(x, edges, rng, Fraction(10**11), 0.0), table(x, edges, rng, Fraction(1, 100), 0)]
    check(Case(5, 3, parts, [[None] * 5]), LeastByElimination(unique=True))


def test_costs_that_no_unit_makes_whole_are_compared_as_decimals() -> None:
    """1e-12 apart beside 1e9: rounded units find both, their decimals tell which is less."""
    x = Variable("x", Finite((0, 1), (3,)))
    energy = 1.0 * Costs(x, sites=[0, 1], costs=[[1e9, 1e9], [2e9, 2e9]])
    energy = energy + 1.0 * Costs(x, sites=[1], costs=[3e-12, 1e-12])
    energy = energy + 1.0 * Costs(x, sites=[2], costs=[2e-12, 2e-12])
    problem = Problem(energy)
    assert problem.explicit.resolves
    (answer,) = answers(problem, LeastByElimination(unique=True))
    assert answer.values is not None and answer.values["x"][:2] == [0, 1]
    assert answer.status is Status.OPTIMAL and answer.unique is False


def test_a_tenth_ten_times_is_one() -> None:
    """Ten weights of 0.1 against a cost of 1: level, and so not unique."""
    x = Variable("x", Finite((0, 1), (11,)))
    energy = 1.0 * Costs(x, sites=[10], costs=[0, 1])
    for site in range(10):
        energy = energy + 0.1 * Costs(x, sites=[site, 10], costs=[[1, 0], [1, 0]])
        energy = energy + 5.0 * Costs(x, sites=[site], costs=[0, 1])
    (answer,) = answers(Problem(energy), LeastByElimination(unique=True))
    assert answer.energy == answer.bound == 1.0 and answer.unique is False


# ---------------------------------------------------------------- what comes in


def test_isolated_sites_and_sites_without_costs() -> None:
    x = Variable("x", Finite((0, 1, 2), (4,)))
    problem = Problem(1.0 * Costs(x, sites=[1, 2], costs=np.eye(3).tolist()))
    rows = problem.given_rows([{}, {"x": [2, 0, 0, None]}, {"x": [2, 0, None, 1]}])
    free, pinned, half = answers(rows, LeastByElimination(unique=True))
    assert (free.energy, pinned.energy, half.energy) == (0, 1, 0)
    assert free.unique is False and pinned.unique is False and half.unique is False
    assert pinned.values is not None and pinned.values["x"][:3] == [2, 0, 0]


class Told(Term):
    """E = sum of given costs of single sites and unequal neighbours: costs by row."""

    fixed_structure = False

    def energy(self, x):
        return 0.0 * x.sum((1, 2))

    def factors(self, domain):
        rows, n, k = domain.rows, domain.sites, domain.event[-1]
        costs = np.random.default_rng(5).integers(0, 9, (7, n, k))[:rows].astype(float)
        one = Factors.unary(costs)
        pairs = np.stack([np.arange(n - 1), np.arange(1, n)], 1)
        every = np.indices((k, k)).reshape(2, -1).T
        own = (every[:, 0] == every[:, 1]).astype(float)
        zero = np.zeros(n - 1, np.int64)
        return replace(one, tables=(*one.tables, Table(pairs, every, own, 0.0, zero, zero)))


def test_rows_pay_what_they_are_told() -> None:
    x = Variable("x", Finite((0, 1, 2), (4,)))
    problem = Problem(1.0 * Told(x)).given_rows([{}, {"x": [1, None, None, None]}, {}])
    costs = np.random.default_rng(5).integers(0, 9, (7, 4, 3))
    minimizer = LeastByElimination(unique=True)
    report = _searched(minimizer, problem)
    for row in range(3):
        states = [
            (sum(costs[row, s, v] for s, v in enumerate(y)) + sum(a == b for a, b in zip(y, y[1:])))
            for y in itertools.product(range(3), repeat=4)
            if row != 1 or y[0] == 1
        ]
        assert report.energy[row] == report.bound[row] == min(states)
        assert report.unique[row] == (states.count(min(states)) == 1)


def _searched(minimizer: LeastByElimination, problem: Problem):
    from engine.random import Stream

    rng = Stream(0, problem.keys)
    s = minimizer.init(problem, {"x": problem.domain("x").sample(1, rng)}, rng)
    while not bool(minimizer.report(problem, s).done.all()):
        s = minimizer.step(problem, s, rng)
    return minimizer.report(problem, s)


def test_a_long_rule_becomes_running_totals() -> None:
    """A budget over all 24 sites of a chain: no table holds 2^24 combinations."""
    rng = np.random.default_rng(0)
    n = 24
    x = Variable("x", Finite((0, 1), (n,)))
    pairs = [[s, s + 1] for s in range(n - 1)]
    worth, link = rng.integers(1, 20, n), [[0, 3], [5, 1]]
    energy = 1.0 * Costs(x, sites=pairs, costs=link)
    for site in range(n):
        energy = energy + 1.0 * Costs(x, sites=[site], costs=[0, -int(worth[site])])
    weights = rng.integers(1, 6, n)
    terms = [[s, 1, int(weights[s])] for s in range(n)]
    problem = Problem(energy + Linear(x, terms=terms, compare="<=", constant=30))
    (answer,) = answers(problem, LeastByElimination())
    best = {(0, 0): 0, (int(weights[0]), 1): -int(worth[0])}  # used, last value -> least cost
    for s in range(1, n):
        following: dict[tuple[int, int], int] = {}
        for (used, last), cost in best.items():
            for v in (0, 1):
                key = used + v * int(weights[s]), v
                now = cost + link[last][v] - v * int(worth[s])
                if key[0] <= 30:
                    following[key] = min(now, following.get(key, 10**9))
        best = following
    assert answer.status is Status.OPTIMAL and answer.energy == min(best.values())


def test_a_long_list_of_allowed_combinations() -> None:
    """26^5 combinations, of which 200 are words: a site says which of them stands."""
    rng = np.random.default_rng(1)
    words = np.unique(rng.integers(0, 26, (200, 5)), axis=0)
    x = Variable("x", Finite(range(26), (9,)))
    listed = Costs(x, sites=[[0, 1, 2, 3, 4], [4, 5, 6, 7, 8]], default=None,
                   tuples=[[*word, 0] for word in words.tolist()])  # fmt: skip
    letters = rng.integers(0, 100, (9, 26))
    energy = sum((1.0 * Costs(x, sites=[s], costs=letters[s].tolist()) for s in range(1, 9)),
                 1.0 * Costs(x, sites=[0], costs=letters[0].tolist()))  # fmt: skip
    (answer,) = answers(Problem(energy + listed), LeastByElimination(unique=True))
    costs = [
        letters[np.arange(9), [*a, *b[1:]]].sum() for a in words for b in words if a[4] == b[0]
    ]
    if not costs:
        assert answer.status is Status.INFEASIBLE
        return
    assert answer.energy == min(costs) == answer.bound
    assert answer.unique is (costs.count(min(costs)) == 1)


# ---------------------------------------------------------------- what is refused, what is chosen


def test_what_is_too_wide_is_refused_and_evidence_may_narrow_it() -> None:
    x = Variable("x", Finite(range(4), (15, 15)))
    problem = Problem(1.0 * Costs(x, sites=grid(15, 15), costs=(1 - np.eye(4)).tolist()))
    minimizer = LeastByElimination()
    assert "width" in str(minimizer.refuses(problem))
    board: list[list[int | None]] = [[None] * 15 for _ in range(15)]
    for k in range(15):
        board[7][k] = board[k][7] = k % 4
    (answer,) = answers(problem.given(x=board), minimizer)
    assert answer.status is Status.OPTIMAL


def chosen(problem: Problem) -> list[str]:
    return [type(one).__name__ for one in Portfolio()._of(problem)]


def test_the_default_portfolio_eliminates_where_the_width_is_small() -> None:
    x = Variable("x", Finite(range(4), (6, 30)))
    costs = (1 - np.eye(4)).tolist()
    assert chosen(Problem(1.0 * Costs(x, sites=grid(6, 30), costs=costs))) == ["LeastByElimination"]
    y = Variable("y", Finite(range(4), (20, 30)))
    wide = Problem(1.0 * Costs(y, sites=grid(20, 30), costs=costs))
    assert "LeastByElimination" not in chosen(wide)
    rules = Problem(different(Variable("x", Finite(range(4), (4,))), range(4))[0])
    assert "elimination" not in rules.memo and chosen(rules) == ["BranchAndBound"]
    assert "network" not in rules.memo  # rules alone pay nothing for the choice


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elimination, "CELLS", 1 << 6)
    x = Variable("x", Finite(range(4), (4, 4)))
    costs = (1 - np.eye(4)).tolist()
    problem = Problem(1.0 * Costs(x, sites=grid(4, 4), costs=costs))
    assert isinstance(shared_plan(problem), str)
    monkeypatch.setattr(network, "CELLS", 8)
    other = Problem(1.0 * Costs(x, sites=[[0, 1]], costs=costs))
    assert "16 combinations" in str(LeastByElimination().refuses(other))


def test_a_wrong_message_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison with enumeration can fail: one entry off."""
    real = elimination.Elimination.advanced

    def wrong(self, work):
        after = real(self, work)
        after.data[after.left.options.message] += 1
        return after

    monkeypatch.setattr(elimination.Elimination, "advanced", wrong)
    with pytest.raises(AssertionError):
        for seed in range(6):
            check(case(seed), LeastByElimination())


def test_no_state_has_infinite_energy_in_an_answer() -> None:
    made = case(3)
    for answer in answers(made.problem, LeastByElimination()):
        assert answer.energy is None or math.isfinite(answer.energy)

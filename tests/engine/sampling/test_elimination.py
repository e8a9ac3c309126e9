"""The exact sum over all states and draws from it, against enumeration."""

import itertools
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from engine import BadQuery, Budget, Finite, Problem, Status, Variable, required
from engine.energy import Term
from engine.factors import Factors, Table
from engine.sampling.draw import samples
from engine.sampling.elimination import Summed, sum_up
from engine.sampling.exact import log_partition
from engine.search import elimination
from modules.discrete.not_equal import NotEqual
from modules.discrete.table import Table as Costs
from tests.support.networks import Case, case

TEMPERATURE = 0.7


def weights(made: Case, row: int) -> dict[tuple[int, ...], float]:
    return {x: -float(cost) / TEMPERATURE for x, cost in made.states(row).items()}


def sum_of(log: list[float]) -> float:
    if not log:
        return -math.inf
    return max(log) + math.log(math.fsum(math.exp(x - max(log)) for x in log))


@pytest.mark.parametrize("seed", range(40))
def test_the_sum_over_all_states_against_enumeration(seed: int) -> None:
    """Hidden sites of rules at a price and of choices are minimized over before the sum."""
    made = case(seed)
    for row, told in enumerate(log_partition(made.problem, TEMPERATURE)):
        assert told == pytest.approx(sum_of([*weights(made, row).values()]), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("seed", range(40))
def test_draws_follow_the_distribution(seed: int) -> None:
    """Chi-square over states that are expected at least five times, the others together."""
    made, count = case(seed), 4000
    log = weights(made, 0)
    (told,) = samples(made.problem.select([0]), count, TEMPERATURE, seed=seed)
    if not log:
        assert told.status is Status.INFEASIBLE and told.log_partition is None
        return
    total = sum_of([*log.values()])
    assert told.method == "elimination" and told.log_partition == pytest.approx(total)
    seen = Counter(tuple(one.values["x"]) for one in told.samples)
    assert set(seen) <= set(log)
    expected = {x: count * math.exp(w - total) for x, w in log.items()}
    often = [x for x, e in expected.items() if e >= 5]
    pairs = [(seen[x], expected[x]) for x in often]
    left = count - sum(e for _, e in pairs)
    if left >= 5:
        pairs.append((count - sum(n for n, _ in pairs), left))
    chi = sum((n - e) ** 2 / e for n, e in pairs)
    free = max(1, len(pairs) - 1)
    edge = free * (1 - 2 / (9 * free) + 3.5 * math.sqrt(2 / (9 * free))) ** 3  # Wilson, Hilferty
    assert chi <= edge, (chi, free)


def test_a_wrong_temperature_is_seen() -> None:
    made = case(4)
    (told,) = log_partition(made.problem.select([0]), 2 * TEMPERATURE)
    assert abs(told - sum_of([*weights(made, 0).values()])) > 0.01


def test_the_ring_of_spins_against_its_transfer_matrix() -> None:
    """ln Z of 3,000 spins: the trace of a power of the transfer matrix."""
    n, temperature = 3000, 1.7
    spins = Variable("s", Finite((0, 1), (n,)))
    ring = [[k, (k + 1) % n] for k in range(n)]
    (told,) = log_partition(Problem(1.0 * Costs(spins, sites=ring, costs=[[0, 1], [1, 0]])), 1.7)
    a = math.exp(-1 / temperature)
    want = n * math.log(1 + a) + math.log1p(((1 - a) / (1 + a)) ** n)
    assert told == pytest.approx(want, rel=1e-12)


def test_nothing_allowed_is_no_sum() -> None:
    x = Variable("x", Finite((0, 1), (3,)))
    problem = Problem(required(NotEqual(x, pairs=[[0, 1], [1, 2], [0, 2]])))
    assert log_partition(problem) == [-math.inf]


# ---------------------------------------------------------------- hidden sites


class Walk(Term):
    """Runs of an automaton of two states over 0 and 1 that may not end where it began; a hidden
    site holds the state after each symbol. `deterministic`: the symbols determine the states."""

    fixed_structure = True

    def __init__(self, x, deterministic: bool, says_so: bool):
        super().__init__(x)
        self.deterministic, self.says_so = deterministic, says_so

    def energy(self, x):
        return 0.0 * x.sum((1, 2))

    def holds(self, x):
        return sum(x) % 2 == 1 if self.deterministic else True

    def factors(self, domain):
        n = domain.sites
        moves = [(s, c, s ^ c) for s in (0, 1) for c in (0, 1)]
        if not self.deterministic:
            moves = [*itertools.product((0, 1), repeat=3)]
        scopes = np.array([[n + k, k, n + k + 1] for k in range(n)])
        step = Table(scopes, np.array(moves), np.zeros(len(moves)), math.inf)
        ends = Table(np.array([[n], [2 * n]]), np.array([[0], [1]]),
                     np.array([[0.0, math.inf], [math.inf, 0.0]]), apart=True)  # fmt: skip
        zero, two = np.zeros(n, np.int64), np.zeros(2, np.int64)
        tables = replace(step, term=zero, part=zero), replace(ends, term=two, part=two)
        return Factors(np.full(2 * n + 1, 2), n, tables=tables, functional=self.says_so)


def test_functional_hidden_sites_are_summed_over() -> None:
    """Half of the words of 40 symbols have odd parity: far too many states to list, and a chain
    that would be too wide if its hidden sites had to come first."""
    x = Variable("x", Finite((0, 1), (40,)))
    (told,) = log_partition(Problem(required(Walk(x, True, True))))
    assert told == pytest.approx(39 * math.log(2))


def test_hidden_sites_that_are_not_are_refused_by_name() -> None:
    x = Variable("x", Finite((0, 1), (40,)))
    with pytest.raises(BadQuery, match="Walk.*minimized over"):
        log_partition(Problem(required(Walk(x, False, False))))


def test_where_few_states_are_left_hidden_sites_are_minimized_over_first() -> None:
    """Many runs accept each word, and each word counts once."""
    x = Variable("x", Finite((0, 1), (8,)))
    (told,) = log_partition(Problem(required(Walk(x, False, False))))
    assert told == pytest.approx(8 * math.log(2))


def test_a_rule_at_a_price_is_not_functional() -> None:
    x = Variable("x", Finite((0, 1), (4,)))
    for energy in (0.5 * Walk(x, True, True), 0.5 * NotEqual(x, pairs=[[0, 1]])):
        factors = Problem(energy).form.pieces[0].factors
        assert factors is not None and not factors.functional


def test_a_caller_may_stop_the_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = case(2).problem.select([0])
    assert sum_up(problem, 1.0, lambda: True) == "out of time"
    assert isinstance(sum_up(problem, 1.0, lambda: False), Summed)
    monkeypatch.setattr(elimination, "CELLS", 2)
    fresh = case(2).problem.select([0])
    (told,) = samples(fresh, 5, budget=Budget(seconds=30))
    assert told.method == "enumeration" and told.log_partition is not None
    want = sum_of([-float(c) for c in case(2).states(0).values()])
    assert told.log_partition == pytest.approx(want)

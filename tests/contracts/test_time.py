"""Limits of time hold from the question to the answer; large structures are refused, not tried; an
answer says why its search ended."""

import random
import time
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import Budget, Finite, Problem, Term, Variable
from engine.answer import Ended, Flag, Status
from engine.energy import Sum, Summand
from engine.errors import BadQuery
from engine.factors import Factors, Table, floats, ints
from engine.minimizers.annealing import Annealing
from engine.minimizers.branch_and_bound import BranchAndBound
from engine.minimizers.gibbs import Gibbs
from engine.minimizers.message_passing import MessagePassing
from engine.minimizers.mini_buckets import MiniBuckets
from engine.minimizers.portfolio import Portfolio
from engine.moves.start import Start
from engine.random import Stream
from engine.search import prepared
from engine.search.boolean import NotEncodable
from engine.session import Session
from engine.settle import answers
from engine.solve import ENDLESS
from engine.solve.batch import Batch, Stepped
from modules.discrete.clause import Clause
from modules.discrete.linear import Linear
from modules.discrete.table import Table as Costs

pytestmark = pytest.mark.clock

LATE = 0.15  # seconds: 0.05 where nothing else runs; other tests may


def potts(n: int, k: int, apart: bool) -> Problem:
    """A grid of n x n sites of k values, a cost for each pair of neighbours: as a term for rows and
    one for columns, or as one term for each pair. No bound is tight in the time that is given."""
    draw = np.random.default_rng(0)
    x = Variable("x", Finite(tuple(range(k)), (n, n)))
    right = [[i * n + j, i * n + j + 1] for i in range(n) for j in range(n - 1)]
    down = [[i * n + j, i * n + n + j] for i in range(n - 1) for j in range(n)]
    if not apart:
        rows = Costs(x, sites=right, costs=draw.random((k, k)).tolist())
        return Problem(1.0 * rows + 1.0 * Costs(x, sites=down, costs=draw.random((k, k)).tolist()))
    every = (Costs(x, sites=pair, costs=draw.random((k, k)).tolist()) for pair in right + down)
    return Problem(Sum(*(Summand(term, 1.0, f"t{i}") for i, term in enumerate(every))))


def sums(count: int) -> Problem:
    """Linear rules of sixteen literals, a term each."""
    draw = random.Random(0)
    x = Variable("x", Finite((0, 1), (count // 2,)))
    parts = []
    for k in range(count):
        sites = np.array(sorted(draw.sample(range(count // 2), 16)))
        terms = [[i, 1, draw.choice([-8, -4, -2, -1, 1, 2, 4, 8])] for i in range(16)]
        goal = sum(c for _, _, c in terms) // 2 + 2
        term = Linear(x[sites], terms=terms, compare="<=", constant=goal)
        parts.append(Summand(term, None, f"l{k}"))
    return Problem(Sum(*parts))


def knapsack(n: int) -> Problem:
    """Too hard to prove for a search without a relaxation."""
    draw = random.Random(0)
    weight = [draw.randint(10, 60) for _ in range(n)]
    x = Variable("x", Finite((0, 1), (n,)))
    terms = [[i, 1, w] for i, w in enumerate(weight)]
    cap = Linear(x, terms=terms, compare="<=", constant=sum(weight) // 2)
    parts = [Summand(cap, None)]
    for i, w in enumerate(weight):
        parts.append(
            Summand(Costs(x, sites=[i], costs=[0.0, -float(w + draw.randint(-8, 8))]), 1.0)
        )
    return Problem(Sum(*parts))


@pytest.fixture(scope="module", autouse=True)
def _warm() -> None:
    """Kernels are compiled."""
    for problem in (potts(3, 3, False), potts(3, 3, True), sums(64), knapsack(5)):
        answers(problem, budget=Budget(steps=2))


@pytest.mark.parametrize(
    ("made", "seconds"),
    [
        (lambda: potts(50, 8, False), 0.2),
        (lambda: potts(30, 8, True), 0.2),
        (lambda: potts(20, 8, False), 0.1),
        (lambda: sums(3000), 0.5),
    ],
)
def test_a_limit_covers_preparation_and_the_final_check(made: Any, seconds: float) -> None:
    late = []
    for _ in range(6):  # the best of a few, as the machine may be busy
        problem = made()
        began = time.monotonic()
        (answer,) = answers(problem, budget=Budget(seconds=seconds))
        late.append(time.monotonic() - began - seconds)
        assert Flag.DEADLINE in answer.flags and answer.ended is Ended.TIME
        assert answer.values is not None
    assert min(late) < LATE


def test_no_step_of_a_large_weighed_problem_is_long() -> None:
    problem = potts(50, 8, False)
    for _ in Portfolio().prepare(problem):
        pass
    rng, batch = Stream(0, problem.keys), Batch[int](Portfolio())
    batch.join(problem, Start(problem, 64, rng.at(0), {}), rng, [(0, 0)])
    spent = []
    for _ in range(12):
        began = time.process_time()
        assert isinstance(batch.step(), Stepped)
        spent.append(time.process_time() - began)
    assert min(spent) < 0.1  # 0.03 where nothing else runs; complete search took 2


def test_the_seconds_of_a_budget_are_those_of_the_question() -> None:
    late = Budget(seconds=5.0, since=time.monotonic() - 6.0)
    (answer,) = answers(knapsack(12), budget=late)
    assert answer.steps == 0 and answer.ended is Ended.TIME
    again = Budget(seconds=5.0)  # one budget serves many questions
    for _ in range(2):
        assert answers(knapsack(6), budget=again)[0].status is Status.OPTIMAL


class Gram(Term):
    """Pays for one tuple of a wide table; everything else costs nothing."""

    fixed_structure = True

    def __init__(self, x: Variable, least: float):
        super().__init__(x)
        self.least = least

    def energy(self, x: Any) -> Any:
        return self.least * x[..., 0].prod(-1)

    def factors(self, *domains: Any) -> Factors:
        n = domains[0].sites
        table = Table(
            np.arange(n)[None],
            np.zeros((1, n), np.int64),
            floats([self.least]),
            0.0,
            ints([0]),
            ints([0]),
        )
        return Factors(Factors.sizes_of(domains), n, tables=(table,))


@settings(max_examples=6)
@given(arity=st.integers(5, 10), values=st.integers(26, 40), least=st.floats(-4, -0.5))
def test_one_tuple_of_a_wide_table_is_no_hindrance(arity: int, values: int, least: float) -> None:
    problem = Problem(1.0 * Gram(Variable("x", Finite(tuple(range(values)), (arity,))), least))
    (answer,) = answers(problem, particles=4, budget=Budget(steps=30))
    assert answer.values is not None


class Every(Term):
    """A cost for every combination of two sites of many values."""

    fixed_structure = True

    def energy(self, x: Any) -> Any:  # |a - b|
        places = torch.arange(x.shape[-1], dtype=x.dtype)
        return ((x[:, 0] - x[:, 1]) @ places).abs()

    def factors(self, *domains: Any) -> Factors:
        k = len(domains[0].values)
        tuples = np.indices((k, k)).reshape(2, -1).T
        costs = np.abs(tuples[:, 0] - tuples[:, 1]).astype(np.float64)
        return Factors.table(Factors.sizes_of(domains), tuples, costs)


def test_a_large_table_is_refused_by_name_and_searched_otherwise() -> None:
    problem = Problem(1.0 * Every(Variable("x", Finite(tuple(range(1450)), (2,)))))
    with pytest.raises(BadQuery, match="no form for a table over"):
        answers(problem, BranchAndBound(), budget=Budget(steps=1))
    (answer,) = answers(problem, particles=4, budget=Budget(steps=60))
    assert answer.status is Status.OPTIMAL and answer.energy == 0


@pytest.mark.parametrize("made", [lambda: sums(64), lambda: potts(4, 3, True), lambda: knapsack(8)])
def test_what_has_no_boolean_form_is_refused_before_it_starts(
    monkeypatch: pytest.MonkeyPatch, made: Any
) -> None:
    """Wherever the encoder stops: nothing leaves a step, no session falls."""

    def never(*_: Any, merge: bool = True) -> Any:
        raise NotEncodable("planted")
        yield

    monkeypatch.setattr(prepared, "encode", lambda *_, merge: next(never()))
    monkeypatch.setattr(prepared, "encode_in_pieces", never)
    for search in (Portfolio(), Portfolio().asked(True, 1), ENDLESS):
        (answer,) = answers(made(), search, particles=4, budget=Budget(steps=3))
        assert answer.values is not None
    with pytest.raises(BadQuery, match="planted"):
        answers(made(), BranchAndBound())
    assert Session(made(), particles=4).answer(Budget(steps=3)).values is not None


def test_an_answer_says_why_its_search_ended() -> None:
    def ended(problem: Problem, search: Any = None, **budget: Any) -> Ended | None:
        return answers(problem, search, particles=4, budget=Budget(**budget))[0].ended

    hard = potts(20, 8, False)
    tired = Annealing(sweeps=2, patience=1)
    assert ended(knapsack(6)) is Ended.PROVED
    assert ended(hard, steps=2) is Ended.STEPS
    assert ended(hard, seconds=0.3) is Ended.TIME
    assert ended(hard, stop=lambda: True) is Ended.CANCELLED
    assert ended(hard, tired) is Ended.GAVE_UP
    x = Variable("x", Finite((0, 1), (2,)))
    rules = [[[0, 1, True]], [[0, 1, False]]]
    assert ended(Problem(Clause(x, clauses=rules[:1]))) is Ended.PROVED
    assert ended(Problem(Clause(x, clauses=rules))) is Ended.PROVED


def test_a_search_for_a_proof_or_under_a_limit_of_time_does_not_give_up() -> None:
    """Default patience may end it; asked for a proof, or given its time, it goes on."""
    hard = knapsack(40)
    assert Portfolio(patience=1).asked(True, 0).patience is None
    (answer,) = answers(hard, Portfolio().asked(True, 0), particles=4, budget=Budget(steps=600))
    assert answer.ended in (Ended.STEPS, Ended.PROVED)
    for member in ENDLESS.kin(potts(50, 8, False))[0]:  # type: ignore[attr-defined]
        bounds = isinstance(
            member, (MiniBuckets, MessagePassing)
        )  # they end, and the search goes on
        assert bounds or (isinstance(member, Annealing) and member.patience is None)

    class Opaque(Term):
        def energy(self, x: Any) -> Any:
            return (x[..., 0].sum(-1) - 7.3).abs()

        def factors(self, *domains: Any) -> None:
            return None

    blind = Problem(1.0 * Opaque(Variable("x", Finite((0, 1), (40,)))))
    assert any(isinstance(m, Gibbs) and m.patience is None for m in ENDLESS.kin(blind)[0])  # type: ignore[attr-defined]
    began = time.monotonic()
    (answer,) = answers(blind, particles=2, budget=Budget(seconds=1.0))
    assert answer.ended is Ended.TIME and time.monotonic() - began > 0.9

"""Minimizers: contract, exact distributions, known optima, closed forms, and planted lies."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.answer import Status
from engine.domain import Finite, Real, Variable
from engine.energy import Term, required
from engine.errors import BadQuery
from engine.factors import Different, Factors, Table, floats, ints
from engine.minimizer import Minimizer
from engine.minimizers.annealing import Annealing
from engine.minimizers.apart import Apart
from engine.minimizers.assignment import Assignment
from engine.minimizers.beam import Beam
from engine.minimizers.boxes import Boxes
from engine.minimizers.branch_and_bound import BranchAndBound
from engine.minimizers.cadical import Cadical
from engine.minimizers.cheapest import Cheapest
from engine.minimizers.completed import Completed
from engine.minimizers.core_guided import CoreGuided
from engine.minimizers.cp_sat import CpSat
from engine.minimizers.descent import Descent
from engine.minimizers.elimination import LeastByElimination
from engine.minimizers.enumeration import Enumeration
from engine.minimizers.exchange import Exchange
from engine.minimizers.expansion import Expansion
from engine.minimizers.gibbs import Gibbs
from engine.minimizers.knapsack import Knapsack
from engine.minimizers.lagrangian import Lagrangian
from engine.minimizers.leaves import Leaves
from engine.minimizers.listed import Listed
from engine.minimizers.message_passing import MessagePassing
from engine.minimizers.min_cut import MinCut
from engine.minimizers.mini_buckets import MiniBuckets
from engine.minimizers.neighbourhoods import LargeNeighbourhoods
from engine.minimizers.portfolio import Portfolio
from engine.minimizers.relaxation import LinearRelaxation
from engine.minimizers.restarts import Restarts
from engine.minimizers.rounds import Rounds
from engine.minimizers.soft_consistency import SoftConsistency
from engine.minimizers.stand_in import StandIn
from engine.minimizers.subtours import Subtours
from engine.minimizers.tabu import Tabu
from engine.minimizers.tours import Tours
from engine.problem import Problem
from engine.random import Stream
from engine.settle import answers
from engine.solve import Budget, batch
from engine.sweeps.layout import lay_out
from engine.testing import check_minimizer
from services.reasoner.minimizers import minimizer_named, names
from tests.support.terms import (
    AtMost,
    Bowl,
    Distinct,
    Liar,
    Opaque,
    Pairwise,
    Tied,
    agreeing_problem,
    assigned_problem,
    boltzmann,
    boxed_problem,
    costs_of,
    counted_problem,
    every,
    least,
    listed_problem,
    mixed_problem,
    opaque_problem,
    packed_problem,
    pairwise,
    parted_problem,
    priced_problem,
    real_problem,
    rigid_problem,
    round_problem,
    sites,
    soft_problem,
    ternary,
    toured_problem,
    wide_problem,
)
from tests.support.trails import read_problem

CASES = {
    "annealing": (Annealing(sweeps=20), soft_problem),
    "tabu": (Tabu(sweeps=7, tenure=2), soft_problem),
    "gibbs": (Gibbs(steps=30), opaque_problem),
    "gibbs-mixed": (Gibbs(steps=30), mixed_problem),
    "gibbs-real": (Gibbs(steps=30), real_problem),
    "descent": (Descent(), real_problem),
    "descent-mixed": (Descent(every=3), mixed_problem),
    "beam": (Beam((2, 5)), read_problem),
    "branch_and_bound": (BranchAndBound(conflicts=3), soft_problem),
    "cheapest": (Cheapest(visit=10), priced_problem),
    "cp_sat": (CpSat(), soft_problem),
    "elimination": (LeastByElimination(visit=30, alternatives=1), soft_problem),
    "cadical": (Cadical(unique=True), rigid_problem),
    "lagrangian": (Lagrangian(), real_problem),
    "lagrangian-short": (Lagrangian(memory=2, inner=4, rounds=3), real_problem),
    "message_passing": (MessagePassing(visit=30), soft_problem),
    "min_cut": (MinCut(), lambda: agreeing_problem(2)),
    "knapsack": (Knapsack(unique=True), packed_problem),
    "assignment": (Assignment(unique=True), assigned_problem),
    "tours": (Tours(), toured_problem),
    "rounds": (Rounds(), round_problem),
    "subtours": (Subtours(work=1), toured_problem),
    "subtours-stops": (Subtours(work=1, patience=5), round_problem),
    "boxes": (Boxes(), boxed_problem),
    "exchange": (Exchange(visit=20, rounds=2), counted_problem),
    "expansion": (Expansion(), lambda: agreeing_problem(3)),
    "mini_buckets": (MiniBuckets(visit=30), soft_problem),
    "core_guided": (CoreGuided(work=1, patience=5), soft_problem),
    "soft_consistency": (SoftConsistency(work=1, patience=50), soft_problem),
    "relaxation": (LinearRelaxation(work=1, patience=5), soft_problem),
    "neighbourhoods": (LargeNeighbourhoods(work=1, spread=1, patience=5), counted_problem),
    "leaves": (Leaves(), mixed_problem),
    "listed": (Listed(visit=2), listed_problem),
    "leaves-descent": (
        Leaves(Descent(patience=2, smallest=1e-2), beside=3, moves=20),
        mixed_problem,
    ),
    "portfolio": (Portfolio(), soft_problem),
    "portfolio-mixed": (Portfolio(), mixed_problem),
    "portfolio-apart": (Portfolio(), parted_problem),
    "apart": (Apart(Portfolio()), parted_problem),
    "enumeration": (Enumeration(alternatives=2), opaque_problem),
    "portfolio-opaque": (Portfolio(), opaque_problem),
    "portfolio-wide": (Portfolio(), wide_problem),
    "restarts-annealing": (Restarts(Annealing(sweeps=5), after=3), soft_problem),
    "restarts-gibbs": (Restarts(Gibbs(steps=5), after=4), opaque_problem),
    "restarts-descent": (Restarts(Descent(patience=2, smallest=1e-2), after=9), real_problem),
}


def test_every_minimizer_has_a_case() -> None:
    held = {
        type(inner)
        for minimizer, _ in CASES.values()
        for inner in (minimizer, *parts_of(minimizer))
    }
    offered = {type(minimizer_named(name)) for name in names()}
    wrappers = {Completed, StandIn}  # their laws are held in tests of their own
    assert offered - wrappers <= held, "give the new one a case above"


def parts_of(minimizer: Minimizer) -> tuple[Minimizer, ...]:
    """What a wrapper wraps."""
    return (minimizer.inner,) if isinstance(minimizer, (Apart, Restarts)) else ()


@pytest.mark.parametrize("case", CASES)
def test_contract(case: str) -> None:
    minimizer, problem = CASES[case]
    check_minimizer(minimizer, problem(), particles=3, steps=25)


def test_a_row_that_looks_at_its_company_is_caught() -> None:
    class Crowd(Gibbs):
        """Draws by the count of rows beside it."""

        def step(self, problem, s, rng):
            return super().step(problem, s._replace(age=s.age + problem.rows), rng)

    with pytest.raises(AssertionError, match="alone|others join"):
        check_minimizer(Crowd(steps=30), real_problem(), particles=3, steps=25)


def test_who_believes_what_it_is_told_is_caught() -> None:
    class Believer(Gibbs):
        """Takes energies as they are said."""

        def told(self, problem, s, report):
            lower = report.energy < s.energy
            return s._replace(energy=torch.where(lower, report.energy, s.energy))

    class Forgetful(Gibbs):
        """Forgets its own best."""

        def told(self, problem, s, report):
            return s._replace(energy=s.energy + 1.0, violation=s.violation + 1.0)

    for kind in (Believer, Forgetful):
        with pytest.raises(AssertionError, match="told"):
            check_minimizer(kind(steps=30), real_problem(), particles=3, steps=25)


def test_who_keeps_what_it_found_under_other_evidence_is_caught() -> None:
    class Stubborn(Gibbs):
        def renewed(self, problem, s):
            return s

    with pytest.raises(AssertionError, match="renewed"):
        check_minimizer(Stubborn(steps=30), real_problem(), particles=3, steps=25)


@pytest.mark.parametrize("case", CASES)
def test_seven_rows_answer_as_each_alone(case: str) -> None:
    minimizer, problem = CASES[case][0], CASES[case][1]()
    budget = Budget(steps=40)
    together = answers(problem, minimizer, particles=4, budget=budget, seed=6)
    for row in (0, 3, 6):
        (alone,) = answers(problem.select([row]), minimizer, particles=4, budget=budget, seed=6)
        assert alone.values == together[row].values
        assert alone.energy == pytest.approx(together[row].energy, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_evidence_never_moves(case: str) -> None:
    minimizer, problem = CASES[case][0], CASES[case][1]()
    (answer,) = answers(problem.select([4]), minimizer, budget=Budget(steps=60))
    given = 1 if "x" in problem.domains and isinstance(problem.domains["x"], Finite) else 0.4
    assert answer.values["x"][0] == pytest.approx(given)
    if "y" in problem.domains:
        assert answer.values["y"][1] == pytest.approx(4 / 7)


def test_all_rows_left_out_of_a_step_have_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """More rows than one step takes: each still gets the same work."""
    monkeypatch.setattr(batch, "STEP", 1e9)  # the clock says nothing
    few = Gibbs(steps=20, patience=2, elements=1, rows=2)
    for minimizer, problem in ((Annealing(sweeps=20, patience=2, rows=2), soft_problem()),
                               (few, opaque_problem())):  # fmt: skip
        together = answers(problem, minimizer, particles=4)
        (alone,) = answers(problem.select([5]), minimizer, particles=4)
        assert alone.values == together[5].values


def test_the_work_of_a_step_is_a_setting() -> None:
    """Smaller steps end with the same least states; no step is empty."""
    small: list[tuple[Minimizer, Problem]] = [
        (BranchAndBound(work=1), soft_problem()),
        (BranchAndBound(looks=1), soft_problem()),
        (CoreGuided(looks=1, patience=None), soft_problem()),
        (Annealing(sweeps=20, visit=1, rows=1), soft_problem()),
        (Enumeration(elements=1), opaque_problem()),
        (Gibbs(steps=30, elements=1, rows=1), opaque_problem()),
    ]
    for minimizer, problem in small:
        for row, answer in enumerate(answers(problem, minimizer, particles=4)):
            assert answer.energy == pytest.approx(least(problem, row), abs=1e-5)
    for wrong in (BranchAndBound, CoreGuided, Annealing, Enumeration, Gibbs):
        for name in {
            "work",
            "looks",
            "visit",
            "rows",
            "elements",
        } & wrong.__dataclass_fields__.keys():
            with pytest.raises(BadQuery, match=name):
                wrong(**{name: 0})


# ---------------------------------------------------------------- known optima


@settings(max_examples=8)
@given(n=st.integers(2, 5), k=st.integers(2, 4), seed=st.integers(0, 1000), rule=st.booleans())
def test_least_energy_of_small_problems(n: int, k: int, seed: int, rule: bool) -> None:
    x = sites(n, k)
    for explicit, kind in ((True, Distinct), (False, Opaque)):
        energy = 1.0 * pairwise(x, seed, explicit)
        problem = Problem(energy + required(kind(x)) if rule else energy)
        problem = problem.given(x=[0, *[None] * (n - 1)])
        minimizer: Minimizer = Annealing(sweeps=30, patience=4) if explicit else Gibbs(
            steps=50, patience=1)  # fmt: skip
        (answer,) = answers(problem, minimizer, particles=16, seed=seed)
        assert answer.energy == pytest.approx(least(problem), abs=1e-4)
        assert answer.holds is (True if rule else None)


def test_annealing_finds_permutations() -> None:
    """A tight line: exchanges keep it satisfied while costs fall."""

    class Permutation(Term):
        def energy(self, x):
            return ((x.sum(1) - 1) ** 2).sum(-1) / 2

        affine = False

        def holds(self, x):
            return len(set(x)) == len(x)

        def factors(self, *domains):
            n = domains[0].sites
            line = Different(ints([0, n]), np.arange(n), ints([0]), ints([0]))
            return Factors(Factors.sizes_of(domains), n, different=line)

    x = sites(7, 7)
    problem = Problem(1.0 * pairwise(x, 9) + required(Permutation(x)))
    assert len(lay_out(problem.factored()[0]).structure.line_site) == 7
    (answer,) = answers(problem, Annealing(sweeps=200, patience=3), particles=32)
    order = np.array(list(itertools.permutations(range(7))))
    best = min(float(problem.energy(problem.state(part)).min()) for part in np.split(order, 7))
    assert answer.status is Status.SATISFIED
    assert answer.energy == pytest.approx(best, abs=1e-4)


def test_annealing_weighs_rules_through_hidden_sites() -> None:
    x = sites(4, 2)
    problem = Problem(1.0 * pairwise(x, 8) + 0.6 * Distinct(x))
    factors, _ = problem.factored()
    assert len(factors.sizes) > factors.visible
    (answer,) = answers(problem, Annealing(sweeps=40, patience=3), particles=16)
    assert answer.energy == pytest.approx(least(problem), abs=1e-5)


def test_annealing_takes_rows_of_different_costs() -> None:
    class Given(Term):
        def energy(self, x):
            return 0 * x[:, 0, 0]

        def factors(self, *domains):
            rows = domains[0].allowed.shape[0]
            costs = np.stack([np.array([[0, 1], [r % 2 * 3 - 1, 5]]).reshape(-1) for r in
                              range(rows)]).astype(float)  # fmt: skip
            tuples = ints([[0, 0], [0, 1], [1, 0], [1, 1]])
            table = Table(ints([[0, 1]]), tuples, costs, term=ints([0]), part=ints([0]))
            return Factors(Factors.sizes_of(domains), 2, tables=(table,))

    problem = Problem(1.0 * Given(sites(2, 2))).given_rows([{}] * 4)
    minimizer = Annealing(sweeps=10)
    rng = Stream(0, problem.keys)
    s = minimizer.init(problem, {"x": problem.domain("x").sample(4, rng)}, rng.at(0))
    s = minimizer.step(problem, s, rng.at(1))
    assert s.scores.view(4, 4, 4)[:, :, 2].min(1).values.tolist() == [-1, 0, -1, 0]


def test_annealing_is_done_at_its_bound_and_proves_dead_ends() -> None:
    x = sites(4, 3)
    (answer,) = answers(Problem(required(Distinct(x))), Annealing())
    assert answer.status is Status.OPTIMAL and answer.bound == 0

    class Never(Term):
        def energy(self, x):
            return 1 + 0 * x[:, 0, 0]

        def holds(self, x):
            return False

        def factors(self, *domains):
            table = Table(ints([[0]]), ints([[0], [1], [2]]), floats([math.inf] * 3),
                          term=ints([0]), part=ints([0]))  # fmt: skip
            return Factors(Factors.sizes_of(domains), 4, tables=(table,))

    (answer,) = answers(Problem(required(Never(x))), Annealing())
    assert answer.status is Status.INFEASIBLE


def test_annealing_names_terms_without_structure() -> None:
    x = sites(8, 5)
    with pytest.raises(BadQuery, match="Opaque"):
        answers(Problem(1.0 * pairwise(x, 1) + required(Opaque(x))), Annealing())


@settings(max_examples=4)
@given(seed=st.integers(0, 10_000))
def test_descent_meets_the_closed_form(seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    matrix = torch.eye(4) + 0.3 * torch.randn(4, 4, generator=g)
    centre = torch.randn(4, generator=g)
    x = Variable("x", Real((4,)))
    shift = -2.5
    term = Bowl(x, matrix, centre)
    term.floor = lambda: -math.inf  # type: ignore[method-assign]  # so that only the search ends it
    (answer,) = answers(Problem(1.0 * term), Descent(), particles=4, seed=seed)
    assert answer.energy == pytest.approx(0, abs=1e-6) and shift < 0
    assert answer.values["x"] == pytest.approx(centre.tolist(), abs=2e-3)


def test_descent_in_a_box_and_under_a_rule() -> None:
    """min |x - c|^2 / 2 with x in [-2, 2]^3, x_0 given and sum x <= 0, in closed form."""
    (answer,) = answers(real_problem().select([4]), Descent(), particles=8)
    # x_0 = 0.4, x_2 at its edge -2, and then x_1 = 0.1 is free
    assert answer.values["x"] == pytest.approx([0.4, 0.1, -2.0], abs=1e-3)
    x = Variable("x", Real((2,), -1.0, 1.0))
    tight = Problem(1.0 * Bowl(x, torch.eye(2), torch.tensor([1.0, 0.5])) + required(AtMost(x, 0)))
    (answer,) = answers(tight, Descent(), particles=8)
    assert answer.status is Status.SATISFIED  # least at (1/4, -1/4)
    assert answer.energy == pytest.approx(2 * 0.75**2 / 2, abs=2e-3)


def test_the_part_that_fails_most_gets_the_largest_multiplier() -> None:
    """Two ends pulled apart: one part has to give way by far more, the other by nothing."""

    class Ends(Term):
        affine = False

        def violation(self, x):
            return torch.stack([(x[:, 0] - 0.1).abs(), (x[:, 1] - 0.5).clamp(min=0)], 1)

        def energy(self, x):
            return self.violation(x).sum(1)

        def holds(self, x):
            return abs(x[0] - 0.1) < 1e-4 and x[1] <= 0.5001

    x = Variable("x", Real((2,), -1.0, 1.0))
    problem = Problem(required(Ends(x)) + 1.0 * Bowl(x, 9.0 * torch.eye(2), torch.tensor([0.9, 0])))
    (answer,) = answers(problem, Descent(), particles=2)
    assert answer.holds and answer.values["x"] == pytest.approx([0.1, 0.0], abs=1e-3)
    state = Descent().init(
        problem, {"x": torch.full((2, 2), 0.4, dtype=torch.float64)}, Stream(0, problem.keys)
    )
    for k in range(40):
        state = Descent().step(problem, state, Stream(0, problem.keys).at(k))
    assert state.multiplier.shape == (2, 2)
    assert bool((state.multiplier[:, 0] > 2).all()) and bool((state.multiplier[:, 1] == 1).all())


def test_descent_ends_at_the_floor_with_a_proof() -> None:
    x = Variable("x", Real((2,)))
    problem = Problem(1.0 * Bowl(x, torch.eye(2), torch.tensor([1.0, 0.5])))
    (answer,) = answers(problem, Descent(), particles=4)
    assert answer.status is Status.SCORED or answer.status is Status.OPTIMAL
    assert answer.bound == 0 and answer.energy < 1e-6


@pytest.mark.parametrize("minimizer", [Gibbs(steps=300), Restarts(Descent(), starts=2)])
def test_mixed_choices_and_numbers(minimizer: Minimizer) -> None:
    x, y = sites(3, 3), Variable("y", Real((3,), 0.0, 2.0))
    weights = pairwise(x, 6, explicit=False)
    problem = Problem(1.0 * Tied(x, y) + 0.3 * weights).given(y=[None, 0.9, None])
    places = every(3, 3)
    hot = torch.nn.functional.one_hot(torch.tensor(places), 3).double()
    best = float((0.3 * weights.energy(hot) + torch.tensor((places[:, 1] - 0.9) ** 2)).min())
    budget = Budget(steps=700)
    (answer,) = answers(problem, minimizer, particles=32, budget=budget)
    assert answer.energy == pytest.approx(best, abs=5e-3)


def test_one_evaluation_a_step() -> None:
    """A remote module costs one exchange a step, whatever the particles."""
    calls = []

    class Counting(Pairwise):
        def energy(self, x):
            calls.append(len(x))
            return super().energy(x)

    x = sites(4, 3)
    base = pairwise(x, 1)
    problem = Problem(1.0 * Counting(x, base.couplings, base.unary, explicit=False))
    rng = Stream(0, problem.keys)
    start = {"x": problem.domain("x").sample(8, rng)}
    minimizer = Gibbs(patience=None)
    s = minimizer.init(problem, start, rng.at(0))
    calls.clear()
    for step in range(1, 11):
        s = minimizer.step(problem, s, rng.at(step))
    assert calls == [8] * 10


def test_restarts_leave_a_poor_valley() -> None:
    class Double(Term):
        """E = (x^2 - 1)^2 + x / 2: a poor valley at +1, the least at -1."""

        def energy(self, x):
            return ((x**2 - 1) ** 2 + x / 2).sum(-1)

    x = Variable("x", Real((1,), 0.9, 1.2))
    wide = Problem(1.0 * Double(Variable("x", Real((1,), -1.5, 1.5))))
    start = {"x": torch.full((1, 1), 1.0)}
    (stuck,) = answers(wide, Descent(), particles=1, start=start)
    (freed,) = answers(wide, Restarts(Descent(), starts=5), particles=1, start=start)
    assert stuck.values["x"][0] > 0.8 and x.domain.low.item() > 0.8
    assert freed.values["x"][0] == pytest.approx(-1.057, abs=0.01)


# ---------------------------------------------------------------- planted failures


def test_a_lying_energy_is_caught_by_verify() -> None:
    x = sites(2, 2)
    problem = Problem(required(Liar(x))).given(x=[1, 1])
    for minimizer in (Annealing(), Gibbs(), Descent()):
        (answer,) = answers(problem, minimizer, budget=Budget(steps=5))
        assert answer.status is Status.UNSATISFIED
        assert answer.holds is False


def test_a_wrong_kernel_would_be_seen() -> None:
    """The distance test can fail: another temperature is far from the exact distribution."""
    problem = ternary()
    _, energy, _ = costs_of(problem)
    p, q = boltzmann(energy, 0.6), boltzmann(energy, 0.5)
    assert np.abs(p - q).sum() / 2 > 0.02


@pytest.mark.parametrize(
    "wrong", [lambda: Annealing(sweeps=0), lambda: Annealing(hot=-1.0), lambda: Gibbs(steps=0),
              lambda: Descent(rate=0.0), lambda: Restarts(Descent(), after=0)]
)  # fmt: skip
def test_nonsense_is_refused(wrong) -> None:
    with pytest.raises(BadQuery):
        wrong()


def test_plain_settings_are_frozen() -> None:
    with pytest.raises(AttributeError):
        Annealing().sweeps = 3  # type: ignore[misc]
    assert replace(Annealing(), sweeps=3).sweeps == 3

"""Members that talk: what one found is where another begins, and proofs stay proofs."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import Budget, Problem, Status, answers, required
from engine.energy import Term
from engine.minimizer import Minimizer, score
from engine.minimizers.annealing import Annealing
from engine.minimizers.branch_and_bound import BranchAndBound
from engine.minimizers.gibbs import Gibbs
from engine.minimizers.portfolio import Portfolio
from engine.random import Stream
from engine.rows import Report
from tests.support.terms import Distinct, Opaque, least, opaque_problem, pairwise, sites


def stepped(
    minimizer: Minimizer, problem: Problem, told: Report | None, after: int = 0, most: int = 200
) -> tuple[Report, int]:
    """The last report of a search that is told something after so many steps, and its steps."""
    rng = Stream(3, problem.keys)
    x = {v.name: problem.sample(v.name, 4, rng.at(0)) for v in problem.open}
    s = minimizer.init(problem, x, rng.at(0))
    for k in range(most):
        if told is not None and k == after:
            s = minimizer.told(problem, s, told)
        if bool(minimizer.report(problem, s).done.all()):
            return minimizer.report(problem, s), k
        s = minimizer.step(problem, s, rng.at(k + 1))
    return minimizer.report(problem, s), most


def told(problem: Problem, x: dict[str, Any], bound: float = -float("inf")) -> Report:
    """A report of one state, with a bound."""
    energy, violation = score(problem, x)
    blank = Report.blank(problem, x)
    every = torch.full_like(energy, bound)
    return replace(blank, energy=energy, violation=violation, bound=every)


@settings(max_examples=15, deadline=None)
@given(
    n=st.integers(2, 5),
    k=st.integers(2, 3),
    seed=st.integers(0, 10**6),
    after=st.integers(0, 3),
    explicit=st.booleans(),
    best=st.booleans(),
)
def test_complete_search_proves_the_same_from_any_state(n, k, seed, after, explicit, best) -> None:
    x = sites(n, k)
    problem = Problem(1.0 * pairwise(x, seed, explicit) + required((Distinct, Opaque)[seed % 2](x)))
    if best:
        (answer,) = answers(problem, Portfolio())
        state = {"x": x.domain.encode(answer.values["x"])[None]}
    else:
        state = {"x": problem.sample("x", 1, Stream(seed, problem.keys))}
    minimizer = BranchAndBound(conflicts=2)
    report, _ = stepped(minimizer, problem, told(problem, state), after)
    alone, _ = stepped(minimizer, problem, None)
    assert float(report.energy[0]) == pytest.approx(least(problem), abs=1e-6)
    assert float(report.bound[0]) == pytest.approx(float(alone.bound[0]), abs=1e-6)


def test_complete_search_that_is_told_the_optimum_meets_fewer_conflicts() -> None:
    x = sites(9, 4)
    problem = Problem(1.0 * pairwise(x, 5))
    minimizer = BranchAndBound(conflicts=20)
    alone, long = stepped(minimizer, problem, None, most=2000)
    helped, short = stepped(minimizer, problem, told(problem, dict(alone.x)), most=2000)
    assert bool(alone.done[0]) and bool(helped.done[0])
    assert float(helped.bound[0]) == float(alone.bound[0]) == float(helped.energy[0])
    assert short <= long


@pytest.mark.parametrize("minimizer", [Gibbs(patience=None), Annealing(patience=None)])
def test_sampling_ends_where_a_bound_meets_its_best(minimizer: Minimizer) -> None:
    x = sites(5, 3)
    problem = Problem(1.0 * pairwise(x, 2, isinstance(minimizer, Annealing)))
    (answer,) = answers(problem)
    assert answer.status is Status.OPTIMAL
    state = {"x": x.domain.encode(answer.values["x"])[None]}
    report, steps = stepped(minimizer, problem, told(problem, state, answer.bound), after=2)
    assert steps == 2 and bool(report.done[0])


def test_a_state_that_breaks_a_rule_is_no_upper_bound() -> None:
    """What the rule says is asked again, whatever a report says of it."""
    x = sites(4, 3)
    problem = Problem(1.0 * pairwise(x, 8) + required(Opaque(x)))
    equal = {"x": torch.zeros(1, 4, dtype=torch.uint8)}
    lie = replace(told(problem, equal), energy=torch.tensor([-99.0]).double())
    lie = replace(lie, violation=torch.zeros(1, dtype=torch.float64))
    report, _ = stepped(BranchAndBound(), problem, lie)
    assert float(report.energy[0]) == pytest.approx(least(problem), abs=1e-6)


class Liar(Term):
    """A rule that costs nothing and never holds."""

    def energy(self, *tensors: Any) -> torch.Tensor:
        return 0.0 * tensors[0].sum((1, 2))

    def holds(self, *values: Any) -> bool:
        return False

    def factors(self, *domains: Any) -> None:
        del domains


def test_a_state_that_only_looks_as_if_it_held_is_none() -> None:
    x = sites(3, 3)
    problem = Problem(1.0 * pairwise(x, 4) + required(Liar(x)))
    state = {"x": torch.zeros(1, 3, dtype=torch.uint8)}
    report, _ = stepped(BranchAndBound(), problem, told(problem, state))
    assert float(report.bound[0]) == float("inf")  # every state is refuted by `holds`


def test_members_of_a_portfolio_tell_each_other() -> None:
    """At fixed counts: the answers of two runs are the same to the bit."""
    problem = opaque_problem(11)
    first, second = (
        answers(problem, Portfolio(patience=3), seed=2, budget=Budget(steps=40)) for _ in range(2)
    )
    for one, other in zip(first, second, strict=True):
        assert (one.values, one.energy, one.bound, one.steps) == (
            other.values, other.energy, other.bound, other.steps)  # fmt: skip

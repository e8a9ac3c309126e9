"""A problem on another device: searched, sampled and judged there as here, without a GPU."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.domain import Finite, Input, Real, Variable
from engine.energy import Term, required, soft_min
from engine.explain.alternatives import alternatives, unique
from engine.explain.runner_up import runner_up
from engine.judgement import score_plain, verify
from engine.minimizers.descent import Descent
from engine.minimizers.gibbs import Gibbs
from engine.moves.heat_bath import HeatBath
from engine.moves.independent import colors_of
from engine.moves.langevin import Langevin
from engine.moves.proposals import Colored, Parallel, Path
from engine.moves.sampler import InTurn, Sampler
from engine.problem import Problem
from engine.random import Stream
from engine.sampling.draw import samples
from engine.session import Session
from engine.settle import answers, last
from engine.solve import Budget, solve
from engine.testing.elsewhere import Mixed, elsewhere
from tests.engine.problem.test_definitions import states, walk
from tests.support.terms import (
    Distinct,
    mixed_problem,
    opaque_problem,
    pairwise,
    real_problem,
    rigid_problem,
    sites,
    soft_problem,
    wide_problem,
)


class Seen(Term):
    """-ln p(label | features) of a linear classifier; where there is no picture, nothing."""

    affine = True

    def __init__(self, features: Input, labels: Variable):
        super().__init__(features, labels)
        self.net = nn.Linear(2, 3)
        with torch.no_grad():
            self.net.weight.copy_(torch.tensor([[1.0, -0.5], [0.25, 1.0], [-1.0, 0.5]]))
            self.net.bias.zero_()

    def energy(self, *tensors: Tensor) -> Tensor:
        features, labels = tensors  # (B, n, 2), (B, n, 3)
        return -(torch.log_softmax(self.net(features), -1) * labels).sum((1, 2))


def seen_problem() -> Problem:
    features, labels = Input("features", Real((2, 2))), sites(2, 3)
    energy = 1.0 * Seen(features, labels) + required(Distinct(labels))
    rows: list[dict[str, Any]] = [{"features": [[1.0, 0.0], [0.5, k]]} for k in range(3)]
    return Problem(energy).given_rows([*rows, {"x": [1, None]}])


def chosen_problem() -> Problem:
    x, y = sites(3, 3), Variable("y", Real((2,), -1.0, 1.0))
    energy = 1.0 * (pairwise(x, 1) | pairwise(x, 2))
    energy = energy + soft_min(pairwise(x, 3), pairwise(x, 4), temperature=0.5)
    return Problem(energy, (y,)).given_rows([{"x": [k % 3, None, None]} for k in range(2)])


def walked_problem() -> Problem:
    return walk().given_rows([{"s": states(1.0)}, {"s": states(-2.0, None, 0.5)}]).reduced()


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "soft": soft_problem,
    "rigid": rigid_problem,
    "opaque": opaque_problem,
    "wide": wide_problem,
    "real": real_problem,
    "mixed": mixed_problem,
    "inputs": seen_problem,
    "choices": chosen_problem,
    "definitions": walked_problem,
}


@pytest.fixture
def away() -> Iterator[torch.device]:
    with elsewhere() as device:
        yield device


@pytest.mark.parametrize("name", PROBLEMS)
def test_answers_are_those_of_the_host(name: str, away: torch.device) -> None:
    problem, budget = PROBLEMS[name](), Budget(steps=6)
    here = answers(problem, particles=4, budget=budget, seed=1)
    moved = problem.to(away)
    assert moved.device == away and moved.domain(problem.variables[0].name).device == away
    found = last(solve(moved, particles=4, budget=budget, seed=1))
    report = found.report
    for x in (report.energy, report.violation, report.bound, *report.x.values()):
        assert x.device == away
    for one, other in zip(here, verify(moved, found), strict=True):
        assert other.values == one.values and other.status == one.status
        assert other.energy == pytest.approx(one.energy, rel=1e-6)
        assert other.bound == (None if one.bound is None else pytest.approx(one.bound, rel=1e-6))


@pytest.mark.parametrize("name", ["soft", "wide", "mixed"])
def test_a_start_is_brought_along(name: str, away: torch.device) -> None:
    problem, budget = PROBLEMS[name](), Budget(steps=0)
    start = {n: problem.sample(n, 1, Stream(7, problem.keys)) for n in problem.domains}
    found = last(solve(problem.to(away), particles=2, budget=budget, start=start))
    for n, x in found.report.x.items():
        assert x.device == away and torch.equal(x.cpu(), start[n])


def test_what_is_explicit_is_shared(away: torch.device) -> None:
    """Not asked for again, whether it was made before the move or comes after it."""
    problem = soft_problem()
    assert problem.root is not None
    moved = problem.to(away)
    assert moved.form is problem.form and moved.root is problem.root.to(away)
    assert moved.keys.tolist() == problem.keys.tolist() and moved.keys.device == away
    again = moved.root.given_rows([{"x": [0, None, None, None, 1]}])
    assert again.device == away and again.form is problem.form
    assert again.to(away) is again and again.root is moved.root
    back = again.to("cpu")
    assert back.device.type == "cpu" and back.root is problem.root
    both = Problem.stack([again, moved.select([2])])
    assert both.rows == 2 and both.device == away and both.form is problem.form


@pytest.mark.parametrize("name", ["inputs", "choices", "definitions", "opaque"])
def test_the_problem_that_was_moved_stays_where_it_is(name: str, away: torch.device) -> None:
    """Solved here and there in turns; variables are the same objects."""
    problem, budget = PROBLEMS[name](), Budget(steps=4)
    here = answers(problem, particles=4, budget=budget, seed=1)
    moved = problem.to(away)
    for own, device in ((problem, torch.device("cpu")), (moved, away)):
        energy = own.lifted or own.energy
        assert {t.device for t in (*energy.parameters(), *energy.buffers())} <= {device}
    assert all(a is b for a, b in zip(moved.variables, problem.variables, strict=True))
    for own in (problem, moved, problem):
        found = answers(own, particles=4, budget=budget, seed=1)
        assert [a.values for a in found] == [a.values for a in here]


def test_a_network_of_two_terms_is_copied_once(away: torch.device) -> None:
    """And a term without tensors is the same object."""
    features, labels = Input("features", Real((2, 2))), sites(2, 3)
    one, two, bare = Seen(features, labels), Seen(features, labels), Distinct(labels)
    two.net = one.net
    moved = Problem(1.0 * one + 2.0 * two + required(bare)).to(away)
    first, second, third = (summand.term for summand in moved.summands)
    assert isinstance(first, Seen) and isinstance(second, Seen)
    assert first is not one and first.net is second.net is not one.net and third is bare
    assert one.net.weight.device.type == "cpu" and first.net.weight.device == away


def test_weights_that_change_are_brought_along_again(away: torch.device) -> None:
    features, labels = Input("features", Real((2, 2))), sites(2, 3)
    term = Seen(features, labels)
    problem = Problem(1.0 * term)
    first = problem.to(away)
    assert problem.to(away) is first and first.to("cpu") is problem
    with torch.no_grad():
        term.net.bias += torch.tensor([0.0, 5.0, 0.0])
    second = problem.to(away)
    evidence = {"features": [[1.0, 0.0], [0.0, 0.0]]}
    here, there = (answers(own.given(**evidence))[0] for own in (problem, second))
    assert here.values == there.values == {"x": [1, 1]}
    assert second is not first and second.to("cpu") is problem


def test_terms_come_and_go_on_the_device(away: torch.device) -> None:
    x = sites(3, 3)
    here, there = (
        Session(problem)
        for problem in (
            Problem(1.0 * pairwise(x, 2)).given(x=[0, None, None]),
            Problem(1.0 * pairwise(x, 2)).to(away).given(x=[0, None, None]),
        )
    )
    for session in (here, there):
        session.answer()
        session.add("apart", required(Distinct(x)))
        session.given({"x": [1, None, None]})
    assert there.problem.device == away
    assert here.answer().values == there.answer().values
    for session in (here, there):
        session.add("more", 0.5 * pairwise(x, 3, explicit=False))
        session.drop("apart")
    assert here.answer().values == there.answer().values


@pytest.mark.parametrize("name", ["soft", "opaque", "mixed", "inputs"])
def test_draws_are_those_of_the_host(name: str, away: torch.device) -> None:
    problem = PROBLEMS[name]().select([0])
    budget = Budget(steps=20)
    (here,) = samples(problem, 6, particles=4, budget=budget, seed=2)
    (there,) = samples(problem.to(away), 6, particles=4, budget=budget, seed=2)
    assert here.method == there.method and here.mixing == there.mixing
    assert [one.values for one in here.samples] == [one.values for one in there.samples]


def test_sweeps_draw_on_the_device(away: torch.device) -> None:
    x = sites(30, 4)  # too many to be summed out
    problem = Problem(1.0 * pairwise(x, 3))
    budget = Budget(steps=8)
    (here,) = samples(problem, 4, particles=2, budget=budget, seed=2)
    (there,) = samples(problem.to(away), 4, particles=2, budget=budget, seed=2)
    assert here.method == there.method == "sweeps"
    assert [one.values for one in here.samples] == [one.values for one in there.samples]


def test_other_answers_are_those_of_the_host(away: torch.device) -> None:
    problem = soft_problem().select([0])
    (answer,) = answers(problem)

    def said(own: Problem) -> tuple[Any, ...]:
        others = [one.values for one in alternatives(own, answer, 2)]
        second, plain = runner_up(own, answer), answer.values or {}
        return others, unique(own, answer), second and second.text, score_plain(own, [plain])

    here = said(problem)
    assert said(problem.to(away)) == here


COLORS = Gibbs(flips=Colored((0, 1, 0, 1, 0)))
SAMPLERS: dict[str, tuple[Sampler, Callable[[], Problem]]] = {
    "heat bath": (HeatBath(), soft_problem),
    "single": (Gibbs(), opaque_problem),
    "path": (Gibbs(flips=Path(2)), opaque_problem),
    "parallel": (Gibbs(flips=Parallel(0.5)), opaque_problem),
    "colored": (COLORS, opaque_problem),
    "langevin": (Langevin(0.01), real_problem),
    "unadjusted": (Langevin(0.01, adjusted=False), real_problem),
    "in turn": (InTurn((HeatBath(), Gibbs()), (1, 2)), mixed_problem),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_walks_are_those_of_the_host(name: str, away: torch.device) -> None:
    sampler, problem = SAMPLERS[name][0], SAMPLERS[name][1]()

    def walked(own: Problem) -> dict[str, Tensor]:
        rng = Stream(4, own.keys)
        x = {n: own.sample(n, 3, rng.fork(k)) for k, n in enumerate(own.domains)}
        return sampler.walk(own, x, 3, rng.at(1))

    here, there = walked(problem), walked(problem.to(away))
    for n, x in there.items():
        assert x.device == away and torch.allclose(x.cpu(), here[n])


def test_colours_are_those_of_the_host(away: torch.device) -> None:
    problem = opaque_problem()
    rng = Stream(3, problem.keys)
    here = colors_of(problem, rng)
    assert colors_of(problem.to(away), rng.to(away)) == here


def test_a_term_that_stays_behind_is_told(away: torch.device) -> None:
    """Planted: a tensor that `to` cannot know of, as it is no buffer."""

    class Stays(Term):
        def __init__(self, x: Variable):
            super().__init__(x)
            self.costs = torch.arange(3.0)

        def energy(self, *tensors: Tensor) -> Tensor:
            return (tensors[0] * self.costs).sum((1, 2))

        def factors(self, *domains: Any) -> None:
            return None

    problem = Problem(1.0 * Stays(sites(2, 3))).to(away)
    with pytest.raises(Mixed, match="meet"):
        answers(problem, budget=Budget(steps=1))


@pytest.mark.gpu
@pytest.mark.parametrize("name", PROBLEMS)
def test_a_gpu_answers_as_the_host(name: str) -> None:
    problem, budget = PROBLEMS[name](), Budget(steps=6)
    for minimizer in (None, *((Descent(),) if name == "real" else ())):
        here = answers(problem.to("cpu"), minimizer, particles=4, budget=budget, seed=1)
        there = answers(problem.to("cuda"), minimizer, particles=4, budget=budget, seed=1)
        for one, other in zip(here, there, strict=True):
            assert other.status == one.status
            assert other.energy == pytest.approx(one.energy, rel=1e-4, abs=1e-4)


@pytest.mark.gpu
def test_a_gpu_draws_the_same_words() -> None:
    rng = Stream(5, torch.arange(3))
    assert torch.equal(rng.to("cuda").bits(7, 9).cpu(), rng.bits(7, 9))
    assert isinstance(Finite((1, 2, 3), (4,)).to("cuda").sample(2, rng.to("cuda")), Tensor)

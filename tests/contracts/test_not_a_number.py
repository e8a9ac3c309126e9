"""Energies that are no finite number in places: such a state is never the best one, never OPTIMAL,
and where there is no other, the answer says so."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import engine.minimizer as minimizer_module
from engine import Budget, Finite, Problem, Real, Status, Stream, Term, Variable, answers, required
from engine.minimizers import gibbs
from engine.minimizers.descent import Descent
from engine.minimizers.gibbs import Gibbs
from engine.minimizers.lagrangian import Lagrangian
from engine.minimizers.restarts import Restarts
from engine.moves.heat_bath import HeatBath
from engine.moves.langevin import Langevin
from engine.sampling.draw import samples

WILD = [math.nan, math.inf, -math.inf]


class Listed(Term):
    """The cost of each combination of finite sites, and how far a real is from the place among
    them; evaluated only."""

    affine = False

    def __init__(self, z, costs, x=None):
        super().__init__(*([z] if x is None else [z, x]))
        self.costs = torch.tensor(costs)

    def energy(self, z, x=None):
        places = z.argmax(-1)
        index = sum(places[:, k] * 3 ** (places.shape[1] - 1 - k) for k in range(places.shape[1]))
        out = self.costs[index] + 0 * z.sum((1, 2))
        return out if x is None else out + (x - index / 9).square()

    def factors(self, *domains):
        return None

    def floor(self):
        return -100.0


class Hole(Term):
    """Falls towards an edge, beyond which it is no number."""

    def __init__(self, x, edge: float, wild: float, least: float = -9.0):
        super().__init__(x)
        self.edge, self.wild, self.least = edge, wild, least

    def energy(self, x):
        inside = torch.where(x < self.edge, -x, self.wild)
        return inside.flatten(1).sum(-1)

    def floor(self):
        return self.least


class Small(Term):
    """The first site is the first value; its violation is no number where it is the last."""

    affine = False

    def __init__(self, z, wild: float):
        super().__init__(z)
        self.wild = wild

    def energy(self, z):
        first = z.flatten(1, -2)[:, 0]
        return torch.where(first[:, 2] > 0.5, self.wild, 1 - first[:, 0])

    def holds(self, value):
        return value[0] == 0

    def factors(self, *domains):
        return None


cost = st.sampled_from([*WILD, 0.0, 1.0, -2.0, 3.5, 3e38])
LIKELY = {"gibbs": Gibbs(steps=40), "descent": Descent(), "restarts": Restarts(Gibbs(steps=5), 9)}


@pytest.mark.parametrize("name", [*LIKELY, "default"])
@pytest.mark.parametrize("ruled", [False, True])
@settings(max_examples=30, deadline=None)
@given(costs=st.lists(cost, min_size=9, max_size=9))
def test_a_state_without_an_energy_is_never_the_answer(name: str, ruled: bool, costs) -> None:
    z = Variable("z", Finite((0, 1, 2), (2,)))
    energy = 1.0 * Listed(z, costs)
    problem = Problem(energy + required(Small(z, math.nan)) if ruled else energy)
    (answer,) = answers(problem, LIKELY.get(name), particles=16, budget=Budget(steps=60))
    finite = [c for k, c in enumerate(costs) if math.isfinite(c) and (k < 3 or not ruled)]
    if not finite:
        assert answer.status not in (Status.OPTIMAL, Status.SATISFIED)
        assert answer.energy is None or answer.holds is False
        return
    if answer.energy is None:  # nothing was found, and that is told
        assert answer.status is Status.UNSATISFIED and name != "gibbs"
        return
    assert math.isfinite(answer.energy)
    if answer.status is Status.OPTIMAL:
        assert answer.energy == pytest.approx(min(finite), rel=1e-6)
    if name == "gibbs":
        assert answer.energy == pytest.approx(min(finite), rel=1e-6)


@pytest.mark.parametrize("wild", WILD)
@pytest.mark.parametrize(
    "minimizer", [Descent(), Lagrangian(), Gibbs(steps=60), Restarts(Descent(), 50)]
)
@pytest.mark.parametrize("edge", [0.5, -0.9, -9.0])
def test_a_real_that_falls_into_a_hole(minimizer, edge: float, wild: float) -> None:
    x = Variable("x", Real((2,), -1.0, 1.0))
    problem = Problem(1.0 * Hole(x, edge, wild))
    (answer,) = answers(problem, minimizer, particles=24, budget=Budget(steps=120))
    assert answer.status is not Status.OPTIMAL
    if edge < -1:
        assert answer.status is Status.UNSATISFIED and answer.energy is None
        return
    if answer.energy is None:
        assert edge == -0.9 and not isinstance(minimizer, Gibbs)
        return
    assert answer.status is Status.SCORED and answer.energy >= -2 * edge
    assert all(v < edge for v in answer.values["x"])


@pytest.mark.parametrize("wild", WILD)
def test_a_start_without_an_energy_is_not_the_end(wild: float) -> None:
    """Nothing is proved of it, and the search goes on."""
    x = Variable("x", Real((1,), -1.0, 1.0))
    problem = Problem(1.0 * Hole(x, 0.0, wild, least=-0.5))
    start = {"x": torch.full((4, 1), 0.5, dtype=torch.float64)}
    for minimizer in (Descent(), Lagrangian(), Gibbs(steps=20), Restarts(Gibbs(steps=20), 9)):
        s = minimizer.init(problem, start, Stream(0, problem.keys).at(0))
        report = minimizer.report(problem, s)
        assert not bool(report.done.any()) and not bool(report.energy.isfinite().any())


@pytest.mark.parametrize("wild", WILD)
def test_draws_keep_away_from_what_has_no_energy(wild: float) -> None:
    x = Variable("x", Real((1,), -1.0, 1.0))
    (made,) = samples(Problem(1.0 * Hole(x, 0.0, wild)), 40, particles=16)
    assert all(s.energy is not None and s.values["x"][0] < 0 for s in made.samples)
    z = Variable("z", Finite((0, 1, 2), (2,)))
    costs = [0.0, wild, 1.0, wild, wild, 0.5, 2.0, wild, 0.0]
    (made,) = samples(Problem(1.0 * Listed(z, costs)), 40, particles=16)
    for s in made.samples:
        assert s.energy is not None and math.isfinite(
            costs[3 * s.values["z"][0] + s.values["z"][1]]
        )


@pytest.mark.parametrize("wild", WILD)
def test_walks_keep_away_from_what_has_no_energy(wild: float) -> None:
    x = Variable("x", Real((1,), -1.0, 1.0))
    problem = Problem(1.0 * Hole(x, 0.0, wild))
    start = {"x": torch.linspace(-0.9, 0.9, 8, dtype=torch.float64)[:, None]}
    rng = Stream(2, problem.keys)
    for step, adjusted in itertools.product((0.01, 0.3), (True, False)):
        moved = Langevin(step, adjusted).walk(problem, start, 30, rng)["x"]
        assert moved.isfinite().all()
        if adjusted:
            assert (moved[:4] < 0).all()
    z = Variable("z", Finite((0, 1, 2), (2,)))
    costs = [0.0, wild, 1.0, wild, wild, wild, 2.0, wild, wild]
    problem = Problem(1.0 * Listed(z, costs))
    begun = problem.sample("z", 12, Stream(0, problem.keys))
    moved = HeatBath().walk(problem, {"z": begun}, 6, rng)["z"]
    after, before = (3 * x[:, 0].long() + x[:, 1].long() for x in (moved, begun))
    fine = torch.tensor(costs).isfinite()
    assert fine[after].sum() >= fine[before].sum()
    assert moved.dtype == torch.uint8 and moved.max() <= 2


@pytest.mark.parametrize("module", [minimizer_module, gibbs])
def test_a_comparison_that_lets_them_win_is_caught(module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "sound", lambda x: x.nan_to_num(-1e9))
    x = Variable("x", Real((1,), -1.0, 1.0))
    problem = Problem(1.0 * Hole(x, 0.0, math.nan))
    minimizers = [replace(Gibbs(), steps=20)] if module is gibbs else [Descent(), Lagrangian()]
    for minimizer in minimizers:
        (answer,) = answers(problem, minimizer, particles=24, budget=Budget(steps=20))
        assert answer.energy is None

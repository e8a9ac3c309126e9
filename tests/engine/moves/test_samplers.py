"""Samplers against enumerated and closed-form distributions, and planted wrong ones."""

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from engine.domain import Finite, Real, Variable
from engine.energy import Term, required
from engine.errors import BadQuery
from engine.minimizers.gibbs import Gibbs
from engine.moves import langevin
from engine.moves.gradient import Move, evaluate, frame_of
from engine.moves.heat_bath import HeatBath
from engine.moves.independent import colors_of
from engine.moves.langevin import Langevin
from engine.moves.proposals import Colored, Parallel, Path, Single
from engine.moves.sampler import InTurn
from engine.problem import Problem
from tests.support.learners import stream


class Mixed(Term):
    """E = sum of products of two kinds of finite sites; not affine through the square."""

    affine = False

    def __init__(self, a: Variable, b: Variable, seed: int = 0):
        super().__init__(a, b)
        g = torch.Generator().manual_seed(seed)
        self.pair = nn.Parameter(torch.randn(2, 3, 4, generator=g))
        self.own = nn.Parameter(torch.randn(2, 3, generator=g))

    def energy(self, a: Tensor, b: Tensor) -> Tensor:  # (B, 2, 3), (B, 4) -> (B,)
        linear = (a * self.own).sum((1, 2)) + torch.einsum("bik,ikl,bl->b", a, self.pair, b)
        return linear + 0.3 * linear.square()


A, B = Variable("a", Finite((0, 1, 2), (2,))), Variable("b", Finite(("w", "x", "y", "z")))


def every() -> dict[str, Tensor]:
    """All 36 states."""
    places = torch.cartesian_prod(torch.arange(3), torch.arange(3), torch.arange(4))
    places = places.to(torch.uint8)
    return {"a": places[:, :2], "b": places[:, 2]}


def number(x: dict[str, Tensor]) -> Tensor:
    a = x["a"].long()
    return a[:, 0] * 12 + a[:, 1] * 4 + x["b"].long()


def surprise(sampler, problem: Problem, p: Tensor, steps: int = 4, seed: int = 0) -> float:
    """Chi-squared over its mean, of exact samples after some moves: about 1 where p is kept."""
    count = 30_000
    g = torch.Generator().manual_seed(seed)
    drawn = torch.multinomial(p, count, replacement=True, generator=g)
    x = {n: t[drawn] for n, t in every().items()}
    y = sampler.walk(problem, x, steps, stream(seed))
    expected = count * p
    counts = torch.bincount(number(y), minlength=36)
    assert not counts[p == 0].any()
    moved = (number(y) != drawn).double().mean()
    assert moved > 0.2, "it must move to be tested"
    seen = p > 0
    chi = ((counts - expected)[seen].square() / expected[seen]).sum()
    return float(chi / (seen.sum() - 1))


SAMPLERS = [
    Gibbs(flips=Single()),
    Gibbs(flips=Path(1)),
    Gibbs(flips=Path(2)),
    Gibbs(flips=Parallel(0.5)),
    Gibbs(flips=Parallel(5.0)),
    Gibbs(flips=Colored((0, 1, 2))),
    Gibbs(flips=Colored((0, 0, 0))),  # sites that meet: Metropolis makes up for it
    HeatBath(),
    InTurn((HeatBath(), Gibbs(flips=Path(2))), (1, 2)),
]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
@pytest.mark.parametrize("beta", [1.0, 0.4])
def test_samplers_keep_the_boltzmann_distribution(sampler, beta):
    term = Mixed(A, B)
    problem = Problem(term)
    with torch.no_grad():
        p = torch.softmax(-beta * problem.energy(every()), 0)
    walk = sampler.walk

    @dataclass(frozen=True)
    class AtBeta:
        def walk(self, problem, x, steps, rng):
            return walk(problem, x, steps, rng, beta)

    assert surprise(AtBeta(), problem, p) < 1.8  # 35 degrees of freedom: 0.3 % chance


@dataclass(frozen=True)
class Careless(Path):
    """Planted: forgets the way back."""

    def return_log(self, flipped, tilt, owner):
        return flipped.log


def test_a_sampler_that_forgets_the_way_back_is_caught():
    problem = Problem(Mixed(A, B))
    with torch.no_grad():
        p = torch.softmax(-problem.energy(every()), 0)
    assert surprise(Gibbs(flips=Careless(2)), problem, p) > 5


def test_samplers_reach_it_from_anywhere():
    problem = Problem(Mixed(A, B, 3))
    with torch.no_grad():
        p = torch.softmax(-problem.energy(every()), 0)
    for sampler in SAMPLERS[2:6]:
        x = {n: t[:1].repeat_interleave(6000, 0) for n, t in every().items()}
        y = sampler.walk(problem, x, 60, stream(1))
        counts = torch.bincount(number(y), minlength=36) / 6000
        assert (counts - p).abs().sum() / 2 < 0.05, sampler


def test_evidence_is_never_left():
    problem = Problem(Mixed(A, B)).given(a=[None, 2], b="y")
    states = every()
    inside = (states["a"][:, 1] == 2) & (states["b"] == 2)
    with torch.no_grad():
        energy = problem.energy(states)
    p = torch.softmax((-energy).masked_fill(~inside, -torch.inf), 0)
    flips = (Single(), Path(2), Parallel(1.0), Colored((0, 1, 0)))
    for sampler in (*(Gibbs(flips=f) for f in flips), HeatBath()):
        assert surprise(sampler, problem, p) < 6  # 2 degrees of freedom


class Differ(Term):
    """Both sites of a differ."""

    def energy(self, a: Tensor) -> Tensor:
        return (a[:, 0] * a[:, 1]).sum(-1)

    def holds(self, a) -> bool:
        return a[0] != a[1]


def test_required_rules_stay_kept():
    problem = Problem(Mixed(A, B) + required(Differ(A)))
    states = every()
    inside = states["a"][:, 0] != states["a"][:, 1]
    with torch.no_grad():
        energy = problem.energy(states)
    p = torch.softmax((-energy).masked_fill(~inside, -torch.inf), 0)
    for sampler in (Gibbs(flips=Path(2)), Gibbs(flips=Colored((0, 0, 1))), HeatBath()):
        assert surprise(sampler, problem, p) < 2


# ---------------------------------------------------------------- colours


class Chained(Term):
    """E = sum over pairs of x_i' W x_j: affine, and sites meet along the pairs alone."""

    def __init__(self, x: Variable, pairs: list[tuple[int, int]], seed: int = 0):
        super().__init__(x)
        self.pairs = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2)
        k = x.domain.event[-1]
        self.table = torch.randn(k, k, generator=torch.Generator().manual_seed(seed))

    def energy(self, x: Tensor) -> Tensor:  # (B, n, k) -> (B,)
        one, other = x[:, self.pairs[:, 0]], x[:, self.pairs[:, 1]]
        return torch.einsum("bmi,ij,bmj->b", one, self.table, other)


@given(st.integers(2, 4), st.sets(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12))
def test_sites_that_meet_differ_in_colour(k, drawn):
    pairs = [(a, b) for a, b in drawn if a != b]
    x = Variable("x", Finite(tuple(range(k)), (7,)))
    colors = colors_of(Problem(Chained(x, pairs), (x,)), stream(), probes=4)
    assert all(colors[a] != colors[b] for a, b in pairs)
    most = max(sum(i in pair for pair in {frozenset(p) for p in pairs}) for i in range(7))
    assert max(colors) <= most  # the greedy rule


def test_foretold_conditionals_are_true_where_colours_are():
    """Affine, and no two sites of a colour meet: every proposal is taken."""
    x = Variable("x", Finite((0, 1, 2), (5,)))
    problem = Problem(Chained(x, [(0, 1), (1, 2), (2, 3), (3, 4)]))
    colors = colors_of(problem, stream())
    assert max(colors) == 1
    start = {"x": x.domain.sample(400, stream(1))}
    frame = frame_of(problem)
    seen = evaluate(problem, frame, *frame.sides(start, 400))
    one = torch.ones(400, dtype=torch.float64)
    move = Move(problem, frame, Colored(colors), 0 * one, 0.7 * one, 0.01 * one)
    _, _, ratio, _ = move.propose(seen, move.tilt(seen), stream(2))
    assert ratio.abs().max() < 1e-5


def test_colours_are_those_of_the_energy():
    with pytest.raises(BadQuery, match="3 finite sites"):
        Gibbs(flips=Colored((0, 1))).walk(Problem(Mixed(A, B)), every(), 1, stream())
    with pytest.raises(BadQuery, match="from 0 up"):
        Colored(())
    assert len(set(colors_of(Problem(Mixed(A, B)), stream()))) == 3  # all meet
    assert len(set(colors_of(Problem(required(Differ(A)), (A,)), stream()))) == 2  # rules count


# ---------------------------------------------------------------- real variables


class Bowl(Term):
    """E = (x - c)^T S^-1 (x - c) / 2"""

    def __init__(self, x: Variable):
        super().__init__(x)
        self.sharp = torch.linalg.inv(torch.tensor([[1.0, 0.6], [0.6, 2.0]]))

    def energy(self, x: Tensor) -> Tensor:
        step = x - torch.tensor([1.0, -2.0])
        return torch.einsum("bi,ij,bj->b", step, self.sharp.to(x), step) / 2


@pytest.mark.parametrize(
    "sampler", [Langevin(0.3), Langevin(0.05, adjusted=False), Gibbs(pace=0.3)], ids=repr
)
def test_langevin_draws_the_gaussian(sampler):
    problem = Problem(Bowl(Variable("x", Real((2,)))))
    x = {"x": torch.zeros(4000, 2)}
    steps = 400 if sampler == Langevin(0.05, adjusted=False) else 60
    y = sampler.walk(problem, x, steps, stream(2), 0.5)["x"]
    assert torch.allclose(y.mean(0), torch.tensor([1.0, -2.0]), atol=0.12)
    expected = 2 * torch.tensor([[1.0, 0.6], [0.6, 2.0]])
    assert torch.allclose(torch.cov(y.T), expected, atol=0.25)


class Slope(Term):
    """E = 2 x"""

    def energy(self, x: Tensor) -> Tensor:
        return 2 * x[:, 0]


def test_adjusted_langevin_is_exact_in_a_box():
    problem = Problem(Slope(Variable("x", Real((1,), 0.0, 1.0))))
    y = Langevin(0.05).walk(problem, {"x": torch.full((8000, 1), 0.5)}, 60, stream(3))["x"]
    edges = torch.linspace(0, 1, 6)
    counts = torch.histc(y, 5, 0, 1) / 8000
    mass = torch.exp(-2 * edges[:-1]) - torch.exp(-2 * edges[1:])
    assert ((counts - mass / mass.sum()).abs() < 0.025).all()


class Uneven(Term):
    """E of a Gaussian whose first variable has spread 1 and the second 1000, with correlation."""

    dtype = torch.float64

    def __init__(self, small: Variable, large: Variable):
        super().__init__(small, large)
        self.cov = torch.tensor([[1.0, 600.0], [600.0, 1e6]], dtype=torch.float64)
        self.sharp = torch.linalg.inv(self.cov)

    def energy(self, small: Tensor, large: Tensor) -> Tensor:  # (B, 1), (B, 1) -> (B,)
        step = torch.cat([small - 2, large + 3000], 1)
        return torch.einsum("bi,ij,bj->b", step, self.sharp, step) / 2


def uneven(sampler: Langevin, moves: int = 120, count: int = 6000) -> tuple[Tensor, Tensor]:
    """Mean and covariance of what it draws, in units of the spreads."""
    term = Uneven(Variable("small", Real((1,))), Variable("large", Real((1,))))
    x = {n: torch.zeros(count, 1, dtype=torch.float64) for n in ("small", "large")}
    y = sampler.walk(Problem(term), x, moves, stream(4))
    both = torch.cat([(y["small"] - 2), (y["large"] + 3000) / 1000], 1).double()
    return both.mean(0), torch.cov(both.T)


def test_a_step_for_each_variable_is_exact_where_scales_differ():
    """Means 0, variances 1, correlation 0.6; each by 5 standard errors. One step for both is stuck
    at the small scale."""
    expected = torch.tensor([[1.0, 0.6], [0.6, 1.0]], dtype=torch.float64)
    mean, cov = uneven(Langevin(0.4, steps={"large": 0.4e6}))
    assert (mean.abs() < 5 / 6000**0.5).all()
    assert ((cov - expected).abs() < 5 * (2 / 6000) ** 0.5).all()
    stuck, _ = uneven(Langevin(0.4))
    assert stuck[1] > 1
    one, other = Langevin(0.4, steps={"large": 0.4}), Langevin(0.4)
    assert all(torch.equal(a, b) for a, b in zip(uneven(one, 3), uneven(other, 3), strict=True))


def test_langevin_draws_what_is_open_given_the_rest():
    """The Gaussian of one variable under the other: mean 2 + 0.6, variance 1 - 0.36."""
    term = Uneven(Variable("small", Real((1,))), Variable("large", Real((1,))))
    problem = Problem(term).given(large=[-2000.0])
    sampler = Langevin(0.4, steps={"large": 1e-9})
    x = {"small": torch.zeros(6000, 1, dtype=torch.float64)}
    y = sampler.walk(problem, x, 60, stream(5))["small"]
    assert (y.mean() - 2.6).abs() < 5 * 0.8 / 6000**0.5
    assert (y.var() - 0.64).abs() < 5 * 0.64 * (2 / 6000) ** 0.5
    assert sampler.walk(problem.given(small=[1.0], large=[0.0]), {}, 3, stream(5)) == {}


def test_a_planted_ratio_is_seen(monkeypatch):
    """A correction that takes one step for all variables, or none, leaves the law."""
    sampler, ratio = Langevin(0.7, steps={"large": 0.7e6}), langevin._ratio
    expected = torch.tensor([[1.0, 0.6], [0.6, 1.0]], dtype=torch.float64)

    def off() -> Tensor:
        return (uneven(sampler)[1] - expected).abs().max()

    assert off() < 5 * (2 / 6000) ** 0.5
    monkeypatch.setattr(langevin, "_ratio", lambda step, *x: ratio(0.7, *x))
    assert off() > 0.2
    monkeypatch.setattr(langevin, "_ratio", lambda step, x, *_: x.double().sum(1) * 0)
    assert off() > 0.2


@pytest.mark.parametrize("steps", [{"x": 0.0}, {"x": float("nan")}, {"x": -1.0}])
def test_wrong_steps_of_variables_are_told(steps):
    with pytest.raises(BadQuery, match=r"steps\.x: .*give a number above 0"):
        Langevin(0.1, steps=steps)
    with pytest.raises(BadQuery, match=r"steps\.y: no real variable; known: x"):
        problem = Problem(Bowl(Variable("x", Real((2,)))))
        Langevin(0.1, steps={"y": 0.2}).walk(problem, {"x": torch.zeros(1, 2)}, 1, stream())
    assert hash(Langevin(0.1, steps={"x": 0.2})) == hash(Langevin(0.1, steps={"x": 0.2}))


def test_langevin_refuses_problems_without_real_variables():
    with pytest.raises(BadQuery, match="no real one"):
        Langevin(0.1).walk(Problem(Mixed(A, B)), every(), 1, stream())

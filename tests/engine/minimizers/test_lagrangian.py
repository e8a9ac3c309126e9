"""The augmented Lagrangian against closed forms, listed active sets and known optima."""

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import BadQuery, Budget, Finite, Input, Problem, Real, Status, Term, Variable, answers
from engine.compare import strictly
from engine.energy import required
from engine.energy.definition import Definition
from engine.minimizers.lagrangian import Lagrangian
from engine.minimizers.portfolio import Portfolio
from engine.minimizers.restarts import Restarts
from engine.random import Stream
from engine.testing import check_minimizer

FEW = settings(max_examples=15, deadline=None)


class Exact(Term):
    """A term in float64, judged by its energy."""

    dtype = torch.float64
    affine = False
    tolerance = 1e-16

    def __init__(self, x: Variable, function: Any):
        super().__init__(x)
        self.function = function


class Cost(Exact):
    """E = f(x)."""

    def energy(self, x: Any) -> torch.Tensor:
        return self.function(*x.unbind(1))


class Rough(Cost):
    dtype = torch.float32


class Equal(Exact):
    """g(x) = 0; E = |g(x)|^2 / 2."""

    def residual(self, x: Any) -> torch.Tensor:
        return torch.stack(self.function(*x.unbind(1)), 1)

    def energy(self, x: Any) -> torch.Tensor:
        return self.residual(x).square().sum(1) / 2

    def holds(self, x: Any) -> bool:
        return bool(self.energy(torch.tensor([x], dtype=torch.float64)) <= self.tolerance)


class Below(Equal):
    """g(x) <= 0; a part an inequality, violated by the amount or by half its square."""

    tolerance = 1e-9
    residual = Term.residual
    square = False

    def violation(self, x: Any) -> torch.Tensor:
        over = torch.stack(self.function(*x.unbind(1)), 1).clamp(min=0)
        return over.square() / 2 if self.square else over

    def energy(self, x: Any) -> torch.Tensor:
        return self.violation(x).sum(1)


class Smooth(Below):
    square = True


class Quadratic(Term):
    """E = x'Hx / 2 - b'x."""

    dtype = torch.float64

    def __init__(self, x: Variable, h: torch.Tensor, b: torch.Tensor):
        super().__init__(x)
        self.h, self.b = h, b

    def energy(self, x: Any) -> torch.Tensor:
        return ((x @ self.h.to(x)) * x).sum(1) / 2 - x @ self.b.to(x)


class Linear(Exact):
    """Ax = c."""

    def __init__(self, x: Variable, a: torch.Tensor, c: torch.Tensor):
        super().__init__(x, None)
        self.a, self.c = a, c

    def residual(self, x: Any) -> torch.Tensor:
        return x @ self.a.T - self.c

    def energy(self, x: Any) -> torch.Tensor:
        return self.residual(x).square().sum(1) / 2

    def holds(self, x: Any) -> bool:
        return bool(self.energy(torch.tensor([x], dtype=torch.float64)) <= self.tolerance)


def quadratic(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    made = torch.Generator().manual_seed(seed)
    m = torch.randn(n, n, generator=made, dtype=torch.float64)
    return m @ m.T + 0.1 * torch.eye(n, dtype=torch.float64), torch.randn(
        n, generator=made, dtype=torch.float64
    )


@FEW
@given(n=st.integers(2, 8), share=st.integers(1, 7), seed=st.integers(0, 2**31))
def test_equalities_meet_the_solved_system_multipliers_and_all(n, share, seed):
    h, b = quadratic(n, seed)
    m = min(share, n - 1)
    a, c = (quadratic(n, seed + 1)[0][:m], quadratic(n, seed + 2)[1][:m])
    top = torch.cat([h, a.T], 1)
    system = torch.cat([top, torch.cat([a, torch.zeros(m, m, dtype=torch.float64)], 1)])
    wanted = torch.linalg.solve(system, torch.cat([b, c]))
    x = Variable("x", Real((n,)))
    problem = Problem(Linear(x, a, c) + 1.0 * Quadratic(x, h, b))
    s, _ = run(problem, Lagrangian(smallest=1e-15))
    at = s.best.x["x"][0]
    least = (wanted[:n] @ h @ wanted[:n] / 2 - b @ wanted[:n]).item()
    assert s.best.violation[0] == 0
    assert s.best.energy[0].item() == pytest.approx(least, rel=1e-5, abs=1e-5)
    worst = torch.linalg.svdvals(system).min().item()
    assert torch.allclose(at, wanted[:n], atol=1e-3 / min(1.0, worst))
    signed = s.units * (s.signed + s.mu[:, None] * s.off) / s.unit[:, None]
    assert torch.allclose(signed[0], wanted[n:], rtol=1e-2, atol=1e-2 / min(1.0, worst))


def run(problem: Problem, minimizer: Lagrangian, particles: int = 2, seed: int = 0):
    """The last state, and the number of steps to it."""
    rng, k = Stream(seed, problem.keys), 0
    x = {v.name: problem.sample(v.name, particles, rng) for v in problem.open}
    s = minimizer.init(problem, x, rng.at(0))
    while not s.done.all():
        s, k = minimizer.step(problem, s, rng.at(k)), k + 1
    return s, k


@FEW
@given(n=st.integers(1, 4), seed=st.integers(0, 2**31))
def test_boxes_meet_the_best_of_all_active_sets(n, seed):
    h, b = quadratic(n, seed)
    x = Variable("x", Real((n,), -0.5, [0.25] * n))
    s, steps = run(Problem(1.0 * Quadratic(x, h, b)), Lagrangian())
    least = math.inf
    for held in itertools.product((-0.5, 0.25, None), repeat=n):
        free = [k for k, edge in enumerate(held) if edge is None]
        at = torch.tensor([0.0 if edge is None else edge for edge in held], dtype=torch.float64)
        if free:
            at[free] = torch.linalg.solve(h[free][:, free], (b - h @ at)[free])
        if bool(((at >= -0.5) & (at <= 0.25)).all()):
            least = min(least, (at @ h @ at / 2 - b @ at).item())
    assert s.best.energy[0].item() == pytest.approx(least, abs=1e-9) and steps < 400


# W. Hock and K. Schittkowski, "Test Examples for Nonlinear Programming Codes", 1981
KNOWN = {
    "6": (2, lambda a, b: (1 - a) ** 2, Equal, lambda a, b: [10 * (b - a * a)], 0),
    "7": (2, lambda a, b: (1 + a * a).log() - b, Equal,
          lambda a, b: [(1 + a * a) ** 2 + b * b - 4], -math.sqrt(3)),
    "28": (3, lambda a, b, c: (a + b) ** 2 + (b + c) ** 2, Equal,
           lambda a, b, c: [a + 2 * b + 3 * c - 1], 0),
    "39": (4, lambda a, b, c, d: -a, Equal,
           lambda a, b, c, d: [b - a**3 - c * c, a * a - b - d * d], -1),
    "40": (4, lambda a, b, c, d: -a * b * c * d, Equal,
           lambda a, b, c, d: [a**3 + b * b - 1, a * a * d - c, d * d - b], -0.25),
    "35": (3, lambda a, b, c: 9 - 8 * a - 6 * b - 4 * c + 2 * a * a + 2 * b * b + c * c
           + 2 * a * b + 2 * a * c, Below, lambda a, b, c: [a + b + 2 * c - 3, -a, -b, -c], 1 / 9),
    "43": (4, lambda a, b, c, d: a * a + b * b + 2 * c * c + d * d - 5 * a - 5 * b - 21 * c + 7 * d,
           Smooth, lambda a, b, c, d: [
               a * a + b * b + c * c + d * d + a - b + c - d - 8,
               a * a + 2 * b * b + c * c + 2 * d * d - a - d - 10,
               2 * a * a + b * b + c * c + 2 * a - b - d - 5], -44),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_known_optima(name: str) -> None:
    n, f, kind, g, least = KNOWN[name]
    x = Variable("x", Real((n,), -5.0, 5.0))
    problem = Problem(1.0 * Cost(x, f) + kind(x, g))
    (answer,) = answers(problem, Lagrangian(), particles=8, budget=Budget(steps=1500), seed=1)
    assert answer.status is Status.SATISFIED
    assert answer.energy == pytest.approx(least, abs=2e-3 if kind is Smooth else 1e-6)


class Walk(Definition):
    """s[t + 1] = s[t] + a[t]."""

    dtype = torch.float64

    def define(self, *inputs: Any) -> torch.Tensor:
        start, a = inputs
        return start[:, None] + a.cumsum(1)


class Effort(Cost):
    def energy(self, x: Any) -> torch.Tensor:
        return x.square().sum(1)


def walk(steps: int = 6, most: float = 5.0) -> Problem:
    s, a = Variable("s", Real((steps + 1,), -most, most)), Variable("a", Real((steps,), -2, 2))
    return Problem(Walk(s[0], a, s[1:]) + 1.0 * Effort(a, None), (s, a))


@pytest.mark.parametrize("form", ["reduced", "lifted"])
def test_what_is_wanted_of_computed_sites_has_signs(form: str) -> None:
    """From 1 to 4, and from 1 to -3 past an edge at -0.5 on the way."""
    goals = [{"s": [1.0, *[None] * 5, end]} for end in (4.0, -3.0)]
    rows = walk().given_rows(goals)
    told = answers(rows.reduced() if form == "reduced" else rows, Lagrangian(), particles=3)
    for answer, effort in zip(told, (9 / 6, 16 / 6), strict=True):
        assert answer.status is Status.SATISFIED
        assert answer.energy == pytest.approx(effort, rel=3e-3)
    low, s = [-5.0, *[-0.5] * 5, -5.0], Variable("s", Real((7,), [-5.0, *[-0.5] * 5, -5.0], 5.0))
    a = Variable("a", Real((6,)))
    edged = Problem(Walk(s[0], a, s[1:]) + 1.0 * Effort(a, None), (s, a))
    edged = edged.given(s=[1.0, *[None] * 5, -3.0])
    (answer,) = answers(edged.reduced() if form == "reduced" else edged, Lagrangian(), particles=3)
    assert answer.energy == pytest.approx(1.5**2 / 5 + 2.5**2, rel=3e-3)
    assert min(b - a for a, b in zip(low, answer.values["s"], strict=True)) > -2e-3


def held() -> Problem:
    """Rows of equalities, of parts, of computed sites and of an input that one of them lacks."""

    class Told(Equal):
        def __init__(self, told: Input, x: Variable):
            Term.__init__(self, told, x)

        def residual(self, *tensors: Any) -> torch.Tensor:
            return tensors[1][:, :2] - tensors[0]

        def energy(self, *tensors: Any) -> torch.Tensor:
            return self.residual(*tensors).square().sum(1) / 2

        def holds(self, told: Any, x: Any) -> bool:
            return all(abs(a - b) < 1e-7 for a, b in zip(told, x))

    told, x = Input("told", Real((2,))), Variable("x", Real((3,), -2.0, 2.0))
    out = Variable("out", Real((4,), -1.0, 1.0))
    h, b = quadratic(3, 5)
    energy = 1.0 * Quadratic(x, h, b) + Walk(x[0], x, out[1:]) + Told(told, x)
    energy = energy + Below(x, lambda a, b, c: [a + b + c - 0.5])
    given = [{"told": [0.1 * k, 0.2], "x": [None, None, 0.3]} for k in range(3)]
    rows = [{"out": [0.0, None, None, None], **row} for row in (*given, {})]
    rows.append({"told": [0.1, 0.1], "out": [0.0, None, None, 0.25]})
    return Problem(energy, (x, out, told)).given_rows(rows)


@pytest.mark.parametrize("form", ["reduced", "lifted"])
def test_the_contract_beside_what_must_hold(form: str) -> None:
    problem = held().reduced() if form == "reduced" else held()
    check_minimizer(Lagrangian(memory=3, inner=5), problem, particles=3, steps=40)
    check_minimizer(Portfolio(), problem, particles=2, steps=6)


def test_the_portfolio_asks_it_where_required_terms_have_residuals() -> None:
    problem = walk().given(s=[1.0, *[None] * 5, 4.0])
    for one in (problem, problem.reduced()):
        kinds = [type(m.inner) for m in Portfolio().kin(one)[0] if isinstance(m, Restarts)]
        assert Lagrangian in kinds and len(kinds) == 2
    x = Variable("x", Real((2,)))
    (alone,) = Portfolio().kin(Problem(1.0 * Effort(x, None)))
    assert [type(m.inner) for m in alone if isinstance(m, Restarts)] != [Lagrangian]
    n, f, kind, g, least = KNOWN["39"]
    y = Variable("y", Real((n,), -5.0, 5.0))
    (answer,) = answers(Problem(1.0 * Cost(y, f) + kind(y, g)), budget=Budget(steps=400))
    assert answer.energy == pytest.approx(least, abs=1e-6)


def test_what_cannot_hold_ends_without_a_verdict() -> None:
    x = Variable("x", Real((2,), -1.0, 1.0))
    problem = Problem(Equal(x, lambda a, b: [a - 0.5, a + 0.5 + 0 * b]))
    (answer,) = answers(problem, Lagrangian(rounds=5), particles=2)
    assert answer.status is Status.UNSATISFIED


@pytest.mark.parametrize("seed", range(4))
def test_sites_that_an_edge_holds_stay_numbers_however_steep(seed: int) -> None:
    """A rule that no box can meet is priced ever higher, and all slopes end at an edge."""

    class Below(Term):
        affine = False

        def energy(self, a):
            return (a.double().reshape(len(a), -1) + 1).clamp(min=0).sum(-1)

        def holds(self, a):
            return max(a) <= -1

    a = Variable("a", Real((1,), low=0.0, high=1.0))
    problem = Problem(required(Below(a)))
    minimizer = Lagrangian()
    start = torch.rand(1, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    state = minimizer.init(problem, {"a": start}, Stream(seed, problem.keys))
    for k in range(40):
        state = minimizer.step(problem, state, Stream(k, problem.keys))
        assert state.way.isfinite().all() and state.at.isfinite().all()
    (answer,) = answers(problem)
    assert answer.status is Status.UNSATISFIED and answer.values == {"a": [0.0]}


def test_what_is_no_number_is_violated() -> None:
    a = Variable("a", Real((1,), low=0.0, high=1.0))

    class Sum(Term):
        affine = False

        def energy(self, a):
            return a.double().reshape(len(a), -1).sum(-1)

        def holds(self, a):
            return sum(a) <= 0

    got = Problem(required(Sum(a))).constraints({"a": torch.tensor([[math.nan]])})
    assert strictly(got).tolist() == [math.inf]


def test_what_is_no_number_is_stepped_back_from() -> None:
    x = Variable("x", Real((1,), -3.0, 5.0))
    problem = Problem(1.0 * Cost(x, lambda a: -a.log() + a))  # no number below 0
    (answer,) = answers(problem, Lagrangian(), particles=6, budget=Budget(steps=200))
    assert answer.values["x"] == pytest.approx([1.0], abs=1e-5)


def test_single_numbers_are_enough() -> None:
    x = Variable("x", Real((2,), -3.0, 3.0))
    problem = Problem(1.0 * Rough(x, lambda a, b: (a - 1 / 3) ** 2 + 100 * (b - a * a) ** 2))
    s, steps = run(problem, Lagrangian(), particles=4)
    assert s.best.x["x"][0].tolist() == pytest.approx([1 / 3, 1 / 9], abs=1e-2) and steps < 1000
    assert torch.equal(s.best.x["x"].float().double(), s.best.x["x"])


def test_values_of_a_list_are_refused() -> None:
    x, z = Variable("x", Finite((0, 1))), Variable("z", Real((2,)))
    problem = Problem(1.0 * Effort(z, None), (x, z))
    assert "x" in str(Lagrangian().refuses(problem))
    with pytest.raises(BadQuery, match="real variables alone"):
        answers(problem, Lagrangian())


def test_nothing_to_move_is_scored() -> None:
    x = Variable("x", Real((2,)))
    (answer,) = answers(Problem(1.0 * Effort(x, None)).given(x=[1.0, 2.0]), Lagrangian())
    assert answer.energy == 5.0
    (free,) = answers(Problem(required(Equal(x, lambda a, b: [a]))).given(x=[0.0, 2]), Lagrangian())
    assert free.holds is True


@pytest.mark.parametrize("wrong", [{"memory": 0}, {"inner": 0}, {"rounds": 0}, {"smallest": 1.0}])
def test_settings_that_make_no_sense(wrong: Any) -> None:
    with pytest.raises(BadQuery, match="give"):
        Lagrangian(**wrong)


def at_one(cost: type[Cost], dtype: torch.dtype, tolerance: float) -> Problem:
    """The least of 100 x where x = 1; beside a rule in numbers of its own."""
    kind = type("Own", (Equal,), {"dtype": dtype, "tolerance": tolerance})
    x = Variable("x", Real((1,), -5.0, 5.0))
    return Problem(1.0 * cost(x, lambda a: 100 * a) + required(kind(x, lambda a: [a - 1])))


@pytest.mark.parametrize("cost", [Cost, Rough])
@pytest.mark.parametrize(("dtype", "near"), [(torch.float64, 2e-6), (torch.float32, 1e-4)])
def test_coarse_numbers_of_one_term_loosen_no_other(cost, dtype: torch.dtype, near: float) -> None:
    problem = at_one(cost, dtype, 1e-6)
    (answer,) = answers(problem, Lagrangian(), particles=8, budget=Budget(steps=1000))
    assert answer.status is Status.SATISFIED and answer.energy == pytest.approx(100.0, abs=near)


@pytest.mark.parametrize("tolerance", [1e-12, 1e-18, 1e-22])
def test_tolerances_below_rounding_of_squares_are_met(tolerance: float) -> None:
    tight = type("Tight", (Equal,), {"tolerance": tolerance})
    x = Variable("x", Real((1,), -5.0, 5.0))
    problem = Problem(1.0 * Cost(x, lambda a: a * a) + required(tight(x, lambda a: [a**3 - 0.3])))
    (answer,) = answers(problem, Lagrangian(), particles=8, budget=Budget(steps=1000))
    assert answer.status is Status.SATISFIED
    assert answer.energy == pytest.approx(0.3 ** (2 / 3), rel=1e-7)


def test_what_is_off_is_measured_in_the_numbers_of_its_own_term() -> None:
    problem = at_one(Cost, torch.float32, 1e-6)
    for off, none in ((1e-9, True), (2e-7, True), (1e-5, False), (1e-2, False)):
        got = problem.constraints({"x": torch.tensor([[1 + off]], dtype=torch.float64)})
        assert bool(strictly(got) == 0) is none, off
    wide = at_one(Rough, torch.float64, 1e-6)
    for off, none in ((5e-9, True), (2e-8, False), (1e-5, False)):
        got = wide.constraints({"x": torch.tensor([[1 + off]], dtype=torch.float64)})
        assert bool(strictly(got) == 0) is none, off
        assert strictly(got).item() == pytest.approx(0.0 if none else off * off / 2, rel=1e-6)


@pytest.mark.parametrize(
    ("dear", "steep"),
    [
        *((10.0**k, 1.0) for k in (-12, -6, 0, 6, 10, 12)),
        *((1.0, 10.0**k) for k in (-5, -3, 6, 12)),
    ],
)
def test_units_of_costs_and_of_rules_change_nothing(dear: float, steep: float) -> None:
    """s (a^2 + b^2) where k (a + b - 1) = 0: s / 2, with a tolerance in the unit of the rule."""
    kind = type("Own", (Equal,), {"tolerance": 1e-12 * steep**2})
    x = Variable("x", Real((2,)))
    rule = kind(x, lambda a, b: [steep * (a + b - 1)])
    problem = Problem(1.0 * Cost(x, lambda a, b: dear * (a * a + b * b)) + rule)
    (answer,) = answers(problem, Lagrangian(), particles=8, budget=Budget(steps=500))
    assert answer.status is Status.SATISFIED
    assert answer.energy == pytest.approx(dear / 2, rel=1e-7)
    assert answer.values["x"] == pytest.approx([0.5, 0.5], abs=1e-4)


def test_units_bring_slopes_at_the_start_to_usual_ones() -> None:
    x = Variable("x", Real((2,), -5.0, 5.0))
    problem = Problem(
        1.0 * Cost(x, lambda a, b: 3e6 * a - 4e6 * b)
        + Equal(x, lambda a, b: [1e-4 * (a + b), 1e7 * (a - 2 * b), 0 * a])
    )
    s = Lagrangian().init(
        problem, {"x": torch.zeros(64, 2).double()}, Stream(0, problem.keys).at(0)
    )
    assert torch.allclose(s.unit, torch.full_like(s.unit, 1e3 / 5e6))
    wanted = torch.tensor([1e1 / 2**0.5, 1e-4 / 5**0.5, 1.0], dtype=torch.float64)
    share = s.units / wanted
    assert torch.equal(share[:, 2], torch.ones(64, dtype=torch.float64))
    assert share.median(0).values.min() > 0.7 and share.median(0).values.max() < 1.5
    assert share.min() > 0.2 and share.max() < 20
    free = Problem(1.0 * Cost(x, lambda a, b: 3e6 * a - 4e6 * b))
    s = Lagrangian().init(free, {"x": torch.zeros(4, 2).double()}, Stream(0, free.keys).at(0))
    assert torch.equal(s.unit, torch.ones(4, dtype=torch.float64))

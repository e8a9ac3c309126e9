"""Minimizers: contract, exact distributions, known optima, closed forms, and planted lies."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.answer import Status
from engine.domain import Finite, Real, Variable
from engine.energy import Term, required
from engine.errors import BadQuery
from engine.factors import Clauses, Counted, Different, Factors, Sums, Table, floats, ints
from engine.kernels import sweeps
from engine.minimizer import Minimizer
from engine.minimizers.annealing import Annealing
from engine.minimizers.branch_and_bound import BranchAndBound
from engine.minimizers.cadical import Cadical
from engine.minimizers.cp_sat import CpSat
from engine.minimizers.descent import Descent
from engine.minimizers.enumeration import Enumeration
from engine.minimizers.gibbs import Gibbs
from engine.minimizers.portfolio import Portfolio
from engine.minimizers.restarts import Restarts
from engine.problem import Problem
from engine.random import Stream
from engine.settle import answers
from engine.solve import Budget, batch
from engine.sweeps.layout import lay_out
from engine.sweeps.reference import plain_energy, reference
from engine.testing import check_minimizer

# ---------------------------------------------------------------- small energies


class Pairwise(Term):
    """E = sum_ij <x_i, W_ij x_j> + sum_i <h_i, x_i>, its structure given by the enumerated table
    of each pair."""

    def __init__(self, x: Variable, couplings: Tensor, unary: Tensor, explicit: bool = True):
        super().__init__(x)
        self.couplings, self.unary, self.explicit = couplings, unary, explicit

    def energy(self, x: Tensor) -> Tensor:  # (B, n, k) -> (B,)
        w, h = self.couplings.to(x.dtype), self.unary.to(x.dtype)
        return torch.einsum("bik,ijkl,bjl->b", x, w, x) + (h * x).sum((-1, -2))

    def factors(self, *domains):
        if not self.explicit:
            return None
        n, k = self.unary.shape
        tables = [
            Table(ints([i])[:, None], np.arange(k)[:, None], floats(self.unary[i].numpy()),
                  term=ints([0]), part=ints([0]))
            for i in range(n)
        ]  # fmt: skip
        tuples = ints(list(itertools.product(range(k), repeat=2)))
        for i, j in itertools.combinations(range(n), 2):
            both = self.couplings[i, j] + self.couplings[j, i].T
            tables.append(Table(ints([[i, j]]), tuples, floats(both.reshape(-1).numpy()),
                                term=ints([0]), part=ints([0])))  # fmt: skip
        return Factors(Factors.sizes_of(domains), n, tables=tuple(tables))


def pairwise(x: Variable, seed: int, explicit: bool = True, whole: bool = False) -> Pairwise:
    n, k = x.domain.event
    g = torch.Generator().manual_seed(seed)
    w = torch.randn(n, n, k, k, generator=g, dtype=torch.float64)
    h = torch.randn(n, k, generator=g, dtype=torch.float64)
    if whole:
        w, h = (2 * w).round(), (2 * h).round()
    w = w * (1 - torch.eye(n, dtype=torch.float64))[:, :, None, None]
    return Pairwise(x, w, h, explicit)


class Triple(Term):
    """E = T[x_0, x_1, x_2]: one table over three sites."""

    def __init__(self, x: Variable, costs: Tensor):
        super().__init__(x)
        self.costs = costs

    def energy(self, x: Tensor) -> Tensor:
        return torch.einsum("ba,bc,bd,acd->b", x[:, 0], x[:, 1], x[:, 2], self.costs.to(x.dtype))


class Distinct(Term):
    """Neighbouring sites differ: E = sum_i <x_i, x_(i+1)>."""

    def energy(self, x: Tensor) -> Tensor:
        return (x[:, 1:] * x[:, :-1]).sum((-1, -2))

    def holds(self, x) -> bool:
        return all(a != b for a, b in itertools.pairwise(x))

    def factors(self, *domains):
        n = domains[0].sites
        line = np.stack([np.arange(n - 1), np.arange(1, n)], 1)
        every = np.arange(n - 1)
        return Factors(Factors.sizes_of(domains), n, different=Different(
            np.arange(0, 2 * n - 1, 2), line.reshape(-1), 0 * every, every))  # fmt: skip


class Opaque(Distinct):
    """The same rule, whose structure stays unknown."""

    def factors(self, *domains):
        return None


class Bowl(Term):
    """E = |A (x - c)|^2 / 2."""

    def __init__(self, x: Variable, matrix: Tensor, centre: Tensor):
        super().__init__(x)
        self.matrix, self.centre = matrix, centre

    def energy(self, x: Tensor) -> Tensor:
        r = (x - self.centre.to(x.dtype)) @ self.matrix.to(x.dtype).T
        return (r * r).sum(-1) / 2

    def floor(self) -> float:
        return 0.0


class Tied(Term):
    """E = sum_i (y_i - place of x_i)^2: a real number for every choice."""

    affine = False

    def energy(self, x: Tensor, y: Tensor) -> Tensor:
        places = torch.arange(x.shape[-1], dtype=x.dtype)
        return ((y - x @ places) ** 2).sum(-1)

    def floor(self) -> float:
        return 0.0


class AtMost(Term):
    """A rule over real numbers: sum x <= limit; E = by how much it is missed."""

    def __init__(self, x: Variable, limit: float):
        super().__init__(x)
        self.limit = limit

    def energy(self, x: Tensor) -> Tensor:
        return (x.sum(-1) - self.limit).clamp(min=0)

    def holds(self, x) -> bool:
        return sum(x) <= self.limit + 1e-4


class Count(Term):
    """E = (number of sites at their last value - target)^2, hidden from the gradient."""

    affine = False

    def __init__(self, x: Variable, target: int):
        super().__init__(x)
        self.target = target

    def energy(self, x: Tensor) -> Tensor:
        return ((x[..., -1] > 0.5).float().sum(-1) - self.target) ** 2

    def factors(self, *domains):
        return None


class Liar(Term):
    """Says that all is well when the first two sites are equal: its energy is always 0."""

    def energy(self, x: Tensor) -> Tensor:
        return 0 * x[:, 0, 0]

    def holds(self, x) -> bool:
        return x[0] != x[1]

    def factors(self, *domains):
        return Factors(Factors.sizes_of(domains), domains[0].sites)


def sites(n: int, k: int, name: str = "x") -> Variable:
    return Variable(name, Finite(tuple(range(k)), (n,)))


def every(n: int, k: int) -> np.ndarray:
    return np.array(list(itertools.product(range(k), repeat=n)))


def costs_of(problem: Problem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All states of a problem of one finite variable, with energies and violations."""
    n, k = problem.domains["x"].event
    places = every(n, k)
    state = problem.state(places)
    return places, problem.energy(state).numpy(), problem.energy.violation(state).numpy()


def least(problem: Problem, row: int = 0) -> float:
    """The least energy by enumeration, under the evidence of a row."""
    places, energy, violation = costs_of(problem)
    allowed = problem.domain("x").allowed[row].numpy()
    open_ = allowed[np.arange(places.shape[1]), places].all(1)
    return float(energy[open_ & (violation < 1e-9)].min())


# ---------------------------------------------------------------- the fused sweep


def random_factors(rng: np.random.Generator, rows: int) -> Factors:
    """Every family of structure over five sites, two of them a tight line; whole numbers."""
    sizes = ints([2, 2, 3, 3, 3, 4])
    n = len(sizes)

    def lists(count):
        site, value, start = [], [], [0]
        for _ in range(count):
            length = int(rng.integers(1, 5))
            s = rng.integers(0, n, length)
            site.append(s)
            value.append(np.array([rng.integers(0, sizes[q]) for q in s]))
            start.append(start[-1] + length)
        return dict(start=ints(start), site=np.concatenate(site), value=np.concatenate(value),
                    term=ints([0] * count), part=ints(range(count)))  # fmt: skip

    def table(scopes, shape, wild):
        tuples = ints(list(itertools.product(*map(range, shape))))
        costs = rng.integers(-3, 4, (rows, len(tuples)) if rows > 1 else len(tuples)).astype(float)
        if wild:
            costs[..., 0] = math.inf
        return Table(ints(scopes), tuples, costs, term=ints([0] * len(scopes)),
                     part=ints(range(len(scopes))))  # fmt: skip

    counted, clauses, sums = lists(3), lists(3), lists(2)
    return Factors(
        sizes,
        n,
        Counted(**counted, low=ints([0, 1, 2]), high=ints([1, 1, 3])),
        Clauses(**clauses, sign=rng.random(len(clauses["site"])) < 0.5),
        Sums(**sums, coefficient=rng.integers(-2, 3, len(sums["site"])).astype(float),
             low=floats([-1, 0]), high=floats([0, math.inf])),
        Different(ints([0, 3]), ints([2, 3, 4]), ints([0]), ints([0])),
        (
            table([[0], [1]], (2,), False),
            table([[0, 2], [1, 3]], (2, 3), True),
            table([[2, 4, 5]], (3, 3, 4), False),
            Table(ints([[2, 3], [5, 5]]), ints([[0, 1], [1, 1]]), floats([2.0, -1.0]), 1.0,
                  ints([0, 0]), ints([0, 1])),
        ),
    )  # fmt: skip


def fused(factors: Factors, allowed: np.ndarray, weight, betas, x, rng: Stream, row: int = 0,
          dense: int | None = None):  # fmt: skip
    """The fused sweeps of one row, beginning with sweep 0; x (P, n) is changed in place."""
    layout = lay_out(factors)
    n = len(factors.sizes)
    options = np.zeros(n, dtype=np.int32)
    choices = np.zeros(len(allowed), dtype=np.int16)
    for i, at in enumerate(layout.structure.offset[:-1]):
        values = np.flatnonzero(allowed[at : at + factors.sizes[i]])
        options[i] = len(values)
        choices[at : at + len(values)] = values
    field = layout.field[row if len(layout.field) > 1 else 0]
    score = np.full((len(x), 4), np.inf)
    best, blame = x.copy(), np.zeros(layout.rules)
    key = rng.words[0].numpy().astype(np.uint64)
    args = (np.asarray(betas, dtype=np.float64), key, rng.lane, 0, x, best, score)
    if layout.pairs is not None:
        sweeps.sweep_pairs(layout.pairs, options, layout.pair_field[0],
                           float(layout.pair_constant[0]), *args)  # fmt: skip
    else:
        sweeps.sweep(layout.structure, row, choices, options, field, weight, *args, blame,
                     np.zeros((0, 0, 2)))  # fmt: skip
    return best, score, blame


@pytest.mark.parametrize("seed", range(12))
def test_sweep_equals_the_plain_reference(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    rows = 1 + seed % 3
    if seed % 2:
        monkeypatch.setattr(
            "engine.sweeps.layout.DENSE", 8
        )  # the larger tables are searched by key
    factors = random_factors(rng, rows)
    allowed = rng.random(int(factors.sizes.sum())) < 0.85
    offset = np.concatenate([[0], np.cumsum(factors.sizes)])
    x = np.array([[rng.integers(0, k) for k in factors.sizes] for _ in range(3)], dtype=np.int16)
    x[1:] = x[0]
    allowed[offset[:-1] + x[0]] = True
    weight = rng.integers(1, 4, lay_out(factors).rules).astype(float)
    stream = Stream(seed, torch.tensor([seed * 7919 - 5]))
    betas = [0.1, 0.5, 0.0, 1.0, 3.0]
    words = np.stack([stream.at(t).bits(3, len(factors.sizes) + 3).numpy() for t in range(5)], 1)
    expected = [
        reference(factors, allowed, weight, betas, words[p], x[p].astype(int), rows - 1)
        for p in range(3)
    ]
    best, score, blame = fused(factors, allowed, weight, betas, x, stream, rows - 1)
    for p, (state, cost, broken) in enumerate(expected):
        assert x[p].tolist() == state.tolist()
        assert score[p, 0] == pytest.approx(cost) and score[p, 1] == pytest.approx(broken)
        found = plain_energy(factors, best[p].astype(int), weight, rows - 1)
        assert score[p, 2] == pytest.approx(found[0]) and score[p, 3] == pytest.approx(found[1])
    assert blame.sum() == pytest.approx(score[:, 1].sum())
    assert len({tuple(y) for y in x.tolist()}) > 1  # particles draw their own numbers


@pytest.mark.parametrize("seed", range(4))
def test_fast_form_equals_the_plain_reference(seed: int) -> None:
    x = sites(9, 2)
    problem = Problem(1.0 * pairwise(x, seed, whole=True))
    factors, _ = problem.factored()
    assert lay_out(factors).pairs is not None
    rng = Stream(seed, problem.keys)
    start = np.random.default_rng(seed).integers(0, 2, (2, 9)).astype(np.int16)
    betas = [0.05, 0.1, 0.3, 0.5, 2.0]
    words = np.stack([rng.at(t).bits(2, 9).numpy() for t in range(5)], 1)
    allowed = np.ones(18, dtype=bool)
    expected = [
        reference(factors, allowed, np.zeros(0), betas, words[p], start[p].astype(int))
        for p in range(2)
    ]
    best, score, _ = fused(factors, allowed, np.zeros(0), betas, start, rng)
    for p in range(2):
        assert start[p].tolist() == expected[p][0].tolist()
        assert score[p, 0] == pytest.approx(expected[p][1])
        assert score[p, 2] == pytest.approx(
            plain_energy(factors, best[p].astype(int), np.zeros(0))[0]
        )


def boltzmann(energy: np.ndarray, beta: float) -> np.ndarray:
    p = np.exp(-beta * (energy - energy.min()))
    return p / p.sum()


def distance(counts: np.ndarray, p: np.ndarray) -> float:
    """Total variation."""
    return float(np.abs(counts / counts.sum() - p).sum() / 2)


def ternary(k: int = 3, n: int = 4, seed: int = 1) -> Problem:
    x = sites(n, k)
    g = torch.Generator().manual_seed(seed)
    return Problem(1.0 * pairwise(x, seed) + 0.7 * Triple(x, torch.randn(k, k, k, generator=g)))


def free_spins() -> Problem:
    """Sites without any energy: a strictly sequential scan would only see two states."""
    x = sites(3, 2)
    return Problem(1.0 * Pairwise(x, torch.zeros(3, 3, 2, 2, dtype=torch.float64),
                                  torch.zeros(3, 2, dtype=torch.float64)))  # fmt: skip


@pytest.mark.parametrize(
    ("problem", "beta"),
    [(ternary(), 0.6), (Problem(1.0 * pairwise(sites(5, 2), 3)), 0.5), (free_spins(), 1.0)],
)
def test_annealing_stands_at_the_exact_distribution(problem: Problem, beta: float) -> None:
    minimizer = Annealing(sweeps=8, hot=beta, cold=beta, patience=None)
    places, energy, _ = costs_of(problem)
    n, k = problem.domains["x"].event
    rng = Stream(11, problem.keys)
    start = {"x": problem.domain("x").encode([0] * n).expand(4000, n, k)}
    s = minimizer.init(problem, start, rng.at(0))._replace(bound=torch.tensor([-1e9]))
    code = k ** np.arange(n)[::-1]
    counts = np.zeros(len(places))
    for step in range(1, 31):
        s = minimizer.step(problem, s._replace(done=torch.tensor([False])), rng.at(step))
        if step > 5:
            counts += np.bincount(s.places.numpy().astype(int) @ code, minlength=len(places))
    assert distance(counts, boltzmann(energy, beta)) < 0.02


def test_multipliers_weigh_rules_in_the_distribution() -> None:
    x = sites(3, 3)
    problem = Problem(1.0 * pairwise(x, 5) + required(Distinct(x)))
    factors, _ = problem.factored()
    places, energy, violation = costs_of(problem)
    weight, beta = np.full(lay_out(factors).rules, 0.8), 0.7
    # as explicit structure the rule counts by how much each value is used too often
    broken = np.array([plain_energy(factors, y, weight)[1] for y in places])
    assert ((broken > 0) == (violation > 0)).all()
    counts = np.zeros(len(places))
    states = np.zeros((3000, 3), dtype=np.int16)
    for step in range(30):
        rng = Stream(step, problem.keys)
        fused(factors, np.ones(9, dtype=bool), weight, [beta] * 5, states, rng)
        if step > 5:
            counts += np.bincount(states.astype(int) @ [9, 3, 1], minlength=27)
    assert distance(counts, boltzmann(energy + 0.8 * broken, beta)) < 0.02


@pytest.mark.parametrize("blind", [False, True])
def test_gibbs_stands_at_the_exact_distribution(blind: bool) -> None:
    """Also where the gradient says nothing about a part of the energy."""
    x = sites(4, 3)
    energy = 1.0 * pairwise(x, 4, explicit=False)
    if blind:
        energy = energy + 0.5 * Count(x, 2)
    problem = Problem(energy)
    minimizer = Gibbs(steps=1, hot=0.5, cold=0.5, patience=None)
    places, costs, _ = costs_of(problem)
    rng = Stream(3, problem.keys)
    s = minimizer.init(problem, {"x": problem.domain("x").sample(3000, rng)}, rng.at(0))
    counts = np.zeros(81)
    for step in range(1, 160):
        s = minimizer.step(problem, s, rng.at(step))
        if step > 60:
            state = problem.places({"x": s.now.hot.reshape(-1, 4, 3)})
            counts += np.bincount(state @ [27, 9, 3, 1], minlength=81)
    assert distance(counts, boltzmann(costs, 0.5)) < 0.02


def test_langevin_stands_at_the_exact_distribution() -> None:
    x = Variable("x", Real((2,)))
    problem = Problem(1.0 * Bowl(x, torch.diag(torch.tensor([1.0, 2.0])), torch.tensor([1.0, 0.0])))
    minimizer = Gibbs(hot=2.0, cold=2.0, patience=None)
    rng = Stream(3, problem.keys)
    s = minimizer.init(problem, {"x": problem.domain("x").sample(4000, rng)}, rng.at(0))
    seen = []
    for step in range(1, 150):
        s = minimizer.step(problem, s, rng.at(step))._replace(done=torch.tensor([False]))
        s = s._replace(pace=torch.full_like(s.pace, 0.05))
        if step > 80 and step % 5 == 0:
            seen.append(s.now.real)
    every_x = torch.cat(seen).double()
    assert torch.allclose(every_x.mean(0), torch.tensor([1.0, 0.0]).double(), atol=0.02)
    assert torch.allclose(every_x.var(0), torch.tensor([1 / 2, 1 / 8]).double(), rtol=0.05)


# ---------------------------------------------------------------- contract


def soft_problem() -> Problem:
    x = sites(5, 3)
    energy = 1.0 * pairwise(x, 2) + required(Distinct(x))
    return Problem(energy).given_rows([{"x": [k % 3, *[None] * 4]} for k in range(7)])


def rigid_problem() -> Problem:
    x = sites(3, 3)
    return Problem(required(Distinct(x))).given_rows([{"x": [k % 3, None, None]} for k in range(7)])


def opaque_problem(count: int = 5) -> Problem:
    x = sites(count, 3)
    energy = 1.0 * pairwise(x, 2, explicit=False) + required(Opaque(x))
    return Problem(energy).given_rows([{"x": [k % 3, *[None] * (count - 1)]} for k in range(7)])


def wide_problem() -> Problem:
    return opaque_problem(11)  # more combinations than are enumerated


def real_problem() -> Problem:
    x = Variable("x", Real((3,), -2.0, 2.0))
    energy = 1.0 * Bowl(x, torch.eye(3), torch.tensor([0.5, 0.1, -3.0])) + required(AtMost(x, 0.0))
    return Problem(energy).given_rows([{"x": [k / 10, None, None]} for k in range(7)])


def mixed_problem() -> Problem:
    x, y = sites(3, 3), Variable("y", Real((3,), 0.0, 2.0))
    energy = 1.0 * Tied(x, y) + 0.3 * pairwise(x, 6, explicit=False)
    return Problem(energy).given_rows(
        [{"x": [k % 3, None, None], "y": [None, k / 7, None]} for k in range(7)]
    )


CASES = {
    "annealing": (Annealing(sweeps=20), soft_problem),
    "gibbs": (Gibbs(steps=30), opaque_problem),
    "gibbs-mixed": (Gibbs(steps=30), mixed_problem),
    "gibbs-real": (Gibbs(steps=30), real_problem),
    "descent": (Descent(), real_problem),
    "descent-mixed": (Descent(every=3), mixed_problem),
    "complete": (BranchAndBound(conflicts=3), soft_problem),
    "cp_sat": (CpSat(), soft_problem),
    "cadical": (Cadical(unique=True), rigid_problem),
    "portfolio": (Portfolio(), soft_problem),
    "enumeration": (Enumeration(alternatives=2), opaque_problem),
    "portfolio-opaque": (Portfolio(), opaque_problem),
    "portfolio-wide": (Portfolio(), wide_problem),
    "restarts-annealing": (Restarts(Annealing(sweeps=5), after=3), soft_problem),
    "restarts-gibbs": (Restarts(Gibbs(steps=5), after=4), opaque_problem),
    "restarts-descent": (Restarts(Descent(patience=2, smallest=1e-2), after=9), real_problem),
}


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


@pytest.mark.parametrize("case", CASES)
def test_seven_rows_answer_as_each_alone(case: str) -> None:
    minimizer, problem = CASES[case][0], CASES[case][1]()
    budget = Budget(steps=40)
    together = answers(problem, minimizer, particles=4, budget=budget, seed=5)
    for row in (0, 3, 6):
        (alone,) = answers(problem.select([row]), minimizer, particles=4, budget=budget, seed=5)
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
    monkeypatch.setattr("engine.minimizers.annealing.ROWS", 2)
    monkeypatch.setattr("engine.minimizers.gibbs.ROWS", 2)
    monkeypatch.setattr("engine.minimizers.gibbs.ELEMENTS", 1)
    monkeypatch.setattr(batch, "STEP", 1e9)  # the clock says nothing
    for minimizer, problem in ((Annealing(sweeps=20, patience=2), soft_problem()),
                               (Gibbs(steps=20, patience=2), opaque_problem())):  # fmt: skip
        together = answers(problem, minimizer, particles=4)
        (alone,) = answers(problem.select([5]), minimizer, particles=4)
        assert alone.values == together[5].values


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

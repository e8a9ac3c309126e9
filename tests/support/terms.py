"""Small terms whose least states and distributions are known."""

import itertools

import numpy as np
import torch
from torch import Tensor

from engine.domain import Finite, Real, Variable
from engine.energy import Sum, Term, required
from engine.factors import Different, Factors, Table, floats, ints
from engine.problem import Problem
from modules.discrete.all_different import AllDifferent
from modules.discrete.circuit import Circuit
from modules.discrete.linear import Linear
from modules.discrete.table import Table as ListTable

# ---------------------------------------------------------------- small energies


class Pairwise(Term):
    """E = sum_ij <x_i, W_ij x_j> + sum_i <h_i, x_i>, its structure given by the enumerated table
    of each pair."""

    def __init__(self, x: Variable, couplings: Tensor, unary: Tensor, explicit: bool = True):
        super().__init__(x)
        self.register_buffer("couplings", couplings)
        self.register_buffer("unary", unary)
        self.explicit = explicit

    def energy(self, x: Tensor) -> Tensor:  # (B, n, k) -> (B,)
        w, h = self.couplings.to(x.dtype), self.unary.to(x.dtype)
        return torch.einsum("bik,ijkl,bjl->b", x, w, x) + (h * x).sum((-1, -2))

    def factors(self, *domains):
        if not self.explicit:
            return None
        (n, k), unary, couplings = self.unary.shape, self.unary.cpu(), self.couplings.cpu()
        tables = [
            Table(ints([i])[:, None], np.arange(k)[:, None], floats(unary[i].numpy()),
                  term=ints([0]), part=ints([0]))
            for i in range(n)
        ]  # fmt: skip
        tuples = ints(list(itertools.product(range(k), repeat=2)))
        for i, j in itertools.combinations(range(n), 2):
            both = couplings[i, j] + couplings[j, i].T
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
        self.register_buffer("costs", costs)

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
        self.register_buffer("matrix", matrix)
        self.register_buffer("centre", centre)

    def energy(self, x: Tensor) -> Tensor:
        r = (x - self.centre.to(x.dtype)) @ self.matrix.to(x.dtype).T
        return (r * r).sum(-1) / 2

    def floor(self) -> float:
        return 0.0


class Tied(Term):
    """E = sum_i (y_i - place of x_i)^2: a real number for every choice."""

    affine = False

    def energy(self, x: Tensor, y: Tensor) -> Tensor:
        places = torch.arange(x.shape[-1], dtype=x.dtype, device=x.device)
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


class Fewest(Term):
    """The rule that exactly so many sites have their last value; knows its cheapest states."""

    affine = False

    def __init__(self, x: Variable, count: int):
        super().__init__(x)
        self.count = count

    def energy(self, x: Tensor) -> Tensor:
        return (x[..., -1].sum(-1) - self.count).abs()

    def holds(self, x) -> bool:
        last = self.scope[0].variable.domain.values[-1]
        return sum(v == last for v in x) == self.count

    def factors(self, *domains):
        return None

    def cheapest(self, costs, allowed):
        last = costs.shape[1] - 1
        other = np.where(allowed, costs, 1 << 60)[:, :last]
        gain = costs[:, last] - other.min(1)
        gain[~allowed[:, :last].any(1)] = -(1 << 58)  # has to
        gain[~allowed[:, last]] = 1 << 58  # may not
        taken = np.argsort(gain, kind="stable")[: self.count]
        out = other.argmin(1)
        out[taken] = last
        return out if allowed[np.arange(len(out)), out].all() else None


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
    return places, problem.energy(state).numpy(), problem.energy.total_violation(state).numpy()


def least(problem: Problem, row: int = 0) -> float:
    """The least energy by enumeration, under the evidence of a row."""
    places, energy, violation = costs_of(problem)
    allowed = problem.domain("x").allowed[row].numpy()
    open_ = allowed[np.arange(places.shape[1]), places].all(1)
    return float(energy[open_ & (violation < 1e-9)].min())


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


# ---------------------------------------------------------------- contract


def soft_problem() -> Problem:
    x = sites(5, 3)
    energy = 1.0 * pairwise(x, 2) + required(Distinct(x))
    return Problem(energy).given_rows([{"x": [k % 3, *[None] * 4]} for k in range(7)])


def priced_problem() -> Problem:
    """Costs of sites under a rule that knows its cheapest states, and neighbours that differ."""
    x, rng = sites(6, 3), np.random.default_rng(3)
    energy = required(Fewest(x, 3)) + required(Distinct(x))
    for site in range(6):
        costs = rng.integers(-5, 6, 3).tolist()
        energy = energy + 1.0 * ListTable(x, sites=[[site]], costs=costs)
    return Problem(energy).given_rows([{"x": [k % 3, *[None] * 5]} for k in range(7)])


def rigid_problem() -> Problem:
    x = sites(3, 3)
    return Problem(required(Distinct(x))).given_rows([{"x": [k % 3, None, None]} for k in range(7)])


def listed_problem() -> Problem:
    """Two long lists of allowed combinations that share a site."""
    x, rng = sites(5, 8), np.random.default_rng(0)
    tuples = [[*row, 0] for row in np.unique(rng.integers(0, 8, (700, 3)), axis=0).tolist()]
    lists = ListTable(x, sites=[[0, 1, 2], [2, 3, 4]], tuples=tuples, default=None)
    rows = [{"x": [k % 3, None, None, 7 - k, None]} for k in range(7)]
    return Problem(required(lists)).given_rows(rows)


def agreeing_problem(values: int) -> Problem:
    """Costs of six sites in a ring, and of neighbours that differ."""
    x = sites(6, values)
    energy = 1.0 * ListTable(
        x,
        sites=[[k, (k + 1) % 6] for k in range(6)],
        costs=[[2.0 * (a != b) for b in range(values)] for a in range(values)],
    )
    for k in range(6):
        energy = energy + 1.0 * ListTable(
            x, sites=[k], costs=[float((5 * k + 3 * v) % 7) for v in range(values)]
        )
    return Problem(energy).given_rows([{"x": [k % 3 % values, *[None] * 5]} for k in range(7)])


def counted_problem() -> Problem:
    """The same ring of three values, of which one may stand at few sites, and two sites alike."""
    made = agreeing_problem(3)
    (x,) = made.finite
    few = Linear(x, terms=[(k, 1, 1) for k in range(6)], compare="<=", constant=2)
    many = Linear(x, terms=[(k, 2, 1) for k in range(6)], compare=">=", constant=2)
    alike = ListTable(
        x, sites=[[1, 3]], costs=[[0 if a == b else None for b in range(3)] for a in range(3)]
    )
    energy = made.energy + required(few) + required(many) + required(alike)
    return Problem(energy).given_rows([{"x": [k % 3, *[None] * 5]} for k in range(7)])


def packed_problem() -> Problem:
    """One sum over six sites of three values, each value at its own cost."""
    x = sites(6, 3)
    terms = [(k, v, 2 + (3 * k + 5 * v) % 7) for k in range(6) for v in (1, 2)]
    energy = required(Linear(x, terms=terms, compare="<=", constant=14))
    return _priced(x, energy)


def assigned_problem() -> Problem:
    """Five of six sites differ, each value of all of them at its own cost."""
    x = sites(6, 6)
    return _priced(x, required(AllDifferent(x, lines=[[0, 1, 2, 3, 5]])))


def toured_problem() -> Problem:
    """One circuit through six sites, each step at its own cost."""
    x = sites(6, 6)
    return _priced(x, required(Circuit(x)), (2, 1, 3))


def round_problem() -> Problem:
    """Six stops of a round trip, each way at its own cost there and back."""
    x = sites(6, 6)
    far = [[float((3 * a * a + 5 * b + a * b) % 11) for b in range(6)] for a in range(6)]
    ways = ListTable(x, sites=[[k, (k + 1) % 6] for k in range(6)], costs=far)
    energy = required(AllDifferent(x, lines=[list(range(6))])) + 1.0 * ways
    return Problem(energy).given_rows([{"x": [(0, 1, 2)[k % 3], *[None] * 5]} for k in range(7)])


def boxed_problem() -> Problem:
    """Six things into as few of four boxes as will do."""
    x, used = sites(6, 4), Variable("u", Finite((0, 1), (4,)))
    energy = None
    for b in range(4):
        terms = [*((k, b, 2 + k % 4) for k in range(6)), (6 + b, 1, -9)]
        one = required(Linear(x, used, terms=terms, compare="<=", constant=0))
        one = one + 1.0 * ListTable(used, sites=[b], costs=[0, 1])
        energy = one if energy is None else energy + one
    assert energy is not None
    given = (0, 1, 2)
    return Problem(energy).given_rows([{"x": [given[k % 3], *[None] * 5]} for k in range(7)])


def _priced(x: Variable, energy: Sum, given: tuple[int, ...] = (0, 1, 2)) -> Problem:
    values = len(x.domain.values)
    for k in range(6):
        costs = [float((5 * k + 3 * v) % 7) for v in range(values)]
        energy = energy + 1.0 * ListTable(x, sites=[k], costs=costs)
    return Problem(energy).given_rows([{"x": [given[k % 3], *[None] * 5]} for k in range(7)])


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


def parted_problem() -> Problem:
    """Explicit sites, an opaque one, numbers: nothing connects them."""
    x, z, y = (
        sites(3, 3),
        Variable("z", Finite((0, 1, 2), (2,))),
        Variable("y", Real((3,), 0.0, 2.0)),
    )
    energy = 1.0 * pairwise(x, 6) + required(Distinct(x)) + 0.3 * pairwise(z, 7, explicit=False)
    energy = energy + 1.0 * Bowl(y, torch.eye(3), torch.tensor([0.5, 0.1, -3.0]))
    return Problem(energy).given_rows(
        [{"x": [k % 3, None, None], "y": [None, k / 7, None]} for k in range(7)]
    )


def mixed_problem() -> Problem:
    x, y = sites(3, 3), Variable("y", Real((3,), 0.0, 2.0))
    energy = 1.0 * Tied(x, y) + 0.3 * pairwise(x, 6, explicit=False)
    return Problem(energy).given_rows(
        [{"x": [k % 3, None, None], "y": [None, k / 7, None]} for k in range(7)]
    )

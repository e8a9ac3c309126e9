"""Random problems over trees and grids, each beside a plain judge that enumerates: every part comes
as a term and as a function of plain values that shares nothing with it."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from engine import Finite, Problem, Variable, required
from engine.energy import Energy
from modules.discrete.all_different import AllDifferent
from modules.discrete.at_most_one import AtMostOne
from modules.discrete.clause import Clause
from modules.discrete.exactly_one import ExactlyOne
from modules.discrete.linear import Linear
from modules.discrete.not_equal import NotEqual
from modules.discrete.table import Table

Plain = tuple[int, ...]
Cost = Callable[[Plain], Fraction | float]  # infinite: forbidden
Part = tuple[Energy, Cost]


@dataclass
class Case:
    """A problem over sites 0 .. n - 1 of k values, and what each state costs by its parts."""

    n: int
    k: int
    parts: list[Part]
    evidence: list[list[int | None]]
    name: str = ""

    @property
    def problem(self) -> Problem:
        terms = [term for term, _ in self.parts]
        rows = [{"x": given} for given in self.evidence]
        return Problem(sum(terms[1:], terms[0])).given_rows(rows)

    def states(self, row: int) -> dict[Plain, Fraction]:
        """What every state costs that keeps the evidence and the rules."""
        given, out = self.evidence[row], {}
        options = [range(self.k) if g is None else (g,) for g in given]
        for x in itertools.product(*options):
            costs = [cost(x) for _, cost in self.parts]
            if all(c != math.inf for c in costs):
                out[x] = sum((Fraction(c) for c in costs), Fraction(0))
        return out


def failing(weight: Fraction | None, fails: Callable[[Plain], int]) -> Cost:
    """A rule at a price for each failing part, or required."""
    if weight is None:
        return lambda x: math.inf if fails(x) else 0
    return lambda x: weight * fails(x)


def put(term: Energy, weight: Fraction | None) -> Energy:
    return required(term) if weight is None else float(weight) * term  # type: ignore[operator]


def table(x: Variable, scopes: Sequence[Sequence[int]], rng, unit: Fraction, shut: float) -> Part:
    """One table that serves several scopes; some combinations are forbidden."""
    k, arity = x.domain.event[-1], len(scopes[0])
    whole = rng.integers(-9, 10, (k,) * arity)
    closed = rng.random(whole.shape) < shut
    written = np.vectorize(lambda w: float(int(w) * unit), otypes=[float])(whole)
    costs = np.where(closed, None, written.astype(object))
    weight = Fraction(int(rng.integers(1, 9)), 10)

    def cost(values: Plain) -> Fraction | float:
        total = Fraction(0)
        for scope in scopes:
            at = tuple(values[s] for s in scope)
            if closed[at]:
                return math.inf
            total += int(whole[at]) * unit
        return weight * total

    return float(weight) * Table(x, sites=[list(s) for s in scopes], costs=costs.tolist()), cost


def rule(x: Variable, near: Sequence[Sequence[int]], rng) -> Part:
    """A rule of any family over neighbouring sites, required or at a price."""
    k = x.domain.event[-1]
    weight = None if rng.random() < 0.5 else Fraction(int(rng.integers(1, 9)), 10)
    sites = [int(s) for s in near[int(rng.integers(len(near)))]]
    kind = int(rng.integers(6))
    literals = [(s, int(rng.integers(k))) for s in sites]
    if kind == 0:
        signs = [bool(rng.integers(2)) for _ in sites]
        clause = [[s, v, sign] for (s, v), sign in zip(literals, signs)]
        fails = lambda y: not any((y[s] == v) == sign for s, v, sign in clause)  # noqa: E731
        return put(Clause(x, clauses=[clause]), weight), failing(weight, fails)
    if kind == 1:
        fails = lambda y: sum(y[s] == v for s, v in literals) != 1  # noqa: E731
        return put(ExactlyOne(x, groups=[literals]), weight), failing(weight, fails)
    if kind == 2:
        fails = lambda y: sum(y[s] == v for s, v in literals) > 1  # noqa: E731
        return put(AtMostOne(x, groups=[literals]), weight), failing(weight, fails)
    if kind == 3:
        fails = lambda y: y[sites[0]] == y[sites[1]]  # noqa: E731
        return put(NotEqual(x, pairs=[sites[:2]]), weight), failing(weight, fails)
    if kind == 4:
        terms = [[s, v, int(rng.integers(1, 4))] for s, v in literals]
        total = lambda y: sum(c for s, v, c in terms if y[s] == v)  # noqa: E731
        fails = lambda y: max(0, total(y) - 3)  # noqa: E731  # a linear rule pays by the amount
        made = Linear(x, terms=terms, compare="<=", constant=3)
        return put(made, weight), failing(weight, fails)
    one = Table(x, sites=sites[:2], costs=(1 - np.eye(k)).tolist())  # a choice of two costs
    other = Table(x, sites=sites[:2], costs=np.full((k, k), 0.5).tolist())
    chosen = lambda y: min(Fraction(y[sites[0]] != y[sites[1]]), Fraction(1, 2))  # noqa: E731
    return (one | other), chosen


def tree(n: int, rng) -> list[list[int]]:
    return [[int(rng.integers(s)), s] for s in range(1, n)]


def grid(height: int, width: int) -> list[list[int]]:
    at = np.arange(height * width).reshape(height, width)
    across = [[int(a), int(b)] for a, b in zip(at[:, :-1].flat, at[:, 1:].flat)]
    return across + [[int(a), int(b)] for a, b in zip(at[:-1].flat, at[1:].flat)]


def case(seed: int) -> Case:
    """A tree or a grid, with tables on its edges and sites, and rules of all families."""
    rng = np.random.default_rng(seed)
    k = int(rng.integers(2, 4))
    if seed % 2:
        n, name = 9 if k == 2 else 7, "tree"
        edges = tree(n, rng)
    else:
        height, width = (3, 3) if k == 2 else (2, 3)
        n, edges, name = height * width, grid(height, width), "grid"
    x = Variable("x", Finite(range(k), (n,)))
    unit = Fraction(1, int(rng.choice([1, 10, 100])))
    parts = [table(x, edges, rng, unit, 0.1)]
    parts.append(table(x, [[s] for s in range(n)], rng, unit, 0.0))
    longer = [[*e, next(s for s in range(n) if s not in e)] for e in edges]
    parts += [rule(x, [*edges, *longer], rng) for _ in range(int(rng.integers(1, 5)))]
    rows = [[None] * n]
    for _ in range(2):
        given: list[int | None] = [None] * n
        for s in rng.permutation(n)[: int(rng.integers(1, 4))]:
            given[int(s)] = int(rng.integers(k))
        rows.append(given)
    return Case(n, k, parts, rows, f"{name} {seed}")


def different(x: Variable, line: Sequence[int]) -> Part:
    fails = lambda y: len({y[s] for s in line}) < len(line)  # noqa: E731
    return required(AllDifferent(x, lines=[list(line)])), failing(None, fails)

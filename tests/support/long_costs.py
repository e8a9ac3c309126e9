"""Sums, clauses and sites that differ beside costs of all digits of a float, which no unit of 64
bits makes whole, and what they cost as fractions.

Costs are drawn to be near each other: by one last place, level in different sums, or apart.
"""

import itertools
import math
import random
from dataclasses import dataclass
from fractions import Fraction

from engine import Finite, Problem, Variable, required
from engine.energy import Sum
from modules.discrete.all_different import AllDifferent
from modules.discrete.clause import Clause
from modules.discrete.linear import Linear
from modules.discrete.table import Table
from tests.support.exact_costs import decimal

Values = tuple[int, ...]


@dataclass(frozen=True)
class Long:
    """n sites of k values: rules, tables with their sites, and the evidence of some rows."""

    n: int
    k: int
    lines: list[list[int]]
    sums: list[tuple[list[tuple[int, int, int]], int]]  # coefficients by site and value, the most
    clauses: list[list[tuple[int, int, bool]]]
    tables: list[tuple[list[int], list]]
    evidence: list[list[int | None]]

    def problem(self) -> Problem:
        x = Variable("x", Finite(tuple(range(self.k)), (self.n,)))
        rules = [AllDifferent(x, lines=self.lines)] if self.lines else []
        rules += [Linear(x, terms=terms, compare="<=", constant=most) for terms, most in self.sums]
        rules += [Clause(x, clauses=self.clauses)] if self.clauses else []
        paid = [Table(x, sites=[sites], costs=costs).summands() for sites, costs in self.tables]
        kept = [one for rule in rules for one in required(rule).summands()]
        problem = Problem(Sum(*kept, *itertools.chain(*paid)))
        return problem.given_rows([{"x": pins} for pins in self.evidence])

    def allows(self, values: Values, row: int) -> bool:
        pins = zip(self.evidence[row], values, strict=True)
        return (
            all(pin is None or pin == value for pin, value in pins)
            and all(len({values[s] for s in line}) == len(line) for line in self.lines)
            and all(sum(c for s, v, c in t if values[s] == v) <= most for t, most in self.sums)
            and all(any((values[s] == v) == sign for s, v, sign in own) for own in self.clauses)
        )

    def cost(self, values: Values) -> Fraction:
        total = Fraction(0)
        for sites, costs in self.tables:
            for site in sites:
                costs = costs[values[site]]
            total += decimal(costs)  # type: ignore[arg-type]
        return total

    def least(self, row: int) -> Fraction | None:
        """By trying all values."""
        every = itertools.product(range(self.k), repeat=self.n)
        return min((self.cost(v) for v in every if self.allows(v, row)), default=None)


def drawn(rng: random.Random, most: int = 600) -> Long:
    """A problem of at most so many combinations."""
    k = rng.choice([2, 2, 2, 3, 4])
    n = rng.randint(2, int(math.log(most) / math.log(k)))
    price = _prices(rng)
    lines = []
    if k > 2 and rng.random() < 0.4:
        lines = [rng.sample(range(n), min(n, rng.randint(2, k)))]
    sums = []
    for _ in range(rng.choice([0, 1, 1, 2])):
        sites = rng.sample(range(n), rng.randint(1, n))
        heavy = rng.choice([1, 9])
        terms = [
            (s, rng.randrange(k), rng.choice([1, 1, -1]) * rng.randint(1, heavy)) for s in sites
        ]
        low = sum(min(0, c) for _, _, c in terms)
        high = sum(max(0, c) for _, _, c in terms)
        sums.append((terms, rng.randint(low - (rng.random() < 0.1), high)))
    clauses = [
        [(s, rng.randrange(k), rng.random() < 0.5) for s in rng.sample(range(n), min(n, 3))]
        for _ in range(rng.choice([0, 0, 2]))
    ]
    tables = [([s], [price() for _ in range(k)]) for s in range(n) if rng.random() < 0.9]
    for _ in range(rng.choice([0, 0, 2])):
        pair = rng.sample(range(n), 2)
        tables.append((pair, [[price() for _ in range(k)] for _ in range(k)]))
    tables = tables or [([0], [price() for _ in range(k)])]
    pins = [None] * (3 * k) + list(range(k))
    evidence = [[rng.choice(pins) for _ in range(n)] for _ in range(rng.choice([1, 1, 3]))]
    return Long(n, k, lines, sums, clauses, tables, evidence)


def _prices(rng: random.Random):
    """Draws costs of one sort."""
    size = 10.0 ** rng.randint(-6, 9)
    few = [rng.uniform(-size, size) for _ in range(2)]
    kind = rng.choice(["apart", "apart", "last place", "few", "sizes"])

    def price() -> float:
        if kind == "last place":
            base = rng.choice(few)
            return rng.choice([base, math.nextafter(base, math.inf), math.nextafter(base, 0.0)])
        if kind == "few":
            return rng.choice([0.0, *few])
        if kind == "sizes":
            return rng.choice([-1, 1]) * rng.random() * 10.0 ** rng.randint(-5, 5)
        return rng.uniform(-size, size)

    return price

"""Assignments, chains of tables and sums with costs of any size, and their least costs exactly.

The oracle adds the decimals that the costs are written as, as fractions: by dynamic programming
over subsets, along the chain, or over the totals of the rule.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from engine import Budget, Finite, Problem, Variable, answers
from engine.answer import Answer
from engine.energy import Energy, named
from engine.minimizers.portfolio import Portfolio
from modules.discrete.all_different import AllDifferent
from modules.discrete.linear import Linear
from modules.discrete.table import Table

KINDS = ("assignment", "chain", "choice")
FORMS = ("whole", "decimal", "computed", "mixed")


@dataclass(frozen=True)
class Case:
    """An energy over `x`, what any values cost, and the least that allowed ones cost (None: no
    values are allowed)."""

    name: str
    energy: Energy
    costs: list[tuple[tuple[int, ...], dict[tuple[int, ...], Fraction]]]  # sites, cost by values
    least: Fraction | None

    def cost(self, values: list[int]) -> Fraction:
        """What these values cost, exactly."""
        return sum((by[tuple(values[s] for s in at)] for at, by in self.costs), Fraction(0))


def decimal(cost: float) -> Fraction:
    """The decimal that is written for a cost."""
    return Fraction(repr(cost)) if isinstance(cost, float) else Fraction(cost)


def cases(count: int, seed: int = 0) -> Iterator[Case]:
    """Random cases: every kind with every form of costs, at magnitudes from 1e-3 to 1e12."""
    for k in range(count):
        rng = random.Random(f"{seed}/{k}")
        kind, form = KINDS[k % 3], FORMS[k // 3 % 4]
        size = 10.0 ** rng.uniform(-3, 12)
        costs = Costs(rng, form, size, close=rng.random() < 0.5)
        make = {"assignment": assignment, "chain": chain, "choice": choice}[kind]
        yield make(f"{k} {kind} {form} {size:.3g}", rng, costs)


@dataclass
class Costs:
    """Draws costs of one form; close ones differ in their last digits only."""

    rng: random.Random
    form: str
    size: float
    close: bool

    def __call__(self) -> int | float:
        rng, size = self.rng, self.size
        if self.form == "whole":
            base = max(10, round(size))
            return base + rng.randint(0, 9) if self.close else rng.randint(-base, base)
        if self.form == "decimal":
            places = rng.choice([1, 2, 3])
            unit = Fraction(1, 10**places)
            base = Fraction(max(10, round(Fraction(size) / unit)))
            units = base + rng.randint(0, 9) if self.close else rng.randint(-int(base), int(base))
            return float(units * unit)
        if self.form == "mixed":  # of every size up to it, at 1 to 17 digits
            return float(
                f"{rng.choice([-1, 1]) * size * 10 ** rng.uniform(-15, 0):.{rng.randint(0, 16)}e}"
            )
        return size * (1 + rng.random() / 1000) if self.close else rng.uniform(-size, size)


def assignment(name: str, rng: random.Random, costs: Costs) -> Case:
    """Each of n workers takes another of n jobs."""
    n = rng.randint(3, 8)
    table = [[costs() for _ in range(n)] for _ in range(n)]
    x = Variable("x", Finite(tuple(range(n)), (n,)))
    energy: Any = AllDifferent(x, lines=[list(range(n))])
    for k, row in enumerate(table):
        energy = energy + named(f"worker {k}", 1.0 * Table(x, sites=[k], costs=row))
    exact = [[decimal(c) for c in row] for row in table]
    best = {0: Fraction(0)}
    for row in exact:
        new: dict[int, Fraction] = {}
        for taken, paid in best.items():
            for job, cost in enumerate(row):
                if not taken >> job & 1:
                    key = taken | 1 << job
                    new[key] = min(new.get(key, paid + cost), paid + cost)
        best = new
    return Case(name, energy, _unary(exact), best[(1 << n) - 1])


def chain(name: str, rng: random.Random, costs: Costs) -> Case:
    """A weighed table for each pair of neighbours; some combinations are forbidden."""
    n, k = rng.randint(2, 12), rng.choice([2, 3])
    x = Variable("x", Finite(tuple(range(k)), (n,)))
    weight = rng.choice([1, 1, 2, 0.5, 0.1]) if costs.form in FORMS[:2] else 1
    energy: Any = None
    every = []
    for s in range(n - 1):
        table = [[costs() if rng.random() < 0.9 else None for _ in range(k)] for _ in range(k)]
        term = float(weight) * Table(x, sites=[s, s + 1], costs=table)
        energy = term if energy is None else energy + term
        by = {
            (a, b): decimal(weight) * decimal(c)
            for a, row in enumerate(table)
            for b, c in enumerate(row)
            if c is not None
        }
        every.append(((s, s + 1), by))
    best = {a: Fraction(0) for a in range(k)}
    for _, by in every:
        new: dict[int, Fraction] = {}
        for (a, b), cost in by.items():
            if a in best:
                new[b] = min(new.get(b, best[a] + cost), best[a] + cost)
        best = new
    return Case(name, energy, every, min(best.values(), default=None))


def choice(name: str, rng: random.Random, costs: Costs) -> Case:
    """The cheapest choice whose values reach a total."""
    n, k = rng.randint(3, 12), rng.choice([2, 3, 4])
    x = Variable("x", Finite(tuple(range(k)), (n,)))
    worth = [[rng.randint(0, 9) for _ in range(k)] for _ in range(n)]
    need = rng.randint(3 * n, 7 * n)
    terms = [[s, v, worth[s][v]] for s in range(n) for v in range(k)]
    energy: Any = Linear(x, terms=terms, compare=">=", constant=need)
    table = [[costs() for _ in range(k)] for _ in range(n)]
    for s, row in enumerate(table):
        energy = energy + named(f"site {s}", 1.0 * Table(x, sites=[s], costs=row))
    exact = [[decimal(c) for c in row] for row in table]
    best = {0: Fraction(0)}
    for s in range(n):
        new: dict[int, Fraction] = {}
        for total, paid in best.items():
            for v in range(k):
                key, cost = min(need, total + worth[s][v]), paid + exact[s][v]
                new[key] = min(new.get(key, cost), cost)
        best = new
    return Case(name, energy, _unary(exact), best.get(need))


def _unary(exact: list[list[Fraction]]) -> list[tuple[tuple[int, ...], dict]]:
    return [((s,), {(v,): c for v, c in enumerate(row)}) for s, row in enumerate(exact)]


def complaints(case: Case, steps: int = 400) -> list[str]:
    """What is wrong with the answers to a case, by elimination where that is chosen, and by those
    that search: nothing, as a rule."""
    chosen, budget = Portfolio(), Budget(steps=steps)
    every = (chosen, replace(chosen, narrow=0))
    told = (answers(Problem(case.energy), minimizer, budget=budget)[0] for minimizer in every)
    return [wrong for answer in told for wrong in _complaints(case, answer)]


def _complaints(case: Case, answer: Answer) -> list[str]:
    wrong = []
    if case.least is None:
        return [] if answer.status == "INFEASIBLE" else [f"{answer.status}, but infeasible"]
    if answer.status != "OPTIMAL" or answer.values is None:
        return [f"{answer.status} with bound {answer.bound}, least {float(case.least)}"]
    cost = case.cost(answer.values["x"])
    if cost > case.least:
        wrong.append(f"values cost {float(cost - case.least):g} more than the least")
    near = Fraction(2.0**-50) * sum(max(map(abs, by.values())) for _, by in case.costs)
    room = 0 if any(f" {form} " in case.name for form in FORMS[:2]) else near
    if answer.energy is None or abs(Fraction(answer.energy) - Fraction(float(cost))) > room:
        wrong.append(f"energy {answer.energy!r}, but the values cost {float(cost)!r}")
    if answer.bound is None or answer.energy is None or answer.bound > answer.energy:
        wrong.append(f"bound {answer.bound!r} above the energy {answer.energy!r}")
    elif answer.bound > float(case.least):
        wrong.append(f"bound {answer.bound!r} above the least energy {float(case.least)!r}")
    return wrong

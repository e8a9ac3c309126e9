"""A Boolean formula as clauses alone: counts and sums through new variables, for solvers of others.

Sources: Sinz, "Towards an optimal CNF encoding of Boolean cardinality constraints", CP 2005 (at
most one); Een and Sorensson, "Translating pseudo-Boolean constraints into SAT", JSAT 2006 (sums as
decision diagrams).
"""

from collections.abc import Iterator, Sequence

import numpy as np

from engine.kernels.clauses import Formula
from engine.search.boolean import NotEncodable

PAIRS = 6  # literals up to which at most one is said pair by pair
NODES = 500_000  # of the decision diagrams of all sums


def signed_clauses(
    formula: Formula, more: Sequence[np.ndarray] = ()
) -> tuple[list[list[int]], int]:
    """Clauses of signed literals, variable v as v + 1, and how many variables they have.

    Costs are left out. Raises NotEncodable where sums would need too many clauses.
    """
    made = _Clauses(formula.variables)
    for row in _rows(formula.clause_ptr, formula.clause_lit):
        made.clauses.append(_signed(row))
    for row in more:
        made.clauses.append(_signed(row))
    for row in _rows(formula.group_ptr, formula.group_lit):
        made.at_most_one(_signed(row))
    factors = _rows(formula.sum_ptr, formula.sum_coef)
    sums = zip(_rows(formula.sum_ptr, formula.sum_lit), factors, formula.sum_bound, strict=True)
    for row, factor, bound in sums:
        made.at_most(_signed(row), factor.tolist(), int(bound))
    return made.clauses, made.variables


def _rows(ptr: np.ndarray, flat: np.ndarray) -> Iterator[np.ndarray]:
    return (flat[a:b] for a, b in zip(ptr[:-1], ptr[1:], strict=True))


def _signed(row: np.ndarray) -> list[int]:
    return [-(x >> 1) - 1 if x & 1 else (x >> 1) + 1 for x in row.tolist()]


class _Clauses:
    """Clauses as they are made, and the variables used so far."""

    def __init__(self, variables: int):
        self.variables, self.nodes = variables, 0
        self.clauses: list[list[int]] = []

    def fresh(self) -> int:
        self.variables += 1
        return self.variables

    def at_most_one(self, row: list[int]) -> None:
        """At most one literal is true: pairs, or a chain of "one was true so far"."""
        if len(row) <= PAIRS:
            self.clauses += [[-a, -b] for k, a in enumerate(row) for b in row[:k]]
            return
        before = 0
        for x in row:
            if before:
                self.clauses.append([-before, -x])
            now = self.fresh()
            self.clauses.append([-x, now])
            if before:
                self.clauses.append([-before, now])
            before = now

    def at_most(self, row: list[int], factors: list[int], bound: int) -> None:
        """sum of factor * [literal] <= bound, largest factors decided first."""
        order = sorted(range(len(row)), key=lambda k: -factors[k])
        left = [0]
        for k in reversed(order):
            left.append(left[-1] + factors[k])
        left.reverse()  # left[i]: all factors from place i on
        known: dict[tuple[int, int], int] = {}
        todo: list[tuple[int, int, int]] = []

        def node(place: int, slack: int) -> int | None:
            """The literal that the rest fits into the slack; None: it does whatever happens."""
            if slack >= left[place]:
                return None
            if (place, slack) not in known:
                self.nodes += 1
                if self.nodes > NODES:
                    raise NotEncodable("sums that need too many clauses")
                known[place, slack] = self.fresh()
                todo.append((place, slack, known[place, slack]))
            return known[place, slack]

        if bound < 0:
            self.clauses.append([])
            return
        root = node(0, bound)
        if root is not None:
            self.clauses.append([root])
        while todo:
            place, slack, mine = todo.pop()
            literal, rest = row[order[place]], slack - factors[order[place]]
            if rest < 0:
                self.clauses.append([-mine, -literal])
            elif (taken := node(place + 1, rest)) is not None:
                self.clauses.append([-mine, -literal, taken])
            if (skipped := node(place + 1, slack)) is not None:
                self.clauses.append([-mine, skipped])

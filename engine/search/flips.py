"""A first solution of a formula of clauses alone, by flips of single variables.

A literal at a price that stands in one clause only, and nowhere negated, is true just where the
rest of that clause fails: the clause is then at a price, and the variable is left out.
"""

from collections.abc import Mapping

import numpy as np

from engine.kernels import clauses as learning
from engine.kernels.flips import Clauses, local_search

SEEN = 400_000  # literals that flips look at, about


def flipped(
    formula: learning.Formula, weights: Mapping[int, int], constant: int, upper: int
) -> np.ndarray | None:
    """A model of the first clauses of a formula that costs less than `upper`; None where none is
    met, or there are groups or sums. weights: what literals cost beyond `constant`. (V,) uint8"""
    if len(formula.group_lit) or len(formula.sum_lit) or not weights:
        return None
    made = _Priced.of(formula, weights)
    each = 1 + len(made.clauses.lit) * 3 // max(1, formula.variables)
    start = np.zeros(formula.variables, np.uint8)
    most = upper - constant if upper < learning.NEVER else learning.NEVER
    _, x = local_search(made.clauses, start, most, 0, SEEN // each)
    return None if x is None else made.model(x)


class _Priced:
    """Clauses at a price, and the literals that stand for them."""

    def __init__(self, clauses: Clauses, switches: np.ndarray, owner: np.ndarray):
        self.clauses = clauses
        self.switches, self.owner = switches, owner  # literals left out, and their clauses

    @staticmethod
    def of(formula: learning.Formula, weights: Mapping[int, int]) -> "_Priced":
        ptr, lit = formula.clause_ptr, formula.clause_lit.astype(np.int64)
        count = np.bincount(lit, minlength=2 * formula.variables)
        owner = np.repeat(np.arange(len(ptr) - 1), np.diff(ptr))
        paid = np.fromiter(weights, np.int64, len(weights))
        cost = np.fromiter(weights.values(), np.int64, len(weights))
        alone = (count[paid] == 1) & (count[paid ^ 1] == 0) & ~np.isin(paid ^ 1, paid)
        where = np.full(2 * formula.variables, -1)
        where[lit] = owner
        taken, first = np.unique(where[paid], return_index=True)  # one switch a clause
        one = np.zeros(len(paid), bool)
        one[first[taken >= 0]] = True
        alone &= one
        price = np.zeros(len(ptr) - 1, np.int64)
        price[where[paid[alone]]] = cost[alone]
        kept = ~np.isin(lit, paid[alone])
        length = np.bincount(owner[kept], minlength=len(ptr) - 1)
        single = paid[~alone] ^ 1  # a clause of one literal each
        lengths = np.concatenate([length, np.ones(len(single), np.int64)])
        clauses = Clauses(
            formula.variables,
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            np.concatenate([lit[kept], single]),
            np.concatenate([price, cost[~alone]]),
        )
        return _Priced(clauses, paid[alone], where[paid[alone]])

    def model(self, x: np.ndarray) -> np.ndarray:
        """With what stands for clauses true just where these fail. (V,) uint8"""
        c = self.clauses
        holds = x[c.lit >> 1] != (c.lit & 1)
        owner = np.repeat(np.arange(len(c.price)), np.diff(c.ptr))
        fails = np.bincount(owner[holds], minlength=len(c.price)) == 0
        x = x.copy()
        x[self.switches >> 1] = fails[self.owner] != (self.switches & 1).astype(bool)
        return x

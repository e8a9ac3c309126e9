"""A Boolean formula without what is fixed at the root: open variables only, renumbered."""

from typing import NamedTuple

import numpy as np

from engine.kernels.clauses import Formula


class Simplified(NamedTuple):
    """The smaller formula, and how its models read in the old numbering."""

    formula: Formula
    open: np.ndarray  # (V',) the old variable of each new one
    fixed: np.ndarray  # (V,) uint8: values of the fixed variables, 0 where open
    constant: int  # cost of what is fixed

    def model(self, model: np.ndarray) -> np.ndarray:
        """A model of the smaller formula in the old numbering. (V',) -> (V,) uint8"""
        full = self.fixed.copy()
        full[self.open] = model
        return full

    def literals(self, literals: np.ndarray) -> np.ndarray:
        """A clause in the new numbering: literals that are fixed false are left out.

        None of them may be fixed true.
        """
        number = np.full(len(self.fixed), -1)
        number[self.open] = np.arange(len(self.open))
        moved = number[literals >> 1] * 2 + (literals & 1)
        return moved[number[literals >> 1] >= 0].astype(np.int32)


def simplify(formula: Formula, value: np.ndarray) -> Simplified:
    """The formula under root values: 1 true, -1 false, 0 open for each literal. value (2V,) int8"""
    fixed = (value[0::2] > 0).astype(np.uint8)
    opened = np.flatnonzero(value[0::2] == 0)
    number = np.zeros(formula.variables, np.int64)
    number[opened] = np.arange(len(opened))

    def moved(lit: np.ndarray) -> np.ndarray:
        return (number[lit >> 1] * 2 + (lit & 1)).astype(np.int32)

    def rows(ptr: np.ndarray, keep: np.ndarray, used: np.ndarray):
        """Rows `used` of a family with the entries `keep`. -> ptr, places of the entries"""
        owner = np.repeat(np.arange(len(ptr) - 1), np.diff(ptr))
        keep = keep & used[owner] if len(owner) else keep
        lengths = np.bincount(owner[keep], minlength=len(ptr) - 1)[used]
        return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), np.flatnonzero(keep)

    def any_true(ptr: np.ndarray, lit: np.ndarray) -> np.ndarray:
        owner = np.repeat(np.arange(len(ptr) - 1), np.diff(ptr))
        return np.bincount(owner[value[lit] > 0], minlength=len(ptr) - 1) > 0

    f = formula
    clause_ptr, at = rows(
        f.clause_ptr, value[f.clause_lit] == 0, ~any_true(f.clause_ptr, f.clause_lit)
    )
    clause_lit = moved(f.clause_lit[at])
    group_ptr, at = rows(f.group_ptr, value[f.group_lit] == 0, ~any_true(f.group_ptr, f.group_lit))
    group_lit = moved(f.group_lit[at])
    owner = np.repeat(np.arange(len(f.sum_bound)), np.diff(f.sum_ptr))
    spent = np.zeros(len(f.sum_bound), np.int64)
    np.add.at(spent, owner, np.where(value[f.sum_lit] > 0, f.sum_coef, 0))
    sum_ptr, sum_at = rows(f.sum_ptr, value[f.sum_lit] == 0, np.ones(len(f.sum_bound), bool))
    cost_ptr, cost_at = rows(f.cost_ptr, value[f.cost_lit] == 0, ~any_true(f.cost_ptr, f.cost_lit))
    smaller = Formula(
        len(opened),
        clause_ptr,
        clause_lit,
        group_ptr,
        group_lit,
        sum_ptr,
        moved(f.sum_lit[sum_at]),
        f.sum_coef[sum_at],
        f.sum_bound - spent,
        cost_ptr,
        moved(f.cost_lit[cost_at]),
        f.cost[cost_at],
    )
    return Simplified(smaller, opened, fixed, int(f.cost[value[f.cost_lit] > 0].sum()))

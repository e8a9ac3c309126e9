"""Costs of single sites as prices: what each value of a site costs above its cheapest one."""

from collections.abc import Hashable
from typing import NamedTuple

import numpy as np

from engine.decimals import Floats, Ints, Scale
from engine.factors import Factors, Table
from engine.kernels.clauses import Formula

SHARE = 8  # budgets grow by such a part of the median price


class Prices(NamedTuple):
    """The prices of a row, in units of the scale."""

    open: np.ndarray  # (C,) bool: literals that no table forbids
    price: Ints  # (C,), 0 where one does
    least: int  # what the cheapest values of all sites cost in all

    @staticmethod
    def of(factors: Factors, scale: Scale | None = None) -> "Prices":
        """Of a structure whose tables are over one site each; scale: another one than its own, in
        units of any size."""
        sizes, scale = factors.sizes, scale or factors.scale
        offset = np.concatenate([[0], np.cumsum(sizes)])
        price = np.zeros(offset[-1], dtype=object if scale.long else np.int64)
        shut = np.zeros(offset[-1], dtype=bool)
        alike: dict[Hashable, list[Table]] = {}  # by what their costs stand for
        for table in factors.tables:
            alike.setdefault((table.computed, id(table.products)), []).append(table)
        for tables in alike.values():
            spread = [_spread(t, sizes, offset) for t in tables]
            literal = np.concatenate([where for where, _ in spread])
            cost = np.concatenate([costs for _, costs in spread])
            closed = np.isinf(cost)
            cost[closed] = 0
            np.add.at(price, literal, scale.units(cost, tables[0].read))
            shut[literal[closed]] = True
        far = int(price.max(initial=0)) + 1
        cheapest = np.minimum.reduceat(np.where(shut, far, price), offset[:-1])
        cheapest[cheapest == far] = 0  # nothing is left of a site
        above = np.where(shut, 0, price - np.repeat(cheapest, sizes))
        return Prices(~shut, above, int(cheapest.sum()))


def budget_step(price: Ints) -> Ints:
    """The unit of the budgets of some rows: of their own prices, whatever unit these are counted
    in. (R, C) -> (R,)"""
    steps = [np.median(row[row > 0]) // SHARE if (row > 0).any() else 1 for row in price]
    return np.array(steps, dtype=np.int64).clip(min=1)


def _spread(table: Table, sizes: Ints, offset: Ints) -> tuple[Ints, Floats]:
    """The literals that a table over one site prices, scope by scope, and their costs."""
    costs, site, value = table.costs, table.scopes[:, 0], table.tuples[:, 0]
    literal = (offset[site][:, None] + value).reshape(-1)
    cost = costs.reshape(-1) if table.apart else np.tile(costs, len(site))
    if not table.default:
        return literal, cost
    every = np.concatenate([np.arange(offset[s], offset[s] + sizes[s]) for s in site])
    listed = np.isin(every, literal)  # a scope that stands twice pays its default twice
    rest = every[~listed]
    return np.append(literal, rest), np.append(cost, np.full(len(rest), table.default))


def formula_step(formula: Formula) -> int:
    """The unit of the budgets of a search: of its own costs, above the cheapest of each choice."""
    least = np.minimum.reduceat(formula.cost, formula.cost_ptr[:-1])
    above = formula.cost - np.repeat(least, np.diff(formula.cost_ptr))
    return int(budget_step(above[None])[0])

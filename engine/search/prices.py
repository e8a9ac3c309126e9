"""Costs of single sites as prices: what each value of a site costs above its cheapest one."""

from typing import NamedTuple

import numpy as np

from engine.decimals import Floats, Ints
from engine.factors import Factors, Table
from engine.kernels.cover import FAR

CLOSED = FAR  # in place of the price of a value that a table forbids
SHARE = 8  # budgets grow by such a part of the median price


class Prices(NamedTuple):
    """The prices of some rows, in units of the scale."""

    open: np.ndarray  # (R, C) bool: literals that no table forbids
    price: Ints  # (R, C), 0 where one does
    least: Ints  # (R,) what the cheapest values of all sites cost in all

    @staticmethod
    def of(factors: Factors) -> "Prices":
        """The prices of all rows; of one where they are the same for all."""
        rows = max((len(t.costs) for t in factors.tables if t.costs.ndim > 1), default=1)
        every = [prices(factors, row) for row in range(rows)]
        price = np.stack([one for one, _ in every])
        shut = price == CLOSED
        least = np.array([total for _, total in every], dtype=np.int64)
        return Prices(~shut, np.where(shut, 0, price), least)

    def rows(self, count: int) -> "Prices":
        """The prices of so many rows."""
        return Prices(*(np.broadcast_to(x, (count, *x.shape[1:])) for x in self))


def prices(factors: Factors, row: int) -> tuple[Ints, int]:
    """What each literal of a row costs above the cheapest one of its site, CLOSED where a table
    forbids it, and what the cheapest ones cost in all; in units of the scale. -> (C,), units

    Of a structure whose tables are over one site each.
    """
    sizes = factors.sizes
    offset = np.concatenate([[0], np.cumsum(sizes)])
    price = np.zeros(offset[-1], dtype=np.int64)
    shut = np.zeros(offset[-1], dtype=bool)
    for computed in (False, True):
        tables = [t for t in factors.tables if t.computed is computed]
        if tables:
            spread = [_spread(t, row, sizes, offset) for t in tables]
            literal = np.concatenate([where for where, _ in spread])
            cost = np.concatenate([costs for _, costs in spread])
            closed = np.isinf(cost)
            cost[closed] = 0
            np.add.at(price, literal, factors.scale.units(cost, tables[0].read))
            shut[literal[closed]] = True
    cheapest = np.minimum.reduceat(np.where(shut, CLOSED, price), offset[:-1])
    cheapest[cheapest == CLOSED] = 0  # nothing is left of a site
    above = np.where(shut, CLOSED, price - np.repeat(cheapest, sizes))
    return above, int(cheapest.sum())


def budget_step(price: Ints) -> Ints:
    """The unit of the budgets of some rows: of their own prices, whatever unit these are counted
    in. (R, C) -> (R,)"""
    steps = [np.median(row[row > 0]) // SHARE if (row > 0).any() else 1 for row in price]
    return np.array(steps, dtype=np.int64).clip(min=1)


def _spread(table: Table, row: int, sizes: Ints, offset: Ints) -> tuple[Ints, Floats]:
    """The literals that a table over one site prices, scope by scope, and their costs."""
    costs = table.costs[row] if table.costs.ndim > 1 else table.costs
    site, value = table.scopes[:, 0], table.tuples[:, 0]
    literal = (offset[site][:, None] + value).reshape(-1)
    cost = np.tile(costs, len(site))
    if not table.default:
        return literal, cost
    every = np.concatenate([np.arange(offset[s], offset[s] + sizes[s]) for s in site])
    listed = np.isin(every, literal)  # a scope that stands twice pays its default twice
    rest = every[~listed]
    return np.append(literal, rest), np.append(cost, np.full(len(rest), table.default))

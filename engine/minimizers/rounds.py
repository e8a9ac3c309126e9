"""Round trips, exactly: sites that take all places, one each, where each site and the next one
round a circle pay for the way between their places."""

from dataclasses import dataclass

import numpy as np

from engine.decimals import Ints
from engine.factors import Factors, Table
from engine.kernels.tours import FAR, tour
from engine.problem import Problem
from engine.rows import UNKNOWN
from engine.search.closed import Closed, Closing
from engine.search.prices import Prices

MOST = 16  # places: what is known of every set of them is kept


@dataclass(frozen=True)
class Rounds(Closed):
    """Settles the stops of a round trip by dynamic programming over sets of places. Refuses any
    other rule or cost, ways that cost otherwise at other stops, more than 16 places, and evidence
    of more than one stop."""

    def _unlike(self, problem: Problem) -> str | None:
        factors, rest = problem.factored()
        if rest is not None or len(factors.sizes) > factors.visible:
            return "Rounds needs explicit structure"
        return self.unlike(factors)

    def unlike(self, factors: Factors) -> str | None:
        if round_of(factors) is None:
            return "Rounds takes the stops of one round trip, and nothing else"
        return None if factors.scale.total < FAR else "Rounds needs smaller costs"

    def refuses(self, problem: Problem) -> str | None:
        why = super().refuses(problem)
        if why is None and any(self._told(problem, row) is None for row in range(problem.rows)):
            return "Rounds takes evidence of one stop"
        return why

    @staticmethod
    def _told(problem: Problem, row: int) -> tuple[int, int] | None:
        """A stop and its place that hold whatever the trip is, as every trip may begin anywhere;
        None where more is told."""
        n = len(problem.form.factors.sizes)
        open_ = problem.allowed[row].reshape(n, n) != 0
        single = np.flatnonzero(open_.sum(1) == 1)
        stop = int(single[0]) if len(single) else 0
        place = int(open_[stop].argmax())
        others = np.delete(np.delete(open_, stop, 0), place, 1)
        free = len(single) == 1 or (not len(single) and open_.all())
        return (stop, place) if free and others.all() else None

    def closing(
        self, problem: Problem, factors: Factors, prices: Prices, open_: np.ndarray
    ) -> Closing | None:
        del prices, open_
        stops, table = round_of(factors), factors.tables[0]
        assert stops is not None
        n = len(stops)
        cost = _ways(factors, table)
        after = tour(cost)
        if after[0] < 0:
            return None
        told = self._told(problem, 0)
        assert told is not None
        stop, place = told
        chosen = np.zeros(n, dtype=np.int64)
        begin = int(np.flatnonzero(stops == stop)[0])
        for k in range(n):
            chosen[stops[(begin + k) % n]] = place
            place = int(after[place])
        return Closing(chosen, self._beside(factors, chosen), UNKNOWN)

    def _beside(self, factors: Factors, chosen: Ints) -> int:
        table = factors.tables[0]
        cost = _ways(factors, table)
        return int(cost[tuple(chosen[table.scopes].T)].sum())


def _ways(factors: Factors, table: Table) -> Ints:
    """What each way costs, in units; FAR where it is forbidden. -> (n, n)"""
    n = len(factors.sizes)
    cost = np.full((n, n), table.default)
    cost[tuple(table.tuples.T)] = table.costs
    shut = ~np.isfinite(cost)
    units = factors.scale.units(np.where(shut, 0.0, cost), table.read)
    return np.where(shut, FAR, units)


def round_of(factors: Factors) -> Ints | None:
    """The sites in the order of the trip; None where the structure is no round trip."""
    n, tables, lines = len(factors.sizes), factors.tables, factors.different.lines()
    others = (factors.counted, factors.clauses, factors.sums, *factors.others)
    if not 3 <= n <= MOST or (factors.sizes != n).any() or any(own.count for own in others):
        return None
    if len(tables) != 1 or not all(len(set(line)) == n == len(line) for line in lines) or not lines:
        return None
    (table,) = tables
    plain = table.when is None and not table.apart and not table.varies
    if table.arity != 2 or not plain or len(table.scopes) != n:
        return None
    after = dict(table.scopes.tolist())
    order = [int(table.scopes[0, 0])]
    while len(order) < n and order[-1] in after:
        order.append(after[order[-1]])
    closed = len(set(order)) == n and after.get(order[-1]) == order[0]
    return np.array(order, dtype=np.int64) if closed and len(after) == n else None

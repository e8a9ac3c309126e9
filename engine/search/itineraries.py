"""Tours seen in explicit structure that has nothing else: as successors, the value of each site the
node that follows, or as stops, sites in a circle that take all places, one each."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from engine.decimals import Ints, Scale
from engine.factors import Factors
from engine.factors.circuits import Circuit, Circuits
from engine.kernels.tours import FAR, tour
from engine.problem import Problem
from engine.search.prices import Prices
from engine.search.trips import Ways


class Itinerary(ABC):
    """Abstract: how a tour reads as places of sites."""

    @property
    @abstractmethod
    def nodes(self) -> int:
        """How many are on the tour."""

    @abstractmethod
    def told(self, problem: Problem, row: int) -> str | None:
        """Why what a row is told is not for it; None: it is."""

    @abstractmethod
    def ways(self, problem: Problem, row: int, scale: Scale) -> Ways:
        """What the steps of a tour cost in a row, in units of a scale."""

    @abstractmethod
    def places(self, problem: Problem, row: int, scale: Scale, after: Ints) -> Ints:
        """The places of all sites. after (n,): what follows each node"""


@dataclass(frozen=True)
class Successors(Itinerary):
    """Each site says what follows its node; other sites take what costs them least."""

    circuit: Circuit

    @property
    def nodes(self) -> int:
        return len(self.circuit.sites)

    def told(self, problem: Problem, row: int) -> str | None:
        del problem, row
        return None

    def ways(self, problem: Problem, row: int, scale: Scale) -> Ways:
        literal, place = self._literals(problem)
        prices, open_ = _prices(problem, row, scale)
        there = (place >= 0) & open_[literal]
        cost = np.where(there, prices.price[literal], 0)
        choice = np.logical_or.reduceat(open_, _offset(problem)[:-1])
        if not choice.all():  # nothing is left of a site
            there = np.zeros_like(there)
        chosen = _cheapest(prices.price, open_, _offset(problem))
        chosen_at = np.delete(_offset(problem)[:-1] + chosen, self.circuit.sites)
        return Ways(cost, there, prices.least + int(prices.price[chosen_at].sum()))

    def places(self, problem: Problem, row: int, scale: Scale, after: Ints) -> Ints:
        prices, open_ = _prices(problem, row, scale)
        chosen = _cheapest(prices.price, open_, _offset(problem))
        _, place = self._literals(problem)
        chosen[list(self.circuit.sites)] = place[np.arange(self.nodes), after]
        return chosen

    def _literals(self, problem: Problem) -> tuple[Ints, Ints]:
        """Of each step its literal and the place of its value, -1: there is none.
        -> (n, n), (n, n)"""
        offset, n = _offset(problem), self.nodes
        literal, place = np.zeros((n, n), dtype=np.int64), np.full((n, n), -1)
        for tail, (site, heads) in enumerate(
            zip(self.circuit.sites, self.circuit.heads, strict=True)
        ):
            own = np.flatnonzero(heads >= 0)
            literal[tail, heads[own]], place[tail, heads[own]] = offset[site] + own, own
        return literal, place


@dataclass(frozen=True)
class Stops(Itinerary):
    """Site after site in a circle is a stop."""

    order: tuple[int, ...]  # the sites

    @property
    def nodes(self) -> int:
        return len(self.order)

    def told(self, problem: Problem, row: int) -> str | None:
        return None if self._told(problem, row) is not None else "takes evidence of one stop"

    def _told(self, problem: Problem, row: int) -> tuple[int, int] | None:
        """A stop and its place that hold whatever the tour is, as every tour may begin anywhere;
        None where more is told."""
        n = self.nodes
        open_ = problem.allowed[row].reshape(n, n) != 0
        single = np.flatnonzero(open_.sum(1) == 1)
        stop = int(single[0]) if len(single) else 0
        place = int(open_[stop].argmax())
        others = np.delete(np.delete(open_, stop, 0), place, 1)
        free = len(single) == 1 or (not len(single) and open_.all())
        return (stop, place) if free and others.all() else None

    def ways(self, problem: Problem, row: int, scale: Scale) -> Ways:
        return ways_between(problem.concrete(row), scale)

    def places(self, problem: Problem, row: int, scale: Scale, after: Ints) -> Ints:
        del scale
        told, n = self._told(problem, row), self.nodes
        assert told is not None
        stop, place = told
        chosen = np.zeros(n, dtype=np.int64)
        begin = self.order.index(stop)
        for k in range(n):
            chosen[self.order[(begin + k) % n]] = place
            place = int(after[place])
        return chosen


def ways_between(factors: Factors, scale: Scale) -> Ways:
    """What the steps between stops cost."""
    (table,), n = factors.tables, len(factors.sizes)
    cost = np.full((n, n), table.default)
    cost[tuple(table.tuples.T)] = table.costs
    open_ = np.isfinite(cost)
    return Ways(scale.units(np.where(open_, cost, 0.0), table.read), open_)


def settled(itinerary: Itinerary, problem: Problem, scale: Scale) -> tuple[Ints, int] | None:
    """The least tour of one row through few nodes, and what it costs, by the sets of nodes that
    ways have seen; None: there is none. -> (n,) places"""
    ways = itinerary.ways(problem, 0, scale)
    n = itinerary.nodes
    after = np.zeros(1, dtype=np.int64)
    if n > 1:
        after = tour(np.where(ways.open, ways.cost, FAR))
    total = ways.total(after) if after[0] >= 0 else None
    return None if total is None else (itinerary.places(problem, 0, scale, after), total)


def itinerary_of(problem: Problem) -> Itinerary | None:
    """The tour that a problem is, whatever its size."""
    return successors_of(problem) or stops_of(problem)


def successors_of(problem: Problem) -> Successors | None:
    """One circuit beside costs of single sites; the only rule, beside what single sites may be."""
    if "successors" not in problem.memo:
        problem.memo["successors"] = _successors(problem)
    return problem.memo["successors"]


def _successors(problem: Problem) -> Successors | None:
    form = problem.form
    single = all(t.arity == 1 and t.when is None for t in form.factors.tables)
    if form.rest is not None or not form.factors.soft or not single:
        return None
    found: list[Circuit] = []
    lines: list[Ints] = []
    for places, piece, where in form.pieces:
        if piece is None:
            continue
        summand = problem.summands[places[0]]
        if len(piece.sizes) > piece.visible:
            return None
        for family in piece.others:
            if not isinstance(family, Circuits) or summand.weight is not None:
                return None
            found += family.renumbered(where).every
        rest = (piece.counted, piece.clauses, piece.sums)
        if any(own.count for own in rest):
            return None
        lines += [where[line] for line in piece.different.lines()]
    if len(found) != 1 or not all(set(line) <= set(found[0].sites) for line in lines):
        return None
    # sites that share no value differ by their places all the same, so lines say nothing new only
    # where all heads are alike
    alike = all(np.array_equal(found[0].heads[0], heads) for heads in found[0].heads)
    return Successors(found[0]) if alike or not lines else None


def stops_of(problem: Problem) -> Stops | None:
    """Sites that take all places, one each, where each and the next one round a circle pay for the
    way between their places; and nothing else."""
    if "stops" not in problem.memo:
        problem.memo["stops"] = _stops(problem)
    return problem.memo["stops"]


def _stops(problem: Problem) -> Stops | None:
    factors, rest = problem.factored()
    n = len(factors.sizes)
    if rest is not None or n > factors.visible or n < 3 or len(factors.tables) != 1:
        return None
    others = (factors.counted, factors.clauses, factors.sums, *factors.others)
    if (factors.sizes != n).any() or any(own.count for own in others):
        return None
    (table,), lines = factors.tables, factors.different.lines()
    plain = table.when is None and not table.apart and not table.varies
    if table.arity != 2 or not plain or len(table.scopes) != n:
        return None
    if not lines or not all(len(set(line)) == n == len(line) for line in lines):
        return None
    after = dict(table.scopes.tolist())
    order = [int(table.scopes[0, 0])]
    while len(order) < n and order[-1] in after:
        order.append(after[order[-1]])
    closed = len(set(order)) == n and after.get(order[-1]) == order[0]
    return Stops(tuple(order)) if closed and len(after) == n else None


def _offset(problem: Problem) -> Ints:
    return np.concatenate([[0], np.cumsum(problem.form.factors.sizes)])


def _prices(problem: Problem, row: int, scale: Scale) -> tuple[Prices, np.ndarray]:
    """What values cost in a row, and the literals that evidence and tables leave. -> (C,) bool"""
    prices = Prices.of(problem.concrete(row), scale)
    return prices, prices.open & (problem.allowed[row] != 0)


def _cheapest(price: Ints, open_: np.ndarray, offset: Ints) -> Ints:
    """The place of the least price of each site. -> (n,)"""
    price = np.where(open_, price, int(price.max(initial=0)) + 1)
    ends = zip(offset[:-1].tolist(), offset[1:].tolist(), strict=True)
    return np.array([int(price[a:b].argmin()) for a, b in ends], dtype=np.int64)

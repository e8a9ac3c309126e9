"""Tours, exactly: one circuit through few nodes, each step at its own cost."""

from dataclasses import dataclass

import numpy as np

from engine.decimals import Ints
from engine.factors import Factors
from engine.factors.circuits import Circuit, Circuits
from engine.kernels.tours import FAR, tour
from engine.problem import Problem
from engine.rows import UNKNOWN
from engine.search.closed import Closed, Closing
from engine.search.prices import Prices

MOST = 18  # nodes: what is known of every set of them is kept


@dataclass(frozen=True)
class Tours(Closed):
    """Settles one circuit beside costs of single sites, by dynamic programming over sets of nodes.
    Refuses any other rule, but that sites of the circuit differ, and more than 18 nodes."""

    def _unlike(self, problem: Problem) -> str | None:
        form, name = problem.form, type(self).__name__
        if form.rest is not None or not form.factors.soft:
            return f"{name} needs explicit structure and costs"
        circuit = circuit_of(problem)
        if circuit is None:
            return f"{name} needs one circuit, and no other rule"
        if len(circuit.sites) > MOST:
            return f"{name} has no room for the sets of {len(circuit.sites)} nodes"
        return self.unlike(form.factors)

    def unlike(self, factors: Factors) -> str | None:
        if any(t.arity != 1 or t.when is not None for t in factors.tables):
            return "Tours needs costs of single sites"
        return None if factors.scale.total < FAR else "Tours needs smaller costs"

    def closing(
        self, problem: Problem, factors: Factors, prices: Prices, open_: np.ndarray
    ) -> Closing | None:
        circuit = circuit_of(problem)
        assert circuit is not None
        offset = np.concatenate([[0], np.cumsum(factors.sizes)])
        price = np.where(open_, prices.price, FAR)
        chosen = _cheapest(price, offset)
        n = len(circuit.sites)
        cost = np.full((n, n), FAR, dtype=np.int64)
        place = np.zeros((n, n), dtype=np.int64)
        for tail, (site, heads) in enumerate(zip(circuit.sites, circuit.heads, strict=True)):
            for value, head in enumerate(heads.tolist()):
                if head >= 0:
                    cost[tail, head] = price[offset[site] + value]
                    place[tail, head] = value
        after = tour(cost) if n > 1 else np.zeros(1, dtype=np.int64)
        if after[0] < 0 or (cost[np.arange(n), after] >= FAR).any():
            return None
        chosen[list(circuit.sites)] = place[np.arange(n), after]
        return Closing(chosen, int(price[offset[:-1] + chosen].sum()), UNKNOWN)


def _cheapest(price: Ints, offset: Ints) -> Ints:
    """The place of the least price of each site. -> (n,)"""
    ends = zip(offset[:-1].tolist(), offset[1:].tolist(), strict=True)
    return np.array([int(price[a:b].argmin()) for a, b in ends], dtype=np.int64)


def circuit_of(problem: Problem) -> Circuit | None:
    """The only rule of a problem, beside what single sites may be, where it is one circuit."""
    if "circuit" not in problem.memo:
        problem.memo["circuit"] = _found(problem)
    return problem.memo["circuit"]


def _found(problem: Problem) -> Circuit | None:
    found: list[Circuit] = []
    lines: list[Ints] = []
    for places, piece, where in problem.form.pieces:
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
    return found[0] if alike or not lines else None

"""Tours, exactly: one circuit through few nodes, each step at its own cost."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from engine.answer import Proof
from engine.factors import Factors
from engine.kernels.tours import FAR
from engine.problem import Problem
from engine.rows import UNKNOWN
from engine.search.closed import Closed, Closing
from engine.search.itineraries import settled, successors_of
from engine.search.prices import Prices

MOST = 18  # nodes: what is known of every set of them is kept


@dataclass(frozen=True)
class Tours(Closed):
    """Settles one circuit beside costs of single sites, by dynamic programming over sets of nodes.
    Refuses any other rule, but that sites of the circuit differ, and more than 18 nodes."""

    proof: ClassVar[Proof] = Proof.PROGRAM

    def _unlike(self, problem: Problem) -> str | None:
        form, name = problem.form, type(self).__name__
        if form.rest is not None or not form.factors.soft:
            return f"{name} needs explicit structure and costs"
        if any(t.arity != 1 or t.when is not None for t in form.factors.tables):
            return f"{name} needs costs of single sites"
        own = successors_of(problem)
        if own is None:
            return f"{name} needs one circuit, and no other rule"
        if own.nodes > MOST:
            return f"{name} has no room for the sets of {own.nodes} nodes"
        return self.unlike(form.factors)

    def unlike(self, factors: Factors) -> str | None:
        return None if factors.scale.total < FAR else "Tours needs smaller costs"

    def closing(
        self, problem: Problem, factors: Factors, prices: Prices, open_: np.ndarray
    ) -> Closing | None:
        del open_
        own = successors_of(problem)
        assert own is not None
        found = settled(own, problem, factors.scale)
        return None if found is None else Closing(found[0], found[1] - prices.least, UNKNOWN)

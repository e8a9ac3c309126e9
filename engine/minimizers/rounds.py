"""Round trips, exactly: sites that take all places, one each, where each site and the next one
round a circle pay for the way between their places."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from engine.answer import Proof
from engine.decimals import Ints
from engine.factors import Factors
from engine.kernels.tours import FAR
from engine.problem import Problem
from engine.rows import UNKNOWN
from engine.search.closed import Closed, Closing
from engine.search.itineraries import settled, stops_of, ways_between
from engine.search.prices import Prices

MOST = 16  # places: what is known of every set of them is kept


@dataclass(frozen=True)
class Rounds(Closed):
    """Settles the stops of a round trip by dynamic programming over sets of places. Refuses any
    other rule or cost, ways that cost otherwise at other stops, more than 16 places, and evidence
    of more than one stop."""

    proof: ClassVar[Proof] = Proof.PROGRAM

    def _unlike(self, problem: Problem) -> str | None:
        own = stops_of(problem)
        if own is None or own.nodes > MOST:
            return f"Rounds takes the stops of one round trip to {MOST} places, and nothing else"
        return self.unlike(problem.form.factors)

    def unlike(self, factors: Factors) -> str | None:
        return None if factors.scale.total < FAR else "Rounds needs smaller costs"

    def refuses(self, problem: Problem) -> str | None:
        why, own = super().refuses(problem), stops_of(problem)
        if why is None and own is not None:
            said = (own.told(problem, row) for row in range(problem.rows))
            why = next((f"Rounds {one}" for one in said if one is not None), None)
        return why

    def closing(
        self, problem: Problem, factors: Factors, prices: Prices, open_: np.ndarray
    ) -> Closing | None:
        del open_
        own = stops_of(problem)
        assert own is not None
        found = settled(own, problem, factors.scale)
        return None if found is None else Closing(found[0], found[1] - prices.least, UNKNOWN)

    def _beside(self, factors: Factors, chosen: Ints) -> int:
        ways = ways_between(factors, factors.scale)
        return int(ways.cost[tuple(chosen[factors.tables[0].scopes].T)].sum())

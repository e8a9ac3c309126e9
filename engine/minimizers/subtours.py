"""Tours of many nodes, proved least: a linear relaxation whose rows forbid shorter circuits, made
when a point breaks them (`engine/search/trips.py`)."""

from dataclasses import dataclass
from typing import ClassVar

from engine.answer import Proof
from engine.decimals import Ints, Scale
from engine.errors import BadQuery, Mistake
from engine.problem import Problem
from engine.search.itineraries import itinerary_of
from engine.search.placewise import Placewise, PlacewiseState
from engine.search.relaxation import available
from engine.search.trips import NODES, Trips


@dataclass(frozen=True)
class Subtours(Placewise[Trips]):
    """Proves least, or that there is no tour. Takes one circuit beside costs of single sites, or
    the stops of one round trip, of 3 to 400 nodes; refuses any other rule.

    work: as of the linear relaxation. patience: steps without a better tour or a higher bound
    after which a row is done; None: only when it is decided.
    """

    proof: ClassVar[Proof] = Proof.RELAXATION

    work: int = 2_000_000
    patience: int | None = 200

    def __post_init__(self):
        if self.work < 1:
            raise BadQuery(Mistake("work", f"{self.work!r}", "give at least 1"))

    def refuses(self, problem: Problem) -> str | None:
        if not available():
            return "Subtours needs highspy; install it"
        own = itinerary_of(problem)
        if own is None:
            return "Subtours takes one tour, each step at its own cost, and nothing else"
        if not 3 <= own.nodes <= NODES:
            return f"Subtours takes 3 to {NODES} nodes"
        for row in range(problem.rows):
            explicit = problem.explicits[row]
            if explicit.scale.error and (explicit.hidden or explicit.factors.long is None):
                return "Subtours needs costs with a common unit"
            told = own.told(problem, row)
            if told is not None:
                return f"Subtours {told}"
        return None

    def scale(self, problem: Problem, row: int) -> Scale:
        explicit = problem.explicits[row]
        return (explicit.factors.long if explicit.scale.error else None) or explicit.scale

    def begin(self, problem: Problem, row: int, upper: int | None) -> Trips:
        own = itinerary_of(problem)
        assert own is not None
        return Trips.of(own.ways(problem, row, self.scale(problem, row)), upper, self.work)

    def advance(self, search: Trips) -> None:
        search.advance()

    def found(self, problem: Problem, row: int, search: Trips) -> Ints | None:
        own = itinerary_of(problem)
        if own is None or search.after is None:
            return None
        places = own.places(problem, row, self.scale(problem, row), search.after)
        return places[: problem.form.factors.visible]

    def width(self, s: PlacewiseState) -> int:
        del s
        return 1

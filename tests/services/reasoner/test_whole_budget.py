"""Told to prove, a search of a problem that is too hard goes on until its time is over, and says so
beside a bound that holds."""

import pytest

from engine.answer import Ended, Flag, Status
from examples.generators.weighted import bin_packing, knapsack, set_cover, tour, weighted_clauses
from modules.catalogue import Catalogue
from services.query import Options, query_of
from services.reasoner.reason import Reasoner

pytestmark = pytest.mark.clock

SECONDS = 1.5
LATE = 2.0  # other work may run beside it
HARD = {
    "boxes": lambda: bin_packing(40, 2),
    "tour": lambda: tour(15, 0),
    "weights": lambda: knapsack(120, 0, rows=8),
    "cover": lambda: set_cover(200, 800, 1),
    "clauses": lambda: weighted_clauses(150, 0),
}


@pytest.fixture(scope="module")
def reasoner() -> Reasoner:
    """One that has loaded what a first answer loads."""
    made = Reasoner(Catalogue())
    made.reason(query_of({**bin_packing(8, 0), "budget": {"seconds": 20}}), Options())
    return made


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("prove", [False, True])
def test_all_of_the_time_is_used(reasoner: Reasoner, name: str, prove: bool) -> None:
    query = query_of({**HARD[name](), "budget": {"seconds": SECONDS}})
    (answer,) = reasoner.reason(query, Options(prove=prove))
    if answer.status is Status.OPTIMAL:  # a faster machine
        assert answer.energy == answer.bound
        return
    assert answer.ended is Ended.TIME and Flag.DEADLINE in answer.flags
    assert 0.8 * SECONDS <= answer.seconds <= SECONDS + LATE
    if answer.status is Status.SATISFIED and answer.bound is not None:
        assert answer.bound <= answer.energy and answer.proved_by is not None

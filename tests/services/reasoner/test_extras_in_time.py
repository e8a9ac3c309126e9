"""What is asked for beside an answer says DEADLINE where time ended before it was proved."""

import time
from typing import Any
from unittest.mock import patch

import pytest

from engine.answer import Alternative, Flag, RunnerUp, Status
from modules.catalogue import Catalogue
from services.query import options_of, query_of
from services.reasoner import reason
from services.reasoner.reason import Reasoner

COST = {"kind": "discrete.table", "scope": ["x"], "params": {"sites": [0], "costs": [0, 1, 2]}}
QUERY = {
    "variables": {"x": {"values": [0, 1, 2]}},
    "terms": [COST],
    "budget": {"seconds": 60.0},
}


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    ("name", "options", "found"),
    [
        ("alternatives", {"alternatives": 1}, (Alternative({"x": 2}, 2.0),)),
        ("runner_up", {"explain": True}, RunnerUp({"x": 2}, 2.0)),
    ],
)
def test_what_was_met_as_time_ended_may_not_be_the_next_best(
    name: str, options: dict[str, Any], found: Any, late: bool
) -> None:
    clock = time.monotonic
    with patch.object(reason, name) as asked, patch("time.monotonic") as now:
        now.side_effect = lambda: clock() + (1000.0 if late and asked.called else 0.0)
        asked.return_value = found
        (answer,) = Reasoner(Catalogue(entry_points=False)).reason(
            query_of(QUERY), options_of(options)
        )
    assert answer.status is Status.OPTIMAL and answer.values == {"x": 0}
    assert (Flag.DEADLINE in answer.flags) == late


@pytest.mark.parametrize(
    ("name", "options"),
    [("alternatives", {"alternatives": 1}), ("runner_up", {"explain": True})],
)
def test_what_the_caller_ended_says_so_and_speaks_of_no_limit(
    name: str, options: dict[str, Any]
) -> None:
    asking: list[str] = []

    def ended(*_: Any, **__: Any) -> Any:
        asking.append(name)
        return () if name == "alternatives" else None

    query = {**QUERY, "budget": {}}
    with patch.object(reason, name, ended):
        (answer,) = Reasoner(Catalogue(entry_points=False)).reason(
            query_of(query), options_of(options), stop=lambda: bool(asking)
        )
    assert answer.status is Status.OPTIMAL and answer.values == {"x": 0}
    assert Flag.CANCELLED in answer.flags and Flag.DEADLINE not in answer.flags

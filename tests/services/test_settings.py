"""What is over a limit is told with the name of the limit."""

from collections.abc import Callable
from typing import Any

import pytest

from engine.errors import BadQuery, TooLarge, TooManySessions
from engine.factors import Factors, ints
from services.query import Options, options_of, parse_query, query_of, spec_of
from services.query.sampling import sampling_of
from services.server.session_store import SessionStore
from services.settings import Limits
from services.wire.structure import check_factors
from services.wire.values import from_value, to_value

X = {"values": [1, 2, 3], "shape": [2, 2]}
TERM = {"kind": "a.b", "scope": ["x", "x"]}
QUERY: dict[str, Any] = {
    "variables": {"x": X, "y": X},
    "terms": [TERM, TERM],
    "evidence": [{}, {}],
    "budget": {"particles": 2, "seconds": 2.0},
}
TEXT = "variables: {x: {values: [1, 2]}}\nterms: []\nevidence: {x: [[[1]]]}\n"


def many_sessions(limits: Limits) -> None:
    store = SessionStore(limits)
    store.enter("a")
    store.enter("a")


def two_tenants(limits: Limits) -> None:
    store = SessionStore(limits)
    store.enter("a")
    store.enter("b")


OVER: list[tuple[str, float, Callable[[Limits], Any]]] = [
    *(
        (name, 1, lambda limits: query_of(QUERY, limits))
        for name in ("variables", "terms", "scope", "sites", "values", "cells", "rank", "rows")
    ),
    ("particles", 1, lambda limits: query_of(QUERY, limits)),
    ("seconds", 1.0, lambda limits: query_of(QUERY, limits)),
    ("alternatives", 1, lambda limits: options_of({"alternatives": 2}, limits)),
    ("name", 1, lambda limits: spec_of(Options, {"minimizer": "abc"}, limits)),
    ("samples", 1, lambda limits: sampling_of({"count": 2}, limits)),
    ("message_bytes", 10, lambda limits: parse_query(TEXT, limits=limits)),
    ("nodes", 1, lambda limits: parse_query(TEXT, limits=limits)),
    ("nodes", 1, lambda limits: from_value(to_value([1, 2]), limits)),
    ("nesting", 1, lambda limits: from_value(to_value([[1, 2]]), limits)),
    ("nesting", 1, lambda limits: parse_query("- " * 20 + "1", limits=limits)),
    ("sites", 1, lambda limits: check_factors(Factors(ints([2, 2]), 2), limits)),
    ("cells", 3, lambda limits: check_factors(Factors(ints([2, 2]), 2), limits)),
    ("sessions", 1, many_sessions),
    ("all_sessions", 1, two_tenants),
]


@pytest.mark.parametrize(
    ("name", "most", "ask"), OVER, ids=[f"{k}-{name}" for k, (name, *_) in enumerate(OVER)]
)
def test_a_limit_is_named(name: str, most: float, ask: Callable[[Limits], Any]) -> None:
    with pytest.raises(
        (TooLarge, TooManySessions), match=rf"the limit is {most} \(limits.{name}\)"
    ):
        ask(Limits(**{name: most}))  # type: ignore[arg-type]


def test_numbers_that_do_not_fit_their_shape_are_no_matter_of_limits() -> None:
    message = to_value([1, 2])
    message.array.shape[0] = 3
    with pytest.raises(BadQuery, match=r"2 numbers for the shape \[3\]; make them agree"):
        from_value(message, Limits(nodes=1))

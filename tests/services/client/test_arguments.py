"""What a client's calls cannot take is told before anything is sent: with path, value, remedy."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from engine.errors import BadQuery, Unavailable
from services.client import AsyncClient, Client
from services.client.turns import Turns
from services.query import query_of
from services.settings import DEFAULT

QUERY: dict[str, Any] = {"variables": {"x": {"values": [1, 2]}}, "terms": []}
TERM = {"kind": "discrete.clause", "scope": ["x"]}
NOWHERE = "127.0.0.1:1"  # where nobody listens
VALUES: list[Any] = [
    3, -1, 2**31, 2**70, 10**400, 1.5, float("nan"), True, None, "a", "", b"a", "\ud800", [1], {},
    {"a": 1}, {1: 2}, (), [None], ["x"], object(), Turns,
]  # fmt: skip


def counts(value: Any, end: int) -> bool:
    return type(value) is int and 0 <= value < end


def above_zero(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < 1e300


Ask = Callable[[Any, Any], Any]  # (client, value)

# the argument, as its mistakes name it; how it is given; the values that mean something
CALLS: dict[str, tuple[Ask, Callable[[Any], bool]]] = {
    "solve query": (lambda c, v: c.solve(v), lambda v: False),
    "options": (lambda c, v: c.solve(QUERY, v), lambda v: v is None or v == {}),
    "deadline": (
        lambda c, v: c.solve(QUERY, deadline=v),
        lambda v: v is None or (above_zero(v) and v <= 1e9),
    ),
    "options.differ": (
        lambda c, v: c.explain(QUERY, v),
        lambda v: v in ((), ["x"]) and not isinstance(v, dict),
    ),
    "count": (lambda c, v: c.sample(QUERY, v), lambda v: v == 3),
    "temperature": (
        lambda c, v: c.sample(QUERY, 1, v),
        above_zero,
    ),
    "marginals query": (lambda c, v: c.marginals(v), lambda v: False),
    "wanted": (
        lambda c, v: c.smallest_change(QUERY, v),
        lambda v: v == {} or (v == {"a": 1}),
    ),
    "keep": (
        lambda c, v: c.smallest_change(QUERY, {}, v),
        lambda v: isinstance(v, (list, tuple)) and all(type(x) is str for x in v),
    ),
    "page_size": (
        lambda c, v: c.kinds(page_size=v),
        lambda v: counts(v, 2**31),
    ),
    "kind": (lambda c, v: c.kind(v), lambda v: v == "a"),
}
STREAMED: dict[str, tuple[Ask, Callable[[Any], bool]]] = {
    "stream query": (lambda c, v: c.stream(v), lambda v: False),
    "interval": (
        lambda c, v: c.stream(QUERY, interval=v),
        lambda v: v == 0 or above_zero(v),
    ),
    "partial_values": (
        lambda c, v: c.stream(QUERY, partial_values=v),
        lambda v: v is True,
    ),
    "session query": (lambda c, v: c.session(v), lambda v: False),
}
MADE: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Any], bool]]] = {
    "address": (lambda made, v: made(v), lambda v: False),
    "limits": (lambda made, v: made(NOWHERE, v), lambda v: False),
    "tenant": (
        lambda made, v: made(NOWHERE, tenant=v),
        lambda v: isinstance(v, str) and v.isascii(),
    ),
    "deadline": (lambda made, v: made(NOWHERE, deadline=v), CALLS["deadline"][1]),
}


def check_told(name: str, error: BadQuery) -> None:
    """Where it is, what is wrong, what to do instead."""
    for mistake in error.mistakes:
        assert "query" in name or name in mistake.path
        assert mistake.problem and mistake.remedy, mistake


def wrong(argument: str, means: Callable[[Any], bool]) -> list[Any]:
    found = [value for value in VALUES if not means(value)]
    assert found, argument
    return found


@pytest.mark.parametrize("argument", [*CALLS, *STREAMED])
def test_what_a_call_cannot_take_is_told(argument: str) -> None:
    ask, means = (CALLS | STREAMED)[argument]
    with Client(NOWHERE) as client:
        for value in wrong(argument, means):
            with pytest.raises(BadQuery) as caught:
                ask(client, value)
            check_told(argument, caught.value)


@pytest.mark.parametrize("argument", CALLS)
def test_what_means_something_is_sent(argument: str) -> None:
    ask, means = CALLS[argument]
    with Client(NOWHERE) as client:
        for value in filter(means, VALUES):
            with pytest.raises(Unavailable):
                ask(client, value)


@pytest.mark.parametrize("argument", [*CALLS, *STREAMED])
def test_the_async_client_tells_the_same(argument: str) -> None:
    ask, means = (CALLS | STREAMED)[argument]

    async def every() -> None:
        async with AsyncClient(NOWHERE) as client:
            for value in wrong(argument, means):
                with pytest.raises(BadQuery) as caught:
                    made = ask(client, value)
                    if asyncio.iscoroutine(made):
                        await made
                check_told(argument, caught.value)

    asyncio.run(every())


@pytest.mark.parametrize("argument", MADE)
def test_what_no_client_can_be_made_of_is_told(argument: str) -> None:
    make, means = MADE[argument]
    for value in wrong(argument, means):
        with pytest.raises(BadQuery) as caught:
            make(Client, value)
        check_told(argument, caught.value)


def test_a_session_that_cannot_be_is_told() -> None:
    with Client(NOWHERE) as client:
        for how in ({"stream": 1}, {"stream": None}, {"deadline": "1"}, {"deadline": -1}):
            for stream in (True, False):
                with pytest.raises(BadQuery) as caught:
                    client.session(QUERY, **{"stream": stream, **how})
                check_told(*how, caught.value)


@pytest.mark.parametrize(
    ("ask", "means"),
    [
        (lambda t, v: t.add("more", v), lambda v: False),
        (lambda t, v: t.add(v, TERM), lambda v: v in ("a", None)),
        (lambda t, v: t.change({"drop": [v]}), lambda v: v == "a"),
        (lambda t, v: t.change({"evidence": v}), lambda v: v in ({}, {"a": 1}, None)),
        (lambda t, v: t.change(v), lambda v: v == {}),
        (lambda t, v: t.resolve(v, None, None, None), lambda v: v is None or above_zero(v)),
        (lambda t, v: t.resolve(None, v, None, None), lambda v: v is None or counts(v, 2**63)),
        (lambda t, v: t.resolve(None, None, v, None), CALLS["options"][1]),
        (lambda t, v: t.resolve(None, None, None, v), lambda v: v == {} or v is None),
    ],
)
def test_what_a_session_cannot_take_is_told(ask: Ask, means: Callable[[Any], bool]) -> None:
    turns = Turns(query_of(QUERY), DEFAULT)
    for value in VALUES:
        if means(value):
            ask(turns, value)
            continue
        with pytest.raises(BadQuery) as caught:
            ask(turns, value)
        assert all(m.problem and m.remedy for m in caught.value.mistakes)

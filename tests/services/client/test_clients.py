"""Both clients: the same answers, streams that are sent at once and end when left, retries."""

import asyncio
import gc
import math
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from engine.answer import Status
from engine.errors import (
    BadQuery,
    BasinError,
    Cancelled,
    ModuleUnavailable,
    OutOfTime,
    SessionNotFound,
    Unavailable,
    UnknownKind,
)
from modules.catalogue import Catalogue
from services.client import AsyncClient, Client
from services.query import Options, query_of
from services.reasoner.reason import Reasoner
from services.remote.kinds import RemoteKinds
from services.rpc.server import Service
from services.rpc.status import metadata_of, to_status
from services.v1 import reasoner_pb2 as pb
from services.v1.reasoner_pb2_grpc import (
    ReasonerServiceServicer,
    add_ReasonerServiceServicer_to_server,
)
from services.wire.events import Result
from tests.support.paths import ROOT
from tests.support.serving import Loop, Process, sudoku

pytestmark = pytest.mark.clock


@pytest.fixture
def address(service: Service) -> str:
    return f"127.0.0.1:{service.port}"


def test_both_clients_say_the_same(loop: Loop, address: str) -> None:
    query = sudoku()

    async def ask() -> list[Any]:
        async with AsyncClient(address) as client:
            every = [
                await client.solve(query),
                await client.score(query),
                await client.explain(query),
                await client.kinds(page_size=3),
                await client.kind("discrete.clause"),
                await client.info(),
                [one.samples for one in await client.sample(query, 2)],
            ]
            async with client.stream(query) as events:
                every.append([event async for event in events if isinstance(event, Result)])
            return every

    def timeless(answers: Any) -> Any:
        return [(a.status, a.values, a.energy, a.unique, a.conflict, a.runner_up) for a in answers]

    there = loop.do(ask())
    with Client(address) as client:
        here: list[Any] = [client.solve(query), client.score(query), client.explain(query)]
        assert [timeless(one) for one in there[:3]] == [timeless(one) for one in here]
        assert there[3] == client.kinds() and there[4] == client.kind("discrete.clause")
        assert there[5] == client.info()
        assert there[6] == [one.samples for one in client.sample(query, 2)]
        with client.stream(query) as events:
            results = [event for event in events if isinstance(event, Result)]
        assert timeless(r.answer for r in there[7]) == timeless(r.answer for r in results)


def test_margins_come_through_the_wire_as_they_are_in_process(address: str) -> None:
    pair = {"sites": [0, 1], "costs": [[0, 1.5], [1, 0.25]]}
    query = {
        "variables": {"x": {"values": [0, 1], "shape": [3]}},
        "terms": [
            {"kind": "discrete.table", "scope": ["x"], "required": False, "params": pair},
            {"kind": "discrete.clause", "scope": ["x"], "params": {"clauses": [[[2, 1, True]]]}},
        ],
    }
    here = Reasoner(Catalogue()).reason(query_of(query), Options(margins=True))
    with Client(address) as client:
        (there,) = client.solve(query, {"margins": True})
        (plain,) = client.solve(query)
        with client.session(query) as session:
            again = session.answer(options={"margins": True})
    (margin,) = there.margins
    assert margin == here[0].margins[0] == again.margins[0] and plain.margins == ()
    assert margin.low == (0.25, 0.25, math.inf) and margin.high == (1.0, 1.5, math.inf)


def test_an_async_session_goes_on_after_a_mistake(loop: Loop, address: str) -> None:
    rule = {"kind": "discrete.clause", "scope": ["x"], "params": {"clauses": [[[0, 1, True]]]}}
    query = {
        "variables": {"x": {"values": [0, 1], "shape": [2]}},
        "terms": [{"kind": "discrete.not_equal", "scope": ["x"], "params": {"pairs": [[0, 1]]}}],
    }

    async def talk() -> list[Any]:
        async with AsyncClient(address) as client, client.session(query) as session:
            await session.add("first", rule)
            one = await session.answer()
            with pytest.raises(UnknownKind):
                await session.add("wrong", {**rule, "kind": "discrete.claus"})
            with pytest.raises(BadQuery):
                await session.drop("nothing")
            await session.given({"x": [0, None]})
            both = await asyncio.gather(session.answer(), session.refresh())
            await session.drop("first")
            last = await session.answer(seconds=5.0)
            names = session.terms
            assert session.expire_time is not None
            await session.close()
            with pytest.raises((SessionNotFound, Unavailable, Exception)):
                await session.answer()
            return [one, both[0], last, names]

    one, clash, last, names = loop.do(talk())
    assert one.values == {"x": [1, 0]} and clash.status is Status.INFEASIBLE
    assert last.values == {"x": [0, 1]} and names == ("discrete.not_equal",)


def test_mistakes_are_told_before_anything_is_sent(loop: Loop) -> None:
    async def ask() -> None:
        async with AsyncClient("127.0.0.1:1") as client:
            with pytest.raises(BadQuery):
                await client.solve({"variables": {}})
            with pytest.raises(BadQuery):
                client.stream(sudoku(), {"score": True})

    loop.do(ask())
    with Client("127.0.0.1:1") as client, pytest.raises(BadQuery):
        client.stream({"variables": {}})


class Watched(ReasonerServiceServicer):
    """Counts calls; the first are refused as if the service were away."""

    def __init__(self, refused: int = 0, error: BasinError | None = None):
        self.refused, self.asked, self.left = refused, 0, threading.Event()
        self.error = error  # that the service tells
        self.slow = 0.0  # seconds

    def ListKinds(self, request, context):
        self.asked += 1
        time.sleep(self.slow)
        if self.error is not None:
            status = to_status(self.error)
            context.set_trailing_metadata(metadata_of(status))
            context.abort(grpc.StatusCode.UNAVAILABLE, "a module is away")
        if self.asked <= self.refused:
            context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        return pb.ListKindsResponse()

    def SolveStream(self, request, context):
        self.asked += 1
        context.add_callback(self.left.set)
        self.left.wait(10)
        return iter(())


@pytest.fixture
def watched():
    servers: list[grpc.Server] = []

    def start(refused: int = 0, error: BasinError | None = None) -> tuple[Watched, str]:
        from concurrent.futures import ThreadPoolExecutor

        server, made = grpc.server(ThreadPoolExecutor(4)), Watched(refused, error)
        add_ReasonerServiceServicer_to_server(made, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return made, f"127.0.0.1:{port}"

    yield start
    for server in servers:
        server.stop(None)


def soon(so: Callable[[], bool]) -> bool:
    end = time.monotonic() + 5
    while not so() and time.monotonic() < end:
        time.sleep(0.01)
    return so()


@pytest.mark.parametrize("way", ["with", "close", "let go"])
def test_a_stream_is_sent_at_once_and_ends_when_it_is_left(watched: Any, way: str) -> None:
    made, address = watched()
    with Client(address) as client:
        events = client.stream(sudoku())
        assert soon(lambda: made.asked == 1), "nothing was sent before it was read"
        assert not made.left.is_set()
        if way == "with":
            with events:
                pass
        elif way == "close":
            events.close()
        else:
            del events
        assert made.left.wait(5), "the call goes on"


def test_an_async_stream_ends_when_it_is_left(loop: Loop, watched: Any) -> None:
    made, address = watched()

    async def leave() -> None:
        async with AsyncClient(address) as client:
            async with client.stream(sudoku()):
                await asyncio.to_thread(soon, lambda: made.asked == 1)
            await asyncio.to_thread(made.left.wait, 5)

    loop.do(leave())
    assert made.asked == 1 and made.left.is_set()


@pytest.mark.parametrize("refused", [0, 3, 4])
def test_a_service_that_is_away_for_a_moment_is_asked_again(watched: Any, refused: int) -> None:
    made, address = watched(refused)
    with Client(address) as client:
        if refused < 4:
            assert client.kinds() == [] and made.asked == refused + 1
        else:
            with pytest.raises(Unavailable):
                client.kinds()
            assert made.asked == 4


def test_a_deadline_holds_however_often_a_call_is_sent(loop: Loop, watched: Any) -> None:
    made, address = watched(100)
    made.slow = 0.4
    began = time.monotonic()
    with Client(address) as client, pytest.raises((Unavailable, OutOfTime)):
        client.kinds(deadline=0.7)
    assert time.monotonic() - began < 1.2 and made.asked == 2

    async def ask() -> None:
        async with AsyncClient(address) as client:
            with pytest.raises((Unavailable, OutOfTime)):
                await client.kinds(deadline=0.7)

    began = time.monotonic()
    loop.do(ask())
    assert time.monotonic() - began < 1.2 and made.asked == 4


def test_what_a_service_says_is_not_asked_again(loop: Loop, watched: Any) -> None:
    made, address = watched(error=ModuleUnavailable("my.kind", "no host"))
    with Client(address) as client, pytest.raises(ModuleUnavailable):
        client.kinds()

    async def ask() -> None:
        async with AsyncClient(address) as client:
            with pytest.raises(ModuleUnavailable):
                await client.kinds()

    loop.do(ask())
    assert made.asked == 2


def test_a_service_that_is_not_there_is_told_within_seconds() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    began = time.monotonic()
    with Client(f"127.0.0.1:{port}") as client, pytest.raises(Unavailable):
        client.kinds()
    assert time.monotonic() - began < 5


def test_calls_have_a_deadline_even_if_none_is_given() -> None:
    client = Client("127.0.0.1:1")
    assert client._calls.solve(sudoku(), None).seconds == 600
    long = client._calls.solve({**sudoku(), "budget": {"seconds": 3000.0}}, None)
    assert long.seconds == 3060 and client._calls.info().seconds == 600


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_addresses_and_deadlines_that_are_none_are_told(kind: Any) -> None:
    for address in ("localhost", "", "host:port", "127.0.0.1:0", ":7000"):
        with pytest.raises(BadQuery, match="address: .* is no address; write HOST:PORT"):
            kind(address)
    for deadline in (-1.0, 0.0, float("nan"), float("inf")):
        with pytest.raises(BadQuery, match="deadline: .* give seconds above 0"):
            kind("127.0.0.1:1", deadline=deadline)


BAD = {
    "variables": {"x": {"values": [0, 1]}},
    "terms": [{"kind": "discrete.nothing", "scope": ["x"]}],
}


def test_what_did_not_open_or_was_let_go_holds_no_place(
    loop: Loop, remote: RemoteKinds, started: Callable[..., Process]
) -> None:
    process = started("serve", "--listen", "127.0.0.1:0", "--set", "limits.sessions=3")
    good = sudoku()

    async def attempt() -> None:
        async with AsyncClient(process.address) as client:
            for _ in range(8):
                with pytest.raises(UnknownKind):
                    await client.session(BAD)
            for _ in range(8):
                session = await client.session(good)
                del session
                gc.collect()
                await asyncio.sleep(0.05)
            async with client.session(good) as session:
                assert (await session.answer()).status is Status.OPTIMAL

    loop.do(attempt())
    threads = threading.active_count()
    with Client(process.address) as client:
        for _ in range(8):
            with pytest.raises(UnknownKind):
                client.session(BAD)
        for _ in range(8):
            client.session(good)
            gc.collect()
            time.sleep(0.05)
        with client.session(good) as session:
            assert session.answer().status is Status.OPTIMAL
    assert soon(lambda: threading.active_count() <= threads + 2), threading.enumerate()


def test_an_async_stream_let_go_or_closed(loop: Loop, watched: Any) -> None:
    made, address = watched()

    async def leave() -> None:
        async with AsyncClient(address) as client:
            events = client.stream(sudoku())
            await asyncio.to_thread(soon, lambda: made.asked == 1)
            del events
            gc.collect()
            await asyncio.to_thread(made.left.wait, 5)
            assert made.left.is_set()
            closed = client.stream(sudoku())
            closed.close()
            with pytest.raises(Cancelled):
                await anext(closed)

    loop.do(leave())


def test_clients_load_no_torch() -> None:
    code = (
        "import services.client, sys;"
        "print([m for m in ('torch', 'numba', 'pydantic_settings', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr

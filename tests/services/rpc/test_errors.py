"""Errors cross the wire as themselves, and bugs tell nothing of the inside."""

import asyncio

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import Finite, Term, Variable
from engine.errors import (
    BadQuery,
    BasinError,
    Mistake,
    ModuleFault,
    ModuleUnavailable,
    OutOfTime,
    Overloaded,
    TooLarge,
    Unavailable,
    UnknownKind,
)
from services.rpc.errors import ErrorInterceptor
from services.rpc.status import REQUEST_KEY, error_of_call, from_status, to_status
from services.v1 import reasoner_pb2
from services.v1.reasoner_pb2_grpc import (
    ReasonerServiceServicer,
    ReasonerServiceStub,
    add_ReasonerServiceServicer_to_server,
)
from tests.support.strategies import mistakes


@given(st.sampled_from([BadQuery, UnknownKind, TooLarge]), st.lists(mistakes, max_size=4))
def test_mistakes_come_back_as_the_same_exception(kind, given_mistakes):
    back = from_status(to_status(kind(*given_mistakes)))
    assert type(back) is kind
    assert back.mistakes == tuple(given_mistakes)


@pytest.mark.parametrize(
    "error",
    [
        ModuleFault("my.kind", "energy is nan"),
        ModuleUnavailable("my.kind", "connection refused"),
        Unavailable("draining"),
        Overloaded("64 queued"),
        OutOfTime("no state in time"),
    ],
)
def test_every_other_exception_comes_back(error):
    back = from_status(to_status(error))
    assert type(back) is type(error)
    assert (str(back), vars(back)) == (str(error), vars(error))


@given(st.lists(mistakes, min_size=1), st.integers(1, 3000), st.sampled_from(["a", "é", "\n", "🜁"]))
def test_details_never_exceed_their_room(few, times, letter):
    long = Mistake(letter * times, letter * times, letter * times)
    error = BadQuery(*few, *([long] * 20))
    status = to_status(error, "r" * 500)
    assert status.ByteSize() <= 4096
    back = from_status(status)
    told = [m for m in back.mistakes if "more mistakes" not in m.problem]
    cut = sum(int(m.problem.split()[0]) for m in back.mistakes if "more mistakes" in m.problem)
    assert len(told) + cut == len(error.mistakes)


def test_a_status_of_a_stranger_is_judged_by_its_code():
    stranger = to_status(Unavailable("gone"))
    stranger.ClearField("details")
    assert type(from_status(stranger)) is Unavailable
    assert type(from_status(stranger, module="my.kind")) is ModuleUnavailable
    stranger.code = 999
    assert type(from_status(stranger)) is BasinError


# --- the door ---------------------------------------------------------------------------------


class Broken(Term):
    def energy(self, x):
        raise RuntimeError("secret /etc/path")


class Rude(ReasonerServiceServicer):
    """Fails in the way that the name of a kind asks for."""

    async def DescribeKind(self, request, context):
        if request.kind == "abort":
            await context.abort(grpc.StatusCode.ABORTED, "on purpose")
        if request.kind == "sleep":
            await asyncio.sleep(60)
        if request.kind == "unknown":
            raise UnknownKind(Mistake("terms[0].kind", "'x' is unknown", "known: y"))
        if request.kind == "term":
            Broken(Variable("x", Finite((0, 1)))).energy(None)
        if request.kind == "bug":
            raise RuntimeError("secret /etc/path")
        return reasoner_pb2.DescribeKindResponse()

    async def SolveStream(self, request, context):
        yield reasoner_pb2.SolveStreamResponse()
        if request.interval == 1:
            raise ModuleUnavailable("my.kind", "gone")
        if request.interval == 2:
            raise KeyError("secret")


async def _calls(check):
    server = grpc.aio.server(interceptors=[ErrorInterceptor()])
    add_ReasonerServiceServicer_to_server(Rude(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            await check(channel, ReasonerServiceStub(channel))
    finally:
        await server.stop(None)


async def _failure(awaitable) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await awaitable
    return caught.value


def test_the_door_tells_mistakes_and_hides_bugs(caplog):
    async def check(channel, stub):
        ask = reasoner_pb2.DescribeKindRequest
        error = await _failure(stub.DescribeKind(ask(kind="unknown")))
        assert error.code() == grpc.StatusCode.NOT_FOUND
        back = error_of_call(error)
        assert type(back) is UnknownKind
        assert back.mistakes == (Mistake("terms[0].kind", "'x' is unknown", "known: y"),)

        back = error_of_call(await _failure(stub.DescribeKind(ask(kind="term"))))
        assert type(back) is ModuleFault and back.module == "Broken"
        assert back.why == "energy raised RuntimeError; the log of the service tells more"

        call = stub.DescribeKind(ask(kind="bug"), metadata=[(REQUEST_KEY, "number-7")])
        error = await _failure(call)
        assert error.code() == grpc.StatusCode.INTERNAL
        assert "secret" not in str(error.details()) + str(error.trailing_metadata())
        assert "number-7" in error.details()
        assert type(error_of_call(error)) is BasinError

        error = await _failure(stub.DescribeKind(ask(kind="abort")))
        assert (error.code(), error.details()) == (grpc.StatusCode.ABORTED, "on purpose")

        error = await _failure(stub.DescribeKind(ask(kind="sleep"), timeout=0.1))
        assert type(error_of_call(error)) is OutOfTime

        error = await _failure(stub.Solve(reasoner_pb2.SolveRequest()))
        assert error.code() == grpc.StatusCode.UNIMPLEMENTED

        raw = channel.unary_unary("/basin.v1.ReasonerService/DescribeKind")
        error = await _failure(raw(b"\xff\xff\xff"))
        assert type(error_of_call(error)) is BadQuery
        assert await stub.DescribeKind(ask()) == reasoner_pb2.DescribeKindResponse()

    asyncio.run(_calls(check))
    assert "RuntimeError: secret /etc/path" in caplog.text
    assert "number-7" in caplog.text


def test_the_door_stands_before_streams_too():
    async def check(_, stub):
        async def read(interval):
            seen = []
            async for message in stub.SolveStream(
                reasoner_pb2.SolveStreamRequest(interval=interval)
            ):
                seen.append(message)
            return len(seen)

        assert await read(0) == 1
        back = error_of_call(await _failure(read(1)))
        assert (type(back), back.module) == (ModuleUnavailable, "my.kind")
        error = await _failure(read(2))
        assert "secret" not in str(error.details())
        assert error.code() == grpc.StatusCode.INTERNAL

    asyncio.run(_calls(check))


def test_who_cannot_be_reached_is_named():
    async def check():
        async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
            stub = ReasonerServiceStub(channel)
            error = await _failure(stub.ListKinds(reasoner_pb2.ListKindsRequest(), timeout=5))
        back = error_of_call(error, "127.0.0.1:1")
        assert type(back) is Unavailable
        assert "127.0.0.1:1" in str(back)
        assert type(error_of_call(error, module="my.kind")) is ModuleUnavailable

    asyncio.run(check())

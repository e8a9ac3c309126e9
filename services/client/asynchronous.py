"""The client for asyncio: the same calls as `Client`, awaited."""

import asyncio
import weakref
from collections.abc import AsyncIterator, Generator, Mapping, Sequence
from datetime import datetime
from typing import Any, Self, TypeVar

import grpc

from engine.answer import Answer
from engine.errors import Cancelled
from engine.explain.change import SmallestChange
from engine.sampling.marginals import Marginals
from engine.sampling.samples import Samples
from services.client.arguments import check_deadline
from services.client.calls import (
    PAUSES,
    AskedOptions,
    AskedQuery,
    Call,
    Metadata,
    differing,
)
from services.client.connection import Connection
from services.client.turns import AskedChange, Turns, ended
from services.query import Options, Query, TermSpec
from services.query.kind import KindDescription
from services.rpc.status import error_of_call, not_reached
from services.settings import Limits
from services.v1 import session_pb2 as pb
from services.v1.session_pb2_grpc import SessionServiceStub
from services.wire.events import Progress, Result
from services.wire.info import ServiceInfo

T = TypeVar("T")


class AsyncClient(Connection):
    """Asks a service from one event loop; parameters and exceptions as of `Client`. An async
    context manager closes it."""

    async def solve(
        self, query: AskedQuery, options: AskedOptions = None, *, deadline: float | None = None
    ) -> list[Answer]:
        """One answer for each row. Raises what the reasoner raises, or Unavailable."""
        return await self._ask(self._calls.solve(query, options), deadline)

    def stream(
        self,
        query: AskedQuery,
        options: AskedOptions = None,
        *,
        interval: float = 0.0,
        partial_values: bool = False,
        deadline: float | None = None,
    ) -> "AsyncEventStream":
        """Progress while it searches, then each row's result; sent at once, and cancelled when its
        `async with` block is left. Raises BadQuery for `score` and `explain`."""
        asked = self._calls.stream(query, options, interval, partial_values)
        return AsyncEventStream(self._begin(asked, self._due(asked, deadline)), asked, self.address)

    async def score(self, query: AskedQuery, *, deadline: float | None = None) -> list[Answer]:
        """Energy, findings and bound of the values in the evidence, without a search."""
        return await self.solve(query, {"score": True}, deadline=deadline)

    async def explain(
        self, query: AskedQuery, differ: Sequence[str] = (), *, deadline: float | None = None
    ) -> list[Answer]:
        """Why, as `Client.explain`."""
        return await self.solve(query, differing(differ), deadline=deadline)

    async def sample(
        self,
        query: AskedQuery,
        count: int,
        temperature: float = 1.0,
        *,
        deadline: float | None = None,
    ) -> list[Samples]:
        """Draws from the Boltzmann distribution of each row."""
        return await self._ask(self._calls.sample(query, count, temperature), deadline)

    async def marginals(
        self, query: AskedQuery, *, deadline: float | None = None
    ) -> list[Marginals]:
        """The chances at the open sites of each row, as `Client.marginals`."""
        return await self._ask(self._calls.marginals(query), deadline)

    async def smallest_change(
        self,
        query: AskedQuery,
        wanted: Mapping[str, Any],
        keep: Sequence[str] = (),
        options: AskedOptions = None,
        *,
        deadline: float | None = None,
    ) -> list[SmallestChange]:
        """The fewest values of each row of evidence that must change so that all required rules
        hold: under evidence that is `wanted` instead, with the given sites of `keep` as they are.
        Raises what the reasoner raises."""
        asked = self._calls.smallest_change(query, wanted, keep, options)
        return await self._ask(asked, deadline)

    def session(self, query: AskedQuery, *, deadline: float | None = None) -> "AsyncSession":
        """A query to be changed and asked again, over one stream: `async with client.session(q)` or
        `await client.session(q)`. deadline: of the whole stream (None: none)."""
        check_deadline(deadline)
        return AsyncSession(
            self._sessions, self.address, self._who, deadline, self._calls.query(query), self.limits
        )

    async def kinds(
        self, *, page_size: int = 0, deadline: float | None = None
    ) -> list[KindDescription]:
        """Every kind of term the service knows, by name; one call a page."""
        kinds, token = await self._ask(self._calls.kinds(page_size, ""), deadline)
        while token:
            more, token = await self._ask(self._calls.kinds(page_size, token), deadline)
            kinds += more
        return kinds

    async def kind(self, name: str, *, deadline: float | None = None) -> KindDescription:
        """One kind. Raises UnknownKind."""
        return await self._ask(self._calls.kind(name), deadline)

    async def info(self, *, deadline: float | None = None) -> ServiceInfo:
        """What the service is, and what it lets callers ask."""
        return await self._ask(self._calls.info(), deadline)

    async def close(self) -> None:
        """Cancel what runs, and close the connection."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    def _connect(self, address: str, options: list[tuple[str, Any]]) -> Any:
        return grpc.aio.insecure_channel(address, options=options)

    async def _ask(self, asked: Call[T], deadline: float | None) -> T:
        due = self._due(asked, deadline)
        for pause in (*PAUSES, None):
            try:
                return asked.read(await self._begin(asked, due))
            except grpc.RpcError as error:
                if pause is None or not not_reached(error):
                    raise error_of_call(error, self.address) from None
                await asyncio.sleep(pause)
        raise AssertionError("the last attempt has returned or raised")


class AsyncEventStream(AsyncIterator[Progress | Result]):
    """Events of one call, which runs from the start on; leaving its `async with` cancels it."""

    def __init__(self, call: Any, asked: Call[Progress | Result], address: str):
        self._call, self._asked, self._address = call, asked, address
        self._messages, self._closed = call.__aiter__(), False
        weakref.finalize(self, call.cancel)  # whoever lets go of it wants no more

    async def __anext__(self) -> Progress | Result:
        try:
            return self._asked.read(await self._messages.__anext__())
        except grpc.RpcError as error:
            raise error_of_call(error, self._address) from None
        except asyncio.CancelledError:
            if self._closed:
                raise Cancelled("the stream was closed") from None
            self.close()  # the task that reads is cancelled, and the call with it
            raise
        except StopAsyncIteration:
            if self._closed:
                raise Cancelled("the stream was closed") from None
            raise

    def close(self) -> None:
        """Cancel the call, if it still runs."""
        self._closed = True
        self._call.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.close()


class AsyncSession:
    """One row of evidence under an energy that changes, over one stream; an async context manager
    closes it. Turns are taken one after the other, in the order in which they are awaited."""

    def __init__(
        self,
        stub: SessionServiceStub,
        address: str,
        who: Metadata,
        deadline: float | None,
        query: Query,
        limits: Limits,
    ):
        self._address, self._turns, self._lock = address, Turns(query, limits), asyncio.Lock()
        self._opened = False
        call: Any = stub.StreamSession
        self._call = call(timeout=deadline, metadata=who)
        weakref.finalize(self, self._call.cancel)  # whoever lets go of it ends the session

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the terms that stand."""
        return self._turns.terms

    @property
    def expire_time(self) -> datetime | None:
        """It ends then if nothing is asked before."""
        return self._turns.expire_time

    async def refresh(self) -> None:
        """Ask how it stands; its end is put off."""
        await self._send(self._turns.refresh() if self._opened else self._turns.opening)
        self._opened = True

    async def add(self, name: str, term: TermSpec | Mapping[str, Any]) -> None:
        """One more term, under a name to drop it by. Raises BadQuery."""
        await self._send(self._turns.add(name, term))

    async def drop(self, name: str) -> None:
        """Take a term out by its name. Raises BadQuery."""
        await self.change({"drop": [name]})

    async def given(self, evidence: Mapping[str, Any]) -> None:
        """Other evidence in place of all that was given before. Raises BadQuery."""
        await self.change({"evidence": evidence})

    async def change(self, change: AskedChange) -> None:
        """Several changes as one: all of them apply, or none. Raises BadQuery."""
        await self._send(self._turns.change(change))

    async def answer(
        self,
        *,
        seconds: float | None = None,
        steps: int | None = None,
        options: Options | Mapping[str, Any] | None = None,
        change: AskedChange | None = None,
    ) -> Answer:
        """The verified answer as things stand, as `Session.answer`."""
        request = self._turns.resolve(seconds, steps, options, change)
        return self._turns.answer(await self._send(request))

    async def close(self) -> None:
        """End it."""
        self._call.cancel()

    def __await__(self) -> Generator[Any, None, Self]:
        return self._open().__await__()

    async def __aenter__(self) -> Self:
        return await self._open()

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def _open(self) -> Self:
        try:
            if not self._opened:
                await self.refresh()
        except BaseException:  # what did not open holds no place among the open sessions
            self._call.cancel()
            raise
        return self

    async def _send(self, request: pb.StreamSessionRequest) -> pb.StreamSessionResponse:
        async with self._lock:  # one response for each request, in order
            try:
                await self._call.write(self._turns.number(request))
                response = await self._call.read()
            except grpc.RpcError as error:
                raise error_of_call(error, self._address) from None
            except asyncio.InvalidStateError:
                raise ended() from None
            if response is grpc.aio.EOF:
                raise ended()
            return self._turns.read(response)

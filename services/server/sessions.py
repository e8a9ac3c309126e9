"""Sessions as rpcs: one stream, or single calls that name the session.

What is asked of one session is done in order, in a thread, under the deadline of its call and its
own. A mistake costs its message, not the session.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from engine.answer import Answer
from engine.errors import BadQuery, BasinError, Cancelled, Mistake, OutOfTime, SessionNotFound
from services.query.change import Resolve
from services.reasoner.compile import Compiler
from services.reasoner.deadline import Stop
from services.reasoner.session import MARGIN, Talk
from services.reasoner.workers import Workers, presented
from services.remote.lifecycle import Patience
from services.rpc.tenant import tenant_of
from services.server.session_store import Seat, Sessions
from services.settings import Limits
from services.v1 import session_pb2 as pb
from services.wire.answer import answer_to_proto
from services.wire.query import query_from_proto
from services.wire.session import change_from_proto, fault_to_proto, resolve_from_proto


class Talking:
    """The rpcs of sessions."""

    def __init__(self, compiler: Compiler, workers: Workers, limits: Limits):
        self.compiler, self.workers, self.limits = compiler, workers, limits
        self.sessions = Sessions(limits)

    async def open(self, request: pb.OpenSessionRequest, context: Any) -> pb.OpenSessionResponse:
        """A new session, and the id to name it by."""
        tenant = tenant_of(context)
        self.sessions.enter(tenant)
        try:
            talk = await self.workers.run(lambda: self._opened(request), self.workers.stop(context))
        except BaseException:
            self.sessions.leave(tenant)
            raise
        return self._told(talk, self.sessions.seated(tenant, talk))

    async def change(self, request: pb.ChangeRequest, context: Any) -> pb.ChangeResponse:
        """Terms added and dropped, other evidence."""
        seat, stop = self._seat(request.session, context), self.workers.stop(context)

        def work() -> pb.ChangeResponse:
            with seat.busy:
                return self._changed(seat.talk, request.change)

        async with seat.turn:
            return await self.workers.run(work, stop)

    async def resolve(self, request: pb.ResolveRequest, context: Any) -> pb.ResolveResponse:
        """The answer as things stand."""
        seat, stop = self._seat(request.session, context), self.workers.stop(context)
        since = time.monotonic()

        def work() -> pb.ResolveResponse:
            with seat.busy:
                if request.HasField("change"):
                    self._changed(seat.talk, request.change)
                return self._resolved(seat.talk, request.resolve, stop, since)

        async with seat.turn:
            return await self.workers.run(work, stop)

    async def close(self, request: pb.CloseSessionRequest, context: Any) -> pb.CloseSessionResponse:
        """The end of a session."""
        self.sessions.close(tenant_of(context), request.session)
        return pb.CloseSessionResponse()

    async def stream(
        self, requests: AsyncIterator[pb.SessionRequest], context: Any
    ) -> AsyncIterator[pb.SessionResponse]:
        """A session that lasts as long as its stream; one response for each request."""
        tenant = tenant_of(context)
        self.sessions.enter(tenant)
        talks: list[Talk] = []  # none, or the one that was opened
        try:
            while (request := await self._next(requests)) is not None:
                stop = self.workers.stop(context)
                yield await self._turn(talks, request, stop)
        finally:
            self.sessions.leave(tenant)

    async def _next(self, requests: AsyncIterator[pb.SessionRequest]) -> pb.SessionRequest | None:
        idle = self.limits.idle_seconds
        try:
            async with asyncio.timeout(idle):
                return await anext(requests, None)
        except TimeoutError:
            raise SessionNotFound(f"nothing was asked for {idle:g} s: it has expired") from None

    async def _turn(
        self, talks: list[Talk], request: pb.SessionRequest, stop: Stop
    ) -> pb.SessionResponse:
        response = pb.SessionResponse(sequence=request.sequence)
        since = time.monotonic()

        def work() -> None:
            if request.HasField("open"):
                if talks:
                    raise BadQuery(Mistake("open", "the session is open", "change it instead"))
                talks.append(self._opened(request.open))
                response.opened.CopyFrom(self._told(talks[0], ""))
            if not talks:
                raise BadQuery(Mistake("open", "is missing", "send it in the first message"))
            if request.HasField("change"):
                response.changed.CopyFrom(self._changed(talks[0], request.change))
            if request.HasField("resolve"):
                answer = self._resolved(talks[0], request.resolve, stop, since)
                response.resolved.CopyFrom(answer)

        try:
            await self.workers.run(work, stop)
        except Cancelled:
            raise
        except BasinError as error:
            if type(error) is BasinError:  # a bug, which ends the call as anywhere else
                raise
            response.fault.CopyFrom(fault_to_proto(error, self.limits))
        return response

    def _seat(self, number: str, context: Any) -> Seat:
        return self.sessions.seat(tenant_of(context), number)

    def _opened(self, request: pb.OpenSessionRequest) -> Talk:
        return Talk(query_from_proto(request.query, self.limits), self.compiler)

    def _told(self, talk: Talk, number: str) -> pb.OpenSessionResponse:
        return pb.OpenSessionResponse(
            session=number, idle_seconds=self.limits.idle_seconds, terms=talk.terms
        )

    def _changed(self, talk: Talk, message: pb.Change) -> pb.ChangeResponse:
        talk.change(change_from_proto(message, self.limits))
        return pb.ChangeResponse(terms=talk.terms)

    def _resolved(
        self, talk: Talk, message: pb.Resolve, stop: Stop, since: float
    ) -> pb.ResolveResponse:
        resolve = resolve_from_proto(message, self.limits)
        if resolve.seconds is not None:
            resolve = _hurried(resolve, stop, since)
        answer = answer_to_proto(self._answer(talk, resolve, stop))
        return pb.ResolveResponse(answer=answer, terms=talk.terms)

    def _answer(self, talk: Talk, resolve: Resolve, stop: Stop) -> Answer:
        late = talk.patience(resolve, stop).judging
        patience = Patience(stop.gives_up, lambda: stop.cancelled or late(), lambda: stop.cancelled)
        return presented(talk.answer(resolve, stop, patience))


def _hurried(resolve: Resolve, stop: Stop, since: float) -> Resolve:
    """What is left of a tick's own deadline, after it waited for its turn."""
    assert resolve.seconds is not None
    left = resolve.seconds - (time.monotonic() - since)
    if left <= 0:
        raise OutOfTime("the deadline of the tick passed while it waited for its turn")
    stop.hurry(left, min(MARGIN, left / 2))
    return resolve.model_copy(update={"seconds": left})

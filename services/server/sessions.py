"""The service of sessions: one stream, or single calls that name the session.

What is asked of one session is done in order, in a thread, under the deadline of its call and its
own. A mistake costs its message, not the session.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

from engine.answer import Answer
from engine.errors import BadQuery, BasinError, Cancelled, Mistake, OutOfTime, SessionNotFound
from services.query.change import Resolve
from services.reasoner.deadline import Deadline
from services.reasoner.session import MARGIN, QuerySession
from services.reasoner.workers import Workers, present_answer
from services.remote.lifecycle import Patience
from services.rpc.status import to_status
from services.rpc.tenant import tenant_of
from services.server.request_cache import Reader
from services.server.session_store import SessionStore, StoredSession
from services.v1 import answer_pb2
from services.v1 import session_pb2 as pb
from services.v1 import session_pb2_grpc as rpc
from services.wire.answer import answer_to_proto
from services.wire.session import change_from_proto, resolve_from_proto, session_to_proto

SESSION_SERVICE = pb.DESCRIPTOR.services_by_name["SessionService"].full_name
T = TypeVar("T")


class SessionHandlers(rpc.SessionServiceServicer):
    """The rpcs of sessions."""

    def __init__(self, reader: Reader, workers: Workers):
        self.reader, self.workers, self.limits = reader, workers, reader.limits
        self.store = SessionStore(self.limits)

    async def CreateSession(
        self, request: pb.CreateSessionRequest, context: Any
    ) -> pb.CreateSessionResponse:
        """A new session, and the id to name it by."""
        tenant = tenant_of(context)
        self.store.enter(tenant)
        try:
            stop = self.workers.stop(context)
            talk = await self.workers.run(lambda: self._open(tenant, request), stop)
        except BaseException:
            self.store.leave(tenant)
            raise
        session = self.store.add(tenant, talk)
        return pb.CreateSessionResponse(session=self._describe(session))

    async def GetSession(
        self, request: pb.GetSessionRequest, context: Any
    ) -> pb.GetSessionResponse:
        """How a session stands."""
        session = self.store.find(tenant_of(context), request.id)
        async with session.turn:
            return pb.GetSessionResponse(session=self._describe(session))

    async def ChangeSession(
        self, request: pb.ChangeSessionRequest, context: Any
    ) -> pb.ChangeSessionResponse:
        """Terms added and dropped, other evidence."""
        session = self.store.find(tenant_of(context), request.id)
        stop = self.workers.stop(context)
        async with session.turn:
            await self._work(session, lambda: self._change(session.talk, request), stop)
            return pb.ChangeSessionResponse(session=self._describe(session))

    async def ResolveSession(
        self, request: pb.ResolveSessionRequest, context: Any
    ) -> pb.ResolveSessionResponse:
        """The answer as things stand."""
        session = self.store.find(tenant_of(context), request.id)
        stop, since = self.workers.stop(context), time.monotonic()

        def work() -> answer_pb2.Answer:
            if request.HasField("change"):
                self._change(session.talk, request)
            return self._resolve(session.talk, request.resolve, stop, since)

        async with session.turn:
            answer = await self._work(session, work, stop)
            return pb.ResolveSessionResponse(session=self._describe(session), answer=answer)

    async def CloseSession(
        self, request: pb.CloseSessionRequest, context: Any
    ) -> pb.CloseSessionResponse:
        """The end of a session."""
        session = self.store.close(tenant_of(context), request.id)
        return pb.CloseSessionResponse(session=session_to_proto(session.talk.terms, session.id))

    async def StreamSession(
        self, requests: AsyncIterator[pb.StreamSessionRequest], context: Any
    ) -> AsyncIterator[pb.StreamSessionResponse]:
        """A session that lasts as long as its stream; one response for each request."""
        tenant = tenant_of(context)
        self.store.enter(tenant)
        talks: list[QuerySession] = []  # none, or the one that was opened
        try:
            while (request := await self._next(requests)) is not None:
                stop = self.workers.stop(context)
                yield await self._turn(tenant, talks, request, stop)
        finally:
            self.store.leave(tenant)

    async def _next(
        self, requests: AsyncIterator[pb.StreamSessionRequest]
    ) -> pb.StreamSessionRequest | None:
        idle = self.limits.idle_seconds
        try:
            async with asyncio.timeout(idle):
                return await anext(requests, None)
        except TimeoutError:
            raise SessionNotFound(f"nothing was asked for {idle:g} s: it has expired") from None

    async def _turn(
        self,
        tenant: str,
        talks: list[QuerySession],
        request: pb.StreamSessionRequest,
        stop: Deadline,
    ) -> pb.StreamSessionResponse:
        response = pb.StreamSessionResponse(sequence=request.sequence)
        since = time.monotonic()

        def work() -> None:
            if request.HasField("query"):
                if talks:
                    raise BadQuery(Mistake("query", "the session is open", "change it instead"))
                talks.append(self._open(tenant, request))
            if not talks:
                raise BadQuery(Mistake("query", "is missing", "send it in the first message"))
            if request.HasField("change"):
                self._change(talks[0], request)
            if request.HasField("resolve"):
                answer = self._resolve(talks[0], request.resolve, stop, since)
                response.answer.CopyFrom(answer)

        try:
            await self.workers.run(work, stop)
        except Cancelled:
            raise
        except BasinError as error:
            if type(error) is BasinError:  # a bug, which ends the call as anywhere else
                raise
            response.error.CopyFrom(to_status(error, limits=self.limits))
        for talk in talks:
            standing = session_to_proto(talk.terms, expiry=self.store.expiry())
            response.session.CopyFrom(standing)
        return response

    async def _work(self, session: StoredSession, work: Callable[[], T], stop: Deadline) -> T:
        """What `work` makes in a thread, when no call that was left computes there any more."""

        def alone() -> T:
            with session.busy:
                return work()

        return await self.workers.run(alone, stop)

    def _describe(self, session: StoredSession) -> pb.Session:
        """How it stands; its time to expire begins anew."""
        return session_to_proto(session.talk.terms, session.id, self.store.renew(session))

    def _open(
        self, tenant: str, request: pb.CreateSessionRequest | pb.StreamSessionRequest
    ) -> QuerySession:
        query, problem = self.reader.read(tenant, request.query, request.raw_contents)
        return QuerySession(query, self.reader.compiler, problem)

    def _change(
        self,
        talk: QuerySession,
        request: pb.ChangeSessionRequest | pb.ResolveSessionRequest | pb.StreamSessionRequest,
    ) -> None:
        talk.change(change_from_proto(request.change, request.raw_contents, self.limits))

    def _resolve(
        self, talk: QuerySession, message: pb.Resolve, stop: Deadline, since: float
    ) -> answer_pb2.Answer:
        resolve = resolve_from_proto(message, self.limits)
        if resolve.seconds is not None:
            resolve = _hurry(resolve, stop, since)
        return answer_to_proto(self._answer(talk, resolve, stop))

    def _answer(self, talk: QuerySession, resolve: Resolve, stop: Deadline) -> Answer:
        late = talk.patience(resolve, stop).judging
        patience = Patience(stop.gives_up, lambda: stop.cancelled or late(), lambda: stop.cancelled)
        return present_answer(talk.answer(resolve, stop, patience))


def _hurry(resolve: Resolve, stop: Deadline, since: float) -> Resolve:
    """What is left of a tick's own deadline, after it waited for its turn."""
    assert resolve.seconds is not None
    left = resolve.seconds - (time.monotonic() - since)
    if left <= 0:
        raise OutOfTime("the deadline of the tick passed while it waited for its turn")
    stop.hurry(left, min(MARGIN, left / 2))
    return resolve.model_copy(update={"seconds": left})

"""A session with a service: the same calls, answers and exceptions as `engine.session.Session`.

Terms are named by their kinds, as in a query. It is one stream, so that a question costs one
exchange, or single calls where a proxy lets no stream through.
"""

import queue
import weakref
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol, Self

import grpc

from engine.answer import Answer
from services.client.calls import Metadata
from services.client.turns import AskedChange, Turns, ended
from services.query import Options, Query, TermSpec
from services.rpc.status import error_of_call
from services.settings import Limits
from services.v1 import session_pb2 as pb
from services.v1.session_pb2_grpc import SessionServiceStub

GRACE = 5.0  # seconds that an answer may come after its tick's deadline before it is given up


class SessionCall(Protocol):
    """How a session's messages reach the service, one response for each."""

    def send(self, request: pb.StreamSessionRequest) -> pb.StreamSessionResponse: ...
    def close(self) -> None: ...
    def abandon(self) -> None: ...


class Session:
    """One row of evidence under an energy that changes; a context manager closes it.

    After a mistake it goes on as if what failed had not been asked. One thread at a time.
    """

    def __init__(self, call: SessionCall, query: Query, limits: Limits):
        self._call, self._turns = call, Turns(query, limits)
        try:
            self._send(self._turns.opening)
        except BaseException:  # what did not open leaves nothing behind
            call.abandon()
            raise

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the terms that stand."""
        return self._turns.terms

    @property
    def expire_time(self) -> datetime | None:
        """It ends then if nothing is asked before."""
        return self._turns.expire_time

    def refresh(self) -> None:
        """Ask how it stands, for `terms` and `expire_time`; its end is put off."""
        self._send(self._turns.refresh())

    def add(self, name: str, term: TermSpec | Mapping[str, Any]) -> None:
        """One more term, under a name to drop it by. Raises BadQuery."""
        self._send(self._turns.add(name, term))

    def drop(self, name: str) -> None:
        """Take a term out by its name. Raises BadQuery."""
        self.change({"drop": [name]})

    def given(self, evidence: Mapping[str, Any]) -> None:
        """Other evidence in place of all that was given before. Raises BadQuery."""
        self.change({"evidence": evidence})

    def change(self, change: AskedChange) -> None:
        """Several changes as one: all of them apply, or none. Raises BadQuery."""
        self._send(self._turns.change(change))

    def answer(
        self,
        *,
        seconds: float | None = None,
        steps: int | None = None,
        options: Options | Mapping[str, Any] | None = None,
        change: AskedChange | None = None,
    ) -> Answer:
        """The verified answer as things stand, from where the last one stood.

        seconds: the deadline of this tick; the best so far comes back before it. change: applied
        first, in the same exchange; it stands even if the answer fails.
        """
        return self._turns.answer(self._send(self._turns.resolve(seconds, steps, options, change)))

    def close(self) -> None:
        """End it."""
        self._call.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _send(self, request: pb.StreamSessionRequest) -> pb.StreamSessionResponse:
        return self._turns.read(self._call.send(self._turns.number(request)))


class StreamCall:
    """One bidirectional stream."""

    def __init__(
        self, stub: SessionServiceStub, address: str, who: Metadata, deadline: float | None
    ):
        self._requests: queue.SimpleQueue[pb.StreamSessionRequest | None] = queue.SimpleQueue()
        self._address = address
        requests = iter(self._requests.get, None)
        self._call = stub.StreamSession(requests, timeout=deadline, metadata=who)
        self._end = weakref.finalize(self, _leave, self._requests, self._call)

    def send(self, request: pb.StreamSessionRequest) -> pb.StreamSessionResponse:
        """The response to a request. Raises what ended the stream."""
        self._requests.put(request)
        try:
            return next(self._call)
        except grpc.RpcError as error:
            raise error_of_call(error, self._address) from None
        except StopIteration:
            raise ended() from None

    def close(self) -> None:
        """Let the stream end."""
        self._end()

    def abandon(self) -> None:
        """Let go of a session that did not open."""
        self._end()


def _leave(requests: "queue.SimpleQueue[pb.StreamSessionRequest | None]", call: Any) -> None:
    """End the thread that sends requests, and the call."""
    requests.put(None)
    call.cancel()


class UnaryCalls:
    """Single calls that name the session."""

    def __init__(
        self, stub: SessionServiceStub, address: str, who: Metadata, deadline: float | None
    ):
        self._stub, self._address, self._deadline = stub, address, deadline
        self._who = who
        self._id = ""

    def send(self, request: pb.StreamSessionRequest) -> pb.StreamSessionResponse:
        """The response to a request, by the call that fits. Raises what the call fails with."""
        tick = request.resolve.seconds
        limit = tick + GRACE if tick else self._deadline
        change = request.change if request.HasField("change") else None
        how: dict[str, Any] = {"timeout": limit, "metadata": self._who}
        try:
            if request.HasField("query"):
                create = pb.CreateSessionRequest(
                    query=request.query, raw_contents=request.raw_contents
                )
                session = self._stub.CreateSession(create, **how).session
                self._id = session.id
                return pb.StreamSessionResponse(session=session)
            if request.HasField("resolve"):
                resolve = pb.ResolveSessionRequest(
                    id=self._id,
                    change=change,
                    resolve=request.resolve,
                    raw_contents=request.raw_contents,
                )
                made = self._stub.ResolveSession(resolve, **how)
                return pb.StreamSessionResponse(session=made.session, answer=made.answer)
            if change is not None:
                asked = pb.ChangeSessionRequest(
                    id=self._id, change=change, raw_contents=request.raw_contents
                )
                session = self._stub.ChangeSession(asked, **how).session
            else:
                session = self._stub.GetSession(pb.GetSessionRequest(id=self._id), **how).session
            return pb.StreamSessionResponse(session=session)
        except grpc.RpcError as error:
            raise error_of_call(error, self._address) from None

    def abandon(self) -> None:
        """Let go of a session that did not open: no other call knows of it."""

    def close(self) -> None:
        """End the session, if it has not ended by itself."""
        try:
            self._stub.CloseSession(
                pb.CloseSessionRequest(id=self._id), timeout=GRACE, metadata=self._who
            )
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise error_of_call(error, self._address) from None

"""A session with a service: the same calls, answers and exceptions as `engine.session.Session`.

Terms are named by their kinds, as in a query. It is one stream, so that a question costs one
exchange, or single calls where a proxy lets no stream through.
"""

import queue
from collections.abc import Mapping
from typing import Any, Protocol, Self

import grpc

from engine.answer import Answer
from engine.errors import SessionNotFound
from services.query import Options, Query, TermSpec, spec_of
from services.query.change import Change, Resolve
from services.rpc.status import error_of_call
from services.settings import Limits
from services.v1 import session_pb2 as pb
from services.v1.reasoner_pb2_grpc import ReasonerServiceStub
from services.wire.answer import answer_from_proto
from services.wire.query import query_to_proto
from services.wire.session import change_to_proto, fault_from_proto, resolve_to_proto

GRACE = 5.0  # seconds that an answer may come after its tick's deadline before it is given up

Metadata = tuple[tuple[str, str], ...]


class Line(Protocol):
    """How a session's messages reach the service, one response for each."""

    def send(self, request: pb.SessionRequest) -> pb.SessionResponse: ...
    def close(self) -> None: ...


class Session:
    """One row of evidence under an energy that changes; a context manager closes it.

    After a mistake it goes on as if what failed had not been asked. One thread at a time.
    """

    def __init__(self, line: Line, query: Query, limits: Limits):
        self._line, self._limits = line, limits
        opening = pb.OpenSessionRequest(query=query_to_proto(query))
        opened = self._send(pb.SessionRequest(open=opening)).opened
        self.idle_seconds = opened.idle_seconds  # it ends when nothing is asked for so long
        self.terms: tuple[str, ...] = tuple(opened.terms)  # names of the terms that stand

    def add(self, name: str, term: TermSpec | Mapping[str, Any]) -> None:
        """One more term, under a name to drop it by. Raises BadQuery."""
        data = term.model_dump(exclude_none=True) if isinstance(term, TermSpec) else dict(term)
        self.change({"add": [data | {"name": name}]})

    def drop(self, name: str) -> None:
        """Take a term out by its name. Raises BadQuery."""
        self.change({"drop": [name]})

    def given(self, evidence: Mapping[str, Any]) -> None:
        """Other evidence in place of all that was given before. Raises BadQuery."""
        self.change({"evidence": evidence})

    def change(self, change: Change | Mapping[str, Any]) -> None:
        """Several changes as one: all of them apply, or none. Raises BadQuery."""
        asked = spec_of(Change, change, self._limits)
        changed = self._send(pb.SessionRequest(change=change_to_proto(asked))).changed
        self.terms = tuple(changed.terms)

    def answer(
        self,
        *,
        seconds: float | None = None,
        steps: int | None = None,
        options: Options | Mapping[str, Any] | None = None,
        change: Change | Mapping[str, Any] | None = None,
    ) -> Answer:
        """The verified answer as things stand, from where the last one stood.

        seconds: the deadline of this tick; the best so far comes back before it. change: applied
        first, in the same exchange; it stands even if the answer fails.
        """
        wishes = {"seconds": seconds, "steps": steps, "options": options or Options()}
        asked = spec_of(Resolve, wishes, self._limits)
        request = pb.SessionRequest(resolve=resolve_to_proto(asked))
        if change is not None:
            made = spec_of(Change, change, self._limits)
            request.change.CopyFrom(change_to_proto(made))
        resolved = self._send(request).resolved
        self.terms = tuple(resolved.terms)
        return answer_from_proto(resolved.answer, self._limits)

    def close(self) -> None:
        """End it."""
        self._line.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _send(self, request: pb.SessionRequest) -> pb.SessionResponse:
        response = self._line.send(request)
        if response.HasField("fault"):
            raise fault_from_proto(response.fault)
        return response


class StreamLine:
    """One bidirectional stream."""

    def __init__(
        self, stub: ReasonerServiceStub, address: str, who: Metadata, deadline: float | None
    ):
        self._requests: queue.SimpleQueue[pb.SessionRequest | None] = queue.SimpleQueue()
        self._address, self._sequence = address, 0
        self._call = stub.Session(iter(self._requests.get, None), timeout=deadline, metadata=who)

    def send(self, request: pb.SessionRequest) -> pb.SessionResponse:
        """The response to a request. Raises what ended the stream."""
        self._sequence += 1
        request.sequence = self._sequence
        self._requests.put(request)
        try:
            return next(self._call)
        except grpc.RpcError as error:
            raise error_of_call(error, self._address) from None
        except StopIteration:
            raise SessionNotFound("the session has ended") from None

    def close(self) -> None:
        """Let the stream end."""
        self._requests.put(None)
        self._call.cancel()


class CallLine:
    """Single calls that name the session."""

    def __init__(
        self, stub: ReasonerServiceStub, address: str, who: Metadata, deadline: float | None
    ):
        self._stub, self._address, self._deadline = stub, address, deadline
        self._who = who
        self._session = ""

    def send(self, request: pb.SessionRequest) -> pb.SessionResponse:
        """The response to a request, by the call that fits. Raises what the call fails with."""
        response = pb.SessionResponse()
        tick = request.resolve.seconds
        limit = tick + GRACE if tick else self._deadline
        try:
            if request.HasField("open"):
                opened = self._stub.OpenSession(request.open, timeout=limit, metadata=self._who)
                self._session = opened.session
                response.opened.CopyFrom(opened)
            elif request.HasField("resolve"):
                asked = pb.ResolveRequest(session=self._session, resolve=request.resolve)
                if request.HasField("change"):
                    asked.change.CopyFrom(request.change)
                resolved = self._stub.Resolve(asked, timeout=limit, metadata=self._who)
                response.resolved.CopyFrom(resolved)
            else:
                made = pb.ChangeRequest(session=self._session, change=request.change)
                changed = self._stub.Change(made, timeout=limit, metadata=self._who)
                response.changed.CopyFrom(changed)
        except grpc.RpcError as error:
            raise error_of_call(error, self._address) from None
        return response

    def close(self) -> None:
        """End the session, if it has not ended by itself."""
        try:
            asked = pb.CloseSessionRequest(session=self._session)
            self._stub.CloseSession(asked, timeout=GRACE, metadata=self._who)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise error_of_call(error, self._address) from None

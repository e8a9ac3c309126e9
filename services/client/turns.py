"""What a session sends at each turn, and what it learns from the response: for both clients."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from engine.answer import Answer
from engine.errors import SessionNotFound
from services.query import Options, Query, TermSpec, spec_of
from services.query.change import Change, Resolve
from services.rpc.status import from_status
from services.settings import Limits
from services.v1 import session_pb2 as pb
from services.wire.answer import answer_from_proto
from services.wire.query import query_to_proto
from services.wire.session import change_to_proto, expiry_of, resolve_to_proto

AskedChange = Change | Mapping[str, Any]


class Turns:
    """The messages of one session, in turn; `terms` and `expire_time` as the service told last."""

    def __init__(self, query: Query, limits: Limits):
        self.limits = limits
        raw: list[bytes] = []
        message = query_to_proto(query, raw)
        self.opening = pb.StreamSessionRequest(query=message, raw_contents=raw)
        self.terms: tuple[str, ...] = ()  # names of the terms that stand
        self.expire_time: datetime | None = None  # it ends then if nothing is asked before
        self._sequence = 0

    def refresh(self) -> pb.StreamSessionRequest:
        """Asks how it stands."""
        return pb.StreamSessionRequest()

    def change(self, change: AskedChange) -> pb.StreamSessionRequest:
        """Several changes as one. Raises BadQuery."""
        raw: list[bytes] = []
        message = change_to_proto(spec_of(Change, change, self.limits), raw)
        return pb.StreamSessionRequest(change=message, raw_contents=raw)

    def add(self, name: str, term: TermSpec | Mapping[str, Any]) -> pb.StreamSessionRequest:
        """One more term, under a name. Raises BadQuery."""
        data: Any = term.model_dump(exclude_none=True) if isinstance(term, TermSpec) else term
        named = {**data, "name": name} if isinstance(data, Mapping) else data
        return self.change({"add": [named]})

    def resolve(
        self,
        seconds: float | None,
        steps: int | None,
        options: Options | Mapping[str, Any] | None,
        change: AskedChange | None,
    ) -> pb.StreamSessionRequest:
        """Asks for an answer, after a change where one is given. Raises BadQuery."""
        wishes = {
            "seconds": seconds,
            "steps": steps,
            "options": Options() if options is None else options,
        }
        asked = spec_of(Resolve, wishes, self.limits)
        request = pb.StreamSessionRequest() if change is None else self.change(change)
        request.resolve.CopyFrom(resolve_to_proto(asked))
        return request

    def number(self, request: pb.StreamSessionRequest) -> pb.StreamSessionRequest:
        """The same request with its place in the stream."""
        self._sequence += 1
        request.sequence = self._sequence
        return request

    def read(self, response: pb.StreamSessionResponse) -> pb.StreamSessionResponse:
        """The same response, once what it tells of the session is known. Raises its error."""
        if response.HasField("session"):
            self.terms = tuple(response.session.terms)
            self.expire_time = expiry_of(response.session)
        if response.HasField("error"):
            raise from_status(response.error)
        return response

    def answer(self, response: pb.StreamSessionResponse) -> Answer:
        """The answer of a response."""
        return answer_from_proto(response.answer, self.limits)


def ended() -> SessionNotFound:
    """What a stream that says no more means."""
    return SessionNotFound("the session has ended")

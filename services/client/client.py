"""A reasoner's service as an object: the same queries, answers and exceptions as in process."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self, TypeVar

import grpc

from engine.answer import Answer
from engine.errors import BadQuery, Mistake
from engine.sampling.samples import Samples
from services.client.session import CallLine, Metadata, Session, StreamLine
from services.query import Options, Query, options_of, query_of
from services.query.kind import KindDescription
from services.query.sampling import sampling_of
from services.rpc.channel import calling
from services.rpc.status import error_of_call
from services.rpc.tenant import TENANT_KEY, checked
from services.settings import DEFAULT, Limits
from services.v1 import reasoner_pb2 as pb
from services.v1.reasoner_pb2_grpc import ReasonerServiceStub
from services.v1.session_pb2_grpc import SessionServiceStub
from services.wire.answer import answer_from_proto
from services.wire.events import Progress, Result, event_from_proto
from services.wire.info import ServiceInfo, info_from_proto
from services.wire.kinds import kind_from_proto
from services.wire.query import options_to_proto, query_to_proto
from services.wire.samples import samples_from_proto, sampling_to_proto

Asked = Query | Mapping[str, Any]
Wished = Options | Mapping[str, Any] | None

Answers = pb.SolveResponse | pb.ScoreResponse | pb.ExplainResponse

T = TypeVar("T")


class Client:
    """Asks a service. `deadline` is in seconds, of each call that sets none of its own (None: it
    waits for ever); the search ends a little before it, with the best answers so far. `tenant`: who
    asks; nothing is shared between tenants. May be used by several threads; a context manager
    closes it."""

    def __init__(
        self,
        address: str,
        limits: Limits = DEFAULT,
        *,
        tenant: str = "",
        deadline: float | None = None,
    ):
        self.address, self.limits, self.deadline = address, limits, deadline
        self._who: Metadata = ((TENANT_KEY, checked(tenant)),) if tenant else ()
        self._channel = grpc.insecure_channel(address, options=calling(limits))
        self._stub = ReasonerServiceStub(self._channel)
        self._sessions = SessionServiceStub(self._channel)

    def solve(
        self, query: Asked, options: Wished = None, *, deadline: float | None = None
    ) -> list[Answer]:
        """One answer for each row; with `score` or `explain` by the rpc of that name. Raises what
        the reasoner raises, or Unavailable."""
        asked, wished = self._query(query), self._options(options)
        if wished.score:
            return self._answers(self._stub.Score, pb.ScoreRequest(query=asked), deadline)
        beside = options_to_proto(wished)
        if wished.explain:
            why = pb.ExplainRequest(query=asked, options=beside, differ=wished.differ)
            return self._answers(self._stub.Explain, why, deadline)
        request = pb.SolveRequest(query=asked, options=beside)
        return self._answers(self._stub.Solve, request, deadline)

    def stream(
        self,
        query: Asked,
        options: Wished = None,
        *,
        interval: float = 0.0,
        partial_values: bool = False,
        deadline: float | None = None,
    ) -> Iterator[Progress | Result]:
        """Progress while it searches, then each row's result; leaving the loop cancels it. Raises
        BadQuery for `score` and `explain`, which no stream answers."""
        wished = self._options(options)
        _check_streamed(wished)
        request = pb.SolveStreamRequest(
            query=self._query(query),
            options=options_to_proto(wished),
            interval=interval,
            partial_values=partial_values,
        )
        call = self._stub.SolveStream(request, timeout=self._timely(deadline), metadata=self._who)
        try:
            for message in call:
                yield event_from_proto(message, self.limits)
        except grpc.RpcError as error:
            raise error_of_call(error, self.address) from None
        finally:
            call.cancel()

    def score(self, query: Asked, *, deadline: float | None = None) -> list[Answer]:
        """Energy, findings and bound of the values in the evidence, without a search."""
        return self.solve(query, {"score": True}, deadline=deadline)

    def explain(
        self, query: Asked, differ: Sequence[str] = (), *, deadline: float | None = None
    ) -> list[Answer]:
        """Why: the minimal conflict and smallest repair of a row without an answer; of any other
        the runner-up, which differs in a site of each variable named, else in any."""
        return self.solve(query, {"explain": True, "differ": tuple(differ)}, deadline=deadline)

    def sample(
        self,
        query: Asked,
        count: int,
        temperature: float = 1.0,
        *,
        deadline: float | None = None,
    ) -> list[Samples]:
        """Draws from the Boltzmann distribution of each row; see `engine.sampling.draw.samples`."""
        wishes = sampling_of({"count": count, "temperature": temperature}, self.limits)
        request = sampling_to_proto(wishes)
        request.query.CopyFrom(self._query(query))
        response = self._ask(self._stub.Sample, request, deadline)
        return [samples_from_proto(row, self.limits) for row in response.rows]

    def session(
        self, query: Asked, *, stream: bool = True, deadline: float | None = None
    ) -> Session:
        """A query to be changed and asked again; `stream=False` where a proxy lets none through.

        deadline: of the whole stream (None: as long as it is used), or of each single call. Raises
        what the reasoner raises.
        """
        asked = query if isinstance(query, Query) else self._checked(query)
        if stream:
            made = StreamLine(self._sessions, self.address, self._who, deadline)
            return Session(made, asked, self.limits)
        calls = CallLine(self._sessions, self.address, self._who, self._timely(deadline))
        return Session(calls, asked, self.limits)

    def kinds(self, *, page_size: int = 0, deadline: float | None = None) -> list[KindDescription]:
        """Every kind of term the service knows, by name; one call a page (page_size 0: of the
        service's own size), each with its deadline."""
        kinds: list[KindDescription] = []
        request = pb.ListKindsRequest(page_size=page_size)
        while True:
            response = self._ask(self._stub.ListKinds, request, deadline)
            kinds += map(kind_from_proto, response.kinds)
            request.page_token = response.next_page_token
            if not request.page_token:
                return kinds

    def kind(self, name: str, *, deadline: float | None = None) -> KindDescription:
        """One kind. Raises UnknownKind."""
        request = pb.DescribeKindRequest(kind=name)
        response = self._ask(self._stub.DescribeKind, request, deadline)
        return kind_from_proto(response.kind)

    def info(self, *, deadline: float | None = None) -> ServiceInfo:
        """What the service is, and what it lets callers ask: version, limits, minimizers."""
        request = pb.GetServiceInfoRequest()
        return info_from_proto(self._ask(self._stub.GetServiceInfo, request, deadline).info)

    def close(self) -> None:
        """Cancel what runs, and close the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _ask(self, call: Callable[..., T], request: Any, deadline: float | None) -> T:
        try:
            return call(request, timeout=self._timely(deadline), metadata=self._who)
        except grpc.RpcError as error:
            raise error_of_call(error, self.address) from None

    def _answers(
        self, call: Callable[..., Answers], request: Any, deadline: float | None
    ) -> list[Answer]:
        response = self._ask(call, request, deadline)
        return [answer_from_proto(answer, self.limits) for answer in response.answers]

    def _timely(self, deadline: float | None) -> float | None:
        return self.deadline if deadline is None else deadline

    def _query(self, query: Asked) -> Any:
        return query_to_proto(query if isinstance(query, Query) else self._checked(query))

    def _checked(self, data: Mapping[str, Any]) -> Query:
        """Mistakes are told here already, without a call."""
        return query_of(data, self.limits)

    def _options(self, options: Wished) -> Options:
        return options if isinstance(options, Options) else options_of(options or {}, self.limits)


def _check_streamed(options: Options) -> None:
    """Raises BadQuery for what has an rpc of its own."""
    own = [name for name in ("score", "explain") if getattr(options, name)]
    if own:
        raise BadQuery(
            *(Mistake(f"options.{n}", "is not streamed", "call `solve` with it") for n in own)
        )

"""A reasoner's service as an object: the same queries, answers and exceptions as in process."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self, TypeVar

import grpc

from engine.answer import Answer
from engine.sampling.samples import Samples
from services.client.session import CallLine, Metadata, Session, StreamLine
from services.query import Options, Query, options_of, query_of
from services.query.sampling import sampling_of
from services.rpc.channel import calling
from services.rpc.status import error_of_call
from services.rpc.tenant import TENANT_KEY, checked
from services.settings import DEFAULT, Limits
from services.v1 import reasoner_pb2 as pb
from services.v1 import reasoner_pb2_grpc as rpc
from services.wire.answer import answer_from_proto
from services.wire.events import Progress, Result, event_from_proto
from services.wire.kinds import Kind, kind_from_proto
from services.wire.query import options_to_proto, query_to_proto
from services.wire.samples import samples_from_proto, sampling_to_proto

Asked = Query | Mapping[str, Any]
Wished = Options | Mapping[str, Any] | None

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
        self._stub = rpc.ReasonerServiceStub(self._channel)

    def solve(
        self, query: Asked, options: Wished = None, *, deadline: float | None = None
    ) -> list[Answer]:
        """One answer for each row. Raises what the reasoner raises, or Unavailable."""
        request = pb.SolveRequest(query=self._query(query), options=self._options(options))
        response = self._ask(self._stub.Solve, request, deadline)
        return [answer_from_proto(answer, self.limits) for answer in response.answers]

    def stream(
        self,
        query: Asked,
        options: Wished = None,
        *,
        interval: float = 0.0,
        partial_values: bool = False,
        deadline: float | None = None,
    ) -> Iterator[Progress | Result]:
        """Progress while it searches, then each row's result; leaving the loop cancels it."""
        request = pb.SolveStreamRequest(
            query=self._query(query),
            options=self._options(options),
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
        request = pb.ScoreRequest(query=self._query(query))
        response = self._ask(self._stub.Score, request, deadline)
        return [answer_from_proto(answer, self.limits) for answer in response.answers]

    def explain(
        self, query: Asked, differ: Sequence[str] = (), *, deadline: float | None = None
    ) -> list[Answer]:
        """Why: the minimal conflict and smallest repair of a row without an answer; of any other
        the runner-up, which differs in a site of each variable named, else in any."""
        options = options_of({"differ": tuple(differ)}, self.limits)
        request = pb.ExplainRequest(query=self._query(query), differ=options.differ)
        response = self._ask(self._stub.Explain, request, deadline)
        return [answer_from_proto(answer, self.limits) for answer in response.answers]

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
            made = StreamLine(self._stub, self.address, self._who, deadline)
            return Session(made, asked, self.limits)
        calls = CallLine(self._stub, self.address, self._who, self._timely(deadline))
        return Session(calls, asked, self.limits)

    def kinds(self, *, deadline: float | None = None) -> list[Kind]:
        """Every kind of term the service knows."""
        request = pb.ListKindsRequest()
        response = self._ask(self._stub.ListKinds, request, deadline)
        return [kind_from_proto(kind) for kind in response.kinds]

    def kind(self, name: str, *, deadline: float | None = None) -> Kind:
        """One kind. Raises UnknownKind."""
        request = pb.DescribeKindRequest(kind=name)
        response = self._ask(self._stub.DescribeKind, request, deadline)
        return kind_from_proto(response.kind)

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

    def _timely(self, deadline: float | None) -> float | None:
        return self.deadline if deadline is None else deadline

    def _query(self, query: Asked) -> Any:
        return query_to_proto(query if isinstance(query, Query) else self._checked(query))

    def _checked(self, data: Mapping[str, Any]) -> Query:
        """Mistakes are told here already, without a call."""
        return query_of(data, self.limits)

    def _options(self, options: Wished) -> Any:
        if not isinstance(options, Options):
            options = options_of(options or {}, self.limits)
        return options_to_proto(options)

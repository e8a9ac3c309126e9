"""A reasoner's service as an object: the same queries, answers and exceptions as in process."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self, TypeVar

import grpc

from engine.answer import Answer
from services.faults import error_of_call
from services.limits import DEFAULT, Limits
from services.query import Options, Query, options_of, query_of
from services.serving import options_of as channel_options
from services.v1 import reasoner_pb2 as pb
from services.v1 import reasoner_pb2_grpc as rpc
from services.wire import (
    Kind,
    Progress,
    Result,
    answer_from_proto,
    event_from_proto,
    kind_from_proto,
    options_to_proto,
    query_to_proto,
)

Asked = Query | Mapping[str, Any]
Wished = Options | Mapping[str, Any] | None

T = TypeVar("T")


class Client:
    """Asks a service. `deadline` is in seconds; the search ends a little before it, with the best
    answers so far. May be used by several threads; a context manager closes it."""

    def __init__(self, address: str, limits: Limits = DEFAULT):
        self.address, self.limits = address, limits
        self._channel = grpc.insecure_channel(
            address, options=[*channel_options(limits), ("grpc.enable_http_proxy", 0)]
        )
        self._stub = rpc.ReasonerServiceStub(self._channel)

    def solve(
        self, query: Asked, options: Wished = None, *, deadline: float | None = None
    ) -> list[Answer]:
        """One answer for each row. Raises what the reasoner raises, or Unavailable."""
        request = pb.SolveRequest(query=self._query(query), options=self._options(options))
        response = self._ask(lambda: self._stub.Solve(request, timeout=deadline))
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
        call = self._stub.SolveStream(request, timeout=deadline)
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
        response = self._ask(lambda: self._stub.Score(request, timeout=deadline))
        return [answer_from_proto(answer, self.limits) for answer in response.answers]

    def kinds(self, *, deadline: float | None = None) -> list[Kind]:
        """Every kind of term the service knows."""
        request = pb.ListKindsRequest()
        response = self._ask(lambda: self._stub.ListKinds(request, timeout=deadline))
        return [kind_from_proto(kind) for kind in response.kinds]

    def kind(self, name: str, *, deadline: float | None = None) -> Kind:
        """One kind. Raises UnknownKind."""
        request = pb.DescribeKindRequest(kind=name)
        response = self._ask(lambda: self._stub.DescribeKind(request, timeout=deadline))
        return kind_from_proto(response.kind)

    def close(self) -> None:
        """Cancel what runs, and close the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _ask(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except grpc.RpcError as error:
            raise error_of_call(error, self.address) from None

    def _query(self, query: Asked) -> Any:
        return query_to_proto(query if isinstance(query, Query) else self._checked(query))

    def _checked(self, data: Mapping[str, Any]) -> Query:
        """Mistakes are told here already, without a call."""
        return query_of(data, self.limits)

    def _options(self, options: Wished) -> Any:
        if not isinstance(options, Options):
            options = options_of(options or {}, self.limits)
        return options_to_proto(options)

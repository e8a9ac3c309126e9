"""A reasoner's service as an object: the same queries, answers and exceptions as in process."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Self, TypeVar

import grpc

from engine.answer import Answer
from engine.explain.change import SmallestChange
from engine.sampling.marginals import Marginals
from engine.sampling.samples import Samples
from services.client.arguments import Talking, check_deadline
from services.client.calls import (
    PAUSES,
    AskedOptions,
    AskedQuery,
    Call,
    differing,
)
from services.client.connection import Connection
from services.client.session import Session, StreamCall, UnaryCalls
from services.client.stream import EventStream
from services.query import spec_of
from services.query.kind import KindDescription
from services.rpc.status import error_of_call, not_reached
from services.wire.info import ServiceInfo

T = TypeVar("T")


class Client(Connection):
    """Asks a service; `AsyncClient` is its twin for asyncio.

    `deadline` is in seconds, of each call that sets none of its own (None: ten minutes, or the
    budget of its query and one more); the search ends a little before it, with the best answers so
    far. A call that cannot reach the service is tried again a few times, within a second. `tenant`:
    who asks; nothing is shared between tenants. May be used by several threads; a context manager
    closes it.
    """

    def solve(
        self, query: AskedQuery, options: AskedOptions = None, *, deadline: float | None = None
    ) -> list[Answer]:
        """One answer for each row. Raises what the reasoner raises, or Unavailable."""
        return self._ask(self._calls.solve(query, options), deadline)

    def stream(
        self,
        query: AskedQuery,
        options: AskedOptions = None,
        *,
        interval: float = 0.0,
        partial_values: bool = False,
        deadline: float | None = None,
    ) -> EventStream:
        """Progress while it searches, then each row's result; sent at once, and cancelled when it
        is left. Raises BadQuery for `score` and `explain`, which no stream answers."""
        asked = self._calls.stream(query, options, interval, partial_values)
        return EventStream(self._begin(asked, self._due(asked, deadline)), asked, self.address)

    def score(self, query: AskedQuery, *, deadline: float | None = None) -> list[Answer]:
        """Energy, findings and bound of the values in the evidence, without a search."""
        return self.solve(query, {"score": True}, deadline=deadline)

    def explain(
        self, query: AskedQuery, differ: Sequence[str] = (), *, deadline: float | None = None
    ) -> list[Answer]:
        """Why: the minimal conflict and smallest repair of a row without an answer; of any other
        the runner-up, which differs in a site of each variable named, else in any."""
        return self.solve(query, differing(differ), deadline=deadline)

    def sample(
        self,
        query: AskedQuery,
        count: int,
        temperature: float = 1.0,
        *,
        deadline: float | None = None,
    ) -> list[Samples]:
        """Draws from the Boltzmann distribution of each row; see `engine.sampling.draw.samples`."""
        return self._ask(self._calls.sample(query, count, temperature), deadline)

    def marginals(self, query: AskedQuery, *, deadline: float | None = None) -> list[Marginals]:
        """For each row what each term that offers chances (`Term.marginals`) says of the open
        sites, by itself; hosted terms offer none. Raises what the reasoner raises."""
        return self._ask(self._calls.marginals(query), deadline)

    def smallest_change(
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
        return self._ask(asked, deadline)

    def session(
        self, query: AskedQuery, *, stream: bool = True, deadline: float | None = None
    ) -> Session:
        """A query to be changed and asked again; `stream=False` where a proxy lets none through.

        deadline: of the whole stream (None: as long as it is used), or of each single call. Raises
        what the reasoner raises.
        """
        asked = self._calls.query(query)
        check_deadline(deadline)
        if spec_of(Talking, {"stream": stream}, self.limits).stream:
            made = StreamCall(self._sessions, self.address, self._who, deadline)
            return Session(made, asked, self.limits)
        each = self.deadline if deadline is None else deadline
        return Session(
            UnaryCalls(self._sessions, self.address, self._who, each), asked, self.limits
        )

    def kinds(self, *, page_size: int = 0, deadline: float | None = None) -> list[KindDescription]:
        """Every kind of term the service knows, by name; one call a page (page_size 0: of the
        service's own size), each with its deadline."""
        kinds, token = self._ask(self._calls.kinds(page_size, ""), deadline)
        while token:
            more, token = self._ask(self._calls.kinds(page_size, token), deadline)
            kinds += more
        return kinds

    def kind(self, name: str, *, deadline: float | None = None) -> KindDescription:
        """One kind. Raises UnknownKind."""
        return self._ask(self._calls.kind(name), deadline)

    def info(self, *, deadline: float | None = None) -> ServiceInfo:
        """What the service is, and what it lets callers ask: version, limits, minimizers."""
        return self._ask(self._calls.info(), deadline)

    def close(self) -> None:
        """Cancel what runs, and close the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _connect(self, address: str, options: list[tuple[str, Any]]) -> Any:
        return grpc.insecure_channel(address, options=options)

    def _ask(self, asked: Call[T], deadline: float | None) -> T:
        due = self._due(asked, deadline)
        for pause in (*PAUSES, None):
            try:
                return asked.read(self._begin(asked, due))
            except grpc.RpcError as error:
                if pause is None or not not_reached(error):
                    raise error_of_call(error, self.address) from None
                time.sleep(pause)
        raise AssertionError("the last attempt has returned or raised")

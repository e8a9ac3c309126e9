"""What a client sends for each question, and how it reads the response; for both clients."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from engine.answer import Answer
from engine.errors import BadQuery, Mistake
from engine.explain.change import SmallestChange
from engine.sampling.marginals import Marginals
from engine.sampling.samples import Samples
from services.client.arguments import Named, Page, Progressing, Wanted
from services.query import Options, Query, options_of, query_of, spec_of
from services.query.kind import KindDescription
from services.query.sampling import sampling_of
from services.query.wish import check_searched
from services.settings import Limits
from services.v1 import change_pb2, marginals_pb2
from services.v1 import reasoner_pb2 as pb
from services.wire.answer import answer_from_proto
from services.wire.change import change_from_proto
from services.wire.events import Progress, Result, event_from_proto
from services.wire.info import ServiceInfo, info_from_proto
from services.wire.kinds import kind_from_proto
from services.wire.marginals import marginals_from_proto
from services.wire.query import options_to_proto, query_to_proto
from services.wire.samples import samples_from_proto, sampling_to_proto
from services.wire.values import to_assignment

AskedQuery = Query | Mapping[str, Any]
AskedOptions = Options | Mapping[str, Any] | None

Metadata = tuple[tuple[str, str], ...]

T = TypeVar("T")

PAUSES = (0.1, 0.2, 0.4)  # seconds before a call that did not reach the service is sent again
PATIENCE = 600.0  # seconds that a call waits which says nothing else
MARGIN = 60.0  # seconds beyond the budget of its query


@dataclass(frozen=True)
class Call(Generic[T]):
    """One rpc of ReasonerService: its request, and what its response (or message) says."""

    method: str
    request: Any
    read: Callable[[Any], T]
    seconds: float = PATIENCE  # deadline, where the caller gives none


@dataclass(frozen=True)
class Calls:
    """The calls of a client under some limits. Mistakes are told here, before anything is sent."""

    limits: Limits

    def query(self, query: AskedQuery) -> Query:
        """A query, checked. Raises BadQuery."""
        return query if isinstance(query, Query) else query_of(query, self.limits)

    def solve(self, query: AskedQuery, options: AskedOptions) -> Call[list[Answer]]:
        """One answer for each row; with `score` or `explain` by the rpc of that name."""
        asked, wished = self.query(query), self._options(options)
        raw: list[bytes] = []
        message, beside = query_to_proto(asked, raw), options_to_proto(wished)
        if wished.score:
            worth = pb.ScoreRequest(query=message, raw_contents=raw)
            return Call("Score", worth, self._answers, _patience(asked))
        if wished.explain:
            why = pb.ExplainRequest(
                query=message, options=beside, differ=wished.differ, raw_contents=raw
            )
            return Call("Explain", why, self._answers, _patience(asked))
        request = pb.SolveRequest(query=message, options=beside, raw_contents=raw)
        return Call("Solve", request, self._answers, _patience(asked))

    def stream(
        self, query: AskedQuery, options: AskedOptions, interval: float, partial_values: bool
    ) -> Call[Progress | Result]:
        """Progress while it searches, and each row's result. Raises BadQuery for `score` and
        `explain`, which no stream answers."""
        asked, wished = self.query(query), self._options(options)
        own = [name for name in ("score", "explain") if getattr(wished, name)]
        if own:
            raise BadQuery(
                *(Mistake(f"options.{n}", "is not streamed", "call `solve` with it") for n in own)
            )
        how = {"interval": interval, "partial_values": partial_values}
        told = spec_of(Progressing, how, self.limits)
        raw: list[bytes] = []
        request = pb.SolveStreamRequest(
            query=query_to_proto(asked, raw),
            options=options_to_proto(wished),
            interval=told.interval,
            partial_values=told.partial_values,
            raw_contents=raw,
        )
        return Call("SolveStream", request, self._event, _patience(asked))

    def sample(self, query: AskedQuery, count: int, temperature: float) -> Call[list[Samples]]:
        """Draws from the Boltzmann distribution of each row."""
        asked = self.query(query)
        wishes = sampling_of({"count": count, "temperature": temperature}, self.limits)
        request = sampling_to_proto(wishes)
        raw: list[bytes] = []
        request.query.CopyFrom(query_to_proto(asked, raw))
        request.raw_contents.extend(raw)
        return Call("Sample", request, self._samples, _patience(asked))

    def marginals(self, query: AskedQuery) -> Call[list[Marginals]]:
        """The chances of the values at the open sites of each row."""
        asked = self.query(query)
        raw: list[bytes] = []
        message = query_to_proto(asked, raw)
        request = marginals_pb2.MarginalsRequest(query=message, raw_contents=raw)
        return Call("Marginals", request, self._marginals, _patience(asked))

    def smallest_change(
        self,
        query: AskedQuery,
        wanted: Mapping[str, Any],
        keep: Sequence[str],
        options: AskedOptions,
    ) -> Call[list[SmallestChange]]:
        """The fewest values of each row that must change. Raises BadQuery for `score`."""
        asked, wished = self.query(query), self._options(options)
        check_searched(wished)
        wish = spec_of(Wanted, {"wanted": wanted, "keep": keep}, self.limits)
        raw: list[bytes] = []
        request = change_pb2.SmallestChangeRequest(
            query=query_to_proto(asked, raw),
            wanted=to_assignment(wish.wanted),
            keep=wish.keep,
            options=options_to_proto(wished),
            explain=wished.explain,
            differ=wished.differ,
            raw_contents=raw,
        )
        return Call("SmallestChange", request, self._changes, _patience(asked))

    def kinds(self, page_size: int, page_token: str) -> Call[tuple[list[KindDescription], str]]:
        """One page of kinds, and the token of the next; empty: there is none. Raises BadQuery for
        a size that is none."""
        page = spec_of(Page, {"page_size": page_size}, self.limits)
        request = pb.ListKindsRequest(page_size=page.page_size, page_token=page_token)
        return Call(
            "ListKinds",
            request,
            lambda page: ([kind_from_proto(kind) for kind in page.kinds], page.next_page_token),
        )

    def kind(self, name: str) -> Call[KindDescription]:
        """One kind. Raises BadQuery for what is no name."""
        request = pb.DescribeKindRequest(kind=spec_of(Named, {"kind": name}, self.limits).kind)
        return Call("DescribeKind", request, lambda response: kind_from_proto(response.kind))

    def info(self) -> Call[ServiceInfo]:
        """What the service is, and what it lets callers ask."""
        request = pb.GetServiceInfoRequest()
        return Call("GetServiceInfo", request, lambda response: info_from_proto(response.info))

    def _options(self, options: AskedOptions) -> Options:
        if isinstance(options, Options):
            return options
        return options_of({} if options is None else options, self.limits)

    def _answers(self, response: Any) -> list[Answer]:
        return [answer_from_proto(answer, self.limits) for answer in response.answers]

    def _event(self, message: Any) -> Progress | Result:
        return event_from_proto(message, self.limits)

    def _samples(self, response: Any) -> list[Samples]:
        return [samples_from_proto(row, self.limits) for row in response.rows]

    def _changes(self, response: Any) -> list[SmallestChange]:
        return [change_from_proto(row, self.limits) for row in response.rows]

    def _marginals(self, response: Any) -> list[Marginals]:
        return [marginals_from_proto(row, self.limits) for row in response.rows]


def _patience(query: Query) -> float:
    """Seconds that a call about a query waits: never less than its budget."""
    return max(PATIENCE, (query.budget.seconds or 0.0) + MARGIN)


def differing(names: Sequence[str]) -> dict[str, Any]:
    """The options of a question why."""
    return {"explain": True, "differ": names}

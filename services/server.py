"""The reasoner as a service: solves in threads, bounded, under the deadline of each call.

Running out of time is no error: the best answers so far arrive before the caller's deadline, with
the flag DEADLINE. Cancelling a call stops its search before the next step.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from engine.answer import Answer, TermEnergy, term_names, verify
from engine.errors import BadQuery, Cancelled, Mistake, OutOfTime, known
from engine.problem import Problem
from engine.solve import Solution
from modules.catalogue import Catalogue
from services.agreement import check_answers, close_remotes, judge_ahead, remotes_of
from services.dial import STOP
from services.limits import DEFAULT, Limits
from services.query import Options
from services.reason import Reasoner
from services.remote import RemoteKinds
from services.serving import Service, start
from services.serving import run as serve
from services.talking import Talking
from services.v1 import query_pb2, session_pb2
from services.v1 import reasoner_pb2 as pb
from services.v1 import reasoner_pb2_grpc as rpc
from services.wire import (
    Kind,
    Progress,
    Result,
    answer_to_proto,
    event_to_proto,
    kind_to_proto,
    options_from_proto,
    query_from_proto,
)
from services.workers import POLICY, Policy, Stop, Workers, reflagged

NAME = "basin.v1.ReasonerService"

Look = Callable[[Problem, Solution], None]


class Reasoning(rpc.ReasonerServiceServicer):
    """The rpcs: parse, call the reasoner in a thread, format."""

    def __init__(self, reasoner: Reasoner, workers: Workers, limits: Limits):
        self.reasoner, self.workers, self.limits = reasoner, workers, limits
        self.talking = Talking(reasoner.compiler, workers, limits)

    async def Solve(self, request: pb.SolveRequest, context: Any) -> pb.SolveResponse:
        """One answer for each row."""
        stop = self.workers.stop(context)

        def work() -> pb.SolveResponse:
            answers = self._answers(request.query, request.options, stop, _Watch())
            return pb.SolveResponse(answers=map(answer_to_proto, answers))

        return await self.workers.run(work, stop)

    async def Score(self, request: pb.ScoreRequest, context: Any) -> pb.ScoreResponse:
        """Energy, findings and bound of the values given, without a search."""
        stop = self.workers.stop(context)

        def work() -> pb.ScoreResponse:
            wishes = query_pb2.Options(score=True)
            answers = self._answers(request.query, wishes, stop, _Watch())
            return pb.ScoreResponse(answers=map(answer_to_proto, answers))

        return await self.workers.run(work, stop)

    async def SolveStream(
        self, request: pb.SolveStreamRequest, context: Any
    ) -> AsyncIterator[pb.SolveStreamResponse]:
        """Progress while it searches, conflated for slow readers; then each row's result."""
        stop = self.workers.stop(context)
        if not 0 <= request.interval < math.inf:
            raise BadQuery(
                Mistake("interval", f"{request.interval}", "give seconds, 0 for the default")
            )
        pending = _Pending(asyncio.get_running_loop())
        interval = request.interval or self.workers.policy.interval
        watch = _Watch(pending.put, interval, request.partial_values)

        def work() -> list[pb.SolveStreamResponse]:
            answers = self._answers(request.query, request.options, stop, watch)
            results = (Result(row, answer) for row, answer in enumerate(answers))
            return [event_to_proto(result) for result in results]

        solving = asyncio.ensure_future(self.workers.run(work, stop))
        solving.add_done_callback(lambda _: pending.some.set())
        try:
            while not solving.done():
                await pending.some.wait()
                for progress in pending.take():
                    yield event_to_proto(progress)
            for result in await solving:
                yield result
        finally:
            stop.cancel()
            solving.cancel()

    async def Explain(self, request: pb.ExplainRequest, context: Any) -> pb.ExplainResponse:
        """Why: the conflict of a row without an answer, the runner-up of any other."""
        stop = self.workers.stop(context)

        def work() -> pb.ExplainResponse:
            wishes = query_pb2.Options(explain=True, differ=request.differ)
            answers = self._answers(request.query, wishes, stop, _Watch())
            return pb.ExplainResponse(answers=map(answer_to_proto, answers))

        return await self.workers.run(work, stop)

    def Session(
        self, requests: AsyncIterator[session_pb2.SessionRequest], context: Any
    ) -> AsyncIterator[session_pb2.SessionResponse]:
        """A session that lasts as long as its stream."""
        return self.talking.stream(requests, context)

    async def OpenSession(
        self, request: session_pb2.OpenSessionRequest, context: Any
    ) -> session_pb2.OpenSessionResponse:
        """A session in single calls."""
        return await self.talking.open(request, context)

    async def Change(
        self, request: session_pb2.ChangeRequest, context: Any
    ) -> session_pb2.ChangeResponse:
        """Terms added and dropped, other evidence."""
        return await self.talking.change(request, context)

    async def Resolve(
        self, request: session_pb2.ResolveRequest, context: Any
    ) -> session_pb2.ResolveResponse:
        """The answer as things stand."""
        return await self.talking.resolve(request, context)

    async def CloseSession(
        self, request: session_pb2.CloseSessionRequest, context: Any
    ) -> session_pb2.CloseSessionResponse:
        """The end of a session."""
        return await self.talking.close(request, context)

    async def ListKinds(self, request: pb.ListKindsRequest, context: Any) -> pb.ListKindsResponse:
        """Every kind of term this service knows."""
        del request, context
        kinds = await asyncio.to_thread(lambda: [_told(k) for k in self.reasoner.catalogue.kinds()])
        return pb.ListKindsResponse(kinds=kinds)

    async def DescribeKind(
        self, request: pb.DescribeKindRequest, context: Any
    ) -> pb.DescribeKindResponse:
        """One kind of term."""
        del context
        kind = await asyncio.to_thread(lambda: _told(self.reasoner.catalogue.kind(request.kind)))
        return pb.DescribeKindResponse(kind=kind)

    def _answers(
        self, query: query_pb2.Query, wishes: query_pb2.Options, stop: Stop, watch: "_Watch"
    ) -> list[Answer]:
        asked = query_from_proto(query, self.limits)
        options: Options = options_from_proto(wishes, self.limits)
        STOP.set(stop.gives_up)
        try:
            answers = self.reasoner.reason(asked, options, watch, stop)
            if watch.seen is not None:
                check_answers(watch.seen[0], answers)
        except Cancelled:
            if stop.cancelled:
                raise
            answers = _best_so_far(watch, stop)
        finally:
            if watch.seen is not None:
                close_remotes(watch.seen[0])
        return [reflagged(answer) for answer in answers]


def _best_so_far(watch: "_Watch", stop: Stop) -> list[Answer]:
    """The answers of the last solution seen; a module kept the search from ending in time."""
    if watch.seen is None:
        raise OutOfTime("a module did not answer before the deadline, and nothing was found yet")
    STOP.set(lambda: stop.cancelled)
    problem, solution = watch.seen
    answers = verify(problem, replace(solution, cancelled=True))
    check_answers(problem, answers)
    return answers


class _Pending:
    """Progress on its way to a reader: the newest of each row, no more."""

    def __init__(self, loop: asyncio.AbstractEventLoop):
        self.some = asyncio.Event()
        self._loop = loop
        self._rows: dict[int, Progress] = {}

    def put(self, every: Sequence[Progress]) -> None:
        """Called in the thread that solves."""
        self._loop.call_soon_threadsafe(self._put, every)

    def _put(self, every: Sequence[Progress]) -> None:
        self._rows |= {progress.row: progress for progress in every}
        self.some.set()

    def take(self) -> list[Progress]:
        """What waits, in the order of rows."""
        self.some.clear()
        rows, self._rows = self._rows, {}
        return [rows[row] for row in sorted(rows)]


class _Watch:
    """Looks on at a search: tells its progress now and then, and keeps the last solution."""

    def __init__(
        self,
        tell: Callable[[Sequence[Progress]], None] | None = None,
        interval: float = 0.0,
        partial_values: bool = False,
    ):
        self.tell, self.interval, self.partial_values = tell, interval, partial_values
        self.seen: tuple[Problem, Solution] | None = None  # the last
        self._next = 0.0
        self._told: dict[int, tuple[float, float]] = {}

    def __call__(self, problem: Problem, solution: Solution) -> None:
        self.seen = problem, solution
        if self.tell is not None and time.monotonic() >= self._next:
            self.tell(list(self._progress(problem, solution)))
            self._next = time.monotonic() + self.interval
        if solution.final and remotes_of(problem):
            judge_ahead(problem, problem.plain(solution.report.x))

    @torch.no_grad()
    def _progress(self, problem: Problem, solution: Solution) -> Iterator[Progress]:
        """Every row that changed since the last look."""
        report = solution.report
        stands = list(zip(report.energy.tolist(), report.bound.tolist(), strict=True))
        changed = [row for row, at in enumerate(stands) if self._told.get(row) != at]
        if not changed:
            return
        shares = [
            [0.0] * problem.rows if part.weight is None
            else (part.weight * part.term(report.x).double()).tolist()
            for part in problem.parts
        ]  # fmt: skip
        names = term_names(problem)
        values = problem.plain(report.x) if self.partial_values else None
        for row in changed:
            self._told[row] = stands[row]
            yield Progress(
                row,
                solution.steps[row],
                solution.seconds,
                _finite(stands[row][0]),
                _finite(stands[row][1]),
                tuple(
                    TermEnergy(name, _finite(share[row]))
                    for name, share in zip(names, shares, strict=True)
                ),
                None if values is None else values[row],
            )


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _told(kind: Any) -> pb.Kind:
    return kind_to_proto(
        Kind(kind.name, kind.about, kind.required_by_default, kind.calibrated, kind.schema)
    )


async def create_server(
    reasoner: Reasoner,
    address: str = "127.0.0.1:0",
    *,
    policy: Policy = POLICY,
    limits: Limits = DEFAULT,
    reflection: bool = False,
    insecure: bool = False,
) -> Service:
    """Start a reasoner's service in this event loop; its `port` tells where, `drain` ends it."""
    crew = Workers(policy)
    servicer = Reasoning(reasoner, crew, limits)
    service = await start(
        lambda server: rpc.add_ReasonerServiceServicer_to_server(servicer, server),
        [NAME],
        address,
        workers=crew.pool,
        limits=limits,
        reflection=reflection,
        insecure=insecure,
    )
    return replace(service, hurry=crew.hurry)


def run(
    listen: str = "127.0.0.1:7777",
    modules: Sequence[str] | None = None,
    remotes: Mapping[str, Sequence[str]] | None = None,
    reflection: bool = False,
    insecure_listen: bool = False,
) -> int:
    """Serve until SIGTERM, and return the exit code. Says `listening on HOST:PORT` on stdout.

    modules: groups of kinds to offer, None for all. remotes: addresses of the hosts of a kind.
    """
    torch.set_num_threads(1)  # solves run beside one another
    catalogue = Catalogue(groups=None if modules is None else tuple(modules))
    groups = {name.split(".")[0] for name in Catalogue().names()}
    if wrong := [name for name in modules or () if name not in groups]:
        raise BadQuery(
            *(Mistake("modules", f"{name!r} is no group", known(name, groups)) for name in wrong)
        )
    kinds = RemoteKinds(catalogue, remotes) if remotes else catalogue
    reasoner = Reasoner(kinds)  # type: ignore[arg-type]
    return serve(
        lambda: create_server(reasoner, listen, reflection=reflection, insecure=insecure_listen),
        listen,
    )

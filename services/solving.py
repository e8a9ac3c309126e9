"""The rpcs that solve: one answer a row, progress while it searches, scores without a search.

Calls over local terms go to the scheduler, where rows of equal structure share a batch. A hosted
term waits for its host, so that each such call has a thread of its own.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import torch

from engine.answer import Answer, TermEnergy
from engine.errors import BadQuery, Mistake
from engine.problem import Problem
from engine.rows import Report
from engine.solve import Solution
from engine.verify import term_names
from services.agreement import Patience, hosted_in, remotes_of
from services.limits import Limits
from services.query import Options
from services.reading import Read, Reader
from services.reason import Reasoner, Rows, answered, minimizer_for, unwatched
from services.scheduler import Aside, Scheduler, Wanted
from services.tenant import tenant_of
from services.v1 import query_pb2
from services.v1 import reasoner_pb2 as pb
from services.wire import (
    Progress,
    Result,
    answer_to_proto,
    event_to_proto,
    options_from_proto,
)
from services.workers import Stop, Workers, presented

INLINE = 1 << 18  # bytes of a request that is read between steps, not beside them
SCORE = query_pb2.Options(score=True)

Made = Callable[[list[Answer]], Any]  # what is sent of the answers


class Solving:
    """Reads a request, has it solved, and makes what is sent."""

    def __init__(self, reasoner: Reasoner, workers: Workers, limits: Limits):
        self.workers, self.limits = workers, limits
        self.reader = Reader(reasoner.compiler, limits)
        self.scheduler = Scheduler(workers.policy.workers, workers.pool)

    async def solve(self, request: pb.SolveRequest, context: Any) -> pb.SolveResponse:
        """One answer for each row."""
        return await self._run(request.query, request.options, context, _solved)

    async def score(self, request: pb.ScoreRequest, context: Any) -> pb.ScoreResponse:
        """Energy, findings and bound of the values given, without a search."""
        return await self._run(request.query, SCORE, context, _scored)

    async def explain(self, request: pb.ExplainRequest, context: Any) -> pb.ExplainResponse:
        """Why: the conflict of a row without an answer, the runner-up of any other."""
        wishes = query_pb2.Options(explain=True, differ=request.differ)
        return await self._run(request.query, wishes, context, _explained)

    async def stream(
        self, request: pb.SolveStreamRequest, context: Any
    ) -> AsyncIterator[pb.SolveStreamResponse]:
        """Progress while it searches, conflated for slow readers, and each row's result as soon as
        it is there."""
        if not 0 <= request.interval < math.inf:
            raise BadQuery(
                Mistake("interval", f"{request.interval}", "give seconds, 0 for the default")
            )
        pending = _Pending(asyncio.get_running_loop())
        interval = request.interval or self.workers.policy.interval
        watch = _Watch(pending.put, interval, request.partial_values)
        solving = asyncio.ensure_future(
            self._run(request.query, request.options, context, _streamed, watch)
        )
        solving.add_done_callback(lambda _: pending.some.set())
        try:
            while not solving.done():
                await pending.some.wait()
                for event in pending.take():
                    yield event_to_proto(event)
            await solving
            for event in pending.take():
                yield event_to_proto(event)
        finally:
            solving.cancel()

    async def _run(
        self,
        query: query_pb2.Query,
        wishes: query_pb2.Options,
        context: Any,
        made: Made,
        watch: "_Watch | None" = None,
    ) -> Any:
        """What is made of the answers; a caller that leaves takes its rows out of the search."""
        stop, tenant = self.workers.stop(context), tenant_of(context)

        def ask() -> Wanted | Aside:
            read = self.reader.again(tenant, query) if query.ByteSize() <= INLINE else None
            if read is None:
                return Aside(lambda: placed(self.reader.read(tenant, query)))
            return placed(read)

        def placed(read: Read) -> Wanted | Aside:
            options = options_from_proto(wishes, self.limits)
            if options.score or remotes_of(read.problem):
                return Aside(lambda: made(_apart(read, options, stop, watch)))
            return wanted(read, options, stop, watch, made)

        done = self.workers.admit(stop)
        future = self.scheduler.ask(tenant, ask, stop)
        future.add_done_callback(done)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            stop.cancel()
            self.scheduler.wake()
            raise


def wanted(read: Read, options: Options, stop: Stop, watch: "_Watch | None", made: Made) -> Wanted:
    """A call over local terms, for the scheduler."""
    query, problem = read
    tell = None if watch is None else watch.tell
    rows = Rows(problem, query, options, stop, tell, stop.since)

    def look(problem: Problem, solution: Solution) -> None:
        if watch is not None:
            watch(problem, solution)
        rows.look(solution)

    def end(solution: Solution) -> Any:
        look(problem, solution)
        return sent() if rows.end(solution) else Aside(sent)

    def sent() -> Any:
        return made([presented(answer) for answer in rows.every()])

    minimizer = minimizer_for(problem, options, query.budget.seconds)
    return Wanted(
        problem,
        minimizer.until(lambda: not rows.budget.lasts(problem.rows, 0.0)),
        query.budget.particles,
        query.budget.seed,
        rows.budget,
        end,
        None if watch is None else look,
    )


def _apart(read: Read, options: Options, stop: Stop, watch: "_Watch | None") -> list[Answer]:
    """A call in a thread of its own: a score, or a search that waits for hosts."""

    def left() -> bool:
        return stop.cancelled

    answers = answered(
        read.problem,
        read.query,
        options,
        watch or unwatched,
        stop,
        None if watch is None else watch.tell,
        Patience(stop.gives_up, left, left),
        stop.since,
    )
    return [presented(answer) for answer in answers]


def _solved(answers: Sequence[Answer]) -> pb.SolveResponse:
    return pb.SolveResponse(answers=map(answer_to_proto, answers))


def _scored(answers: Sequence[Answer]) -> pb.ScoreResponse:
    return pb.ScoreResponse(answers=map(answer_to_proto, answers))


def _explained(answers: Sequence[Answer]) -> pb.ExplainResponse:
    return pb.ExplainResponse(answers=map(answer_to_proto, answers))


def _streamed(answers: Sequence[Answer]) -> None:
    """Each row was sent when it was there."""
    del answers


class _Pending:
    """What is on its way to a reader: every result, and of each row the newest progress before."""

    def __init__(self, loop: asyncio.AbstractEventLoop):
        self.some = asyncio.Event()
        self._loop = loop
        self._rows: dict[int, Progress] = {}
        self._results: list[Result] = []

    def put(self, every: Sequence[Progress | Result]) -> None:
        """Called in the thread that solves."""
        self._loop.call_soon_threadsafe(self._put, every)

    def _put(self, every: Sequence[Progress | Result]) -> None:
        for event in every:
            if isinstance(event, Result):
                self._results.append(event)
            else:
                self._rows[event.row] = event
        self.some.set()

    def take(self) -> list[Progress | Result]:
        """What waits: progress in the order of rows, then results in the order they came."""
        self.some.clear()
        rows, self._rows = self._rows, {}
        results, self._results = self._results, []
        return [*(rows[row] for row in sorted(rows)), *results]


class _Watch:
    """Looks on at a search: sends its progress now and then, and each row's result."""

    def __init__(
        self,
        send: Callable[[Sequence[Progress | Result]], None],
        interval: float = 0.0,
        partial_values: bool = False,
    ):
        self.send, self.interval, self.partial_values = send, interval, partial_values
        self._next = 0.0
        self._stood: dict[int, tuple[float, float]] = {}
        self._over: set[int] = set()  # rows whose result was sent: nothing follows that

    def __call__(self, problem: Problem, solution: Solution) -> None:
        if time.monotonic() >= self._next:
            self.send(list(self._progress(problem, solution)))
            self._next = time.monotonic() + self.interval

    def tell(self, row: int, answer: Answer) -> None:
        """The answer of a row is there."""
        self._over.add(row)
        self.send([Result(row, presented(answer))])

    @torch.no_grad()
    def _progress(self, problem: Problem, solution: Solution) -> Iterator[Progress]:
        """Every row that changed since the last look."""
        report = solution.report
        stands = list(zip(report.energy.tolist(), report.bound.tolist(), strict=True))
        changed = [
            row
            for row, at in enumerate(stands)
            if row not in self._over and self._stood.get(row) != at
        ]
        if not changed:
            return
        shares = _shares(problem, report)
        values = problem.plain(report.x) if self.partial_values else None
        for row in changed:
            self._stood[row] = stands[row]
            yield Progress(
                row,
                solution.steps[row],
                solution.seconds,
                _finite(stands[row][0]),
                _finite(stands[row][1]),
                tuple(TermEnergy(name, _finite(share[row])) for name, share in shares),
                None if values is None else values[row],
            )


def _shares(problem: Problem, report: Report) -> list[tuple[str, list[float]]]:
    """What each term costs the best states, by name. No host is asked: where one weighted term is
    hosted it costs what the others leave, and where several are, they are left out."""
    known: list[tuple[str, list[float]]] = []
    asking: list[int] = []
    for part, name in zip(problem.parts, term_names(problem), strict=True):
        share = [0.0] * problem.rows
        if part.weight is not None and hosted_in(part.term):
            asking.append(len(known))
        elif part.weight is not None:
            share = (part.weight * part.term(report.x).double()).tolist()
        known.append((name, share))
    if len(asking) == 1:
        others = [sum(row) for row in zip(*(share for _, share in known), strict=True)]
        left = [e - o for e, o in zip(report.energy.tolist(), others, strict=True)]
        known[asking[0]] = (known[asking[0]][0], left)
        return known
    return [pair for place, pair in enumerate(known) if place not in asking]


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None

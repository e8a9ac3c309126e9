"""The rpcs that solve: one answer a row, progress while it searches, scores without a search.

Calls over local terms go to the scheduler, where rows of equal structure share a batch. A hosted
term waits for its host, so that each such call has a thread of its own.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from engine.answer import Answer, TermEnergy, term_names, verify
from engine.errors import BadQuery, Cancelled, Mistake, OutOfTime
from engine.problem import Problem
from engine.solve import Budget, Solution
from services.agreement import check_answers, close_remotes, judge_ahead, remotes_of
from services.dial import STOP
from services.limits import Limits
from services.query import Options
from services.reading import Read, Reader
from services.reason import Reasoner, answered, asks_further, finished, minimizer_for
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
        """Progress while it searches, conflated for slow readers; then each row's result."""
        if not 0 <= request.interval < math.inf:
            raise BadQuery(
                Mistake("interval", f"{request.interval}", "give seconds, 0 for the default")
            )
        pending = _Pending(asyncio.get_running_loop())
        interval = request.interval or self.workers.policy.interval
        watch = _Watch(pending.put, interval, request.partial_values)
        solving = asyncio.ensure_future(
            self._run(request.query, request.options, context, _results, watch)
        )
        solving.add_done_callback(lambda _: pending.some.set())
        try:
            while not solving.done():
                await pending.some.wait()
                for progress in pending.take():
                    yield event_to_proto(progress)
            for result in await solving:
                yield result
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
                return Aside(lambda: made(_apart(read, options, stop, watch or _Watch())))
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
    seed = query.budget.seed
    budget = Budget(query.budget.seconds, query.budget.steps, stop)

    def end(solution: Solution) -> Any:
        if watch is not None:
            watch(problem, solution)
        answers = verify(problem, solution)
        if any(asks_further(answer, options) for answer in answers):
            return Aside(lambda: sent(finished(problem, answers, options, budget, seed)))
        return sent(answers)

    def sent(answers: list[Answer]) -> Any:
        return made([presented(answer) for answer in answers])

    return Wanted(
        problem,
        minimizer_for(problem, options, query.budget.seconds),
        query.budget.particles,
        seed,
        budget,
        end,
        watch,
    )


def _apart(read: Read, options: Options, stop: Stop, watch: "_Watch") -> list[Answer]:
    """A call in a thread of its own: a score, or a search that waits for hosts."""
    STOP.set(stop.gives_up)
    try:
        answers = answered(read.problem, read.query, options, watch, stop, stop.since)
        check_answers(read.problem, answers)
    except Cancelled:
        if stop.cancelled:
            raise
        answers = _best_so_far(watch, stop)
    finally:
        close_remotes(read.problem)
    return [presented(answer) for answer in answers]


def _solved(answers: Sequence[Answer]) -> pb.SolveResponse:
    return pb.SolveResponse(answers=map(answer_to_proto, answers))


def _scored(answers: Sequence[Answer]) -> pb.ScoreResponse:
    return pb.ScoreResponse(answers=map(answer_to_proto, answers))


def _explained(answers: Sequence[Answer]) -> pb.ExplainResponse:
    return pb.ExplainResponse(answers=map(answer_to_proto, answers))


def _results(answers: Sequence[Answer]) -> list[pb.SolveStreamResponse]:
    return [event_to_proto(Result(row, answer)) for row, answer in enumerate(answers)]


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

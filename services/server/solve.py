"""The rpcs that solve: one answer a row, progress while it searches, scores without a search.

Calls over local terms go to the scheduler, where rows of equal structure share a batch. A hosted
term waits for its host, so that each such call has a thread of its own.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any

from engine.answer import Answer
from engine.errors import BadQuery, Mistake
from engine.problem import Problem
from engine.solve import Solution
from services.query import Options
from services.reasoner.deadline import Deadline
from services.reasoner.reason import Rows, minimizer_for, solve_query, watch_nothing
from services.reasoner.scheduler import BatchRequest, Scheduler, ThreadTask
from services.reasoner.workers import Workers, present_answer
from services.remote.lifecycle import Patience, remotes_of, wait_until
from services.rpc.tenant import tenant_of
from services.server.progress import Pending, Watch
from services.server.request_cache import Read, Reader, key_of
from services.v1 import reasoner_pb2 as pb
from services.wire.answer import answer_to_proto
from services.wire.events import event_to_proto
from services.wire.query import options_from_proto

INLINE = 1 << 18  # bytes of a request that is read between steps, not beside them
SCORE = Options(score=True)


Request = pb.SolveRequest | pb.SolveStreamRequest | pb.ScoreRequest | pb.ExplainRequest
Made = Callable[[list[Answer]], Any]  # what is sent of the answers


class SolveHandlers:
    """Reads a request, has it solved, and makes what is sent."""

    def __init__(self, reader: Reader, workers: Workers):
        self.reader, self.workers, self.limits = reader, workers, reader.limits
        self.scheduler = Scheduler(workers.policy.workers, workers.pool)

    async def solve(self, request: pb.SolveRequest, context: Any) -> pb.SolveResponse:
        """One answer for each row."""
        return await self._run(request, self._options(request), context, _solved)

    async def score(self, request: pb.ScoreRequest, context: Any) -> pb.ScoreResponse:
        """Energy, findings and bound of the values given, without a search."""
        return await self._run(request, lambda: SCORE, context, _scored)

    async def explain(self, request: pb.ExplainRequest, context: Any) -> pb.ExplainResponse:
        """Why: the conflict of a row without an answer, the runner-up of any other."""
        options = self._options(request, explain=True, differ=tuple(request.differ))
        return await self._run(request, options, context, _explained)

    async def stream(
        self, request: pb.SolveStreamRequest, context: Any
    ) -> AsyncIterator[pb.SolveStreamResponse]:
        """Progress while it searches, conflated for slow readers, and each row's result as soon as
        it is there."""
        if not 0 <= request.interval < math.inf:
            raise BadQuery(
                Mistake("interval", f"{request.interval}", "give seconds, 0 for the default")
            )
        pending = Pending(asyncio.get_running_loop())
        interval = request.interval or self.workers.policy.interval
        watch = Watch(pending.put, interval, request.partial_values)
        solving = asyncio.ensure_future(
            self._run(request, self._options(request), context, _streamed, watch)
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

    def _options(
        self,
        request: pb.SolveRequest | pb.SolveStreamRequest | pb.ExplainRequest,
        **asked: Any,
    ) -> Callable[[], Options]:
        """How to read the options of a request, with what its rpc asks for: in the turn of the
        call, after its query."""
        return lambda: options_from_proto(request.options, self.limits, **asked)

    async def _run(
        self,
        request: Request,
        read_options: Callable[[], Options],
        context: Any,
        made: Made,
        watch: "Watch | None" = None,
    ) -> Any:
        """What is made of the answers; a caller that leaves takes its rows out of the search."""
        stop, tenant = self.workers.stop(context), tenant_of(context)
        query, raw, reader = request.query, request.raw_contents, self.reader

        def ask() -> BatchRequest | ThreadTask:
            if request.ByteSize() > INLINE:
                return ThreadTask(lambda: placed(waited(partial(reader.read, tenant, query, raw))))
            key = key_of(tenant, query)
            read = reader.again(key, query, raw)
            if read is None:
                return ThreadTask(lambda: placed(waited(partial(reader.fresh, key, query, raw))))
            return placed(read)

        def waited(read: Callable[[], Read]) -> Read:
            with wait_until(stop.gives_up):  # hosts are asked while a query is compiled
                return read()

        def placed(read: Read) -> BatchRequest | ThreadTask:
            options = read_options()
            if options.score or remotes_of(read.problem):
                return ThreadTask(lambda: made(_apart(read, options, stop, watch)))
            return batch_request(read, options, stop, watch, made)

        done = self.workers.admit(stop)
        future = self.scheduler.ask(tenant, ask, stop)
        future.add_done_callback(done)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            stop.cancel()
            self.scheduler.wake()
            raise


def batch_request(
    read: Read, options: Options, stop: Deadline, watch: "Watch | None", made: Made
) -> BatchRequest:
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
        return sent() if rows.end(solution) else ThreadTask(sent)

    def sent() -> Any:
        return made([present_answer(answer) for answer in rows.every()])

    minimizer = minimizer_for(problem, options, query.budget.seconds)
    return BatchRequest(
        problem,
        minimizer.until(lambda: not rows.budget.lasts(problem.rows, 0.0)),
        query.budget.particles,
        query.budget.seed,
        rows.budget,
        end,
        None if watch is None else look,
    )


def _apart(read: Read, options: Options, stop: Deadline, watch: "Watch | None") -> list[Answer]:
    """A call in a thread of its own: a score, or a search that waits for hosts."""

    def left() -> bool:
        return stop.cancelled

    answers = solve_query(
        read.problem,
        read.query,
        options,
        watch or watch_nothing,
        stop,
        None if watch is None else watch.tell,
        Patience(stop.gives_up, left, left),
        stop.since,
    )
    return [present_answer(answer) for answer in answers]


def _solved(answers: Sequence[Answer]) -> pb.SolveResponse:
    return pb.SolveResponse(answers=map(answer_to_proto, answers))


def _scored(answers: Sequence[Answer]) -> pb.ScoreResponse:
    return pb.ScoreResponse(answers=map(answer_to_proto, answers))


def _explained(answers: Sequence[Answer]) -> pb.ExplainResponse:
    return pb.ExplainResponse(answers=map(answer_to_proto, answers))


def _streamed(answers: Sequence[Answer]) -> None:
    """Each row was sent when it was there."""
    del answers

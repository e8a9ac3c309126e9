"""The reasoner as a service: solves in threads, bounded, under the deadline of each call.

Running out of time is no error: the best answers so far arrive before the caller's deadline, with
the flag DEADLINE. Cancelling a call stops its search before the next step.
"""

import asyncio
import contextvars
import math
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch

from engine.answer import Answer, Flag, TermEnergy, term_names, verify
from engine.errors import BadQuery, Cancelled, Mistake, OutOfTime, Overloaded, known
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
from services.v1 import query_pb2
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

NAME = "basin.v1.ReasonerService"

T = TypeVar("T")
Look = Callable[[Problem, Solution], None]


@dataclass(frozen=True)
class Policy:
    """How many solves run, how many may wait, and how long one may take."""

    workers: int = os.cpu_count() or 2
    queue: int = 64
    seconds: float = 3600.0  # for a call that sets no deadline
    interval: float = 0.1  # least seconds between two looks at a search, unless the caller says


class Stop:
    """The stop signal of one call: its caller left, or its time is nearly up.

    A search stops at `due`, before its next step; an exchange with a module that is still under
    way at `cut` is given up. What is left until the deadline is for judging the best so far.
    """

    def __init__(self, seconds: float):
        margin = min(1.0, max(0.1, 0.1 * seconds), seconds / 2)
        self.due = time.monotonic() + seconds - margin
        self.cut = self.due + 0.3 * margin
        self._cancelled = threading.Event()

    def __call__(self) -> bool:
        return self._cancelled.is_set() or time.monotonic() >= self.due

    def gives_up(self) -> bool:
        """No more waiting for a module."""
        return self._cancelled.is_set() or time.monotonic() >= self.cut

    @property
    def cancelled(self) -> bool:
        """The caller left."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """The caller left."""
        self._cancelled.set()

    def hurry(self, seconds: float) -> None:
        """Have it due in so many seconds, if not earlier."""
        sooner = Stop(seconds)
        self.due, self.cut = min(self.due, sooner.due), min(self.cut, sooner.cut)


class Reasoning(rpc.ReasonerServiceServicer):
    """The rpcs: parse, call the reasoner in a thread, format."""

    def __init__(
        self, reasoner: Reasoner, policy: Policy, pool: ThreadPoolExecutor, limits: Limits
    ):
        self.reasoner, self.policy, self.pool, self.limits = reasoner, policy, pool, limits
        self._room = threading.BoundedSemaphore(policy.workers + policy.queue)
        self._running: set[Stop] = set()

    async def Solve(self, request: pb.SolveRequest, context: Any) -> pb.SolveResponse:
        """One answer for each row."""
        stop = self._stop(context)

        def work() -> pb.SolveResponse:
            answers = self._answers(request.query, request.options, stop, _Watch())
            return pb.SolveResponse(answers=map(answer_to_proto, answers))

        return await self._run(work, stop)

    async def Score(self, request: pb.ScoreRequest, context: Any) -> pb.ScoreResponse:
        """Energy, findings and bound of the values given, without a search."""
        stop = self._stop(context)

        def work() -> pb.ScoreResponse:
            wishes = query_pb2.Options(score=True)
            answers = self._answers(request.query, wishes, stop, _Watch())
            return pb.ScoreResponse(answers=map(answer_to_proto, answers))

        return await self._run(work, stop)

    async def SolveStream(
        self, request: pb.SolveStreamRequest, context: Any
    ) -> AsyncIterator[pb.SolveStreamResponse]:
        """Progress while it searches, conflated for slow readers; then each row's result."""
        stop = self._stop(context)
        if not 0 <= request.interval < math.inf:
            raise BadQuery(
                Mistake("interval", f"{request.interval}", "give seconds, 0 for the default")
            )
        pending = _Pending(asyncio.get_running_loop())
        interval = request.interval or self.policy.interval
        watch = _Watch(pending.put, interval, request.partial_values)

        def work() -> list[pb.SolveStreamResponse]:
            answers = self._answers(request.query, request.options, stop, watch)
            results = (Result(row, answer) for row, answer in enumerate(answers))
            return [event_to_proto(result) for result in results]

        solving = asyncio.ensure_future(self._run(work, stop))
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

    def hurry(self, seconds: float) -> None:
        """Running solves answer with their best so far within some seconds."""
        for stop in list(self._running):
            stop.hurry(seconds)

    def _stop(self, context: Any) -> Stop:
        remaining = context.time_remaining()
        return Stop(self.policy.seconds if remaining is None else max(remaining, 0.0))

    async def _run(self, work: Callable[[], T], stop: Stop) -> T:
        """What `work` makes in a thread; a caller that leaves sets its stop signal."""
        if not self._room.acquire(blocking=False):
            raise Overloaded(
                f"{self.policy.workers} solves run and {self.policy.queue} wait: try again later"
            )
        self._running.add(stop)

        def done(_: Future[T]) -> None:  # not before the thread has ended
            self._running.discard(stop)
            self._room.release()

        def timely() -> T:
            if stop():
                raise OutOfTime("the deadline passed while the call waited for its turn")
            return work()

        try:
            future = self.pool.submit(contextvars.copy_context().run, timely)
        except RuntimeError:
            done(Future())
            raise Overloaded("the service is shutting down") from None
        future.add_done_callback(done)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            stop.cancel()
            raise

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
        return [_reflagged(answer) for answer in answers]


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


def _reflagged(answer: Answer) -> Answer:
    """What was stopped was stopped for want of time: a caller that cancels gets no answer."""
    flags = (Flag.DEADLINE if flag is Flag.CANCELLED else flag for flag in answer.flags)
    return replace(answer, flags=tuple(dict.fromkeys(flags)))


def _told(kind: Any) -> pb.Kind:
    return kind_to_proto(
        Kind(kind.name, kind.about, kind.required_by_default, kind.calibrated, kind.schema)
    )


async def create_server(
    reasoner: Reasoner,
    address: str = "127.0.0.1:0",
    *,
    policy: Policy = Policy(),
    limits: Limits = DEFAULT,
    reflection: bool = False,
    insecure: bool = False,
) -> Service:
    """Start a reasoner's service in this event loop; its `port` tells where, `drain` ends it."""
    pool = ThreadPoolExecutor(policy.workers, thread_name_prefix="solve")
    servicer = Reasoning(reasoner, policy, pool, limits)
    service = await start(
        lambda server: rpc.add_ReasonerServiceServicer_to_server(servicer, server),
        [NAME],
        address,
        workers=pool,
        limits=limits,
        reflection=reflection,
        insecure=insecure,
    )
    return replace(service, hurry=servicer.hurry)


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

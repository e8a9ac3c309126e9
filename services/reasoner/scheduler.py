"""Many calls at once: rows of equal structure share a batch, and time is shared out fairly.

A line is the calls of one tenant over one energy, with one minimizer and one number of particles,
whatever their evidence, seed and budget: their rows run in one batch, which they join and leave
between steps. Nothing else is batched, and no batch crosses a tenant. The next step belongs to the
tenant that has had the least time so far, and there to the line that has; who comes back is not
owed what it did not ask for. Seconds of a budget are those of the clock, divided among the rows of
the call alone, so that an answer comes as soon as if nobody else had asked.
"""

import contextlib
import contextvars
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from engine.errors import Cancelled, OutOfTime, Overloaded
from engine.minimizer import Minimizer
from engine.moves.start import Start
from engine.problem import Problem
from engine.random import Stream
from engine.rows import Report
from engine.solve import Budget, Solution, Tally, checking, report_start
from engine.solve.batch import STEP, Batch, Failed, Stepped
from services.reasoner.deadline import Deadline

log = logging.getLogger(__name__)

ASKED = 16  # calls read in one turn


@dataclass(frozen=True, eq=False)
class BatchRequest:
    """What one call wants minimized, and what is made of the outcome."""

    problem: Problem
    minimizer: Minimizer
    particles: int
    seed: int
    budget: Budget
    end: Callable[[Solution], Any]  # gives the result of the call, or an Aside that will
    # told of every better solution, and of rows that have ended before others
    look: Callable[[Problem, Solution], None] | None = None

    @property
    def key(self) -> Hashable:
        """Calls of one key may share a batch; a structure that follows the evidence is alone."""
        root = None if self.problem.structures.enumerated else self.problem.root
        return root or self.problem, self.minimizer, self.particles


@dataclass(frozen=True, eq=False)
class ThreadTask:
    """Work that is not to be divided into steps: it gets a thread of its own. What it returns is
    the result of the call, or what the call wants."""

    work: Callable[[], Any]


class _Call:
    """A call: what it asks, and once that is read, what it wants and how its rows stand."""

    def __init__(self, ask: Callable[[], BatchRequest | ThreadTask], stop: Deadline):
        self.ask, self.stop, self.future = ask, stop, Future[Any]()
        self.wanted: BatchRequest
        self.tally: Tally
        self.begun = False
        self.reserve = 0.0  # seconds of a row for the final check
        self.since = time.monotonic()  # when its clock was last looked at

    def fail(self, error: BaseException) -> None:
        """The call raises this; what would end a thread or a process ends the call alone."""
        if not isinstance(error, Exception):
            fault = RuntimeError(f"a module raised {error!r}")
            fault.__cause__ = error
            error = fault
        with contextlib.suppress(InvalidStateError):  # its caller has left
            self.future.set_exception(error)

    def late(self) -> None:
        """It was stopped before anything was found."""
        gone = "the caller left" if self.stop.cancelled else "the deadline passed"
        text = f"{gone} while the call waited for its turn"
        self.fail(Cancelled(text) if self.stop.cancelled else OutOfTime(text))


class _SharedBatch:
    """The calls that share a batch."""

    def __init__(self, minimizer: Minimizer, used: float):
        self.used, self.busy = used, False
        self.batch: Batch[_Call] = Batch(minimizer)
        self.waiting: deque[_Call] = deque()
        self.running: dict[_Call, None] = {}
        self.preparing: Iterator[None] | None = None  # the structure, before the first rows join

    def due(self) -> float:
        """When the first of its calls must be answered; at once where a caller left."""
        stops = [call.stop for call in (*self.running, *self.waiting)]
        return min((-math.inf if s.cancelled else s.due for s in stops), default=math.inf)

    def turn(self) -> list[tuple[_Call, bool]]:
        """Begin who waits, move some rows by one step, and give who has ended; True: by a stop."""
        fresh = [self.waiting.popleft() for _ in range(len(self.waiting))]
        self._begin(fresh)
        ended = [(call, True) for call in self._stopped()]
        if ended:
            return ended  # their time is up: no step comes before their answers
        stepped = self.batch.step()
        if isinstance(stepped, Failed):
            self._fail(stepped.owner, stepped.error)
        elif stepped is not None:
            self._moved(stepped)
        elif any(call.tally.running for call in self.running):
            raise RuntimeError("a batch has lost the rows of calls that run")
        over = [call for call in self.running if not call.tally.running]
        for call in over:
            del self.running[call]
        return [(call, False) for call in over]

    def _begin(self, calls: Sequence[_Call]) -> None:
        """Rows of all these calls join together; where that fails, each call by itself."""
        timely = []
        for call in calls:
            if call.stop() and (self.preparing is None or call.stop.cancelled):
                call.late()
            else:
                timely.append(call)
        if not timely:
            return
        try:
            if not self._prepared(timely[0].wanted):
                self._unprepared(timely)
                return
            report = self._joined(timely)
        except BaseException as error:
            if len(timely) == 1:
                timely[0].fail(error)
                return
            for call in timely:
                self._begin([call])
            return
        place = 0
        for call in timely:
            rows = range(place, place + call.wanted.problem.rows)
            try:
                first = [(report, row) for row in rows]
                self._enter(call, Tally(first, call.wanted.budget, call.reserve))
            except BaseException as error:
                self._leave(call, range(len(rows)))
                call.fail(error)
            place += len(rows)

    def _prepared(self, wanted: BatchRequest) -> bool:
        """Whether the structure is ready, after about a step of work on it."""
        if self.preparing is None:
            self.preparing = wanted.minimizer.prepare(wanted.problem)
        end = time.monotonic() + STEP
        return all(time.monotonic() < end for _ in self.preparing)

    def _unprepared(self, calls: Sequence[_Call]) -> None:
        """Whose time is up gets a start as it was drawn; the others wait on."""
        waiting = []
        for call in calls:
            wanted = call.wanted
            if wanted.budget.lasts(wanted.problem.rows, call.reserve):
                waiting.append(call)
                continue
            report = report_start(wanted.problem, Stream(wanted.seed, wanted.problem.keys), {})
            first = [(report, row) for row in range(wanted.problem.rows)]
            self._enter(call, Tally(first, wanted.budget, call.reserve, prepared=False))
        self.waiting.extendleft(reversed(waiting))

    def _joined(self, calls: Sequence[_Call]) -> Report:
        """The rows of these calls in the batch, side by side, and how they stand."""
        wanted = [call.wanted for call in calls]
        rows = [(call, row) for call in calls for row in range(call.wanted.problem.rows)]
        problem = Problem.stack([w.problem for w in wanted])
        rng = Stream.join([Stream(w.seed, w.problem.keys) for w in wanted])
        start = Start(problem, wanted[0].particles, rng.at(0), {})
        return self.batch.join(problem, start, rng, rows)

    def _enter(self, call: _Call, tally: Tally) -> None:
        """A call runs, whose rows stand like this."""
        call.tally, call.begun = tally, True
        self._leave(call, set(range(call.wanted.problem.rows)) - tally.running)
        self.running[call] = None

    def _stopped(self) -> list[_Call]:
        """The clocks go on; calls whose time is up, or whose callers left, leave now."""
        self._clocked(list(self.running))
        stopped = []
        for call in list(self.running):
            before = set(call.tally.running)
            call.tally.expire()
            if call.stop():
                del self.running[call]
                self._leave(call, before)
                stopped.append(call)
            else:
                self._leave(call, before - call.tally.running)
        return stopped

    def _clocked(self, calls: Iterable[_Call]) -> None:
        """The time since these calls were last looked at is booked on their rows."""
        now = time.monotonic()
        for call in calls:
            call.tally.spend(now - call.since)
            call.since = now

    def _moved(self, stepped: Stepped[_Call]) -> None:
        """What a step came to, for each of the calls that took part."""
        self._clocked({call for call, _ in stepped.tickets})
        better: dict[_Call, bool] = {}
        for place, (call, row) in enumerate(stepped.tickets):
            call.tally.take(row, stepped, place)
            ended = row not in call.tally.running
            better[call] = better.get(call, False) or stepped.better[place] or ended
            if ended:
                self._leave(call, [row])
        for call, seen in better.items():
            if seen and call.wanted.look is not None:
                try:
                    call.wanted.look(call.wanted.problem, call.tally.solution())
                except BaseException as error:
                    self._leave(call, call.tally.running)
                    self._fail(call, error)

    def _leave(self, call: _Call, rows: Iterable[int]) -> None:
        self.batch.leave((call, row) for row in rows)

    def _fail(self, call: _Call, error: BaseException) -> None:
        del self.running[call]
        call.fail(error)

    def broken(self, error: BaseException) -> None:
        """A turn failed for a cause that is no call's own: all of them fail, and nothing is left
        to do."""
        calls = [*self.running, *(self.waiting.popleft() for _ in range(len(self.waiting)))]
        self.running.clear()
        self.batch, self.preparing = Batch(self.batch.minimizer), None
        for call in calls:
            call.fail(error)


class _Tenant:
    """The calls of one tenant."""

    def __init__(self, used: float):
        self.used = used
        self.asked: deque[_Call] = deque()  # not read yet
        self.lines: dict[Hashable, _SharedBatch] = {}
        self.turns = 0  # under way now
        self.apart: deque[tuple[contextvars.Context, _Call, Callable[[], Any]]] = deque()
        self.threads = 0  # at work apart now

    def ready(self) -> list[_SharedBatch]:
        """Lines that nobody works on."""
        return [line for line in self.lines.values() if not line.busy]


class Scheduler:
    """Shares the time of some threads among tenants, structures and calls."""

    def __init__(self, threads: int, aside: ThreadPoolExecutor):
        self.threads, self.aside = threads, aside
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="step")
        self._tenants: dict[str, _Tenant] = {}
        self._pumps = 0
        self._lock = threading.Lock()

    def ask(
        self, tenant: str, ask: Callable[[], BatchRequest | ThreadTask], stop: Deadline
    ) -> Future[Any]:
        """The result of a call: `ask` is called in a thread, and tells what to minimize. What it
        raises, or a step, or `end`, is raised for this call alone."""
        call = _Call(ask, stop)
        with self._lock:
            self._tenant(tenant).asked.append(call)
        self.wake()
        return call.future

    def _tenant(self, name: str) -> _Tenant:
        if name not in self._tenants:
            used = min((t.used for t in self._tenants.values()), default=0.0)
            self._tenants[name] = _Tenant(used)
        return self._tenants[name]

    def wake(self, own: int = 0) -> None:
        """One more thread goes to work where there is some: a call came, or was cancelled. `own`
        of what there is will be done by the caller, in turn."""
        with self._lock:
            ready = sum(bool(t.asked) + len(t.ready()) for t in self._tenants.values())
            if self._pumps >= self.threads or ready <= own:
                return
            self._pumps += 1
        try:
            self.pool.submit(self._pump)
        except RuntimeError:
            with self._lock:
                self._pumps -= 1
                left = [call for t in self._tenants.values() for call in t.asked]
            for call in left:
                call.fail(Overloaded("the service is shutting down"))

    def _pump(self) -> None:
        """Turn after turn, as long as there is work."""
        while True:
            with self._lock:
                picked = self._pick()
                if picked is None:
                    self._pumps -= 1
                    return
                name, line = picked
                tenant = self._tenants[name]
                tenant.turns += 1
                if line is not None:
                    line.busy = True
            began = time.perf_counter()
            try:
                if line is None:
                    self._read(name, tenant)
                else:
                    for call, stopped in line.turn():
                        self._end(name, call, stopped)
            except BaseException as error:
                log.exception("a turn failed")
                if line is not None:
                    line.broken(error)
            self._turned(name, line, time.perf_counter() - began)

    def _pick(self) -> tuple[str, _SharedBatch | None] | None:
        """Whose turn it is: None for a line means the calls that were not read yet."""
        now = time.monotonic()
        waiting = [(n, t, t.ready()) for n, t in self._tenants.items()]
        for name, _, lines in waiting:
            for line in lines:
                if line.due() <= now:
                    return name, line
        waiting = [entry for entry in waiting if entry[1].asked or entry[2]]
        if not waiting:
            return None
        name, tenant, lines = min(waiting, key=lambda entry: entry[1].used)
        return name, None if tenant.asked else min(lines, key=lambda line: line.used)

    def _read(self, name: str, tenant: _Tenant) -> None:
        """Learn what some calls want, and put them into their lines."""
        for _ in range(ASKED):
            with self._lock:
                if not tenant.asked:
                    return
                call = tenant.asked.popleft()
            if call.stop():
                call.late()
            else:
                self._take(name, call, call.ask, 1)

    def _next_apart(self) -> None:
        """Work of the tenant that has the fewest threads, and of those the least time so far."""
        with self._lock:
            waiting = [(name, tenant) for name, tenant in self._tenants.items() if tenant.apart]
            name, tenant = min(waiting, key=lambda entry: (entry[1].threads, entry[1].used))
            context, call, work = tenant.apart.popleft()
            tenant.threads += 1
        began = time.thread_time()  # hosts that are waited for take nobody's time
        context.run(self._apart, name, call, work)
        with self._lock:
            tenant.threads -= 1
            tenant.used += time.thread_time() - began
            self._forget(name, tenant)

    def _apart(self, name: str, call: _Call, work: Callable[[], Any]) -> None:
        """Work that has waited for its thread."""
        if call.stop.cancelled or (call.stop() and not call.begun):
            call.late()
        else:
            self._take(name, call, work)

    def _take(self, name: str, call: _Call, ask: Callable[[], Any], own: int = 0) -> None:
        """A call goes where what it asks for is done."""
        try:
            got = ask()
            if isinstance(got, ThreadTask):
                with self._lock:
                    waiting = self._tenant(name).apart
                    waiting.append((contextvars.copy_context(), call, got.work))
                self.aside.submit(self._next_apart)
            elif isinstance(got, BatchRequest):
                call.wanted = replace(got, budget=replace(got.budget, since=call.since))
                if got.budget.seconds is not None:
                    call.reserve = checking(got.problem)
                self._line_up(name, call, got.key, own)
            else:
                call.future.set_result(got)
        except BaseException as error:
            call.fail(error)

    def _line_up(self, name: str, call: _Call, key: Hashable, own: int) -> None:
        with self._lock:
            tenant = self._tenant(name)
            line = tenant.lines.get(key)
            if line is None:
                used = min((other.used for other in tenant.lines.values()), default=0.0)
                line = tenant.lines[key] = _SharedBatch(call.wanted.minimizer, used)
            line.waiting.append(call)
        self.wake(own)

    def _end(self, name: str, call: _Call, stopped: bool) -> None:
        """Make the result of where its rows stand."""
        if stopped and call.stop.cancelled:
            call.fail(Cancelled("the caller left"))
        else:
            self._take(name, call, lambda: call.wanted.end(call.tally.solution(True, stopped)))

    def _turned(self, name: str, line: _SharedBatch | None, seconds: float) -> None:
        """The time is booked, and who has nothing left goes."""
        with self._lock:
            tenant = self._tenants[name]
            tenant.used += seconds
            tenant.turns -= 1
            if line is not None:
                line.used += seconds
                line.busy = False
            for key, one in list(tenant.lines.items()):
                if not (one.busy or one.running or one.waiting):
                    del tenant.lines[key]
            self._forget(name, tenant)

    def _forget(self, name: str, tenant: _Tenant) -> None:
        """A tenant of whom nothing is left goes."""
        left = tenant.turns or tenant.asked or tenant.lines or tenant.apart or tenant.threads
        if not left and self._tenants.get(name) is tenant:
            del self._tenants[name]

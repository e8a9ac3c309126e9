"""The work of calls, in threads: bounded, under the deadline of each call, stopped when its caller
leaves."""

import asyncio
import contextvars
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from engine.answer import Answer, Ended, Flag
from engine.errors import OutOfTime, Overloaded
from engine.sampling.draw import Samples

T = TypeVar("T")
A = TypeVar("A", Answer, Samples)


@dataclass(frozen=True)
class Policy:
    """How many solves run, how many may wait, and how long one may take."""

    workers: int = os.cpu_count() or 2
    queue: int = 64
    seconds: float = 3600.0  # for a call that sets no deadline
    interval: float = 0.1  # least seconds between two looks at a search, unless the caller says


POLICY = Policy()


class Stop:
    """The stop signal of one call: its caller left, or its time is nearly up.

    A search stops at `due`, before its next step; an exchange with a module that is still under
    way at `cut` is given up. What is left until the deadline is for judging the best so far.
    """

    def __init__(self, seconds: float, margin: float | None = None):
        if margin is None:
            margin = min(1.0, max(0.1, 0.1 * seconds), seconds / 2)
        self.since = time.monotonic()  # when the question was asked
        self.due = self.since + seconds - margin
        self.cut = self.due + 0.3 * margin
        self.end = self.due + 0.9 * margin
        self._cancelled = threading.Event()

    def __call__(self) -> bool:
        return self._cancelled.is_set() or time.monotonic() >= self.due

    def gives_up(self) -> bool:
        """No more waiting for a module."""
        return self._cancelled.is_set() or time.monotonic() >= self.cut

    def over(self) -> bool:
        """No more judging of what was found."""
        return self._cancelled.is_set() or time.monotonic() >= self.end

    @property
    def cancelled(self) -> bool:
        """The caller left."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """The caller left."""
        self._cancelled.set()

    def hurry(self, seconds: float, margin: float | None = None) -> None:
        """Have it due in so many seconds, if not earlier."""
        sooner = Stop(seconds, margin)
        self.due, self.cut = min(self.due, sooner.due), min(self.cut, sooner.cut)
        self.end = min(self.end, sooner.end)


class Workers:
    """The threads of a service, and the calls that run in them."""

    def __init__(self, policy: Policy):
        self.policy = policy
        self.pool = ThreadPoolExecutor(policy.workers, thread_name_prefix="solve")
        self._room = threading.BoundedSemaphore(policy.workers + policy.queue)
        self._running: set[Stop] = set()

    def hurry(self, seconds: float) -> None:
        """Running solves answer with their best so far within some seconds."""
        for stop in list(self._running):
            stop.hurry(seconds)

    def stop(self, context: Any) -> Stop:
        """The stop signal of a call, by its gRPC context."""
        remaining = context.time_remaining()
        return Stop(self.policy.seconds if remaining is None else max(remaining, 0.0))

    def admit(self, stop: Stop) -> Callable[[object], None]:
        """Room for one more call; what is returned gives it back. Raises Overloaded."""
        if not self._room.acquire(blocking=False):
            raise Overloaded(
                f"{self.policy.workers} solves run and {self.policy.queue} wait: try again later"
            )
        self._running.add(stop)

        def done(_: object) -> None:
            self._running.discard(stop)
            self._room.release()

        return done

    async def run(self, work: Callable[[], T], stop: Stop) -> T:
        """What `work` makes in a thread; a caller that leaves sets its stop signal."""
        done = self.admit(stop)  # given back not before the thread has ended

        def timely() -> T:
            if stop():
                raise OutOfTime("the deadline passed while the call waited for its turn")
            return work()

        try:
            future = self.pool.submit(contextvars.copy_context().run, timely)
        except RuntimeError:
            done(None)
            raise Overloaded("the service is shutting down") from None
        future.add_done_callback(done)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            stop.cancel()
            raise


def reflagged(answer: A) -> A:
    """What was stopped was stopped for want of time: a caller that cancels gets no answer."""
    flags = (Flag.DEADLINE if flag is Flag.CANCELLED else flag for flag in answer.flags)
    return replace(answer, flags=tuple(dict.fromkeys(flags)))


def presented(answer: Answer) -> Answer:
    """An answer as its caller sees it: `reflagged`, and what was stopped ended by its time."""
    late = answer.ended is Ended.CANCELLED
    return reflagged(replace(answer, ended=Ended.TIME) if late else answer)

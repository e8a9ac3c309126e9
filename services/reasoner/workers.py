"""The work of calls, in threads: bounded, under the deadline of each call, stopped when its caller
leaves."""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

from engine.answer import Answer, Ended
from engine.errors import BasinError, OutOfTime, Overloaded
from services.reasoner.deadline import Deadline, stopped_means_deadline
from services.remote.lifecycle import wait_until
from services.settings import Policy

T = TypeVar("T")


class Workers:
    """The threads of a service, and the calls that run in them."""

    def __init__(self, policy: Policy):
        self.policy = policy
        self.pool = ThreadPoolExecutor(policy.workers, thread_name_prefix="solve")
        self._room = threading.BoundedSemaphore(policy.workers + policy.queue)
        self._running: set[Deadline] = set()

    def hurry(self, seconds: float) -> None:
        """Running solves answer with their best so far within some seconds."""
        for stop in list(self._running):
            stop.hurry(seconds)

    def stop(self, context: Any) -> Deadline:
        """The stop signal of a call, by its gRPC context."""
        remaining = context.time_remaining()
        return Deadline(self.policy.seconds if remaining is None else max(remaining, 0.0))

    def admit(self, stop: Deadline) -> Callable[[object], None]:
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

    async def run(self, work: Callable[[], T], stop: Deadline) -> T:
        """What `work` makes in a thread; a caller that leaves sets its stop signal."""
        done = self.admit(stop)  # given back not before the thread has ended

        def timely() -> T:
            if stop():
                raise OutOfTime("the deadline passed while the call waited for its turn")
            try:
                with wait_until(stop.gives_up):
                    return work()
            except Exception:
                raise
            except BaseException as error:  # such as SystemExit of somebody's term: no end of ours
                raise BasinError(f"{type(error).__name__}: {error}") from error

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


def present_answer(answer: Answer) -> Answer:
    """An answer as its caller sees it: what was stopped ended by its time, with the flag for it."""
    late = answer.ended is Ended.CANCELLED
    return stopped_means_deadline(replace(answer, ended=Ended.TIME) if late else answer)

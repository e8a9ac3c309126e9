"""When a call must stop: its deadline, and whether its caller is gone."""

import threading
import time
from dataclasses import replace
from typing import TypeVar

from engine.answer import Answer, Flag
from engine.sampling.marginals import Marginals
from engine.sampling.samples import Samples

A = TypeVar("A", Answer, Samples, Marginals)


class Deadline:
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
        sooner = Deadline(seconds, margin)
        self.due, self.cut = min(self.due, sooner.due), min(self.cut, sooner.cut)
        self.end = min(self.end, sooner.end)


def stopped_means_deadline(answer: A) -> A:
    """What was stopped was stopped for want of time: a caller that cancels gets no answer."""
    flags = (Flag.DEADLINE if flag is Flag.CANCELLED else flag for flag in answer.flags)
    return replace(answer, flags=tuple(dict.fromkeys(flags)))

"""What a stream tells while a search runs."""

import asyncio
import math
import time
from collections.abc import Callable, Iterator, Sequence

import torch

from engine.answer import Answer, TermEnergy
from engine.judgement import term_names
from engine.problem import Problem
from engine.rows import Report
from engine.solve import Solution
from services.reasoner.workers import present_answer
from services.remote.lifecycle import hosted_in
from services.wire.events import Progress, Result


class Pending:
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


class Watch:
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
        self.send([Result(row, present_answer(answer))])

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
    for summand, name in zip(problem.summands, term_names(problem), strict=True):
        share = [0.0] * problem.rows
        if summand.weight is not None and hosted_in(summand.term):
            asking.append(len(known))
        elif summand.weight is not None:
            share = (summand.weight * summand.term(problem.whole(report.x)).double()).tolist()
        known.append((name, share))
    if len(asking) == 1:
        others = [sum(row) for row in zip(*(share for _, share in known), strict=True)]
        left = [e - o for e, o in zip(report.energy.tolist(), others, strict=True)]
        known[asking[0]] = (known[asking[0]][0], left)
        return known
    return [pair for place, pair in enumerate(known) if place not in asking]


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None

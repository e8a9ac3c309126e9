"""The best of what a search has reported, row by row."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from engine.domain import State
from engine.problem import Problem
from engine.rows import Report
from engine.solve.batch import Stepped
from engine.solve.budget import Budget, Solution
from engine.solve.standing import Standing


class Decided(Mapping[str, Tensor]):
    """Starting states of one particle a row, decided when they are looked at."""

    def __init__(self, problem: Problem, x: State):
        self.problem, self.x = problem, x
        self._made: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._made:
            self._made[name] = self.problem.domain(name).decide(self.x[name])
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in self.x  # what is searched: a start could draw more

    def __iter__(self) -> Iterator[str]:
        return iter(self.x)

    def __len__(self) -> int:
        return len(self.x)


class Tally:
    """How one solve goes: where its rows stand, what they have used, and which still run."""

    def __init__(
        self,
        first: Sequence[tuple[Report, int]],
        budget: Budget,
        reserve: float = 0.0,
        prepared: bool = True,
    ):
        """first: for each row, a report and its place in it; reserve: seconds of a row that are
        left for the final check; prepared: the structure was made."""
        rows = len(first)
        self.budget, self.reserve, self.prepared = budget.begun(), reserve, prepared
        self.running = set(range(rows))
        self._standing = Standing(first)
        self._steps, self._late = [0] * rows, [False] * rows
        self._share = 0.0  # seconds of each row that still runs
        self._clock = [0.0] * rows  # of those that do not
        limited = budget.steps is not None and budget.steps < 1
        self.end([row for row, (report, k) in enumerate(first) if limited or bool(report.done[k])])

    def take(self, row: int, stepped: Stepped[Any], place: int) -> None:
        """A row was moved: its entry of the step."""
        self._standing.take(row, stepped.report, place)
        self._steps[row] = stepped.steps[place]
        limit = self.budget.steps
        if stepped.done[place] or (limit is not None and stepped.steps[place] >= limit):
            self.end([row])

    def spend(self, seconds: float) -> None:
        """Time has passed, shared by the rows that run."""
        if self.running:
            self._share += seconds / len(self.running)

    def clocked(self, since: float) -> float:
        """Time has passed since then; rows that are out of time end. -> now"""
        now = time.monotonic()
        self.spend(now - since)
        self.expire()
        return now

    def expire(self) -> None:
        """Rows that are out of time end."""
        seconds = self.budget.seconds
        if seconds is not None and self._share >= seconds - self.reserve:
            for row in self.running:
                self._late[row] = True
            self.end(list(self.running))

    def end(self, rows: Sequence[int]) -> None:
        """These rows run no longer."""
        for row in rows:
            self._clock[row] = self._share
            self.running.discard(row)

    def solution(self, final: bool = False, cancelled: bool = False) -> Solution:
        """The stage that was reached."""
        clock = [
            self._share if row in self.running else spent for row, spent in enumerate(self._clock)
        ]
        return Solution(
            self._standing.report(),
            tuple(self._steps),
            time.monotonic() - (self.budget.since or 0.0),
            torch.tensor(clock, dtype=torch.float64),
            torch.tensor(self._late),
            cancelled,
            final,
            self.prepared,
        )

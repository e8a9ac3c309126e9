"""The one loop: steps a minimizer and yields ever better solutions until proved or out of budget.

Deadlines, progress, cancelling and streaming all come from this being a generator. Decisions
depend on counts; seconds only end the loop.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from engine.answer import Ended, Flag
from engine.batch import Batch, Failed, Standing, Stepped
from engine.domain import State
from engine.energy import judge, plain_scope
from engine.errors import BadQuery, Mistake
from engine.minimizer import Minimizer, Report
from engine.minimizers.portfolio import Portfolio
from engine.problem import Problem
from engine.random import Stream
from engine.start import Start

PILOT = 16  # terms that are asked beforehand, to learn how long the final check takes
MANY = 64  # terms from which on that is worth knowing
WIDE = 10_000  # or numbers of a state
SLACK = 1.2  # what it may take longer than they did
ENDLESS = Portfolio(patience=None, endless=True)


def never() -> bool:
    """The caller never stops the search."""
    return False


@dataclass(frozen=True)
class Budget:
    """What a solve may spend: seconds and steps of each row (None: no limit), and a stop signal.

    The seconds are those of the whole question: of preparing it, of the search, and of the final
    check, for which some are left.
    """

    seconds: float | None = None
    steps: int | None = None
    stop: Callable[[], bool] = never  # asked before every step: cancelling
    since: float | None = None  # `time.monotonic()` when the question was asked; None: when the
    # solve begins

    def __post_init__(self):
        for name in ("seconds", "steps"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < float("inf"):
                raise BadQuery(Mistake(f"budget.{name}", f"{value!r}", "give a number >= 0"))

    def begun(self) -> "Budget":
        """The budget of a question that is asked now, unless it was asked before."""
        return self if self.since is not None else replace(self, since=time.monotonic())

    def lasts(self, rows: int, reserve: float) -> bool:
        """Whether time is left for a search of some rows, and for the final check of each."""
        spent = time.monotonic() - (self.begun().since or 0.0)
        late = self.seconds is not None and spent / rows >= self.seconds - reserve
        return not late and not self.stop()

    def clock(self) -> Callable[[], bool]:
        """Counts the seconds: whether they are over, or the caller wants an end."""
        since = self.begun().since or 0.0
        end = math.inf if self.seconds is None else since + self.seconds
        return lambda: self.stop() or time.monotonic() >= end


def budget_of(given: Budget | None) -> Budget:
    """The budget that was given, or one without limits. Raises TypeError for anything else."""
    if given is None:
        return Budget()
    if not isinstance(given, Budget):
        raise TypeError(f"budget: {given!r} is no Budget; write Budget(seconds=...)")
    return given


def check_minimizer_given(given: Minimizer | None) -> None:
    """Raises TypeError for what is no minimizer, such as the name of one."""
    if given is not None and not isinstance(given, Minimizer):
        raise TypeError(
            f"minimizer: {given!r} is no Minimizer; give an object, such as CpSat() of "
            "engine.minimizers.cp_sat, or leave it out"
        )


@dataclass(frozen=True, eq=False)
class Solution:
    """A stage of a solve: the best states so far and what is proved of them."""

    report: Report
    steps: Sequence[int]  # (R,) that each row has made
    seconds: float
    clock: Tensor  # (R,) float64: the share of each row in the seconds
    late: Tensor  # (R,) bool: the time limit ended the search of this row
    cancelled: bool = False
    final: bool = False
    prepared: bool = True  # False: time was over before the structure was made

    def flags(self, row: int) -> tuple[Flag, ...]:
        """The circumstances of one row."""
        if bool(self.report.done[row]):
            return ()
        if bool(self.late[row]):
            return (Flag.DEADLINE,)
        return (Flag.CANCELLED,) if self.cancelled else ()

    def ended(self, row: int) -> Ended:
        """Why the search of one row ended, where nothing is proved of it."""
        if bool(self.report.done[row]):
            return Ended.GAVE_UP
        if bool(self.late[row]):
            return Ended.TIME
        return Ended.CANCELLED if self.cancelled else Ended.STEPS


def solve(
    problem: Problem,
    minimizer: Minimizer | None = None,
    *,
    particles: int = 64,
    budget: Budget | None = None,
    seed: int = 0,
    start: State | None = None,
) -> Iterator[Solution]:
    """Yields a solution whenever some row got better, and a last one with `final` set.

    `start` may hold states of any of the variables, (R * P, *event); they are projected into the
    narrowed domains first. Without a time limit the result is a function of (problem, seed). The
    default minimizer goes on until its limit of time, if there is one, or until it has proved its
    answer; a limit that is over before the search begins leaves a start as it was drawn.
    """
    if particles < 1:
        raise BadQuery(Mistake("particles", f"{particles!r}", "give at least 1"))
    budget = budget_of(budget).begun()
    check_minimizer_given(minimizer)
    if minimizer is None:
        minimizer = Portfolio() if budget.seconds is None else ENDLESS
    reserve = checking(problem) if budget.seconds is not None else 0.0
    minimizer = minimizer.until(lambda: not budget.lasts(problem.rows, reserve))
    rng = Stream(seed, problem.keys)
    x = Start(problem, particles, rng.at(0), start or {})
    batch: Batch[None] = Batch(minimizer)
    tickets = [(None, row) for row in range(problem.rows)]
    prepared = all(budget.lasts(problem.rows, reserve) for _ in minimizer.prepare(problem))
    first = batch.join(problem, x, rng, tickets) if prepared else unsearched(problem, rng, x.given)
    tally = Tally([(first, row) for _, row in tickets], budget, reserve, prepared)
    batch.leave(ticket for ticket in tickets if ticket[1] not in tally.running)
    looked = tally.clocked(budget.since or 0.0)
    cancelled = False
    while tally.running:
        if budget.stop() or not prepared:
            cancelled = True
            break
        stepped = batch.step()
        if isinstance(stepped, Failed):
            raise stepped.error
        assert stepped is not None
        for place, (_, row) in enumerate(stepped.tickets):
            tally.take(row, stepped, place)
        looked = tally.clocked(looked)
        batch.leave(ticket for ticket in stepped.tickets if ticket[1] not in tally.running)
        if any(stepped.better):
            yield tally.solution()
            looked = time.monotonic()  # what the caller does meanwhile is not the search's time
    yield tally.solution(True, cancelled)


def unsearched(problem: Problem, rng: Stream, given: State) -> Report:
    """How rows stand of which nothing but a start is known: their first particle."""
    firsts = {n: x[:: x.shape[0] // problem.rows] for n, x in given.items()}
    return Report.blank(problem, _Decided(problem, Start(problem, 1, rng.at(0), firsts)))


def checking(problem: Problem) -> float:
    """Seconds that the final check of a row will take, by some of its terms; 0 where few terms
    over little make it short, or where other processes are asked."""
    parts = problem.parts
    width = sum(math.prod(d.event) for d in problem.domains.values())
    if not parts or not all(part.term.reusable for part in parts):
        return 0.0
    if len(parts) < MANY and width < WIDE:
        return 0.0
    one, spent = problem.select([0]), []
    rng = Stream(0, one.keys)
    x = {n: one.domain(n).decide(one.sample(n, 1, rng.fork(k))) for k, n in enumerate(one.domains)}
    began = time.perf_counter()
    (plain,) = one.plain(x)
    whole = time.perf_counter() - began
    for part in parts[:: max(1, len(parts) // PILOT)]:
        began = time.perf_counter()
        if part.weight is not None:
            part.term(x)
        if judge(part.term, plain) is False:
            part.term.explain(*plain_scope(part.term, plain))
        spent.append(time.perf_counter() - began)
    if len(spent) > 1:
        spent.remove(max(spent))  # the first of a sort may prepare something
    return whole + SLACK * len(parts) * sum(spent) / len(spent)


class _Decided(Mapping[str, Tensor]):
    """Starting states of one particle a row, decided when they are looked at."""

    def __init__(self, problem: Problem, x: State):
        self.problem, self.x = problem, x
        self._made: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._made:
            self._made[name] = self.problem.domain(name).decide(self.x[name])
        return self._made[name]

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

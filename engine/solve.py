"""The one loop: steps a minimizer and yields ever better solutions until proved or out of budget.

Deadlines, progress, cancelling and streaming all come from this being a generator. Decisions
depend on counts; seconds only end the loop.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from engine.answer import Flag
from engine.domain import State
from engine.energy import scope_domains
from engine.errors import BadQuery, Mistake
from engine.minimizer import Minimizer, Report
from engine.minimizers.portfolio import Portfolio
from engine.problem import Problem
from engine.random import Stream

PROPOSED = 401  # lane of the stream that terms propose from


def never() -> bool:
    """The caller never stops the search."""
    return False


@dataclass(frozen=True)
class Budget:
    """What a solve may spend: seconds for each row (None: no limit), steps, and a stop signal."""

    seconds: float | None = None
    steps: int | None = None
    stop: Callable[[], bool] = never  # asked before every step: cancelling

    def __post_init__(self):
        for name in ("seconds", "steps"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < float("inf"):
                raise BadQuery(Mistake(f"budget.{name}", f"{value!r}", "give a number >= 0"))


@dataclass(frozen=True, eq=False)
class Solution:
    """A stage of a solve: the best states so far and what is proved of them."""

    report: Report
    steps: int
    seconds: float
    clock: Tensor  # (R,) float64: the share of each row in the seconds
    late: Tensor  # (R,) bool: the time limit ended the search of this row
    cancelled: bool = False
    final: bool = False

    def flags(self, row: int) -> tuple[Flag, ...]:
        """The circumstances of one row."""
        if bool(self.report.done[row]):
            return ()
        if bool(self.late[row]):
            return (Flag.DEADLINE,)
        return (Flag.CANCELLED,) if self.cancelled else ()


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
    narrowed domains first. Without a time limit the result is a function of (problem, seed).
    """
    if particles < 1:
        raise BadQuery(Mistake("particles", f"{particles!r}", "give at least 1"))
    run = _Run(problem, minimizer or Portfolio(), particles, budget or Budget(), seed, start)
    yield from run.loop()


class Start(Mapping[str, Tensor]):
    """Starting states, drawn or projected when a minimizer first looks at a variable.

    Where n terms propose states of a variable, particle p of each row starts from the proposal of
    the term at place p mod (n + 1); the last of these shares stays random.
    """

    def __init__(self, problem: Problem, particles: int, rng: Stream, given: State):
        self.problem, self.particles, self.rng, self.given = problem, particles, rng, given
        self._drawn: dict[str, Tensor] = {}
        self._proposed: dict[int, tuple[Tensor, ...] | None] = {}  # by the place of the term

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._drawn:
            self._drawn[name] = self._draw(name)
        return self._drawn[name]

    def _draw(self, name: str) -> Tensor:
        domain = self.problem.domain(name)
        if name in self.given:
            given = self.given[name]
            wanted = (self.problem.rows * self.particles, *domain.event)
            if given.shape[0] == self.problem.rows and self.particles > 1:
                given = given.repeat_interleave(self.particles, 0)
            if tuple(given.shape) != wanted:
                raise BadQuery(
                    Mistake(f"start.{name}", f"shape {tuple(given.shape)}", f"give {wanted}")
                )
            return domain.decide(domain.project(given))
        lane = list(self.problem.domains).index(name)
        x = domain.sample(self.particles, self.rng.fork(lane))
        proposed = list(self._proposals(name, x))
        if not proposed:
            return x
        share = (
            torch.arange(len(x), device=x.device) % self.particles % (len(proposed) + 1)
        )  # (R * P,)
        for k, states in enumerate(proposed):
            x = torch.where((share == k).view(-1, *[1] * (x.dim() - 1)), states, x)
        return x

    def _proposals(self, name: str, x: Tensor) -> Iterator[Tensor]:
        """States of one variable, for each term that proposes some; x where it says nothing."""
        domain = self.problem.domain(name)
        for place, part in enumerate(self.problem.parts):
            term = part.term
            if all(view.variable.name != name for view in term.scope):
                continue
            if place not in self._proposed:
                wide = {v.name: self.problem.domain(v.name) for v in term.variables()}
                domains = scope_domains(term, wide)
                rng = self.rng.fork(PROPOSED).fork(place)
                self._proposed[place] = term.propose(self.particles, rng, *domains)
            states = self._proposed[place]
            if states is None:
                continue
            whole = x
            for view, state in zip(term.scope, states, strict=True):
                if view.variable.name == name:
                    whole = view.placed(whole, state.to(x.dtype))
            yield domain.decide(domain.project(whole))

    def __iter__(self) -> Iterator[str]:
        return iter(self.problem.domains)

    def __len__(self) -> int:
        return len(self.problem.domains)


class _Run:
    """The moving parts of one solve: which rows still run, and the reports of those that left."""

    def __init__(self, problem, minimizer, particles, budget, seed, start):
        self.problem, self.minimizer, self.budget = problem, minimizer, budget
        self.rng = Stream(seed, problem.keys)
        x = Start(problem, particles, self.rng.at(0), start or {})
        self.state = minimizer.init(problem, x, self.rng.at(0))
        self.report = minimizer.report(problem, self.state)
        self.active = torch.arange(problem.rows)
        self.clock = torch.zeros(problem.rows, dtype=torch.float64)
        self.expired = torch.zeros(problem.rows, dtype=torch.bool)
        self.steps, self.began = 0, time.perf_counter()

    def loop(self) -> Iterator[Solution]:
        problem, rng = self.problem, self.rng
        cancelled = False
        shown = self.report
        while True:
            running = ~(self.report.done | self.expired)
            if not running.any():
                break
            if self.budget.steps is not None and self.steps >= self.budget.steps:
                break
            if self.budget.stop():
                cancelled = True
                break
            if self.expired[self.active].any():
                problem, rng = self._leave(problem, rng, running)
            before = time.perf_counter()
            self.steps += 1
            self.state = self.minimizer.step(problem, self.state, rng.at(self.steps))
            self._merge(self.minimizer.report(problem, self.state))
            self._tick(time.perf_counter() - before, running)
            if self.report.better(shown).any() or (self.report.bound > shown.bound).any():
                shown = self.report
                yield self._solution(False, False)
        yield self._solution(True, cancelled)

    def _leave(self, problem, rng, running: Tensor):
        """Rows out of time leave the batch."""
        stay = running[self.active].nonzero().reshape(-1).tolist()
        self.state = self.minimizer.select(self.state, stay, len(self.active))
        self.active = self.active[stay]
        return problem.select(stay), rng.select(torch.tensor(stay))

    def _merge(self, report: Report) -> None:
        """Put the reports of the active rows in their places."""
        if len(self.active) == self.problem.rows:
            self.report = report
            return
        at = self.active
        whole = self.report
        others = list(whole.others)
        for k, row in enumerate(at.tolist()):
            others[row] = report.others[k]
        self.report = replace(
            whole,
            x={n: t.index_copy(0, at, report.x[n]) for n, t in whole.x.items()},
            others=tuple(others),
            **{
                name: getattr(whole, name).index_copy(0, at, getattr(report, name))
                for name in ("energy", "violation", "bound", "done", "unique")
            },
        )

    def _tick(self, seconds: float, running: Tensor) -> None:
        self.clock += torch.where(running, seconds / int(running.sum()), 0.0)
        if self.budget.seconds is not None:
            self.expired |= running & (self.clock >= self.budget.seconds)

    def _solution(self, final: bool, cancelled: bool) -> Solution:
        seconds = time.perf_counter() - self.began
        late, clock = self.expired.clone(), self.clock.clone()
        return Solution(self.report, self.steps, seconds, clock, late, cancelled, final)

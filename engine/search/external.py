"""Exact solvers of others as minimizers: each row is a Boolean formula that they are handed.

They run only where a user asks for one by name. An attempt begins afresh under a limit that
doubles from step to step, in the solver's own count of work, so that a step stays pure and the
whole costs at most twice the last attempt. An attempt may be long, so it looks at the clock by
itself: what it has found by then counts.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from engine.domain import State
from engine.errors import BadQuery, Mistake
from engine.kernels.clauses import Formula, objective
from engine.minimizer import Minimizer, never
from engine.problem import Problem
from engine.random import Stream
from engine.rows import NOT_UNIQUE, UNIQUE, UNKNOWN, Report
from engine.search.boolean import NotEncodable
from engine.search.placed import Placed, PlacedOthers, first_places
from engine.search.prepared import Prepared, prepared_rows

T = TypeVar("T")

LOOK = 0.02  # seconds between two looks at the clock


def refused(why: str) -> BadQuery:
    """The error of a finisher that cannot take a problem."""
    return BadQuery(Mistake("options.minimizer", why, "leave it to the portfolio"))


class Attempt(NamedTuple):
    """What came of one call of a solver."""

    model: np.ndarray | None  # (V,) uint8; the best one found
    exhausted: bool  # nothing is left but what is known; never beside a model where only rules are
    bound: int  # no model costs less than this, in units


class FinisherState(NamedTuple):
    """Where every row stands."""

    plans: tuple[Prepared, ...]  # of each row
    allowed: Tensor  # (R, C) uint8 literals that the evidence leaves
    places: Tensor  # (R, n) the best solution
    energy: Tensor  # (R,) of it, infinite while there is none
    bound: Tensor  # (R,)
    done: Tensor  # (R,) bool
    unique: Tensor  # (R,) int8
    effort: Tensor  # (R,) int64 doublings of the limit
    others: tuple[tuple[np.ndarray, ...], ...]  # places of further solutions


@dataclass(frozen=True)
class Finisher(Minimizer[FinisherState]):
    """Abstract: complete search on the factored form by somebody else's solver.

    unique: decide uniqueness where nothing is soft; alternatives: further solutions, likewise.
    Raises BadQuery where part of the energy has no explicit structure.
    """

    unique: bool = False
    alternatives: int = 0
    over: Callable[[], bool] = never  # ends an attempt early

    @abstractmethod
    def attempt(self, formula: Formula, clauses: Sequence[np.ndarray], effort: int) -> Attempt:
        """One call of the solver on a formula and more clauses; its limit doubles with effort, and
        it ends within a tenth of a second once `over` says so."""

    def watched(self, call: Callable[[], T], halt: Callable[[], Any]) -> T:
        """What a call of the solver gives; once time is over, `halt` is called until it has ended.

        It runs in a thread of its own: this one looks at the clock, and hears Ctrl-C.
        """
        with ThreadPoolExecutor(1, thread_name_prefix="finisher") as pool:
            called = pool.submit(call)
            try:
                while not self.over() and not wait([called], LOOK).done:
                    pass
            finally:
                while not wait([called], LOOK).done:
                    halt()  # a solver may not hear what comes before it has begun
            return called.result()

    def asked(self, unique: bool, alternatives: int) -> Self:
        return replace(self, unique=unique, alternatives=alternatives)

    def until(self, over: Callable[[], bool]) -> Self:
        return replace(self, over=over)

    @property
    def wanted(self) -> int:
        """How many solutions end the search of a row where nothing is soft."""
        return max(1 + self.alternatives, 2 if self.unique else 1)

    def init(self, problem: Problem, x: State, rng: Stream) -> FinisherState:
        del x, rng
        plans, rows = prepared_rows(problem), problem.rows
        if problem.form.rest is not None or len(problem.finite) < len(problem.variables):
            raise refused("takes explicit rules and tables over finite variables only")
        try:
            _ = [plan.boolean for plan in plans]
        except NotEncodable as error:
            raise refused(f"has no form for {error}") from None
        return FinisherState(
            plans,
            torch.from_numpy(problem.allowed),
            first_places(problem),
            torch.full((rows,), math.inf, dtype=torch.float64),
            torch.full((rows,), -math.inf, dtype=torch.float64),
            torch.zeros(rows, dtype=torch.bool),
            torch.full((rows,), UNKNOWN, dtype=torch.int8),
            torch.zeros(rows, dtype=torch.int64),
            ((),) * rows,
        )

    def step(self, problem: Problem, s: FinisherState, rng: Stream) -> FinisherState:
        del problem, rng
        for r in (~s.done).nonzero().reshape(-1).tolist():
            if not self.over():
                s = self._attempted(s, r)
        return s

    def width(self, s: FinisherState) -> int:
        del s
        return 1

    def _attempted(self, s: FinisherState, r: int) -> FinisherState:
        """The state after one attempt on row r."""
        plan, b = s.plans[r], s.plans[r].boolean
        closed = b.literal[np.flatnonzero(s.allowed[r].numpy() == 0)] ^ 1
        known = [s.places[r].numpy(), *s.others[r]] if s.energy[r] < math.inf else []
        clauses = [closed[k : k + 1] for k in range(len(closed))]
        if not plan.soft:
            clauses += [b.model_literals(places) ^ 1 for places in known]
        return self._taken(s, r, self.attempt(plan.formula, clauses, int(s.effort[r])))

    def report(self, problem: Problem, s: FinisherState) -> Report:
        violation = torch.where(s.energy < math.inf, 0.0, math.inf).double()
        return Report(
            Placed(problem, s.places.numpy(), {}),
            s.energy,
            violation,
            s.bound,
            s.done,
            s.unique,
            PlacedOthers(problem, s.others, {}),
        ).to(problem.device)

    def _taken(self, s: FinisherState, r: int, got: Attempt) -> FinisherState:
        """The state with what came of an attempt on row r."""
        places, energy, bound = s.places.clone(), s.energy.clone(), s.bound.clone()
        done, unique, effort = s.done.clone(), s.unique.clone(), s.effort.clone()
        others = list(s.others)
        plan = s.plans[r]
        scale, constant = plan.boolean.scale, plan.boolean.constant
        units, cost = None, math.inf
        if got.model is not None:
            at = torch.from_numpy(plan.boolean.places(got.model))
            units = constant + objective(plan.formula, got.model)
            cost = scale.value(units)
            if s.energy[r] < math.inf and not plan.soft:
                others[r] = (*others[r], at.numpy())
                unique[r] = NOT_UNIQUE
            elif cost < s.energy[r]:
                places[r], energy[r] = at, cost
        least = scale.below(constant + got.bound)
        if constant + got.bound == units and not scale.error:
            least = cost  # the model is proved least
        bound[r] = min(max(float(bound[r]), least), float(energy[r]))
        if got.exhausted:
            done[r] = True
            if energy[r] == math.inf:
                bound[r] = math.inf  # infeasible
            elif not plan.soft and unique[r] == UNKNOWN:
                unique[r] = UNIQUE
        elif got.model is not None and not plan.soft:
            done[r] = 1 + len(others[r]) >= self.wanted
        else:
            effort[r] += 1
        return s._replace(
            places=places,
            energy=energy,
            bound=bound,
            done=done,
            unique=unique,
            effort=effort,
            others=tuple(others),
        )

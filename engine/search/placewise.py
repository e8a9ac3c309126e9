"""Minimizers that search each row by itself, over places of its sites, for ever better solutions
and ever higher bounds: what is common to those that make no Boolean formula."""

import math
from abc import ABC, abstractmethod
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar

import torch
from torch import Tensor

from engine.decimals import Ints, Scale
from engine.domain import State
from engine.errors import BadQuery
from engine.minimizer import Best, Minimizer, best_start, heard
from engine.problem import Problem
from engine.random import Stream
from engine.rows import Report
from engine.search.placed import placed_report


class PlaceSearch(Protocol):
    """The search of one row, in units of its scale. Whoever advances a copy keeps what it was."""

    @property
    def upper(self) -> int: ...  # solutions must cost less
    @property
    def bound(self) -> int | None: ...  # none costs less than this, or than `upper`; None: unknown
    @property
    def done(self) -> bool: ...  # nothing that costs less than `upper` is left

    def copy(self) -> Self: ...

    def told(self, upper: int) -> None:
        """Solutions must cost less from now on."""


P = TypeVar("P", bound=PlaceSearch)


class PlacewiseState(NamedTuple):
    """Where every row stands."""

    begun: tuple[Any, ...]  # the search of each; none before a row's first step
    fixed: dict[str, Tensor]  # (R, *event) states of the variables that are not finite
    places: Tensor  # (R, n) the best state
    energy: Tensor  # (R,) of it
    violation: Tensor  # (R,) 0 where it is a solution
    bound: Tensor  # (R,)
    done: Tensor  # (R,) bool
    stale: Tensor  # (R,) int64 steps without a gain


class Placewise(Minimizer[PlacewiseState], ABC, Generic[P]):
    """Abstract: each row is searched by itself, in units of its scale."""

    patience: int | None  # steps without a gain after which a row is done; None: when it is decided

    @abstractmethod
    def scale(self, problem: Problem, row: int) -> Scale:
        """The unit in which the search of a row counts."""

    @abstractmethod
    def begin(self, problem: Problem, row: int, upper: int | None) -> P:
        """The search of a row at its root, for solutions that cost less than `upper`; None: all."""

    @abstractmethod
    def advance(self, search: P) -> None:
        """One step of at most about 20 ms of a search, which is changed."""

    @abstractmethod
    def found(self, problem: Problem, row: int, search: P) -> Ints | None:
        """The best solution that a search found itself and that costs its `upper`. -> (n,) places
        of all visible sites"""

    def init(self, problem: Problem, x: State, rng: Stream) -> PlacewiseState:
        del rng
        why = self.refuses(problem)
        if why is not None:
            raise BadQuery(why)
        rows, best = problem.rows, best_start(problem, x)
        free = {v.name for v in problem.open if v not in problem.finite}
        return PlacewiseState(
            (None,) * rows,
            {name: best.x[name] for name in free},
            torch.from_numpy(problem.places(best.x)).long(),
            best.energy.cpu().double(),
            best.violation.cpu().double(),
            torch.full((rows,), -math.inf, dtype=torch.float64),
            torch.zeros(rows, dtype=torch.bool),
            torch.zeros(rows, dtype=torch.int64),
        )

    def step(self, problem: Problem, s: PlacewiseState, rng: Stream) -> PlacewiseState:
        del rng
        begun = list(s.begun)
        names = ("places", "energy", "violation", "bound", "done", "stale")
        out = {name: getattr(s, name).clone() for name in names}
        for row in (~s.done).nonzero().reshape(-1).tolist():
            scale, known, old = self.scale(problem, row), _known(s, row), begun[row]
            before = scale.from_on(known) if known < math.inf else None
            search = self.begin(problem, row, before) if old is None else old.copy()
            before = before if old is None else search.upper
            self.advance(search)
            begun[row] = search
            places = self.found(problem, row, search)
            better = places is not None and (before is None or search.upper < before)
            if better:
                out["places"][row] = torch.from_numpy(places)
                out["energy"][row], out["violation"][row] = scale.value(search.upper), 0.0
            energy = _known(s._replace(**out), row)
            exact = search.done and (not scale.error or energy == math.inf)
            bound = -math.inf if search.bound is None else scale.below(search.bound)
            told = max(float(s.bound[row]), energy if exact else min(bound, energy))
            out["stale"][row] = 0 if better or told > float(s.bound[row]) else s.stale[row] + 1
            over = self.patience is not None and int(out["stale"][row]) >= self.patience
            out["bound"][row], out["done"][row] = told, search.done or over
        return s._replace(begun=tuple(begun), **out)

    def told(self, problem: Problem, s: PlacewiseState, report: Report) -> PlacewiseState:
        """Takes better solutions, which the next must beat, and higher bounds."""
        own = self.report(problem, s)
        best, bound, _ = heard(problem, report, Best(dict(own.x), own.energy, own.violation))
        known = torch.where(own.violation == 0, own.energy, math.inf)
        better = (best.energy < known) & (best.violation == 0) & ~own.done
        begun, places = list(s.begun), problem.places(best.x)
        out = {n: getattr(s, n).clone() for n in ("places", "energy", "violation")}
        for row in better.nonzero().reshape(-1).tolist():
            out["places"][row] = torch.from_numpy(places[row])
            out["energy"][row], out["violation"][row] = best.energy[row].cpu(), 0.0
            search = begun[row]
            if search is not None:
                begun[row] = search = search.copy()
                search.told(self.scale(problem, row).from_on(float(best.energy[row])))
        known = torch.where(out["violation"] == 0, out["energy"], math.inf)
        bound = torch.minimum(torch.maximum(s.bound, bound.to(s.bound.device)), known)
        bound = torch.where(s.done, s.bound, torch.maximum(bound, s.bound))
        return s._replace(begun=tuple(begun), bound=bound, **out)

    def report(self, problem: Problem, s: PlacewiseState) -> Report:
        return placed_report(problem, s, s.violation)


def _known(s: PlacewiseState, row: int) -> float:
    """The energy of the best solution of a row; infinite while there is none."""
    return float(s.energy[row]) if s.violation[row] == 0 else math.inf

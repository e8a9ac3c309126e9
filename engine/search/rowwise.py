"""Minimizers that search each row by itself, on its own Boolean formula, for ever better solutions
and ever higher bounds: what is common to them.

A search counts in whole units of cost. What it finds is judged as the solutions of any other.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from fractions import Fraction
from typing import ClassVar, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from engine.decimals import Ints, Scale
from engine.domain import State
from engine.errors import BadQuery
from engine.kernels import clauses as learning
from engine.minimizer import Best, Minimizer, best_start, heard
from engine.problem import Problem
from engine.random import Stream
from engine.rows import Report
from engine.search.linear import Linear
from engine.search.placed import first_places, placed_report
from engine.search.prepared import Prepared, prepared_rows, refusal
from engine.search.short import short_search
from engine.search.simplify import Simplified, simplify
from engine.search.solutions import At, accepted_cost, capped
from engine.search.subtrees import Learner

LAZY = 64  # steps after which a search whose bound hardly rises rests
REST = 4  # steps of which it then works in one
NOTHING = np.zeros(0, dtype=np.int32)  # no literals
CLOSE = 0.1  # of the way of a bound from its first to a solution, that may be left
RISEN = 0.05  # of the distance to the best solution, that counts as a rise


class RowSearch(ABC):
    """Abstract: the search of one formula. Whoever advances a copy keeps what it was."""

    upper: int  # solutions must cost less
    never: int = learning.NEVER  # an upper that any solution beats
    bounds: ClassVar[bool] = True  # it is there for its bounds, and rests where they hardly rise

    @abstractmethod
    def copy(self) -> Self:
        """A search that goes on by itself."""

    @abstractmethod
    def advance(self) -> None:
        """One step of at most about 20 ms."""

    @abstractmethod
    def told(self, upper: int, literals: np.ndarray) -> None:
        """Solutions must cost less from now on than one at which these literals are true."""

    @property
    @abstractmethod
    def bound(self) -> int:
        """No solution costs less than this, or than `upper`."""

    @property
    @abstractmethod
    def done(self) -> bool:
        """Nothing that costs less than `upper` is left."""

    @property
    def flat(self) -> bool:
        """Its bounds are told to rise hardly at all: others are better at this formula."""
        return False

    @property
    def dives(self) -> bool:
        """A first solution is told to be close."""
        return False

    @property
    @abstractmethod
    def model(self) -> np.ndarray | None:
        """The best solution that it found itself and that costs `upper`. (V,) uint8"""


class Row(NamedTuple):
    """The search of one row."""

    search: RowSearch
    scale: Scale  # in whose units it counts
    small: tuple[Simplified, ...]  # how its models read in the formula of all rows, the last first
    constant: int  # explicit cost that it does not count, in units
    first: int  # the first bound


class RowwiseState(NamedTuple):
    """Where every row stands."""

    plans: tuple[Prepared, ...]
    allowed: Tensor  # (R, C) uint8 which literals are possible
    fixed: dict[str, Tensor]  # (R, *event) states of the variables that are not finite
    places: Tensor  # (R, n) the best solution
    energy: Tensor  # (R,) of it, infinite while there is none
    bound: Tensor  # (R,)
    done: Tensor  # (R,) bool
    turn: Tensor  # (R,) int64 steps done
    stale: Tensor  # (R,) int64 steps without a gain
    rows: tuple[Row | None, ...]  # none before a row's first step


class Rowwise(Minimizer[RowwiseState], ABC):
    """Abstract: explicit structure of which something is soft, each row searched by itself."""

    patience: int | None  # steps without a gain after which a row is done

    @abstractmethod
    def begun(self, formula: learning.Formula, owner: Ints, upper: int) -> RowSearch | None:
        """The search of a formula; None where it is too large. owner: (V,) the visible site of each
        variable, -1 where it has none"""

    def begun_exactly(
        self, formula: learning.Formula, linear: Linear, upper: int | None
    ) -> RowSearch | None:
        """The search of a formula whose costs units would round, by what they are exactly; None
        where there is none. upper: none is known"""
        del formula, linear, upper
        return None

    def refuses(self, problem: Problem) -> str | None:
        factors, rest = problem.factored()
        name = type(self).__name__
        if rest is not None:
            return f"{name} needs explicit structure; use branch_and_bound"
        if not factors.soft:
            return f"{name} needs something to pay for; use branch_and_bound"
        why = refusal(problem)
        return None if why is None else f"{name} has no form for {why}; use annealing or gibbs"

    def prepare(self, problem: Problem) -> Iterator[None]:
        yield from problem.prepare()

    def init(self, problem: Problem, x: State, rng: Stream) -> RowwiseState:
        del rng
        why = self.refuses(problem)
        if why is not None:
            raise BadQuery(why)
        rows, none = problem.rows, torch.full((problem.rows,), math.inf, dtype=torch.float64)
        places, energy = _started(problem, x)
        free = [v for v in problem.open if v not in problem.finite]
        zero = torch.zeros(rows, dtype=torch.int64)
        return RowwiseState(
            prepared_rows(problem),
            torch.from_numpy(problem.allowed),
            {v.name: x[v.name][:: x[v.name].shape[0] // rows] for v in free},
            places,
            energy,
            -none,
            torch.zeros(rows, dtype=torch.bool),
            zero,
            zero,
            (None,) * rows,
        )

    def step(self, problem: Problem, s: RowwiseState, rng: Stream) -> RowwiseState:
        del rng
        names = ("places", "energy", "bound", "done", "turn", "stale")
        new = {name: getattr(s, name).clone() for name in names}
        rows = list(s.rows)
        for r in (~s.done).nonzero().reshape(-1).tolist():
            new["turn"][r] += 1
            row = rows[r]
            if row is None:
                row = self._first(problem, s, r, new)
            elif int(s.turn[r]) % REST and _rests(row, int(s.turn[r])):
                continue
            if row is not None:
                rows[r] = row = row._replace(search=row.search.copy())
                self._advance(problem, s, r, row, new)
        return s._replace(rows=tuple(rows), **new)

    def _first(
        self, problem: Problem, s: RowwiseState, r: int, new: dict[str, Tensor]
    ) -> Row | None:
        """The search of a row under its evidence; None, and the row is done, where nothing is
        possible at the root, the formula is too large, or what this row pays beside others is
        rounded: ties are then left to others."""
        plan, energy = s.plans[r], float(s.energy[r])
        learner = plan.learner(s.allowed[r].numpy())
        if int(learner.state.ints[learning.FALSE]):
            new["done"][r], new["bound"][r] = True, energy
            return None
        if energy == math.inf:
            energy = self._seeded(problem, s, r, learner, new)
        last = simplify(learner.formula, learner.state.value)
        small = (last, learner.small) if learner.small else (last,)
        places = new["places"][r].numpy() if energy < math.inf else None
        row = self._exact(problem, plan, r, small, places)
        if row is None and not (problem.form.factors.varying and plan.factors.scale.error):
            scale, constant, upper = plan.factors.scale, learner.constant + last.constant, None
            if places is not None:
                upper = _upper(scale, energy, constant)
            search = self.begun(
                last.formula, _owners(plan, small), learning.NEVER if upper is None else upper
            )
            if search is not None:
                row = Row(search, scale, small, constant, search.bound)
        if row is None:
            new["done"][r] = True
            return None
        if places is not None:
            row.search.told(row.search.upper, _literals(plan, small, places))
        return row

    def _exact(
        self,
        problem: Problem,
        plan: Prepared,
        r: int,
        small: tuple[Simplified, ...],
        places: np.ndarray | None,
    ) -> Row | None:
        """The search of a row whose costs units would round, by what they are exactly, beside a
        solution; None where there is none."""
        linear = plan.boolean.linear
        if linear is None or not problem.exact(r):
            return None
        for one in reversed(small):
            linear = linear.left(one)
        upper = None
        if places is not None:
            upper = _upper(linear.scale, problem.exactly(places, r), linear.constant)
        search = self.begun_exactly(small[0].formula, linear, upper)
        if search is None:
            return None
        return Row(search, linear.scale, small, linear.constant, search.bound)

    @staticmethod
    def _seeded(
        problem: Problem, s: RowwiseState, r: int, learner: Learner, new: dict[str, Tensor]
    ) -> float:
        """A first solution, where a short search that tries the cheapest values first has one.
        -> what it costs; infinite for none"""
        learning.set_phase(learner.state, cheap_phase(learner.formula))
        status, state = short_search(learning.copy(learner.state), NOTHING, learning.NEVER)
        if status != learning.SATISFIED:
            return math.inf
        places = s.plans[r].boolean.places(learner._replace(state=state).model())
        energy = _cost(problem, s, r, places)
        if energy < math.inf:
            new["places"][r], new["energy"][r] = torch.from_numpy(places), energy
        return energy

    def _advance(
        self, problem: Problem, s: RowwiseState, r: int, row: Row, new: dict[str, Tensor]
    ) -> None:
        """A step of one row."""
        before, known = float(new["bound"][r]), row.search.upper
        row.search.advance()
        gained = row.search.upper < known
        if gained:
            self._found(problem, s, r, row, new)
        self._told_bound(row, r, new)
        gained = gained or float(new["bound"][r]) > before
        new["stale"][r] = 0 if gained else new["stale"][r] + 1
        if self.patience is not None and int(new["stale"][r]) >= self.patience:
            new["done"][r] = True

    def _found(
        self, problem: Problem, s: RowwiseState, r: int, row: Row, new: dict[str, Tensor]
    ) -> None:
        """Takes in the best solution of a search, at its exact cost."""
        model = row.search.model
        assert model is not None
        for small in row.small:
            model = small.model(model)
        places = s.plans[r].boolean.places(model)
        least = _cost(problem, s, r, places)
        level = not row.scale.error and least == float(new["energy"][r])  # floats may not tell
        if least < float(new["energy"][r]) or level:
            new["places"][r], new["energy"][r] = torch.from_numpy(places), least

    @staticmethod
    def _told_bound(row: Row, r: int, new: dict[str, Tensor]) -> None:
        scale, energy = row.scale, float(new["energy"][r])
        if row.search.done:
            new["done"][r] = True
            refuted = energy == math.inf and row.search.upper == row.search.never
            if refuted or (energy < math.inf and not scale.error):
                new["bound"][r] = energy
                return
        below = scale.below(row.search.bound + row.constant)
        new["bound"][r] = max(float(new["bound"][r]), min(below, energy))

    def report(self, problem: Problem, s: RowwiseState) -> Report:
        return placed_report(problem, s)

    def told(self, problem: Problem, s: RowwiseState, report: Report) -> RowwiseState:
        """Takes better solutions, whose price the next must beat, and bounds."""
        own = self.report(problem, s)
        best, bound, _ = heard(problem, report, Best(dict(own.x), own.energy, own.violation))
        ahead = (best.energy < own.energy) & (best.violation == 0) & ~own.done
        rows = list(s.rows)
        out = {name: getattr(s, name).clone() for name in ("places", "energy")}
        places = problem.places(best.x)
        for r in ahead.nonzero().reshape(-1).tolist():
            cost = accepted_cost(_at(problem, s, r), places[r], float(s.energy[r]))
            if cost is None:
                continue
            out["places"][r], out["energy"][r] = torch.from_numpy(places[r]), float(cost)
            row = rows[r]
            if row is not None:
                search = row.search.copy()
                upper = _upper(row.scale, cost, row.constant)
                search.told(upper, _literals(s.plans[r], row.small, places[r]))
                rows[r] = row._replace(search=search)
        bound = torch.minimum(torch.maximum(s.bound, bound.to(s.bound.device)), out["energy"])
        bound = torch.where(s.done, s.bound, torch.maximum(bound, s.bound))
        return s._replace(rows=tuple(rows), bound=bound, **out)

    @staticmethod
    def close(s: RowwiseState) -> Tensor:
        """Rows whose bound has come most of its way to a solution, or whose first solution is
        close. -> (R,) bool"""
        near = [row is not None and _close(row) for row in s.rows]
        return torch.tensor(near, dtype=torch.bool)

    def width(self, s: RowwiseState) -> int:
        del s
        return 1


def _started(problem: Problem, x: State) -> tuple[Tensor, Tensor]:
    """The places of the best of the states that came, and its energy; infinite where none of a
    row's keeps the rules. (R * P, *shape) -> (R, n), (R,)"""
    best = best_start(problem, x)
    kept = ((best.violation == 0) & best.energy.isfinite()).cpu()
    places = torch.from_numpy(problem.places(best.x)).long()
    least = torch.where(kept, best.energy.cpu(), math.inf).double()
    return torch.where(kept[:, None], places, first_places(problem)), least


def _at(problem: Problem, s: RowwiseState, r: int) -> At:
    fixed = {n: x[r : r + 1] for n, x in s.fixed.items()}
    return At(problem, r, s.plans[r], s.allowed[r].numpy(), fixed)


def _cost(problem: Problem, s: RowwiseState, r: int, places: np.ndarray) -> float:
    """What a solution of a row costs; infinite for none."""
    cost = accepted_cost(_at(problem, s, r), places, math.inf)
    return math.inf if cost is None else float(cost)


def _upper(scale: Scale, cost: float | Fraction, constant: int) -> int:
    """The number of units that a search has to beat, beside what it does not count."""
    units = scale.from_on(cost) - constant
    return units if scale.long else capped(units)


def _close(row: Row) -> bool:
    search = row.search
    if search.dives:
        return True
    left, way = search.upper - search.bound, search.upper - row.first
    return search.upper < search.never and left <= CLOSE * way


def cheap_phase(f: learning.Formula) -> np.ndarray:
    """The cheapest literal of each group of costs is true, all else false. -> (V,) uint8"""
    out = np.zeros(f.variables, dtype=np.uint8)
    for a, b in zip(f.cost_ptr[:-1], f.cost_ptr[1:], strict=True):
        literal = int(f.cost_lit[a + int(f.cost[a:b].argmin())])
        out[literal >> 1] = 1 - (literal & 1)
    return out


def _owners(plan: Prepared, small: tuple[Simplified, ...]) -> Ints:
    """The visible site of each variable of the last formula, -1 where it has none. -> (V,)"""
    b = plan.boolean
    out = np.full(b.variables, -1, dtype=np.int64)
    ends = int(b.offset[b.visible])
    site = np.repeat(np.arange(b.visible), np.diff(b.offset[: b.visible + 1]))
    out[b.literal[:ends] >> 1] = site
    for one in reversed(small):
        out = out[one.open]
    return out


def _literals(plan: Prepared, small: tuple[Simplified, ...], places: np.ndarray) -> np.ndarray:
    """The literals of the last formula that say these visible places."""
    out = plan.boolean.model_literals(places)
    for one in reversed(small):
        out = one.literals(out ^ 1) ^ 1
    return out


def _rests(row: Row, turn: int) -> bool:
    """Many steps have brought the bound hardly nearer to the best solution, or it is flat."""
    search = row.search
    if not search.bounds:
        return False
    long = turn > LAZY or search.flat
    return long and search.bound - row.first < RISEN * (search.upper - row.first)

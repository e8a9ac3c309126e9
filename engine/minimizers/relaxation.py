"""Branch and bound on the linear relaxation of explicit structure: bounds where sums decide.

Counted groups, clauses, linear sums and tables are rows of an integer program over the Booleans of
complete search. HiGHS tells where its relaxation is least; what is proved by that is said in whole
numbers (`engine.search.safe`), and every solution is judged as those of any other search.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine.domain import State
from engine.errors import BadQuery, Mistake
from engine.kernels import clauses as learning
from engine.minimizer import Best, Minimizer, heard
from engine.problem import Problem
from engine.random import Stream
from engine.rows import UNKNOWN, Report
from engine.search.branching import Tree
from engine.search.placed import Placed, PlacedOthers, first_places
from engine.search.prepared import Prepared, prepared_rows, refusal
from engine.search.program import Program, program_of
from engine.search.relaxation import available
from engine.search.simplify import Simplified, simplify
from engine.search.solutions import At, accepted_cost, capped

MOST = 1 << 21  # entries of the rows
LAZY = 64  # nodes after which a search whose bound hardly rises rests
REST = 4  # steps of which it then works in one
RISEN = 0.05  # of the distance to the best solution, that counts as a rise


class _Row(NamedTuple):
    """The search of one row."""

    tree: Tree
    small: tuple[Simplified, ...]  # how its columns read in the formula of all rows, the last first
    constant: int  # explicit cost that the program does not count, in units
    first: int  # the first bound


class RelaxationState(NamedTuple):
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
    rows: tuple[_Row | None, ...]  # none before a row's first step


@dataclass(frozen=True)
class LinearRelaxation(Minimizer[RelaxationState]):
    """Proves least where rules and costs are close to linear: assignments, knapsacks, covers,
    locations, rosters. Refuses what is not explicit, rules without costs, and very large programs.

    work: entries of the program times steps of the simplex method in one step of a row; the
    default is roughly 20 ms.
    patience: steps without a better solution or a higher bound after which a row is done; None:
    only when it is decided.
    """

    work: int = 2_000_000
    patience: int | None = 200

    def __post_init__(self):
        if self.work < 1:
            raise BadQuery(Mistake("work", f"{self.work!r}", "give at least 1"))

    def refuses(self, problem: Problem) -> str | None:
        factors, rest = problem.factored()
        if rest is not None:
            return "relaxation needs explicit structure; use branch_and_bound"
        if not factors.soft:
            return "relaxation needs something to pay for; use branch_and_bound"
        if not available():
            return "relaxation needs highspy; install it"
        return refusal(problem)

    def prepare(self, problem: Problem) -> Iterator[None]:
        yield from problem.prepare()

    def init(self, problem: Problem, x: State, rng: Stream) -> RelaxationState:
        del rng
        why = self.refuses(problem)
        if why is not None:
            raise BadQuery(why)
        rows, none = problem.rows, torch.full((problem.rows,), math.inf, dtype=torch.float64)
        free = [v for v in problem.open if v not in problem.finite]
        return RelaxationState(
            prepared_rows(problem),
            torch.from_numpy(problem.allowed),
            {v.name: x[v.name][:: x[v.name].shape[0] // rows] for v in free},
            first_places(problem),
            none,
            -none,
            torch.zeros(rows, dtype=torch.bool),
            torch.zeros(rows, dtype=torch.int64),
            torch.zeros(rows, dtype=torch.int64),
            (None,) * rows,
        )

    def step(self, problem: Problem, s: RelaxationState, rng: Stream) -> RelaxationState:
        del rng
        names = ("places", "energy", "bound", "done", "turn", "stale")
        new = {name: getattr(s, name).clone() for name in names}
        rows = list(s.rows)
        for r in (~s.done).nonzero().reshape(-1).tolist():
            new["turn"][r] += 1
            row = rows[r]
            if row is None:
                row = _begun(s.plans[r], s.allowed[r].numpy(), float(s.energy[r]))
                if row is None:  # nothing is possible, or it is too large to help
                    refuted = _refuted(s.plans[r], s.allowed[r].numpy())
                    new["done"][r] = True
                    new["bound"][r] = s.energy[r] if refuted else s.bound[r]
                    continue
            elif _rests(row) and int(s.turn[r]) % REST:
                continue
            rows[r] = row = row._replace(tree=row.tree.copy())
            known, entries = row.tree.best, len(row.tree.program.rows.col)
            before = float(new["bound"][r])
            row.tree.advance(max(20, self.work // (entries + 4 * row.tree.program.columns + 1000)))
            if row.tree.best is not known:
                self._found(problem, s, r, row, new)
            self._told_bound(s.plans[r], row, r, new)
            gained = row.tree.best is not known or float(new["bound"][r]) > before
            new["stale"][r] = 0 if gained else new["stale"][r] + 1
            if self.patience is not None and int(new["stale"][r]) >= self.patience:
                new["done"][r] = True
        return s._replace(rows=tuple(rows), **new)

    def _found(
        self, problem: Problem, s: RelaxationState, r: int, row: _Row, new: dict[str, Tensor]
    ) -> None:
        """Takes in the best solution of a tree, at its exact cost."""
        assert row.tree.best is not None
        model = row.tree.best.x.astype(np.uint8)
        for small in row.small:
            model = small.model(model)
        places = s.plans[r].boolean.places(model)
        cost = accepted_cost(self._at(problem, s, r), places, float(new["energy"][r]))
        if cost is not None:
            new["places"][r] = torch.from_numpy(places)
            new["energy"][r] = float(cost)

    @staticmethod
    def _told_bound(plan: Prepared, row: _Row, r: int, new: dict[str, Tensor]) -> None:
        scale, tree = plan.factors.scale, row.tree
        energy = float(new["energy"][r])
        if tree.done:
            new["done"][r] = True
            if energy == math.inf or not scale.error:
                new["bound"][r] = energy
                return
        below = scale.below(tree.bound + row.constant)
        new["bound"][r] = max(float(new["bound"][r]), min(below, energy))

    def _at(self, problem: Problem, s: RelaxationState, r: int) -> At:
        fixed = {n: x[r : r + 1] for n, x in s.fixed.items()}
        return At(problem, r, s.plans[r], s.allowed[r].numpy(), fixed)

    def report(self, problem: Problem, s: RelaxationState) -> Report:
        found = s.energy < math.inf
        return Report(
            Placed(problem, s.places.numpy(), s.fixed),
            s.energy,
            torch.where(found, 0.0, math.inf).double(),
            s.bound,
            s.done,
            torch.full_like(s.done, UNKNOWN, dtype=torch.int8),
            PlacedOthers(problem, ((),) * problem.rows, s.fixed),
        ).to(problem.device)

    def told(self, problem: Problem, s: RelaxationState, report: Report) -> RelaxationState:
        """Takes better solutions, whose price the next must beat, and bounds."""
        own = self.report(problem, s)
        best, bound, _ = heard(problem, report, Best(dict(own.x), own.energy, own.violation))
        ahead = (best.energy < own.energy) & (best.violation == 0) & ~own.done
        rows = list(s.rows)
        out = {name: getattr(s, name).clone() for name in ("places", "energy")}
        places = problem.places(best.x)
        for r in ahead.nonzero().reshape(-1).tolist():
            cost = accepted_cost(self._at(problem, s, r), places[r], float(s.energy[r]))
            if cost is None:
                continue
            out["places"][r], out["energy"][r] = torch.from_numpy(places[r]), float(cost)
            row = rows[r]
            if row is not None:
                tree = row.tree.copy()
                tree.told(capped(s.plans[r].factors.scale.from_on(cost) - row.constant))
                rows[r] = row._replace(tree=tree)
        bound = torch.minimum(torch.maximum(s.bound, bound.to(s.bound.device)), out["energy"])
        bound = torch.where(s.done, s.bound, torch.maximum(bound, s.bound))
        return s._replace(rows=tuple(rows), bound=bound, **out)

    def width(self, s: RelaxationState) -> int:
        return 1


def _begun(plan: Prepared, allowed: np.ndarray, energy: float) -> _Row | None:
    """The search of a row under its evidence; None where nothing is possible at the root, or the
    program would be too large."""
    learner = plan.learner(allowed)
    if int(learner.state.ints[learning.FALSE]):
        return None
    last = simplify(learner.formula, learner.state.value)
    program = program_of(last.formula)
    if len(program.rows.col) > MOST:
        return None
    constant = learner.constant + last.constant
    upper = learning.NEVER
    if energy < math.inf:
        upper = capped(plan.factors.scale.from_on(energy) - constant)
    tree = Tree.of(program, upper)
    small = (last, learner.small) if learner.small else (last,)
    return _Row(tree, small, constant, tree.bound)


def _refuted(plan: Prepared, allowed: np.ndarray) -> bool:
    return bool(int(plan.learner(allowed).state.ints[learning.FALSE]))


def _rests(row: _Row) -> bool:
    """Many nodes have brought the bound hardly nearer to the best solution."""
    tree = row.tree
    gap = tree.upper - row.first
    return tree.nodes > LAZY and tree.bound - row.first < RISEN * gap

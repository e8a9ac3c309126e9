"""The exact minimum of explicit structure of small width, by elimination of its sites.

Sound and complete: the least total in whole units is a proof, and so is a total that nothing
keeps finite. Where units are rounded, all states as near as they may be wrong are listed and
compared by their decimals. Source: Dechter, "Bucket elimination", Artificial Intelligence 1999.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine.answer import Proof
from engine.domain import State
from engine.errors import BadQuery, Mistake
from engine.minimizer import WIDE, Minimizer, score, sound
from engine.problem import Problem
from engine.random import Stream
from engine.rows import NOT_UNIQUE, UNIQUE, UNKNOWN, Report, particles_of
from engine.search.elimination import Elimination, Plan
from engine.search.placed import first_places, placed_report
from engine.search.plans import plan_of, shared_plan
from engine.search.ranked import Ranked
from engine.search.semiring import Least

TIES = 64  # states that are told apart by their exact costs, or by their visible sites


class EliminationState(NamedTuple):
    """Where every row stands."""

    plans: tuple[Plan, ...]
    work: Tensor  # (R,) float64 of a row
    begun: tuple[Elimination | Ranked | None, ...]  # none before and after
    fixed: dict[str, Tensor]  # (R, *event) states of the variables that are not finite
    places: Tensor  # (R, n) the least state; before, the first particle
    energy: Tensor  # (R,) of it
    violation: Tensor  # (R,) of it
    bound: Tensor  # (R,)
    done: Tensor  # (R,) bool
    unique: Tensor  # (R,) int8
    others: tuple[tuple[np.ndarray, ...], ...]  # places of the next cheapest states


@dataclass(frozen=True)
class LeastByElimination(Minimizer[EliminationState]):
    """Settles rows one by one; refuses structure whose tables grow too large on the way.

    unique: list further states where only that tells whether the least is the only one.
    alternatives: next cheapest states to report.
    visit: table entries added up in one step of a row, the last bucket beyond; the default is
    roughly 10 ms.
    """

    proof: ClassVar[Proof] = Proof.ELIMINATION

    unique: bool = False
    alternatives: int = 0
    visit: int = 8_000_000

    def __post_init__(self):
        if self.visit < 1:
            raise BadQuery(Mistake("visit", f"{self.visit!r}", "give at least 1"))

    def asked(self, unique: bool, alternatives: int) -> "LeastByElimination":
        return replace(self, unique=unique, alternatives=alternatives)

    def refuses(self, problem: Problem) -> str | None:
        if isinstance(shared_plan(problem), Plan):
            return None
        plans = (plan_of(problem, row) for row in range(problem.rows))
        why = next((plan for plan in plans if isinstance(plan, str)), None)
        return None if why is None else f"elimination needs a smaller width: {why}"

    def prepare(self, problem: Problem) -> Iterator[None]:
        yield from problem.prepare()
        _ = shared_plan(problem)

    def init(self, problem: Problem, x: State, rng: Stream) -> EliminationState:
        del rng
        plans = []
        for row in range(problem.rows):
            plan = plan_of(problem, row)
            if isinstance(plan, str):
                raise BadQuery(f"elimination needs a smaller width: {plan}")
            plans.append(plan)
        rows, particles = problem.rows, particles_of(problem, x)
        first = {v.name: x[v.name][::particles] for v in problem.open}
        told = score(problem, first)
        places = first_places(problem)
        for v in problem.finite:
            if v.name in first:
                own = first[v.name].reshape(rows, -1).cpu().long()
                places[:, problem.starts[v.name] :][:, : own.shape[1]] = own
        return EliminationState(
            tuple(plans),
            torch.tensor([plan.work for plan in plans], dtype=torch.float64),
            (None,) * rows,
            {v.name: first[v.name] for v in problem.open if v not in problem.finite},
            places,
            sound(told.energy).cpu(),
            told.violation.cpu(),
            torch.full((rows,), -math.inf, dtype=torch.float64),
            torch.zeros(rows, dtype=torch.bool),
            torch.full((rows,), UNKNOWN, dtype=torch.int8),
            ((),) * rows,
        )

    def step(self, problem: Problem, s: EliminationState, rng: Stream) -> EliminationState:
        begun, others = list(s.begun), list(s.others)
        names = ("places", "energy", "violation", "bound", "done", "unique")
        out = {name: getattr(s, name).clone() for name in names}
        for row in (~s.done).nonzero().reshape(-1).tolist():
            now = begun[row]
            if now is None:
                now = Elimination.of(s.plans[row], problem, row, Least())
            begun[row] = now = self._moved(problem, row, now)
            found = self._settled(problem, row, now)
            if found is None:
                continue
            begun[row], out["done"][row] = None, True
            out["bound"][row], out["unique"][row] = found.bound, found.unique
            if found.states:
                out["energy"][row], out["violation"][row] = found.energy, 0.0
                out["places"][row] = torch.from_numpy(found.states[0])
                others[row] = found.states[1:]
        return s._replace(begun=tuple(begun), others=tuple(others), **out)

    def report(self, problem: Problem, s: EliminationState) -> Report:
        return placed_report(problem, s, s.violation, s.unique, s.others)

    def width(self, s: EliminationState) -> int:
        return max(1, min(WIDE, int(self.visit / max(1.0, float(s.work.max())))))

    def _moved(self, problem: Problem, row: int, now: Elimination | Ranked) -> Elimination | Ranked:
        """A row after one step: messages, or a few states."""
        if isinstance(now, Elimination):
            now = now.advanced(self.visit)
            if not now.done or now.total is None:
                return now
            wanted = 1 + max(self.alternatives, TIES)
            above = math.inf if self.alternatives else _level(problem, row)
            now = Ranked(now, wanted, above).next()
        for _ in range(max(1, self.visit // (8 * len(now.of.left.options.value)))):
            if self._enough(problem, row, now):
                break
            now = now.next()
        return now

    def _enough(self, problem: Problem, row: int, now: Ranked) -> bool:
        """Nothing further has to be listed."""
        if now.done:
            return True
        level = _level(problem, row)
        if len(now.states) < 1 + self.alternatives:
            return False
        if problem.explicits[row].resolves and now.more[-1] <= level:
            return False
        if _alone(now, level) is not None or len(now.states) > 1:
            return True
        return not self.unique and len(now.found) > 1

    def _settled(self, problem: Problem, row: int, now: Elimination | Ranked) -> "_Found | None":
        """What a row comes to; None where it is not over."""
        if isinstance(now, Elimination):
            none = now.done and now.total is None
            return _Found((), math.inf, math.inf, UNKNOWN) if none else None
        if not self._enough(problem, row, now):
            return None
        explicit, total = problem.explicits[row], now.of.total
        assert isinstance(total, int)
        level = _level(problem, row)
        states = now.states
        places = [place for place, _ in states][: 1 + self.alternatives]
        complete = now.lists(level)
        if explicit.resolves:
            return self._compared(problem, row, now, complete)
        energy = explicit.scale.value(total)
        unique = _alone(now, level)
        if unique is None and len(states) > 1:
            unique = NOT_UNIQUE if states[1][1] == 0 else UNIQUE
        if unique is None:
            unique = UNIQUE if now.exhausted else UNKNOWN
        return _Found(tuple(places), energy, energy, unique)

    def _compared(self, problem: Problem, row: int, now: Ranked, complete: bool) -> "_Found":
        """States whose units are rounded, by their exact costs."""
        states = now.states
        costs = [problem.exactly(places, row) for places, _ in states]
        order = sorted(range(len(states)), key=lambda k: costs[k])
        best, unique = costs[order[0]], UNKNOWN
        energy = float(best)
        assert isinstance(now.of.total, int)
        below = problem.explicits[row].scale.below(now.of.total)
        bound = energy if complete else min(energy, below)
        if costs.count(best) > 1:
            unique = NOT_UNIQUE if complete else UNKNOWN
        elif complete:
            unique = UNIQUE
        chosen = order[: 1 + self.alternatives]
        return _Found(tuple(states[k][0] for k in chosen), energy, bound, unique)


class _Found(NamedTuple):
    """What is known of a row at its end."""

    states: tuple[np.ndarray, ...]  # places of visible sites, the least first
    energy: float
    bound: float
    unique: int


def _level(problem: Problem, row: int) -> int:
    """How many units two states may lie apart whose costs are not told apart."""
    return 2 * problem.explicits[row].scale.error


def _alone(now: Ranked, level: int) -> int | None:
    """Whether the least state is the only one, as far as what other options of its sites cost
    tells; None: it does not."""
    options, picked = now.of.left.options, now.found[0]
    visible = int(options.start[now.of.visible])
    other = np.ones(len(options.value), dtype=bool)
    other[options.start[:-1] + picked.at] = False
    if bool((picked.regret[other] > level).all()):
        return UNIQUE
    if level == 0 and bool((picked.regret[:visible][other[:visible]] == 0).any()):
        return NOT_UNIQUE
    return None

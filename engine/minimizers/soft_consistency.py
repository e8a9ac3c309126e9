"""Branch and bound under soft local consistency: costs of sites and pairs, beside linear rules."""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from engine.answer import Proof
from engine.compare import proved
from engine.domain import State
from engine.errors import BadQuery, Mistake
from engine.minimizer import Best, Minimizer, best_start, heard
from engine.problem import Problem
from engine.random import Stream
from engine.rows import Report
from engine.search.consistent import Consistent, refusal, row_of
from engine.search.messages import NEVER
from engine.search.placed import taken, units_of

LAZY = 64  # steps after which a row that is open works in one of REST
REST = 4


class ConsistencyState(NamedTuple):
    """Where every row stands."""

    best: Best
    bound: Tensor  # (R,)
    done: Tensor  # (R,) bool
    turn: Tensor  # (R,) int64 steps done
    stale: Tensor  # (R,) int64 steps without a gain
    begun: tuple[Consistent | None, ...]


@dataclass(frozen=True)
class SoftConsistency(Minimizer[ConsistencyState]):
    """Proves least where sites cost alone and in pairs: colours, frequencies, selections. Refuses
    what is not explicit, tables over more than two sites, and very large networks.

    work: table entries of one step of a row; the default is roughly 10 ms.
    patience: steps without a better solution or a higher bound after which a row is done; None:
    only when it is decided.
    """

    proof: ClassVar[Proof] = Proof.CONSISTENCY

    work: int = 2_000_000
    patience: int | None = 400

    def __post_init__(self):
        for name in ("work", "patience"):
            given = getattr(self, name)
            if given is not None and given < 1:
                raise BadQuery(Mistake(name, f"{given!r}", "give at least 1"))

    def refuses(self, problem: Problem) -> str | None:
        if problem.form.rest is not None:
            return "soft_consistency needs explicit structure; use branch_and_bound"
        why = refusal(problem.form.factors)
        return None if why is None else f"soft_consistency has no form for {why}"

    def init(self, problem: Problem, x: State, rng: Stream) -> ConsistencyState:
        del rng
        why = self.refuses(problem)
        if why is not None:
            raise BadQuery(why)
        zero = torch.zeros(problem.rows, dtype=torch.int64, device=problem.device)
        return ConsistencyState(
            best_start(problem, x),
            torch.full_like(zero, -math.inf, dtype=torch.float64),
            torch.zeros_like(zero, dtype=torch.bool),
            zero,
            zero,
            (None,) * problem.rows,
        )

    def step(self, problem: Problem, s: ConsistencyState, rng: Stream) -> ConsistencyState:
        del rng
        begun, best, bound = list(s.begun), s.best, s.bound.clone()
        done, turn, stale = s.done.clone(), s.turn.clone(), s.stale.clone()
        for row in (~s.done).nonzero().reshape(-1).tolist():
            turn[row] += 1
            if int(s.turn[row]) > LAZY and int(s.turn[row]) % REST:
                continue
            before, now = begun[row], begun[row]
            if now is None:
                now = row_of(problem, row, units_of(problem, best, row, NEVER))
                if now is None:  # costs are rounded, or their totals too large
                    done[row] = True
                    continue
            now, x = now.advanced(self.work)
            begun[row] = now
            if x is not None:
                best = taken(problem, best, row, x)
            told = _bound(problem, best, row, now)
            gained = x is not None or before is None or told > float(bound[row])
            bound[row] = max(float(bound[row]), told)
            stale[row] = 0 if gained else stale[row] + 1
            tired = self.patience is not None and int(stale[row]) >= self.patience
            done[row] = now.ended or tired
        done |= proved(problem, best.x, best.energy, best.violation, bound)
        return ConsistencyState(best, bound, done, turn, stale, tuple(begun))

    def told(self, problem: Problem, s: ConsistencyState, report: Report) -> ConsistencyState:
        """Takes better states, whose price the next must beat, and higher bounds."""
        best, bound, ended = heard(problem, report, s.best)
        rows = enumerate(s.begun)
        begun = [
            one if one is None else one.told(units_of(problem, best, r, NEVER)) for r, one in rows
        ]
        return s._replace(
            best=best,
            bound=torch.maximum(s.bound, bound),
            done=s.done | ended,
            begun=tuple(begun),
        )

    def report(self, problem: Problem, s: ConsistencyState) -> Report:
        return s.best.reported(problem, s.bound, s.done)

    def width(self, s: ConsistencyState) -> int:
        del s
        return 1


def _bound(problem: Problem, best: Best, row: int, now: Consistent) -> float:
    """What no state of a row costs less than; infinite where there is none."""
    if now.bound >= NEVER:
        return math.inf
    told = problem.explicits[row].scale.below(now.bound)
    return min(told, float(best.energy[row])) if best.known(row) else told

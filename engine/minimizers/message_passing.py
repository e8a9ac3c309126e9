"""Bounds and states by messages between sites, where sites cost in pairs: dual ascent, as TRW-S.

Rules that reach over more sites are priced by multipliers. What the local polytope leaves open
between the bound and the best state is closed by branches where rules count
(`engine/search/branched.py`).
"""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from engine.answer import Proof
from engine.compare import proved
from engine.decimals import surely_below
from engine.domain import State
from engine.errors import BadQuery, Mistake
from engine.minimizer import Best, Minimizer, best_start, heard
from engine.problem import Problem
from engine.random import Stream
from engine.rows import Report
from engine.search.branched import Branched
from engine.search.messages import NEVER, coupled_of, pieces, refusal
from engine.search.placed import taken, units_of


class MessageState(NamedTuple):
    """Where every row stands."""

    best: Best
    bound: Tensor  # (R,)
    done: Tensor  # (R,) bool
    begun: tuple[Branched | None, ...]


@dataclass(frozen=True)
class MessagePassing(Minimizer[MessageState]):
    """Raises bounds by messages, and reads states off them. Refuses what has no costs of pairs.

    visit: table entries of one step of a row, a whole pass at least; the default is roughly 10 ms.
    patience: passes without a better bound after which a row is done, or split where rules count
    and no state is known.
    splits: of a row; then it is done.
    """

    proof: ClassVar[Proof] = Proof.MESSAGES

    visit: int = 2_000_000
    patience: int = 60
    splits: int = 64

    def __post_init__(self):
        for name in ("visit", "patience", "splits"):
            if getattr(self, name) < 1:
                raise BadQuery(Mistake(name, f"{getattr(self, name)!r}", "give at least 1"))

    def refuses(self, problem: Problem) -> str | None:
        why = refusal(problem.form.factors)
        return None if why is None else f"message_passing has no form for {why}"

    def init(self, problem: Problem, x: State, rng: Stream) -> MessageState:
        del rng
        why = self.refuses(problem)
        if why is not None:
            raise BadQuery(why)
        rows, device = problem.rows, problem.device
        return MessageState(
            best_start(problem, x),
            torch.full((rows,), -math.inf, dtype=torch.float64, device=device),
            torch.zeros(rows, dtype=torch.bool, device=device),
            (None,) * rows,
        )

    def step(self, problem: Problem, s: MessageState, rng: Stream) -> MessageState:
        del rng
        begun, done, bound, best = list(s.begun), s.done.clone(), s.bound.clone(), s.best
        for row in (~s.done).nonzero().reshape(-1).tolist():
            now = begun[row]
            if now is None:
                scale = problem.explicits[row].scale
                made = coupled_of(problem.concrete(row), scale, problem.allowed[row])
                now = Branched.begun(made)
            if not now.ended:
                count = pieces(now.open[0].passing, self.visit)
                upper = self._upper(problem, best, row)
                now, x = now.advanced(count, upper, self.patience, self.splits)
                if x is not None:
                    best = taken(problem, best, row, x)
            begun[row] = now
            if -NEVER < now.bound < NEVER:
                bound[row] = max(float(bound[row]), self._bound(problem, row, now.bound))
            done[row] = now.ended
        done |= proved(problem, best.x, best.energy, best.violation, bound)
        return MessageState(best, bound, done, tuple(begun))

    def _upper(self, problem: Problem, best: Best, row: int) -> int:
        """The energy of the best state of a row in units, where it keeps the rules; NEVER: none."""
        return NEVER if problem.form.rest is not None else units_of(problem, best, row, NEVER)

    def _bound(self, problem: Problem, row: int, units: int) -> float:
        told = problem.explicits[row].scale.below(units)
        rest = problem.form.rest
        return told if rest is None else surely_below(told + rest.floor())

    def told(self, problem: Problem, s: MessageState, report: Report) -> MessageState:
        """Takes better states, towards whose energy multipliers move, and higher bounds."""
        best, bound, ended = heard(problem, report, s.best)
        return s._replace(best=best, bound=torch.maximum(s.bound, bound), done=s.done | ended)

    def report(self, problem: Problem, s: MessageState) -> Report:
        return s.best.reported(problem, s.bound, s.done)

    def width(self, s: MessageState) -> int:
        works = [one.open[0].passing.work for one in s.begun if one is not None and one.open]
        return max(1, int(self.visit / max([self.visit / 256, *works])))

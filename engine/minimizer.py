"""What a minimizer is: frozen hyper-parameters, an explicit state, pure steps, a report."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from engine.domain import State
from engine.problem import Problem
from engine.random import Stream

S = TypeVar("S")

UNKNOWN, NOT_UNIQUE, UNIQUE = -1, 0, 1
GAP = 1e-6  # an answer is optimal when energy - bound <= GAP * max(1, |energy|)


@dataclass(frozen=True, eq=False)
class Report:
    """Where a minimizer stands: one entry per row."""

    x: State  # the best decided states, (R, *event)
    energy: Tensor  # (R,) float64 of these states, infinite while there is none
    violation: Tensor  # (R,) float64: 0 where no required rule is known to fail
    bound: Tensor  # (R,) float64 proved; -inf: nothing proved; +inf: proved infeasible
    done: Tensor  # (R,) bool: this minimizer has nothing left to do
    unique: Tensor  # (R,) int8: UNKNOWN, NOT_UNIQUE or UNIQUE
    others: Sequence[tuple[State, ...]] = ()  # alternatives of each row, states of one row

    @staticmethod
    def blank(problem: Problem, x: State) -> "Report":
        """A report in which nothing is known."""
        rows = problem.rows
        return Report(
            x,
            torch.full((rows,), torch.inf, dtype=torch.float64),
            torch.full((rows,), torch.inf, dtype=torch.float64),
            torch.full((rows,), -torch.inf, dtype=torch.float64),
            torch.zeros(rows, dtype=torch.bool),
            torch.full((rows,), UNKNOWN, dtype=torch.int8),
            ((),) * rows,
        )

    def better(self, other: "Report") -> Tensor:
        """Rows in which this report has the better state: violation first, then energy. -> (R,)"""
        lower = self.energy < other.energy - 1e-12 * other.energy.abs().nan_to_num(0, 0, 0)
        level = (self.violation - other.violation).abs().nan_to_num(0) <= 1e-9
        level = level | (self.violation == other.violation)
        return (self.violation < other.violation - 1e-9) | (level & lower)

    def joined(self, other: "Report") -> "Report":
        """The best of two reports about the same rows, and everything that either proved."""
        take = other.better(self)
        x = {
            n: torch.where(take.view(-1, *[1] * (t.dim() - 1)), other.x[n], t)
            for n, t in self.x.items()
        }
        return Report(
            x,
            torch.where(take, other.energy, self.energy),
            torch.where(take, other.violation, self.violation),
            torch.maximum(self.bound, other.bound),
            self.done | other.done,
            torch.maximum(self.unique, other.unique),
            tuple(
                b if len(b) > len(a) else a for a, b in zip(self.others, other.others, strict=True)
            ),
        )


class Minimizer(ABC, Generic[S]):
    """Searches for the least energy in steps of at most about 20 ms of work.

    A step is pure: the same problem, state and stream give the same next state. It branches on
    counts, never on the clock.
    """

    @abstractmethod
    def init(self, problem: Problem, x: State, rng: Stream) -> S:
        """The state to start from; x holds P particles a row: (R * P, *event)."""

    @abstractmethod
    def step(self, problem: Problem, s: S, rng: Stream) -> S:
        """One more step. A state that is done comes back as it is."""

    @abstractmethod
    def report(self, problem: Problem, s: S) -> Report:
        """The best decided states so far, and what is proved."""

    def select(self, s: S, rows: Sequence[int], total: int) -> S:
        """The state of some of the `total` rows; the default takes every tensor that leads with
        rows or with rows times particles, and every tuple of `total` entries."""
        return select_rows(s, rows, total)


def select_rows(s: Any, rows: Sequence[int], total: int) -> Any:
    """A state record with only some of its rows."""
    index = torch.as_tensor(rows, dtype=torch.long)

    def take(field: Any) -> Any:
        if isinstance(field, Tensor) and field.dim() and field.shape[0] % total == 0:
            return field.unflatten(0, (total, -1))[index].flatten(0, 1)
        if isinstance(field, dict):
            return {name: take(value) for name, value in field.items()}
        if isinstance(field, Report):
            taken = {
                n: take(getattr(field, n))
                for n in ("x", "energy", "violation", "bound", "done", "unique", "others")
            }
            return replace(field, **taken)
        if type(field) is tuple and len(field) == total:
            return tuple(field[r] for r in rows)
        if isinstance(field, tuple) and hasattr(field, "_fields"):
            return type(field)(*(take(value) for value in field))
        return field

    return take(s)


class Scored(NamedTuple):
    """Energy and violation of decided states."""

    energy: Tensor  # (B,) float64
    violation: Tensor  # (B,) float64


@torch.no_grad()
def score(problem: Problem, x: State) -> Scored:
    """Energy of the weighted terms and violation of the required ones. (B, *event) -> (B,)"""
    return Scored(*problem.energy.totals(x))

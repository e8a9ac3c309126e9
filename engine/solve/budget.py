"""How long a search may take, and what it gives."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from engine.answer import Ended, Flag
from engine.errors import BadQuery, Mistake
from engine.minimizer import Minimizer, never
from engine.minimizers.portfolio import Portfolio
from engine.rows import Report
from engine.solve.standing import gather_rows

SLACK = 1.2  # what it may take longer than they did
ENDLESS = Portfolio(patience=None, endless=True)


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


def minimizer_of(given: Minimizer | None, budget: Budget) -> Minimizer:
    """Who searches within a budget. Raises TypeError for what is no minimizer."""
    check_minimizer_given(given)
    if given is not None:
        return given
    return Portfolio() if budget.seconds is None else ENDLESS


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
    search: Any = None  # the state of the minimizer, in the final solution of one row

    def select(self, rows: Sequence[int]) -> "Solution":
        """Some of the rows."""
        index = torch.as_tensor(rows)
        return replace(
            self,
            report=gather_rows([(self.report, row) for row in rows]),
            steps=[self.steps[row] for row in rows],
            clock=self.clock[index],
            late=self.late[index],
        )

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

"""What a person passes from Python by habit is taken, or told with what to pass instead."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from engine import BadQuery, Budget, Finite, Problem, Term, Variable, answers, solve
from engine.energy import Sum
from engine.explain.alternatives import alternatives, unique
from engine.explain.conflict import conflict
from engine.explain.runner_up import runner_up
from engine.sampling.draw import samples
from engine.session import Session
from modules.discrete.table import Table

X = Variable("x", Finite((0, 1, 2)))
TERM = Table(X, sites=[0], costs=[3.0, 1.0, 2.0])
PROBLEM = Problem(TERM)
(ANSWER,) = answers(PROBLEM)

TAKES_BUDGET: dict[str, Callable[[Any], Any]] = {
    "answers": lambda b: answers(PROBLEM, budget=b),
    "solve": lambda b: list(solve(PROBLEM, budget=b)),
    "samples": lambda b: samples(PROBLEM, 2, budget=b),
    "session": lambda b: Session(PROBLEM).answer(b),
    "conflict": lambda b: conflict(PROBLEM, 0, b),
    "alternatives": lambda b: alternatives(PROBLEM, ANSWER, 1, budget=b),
    "unique": lambda b: unique(PROBLEM, ANSWER, budget=b),
    "runner_up": lambda b: runner_up(PROBLEM, ANSWER, budget=b),
}
TAKES_MINIMIZER: dict[str, Callable[[Any], Any]] = {
    "answers": lambda m: answers(PROBLEM, m),
    "solve": lambda m: list(solve(PROBLEM, m)),
    "session": lambda m: Session(PROBLEM, minimizer=m),
    "alternatives": lambda m: alternatives(PROBLEM, ANSWER, 1, minimizer=m),
    "unique": lambda m: unique(PROBLEM, ANSWER, minimizer=m),
    "runner_up": lambda m: runner_up(PROBLEM, ANSWER, minimizer=m),
}


@pytest.mark.parametrize("budget", [1.0, 0, 0.0, 5, "1 s", {"seconds": 1}, Budget])
@pytest.mark.parametrize("door", TAKES_BUDGET)
def test_what_is_no_budget_is_told(door: str, budget: Any) -> None:
    with pytest.raises(TypeError, match=r"is no Budget; write Budget\(seconds="):
        TAKES_BUDGET[door](budget)
    TAKES_BUDGET[door](Budget(seconds=5.0))
    TAKES_BUDGET[door](None)


@pytest.mark.parametrize("minimizer", ["cp_sat", "", 0, Term])
@pytest.mark.parametrize("door", TAKES_MINIMIZER)
def test_what_is_no_minimizer_is_told(door: str, minimizer: Any) -> None:
    with pytest.raises(TypeError, match=r"is no Minimizer; give an object, such as CpSat\(\)"):
        TAKES_MINIMIZER[door](minimizer)


@pytest.mark.parametrize(
    "energy", [TERM, TERM + 2.0 * TERM, TERM | TERM], ids=["term", "sum", "or"]
)
def test_a_weight_stands_on_either_side(energy: Any) -> None:
    state = {"x": torch.eye(3)}
    for weight in (2, 0.5):
        left, right = weight * energy, energy * weight
        assert isinstance(right, Sum)
        torch.testing.assert_close(left(state), right(state))
    for wrong in (0, -1.0, float("nan"), float("inf")):
        with pytest.raises(BadQuery, match="give a number above 0"):
            energy * wrong
    for wrong in ("a", True, None, TERM):
        with pytest.raises(TypeError):
            energy * wrong

"""Sites and numbers together, and problems that fall apart, measured on the examples of
`tests/foundation` and of the tests of `engine.minimizers.leaves`.

Seconds are those of the CPU, of one core. The answers of sessions and those found from nothing are
held against a Riccati recursion; the net against a grid of numbers for each pair of names, polished;
quadratic costs against enumeration and a linear solve for each.
"""

import statistics
import time
from collections.abc import Callable, Iterable

import numpy as np
import torch

from benchmarks.common import Row, at_least, at_most, one_core
from engine import Finite, Problem, Real, Status, Term, Variable, answers
from engine.answer import Answer
from engine.session import Session
from modules.discrete.all_different import AllDifferent
from tests.engine.minimizers.test_mixed import Mixed
from tests.foundation import test_horizon as horizon
from tests.foundation import test_mixed as nets
from tests.foundation.test_pictures import lines

PUZZLE = "8..........36......7..9.2...5...7.......457.....1...3...1....68..85...1..9....4.."
TICKS, EVERY = 100, 20


def run(seed: int = 0) -> list[Row]:
    """All rows."""
    with one_core():
        return [row for section in (sudoku, coupled, net, session) for row in section(seed)]


class Apart(Term):
    """E = |x - 0.3|^2."""

    dtype = torch.float64

    def energy(self, x):
        return (x - 0.3).square().sum(1)

    def floor(self):
        return 0.0


class Together(Term):
    """E = (x - what three cells add up to)^2 / 2 + off x^2."""

    affine = False
    dtype = torch.float64

    def __init__(self, cells, x, off=0.0):
        super().__init__(cells, x)
        self.off = off

    def energy(self, cells, x):
        digits = torch.arange(1, 10, dtype=cells.dtype)
        total = (cells * digits).sum((1, 2))
        return (x[:, 0] - total).square() / 2 + self.off * x[:, 0].square()

    def floor(self):
        return 0.0


def sudoku(seed: int = 0) -> Iterable[Row]:
    """One puzzle alone, beside a number, and with a cost that a number and three cells share."""
    grid, x = Variable("grid", Finite(range(1, 10), (9, 9))), Variable("x", Real((1,), -20.0, 60.0))
    rules = AllDifferent(grid, lines=lines(9))
    given = [[None if c == "." else int(c) for c in PUZZLE[9 * r : 9 * r + 9]] for r in range(9)]
    cells = grid[0, :3]
    kinds = {
        "alone": Problem(rules, (grid,)),
        "beside": Problem(rules + 1.0 * Apart(x), (grid, x)),
        "floor": Problem(rules + 1.0 * Together(cells, x), (grid, x)),
        "above": Problem(rules + 1.0 * Together(cells, x, 0.1), (grid, x)),
    }
    told: dict[str, tuple[float, Answer]] = {}
    for name, problem in kinds.items():
        asked = problem.given(grid=given)
        told[name] = _least(lambda asked=asked: answers(asked, seed=seed)[0])
    alone, beside = told["alone"], told["beside"]
    exact = 0.1 * _total(told["above"][1]) ** 2 / 1.2  # the least over x, of the only solution
    yield at_most(
        "Sudoku beside an unrelated number with a cost of floor 0, OPTIMAL: more than the Sudoku",
        1000 * (beside[0] - alone[0]) if beside[1].status is Status.OPTIMAL else None, 20, "ms",
        note=f"the Sudoku alone {1000 * alone[0]:.2g} ms",
    )  # fmt: skip
    yield at_least(
        "Sudoku with a cost of a number and three cells, floor reached: OPTIMAL",
        float(told["floor"][1].status is Status.OPTIMAL), 1, "answers",
        note=f"{1000 * told['floor'][0]:.3g} ms",
    )  # fmt: skip
    above = told["above"][1]
    valid = above.status is Status.SATISFIED and (above.bound or 0.0) <= exact
    yield at_least(
        "the same, floor not reached: SATISFIED with a valid bound", float(valid), 1, "answers",
        note=f"energy {above.energy:.9g}, exact {exact:.9g}, bound {above.bound}",
    )  # fmt: skip


def _total(answer: Answer) -> int:
    assert answer.values is not None
    return sum(answer.values["grid"][0][:3])


def coupled(seed: int = 0) -> Iterable[Row]:
    """Small problems of two sites and two numbers that meet in a quadratic cost."""
    answers(Mixed(0, 2, 3, 2, 1, rule=False).problem)
    off, spent = [], []
    for k in range(50):
        mixed = Mixed(1000 * seed + k, 2, 3, 2, 1, rule=False)
        seconds, answer = _least(lambda mixed=mixed: answers(mixed.problem, seed=seed)[0], 3)
        off.append(abs((answer.energy or 0.0) - mixed.least(0)))
        spent.append(1000 * seconds / 6)
    title = "50 small problems, 2 sites x 2 numbers, 6 leaves each"
    yield at_most(f"{title}: energy from enumeration and a linear solve", max(off), 1e-6, "nats")
    yield at_most(
        f"{title}: a leaf, the whole answer counted", statistics.mean(spent), 5, "ms",
        note=f"{max(spent):.2g} ms at most",
    )  # fmt: skip
    mixed = Mixed(seed, 2, 3, 2, 50, rule=False)
    seconds, _ = _least(lambda: answers(mixed.problem, seed=seed)[0], 3)
    yield at_most("50 rows of one such problem: a leaf", 1000 * seconds / 300, 5, "ms")


def net(seed: int = 0) -> Iterable[Row]:
    """A small net over two numbers and two sites of three values, beside hard rules."""
    off, spent, said = [], [], 0
    for k in range(5):
        problem = nets.problem(7 + k)
        seconds, answer = _least(lambda problem=problem: answers(problem, seed=seed)[0], 2)
        off.append((answer.energy or 0.0) - nets.best_known(problem.summands[0].term))
        spent.append(seconds)
        said += answer.converged is True
    title = "5 mixed queries of a net over 2 numbers and 2 sites"
    yield at_most(f"{title}: above the best known", max(off), 1e-5, "nats")
    yield at_most(f"{title}: seconds of the slowest", max(spent), 5, "s")
    yield at_least(f"{title}: say that their numbers converged", said, 5, "answers")


def session(seed: int = 0) -> Iterable[Row]:
    """A moving horizon: one session against a solve from nothing, at every tick."""
    rng, state, asked = np.random.default_rng(seed), np.array([1.0, -0.5]), horizon.problem()
    talk = Session(asked.given(**horizon.given(state)), particles=4)
    warm, cold, alike = list[int](), list[int](), 0
    for tick in range(TICKS):
        talk.given(horizon.given(state))
        found = talk.answer()
        least, push = horizon.plan(state)
        alike += found.status is Status.SATISFIED and _near(found, least)
        if tick:
            warm.append(found.steps)
        if tick % EVERY == 0:
            (fresh,) = answers(asked.given(**horizon.given(state)), particles=4)
            alike -= fresh.status is not found.status or not _near(fresh, least)
            cold.append(fresh.steps)
        state = horizon.STEP @ state + horizon.PUSH * push + rng.normal(size=2) * 0.02
    title = f"moving horizon, {TICKS} ticks, the default search"
    steps = statistics.mean(warm), statistics.mean(cold)
    yield at_most(
        f"{title}: steps of the session, of those from nothing", steps[0] / steps[1], 0.4, "times",
        note=f"{steps[0]:.0f} and {steps[1]:.0f} a tick, the latter at every {EVERY}th",
    )  # fmt: skip
    title = f"{title}: answers judged as those from nothing, and near the exact plan"
    yield at_least(title, alike, TICKS, "ticks")


def _near(answer: Answer, least: float) -> bool:
    return answer.energy is not None and abs(answer.energy - least) <= 1e-2 * max(least, 0.1)


def _least(call: Callable[[], Answer], times: int = 5) -> tuple[float, Answer]:
    """The least CPU seconds of several calls, and what the last gave."""
    every = []
    for _ in range(times):
        began = time.process_time()
        answer = call()
        every.append(time.process_time() - began)
    return min(every), answer

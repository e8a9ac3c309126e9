"""Partial values: fillings of a solution against the same with one cell changed.

A changed filling that can be completed is a filling of another solution, so no score can be sure
of it; graded scores beside the proof show how much the way in which fillings were drawn gives away.
"""

import random
from collections.abc import Callable

import numpy as np

from benchmarks.common import Row, at_least, at_most, auroc, clock
from engine.answer import Status
from engine.explain.partial import partial
from engine.kernels import cover as covering
from engine.problem import Problem
from engine.search.prepared import prepared_of
from examples.generators.settled import problem_of
from examples.generators.sudoku import boxes, rows_and_columns, sudoku
from tests.support.oracle import Judge, feasible

Filled = dict[int, int]  # values of some cells


def partial_rows(seed: int, count: int) -> list[Row]:
    """Fillings of a solution, and the same with one cell changed to a value no peer shows."""
    rng = random.Random(f"partial {seed}")
    empty = {**sudoku(seed), "evidence": {}}
    lines = rows_and_columns(9) + boxes(9)
    peers = [sorted({t for line in lines if s in line for t in line} - {s}) for s in range(81)]
    right: list[Filled] = []
    wrong: list[Filled] = []
    solutions = [_solution(seed + k) for k in range(max(1, count // 50))]
    for k in range(count):
        full = solutions[k % len(solutions)]
        cells = rng.sample(range(81), rng.randint(25, 60))
        filled = {s: full[s] for s in cells}
        right.append(filled)
        changes = [
            (s, v)
            for s in cells
            for v in range(1, 10)
            if v != full[s] and all(filled.get(p) != v for p in peers[s])
        ]
        if changes:
            site, value = rng.choice(changes)
            wrong.append({**filled, site: value})
    problem = problem_of(empty)

    def scores(every: list[Filled]) -> tuple[list[float], float]:
        told, worst = [], 0.0
        for filled in every:
            grid = [[filled.get(9 * r + c) for c in range(9)] for r in range(9)]
            with clock() as taken:
                answer = partial(problem.given(grid=grid))[0]
            worst = max(worst, taken.wall)
            told.append(0.0 if answer.status is Status.INFEASIBLE else 1.0)
        return told, worst

    scores(right[:5])
    with clock() as taken:
        good, slow = scores(right)
        bad, slower = scores(wrong)
    mean = 1000 * taken.wall / (len(right) + len(wrong))
    places = [[("grid", s, v) for s, v in filled.items()] for filled in wrong]
    alive = [bool(feasible(empty, some)) for some in places]
    open_ones = [score for score, can in zip(bad, alive, strict=True) if can]
    dead = [score for score, can in zip(bad, alive, strict=True) if not can]
    title = f"partial score, {len(right):,} fillings of a solution and {len(wrong):,} changed ones"
    rows = [
        at_least(
            f"{title}: AUROC", auroc(good, bad), 0.99, "",
            note=f"ruled out: {good.count(0)} right ones, {bad.count(0)} changed ones; "
            f"{len(open_ones)} changed ones can be completed, says CP-SAT: as fillings of another solution",
        ),
        at_least(
            f"{title}: AUROC for what can be completed, by CP-SAT",
            auroc(good + open_ones, dead), 0.99, "",
            note=f"of {len(dead)} that cannot be completed {dead.count(0)} were ruled out",
        ),
        at_most(
            f"{title}: ruled out wrongly", (good + open_ones).count(0), 0, "fillings",
        ),
        at_most(f"{title}: mean, one by one", mean, 10, "ms"),
        at_most(f"{title}: slowest", 1000 * max(slow, slower), 10, "ms"),
    ]  # fmt: skip
    graded = Graded(problem, peers)
    return rows + [
        row for name in graded.scores for row in _graded(title, graded, name, right, wrong)
    ]


def _graded(
    title: str, graded: "Graded", name: str, right: list[Filled], wrong: list[Filled]
) -> list[Row]:
    """What a graded score makes of the same fillings, and how long it takes."""
    score = graded.scores[name]
    with clock() as taken:
        good, bad = [score(f) for f in right], [score(f) for f in wrong]
    mean = 1000 * taken.cpu / (len(right) + len(wrong))
    return [
        at_least(
            f"{title}: AUROC of another score, {name}", auroc(good, bad), 0.99, "",
            note=f"{mean:.3g} ms a filling; among those that can be completed "
            f"{auroc(good, [x for x in bad if x > 0]):.3f}",
        )
    ]  # fmt: skip


class Graded:
    """Scores that grade what can be completed; 0 where a filling cannot be."""

    def __init__(self, problem: Problem, peers: list[list[int]]):
        self.cover, self.peers = prepared_of(problem).cover, peers
        self.scores: dict[str, Callable[[Filled], float]] = {
            "filled cells": lambda f: float(len(f)) if self.counts([f], 1)[0] else 0.0,
            "1 / completions, counted to 100": self.few,
            "completions / those of all one-cell changes, counted to 50": self.likely,
        }

    def counts(self, fillings: list[Filled], most: int) -> np.ndarray:
        """Completions of each filling, up to `most`."""
        assert self.cover is not None
        allowed = np.ones((len(fillings), 81, 9), np.uint8)
        for row, filled in enumerate(fillings):
            for s, v in filled.items():
                allowed[row, s] = 0
                allowed[row, s, v - 1] = 1
        return covering.search(self.cover, allowed.reshape(-1, 729), 1000, most).found

    def few(self, filled: Filled) -> float:
        """1 / N(f)."""
        count = int(self.counts([filled], 100)[0])
        return 1 / count if count else 0.0

    def likely(self, filled: Filled) -> float:
        """N(f) / (1/2 + sum of N over all fillings that differ in one cell)."""
        count = int(self.counts([filled], 50)[0])
        if not count:
            return 0.0
        others = [
            {**filled, s: v}
            for s in filled
            for v in range(1, 10)
            if v != filled[s] and all(filled.get(p) != v for p in self.peers[s])
        ]
        return count / (0.5 + (float(self.counts(others, 50).sum()) if others else 0.0))


def _solution(seed: int) -> list[int]:
    found = Judge(sudoku(seed)).solve()[2]
    assert found is not None
    return [found["grid", s] for s in range(81)]

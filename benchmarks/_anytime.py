"""How good answers are after 0.1, 1 and 10 seconds of the CPU, beside CP-SAT and HiGHS alone, and
what is said of problems that are too hard.

Each search runs once and tells when it found what; all have one core and count their CPU seconds,
so that a busy machine changes no figure. A gap is the distance to the best cost that anyone found,
as a share of it: 0 where an answer is the best known, 1 at most and where there is none. CP-SAT
builds its model within its time; HiGHS is given the rows of our own linear program.
"""

import math
import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
from ortools.sat.python import cp_model

from benchmarks.common import Row, at_least, at_most, clock, missing, reasoner
from engine.answer import Flag
from engine.problem import Problem
from engine.search.prepared import prepared_of
from engine.search.program import OPEN, program_of
from engine.solve import Budget, solve
from engine.solve.budget import ENDLESS
from examples.generators import weighted as made
from services.query import Options, query_of
from tests.support.oracle import UNITS, Judge

MARKS = (0.1, 1.0, 10.0)  # seconds
HARD = 20.0  # seconds that a problem too hard is given
TOLD = 30  # of these problems
Query = Mapping[str, Any]
Curve = list[tuple[float, float]]  # seconds and energies

LARGE: dict[str, Callable[[int], Query]] = {
    "knapsack 100, 5 weights": lambda seed: made.knapsack(100, seed, rows=5),
    "set cover 200x1000": lambda seed: made.set_cover(200, 1000, seed),
    "facility 60x25": lambda seed: made.facility(60, 25, seed),
    "roster 25x28": lambda seed: made.roster(25, 28, seed),
    "selection 100": lambda seed: made.selection(100, seed),
    "bin packing 60": lambda seed: made.bin_packing(60, seed),
    "tour 14": lambda seed: made.tour(14, seed),
    "tour 20": lambda seed: made.tour(20, seed),
    "weighted clauses 150": lambda seed: made.weighted_clauses(150, seed),
}

HARDEST: Sequence[Callable[[int], Query]] = (
    lambda seed: made.weighted_clauses(180, seed),
    lambda seed: made.weighted_clauses(200, seed),
    lambda seed: made.knapsack(200, seed, rows=8),
    lambda seed: made.knapsack(400, seed, rows=10),
    lambda seed: made.selection(300, seed),
    lambda seed: made.selection(200, seed),
    lambda seed: made.knapsack(800, seed, rows=12),
    lambda seed: made.set_cover(300, 900, seed),
    lambda seed: made.weighted_clauses(160, seed),
    lambda seed: made.facility(150, 60, seed),
)


class Told(NamedTuple):
    """What one search came to."""

    curve: Curve
    proved: bool
    seconds: float


def ours(query: Query, seconds: float) -> Told:
    """The default search under a limit, from the compiled query."""
    problem = reasoner().compiler.problem(query_of(query))
    began, curve = time.process_time(), []

    def spent() -> float:
        return time.process_time() - began

    for one in solve(problem, ENDLESS, budget=Budget(stop=lambda: spent() >= seconds)):
        last = one.report
        if float(last.violation[0]) == 0 and math.isfinite(float(last.energy[0])):
            curve.append((spent(), float(last.energy[0])))
    return Told(curve, float(last.bound[0]) >= float(last.energy[0]), spent())


class Found(cp_model.CpSolverSolutionCallback):
    """When CP-SAT found what."""

    def __init__(self, began: float):
        super().__init__()
        self.began, self.curve = began, list[tuple[float, float]]()

    def on_solution_callback(self) -> None:
        self.curve.append((time.process_time() - self.began, self.objective_value / UNITS))


def cp_sat(query: Query, seconds: float) -> Told:
    """One worker, model building included."""
    began = time.process_time()
    judge, solver, found = Judge(query), cp_model.CpSolver(), Found(began)
    solver.parameters.num_workers, solver.parameters.linearization_level = 1, 2
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.01):
            if time.process_time() - began >= seconds:
                solver.stop_search()

    watching = threading.Thread(target=watch)
    watching.start()
    status = solver.solve(judge.model, found)
    over.set()
    watching.join()
    return Told(found.curve, status == cp_model.OPTIMAL, time.process_time() - began)


def highs(problem: Problem, seconds: float) -> Told:
    """The integer program that our relaxation has, by HiGHS with all that it does by itself."""
    import highspy

    plan = prepared_of(problem)
    program, scale = program_of(plan.formula), plan.factors.scale
    constant = plan.boolean.constant + program.constant
    began, curve = time.process_time(), list[tuple[float, float]]()
    model, rows, n = highspy.HighsLp(), program.rows, program.columns
    model.num_col_, model.num_row_ = n, rows.count
    model.col_cost_ = program.cost.astype(float)
    model.col_lower_, model.col_upper_ = np.zeros(n), np.ones(n)
    model.row_lower_ = np.where(rows.low == -OPEN, -np.inf, rows.low.astype(float))
    model.row_upper_ = np.where(rows.high == OPEN, np.inf, rows.high.astype(float))
    model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    model.a_matrix_.start_ = rows.ptr.astype(np.int32)
    model.a_matrix_.index_ = rows.col.astype(np.int32)
    model.a_matrix_.value_ = rows.coef.astype(float)
    model.integrality_ = [highspy.HighsVarType.kInteger] * n
    solver = highspy.Highs()
    for name, value in (("output_flag", False), ("threads", 1), ("mip_rel_gap", 0.0)):
        solver.setOptionValue(name, value)
    solver.passModel(model)

    def better(event: Any) -> None:
        told = round(event.data_out.mip_primal_bound) + constant
        curve.append((time.process_time() - began, scale.value(told)))

    def stops(event: Any) -> None:
        if time.process_time() - began >= seconds:
            event.interrupt()

    solver.cbMipImprovingSolution.subscribe(better)
    solver.cbMipInterrupt.subscribe(stops)
    solver.solve()
    proved = solver.getModelStatus() == highspy.HighsModelStatus.kOptimal
    if proved:
        value = round(solver.getObjectiveValue()) + constant
        curve.append((time.process_time() - began, scale.value(value)))
    return Told(curve, proved, time.process_time() - began)


def at(told: Told, mark: float) -> float:
    """The best cost at some time."""
    return min((energy for seconds, energy in told.curve if seconds <= mark), default=math.inf)


def gap(energy: float, best: float) -> float:
    """How far a cost is from the best known. -> 0 to 1"""
    return min(1.0, (energy - best) / max(1.0, abs(best)))


def quality(seed: int, seeds: int) -> list[Row]:
    """The mean gap of each search at each time, over every family."""
    gaps: dict[tuple[int, float], list[float]] = {}
    open_: dict[tuple[int, float], int] = {}
    apart: dict[float, list[str]] = {mark: [] for mark in MARKS}
    for name, make in LARGE.items():
        ours(make(1000 * seed + 999), 0.5)
        for k in range(seeds):
            query = make(1000 * seed + k)
            problem = reasoner().compiler.problem(query_of(query))
            every = [ours(query, MARKS[-1]), cp_sat(query, MARKS[-1]), highs(problem, MARKS[-1])]
            best = min(at(told, math.inf) for told in every)
            for mark in MARKS:
                own = [gap(at(told, mark), best) for told in every]
                for which, told in enumerate(every):
                    gaps.setdefault((which, mark), []).append(own[which])
                    done = told.proved and told.seconds <= mark
                    open_[which, mark] = open_.get((which, mark), 0) + (not done)
                if own[0] > own[1] + 1e-9:
                    apart[mark].append(f"{name}: {100 * own[0]:.3g} against {100 * own[1]:.3g}")
    count = len(LARGE) * seeds
    rows = []
    for mark in MARKS:
        mean = [100 * statistics.mean(gaps[which, mark]) for which in range(3)]
        proved = ", ".join(f"{count - open_[which, mark]}" for which in range(3))
        note = f"HiGHS alone {mean[2]:.3g}; proved {proved} of {count}"
        if apart[mark]:
            note += f"; behind CP-SAT in {'; '.join(apart[mark][:4])}"
        rows.append(
            at_most(
                f"{count} larger problems of {len(LARGE)} families: mean gap to the best known "
                f"after {mark:g} s",
                mean[0], mean[1], "%", peer="CP-SAT", peer_value=mean[1], note=note,
            )
        )  # fmt: skip
    return rows


def too_hard(seed: int) -> list[Row]:
    """Problems that nobody closes, told to prove within 20 s, on a clock that counts what this
    process has of the CPU: how late an answer comes is then its own doing on any machine."""
    late, good, proved = [], 0, 0
    for k in range(TOLD):
        query = HARDEST[k % len(HARDEST)](1000 * seed + k)
        asked = query_of({**query, "budget": {"seconds": HARD}})
        with patch("time.monotonic", time.process_time), clock() as taken:
            answer = reasoner().reason(asked, Options(prove=True))[0]
        if Flag.DEADLINE not in answer.flags:
            proved += 1
            continue
        late.append(taken.cpu)
        peer = at(cp_sat(query, 2.0), math.inf)
        least = min(peer, math.inf if answer.energy is None else answer.energy)
        valid = answer.bound is not None and answer.bound <= least + 1e-6
        good += valid and HARD - 1 <= taken.cpu <= HARD + 0.5
    if not late:
        return [missing("problems too hard, 20 s", 100, "%", "all were proved")]
    return [
        at_least(
            f"{len(late)} problems too hard, told to prove within {HARD:g} s: end between "
            f"{HARD - 1:g} and {HARD + 0.5:g} s, DEADLINE said, bound at or below all that is known",
            100 * good / len(late), 100, "%",
            note=f"between {min(late):.4g} and {max(late):.4g} s; {proved} more were closed",
        )
    ]  # fmt: skip

"""Weighted clauses, random and structured, proved least beside RC2, plain and with strata.

Random: three literals a clause, five clauses a variable, weights 1 to 20, 60 to 100 variables.
Structured: cuts of graphs, covers of their edges, packages that need and exclude each other, jobs
in slots. Only sets count that RC2 closes in LIMIT CPU seconds; the plain one is stopped where it
takes longer than the one with strata.
"""

import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from benchmarks._apart import within
from benchmarks.common import Row, at_least, at_most, clock, one_core, reasoner
from engine.answer import Status
from examples.generators.weighted import STRUCTURED, weighted_clauses
from services.query import Options, query_of
from services.reasoner.reason import solve_query

SETS = 50  # of each kind
SIZES = 60, 70, 80, 90, 100
LIMIT = 10.0  # CPU seconds of RC2
SHORT = 0.5  # CPU seconds that the plain one has at least
OURS = 60.0
Query = Mapping[str, Any]


class Run(NamedTuple):
    """One search: what it proved least, and the seconds of building and of searching."""

    least: float | None
    build: float
    seconds: float


def ours(query: Query) -> Run:
    """The answer, and what it took from the compiled query on."""
    with clock() as build:
        wanted = query_of({**query, "budget": {"seconds": 30 * OURS}})
        problem = reasoner().compiler.problem(wanted)
    began = time.process_time()
    over = lambda: time.process_time() - began >= OURS  # noqa: E731
    with clock() as taken:
        answer = solve_query(problem, wanted, Options(), stop=over)[0]
    least = answer.energy if answer.status is Status.OPTIMAL else None
    return Run(least, build.cpu, taken.cpu)


def rc2(query: Query, strata: bool, limit: float) -> Run:
    """The same by RC2, in so many CPU seconds."""
    from pysat.formula import WCNF

    with clock() as build:
        formula = WCNF()
        for term in query["terms"]:
            for literals in term["params"]["clauses"]:
                signed = [(s + 1) * (1 if sign else -1) for s, _, sign in literals]
                formula.append(signed, weight=term.get("weight"))
    least, seconds = within(limit, lambda: _least(formula, strata))
    return Run(least, build.cpu, seconds)


def _least(formula: Any, strata: bool) -> float:
    from pysat.examples.rc2 import RC2, RC2Stratified

    with (RC2Stratified if strata else RC2)(formula) as search:
        search.compute()
        return float(search.cost)


def random_sets(seed: int) -> Iterator[Query]:
    """Without end, the sizes in turn."""
    k = 0
    while True:
        yield weighted_clauses(SIZES[k % len(SIZES)], 1000 * seed + k)
        k += 1


def structured_sets(seed: int) -> Iterator[Query]:
    """Without end, the families in turn."""
    k, makes = 0, list(STRUCTURED.values())
    while True:
        yield makes[k % len(makes)](1000 * seed + k)
        k += 1


def clauses(seed: int = 0) -> list[Row]:
    """Random ones."""
    return _kind("random", random_sets(seed))


def structured(seed: int = 0) -> list[Row]:
    """Families with a shape."""
    return _kind("structured", structured_sets(seed))


def _kind(name: str, sets: Iterator[Query]) -> list[Row]:
    runs: list[tuple[Run, Run, Run]] = []
    drawn = 0
    with one_core():
        ours(weighted_clauses(20, 999))  # compiles what is compiled once
        while len(runs) < SETS:
            query, drawn = next(sets), drawn + 1
            strata = rc2(query, True, LIMIT)
            plain = rc2(query, False, max(strata.seconds, SHORT))
            if strata.least is not None or plain.least is not None:
                runs.append((ours(query), plain, strata))
    right = sum(
        mine.least is not None and mine.least in (plain.least, strata.least)
        for mine, plain, strata in runs
    )
    mine = sum(own.seconds for own, *_ in runs)
    plain, strata = (sum(run[k].seconds for run in runs) for k in (1, 2))
    faster = sum(min(run.seconds for run in told if run.least is not None) for _, *told in runs)
    left = sum(run.least is None for _, run, _ in runs)
    built, other = (sum(run[k].build for run in runs) for k in (0, 2))
    what = f"{SETS} {name} sets of weighted clauses"
    return [
        at_least(
            f"{what}: optima", 100 * right / SETS, 100, "%",
            note=f"{drawn} drawn; the others RC2 leaves open after {LIMIT:g} s",
        ),
        at_most(
            f"{what}: total time, of the faster RC2's set by set", mine / faster, 1.5, "times",
            note=f"{mine:.3g} s; RC2 {faster:.3g} s, always with strata {strata:.3g} s "
            f"({mine / strata:.3g} times), plain more than {plain:.3g} s, {left} stopped; slowest "
            f"{max(own.seconds for own, *_ in runs):.3g} s, of RC2 with strata "
            f"{max(run[2].seconds for run in runs):.3g} s; built in {built:.3g} s beside, RC2's in "
            f"{other:.3g} s",
        ),
    ]  # fmt: skip

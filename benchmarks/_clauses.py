"""Weighted clauses, random and structured, proved least beside RC2, plain and with strata.

Random: three literals a clause, five clauses a variable, weights 1 to 20, 60 to 100 variables.
Structured: cuts of graphs, covers of their edges, packages that need and exclude each other, jobs
in slots. Only sets count that RC2 closes in LIMIT CPU seconds, plain or with strata; the plain one
is stopped at PLAIN times the seconds of the other, so that its total is at least what is told.
"""

import math
import multiprocessing
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from benchmarks.common import Row, at_least, at_most, clock, one_core, reasoner
from engine.answer import Status
from examples.generators.weighted import STRUCTURED, weighted_clauses
from services.query import Options, query_of
from services.reasoner.reason import solve_query

SETS = 50  # of each kind
SIZES = 60, 70, 80, 90, 100
LIMIT = 10.0  # CPU seconds of RC2
PLAIN = 2  # times the seconds of RC2 with strata, after which the plain one is stopped
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
    """The same by RC2, in a process of its own that the system ends after so many CPU seconds."""
    from pysat.formula import WCNF

    with clock() as build:
        formula = WCNF()
        for term in query["terms"]:
            for literals in term["params"]["clauses"]:
                signed = [(s + 1) * (1 if sign else -1) for s, _, sign in literals]
                formula.append(signed, weight=term.get("weight"))
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_closed, args=(formula, strata, limit, there))
    child.start()
    there.close()
    try:
        least, seconds = here.recv()
    except EOFError:  # the system ended it
        least, seconds = None, limit
    child.join()
    return Run(least, build.cpu, seconds)


def _closed(formula: Any, strata: bool, limit: float, there: Connection) -> None:
    """What RC2 proves least, and its CPU seconds, as long as these are fewer than `limit`."""
    from pysat.examples.rc2 import RC2, RC2Stratified

    used = time.process_time()
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(used + limit),) * 2)
    with clock() as taken, (RC2Stratified if strata else RC2)(formula) as search:
        search.compute()
    if taken.cpu < limit:
        there.send((float(search.cost), taken.cpu))


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
    """Sets of both kinds."""
    with one_core():
        ours(weighted_clauses(20, 999))  # compiles what is compiled once
        return [*_kind("random", random_sets(seed)), *_kind("structured", structured_sets(seed))]


def _kind(name: str, sets: Iterator[Query]) -> list[Row]:
    runs: list[tuple[Run, Run, Run]] = []
    drawn = 0
    for query in sets:
        drawn += 1
        strata = rc2(query, True, LIMIT)
        most = LIMIT if strata.least is None else min(LIMIT, max(1.0, PLAIN * strata.seconds))
        plain = rc2(query, False, most)
        if strata.least is not None or plain.least is not None:
            runs.append((ours(query), plain, strata))
        if len(runs) == SETS:
            break
    right = sum(mine.least in (plain.least, strata.least) for mine, plain, strata in runs)
    right -= sum(mine.least is None for mine, *_ in runs)
    mine, plain, strata = (_total(runs, lambda r, k=k: r[k].seconds) for k in range(3))
    built, other = (_total(runs, lambda r, k=k: r[k].build) for k in (0, 2))
    faster = min(plain, strata)
    left = sum(run.least is None for _, run, _ in runs), sum(run.least is None for *_, run in runs)
    what = f"{SETS} {name} sets of weighted clauses"
    return [
        at_least(
            f"{what}: optima", 100 * right / SETS, 100, "%",
            peer="RC2 with strata", peer_value=100 * (SETS - left[1]) / SETS,
            note=f"{drawn} drawn; the others RC2 leaves open after {LIMIT:g} s",
        ),
        at_most(
            f"{what}: total time, of the faster RC2's", mine / faster, 1.5, "times",
            note=f"{mine:.3g} s; RC2 at least {plain:.3g} s ({mine / plain:.3g} times, {left[0]} left open), "
            f"with strata {strata:.3g} s ({mine / strata:.3g} times, {left[1]} left open); slowest "
            f"{max(r.seconds for r, *_ in runs):.3g} s; built in {built:.3g} s, RC2's in "
            f"{other:.3g} s beside",
        ),
    ]  # fmt: skip


def _total(runs: list[tuple[Run, Run, Run]], told: Callable[[Any], float]) -> float:
    return sum(map(told, runs))

"""Rules at run time, short limits, conflicts and repairs, partial values, warm sessions.

A cold query of 2 ms costs more than before inputs, definitions and devices were known: asked in
turns with a process of the commit before, least CPU time of 94 each, jigsaw 1.06, map colouring
1.08 and n-queens 1.16 times (1.11, 1.19 and 1.23 without what follows). Three things were tried:
problems under other evidence are checked once and not twice, domains under other evidence keep what
was made of their values, and lines are looked through for pigeonholes only where one is longer than
a site has values. The rest, 0.16 to 0.29 ms, has no one place: a tenth more calls of small functions.
"""

import itertools
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks._graded import partial_rows
from benchmarks._limits import limit_rows
from benchmarks.common import (
    Row,
    at_least,
    at_most,
    clock,
    data_folder,
    missing,
    one_core,
    reasoner,
    variant,
)
from benchmarks.sat import texts
from benchmarks.warm import session_rows
from engine.answer import Answer, Status
from engine.explain.partial import partial
from examples.generators import UNIQUE, VARIANTS
from examples.generators.settled import problem_of
from examples.generators.sudoku import boxes, rows_and_columns, sudoku
from examples.generators.timetable import LESSONS, PLACES, timetable
from services.formats.cnf import Cnf, parse
from services.query import Options, query_of
from tests.support.oracle import (
    Judge,
    Solved,
    entries,
    feasible,
    flat_entry,
    minimal,
    restricted,
    term_names,
)

LIMIT = 60.0  # seconds a question may take here
Query = dict[str, Any]


def run(data: Path | None = None, seed: int = 0, share: float = 1.0) -> list[Row]:
    """All rows. `share` below 1 takes that part of each count, for a quick look."""
    return [row for make in SECTIONS.values() for row in make(seed=seed, share=share, data=data)]


Made = Callable[[int, float, Path | None], list[Row]]


def _section(made: Made) -> Callable[..., list[Row]]:
    """Rows that are made on one core."""

    def section(seed: int = 0, share: float = 1.0, data: Path | None = None) -> list[Row]:
        with one_core():
            return made(seed, share, data)

    return section


def ask(query: Mapping[str, Any], **options: bool) -> Answer:
    """One answer of a warm process, from the plain query."""
    asked = query_of({**query, "budget": {"seconds": LIMIT}})
    return reasoner().reason(asked, Options(**options))[0]


# --- variants -------------------------------------------------------------------------------------


def _variants(seed: int, count: int) -> list[Row]:
    rows = []
    for name in VARIANTS:
        good, ours, theirs, weighs = 0, [], [], False
        for k in range(count):
            query = variant(name, 1000 * seed + k)
            with clock() as mine:
                answer = ask(query, prove=name in UNIQUE)
            with clock() as peer:
                judge = Judge(query)
                truth = judge.solve()
            good += right(name, query, answer, truth)
            weighs = weighs or bool(judge.costs)
            ours.append(mine.cpu)
            theirs.append(peer.cpu)
        what = "proved unique, the solution CP-SAT finds"
        if name not in UNIQUE:
            what = "proved least, as CP-SAT does" if weighs else "the rules hold, by CP-SAT"
        proved = "uniqueness included" if name in UNIQUE else "proof included"
        found = "booleans, linear relaxation, proof" if weighs else "booleans, one solution"
        rows += [
            at_least(f"{name}, {count} generated: {what}", 100 * good / count, 100, "%"),
            at_most(
                f"{name}: mean CPU, query to answer, {proved}", 1000 * statistics.mean(ours), None,
                "ms", peer=f"CP-SAT, {found}, model building included",
                peer_value=1000 * statistics.mean(theirs),
                note=f"median {1000 * statistics.median(ours):.3g} ms, "
                f"slowest {1000 * max(ours):.3g} ms",
            ),
        ]  # fmt: skip
    return rows


def right(name: str, query: Query, answer: Answer, truth: Solved) -> bool:
    """Whether an answer is what CP-SAT says: the one solution there is; else it keeps the rules,
    costs what it says it does, and that is the least cost there is."""
    holds, least, found = truth
    if answer.status is not Status.OPTIMAL or answer.values is None or not holds or found is None:
        return False
    if name in UNIQUE:
        values = {(n, s): v for n, s, v in entries(answer.values)}
        return answer.unique is True and values == dict(found)
    cost = Judge({**query, "evidence": answer.values}).solve()[1]
    kept = set(entries(query.get("evidence", {}))) <= set(entries(answer.values))
    if not kept or cost is None or least is None or answer.energy is None:
        return False
    return abs(cost - answer.energy) < 1e-6 and abs(cost - least) < 1e-6


# --- conflicts and repairs ------------------------------------------------------------------------


def _conflicts(seed: int, count: int) -> list[Row]:
    rows = []
    kinds: dict[str, Callable[[random.Random, int], Query]] = {
        "Sudokus": _clashing_sudoku,
        "timetables": _clashing_timetable,
    }
    for name, make in kinds.items():
        rng = random.Random(f"conflicts {name} {seed}")
        minimal_evidence = minimal_rules = cheapest = told = 0
        seconds = []
        for k in range(count):
            query = make(rng, k)
            with clock() as taken:
                answer = ask(query, explain=True)
            seconds.append(taken.wall)
            conflict = answer.conflict
            if answer.status is not Status.INFEASIBLE or not conflict.evidence:
                continue
            told += bool(conflict.text)
            given = [flat_entry(query, place) for place in conflict.evidence]
            minimal_evidence += minimal(given, lambda some, query=query: feasible(query, some))
            names = term_names(query)
            parts = [(names.index(part.term), part.part) for part in conflict.rules]
            minimal_rules += minimal(
                parts, lambda some, query=query, given=given: feasible(
                    restricted(query, some), given
                )
            )  # fmt: skip
            _, least, _ = Judge(hard(query), soft_evidence=True).solve()
            repair = [flat_entry(query, place) for place in conflict.repair]
            left = [e for e in entries(query["evidence"]) if e not in repair]
            cheapest += least == len(repair) and feasible(query, left) is True
        title = f"conflicts planted in {count} {name}"
        rows += [
            at_least(f"{title}: evidence minimal, by CP-SAT", 100 * minimal_evidence / count, 100, "%"),
            at_least(
                f"{title}: rules minimal with that evidence, by CP-SAT",
                100 * minimal_rules / count, 100, "%",
            ),
            at_least(f"{title}: repair works and none is cheaper", 100 * cheapest / count, 100, "%"),
            at_least(f"{title}: told in words", 100 * told / count, 100, "%"),
            at_most(
                f"{title}: mean, query to explanation", 1000 * statistics.mean(seconds), None, "ms"
            ),
        ]  # fmt: skip
    return rows


def hard(query: Query) -> Query:
    """The rules alone, without what is only weighed."""
    return {**query, "terms": [t for t in query["terms"] if t.get("required") is not False]}


def _clashing_sudoku(rng: random.Random, k: int) -> Query:
    """A Sudoku with one clue more, which is wrong but clashes with no other in its lines."""
    query = sudoku(rng.randrange(10**6), n=9 if k % 2 else 4)
    n = 9 if k % 2 else 4
    grid = [list(row) for row in query["evidence"]["grid"]]
    solution = {(s): v for (_, s), v in Judge(query).solve()[2].items()}
    every = rows_and_columns(n) + boxes(n)
    places = [
        (s, v)
        for s in range(n * n)
        for v in range(1, n + 1)
        if grid[s // n][s % n] is None
        and v != solution[s]
        and all(grid[t // n][t % n] != v for line in every if s in line for t in line)
    ]
    if not places:  # every wrong value shows at a peer: take any
        places = [(s, solution[s] % n + 1) for s in range(n * n) if grid[s // n][s % n] is None]
    site, value = rng.choice(places)
    grid[site // n][site % n] = value
    return {**query, "evidence": {"grid": grid}}


def _clashing_timetable(rng: random.Random, k: int) -> Query:
    """Some lessons are fixed, and two that share a class, a teacher or a room cannot both be."""
    del k
    query = timetable(rng.randrange(10**6))
    _, _, found = Judge(hard(query)).solve()
    assert found is not None
    fixed = rng.sample(LESSONS, 6)
    evidence = {name: found[name, 0] for name in fixed}
    others = [name for name in LESSONS if name not in evidence]
    while True:
        name, place = rng.choice(others), rng.choice(PLACES)
        changed = {**query, "evidence": {**evidence, name: place}}
        if feasible(changed, entries(changed["evidence"])) is False:
            return changed


def _cores(folder: Path | None, count: int) -> list[Row]:
    """Minimal sets of clauses of unsatisfiable formulas, each checked by CaDiCaL."""
    title = "minimal sets of clauses, uuf50-218"
    if folder is None:
        return [missing(title, 100, "%", "no data; set BASIN_DATA")]
    good, seconds, sizes = 0, [], []
    for _, text in itertools.islice(texts(folder / "sat" / "uuf50-218_shared.tar.gz"), count):
        query = Cnf().read(text, "uuf50", None)[0].query
        with clock() as taken:
            answer = reasoner().reason(query, Options(explain=True))[0]
        clauses = parse(text)[1]
        core = [clauses[part.part] for part in answer.conflict.rules]
        good += bool(core) and minimal(core, satisfiable)
        seconds.append(taken.wall)
        sizes.append(len(core))
    return [
        at_least(f"{title}, {count}: minimal, by CaDiCaL", 100 * good / count, 100, "%"),
        at_most(
            f"{title}: mean, query to explanation", 1000 * statistics.mean(seconds), None, "ms",
            note=f"{statistics.mean(sizes):.3g} of 218 clauses on average",
        ),
    ]  # fmt: skip


def satisfiable(clauses: Sequence[Sequence[int]]) -> bool:
    """By CaDiCaL."""
    from pysat.solvers import Cadical153

    with Cadical153(bootstrap_with=clauses) as solver:
        return solver.solve()


def _bounds(seed: int, count: int) -> list[Row]:
    """Small soft problems: the bound of partial values against the best completion, enumerated."""
    rng = random.Random(f"bounds {seed}")
    above, tight = 0, []
    for _ in range(count):
        sites, values = 5, [0, 1, 2]
        tables = [
            {
                "kind": "discrete.table",
                "scope": ["x"],
                "required": False,
                "name": f"cost {k}",
                "params": {
                    "sites": rng.sample(range(sites), 2),
                    "costs": [[rng.randint(-4, 9) for _ in values] for _ in values],
                },
            }
            for k in range(6)
        ]
        pairs = [rng.sample(range(sites), 2) for _ in range(2)]
        rule = {"kind": "discrete.not_equal", "scope": ["x"], "params": {"pairs": pairs}}
        given = [rng.choice([None, None, *values]) for _ in range(sites)]
        query = {
            "variables": {"x": {"values": values, "shape": [sites]}},
            "terms": [rule, *tables],
            "evidence": {"x": given},
        }
        least = _least(query, pairs, tables, given)
        answer = partial(problem_of(query))[0]
        if answer.status is Status.INFEASIBLE:
            above += least is not None
        elif least is not None and answer.bound is not None:
            above += answer.bound > least + 1e-6
            tight.append(least - answer.bound)
    gap = statistics.mean(tight) if tight else None
    return [
        at_most(
            f"bounds of partial values, {count} small problems: above the true least energy",
            above, 0, "cases", note="" if gap is None else f"mean gap {gap:.3g}",
        )
    ]  # fmt: skip


def _least(
    query: Query, pairs: list[list[int]], tables: list[dict[str, Any]], given: list[Any]
) -> float | None:
    """The least energy of all completions, by trying them."""
    best = None
    values = query["variables"]["x"]["values"]
    for x in itertools.product(*([v] if v is not None else values for v in given)):
        if all(x[a] != x[b] for a, b in pairs):
            energy = 0
            for table in tables:
                a, b = table["params"]["sites"]
                energy += table["params"]["costs"][x[a]][x[b]]
            best = energy if best is None else min(best, energy)
    return best


SECTIONS = {
    "variants": _section(lambda seed, share, _: _variants(seed, max(1, int(20 * share)))),
    "sessions": _section(lambda seed, share, _: session_rows(seed, max(2, int(6 * share)))),
    "limits": _section(lambda seed, share, _: limit_rows(seed, max(2, int(20 * share)))),
    "conflicts": _section(lambda seed, share, _: _conflicts(seed, max(2, int(50 * share)))),
    "cores": _section(lambda _, share, data: _cores(data_folder(data), max(1, int(50 * share)))),
    "partial": _section(lambda seed, share, _: partial_rows(seed, max(20, int(1000 * share)))),
    "bounds": _section(lambda seed, share, _: _bounds(seed, max(5, int(100 * share)))),
}

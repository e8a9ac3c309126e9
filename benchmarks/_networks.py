"""Networks of cost functions, proved least beside toulbar2: colours that cost, selections,
assignments, and the files of toulbar2 where a folder of data is given.

CPU seconds on one core: ours from the compiled problem, those of toulbar2 with its model built from
our tables, sums and lists that differ, or read from the same file.
"""

import csv
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks._apart import within
from benchmarks.common import (
    Row,
    at_least,
    at_most,
    clock,
    data_folder,
    missing,
    one_core,
    reasoner,
)
from engine.answer import Status
from engine.errors import BadQuery
from engine.problem import Problem
from examples.generators.weighted import NETWORKS
from services.formats import read
from services.query import Options, Query, query_of
from services.reasoner.reason import solve_query

SEEDS = 3
LIMIT = 10.0  # CPU seconds
FLOOR = 0.03  # seconds that do not count


class Told(NamedTuple):
    """What one search proves least, and its CPU seconds; None: it is left open."""

    least: float | None
    seconds: float


def networks(seed: int = 0) -> list[Row]:
    """Families and files."""
    try:
        import pytoulbar2  # noqa: F401
    except ImportError:
        return [missing("networks of cost functions", None, "times", "no pytoulbar2")]
    with one_core():
        _ours(query_of(NETWORKS["selection 40"](1000 * seed + 999)))  # compiles what is once
        rows = []
        for name, make in NETWORKS.items():
            wanted = [query_of(make(1000 * seed + k)) for k in range(SEEDS)]
            rows += _compared(name, [(q, _family(q)) for q in wanted])
        return [*rows, *_files()]


def _files() -> list[Row]:
    """The files whose form is read here."""
    folder = data_folder(None)
    folder = None if folder is None else folder / "mrf" / "wcsp"
    if folder is None or not folder.is_dir():
        return [missing("files of toulbar2", None, "times", "set BASIN_DATA")]
    with (folder / "optima.csv").open() as file:
        names = [row[0] for row in csv.reader(file) if row and not row[0].startswith("#")][1:]
    every, refused = [], []
    for name in names:
        path = next(p for p in (folder / f"{name}.wcsp", folder / f"{name}.wcsp.gz") if p.exists())
        try:
            (asked,) = read(str(path))
        except BadQuery:
            refused.append(name)
            continue
        every.append((asked.query, lambda own=path: _read(own)))
    rest = f"; not read: {', '.join(refused)}" if refused else ""
    return _compared(f"{len(every)} files of toulbar2", every, rest)


def _compared(name: str, every: list[tuple[Query, Callable[[], Any]]], rest: str = "") -> list[Row]:
    mine = [_ours(query) for query, _ in every]
    other = [Told(*within(LIMIT, lambda own=work: _solved(own()))) for _, work in every]
    right = sum(
        a.least is not None and (b.least is None or math.isclose(a.least, b.least, abs_tol=1e-6))
        for a, b in zip(mine, other, strict=True)
    )
    ours, theirs = (sum(t.seconds for t in told) for told in (mine, other))
    return [
        at_least(
            f"{name}: proved least", 100 * right / len(every), 100, "%", peer="toulbar2",
            peer_value=100 * sum(t.least is not None for t in other) / len(every), note=rest[2:],
        ),
        at_most(
            f"{name}: total time", 1000 * ours, 1000 * max(FLOOR * len(every), 2 * theirs), "ms",
            peer="toulbar2", peer_value=1000 * theirs,
            note=f"slowest {1000 * max(t.seconds for t in mine):.3g} ms, of the peer "
            f"{1000 * max(t.seconds for t in other):.3g} ms; {LIMIT:g} s each at most",
        ),
    ]  # fmt: skip


def _ours(query: Query) -> Told:
    problem = reasoner().compiler.problem(query)
    began = time.process_time()
    over = lambda: time.process_time() - began >= LIMIT  # noqa: E731
    with clock() as taken:
        answer = solve_query(problem, query, Options(), stop=over)[0]
    return Told(answer.energy if answer.status is Status.OPTIMAL else None, taken.cpu)


def _solved(network: Any) -> float | None:
    """What it proves least, in as many seconds as it is given."""
    found = network.Solve()
    return None if found is None else float(found[1])


def _read(path: Path) -> Any:
    import pytoulbar2

    network = pytoulbar2.CFN()
    network.Read(str(path))
    return network


def _family(query: Query) -> Callable[[], Any]:
    """The network that our structure is: tables, sums of values, sites that differ."""
    problem = reasoner().compiler.problem(query)
    return lambda: _made(problem)


def _made(problem: Problem) -> Any:
    import pytoulbar2

    network = pytoulbar2.CFN()
    factors = problem.form.factors
    for k, size in enumerate(factors.sizes.tolist()):
        network.AddVariable(f"v{k}", range(size))
    for sites in factors.different.lines():
        network.AddAllDifferent([f"v{s}" for s in sites.tolist()])
    for sites, values, coefficients, high in _sums(factors.sums):
        terms = [(f"v{s}", v, c) for s, v, c in zip(sites, values, coefficients, strict=True)]
        network.AddGeneralizedLinearConstraint(terms, "<=", high)
    for table in problem.explicit.factors.tables:
        for one in table.each():
            shape = tuple(factors.sizes[one.scopes[0]].tolist())
            costs = [int(c) for c in one.dense(shape).reshape(-1).tolist()]
            for scope in one.scopes.tolist():
                network.AddFunction([f"v{s}" for s in scope], costs)
    return network


def _sums(sums: Any) -> Iterator[tuple[list[int], list[int], list[int], int]]:
    """Sums with an upper edge."""
    for k in range(sums.count):
        own = slice(sums.start[k], sums.start[k + 1])
        coefficients = [int(c) for c in sums.coefficient[own].tolist()]
        yield sums.site[own].tolist(), sums.value[own].tolist(), coefficients, int(sums.high[k])

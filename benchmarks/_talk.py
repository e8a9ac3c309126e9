"""Sessions through the wire: a rule added, a clue changed, against a cold query of the same.

The service runs in a process of its own. Each try asks the same question three ways, in turn: a
query whose structure the service has not seen (cold), the warm session, and the query once more
(its structure is kept now). The rule that is added, and the clue that takes another's place, are
such that the last answer breaks them, so that there is something to search for.
"""

import itertools
import random
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import Row, at_most
from examples.processes import ROOT, started
from services.client import Client
from services.query import Query, parse_query

CLUES = 20  # of a 9x9 board: enough answers are left for a clue to change one
BOARDS = (
    ("Sudoku", "sudoku_diagonal.yaml"),
    ("Sudoku, anti-knight", "sudoku_anti_knight.yaml"),
    ("Sudoku 16x16", "sudoku_16x16.yaml"),
)

NUMBERS = itertools.count()


def rows(seed: int = 0, tries: int = 40) -> list[Row]:
    """A row for each board, change and kind of line."""
    out: list[Row] = []
    command = ["services.cli", "serve", "--listen", "127.0.0.1:0"]
    with started(command) as (address, process), Client(address) as client:
        for name, file in BOARDS:
            query = parse_query(Path(ROOT / "examples" / file).read_text(), file)
            for change in ("adding a rule", "changing a clue"):
                for stream in (True, False):
                    rng = random.Random(seed)
                    out.append(_row((client, process), name, query, change, stream, tries, rng))
    return out


def _row(
    served: tuple[Client, int],
    name: str,
    query: Query,
    change: str,
    stream: bool,
    tries: int,
    rng: Any,
) -> Row:
    client, process = served
    (solved,) = client.solve(query)
    assert solved.values is not None
    grid = solved.values["grid"]
    size = len(grid)
    clues = set(rng.sample(range(size * size), CLUES * size * size // 81))
    query = query.changed(evidence=({"grid": _given(grid, clues)},))
    cold, warm, kept = Spent(process), Spent(process), Spent(process)
    with client.session(query, stream=stream) as session:
        last = session.answer()
        for k in range(tries):
            assert last.values is not None
            step, fields = _changed(change, k, query, last.values["grid"], grid, clues, rng)
            fresh = query.changed(**fields)
            unseen = _renamed(fresh)
            with cold:
                (expected,) = client.solve(unseen)
            with warm:
                answer = session.answer(change=step)
            with kept:
                client.solve(unseen)
            if answer.status is not expected.status:
                raise AssertionError(f"{answer.status} in a session, {expected.status} without")
            last = answer if answer.values is not None else last
            if "add" in step:
                session.change({"drop": [f"rule{k}"]})
            query = fresh if "evidence" in fields else query
    line = "one stream" if stream else "single calls"
    return at_most(
        f"{name}: {change} in a warm session, of a cold query ({line})",
        warm.cpu / cold.cpu,
        0.2,
        "ratio of median CPU times, service and client together",
        peer="cold query, CPU in ms",
        peer_value=1000 * cold.cpu,
        note=f"warm {1000 * warm.cpu:.2f} ms; a query whose structure is kept "
        f"{1000 * kept.cpu:.2f} ms; by the clock, in ms: cold {1000 * cold.wall:.2f}, "
        f"warm {1000 * warm.wall:.2f}, kept {1000 * kept.wall:.2f}",
    )


class Spent:
    """Clock and CPU, of this process and a service, of the blocks it was entered for."""

    def __init__(self, process: int):
        self.process = process
        self.walls: list[float] = []
        self.cpus: list[float] = []
        self._began = (0.0, 0.0)

    @property
    def wall(self) -> float:
        return statistics.median(self.walls)

    @property
    def cpu(self) -> float:
        return statistics.median(self.cpus)

    def __enter__(self) -> None:
        self._began = time.perf_counter(), self._cpu()

    def __exit__(self, *exc: object) -> None:
        wall, cpu = self._began
        self.walls.append(time.perf_counter() - wall)
        self.cpus.append(self._cpu() - cpu)

    def _cpu(self) -> float:
        tasks = Path(f"/proc/{self.process}/task").glob("*/schedstat")
        return time.process_time() + sum(int(t.read_text().split()[0]) for t in tasks) / 1e9


def _changed(
    change: str,
    k: int,
    query: Query,
    now: Sequence[Sequence[int]],
    grid: Sequence[Sequence[int]],
    clues: set[int],
    rng: Any,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The change of a session, and the fields of the query that asks the same."""
    size = len(grid)
    flat = [value for line in now for value in line]
    if change == "adding a rule":
        free = [p for p in range(size * size) if p not in clues]
        alike = [(a, b) for a in free for b in free if a < b and flat[a] == flat[b]]
        term = {"kind": "discrete.not_equal", "scope": ["grid"], "name": f"rule{k}"}
        term["params"] = {"pairs": [list(rng.choice(alike))]}
        return {"add": [term]}, {"terms": (*query.terms, term)}
    true = [value for line in grid for value in line]
    apart = [p for p in range(size * size) if p not in clues and flat[p] != true[p]]
    open_sites = apart or [p for p in range(size * size) if p not in clues]
    clues.discard(rng.choice(sorted(clues)))
    clues.add(rng.choice(open_sites))
    evidence = {"grid": _given(grid, clues)}
    return {"evidence": evidence}, {"evidence": (evidence,)}


def _renamed(query: Query) -> Query:
    """The same question under names that the service has not seen: nothing of it is kept."""
    first, *rest = query.terms
    name = f"first{next(NUMBERS)}"
    return query.changed(terms=(first.model_copy(update={"name": name}), *rest))


def _given(grid: Sequence[Sequence[int]], clues: set[int]) -> list[list[int | None]]:
    size = len(grid)
    return [
        [grid[r][c] if size * r + c in clues else None for c in range(size)] for r in range(size)
    ]

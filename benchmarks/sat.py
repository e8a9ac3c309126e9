"""Satisfiability: SATLIB, and random 3-SAT where it is hardest, beside CaDiCaL in the same run.

Seconds are those of the CPU, ours and the peer's: they hold on a machine that others use too.
"""

import random
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

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
from engine.answer import Answer, Status
from services.formats.cnf import Cnf, parse
from services.query import Options

FILES = (  # archive, what it holds, satisfiable, seconds an instance may take
    ("uf20-91_shared.tar.gz", "uf20-91", True, None),
    ("uf50-218_shared.tar.gz", "uf50-218", True, None),
    ("uuf50-218_shared.tar.gz", "uuf50-218", False, None),
    ("uf75_to_uf250_single_shared.tar.gz", "uf75 to uf250, one each", True, 30.0),
    ("flat30-60_shared.tar.gz", "flat30-60", True, None),
    ("flat75-180_shared.tar.gz", "flat75-180", True, None),
    ("flat200-479_shared.tar.gz", "flat200-479", True, 30.0),
)
LIMIT = 60.0  # seconds an instance may take here
Clauses = list[list[int]]


def run(data: Path | None = None, seed: int = 0, share: float = 1.0) -> list[Row]:
    """All rows. `share` below 1 takes that part of each set, for a quick look."""
    folder = data_folder(data)
    with one_core():
        ours("p cnf 2 2\n1 2 0\n-1 2 0\n")  # compiles the kernels, or loads them
        rows = []
        if folder is None:
            rows.append(missing("SATLIB", 100, "%", "no data; set BASIN_DATA"))
        else:
            for file, name, satisfiable, limit in FILES:
                rows += _satlib(folder / "sat" / file, name, satisfiable, limit, share)
        rows += _random(seed, int(100 * share))
    return rows


def texts(path: Path) -> Iterator[tuple[str, str]]:
    """Names and texts of the instances of an archive, by name."""
    with tarfile.open(path) as archive:
        for member in sorted(archive.getmembers(), key=lambda m: m.name):
            file = archive.extractfile(member) if member.name.endswith(".cnf") else None
            if file is not None:
                yield member.name, file.read().decode()


def ours(text: str, options: Options | None = None) -> tuple[Answer, list[int] | None]:
    """From the text of a CNF to a checked answer, and its signed literals."""
    asked = Cnf().read(text, "instance", None)[0]
    query = asked.query.changed(budget={"seconds": LIMIT})
    answer = reasoner().reason(query, options)[0]
    return answer, None if answer.values is None else asked.solution(answer.values)


def cadical(clauses: Clauses) -> bool:
    """Whether it can be satisfied, by CaDiCaL."""
    from pysat.solvers import Cadical153

    with Cadical153(bootstrap_with=clauses) as solver:
        return solver.solve()


def right(answer: Answer, model: Sequence[int] | None, clauses: Clauses, truth: bool) -> bool:
    """Decided, and as it is; a model is put into the clauses."""
    if not truth:
        return answer.status is Status.INFEASIBLE
    true = set(model or ())
    return answer.status is Status.OPTIMAL and all(true.intersection(c) for c in clauses)


def _compared(every: Sequence[tuple[str, str]]) -> tuple[int, list[float], float, float, int]:
    """How many are right, our CPU seconds each and wall in all, CaDiCaL's CPU in all; satisfiable."""
    good, seconds, wall, peer, satisfiable = 0, [], 0.0, 0.0, 0
    for _, text in every:
        with clock() as mine:
            answer, model = ours(text)
        with clock() as theirs:
            clauses = parse(text)[1]
            truth = cadical(clauses)
        good += right(answer, model, clauses, truth)
        satisfiable += truth
        seconds.append(mine.cpu)
        wall += mine.wall
        peer += theirs.cpu
    return good, seconds, wall, peer, satisfiable


def _satlib(
    path: Path, name: str, satisfiable: bool, limit: float | None, share: float
) -> list[Row]:
    every = list(texts(path))
    every = every[: max(1, round(share * len(every)))]
    good, seconds, wall, peer, truths = _compared(every)
    assert truths == (len(every) if satisfiable else 0), name
    what = "satisfied, checked" if satisfiable else "INFEASIBLE"
    rows = [
        at_least(
            f"{name}, {len(every)} instances: {what}", 100 * good / len(every), 100, "%",
            note=f"wall in all {wall:.3g} s",
        ),
        at_most(
            f"{name}: mean CPU, text to checked answer", 1000 * sum(seconds) / len(every), None,
            "ms an instance", peer="CaDiCaL 1.5.3, text to decision",
            peer_value=1000 * peer / len(every),
        ),
    ]  # fmt: skip
    if limit is not None:
        rows.append(at_most(f"{name}: slowest instance, CPU", max(seconds), limit, "s"))
    return rows


def random_3sat(rng: random.Random, variables: int = 150, ratio: float = 4.26) -> str:
    """Clauses of three different variables with random signs."""
    count = round(ratio * variables)
    clauses = [
        [v if rng.random() < 0.5 else -v for v in rng.sample(range(1, variables + 1), 3)]
        for _ in range(count)
    ]
    lines = [" ".join(map(str, clause)) + " 0" for clause in clauses]
    return "\n".join([f"p cnf {variables} {count}", *lines]) + "\n"


def _random(seed: int, count: int) -> list[Row]:
    rng = random.Random(f"3-SAT {seed}")
    every = [(str(k), random_3sat(rng)) for k in range(count)]
    good, seconds, wall, peer, satisfiable = _compared(every)
    title = f"3-SAT at ratio 4.26, 150 variables, {count} random ({satisfiable} satisfiable)"
    return [
        at_least(f"{title}: decided right", 100 * good / count, 100, "%"),
        at_most(
            f"{title}: times CaDiCaL's CPU time, text to checked answer", sum(seconds) / peer, 20, "x",
            peer="CaDiCaL 1.5.3", peer_value=1.0,
            note=f"ours {1000 * sum(seconds) / count:.3g} ms each (wall {1000 * wall / count:.3g}), "
            f"CaDiCaL {1000 * peer / count:.3g} ms",
        ),
    ]  # fmt: skip

"""Graph colouring: with the chromatic number of colours, and proofs that one fewer will not do.

Seconds are those of the CPU, ours and the peer's: they hold on a machine that others use too.
"""

import csv
import itertools
from pathlib import Path
from typing import Any

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
from services.formats.col import Col

LIMIT = 60.0  # seconds for each question
MUST = ("myciel3", "myciel4", "myciel5", "queen5_5", "queen6_6", "queen7_7", "queen8_8")
SMALL = 100  # nodes


def run(data: Path | None = None, seed: int = 0, share: float = 1.0) -> list[Row]:
    """All rows. `share` below 1 shortens the time limit, for a quick look."""
    del seed  # nothing is drawn
    folder = data_folder(data)
    if folder is None:
        return [missing("colouring", None, "", "no data; set BASIN_DATA")]
    folder = folder / "coloring"
    limit = LIMIT * share
    table = _table(folder)
    chi = {
        name: int(row["colors"])
        for name, row in table.items()
        if row["status"] == "proven" and (int(row["nodes"]) <= SMALL or name in MUST)
    }
    chi |= {"myciel4": 5, "queen6_6": 7}  # not among the files: made here
    with one_core():
        ask(folder, "myciel3", 4, 10)  # compiles the kernels, or loads them
        rows = _coloured(folder, chi, limit)
        rows += _refuted(folder, chi, limit)
        rows += _queen9(folder, limit)
    return rows


def _table(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "best_known.csv").open() as file:
        lines = [line for line in file if not line.startswith("#")]
    return {row["instance"].removesuffix(".col"): row for row in csv.DictReader(lines)}


def text_of(folder: Path, name: str) -> str:
    """The text of an instance: a file, or a graph that is made by its definition."""
    path = folder / f"{name}.col"
    if path.exists():
        return path.read_text()
    nodes, pairs = mycielski(4) if name == "myciel4" else queens(6)
    lines = [f"p edge {nodes} {len(pairs)}", *(f"e {a + 1} {b + 1}" for a, b in pairs)]
    return "\n".join(lines) + "\n"


def mycielski(steps: int) -> tuple[int, list[tuple[int, int]]]:
    """The Mycielski graph of `steps`: chromatic number steps + 1, no triangle."""
    nodes, pairs = 2, [(0, 1)]
    for _ in range(steps - 1):
        pairs += [(a, nodes + b) for a, b in pairs] + [(b, nodes + a) for a, b in pairs]
        pairs += [(nodes + k, 2 * nodes) for k in range(nodes)]
        nodes = 2 * nodes + 1
    return nodes, pairs


def queens(n: int) -> tuple[int, list[tuple[int, int]]]:
    """The fields of a board; an edge where a queen can move."""
    fields = [divmod(k, n) for k in range(n * n)]
    pairs = [
        (a, b)
        for (a, (r, c)), (b, (s, d)) in itertools.combinations(enumerate(fields), 2)
        if r == s or c == d or abs(r - s) == abs(c - d)
    ]
    return n * n, pairs


def ask(folder: Path, name: str, colors: int, seconds: float) -> tuple[Answer, list[int] | None]:
    """From the text of an instance to a checked answer."""
    asked = Col().read(text_of(folder, name), name, {"colors": colors})[0]
    answer = reasoner().reason(asked.query.changed(budget={"seconds": seconds}))[0]
    return answer, None if answer.values is None else asked.solution(answer.values)


def edges(text: str) -> list[tuple[int, int]]:
    """The edges of an instance, nodes from 0, without loops."""
    words = [line.split() for line in text.splitlines() if line.startswith("e ")]
    return [(int(a) - 1, int(b) - 1) for _, a, b in words if a != b]


def _coloured(folder: Path, chi: dict[str, int], limit: float) -> list[Row]:
    good, slowest, worst, wrong = 0, 0.0, "", []
    for name, colors in chi.items():
        with clock() as taken:
            answer, solution = ask(folder, name, colors, limit)
        fits = answer.status is Status.OPTIMAL and _fits(folder, name, solution, colors)
        good += fits
        if not fits:
            wrong.append(name)
        if taken.cpu > slowest:
            slowest, worst = taken.cpu, name
    return [
        at_least(
            f"colouring, {len(chi)} instances up to {SMALL} nodes with a proven chromatic number: "
            "coloured with that number, checked",
            100 * good / len(chi), 100, "%",
            note=f"slowest {worst}, {slowest:.3g} s" + (f"; not: {', '.join(wrong)}" * bool(wrong)),
        )
    ]  # fmt: skip


def _fits(folder: Path, name: str, solution: list[int] | None, colors: int) -> bool:
    if solution is None or not all(0 <= colour < colors for colour in solution):
        return False
    return all(solution[a] != solution[b] for a, b in edges(text_of(folder, name)))


def _refuted(folder: Path, chi: dict[str, int], limit: float) -> list[Row]:
    """One row for each named instance; one for all others."""
    rows: list[Row] = []
    proved, left = 0, []
    for name, colors in chi.items():
        with clock() as taken:
            answer, _ = ask(folder, name, colors - 1, limit)
        done = answer.status is Status.INFEASIBLE
        if name in MUST:
            target = 5.0 if name in ("myciel5", "queen8_8") else None
            peer, note = _cp_sat(text_of(folder, name), colors - 1, limit)
            title = f"{name} at {colors - 1} colours, one below chi: refuted in"
            if done:
                rows.append(
                    at_most(
                        title, taken.cpu, target, "s",
                        peer="CP-SAT, one worker, no symmetry told", peer_value=peer, note=note,
                    )
                )  # fmt: skip
            else:
                rows.append(missing(title, target, "s", f"not refuted in {limit:g} s; peer {note}"))
        else:
            proved += done
            if not done:
                left.append(name)
    others = len([name for name in chi if name not in MUST])
    rows.append(
        at_least(
            f"the other {others} instances at one below chi: refuted within {limit:g} s",
            100 * proved / max(1, others), None, "%",
            note=f"not proved: {', '.join(left)}" if left else "",
        )
    )  # fmt: skip
    return rows


def _cp_sat(text: str, colors: int, limit: float) -> tuple[float | None, str]:
    """Seconds of CP-SAT with model building; None where it does not finish."""
    from ortools.sat.python import cp_model

    with clock() as taken:
        pairs = edges(text)
        nodes = 1 + max(max(pair) for pair in pairs)
        model = cp_model.CpModel()
        x = [model.new_int_var(0, colors - 1, "") for _ in range(nodes)]
        for a, b in pairs:
            model.add(x[a] != x[b])
        solver: Any = cp_model.CpSolver()
        solver.parameters.num_workers = 1
        solver.parameters.max_time_in_seconds = limit
        status = solver.solve(model)
    if status == cp_model.INFEASIBLE:
        return taken.cpu, ""
    return None, f"CP-SAT did not refute it in {limit:g} s"


def _queen9(folder: Path, limit: float) -> list[Row]:
    title = "queen9_9 with 10 colours: coloured in"
    if not (folder / "queen9_9.col").exists():
        return [missing(title, None, "s", "no such file")]
    with clock() as taken:
        answer, solution = ask(folder, "queen9_9", 10, limit)
    if answer.status is Status.OPTIMAL and _fits(folder, "queen9_9", solution, 10):
        return [at_most(title, taken.cpu, limit, "s")]
    return [missing(title, limit, "s", f"{answer.status.value} after {taken.cpu:.3g} s")]

"""Sudoku: 17 clues, the hardest list, large boards, several solutions, one puzzle through gRPC.

Seconds are those of the CPU, ours and the peer's: they hold on a machine that others use too. Only
through gRPC, where the caller waits for two processes, and on two cores, they are seconds of the clock.
"""

import gzip
import random
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common import (
    Row,
    at_least,
    at_most,
    clock,
    data_folder,
    missing,
    one_core,
    percentile,
    reasoner,
)
from engine.answer import Answer, Status
from services.formats.sudoku import SYMBOLS, Sudoku, board, sudoku_query
from services.query import Options

TDOKU = 0.0417  # ms a puzzle of the whole hardest list, published by its author (i7-1065G7)
KONA, GOM = 313.0, 120.0  # ms a puzzle, published; their puzzles are not these
PROVE = Options(prove=True)


def run(data: Path | None = None, seed: int = 0, share: float = 1.0) -> list[Row]:
    """All rows. `share` below 1 takes that part of each list, for a quick look."""
    folder = data_folder(data)
    if folder is None:
        return [missing("Sudoku", None, "", "no data; set BASIN_DATA")]
    folder = folder / "sudoku"
    with one_core():
        _warm()
        rows = _list("17-clue", folder / "sudoku17_shared.txt", int(2000 * share), 0.25, 10, seed)
        hard = folder / "forum_hardest_1905_11plus_shared.txt.gz"
        rows += _list("forum-hardest", hard, int(5000 * share), 1.5, 6, seed)
        rows += _large("16x16", folder / "sudoku16x16_shared.txt", None)
        rows += _large("25x25", folder / "sudoku25x25_gecode_shared.txt", 20.0)
        rows += _several(folder / "serg_benchmark_shared.txt", int(500 * share))
    rows += _two_cores("25x25", folder / "sudoku25x25_gecode_shared.txt", 20.0)
    return rows + _through_grpc(puzzles(hard)[: max(50, int(400 * share))])


def puzzles(path: Path, which: int = 0) -> list[str]:
    """The puzzles of a file, or their solutions; `which` is the word of the line."""
    opened = gzip.open(path, "rt") if path.suffix == ".gz" else path.open()
    with opened as lines:
        return [line.split()[which] for line in lines if line.strip() and line[0] != "#"]


def _warm() -> None:
    """Compiles the kernels, or loads them."""
    query = sudoku_query(9, ["." * 81, "1" * 2 + "." * 79])
    reasoner().reason(query, PROVE)


def _answers(every: Sequence[str]) -> list[Answer]:
    """From the text of a file to checked answers."""
    asked = Sudoku().read("\n".join(every), "puzzles", None)
    one = reasoner()
    return [answer for part in asked for answer in one.reason(part.query, PROVE)]


def _list(name: str, path: Path, count: int, target: float, factor: float, seed: int) -> list[Row]:
    every = puzzles(path)[:count]
    ending = path.name.removesuffix(".gz").removesuffix(".txt")
    known = puzzles(path.with_name(f"{ending}_solutions.txt.gz"))[:count]
    with clock() as time_taken:
        answers = _answers(every)
    right = sum(
        a.status is Status.OPTIMAL and a.unique is True and written(a) == solution
        for a, solution in zip(answers, known, strict=True)
    )
    mean = 1000 * time_taken.cpu / len(every)
    sample = random.Random(seed).sample(range(len(every)), min(100, len(every)))
    peer, agree = _cp_sat([every[k] for k in sample], [known[k] for k in sample])
    wall = 1000 * time_taken.wall / len(every)
    tdoku = {"peer": "tdoku, published", "peer_value": TDOKU} if name == "forum-hardest" else {}
    title = f"{name}, {len(every):,} puzzles"
    rows = [
        at_least(
            f"{title}: proved unique and equal to the known solution",
            100 * right / len(every),
            100,
            "%",
        ),
        at_most(
            f"{title}: mean CPU, end to end in a batch, one core", mean, target, "ms a puzzle",
            peer="CP-SAT, int + alldifferent, model building included", peer_value=peer,
            note=f"wall {wall:.3g} ms; the peer solved {agree} of {len(sample)} sampled in this run",
        ),
        at_least(
            f"{title}: times as fast as CP-SAT with model building, same run",
            peer / mean, factor, "x", peer="CP-SAT", peer_value=1.0,
        ),
    ]  # fmt: skip
    if tdoku:
        rows.append(
            at_most(
                f"{title}: beside the classical ceiling, tdoku (another machine)",
                mean, None, "ms a puzzle", **tdoku,
            )
        )  # fmt: skip
    return rows


def _cp_sat(every: Sequence[str], known: Sequence[str]) -> tuple[float, int]:
    """Mean ms of CP-SAT with one worker, model building included; how many it got right."""
    right = 0
    with clock() as time_taken:
        for puzzle, solution in zip(every, known, strict=True):
            right += cp_sat(puzzle) == solution
    return 1000 * time_taken.cpu / len(every), right


def cp_sat(puzzle: str) -> str | None:
    """One 9x9 puzzle by CP-SAT: integers and alldifferent."""
    from ortools.sat.python import cp_model

    model = cp_model.CpModel()
    cells = [
        model.new_int_var(1, 9, "") if sign == "." else model.new_constant(int(sign))
        for sign in puzzle
    ]
    for line in board(9).lines:
        model.add_all_different([cells[k] for k in line])
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    if solver.solve(model) not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return None
    return "".join(str(solver.value(cell)) for cell in cells)


def written(answer: Answer) -> str:
    """The grid of an answer as one string."""
    if answer.values is None:
        return ""
    return "".join(SYMBOLS[value - 1] for row in answer.values["grid"] for value in row)


def _large(name: str, path: Path, limit: float | None) -> list[Row]:
    every, known = puzzles(path, 1), puzzles(path, 2)
    seconds, right, wall = [], 0, 0.0
    _answers(every[:1])
    for puzzle, solution in zip(every, known, strict=True):
        with clock() as time_taken:
            answer = _answers([puzzle])[0]
        seconds.append(time_taken.cpu)
        wall += time_taken.wall
        right += answer.status is Status.OPTIMAL and answer.unique is True
        right -= answer.unique is True and written(answer) != solution
    title = f"{name}, {len(every)} puzzles"
    note = (
        f"median {statistics.median(seconds):.3g} s, in all {sum(seconds):.3g} s, wall {wall:.3g} s"
    )
    return [
        at_least(f"{title}: proved unique and right", 100 * right / len(every), 100, "%"),
        at_most(f"{title}: slowest, CPU, asked one by one", max(seconds), limit, "s", note=note),
    ]


def _two_cores(name: str, path: Path, limit: float) -> list[Row]:
    """Every board again, where a long search may use both cores."""
    every, slowest = puzzles(path, 1), 0.0
    for puzzle in every:
        with clock() as time_taken:
            _answers([puzzle])
        slowest = max(slowest, time_taken.wall)
    title = f"{name}, {len(every)} puzzles: slowest, seconds of the clock, two cores"
    return [at_most(title, slowest, limit, "s")]


def _several(path: Path, count: int) -> list[Row]:
    every = puzzles(path)[:count]
    with clock() as time_taken:
        answers = _answers(every)
    good = 0
    for puzzle, answer in zip(every, answers, strict=True):
        grids = [answer.values, *(other.values for other in answer.alternatives)]
        valid = {str(g) for g in grids if g is not None and _valid(puzzle, g["grid"])}
        good += answer.unique is False and len(valid) >= 2
    return [
        at_least(
            f"puzzles with several solutions, {len(every)}: not unique, two valid grids shown",
            100 * good / len(every),
            100,
            "%",
            note=f"{1000 * time_taken.wall / len(every):.3g} ms a puzzle",
        )
    ]


def _valid(puzzle: str, grid: list[list[int]]) -> bool:
    flat = [value for row in grid for value in row]
    kept = all(sign in (".", "0") or int(sign) == v for sign, v in zip(puzzle, flat, strict=True))
    return kept and all(len({flat[k] for k in line}) == 9 for line in board(9).lines)


def _through_grpc(every: Sequence[str]) -> list[Row]:
    """One puzzle a call, the service in another process; the clock runs from text to answer."""
    from examples.processes import service
    from services.client import Client

    milliseconds = []
    title = "one hardest puzzle, warm, through gRPC, with uniqueness proof"
    with service("serve") as address, Client(address) as client:
        for k, puzzle in enumerate(every):
            began = time.perf_counter()
            answer = client.solve(sudoku_query(9, [puzzle]), PROVE)[0]
            if k >= 20:  # the first ones warm the process
                milliseconds.append(1000 * (time.perf_counter() - began))
            assert answer.unique is True, answer
    note = f"{len(milliseconds)} calls; client and service share the cores"
    return [
        at_most(
            f"{title}: p50", percentile(milliseconds, 0.5), 3, "ms",
            peer="Kona, published mean, its own puzzles", peer_value=KONA, note=note,
        ),
        at_most(
            f"{title}: p99", percentile(milliseconds, 0.99), 15, "ms",
            peer="GoM, published, easier puzzles", peer_value=GOM, note=note,
        ),
    ]  # fmt: skip

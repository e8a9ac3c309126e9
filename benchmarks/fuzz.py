"""Small random queries through every door, held against all their completions.

Every kind that ships, some that do not (`_fuzz/odd.py`: opaque, undecided, rounding), costs of
every size, views, evidence, choices, reals; what each means is written once more in plain Python
with exact fractions (`_fuzz/meaning.py`), and all completions are tried. What is held against them:
status, energy, bound, uniqueness, alternatives, runner-up, findings, conflicts, given values to the
bit, the same from every door, no exception, no hang. Where a real is open only samples of it are
tried: then a claim is wrong where a sample refutes it. The oracle itself is held against CP-SAT,
with presolve and without.

A wrong answer is told on stderr as a small query, with its seed:

    python -c "from benchmarks.fuzz import again; print(again(SEED, 'DOOR'))"

`--seed N` draws other queries; BASIN_FUZZ=10 sends ten times as many, BASIN_FUZZ=0.1 a tenth.
"""

import os
import sys
from collections.abc import Callable, Sequence

from benchmarks.common import Row, at_least, at_most
from tests.support.fuzz.run import fuzz, replay, reported
from tests.support.fuzz.worker import Worker

COUNTS = {
    "engine": 17_000,
    "weighted": 20_000,
    "reasoner": 16_000,
    "session": 5_000,
    "score": 6_000,
    "oracle": 4_000,
    "grpc": 2_000,
    "grpc session": 1_000,
    "crowd": 600,
    "command": 500,
    "hosted": 500,
    "hosted session": 200,
    "minimizers": 400,
}
APART = 1_000_000  # seeds from one run to the next
TOLD = 5  # wrong answers of a door that are made small and told


def measured(door: str, seed: int) -> list[Row]:
    """The rows of one door."""
    count = max(1, round(COUNTS[door] * float(os.environ.get("BASIN_FUZZ", "1"))))
    first, worker = seed * APART, Worker()
    try:
        tally = fuzz(door, range(first, first + count), worker.complaints)
        for case, complaint in tally.wrong[:TOLD]:
            print(reported(case, door, complaint, worker.complaints), file=sys.stderr)
    finally:
        worker.close()
    ended = ("hang", "exception")
    note = f"{tally.answers} rows of evidence, {1e3 * tally.seconds / tally.queries:.1f} ms a query"
    wrong = sum(n for kind, n in tally.kinds.items() if kind not in ended)
    peer = {"peer": "CP-SAT with and without presolve"} if door == "oracle" else {}
    return [
        at_least(f"{door}: queries", tally.queries, None, "queries", note=note),
        at_most(f"{door}: wrong answers", wrong, 0, "queries", note=_told(tally.kinds), **peer),
        at_most(f"{door}: hangs", tally.kinds["hang"], 0, "queries"),
        at_most(f"{door}: internal errors", tally.kinds["exception"], 0, "queries"),
    ]


def _told(kinds: dict[str, int]) -> str:
    return ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))


def again(seed: int, door: str) -> str:
    """The query of a seed made small, and what is wrong with its answer."""
    worker = Worker()
    try:
        return replay(seed, door, worker.complaints)
    finally:
        worker.close()


def _section(door: str) -> Callable[..., Sequence[Row]]:
    def section(seed: int = 0) -> Sequence[Row]:
        return measured(door, seed)

    return section


def run(seed: int = 0) -> list[Row]:
    """Every door."""
    return [row for door in COUNTS for row in measured(door, seed)]


SECTIONS = {door: _section(door) for door in COUNTS}

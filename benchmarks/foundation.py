"""Given, defined, decided: what the foundation carries, measured on the examples of
`tests/foundation`.

Seconds are those of the CPU, of one core, unless a row says otherwise. Boards have 33 cells with a
picture; what the classifier says of each is drawn: -ln softmax of N(0, 1.5), 9 more at the true
digit, and at one cell in 100 another digit raised by 10.

A table of its own for each site took 355 MB for the single sites of 100,000 nodes; one table for
all of them takes 60. The sweep for any structure took 9.4 s for 64 particles on a million edges, as
it keeps which combination stands at each; the one for pairs reads what stands at the other end.
Boards took 8.3 ms each while their answers were checked one by one.

The key of a cipher is found by exchanges of letters, which the example brings along. The default
search is far from it after 30 s: it moves single letters, each of which breaks the rule, and the
heat bath does not move at all. Annealing, which exchanges the values of a line, found three of three
keys in 15 s each where the 4-grams of one text were handed to it as tables; but such a structure
hangs on what is told, so that rows cannot share it.
"""

import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch

from benchmarks import _elimination, _pictured
from benchmarks.common import ROOT, Row, at_least, at_most, clock, one_core
from engine import Finite, Input, Problem, Real, Status, Variable, answers
from engine.answer import Answer
from engine.changes import energy_changes
from modules.catalogue import Catalogue
from modules.discrete.all_different import AllDifferent
from services.query import query_of
from services.reasoner.compile import Compiler
from tests.contracts.test_undecided import KIND, Case, check
from tests.foundation import test_cipher as ciphers
from tests.foundation import test_pictures as pictures
from tests.foundation import test_roll_out as integrators
from tests.support.largest import Largest

Section = Callable[..., Iterable[Row]]  # rows, of a seed

BOARDS, PICTURED = 1000, 33
CHECKED = 25  # boards that the peer proves, too


def run(seed: int = 0) -> list[Row]:
    """All rows."""
    return [row for section in SECTIONS.values() for row in section(seed=seed)]


# ---------------------------------------------------------------- pictures


def told_boards(count: int, rng: np.random.Generator) -> tuple[Problem, list[np.ndarray]]:
    """Boards with logits at some cells, none elsewhere, as rows of one problem; and the logits."""
    grid = Variable("grid", Finite(range(1, 10), (9, 9)))
    logits = Input("logits", Real((81, 9)))
    reading = pictures.Reading(logits, grid, torch.nn.Identity())
    every = []
    for _ in range(count):
        solved = pictures.board(9, rng).reshape(-1)
        x = rng.normal(0, 1.5, (81, 9))
        x[np.arange(81), solved] += 9
        wrong = np.flatnonzero(rng.random(81) < 0.01)
        x[wrong, (solved[wrong] + rng.integers(1, 9, len(wrong))) % 9] += 10
        x[rng.permutation(81)[PICTURED:]] = np.nan
        every.append(x.astype(np.float32))
    rules = AllDifferent(grid, lines=pictures.lines(9))
    rows = [{"logits": [None if np.isnan(c[0]) else c for c in x]} for x in every]
    return Problem(rules + reading).given_rows(rows), every


def boards(seed: int = 0) -> list[Row]:
    """Many boards in one batch, through the default portfolio."""
    rng = np.random.default_rng(seed)
    with one_core():
        answers(told_boards(3, np.random.default_rng(0))[0])  # the kernels are loaded
        problem, logits = told_boards(BOARDS, rng)
        with clock() as spent:
            found = answers(problem)
        some = rng.permutation(BOARDS)[:CHECKED]
        with clock() as peer:
            known = [cp_sat(logits[k]) for k in some]
    proved = [answer.status is Status.OPTIMAL for answer in found]
    agree = [abs((found[k].energy or 0.0) - least) < 1e-3 for k, least in zip(some, known)]
    title = f"{BOARDS:,} Sudoku boards, {PICTURED} pictured cells each, one batch"
    return [
        at_least(
            f"{title}: proved least", 100 * statistics.mean(proved), 100, "%",
            note=f"the peer finds the same least energy on {sum(agree)} of {CHECKED} boards",
        ),
        at_most(
            f"{title}: a board, one core", 1000 * spent.cpu / BOARDS, 20, "ms",
            peer="CP-SAT, one worker, model building included",
            peer_value=1000 * peer.cpu / CHECKED,
            note=f"{max(a.steps or 0 for a in found)} steps at most",
        ),
    ]  # fmt: skip


def cp_sat(logits: np.ndarray) -> float:
    """The least cost of one board: integers, alldifferent, costs in millionths."""
    from ortools.sat.python import cp_model

    model = cp_model.CpModel()
    cells = [[model.new_bool_var("") for _ in range(9)] for _ in range(81)]
    for cell in cells:
        model.add_exactly_one(cell)
    for line, digit in itertools.product(pictures.lines(9), range(9)):
        model.add_exactly_one(cells[c][digit] for c in line)
    told = ~np.isnan(logits[:, 0])
    costs = np.zeros((81, 9))
    costs[told] = np.logaddexp.reduce(logits[told], 1, keepdims=True) - logits[told]
    whole = np.rint(1e6 * costs).astype(int)
    model.minimize(sum(int(c) * v for c, v in zip(whole.flat, itertools.chain(*cells)) if c))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    assert solver.solve(model) == cp_model.OPTIMAL
    return solver.objective_value / 1e6


def kept(seed: int = 0) -> list[Row]:
    """What a search holds of pictures, with few particles and with many."""
    rng, sizes = np.random.default_rng(seed), []
    problem, reading = pictures.sudoku(9)
    rows = []
    for _ in range(20):
        cells = rng.permutation(81)[:PICTURED]
        rows.append({"pictures": pictures.told(reading, pictures.board(9, rng), cells, rng)})
    for particles in (8, 256):
        given = problem.given_rows(rows)
        with Largest() as seen:
            answers(given, particles=particles)
        sizes.append(seen.numbers / given.domain("pictures").tensor.numel())
    return [
        at_most(
            "20 boards of 28x28 pictures, 256 particles: the largest tensor of the search, of the "
            "pictures themselves",
            sizes[1], 1.0, "times", peer="the same with 8 particles", peer_value=sizes[0],
        ),
        at_most(
            "20 boards of 28x28 pictures, two searches: calls of the classifier",
            reading.net.calls, 2, "calls", note="one a search",
        ),
    ]  # fmt: skip


def hosted(seed: int = 0) -> list[Row]:
    """Boards of pictures as tensors through gRPC, the classifier hosted."""
    told = _pictured.measured(seed)
    title = f"{_pictured.BOARDS} boards of 28x28 pictures through gRPC, as tensors"
    return [
        at_least(f"{title}: proved least, through every door", told["proved"], 100, "%",
                 note="the same energies" if told["equal"] else "energies differ"),
        at_most(
            f"{title}, the classifier hosted: a board, of one whose classifier is the service's own",
            told["hosted"] / told["served"], 1.3, "times",
            note=f"{told['hosted']:.3g} and {told['served']:.3g} ms of the clock, "
                 f"{told['local']:.3g} without gRPC",
        ),
    ]  # fmt: skip


def narrowed(seed: int = 0) -> list[Row]:
    """One board of pictures as evidence, from arrays."""
    rng = np.random.default_rng(seed)
    grid, seen = Variable("grid", Finite(range(6), (6, 6))), Input("seen", Real((36, 28, 28)))
    problem = Problem(pictures.Reading(seen, grid, pictures.Prototypes(6)))
    array = rng.random((36, 28, 28)).astype(np.float32)
    direct = _milliseconds(lambda: problem.given(seen=array))
    source = f"{ROOT / 'tests' / 'support' / 'told.py'}:Sums"
    compiler = Compiler(Catalogue(also=(source,)))
    whole = {
        "variables": {"y": {"low": 0, "high": 9}},
        "inputs": {"p": {"low": 0, "high": 1, "shape": [36, 28, 28]}},
        "terms": [{"kind": "told.Sums", "scope": ["p", "y"]}],
        "evidence": {"p": array},
    }
    asked = _milliseconds(lambda: compiler.problem(query_of(whole)))
    title = "evidence of one board of 36 28x28 pictures, narrowed"
    return [
        at_most(title, direct, 3, "ms", note="median of 50"),
        at_most(f"{title}, from a query with its arrays", asked, 3, "ms", note="median of 50"),
    ]


def _milliseconds(work: Callable[[], object]) -> float:
    """Median of 50 calls, the first ones left out."""
    took = []
    for _ in range(55):
        began = time.perf_counter()
        work()
        took.append(1000 * (time.perf_counter() - began))
    return statistics.median(took[5:])


# ---------------------------------------------------------------- texts and graphs


def cipher(seed: int = 0) -> list[Row]:
    """Single changes of a key of 27 letters under 300 positions, and a key found by them."""
    with one_core():
        problem, term, key = ciphers.cipher(seed, 27, 303)
        x = {"key": torch.randperm(27, generator=torch.Generator().manual_seed(seed)).byte()[None]}
        sites = np.arange(27)
        with Largest() as seen:
            energy_changes(problem, sites, x)
        sweep = _milliseconds(lambda: energy_changes(problem, sites, x))
        with clock() as spent:
            best, energy = ciphers.exchanged(problem, 32, 300)
    used = problem.domain("text").tensor[0].unique()
    right = (best[used] == torch.from_numpy(key)[used]).double().mean()
    title = "cipher of 300 4-grams"
    return [
        at_most(f"{title}: one sweep of changes, all values of all 27 letters", sweep, 2, "ms",
                note="median of 50, seconds of the clock"),
        at_most(f"{title}: the largest tensor of a sweep, of the table of 27^4",
                seen.numbers / term.table.numel(), 1, "times", note="one table serves all"),
        at_least(f"{title}: letters of the key that exchanges drawn by changes find",
                 100 * float(right), 100, "%",
                 note=f"32 chains of 300 exchanges, {spent.cpu:.1f} s, energy {energy:.4g}"),
    ]  # fmt: skip


def labels(seed: int = 0) -> list[Row]:
    """A large graph, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks._labels", str(seed)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    title = "100,000 nodes, a million edges, 7 labels, 64 particles"
    return [
        at_most(f"{title}: memory above the process, at its peak", told["memory"], 400, "MB"),
        at_most(
            f"{title}: one sweep of all particles", told["sweep"], 1.2, "s",
            peer="a plain numba loop for this energy alone, same run", peer_value=told["plain"],
        ),
        at_most(f"{title}: a sweep over the plain loop's", told["sweep"] / told["plain"], 2, "times"),
    ]  # fmt: skip


# ---------------------------------------------------------------- what is computed


def integrator(seed: int = 0) -> list[Row]:
    """A linear double integrator against its normal equations, reduced and lifted."""
    del seed  # nothing is drawn
    rows = []
    for form in ("reduced", "lifted"):
        asked = integrators.problem()
        with one_core(), clock() as spent:
            found = answers(asked.reduced() if form == "reduced" else asked, particles=8)
        least = [integrators.closed_form(start)[0] for start in integrators.STARTS]
        off = max(abs((a.energy or 0.0) - e) / e for a, e in zip(found, least, strict=True))
        rows.append(
            at_most(
                f"double integrator, horizon {integrators.HORIZON}, {form}: the cost off the closed "
                "form's, relative, by default",
                off, 1e-6, "", note=f"{len(least)} rows, {spent.cpu:.2f} s of one core",
            )
        )  # fmt: skip
    return rows


# ---------------------------------------------------------------- what nothing is said of


def undecided(seed: int = 0, count: int = 200) -> list[Row]:
    """Random problems with rules that cannot say whether they hold, by trying every assignment."""
    wrong, open_rows, infeasible, optimal = 0, 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "unsure.py"
        path.write_text(KIND)
        kinds = Catalogue(also=(f"{path}:Unsure",))
        for k in range(count):
            case = Case.drawn(1_000_000 * seed + k)
            for row, answer in enumerate(answers(case.problem(kinds))):
                wrong += _disputed(case, row, answer)
                said = [holds for _, holds, _ in case.every(row)]
                if None in said and True not in said:  # nothing is known to hold
                    open_rows += 1
                    infeasible += answer.status is Status.INFEASIBLE
                    optimal += answer.status is Status.OPTIMAL
    title = f'{count} random problems with planted "cannot say"'
    note = f"{open_rows} rows in which nothing is known to hold and something cannot be told"
    return [
        at_most(f"{title}: INFEASIBLE where a rule cannot say", infeasible, 0, "rows", note=note),
        at_most(f"{title}: OPTIMAL where a rule cannot say", optimal, 0, "rows", note=note),
        at_most(f"{title}: answers that all assignments contradict", wrong, 0, "rows"),
    ]


def _disputed(case: Case, row: int, answer: Answer) -> bool:
    try:
        check(case, row, answer)
    except AssertionError:
        return True
    return False


SECTIONS: dict[str, Section] = {
    "boards": boards,
    "kept": kept,
    "hosted": hosted,
    "narrowed": narrowed,
    "cipher": cipher,
    "labels": labels,
    "integrator": integrator,
    "undecided": undecided,
    "elimination": _elimination.rows,
}

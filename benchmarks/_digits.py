"""Handwritten digits: how well they are read, and boards of them under rules.

Pictures are those of MNIST's test set (half A), which no weights were trained on. Boards of 30 to 36
clues with one solution are dug here; those of 17 clues are published ones.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import Row, at_least, at_most, clock, missing
from engine import Finite, Given, Input, Problem, Real, Status, Variable, answers
from engine.answer import Answer
from modules.discrete.all_different import AllDifferent
from modules.discrete.kept import Kept
from modules.discrete.proper import Proper
from modules.image.classifier.examples import Labelled, labelled_pictures
from modules.image.classifier.reader import load_reader
from modules.image.classifier.term import Classifier
from tests.foundation.test_pictures import board, lines

BOARDS, HARD, DIAGONAL, BINS = 1_000, 100, 100, 15
WEIGHTS = "mnist.safetensors"
TRAINED = 468 / 60  # CPU minutes of the training whose weights ship, on the machine that made them


def test_pictures(data: Path) -> Labelled:
    """Half A of MNIST's test pictures."""
    return labelled_pictures(data / "images/mnist/t10k-halfA-images-idx3-ubyte.gz")


def reading(data: Path | None) -> Iterable[Row]:
    """The classifier alone."""
    name = "MNIST half A (5,000 test pictures), read right by the weights that ship"
    if data is None:
        return [missing(name, 99.5, "%", "no data folder")]
    told = test_pictures(data)
    reader = load_reader(WEIGHTS)
    with clock() as took:
        logs, away = reader.read(told.pictures)
    wanted = torch.tensor(reader.columns(told.labels))
    sure, read = logs.exp().max(1)
    right = (read == wanted).double()
    inside = 100 * float((away <= reader.band(0.999)).double().mean())
    return [
        at_least(name, 100 * float(right.mean()), 99.5, "%"),
        at_most("calibration error of the same, 15 bins", 100 * off(sure, right), 0.5, "%"),
        at_most("training of these weights, CPU minutes", TRAINED, 15, "min",
                note="measured once, when they were made"),
        at_most("reading one picture, one core", 1000 * took.cpu / len(told.labels), None, "ms"),
        at_least("test pictures inside the band of 99.9 %", inside, None, "%"),
        at_most("pictures of noise inside the same band", noise_inside(reader), None, "%"),
    ]  # fmt: skip


def noise_inside(reader) -> float:
    """Pictures of nothing that are taken for usual ones. -> %"""
    drawn = torch.rand(500, 28, 28, generator=torch.Generator().manual_seed(0))
    return 100 * float((reader.read(drawn)[1] <= reader.band(0.999)).double().mean())


def off(sure: torch.Tensor, right: torch.Tensor) -> float:
    """The expected calibration error: how far the chance told lies from the share that is right,
    over bins of the chance. (n,), (n,)"""
    bins = (sure * BINS).long().clamp(max=BINS - 1)
    total = 0.0
    for k in bins.unique().tolist():
        own = bins == k
        total += abs(float(sure[own].mean() - right[own].mean())) * float(own.double().mean())
    return total


def dug(count: int, rng: np.random.Generator, extra: list[list[int]] | None = None):
    """Puzzles of 30 to 36 clues with one solution under the usual lines. -> solved (B, 81) 0 to 8,
    kept (B, 81) bool"""
    clues = Variable("clues", Finite(range(10), (81,)))
    proper = Proper(clues, lines=[*lines(9), *(extra or [])])
    solved = np.stack([board(9, rng).reshape(-1) for _ in range(count)])
    return solved, thinned(solved, proper, rng)


def thinned(solved: np.ndarray, proper: Proper, rng: np.random.Generator) -> np.ndarray:
    """Which cells stay, as few as are wanted and leave one solution. (B, 81)"""
    count = len(solved)
    kept, wanted = np.ones((count, 81), dtype=bool), rng.integers(30, 37, count)
    order = rng.random((count, 81)).argsort(1)
    for cell in order.T:
        less = kept.copy()
        less[np.arange(count), cell] = False
        hot = torch.nn.functional.one_hot(torch.from_numpy(np.where(less, solved + 1, 0)), 10)
        one = proper.energy(hot.float()).numpy() == 0
        due = one & (kept.sum(1) > wanted)
        kept[due] = less[due]
    return kept


def shown(told: Labelled, digits: np.ndarray, kept: np.ndarray, rng: np.random.Generator):
    """A random picture of each digit that is kept. (81,) 1 to 9, (81,) bool"""
    labels = np.array([int(label) for label in told.labels])
    values = np.zeros((81, *told.pictures.shape[1:]), dtype=np.uint8)
    for cell in np.flatnonzero(kept):
        values[cell] = told.pictures[rng.choice(np.flatnonzero(labels == digits[cell]))].numpy()
    return Given(values, kept)


def asked(extra: list[list[int]] | None = None) -> Problem:
    """A Sudoku whose cells may be pictures, and further lines that differ."""
    grid = Variable("grid", Finite(range(1, 10), (9, 9)))
    pictures = Input("pictures", Real((81, 28, 28)))
    read = Classifier(pictures, grid, weights=WEIGHTS)
    return Problem(AllDifferent(grid, lines=[*lines(9), *(extra or [])]) + read)


def right(found: list[Answer], solved: np.ndarray) -> np.ndarray:
    """Which answers are the boards that the pictures are of. -> (B,) bool"""
    grids = [np.array(a.values["grid"]).reshape(-1) if a.values else None for a in found]
    return np.array(
        [g is not None and (g == s + 1).all() for g, s in zip(grids, solved, strict=True)]
    )


def plain(problem: Problem, rows: list[Given], solved: np.ndarray) -> np.ndarray:
    """The same by reading each picture alone, and solving what was read. -> (B,) bool"""
    reader = problem.summands[1].term.characters
    given = []
    for row in rows:
        logs = reader.log_chances(
            torch.from_numpy(row.values[row.present]), [str(d) for d in range(1, 10)]
        )
        grid: list[int | None] = [None] * 81
        for cell, digit in zip(np.flatnonzero(row.present), logs.argmax(1).tolist(), strict=True):
            grid[cell] = digit + 1
        given.append({"grid": np.array(grid, dtype=object).reshape(9, 9).tolist()})
    return right(answers(problem.given_rows(given)), solved)


def boards(seed: int, data: Path | None) -> Iterable[Row]:
    """Boards of pictured clues, all rows of one batch."""
    name = "1,000 boards of 30 to 36 pictured clues, right"
    if data is None:
        return [missing(name, 99.0, "%", "no data folder")]
    rng, told = np.random.default_rng(seed), test_pictures(data)
    solved, kept = dug(BOARDS, rng)
    rows = [shown(told, s + 1, k, rng) for s, k in zip(solved, kept, strict=True)]
    problem = asked()
    answers(problem.given_rows([{"pictures": row} for row in rows[:2]]))
    reader = problem.summands[1].term.characters
    with clock() as looking:
        reader.read(torch.from_numpy(np.concatenate([r.values[r.present] for r in rows])))
    given = problem.given_rows([{"pictures": row} for row in rows])
    with clock() as took:
        found = answers(given)
    good, alone = right(found, solved), plain(problem, rows, solved)
    proved = np.array([a.status is Status.OPTIMAL for a in found])
    sure = np.array(["ABSTAIN" not in [str(f) for f in a.flags] for a in found])
    per = 1000 * (took.cpu - looking.cpu) / BOARDS
    return [
        at_least(name, 100 * good.mean(), 99.0, "%",
                 peer="each picture alone, then solved", peer_value=100 * alone.mean(),
                 note="published end to end 95.2 (RRN with a CNN), 63.2 (SATNet)"),
        at_least("the same, proved least", 100 * proved.mean(), 100, "%"),
        at_most("the same, a board beside reading its pictures, one core", per, 50, "ms"),
        at_most("reading the pictures of one board", looking.cpu / BOARDS, 0.3, "s"),
        at_most("the same, wrong and not flagged ABSTAIN", 100 * (sure & ~good).mean(), 1, "%",
                note=f"{100 * (~sure).mean():.3g} % abstain"),
    ]  # fmt: skip


def diagonal(seed: int, data: Path | None) -> Iterable[Row]:
    """A rule that nothing was trained for, said in the query."""
    name = "100 pictured boards with a diagonal rule given in the query alone, right"
    if data is None:
        return [missing(name, 99.0, "%", "no data folder")]
    rng, told = np.random.default_rng([seed, 1]), test_pictures(data)
    extra = [[10 * k for k in range(9)], [8 * k for k in range(1, 10)]]
    grid = Variable("grid", Finite(range(1, 10), (9, 9)))
    rules = Problem(AllDifferent(grid, lines=[*lines(9), *extra]), (grid,))
    firsts = [{"grid": [rng.permutation(9) + 1, *[[None] * 9] * 8]} for _ in range(DIAGONAL)]
    firsts = [{"grid": [list(map(int, f["grid"][0])), *f["grid"][1:]]} for f in firsts]
    full = answers(rules.given_rows(firsts), seed=seed)
    solved = np.stack([np.array(a.values["grid"]).reshape(-1) - 1 for a in full])
    clues = Variable("clues", Finite(range(10), (81,)))
    kept = thinned(solved, Proper(clues, lines=[*lines(9), *extra]), rng)
    rows = [shown(told, s + 1, k, rng) for s, k in zip(solved, kept, strict=True)]
    found = answers(asked(extra).given_rows([{"pictures": row} for row in rows]))
    good, without = (
        right(found, solved),
        answers(asked().given_rows([{"pictures": row} for row in rows])),
    )
    return [
        at_least(name, 100 * good.mean(), 99.0, "%",
                 peer="the same pictures without the rule",
                 peer_value=100 * right(without, solved).mean(), note="no training for it")
    ]  # fmt: skip


def hard(seed: int, data: Path | None) -> Iterable[Row]:
    """Published puzzles of 17 clues: no clue can be checked by another, but one solution is told."""
    name = f"{HARD} boards of 17 pictured clues that must leave one solution, right"
    if data is None:
        return [missing(name, None, "%", "no data folder")]
    rng, told = np.random.default_rng([seed, 3]), test_pictures(data)
    words = (data / "sudoku/sudoku17_shared.txt").read_text().split()
    puzzles = [w for w in words if len(w) == 81 and set(w) <= set(".123456789")][:HARD]
    digits = np.array([[0 if c == "." else int(c) for c in p] for p in puzzles])
    kept = digits > 0
    grid = Variable("grid", Finite(range(1, 10), (9, 9)))
    rules = AllDifferent(grid, lines=lines(9))
    given = [{"grid": np.where(d > 0, d, None).reshape(9, 9).tolist()} for d in digits]
    full = answers(Problem(rules, (grid,)).given_rows(given))
    solved = np.stack([np.array(a.values["grid"]).reshape(-1) - 1 for a in full])
    rows = [shown(told, d, k, rng) for d, k in zip(digits, kept, strict=True)]
    problem = asked()
    joint = right(answers(problem.given_rows([{"pictures": row} for row in rows])), solved)
    alone = 100 * plain(problem, rows, solved).mean()
    clues = Variable("clues", Finite(range(10), (9, 9)))
    pictures = Input("pictures", Real((81, 28, 28)))
    proper = Problem(
        rules
        + Kept(clues, grid)
        + Proper(clues, lines=lines(9))
        + Classifier(pictures, clues, weights=WEIGHTS)
    )
    blank = [np.where(k, None, 0).reshape(9, 9).tolist() for k in kept]
    evidence = [{"pictures": r, "clues": b} for r, b in zip(rows, blank, strict=True)]
    with clock() as took:
        found = right(answers(proper.given_rows(evidence)), solved)
    peer = {"peer": "each picture alone, then solved", "peer_value": alone}
    return [
        at_least(name, 100 * found.mean(), alone + 4, "%", **peer,
                 note="the target is 4 points above each picture alone"),
        at_least("the same by the least sum alone", 100 * joint.mean(), None, "%", **peer),
        at_most("the same with one solution, a board, one core", took.cpu / HARD, None, "s"),
    ]  # fmt: skip

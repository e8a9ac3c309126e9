"""Pictures of digits beside the rules of Sudoku: what is seen and what must hold, in one search."""

import numpy as np
import pytest
import torch

from engine import Factors, Finite, Given, Input, Problem, Real, Term, Variable, answers
from engine.energy import judge, told_once
from engine.testing import check_term
from modules.discrete.all_different import AllDifferent
from tests.support.largest import Largest

SIDE = 28  # of a picture
SHARP = 80.0
CALLS = 1  # of the net, whatever the number of boards: what is searched by is checked by, too


class Reading(Term):
    """E = sum over cells with a picture of -ln p(digit | picture)."""

    calibrated = True
    partial = True  # some cells have no picture
    fixed_structure = True

    def __init__(self, pictures, digits, net):
        """net: pictures (B, n, h, w) to logits (B, n, k)."""
        super().__init__(pictures, digits)
        self.net = net

    @told_once
    def costs(self, pictures):  # of `Given` (B, n, h, w), (B, n) -> (B, n, k)
        values, present = pictures
        return -self.net(values).log_softmax(-1) * present[..., None]

    def energy(self, pictures, digits):  # digits (B, *shape, k) -> (B,)
        costs = self.costs(pictures)
        return (costs * digits.reshape(costs.shape)).sum((1, 2))

    @torch.no_grad()
    def factors(self, pictures, digits):  # one table a cell; each row has costs of its own
        given = Given(pictures.tensor.to(self.dtype), pictures.present)
        return Factors.unary(self.costs(given).numpy())

    def floor(self):
        return 0.0


class Prototypes(torch.nn.Module):
    """Logits of pictures: how near they are to each of k random ones."""

    def __init__(self, k: int, side: int = SIDE):
        super().__init__()
        drawn = torch.rand(k, side, side, generator=torch.Generator().manual_seed(0))
        self.register_buffer("shown", drawn)
        self.calls = 0

    def forward(self, pictures):  # (B, n, h, w) -> (B, n, k)
        self.calls += 1
        flat, shown = pictures.flatten(2), self.shown.flatten(1)
        return SHARP * (flat @ shown.T - 0.5 * shown.square().sum(1)) / shown.shape[1]

    def pictures(self, places: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Of these digits, each mixed with another, so that some are misread. (n,) -> (n, h, w)"""
        shown, n, k = self.shown.numpy(), len(places), len(self.shown)
        share = 0.6 * rng.random((n, 1, 1))
        other = shown[(places + rng.integers(1, k, n)) % k]
        noise = rng.normal(0, 0.1, other.shape)
        return ((1 - share) * shown[places] + share * other + noise).astype(np.float32)


def lines(size: int) -> list[list[int]]:
    """Rows, columns and blocks of a board."""
    root, cells = int(size**0.5), np.arange(size * size).reshape(size, size)
    blocks = cells.reshape(root, root, root, root).swapaxes(1, 2).reshape(size, size)
    return [*cells.tolist(), *cells.T.tolist(), *blocks.tolist()]


def board(size: int, rng: np.random.Generator) -> np.ndarray:
    """A solved board: bands, rows, columns and digits of a regular one exchanged. (size, size)"""
    root = int(size**0.5)
    r, c = np.indices((size, size))
    solved = rng.permutation(size)[(root * (r % root) + r // root + c) % size]
    mixed = [
        np.concatenate([root * b + rng.permutation(root) for b in rng.permutation(root)])
        for _ in range(2)
    ]
    return solved[np.ix_(*mixed)]


def sudoku(size: int) -> tuple[Problem, Reading]:
    """The rules and the classifier, nothing told yet."""
    grid = Variable("grid", Finite(range(1, size + 1), (size, size)))
    pictures = Input("pictures", Real((size * size, SIDE, SIDE)))
    reading = Reading(pictures, grid, Prototypes(size))
    return Problem(AllDifferent(grid, lines=lines(size)) + reading), reading


def told(reading: Reading, solved: np.ndarray, cells: np.ndarray, rng: np.random.Generator):
    """Pictures of some cells of a board, None elsewhere."""
    every = reading.net.pictures(solved.reshape(-1), rng)
    return [every[cell] if cell in cells else None for cell in range(solved.size)]


def energies(reading: Reading, pictures, boards: np.ndarray) -> np.ndarray:
    """In plain numpy, of boards (m, n)."""
    shown = reading.net.shown.flatten(1).double().numpy()
    total = np.zeros(len(boards))
    for cell, picture in enumerate(pictures):
        if picture is not None:
            near = shown @ picture.reshape(-1).astype(float) - 0.5 * (shown**2).sum(1)
            logits = SHARP * near / shown.shape[1]
            total += np.logaddexp.reduce(logits) - logits[boards[:, cell]]
    return total


def every_board(size: int) -> np.ndarray:
    """All solved boards, by plain search. (m, n)"""
    found, wanted = [()], [[line for line in lines(size) if c in line] for c in range(size**2)]
    for cell in range(size**2):
        found = [
            (*some, digit)
            for some in found
            for digit in range(size)
            if all(some[c] != digit for line in wanted[cell] for c in line if c < cell)
        ]
    return np.array(found)


def test_the_term_keeps_its_contract() -> None:
    pictures = Input("pictures", Real((4, 3, 3)))
    digits = Variable("digits", Finite((1, 2, 3), (2, 2)))
    check_term(Reading(pictures, digits, Prototypes(3, 3)))


def test_small_boards_are_read_as_well_as_can_be() -> None:
    """Boards with other pictures, some cells without, one board with none: one batch, each
    proved least as by all 288 boards."""
    rng, every = np.random.default_rng(0), every_board(4)
    problem, reading = sudoku(4)
    rows = [told(reading, board(4, rng), rng.permutation(16)[: 4 + k], rng) for k in range(12)]
    found = answers(problem.given_rows([{"pictures": row} for row in rows] + [{}]))
    assert reading.net.calls == CALLS and len(every) == 288
    assert found[-1].status == "OPTIMAL" and found[-1].energy == 0
    misread = 0
    for row, answer in zip(rows, found, strict=False):
        costs = energies(reading, row, every)
        assert answer.status == "OPTIMAL" and answer.energy == pytest.approx(costs.min(), rel=1e-4)
        grid = np.array(answer.values["grid"]).reshape(-1) - 1
        digits = np.arange(4)[:, None]
        alone = [energies(reading, [one], digits).argmin() for one in row if one is not None]
        misread += (alone != grid[[one is not None for one in row]]).sum()
    assert misread  # the rules had a say


def test_boards_beside_given_digits_are_judged() -> None:
    """9x9, 33 pictured cells each, some with digits given beside, one with nothing but these: rules
    hold, the energy is that of the pictures, and no worse than that of the board they are of."""
    rng = np.random.default_rng(1)
    problem, reading = sudoku(9)
    solved = [board(9, rng) for _ in range(6)]
    rows, evidence = [], []
    for k, one in enumerate(solved):
        rows.append(told(reading, one, rng.permutation(81)[:33], rng) if k < 5 else [None] * 81)
        keep = rng.random((9, 9)) < (0.4 if k % 2 else 0.0)
        grid = np.where(keep, one + 1, None).tolist()
        evidence.append({"pictures": rows[-1], "grid": grid} if k < 5 else {"grid": grid})
    found = answers(problem.given_rows(evidence))
    assert reading.net.calls == CALLS
    for row, one, given, answer in zip(rows, solved, evidence, found, strict=True):
        grid = np.array(answer.values["grid"]).reshape(-1)
        kept = [v is None or v == got for v, got in zip(sum(given["grid"], []), grid, strict=True)]
        assert answer.status == "OPTIMAL" and all(kept)
        assert judge(problem.summands[0].term, answer.values)
        own, right = energies(reading, row, np.stack([grid - 1, one.reshape(-1)]))
        assert answer.energy == pytest.approx(own, rel=1e-4, abs=1e-4) and own <= right + 1e-3


def test_pictures_are_kept_once_whatever_the_particles() -> None:
    """The largest tensor of a search is the pictures themselves."""
    rng = np.random.default_rng(2)
    problem, reading = sudoku(4)
    rows = [told(reading, board(4, rng), rng.permutation(16)[:8], rng) for _ in range(4)]
    given = problem.given_rows([{"pictures": row} for row in rows])
    sizes = []
    for particles in (2, 64):
        with Largest() as seen:
            answers(problem.given_rows([{"pictures": row} for row in rows]), particles=particles)
        sizes.append(seen.numbers)
    assert sizes[0] == sizes[1] == given.domain("pictures").tensor.numel()

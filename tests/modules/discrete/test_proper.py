"""`discrete.proper`: a reading of clues counts only if the puzzle has exactly one solution."""

import itertools

import numpy as np
import pytest
import torch

from engine.domain import Finite, Variable
from engine.errors import BadQuery
from engine.problem import Problem
from engine.settle import answers
from engine.testing import check_term
from modules.discrete.proper import Proper
from modules.discrete.table import Table
from tests.support.puzzles import puzzle, solutions

LATIN = [[0, 1, 2], [3, 4, 5], [6, 7, 8], [0, 3, 6], [1, 4, 7], [2, 5, 8]]
BOXES = [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
FOUR = [[r * 4 + c for c in range(4)] for r in range(4)]
FOUR += [[r * 4 + c for r in range(4)] for c in range(4)] + BOXES


def counted(values, lines, blank, most):
    """How many ways there are to fill in the blanks, by trying everything."""
    choices = [[v] if v != blank else range(1, most + 1) for v in values]
    filled = itertools.product(*choices)
    return sum(all(len({f[s] for s in line}) == len(line) for line in lines) for f in filled)


def test_contract():
    check_term(Proper.example())


def test_against_enumeration():
    cells = Variable("cells", Finite((0, 1, 2, 3), (9,)))
    term = Proper(cells, lines=LATIN)
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 4, (200, 9)) * (rng.random((200, 9)) < 0.5)
    seen = set()
    for row in rows.tolist():
        count = counted(row, LATIN, 0, 3)
        seen.add(min(count, 2))
        assert term.holds(row) is (count == 1)
        hot = torch.nn.functional.one_hot(torch.tensor([row]), 4).float()
        assert term.energy(hot).tolist() == [float(count != 1)]
        said = term.explain(row)
        assert [text.split()[0] for text in said] == {0: ["no"], 1: []}.get(count, ["more"])
    assert seen == {0, 1, 2}


@pytest.mark.parametrize("seed", range(3))
def test_minimal_sudoku_is_proper_and_one_clue_less_is_not(seed):
    text, _ = puzzle(9, seed)
    lines = [[r * 9 + c for c in range(9)] for r in range(9)]
    lines += [[r * 9 + c for r in range(9)] for c in range(9)]
    lines += [
        [(b // 3 * 3 + i) * 9 + b % 3 * 3 + j for i in range(3) for j in range(3)] for b in range(9)
    ]
    cells = Variable("cells", Finite(tuple(range(10)), (9, 9)))
    term = Proper(cells, lines=lines)
    flat = [0 if sign == "." else int(sign) for sign in text]

    def nested(values):
        return [values[k : k + 9] for k in range(0, 81, 9)]

    assert term.holds(nested(flat)) is True
    given = next(k for k, v in enumerate(flat) if v)
    assert term.holds(nested([0 if k == given else v for k, v in enumerate(flat)])) is False


def test_too_few_nodes_leave_it_open():
    cells = Variable("cells", Finite((0, 1, 2, 3, 4), (4, 4)))
    term = Proper(cells, lines=FOUR, nodes=1)
    blank = [[0] * 4] * 4
    assert term.holds(blank) is None and term.explain(blank) == []
    assert Proper(cells, lines=FOUR).holds(blank) is False


def test_only_proper_readings_are_answers():
    """A camera finds a wrong value likelier in one cell, but only the right one makes a puzzle."""
    text, _ = puzzle(4, 3)
    cells = [0 if sign == "." else int(sign) for sign in text]
    unsure, wrong = next(
        (k, v)
        for k, right in enumerate(cells)
        for v in range(1, 5)
        if right and v != right and len(solutions(4, [*cells[:k], v, *cells[k + 1 :]])) != 1
    )
    right = cells[unsure]
    clues = Variable("clues", Finite((0, 1, 2, 3, 4), (4, 4)))
    costs = [5.0] * 5
    costs[wrong], costs[right], costs[0] = 0.1, 2.0, 0.5
    energy = Proper(clues, lines=FOUR) + Table(clues, sites=[unsure], costs=costs)
    given = [None if k == unsure else v for k, v in enumerate(cells)]
    problem = Problem(energy).given(clues=[given[k : k + 4] for k in range(0, 16, 4)])
    answer = answers(problem)[0]
    assert answer.status == "OPTIMAL" and answer.values is not None
    assert answer.values["clues"][unsure // 4][unsure % 4] == right
    assert answer.energy == pytest.approx(2.0)


@pytest.mark.parametrize(
    "params, path",
    [
        ({"lines": [[0, 9]]}, "lines[0][1]"),
        ({"lines": [[0, 0]]}, "lines[0]"),
        ({"lines": [[0, 1]], "blank": 7}, "blank"),
        ({"lines": [[0, 1]], "nodes": 0}, "nodes"),
    ],
)
def test_mistakes_are_told(params, path):
    with pytest.raises(BadQuery) as told:
        Proper(Variable("x", Finite((0, 1, 2), (4,))), **params)
    assert told.value.mistakes[0].path == path

"""Cages of KenKen as energies: the least over all fillings, the best other reading, in a batch."""

import itertools

import numpy as np
import pytest
import torch

from engine.domain import Finite, Given, Input, Real, Variable
from engine.minimizers.branch_and_bound import BranchAndBound
from engine.problem import Problem
from engine.settle import answers
from examples.boards import text_picture
from modules.discrete.all_different import AllDifferent
from modules.image._boards.reading import WEIGHTS
from modules.image._boards.strips import HIGH, strip_of
from modules.image.cage import Cages, shape_of
from modules.image.numeral import Numeral

LINES = [[0, 1, 2], [3, 4, 5], [6, 7, 8], [0, 3, 6], [1, 4, 7], [2, 5, 8]]
CAGES = [[0, 1], [2, 5], [3, 4, 6], [7], [8]]
TEXTS = ["3+", "2/", "18x", "3", "2"]


def strips(texts, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([strip_of(np.pad(text_picture(t, 36, rng), 4), 96) for t in texts])


def squares():
    rows = list(itertools.permutations((1, 2, 3)))
    every = [np.array(s) for s in itertools.product(rows, repeat=3)]
    return [s for s in every if all(len(set(c)) == 3 for c in s.T.tolist())]


def problem_of(**more):
    grid = Variable("grid", Finite((1, 2, 3), (3, 3)))
    pictures = Input("pictures", Real((len(CAGES), HIGH, 96), 0.0, 1.0))
    term = Cages(pictures, grid, cages=CAGES, weights=WEIGHTS, **more)
    return Problem(AllDifferent(grid, lines=LINES) + 1.0 * term), term


def costs_of(term, told, every):
    """What each board costs, one by one."""
    seen = Given(torch.from_numpy(told)[None], torch.ones(1, len(told), dtype=torch.bool))
    return [float(term.cost(seen, torch.from_numpy(s - 1)[None])) for s in every]


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"within": 4.0},
        {"lines": LINES},
        {"within": 4.0, "lines": LINES},
        {"unlike": TEXTS},
        {"unlike": ["9+"] * 5},
        {"unlike": TEXTS, "lines": LINES},
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_the_least_is_that_of_all_boards(more, seed):
    problem, term = problem_of(**more)
    told, every = strips(TEXTS, seed), squares()
    costs = np.array(costs_of(term, told, every))
    (answer,) = answers(problem.given(pictures=told), BranchAndBound())
    if np.isinf(costs).all():
        assert answer.status == "INFEASIBLE"
        return
    assert answer.status == "OPTIMAL" and answer.energy == pytest.approx(costs.min())
    hot = torch.nn.functional.one_hot(torch.tensor(np.array(every) - 1), 3).double()
    seen = Given(
        torch.from_numpy(told).expand(len(every), *told.shape),
        torch.ones(len(every), len(told), dtype=torch.bool),
    )
    assert term.energy(seen, hot).numpy() == pytest.approx(costs, rel=1e-5)


def test_rows_are_as_alone_and_absent_pictures_cost_nothing():
    problem, _ = problem_of()
    rows = [{"pictures": strips(TEXTS, k)} for k in range(2)]
    rows.append({"pictures": [None, *rows[0]["pictures"][1:]]})
    together = answers(problem.given_rows(rows), BranchAndBound())
    alone = [answers(problem.given(**row), BranchAndBound())[0] for row in rows]
    assert [a.energy for a in together] == [a.energy for a in alone]
    assert together[2].energy < together[0].energy


def test_what_repeats_in_a_line_is_forbidden():
    _, term = problem_of(lines=LINES)
    _, plain = problem_of()
    rng, told = np.random.default_rng(0), strips(TEXTS)
    every = [rng.integers(1, 4, (3, 3)) for _ in range(60)]
    with_lines, without = (np.array(costs_of(one, told, every)) for one in (term, plain))
    repeats = np.array([s[0, 0] == s[0, 1] or s[1, 0] == s[1, 1] or s[1, 0] == s[2, 0]
                        or s[0, 2] == s[1, 2] for s in every])  # fmt: skip
    assert 0 < repeats.sum() < len(every)
    assert np.isinf(with_lines[repeats]).all() and np.isfinite(without).all()
    assert (with_lines[~repeats] == without[~repeats]).all()
    absent = Given(torch.zeros(1, 5, HIGH, 96), torch.zeros(1, 5, dtype=torch.bool))
    assert float(term.cost(absent, torch.from_numpy(every[0] - 1)[None])) == 0


def test_what_a_filling_comes_to():
    shape = shape_of([1, 2, 3, 4, 5, 6], 2)
    at = shape.fillings.tolist().index([5, 1])  # 6 and 2
    assert {shape.texts[k] for k in shape.results[:, at] if k >= 0} == {"8+", "12x", "4-", "3/"}
    at = shape.fillings.tolist().index([2, 1])  # 3 and 2
    assert {shape.texts[k] for k in shape.results[:, at] if k >= 0} == {"5+", "6x", "1-"}


@pytest.mark.parametrize("number", [7, 12, 16])
def test_a_number_is_cheapest_where_it_stands(number):
    pictures = Input("pictures", Real((1, HIGH, 96), 0.0, 1.0))
    numbers = Variable("numbers", Finite(tuple(range(1, 17)), (1,)))
    term = Numeral(pictures, numbers, weights=WEIGHTS)
    told = strips([str(number)])
    (answer,) = answers(Problem(1.0 * term).given(pictures=told))
    assert answer.status == "OPTIMAL" and answer.values["numbers"] == [number]
    (blank,) = answers(Problem(1.0 * term).given(pictures=[None]))
    assert blank.energy == 0


@pytest.mark.parametrize("values", [(2**40, 3), (10**15, 7, 1), (2**62 + 1, 2), (1, 2, 9)])
def test_large_products_and_sums_are_exact(values):
    for size in (1, 2, 3, 6):
        shape = shape_of(list(values), size)
        for k, filling in enumerate(shape.fillings.tolist()):
            own = [values[v] for v in filling]
            told = {shape.texts[t] for t in shape.results[:, k].tolist() if t >= 0}
            if size == 1:
                assert told == {str(own[0])}
                continue
            product, total = 1, sum(own)
            for value in own:
                product *= value
            assert {f"{product}x", f"{total}+"} <= told
            if size == 2:
                assert f"{max(own) - min(own)}-" in told
                assert (f"{max(own) // min(own)}/" in told) == (max(own) % min(own) == 0)

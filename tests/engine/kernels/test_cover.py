"""The grouped-choice search equals enumeration, row by row, whatever the batch."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.kernels.cover import ENOUGH, EXHAUSTED, LIMIT, cover, reference_search, search


class Case(NamedTuple):
    sizes: list[int]
    groups: list[list[int]]
    exact: list[bool]
    allowed: np.ndarray  # (R, C)


def prepared(case, **labels):
    pointer = np.r_[0, np.cumsum([len(group) for group in case.groups])].astype(int)
    return cover(case.sizes, pointer, sum(case.groups, []), case.exact, **labels)


@st.composite
def cases(draw):
    sizes = draw(st.lists(st.integers(0 if draw(st.integers(0, 9)) == 0 else 1, 4), max_size=6))
    count = sum(sizes)
    literal = st.integers(0, max(count - 1, 0))
    group = st.lists(literal, unique=True, max_size=6 if count else 0)
    groups = draw(st.lists(group, max_size=8))
    exact = draw(st.lists(st.booleans(), min_size=len(groups), max_size=len(groups)))
    bits = draw(st.lists(st.integers(0, 7), min_size=3 * count, max_size=3 * count))
    return Case(sizes, groups, exact, np.array(bits).reshape(3, count) > 0)


@settings(max_examples=300)
@given(cases(), st.integers(1, 300))
def test_equals_enumeration(case, wanted):
    result = search(prepared(case), case.allowed, nodes=10**6, wanted=wanted)
    for row, allowed in enumerate(case.allowed):
        expected = reference_search(case.sizes, case.groups, case.exact, allowed, 10**4)
        listed = [tuple(values) for values in result.solutions[row, : result.found[row]].tolist()]
        assert result.found[row] == min(wanted, len(expected)) == len(set(listed))
        assert set(listed) <= set(expected)
        exhausted = len(expected) < wanted
        assert result.status[row] == (EXHAUSTED if exhausted else ENOUGH)
        assert result.counted[row] == exhausted
        assert (result.solutions[row, result.found[row] :] == -1).all()


@st.composite
def colourings(draw):
    n, k = draw(st.integers(2, 7)), draw(st.integers(2, 4))
    pair = st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)).filter(lambda e: e[0] < e[1])
    edges = draw(st.lists(pair, unique=True, max_size=15))
    groups = [[a * k + v, b * k + v] for a, b in edges for v in range(k)]
    exact = [False] * len(groups)
    if draw(st.booleans()):  # every colour at one of a few sites: exact groups under symmetry
        sites = draw(st.lists(st.integers(0, n - 1), unique=True, min_size=2))
        groups += [[s * k + v for s in sites] for v in range(k)]
        exact += [True] * k
    closed = draw(st.lists(st.integers(0, n * k - 1), max_size=4))
    allowed = np.ones((2, n * k))
    allowed[1, closed] = 0  # evidence that tells some colours apart
    return Case([k] * n, groups, exact, allowed), k


@settings(max_examples=300)
@given(colourings())
def test_symmetry_never_changes_whether_there_is_a_solution(drawn):
    case, k = drawn
    labels = {"label": np.tile(np.arange(k), len(case.sizes)), "label_class": np.zeros(k, int)}
    result = search(prepared(case, **labels), case.allowed, 10**6, wanted=500, symmetry=True)
    for row, allowed in enumerate(case.allowed):
        expected = reference_search(case.sizes, case.groups, case.exact, allowed, 10**5)
        listed = {tuple(values) for values in result.solutions[row, : result.found[row]].tolist()}
        assert listed <= set(expected) and bool(listed) == bool(expected)
        if result.counted[row]:
            assert listed == set(expected)
        elif result.status[row] == EXHAUSTED:
            assert result.found[row] > 0


def board(box):
    """Sudoku of box * box symbols: rows, columns and boxes hold each symbol exactly once."""
    n = box * box
    at = np.arange(n**3).reshape(n, n, n)  # (row, column, symbol)
    boxes = at.reshape(box, box, box, box, n).transpose(0, 2, 4, 1, 3)
    groups = np.concatenate([at.transpose(0, 2, 1), at.transpose(1, 2, 0), boxes.reshape(n, n, n)])
    return Case([n] * n * n, groups.reshape(-1, n).tolist(), [True] * 3 * n * n, np.ones((1, n**3)))


def test_sudoku_made_here_is_unique_and_its_rows_do_not_depend_on_the_batch():
    structure, rng = prepared(board(3)), np.random.default_rng(1)
    shift = np.array([3 * (r % 3) + r // 3 for r in range(9)])
    solved = (shift[:, None] + np.arange(9)) % 9  # (9, 9)
    allowed = np.ones((12, 81, 9))
    for row in range(12):  # clues of the shifted board, ever fewer
        for site in rng.permutation(81)[: 60 - 4 * row]:
            allowed[row, site] = np.eye(9)[solved.flat[site]]
    allowed = allowed.reshape(12, -1)
    together = search(structure, allowed, 3000, wanted=2)
    threaded = search(structure, allowed, 3000, wanted=2, threads=2)
    alone = [search(structure, allowed[[row]], 3000, wanted=2) for row in range(12)]
    assert together.counted[0] and together.found[0] == 1
    assert (together.solutions[0, 0] == solved.flat).all()
    assert together.found[11] == 2 and together.status[11] == ENOUGH
    for field, of_threads, *of_rows in zip(together, threaded, *alone):
        assert np.array_equal(field, of_threads)
        assert np.array_equal(field, np.concatenate(of_rows))


def test_node_limit_is_kept_and_claims_nothing():
    pigeons = Case([7] * 8, [[s * 7 + v for s in range(8)] for v in range(7)], [False] * 7, None)
    open_ = np.ones((1, 56))
    full = search(prepared(pigeons), open_, nodes=10**6)
    assert full.status[0] == EXHAUSTED and full.found[0] == 0 and full.counted[0]
    for nodes in (0, 1, 50, int(full.spent[0]) - 1):
        cut = search(prepared(pigeons), open_, nodes=nodes)
        assert cut.status[0] == LIMIT and cut.spent[0] == nodes and not cut.counted[0]
    labels = {"label": np.tile(np.arange(7), 8), "label_class": np.zeros(7, int)}
    folded = search(prepared(pigeons, **labels), open_, nodes=10**6, symmetry=True)
    assert folded.counted[0] and folded.found[0] == 0 and 50 * folded.spent[0] < full.spent[0]


@pytest.mark.parametrize(
    "mistake, groups",
    [("lie in", [[0, 9]]), ("twice", [[0, 0]]), ("changes groups", [[0, 2]])],
)
def test_a_mistake_in_the_structure_is_refused(mistake, groups):
    labels = {"label": [0, 1, 0, 1], "label_class": [0, 0]}
    with pytest.raises(ValueError, match=mistake):
        prepared(Case([2, 2], groups, [False], None), **labels)

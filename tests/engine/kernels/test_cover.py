"""The grouped-choice search equals enumeration, row by row, whatever the batch."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from engine.kernels.cover import (
    ENOUGH,
    EXHAUSTED,
    FAR,
    LIMIT,
    cover,
    reference_priced,
    reference_search,
    search,
    search_priced,
)


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
def priced_cases(draw):
    case = draw(cases())
    count = case.allowed.shape[1]
    most = draw(st.sampled_from([0, 2, 9, 2**50]))  # many ties, or none
    prices = draw(st.lists(st.integers(0, most), min_size=3 * count, max_size=3 * count))
    return case, np.array(prices, dtype=np.int64).reshape(3, count)


def listed(result, row):
    """Price and values of the solutions that are listed for a row."""
    found = result.found[row]
    places = [tuple(one) for one in result.solutions[row, :found].tolist()]
    return list(zip(result.paid[row, :found].tolist(), places, strict=True))


def solutions_of(case, price):
    """Every solution of each row with its price, cheapest first."""
    rows = zip(case.allowed, price, strict=True)
    return [reference_priced(case.sizes, case.groups, case.exact, *row) for row in rows]


@st.composite
def priced_questions(draw):
    case, price = draw(priced_cases())
    solved = solutions_of(case, price)
    costs = sorted({0, 5, *(cost + more for row in solved for cost, _ in row for more in (0, 1))})
    return (
        case,
        price,
        {
            "below": draw(st.just(FAR) | st.sampled_from(costs)),
            "above": [draw(st.integers(0, row[0][0] if row else 2**50)) for row in solved],
            "step": draw(st.integers(1, 2**40)),
            "margin": draw(st.integers(0, 3)),
            "wanted": draw(st.integers(1, 300)),
        },
    )


def check_priced(searched, question):
    """The law of a priced search."""
    case, price, more = question
    below, margin, wanted = more["below"], more["margin"], more["wanted"]
    solved = solutions_of(case, price)
    result = searched(prepared(case), case.allowed, price, 10**6, **more)
    assert (result.status == EXHAUSTED).all()
    for row, every in enumerate(solved):
        expected = [one for one in every if one[0] < below]
        told = listed(result, row)
        assert bool(told) == bool(expected) and len(set(told)) == len(told)
        if not expected:
            assert below <= result.bound[row] <= (every[0][0] if every else FAR)
            continue
        least = expected[0][0]
        near = {one for one in expected if one[0] < least + max(margin, 1)}
        assert told[0][0] == least == result.bound[row]
        assert set(told) <= near
        assert result.listed[row] or len(near) >= wanted or margin > 1
        if result.listed[row] and margin:
            assert set(told) == near


@settings(max_examples=500)
@given(priced_questions())
def test_the_cheapest_solution_and_those_near_it_equal_enumeration(question):
    check_priced(search_priced, question)


def free(structure, allowed, price, nodes, **more):
    """Planted: the last candidate costs nothing."""
    known = np.arange(price.shape[1]) + 1 < price.shape[1]
    return search_priced(structure, allowed, price * known, nodes, **more)


def hasty(*given, **more):
    """Planted: the bound is one too high."""
    found = search_priced(*given, **more)
    return found._replace(bound=found.bound + 1)


def lavish(structure, allowed, price, nodes, *, above, **more):
    """Planted: what is known to be the least is beaten."""
    return search_priced(structure, allowed, price, nodes, above=np.array(above) + 1, **more)


@pytest.mark.parametrize("planted", [free, hasty, lavish])
def test_a_priced_search_that_errs_is_noticed(planted):
    @settings(max_examples=300, database=None, phases=[Phase.generate], derandomize=True)
    @given(priced_questions())
    def law(question):
        check_priced(planted, question)

    with pytest.raises(AssertionError):
        law()


@settings(max_examples=300)
@given(priced_cases(), st.integers(1, 2**40))
def test_a_limit_of_nodes_is_kept_and_what_it_claims_of_prices_is_true(drawn, step):
    case, price = drawn
    structure = prepared(case)
    full = search_priced(structure, case.allowed, price, 10**6, step=step)
    for nodes in range(int(full.spent.max()) + 1):
        cut = search_priced(structure, case.allowed, price, nodes, step=step)
        for row in range(3):
            assert cut.spent[row] == min(nodes, full.spent[row])
            assert cut.status[row] == (EXHAUSTED if full.spent[row] <= nodes else LIMIT)
            assert cut.bound[row] <= full.bound[row]
            if cut.found[row]:
                own = np.concatenate([[0], np.cumsum(case.sizes)[:-1]]) + cut.solutions[row, 0]
                assert price[row, own.astype(int)].sum() == cut.paid[row, 0]
                assert cut.paid[row, 0] >= full.paid[row, 0]
            if cut.status[row] == EXHAUSTED:
                assert listed(cut, row) == listed(full, row)
        again = search_priced(structure, case.allowed, price, 10**6, step=step, above=cut.bound)
        assert np.array_equal(again.paid, full.paid) and np.array_equal(again.found, full.found)


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


def same_without_numba(structure, *question, few=3):
    """Whatever ran, also where it had to begin anew because of too many nodes."""
    compiled = search(structure, *question)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("engine.kernels.cover.worth", lambda steps: False)
        patch.setattr("engine.kernels.cover.FEW", few)
        plain = search(structure, *question)
    return all(
        one.dtype == other.dtype and np.array_equal(one, other)
        for one, other in zip(compiled, plain, strict=True)
    )


@settings(max_examples=150)
@given(cases(), st.integers(0, 200), st.integers(1, 40))
def test_plain_python_finds_the_very_same(case, nodes, wanted):
    assert same_without_numba(prepared(case), case.allowed, nodes, wanted)


@settings(max_examples=100)
@given(colourings(), st.integers(0, 50))
def test_plain_python_finds_the_very_same_with_symmetry(drawn, nodes):
    case, k = drawn
    labels = {"label": np.tile(np.arange(k), len(case.sizes)), "label_class": np.zeros(k, int)}
    assert same_without_numba(prepared(case, **labels), case.allowed, nodes, 20, True)


def test_plain_python_takes_whole_words_of_candidates():
    """A 4x4 Sudoku has exactly 64; its 288 grids."""
    assert same_without_numba(prepared(board(2)), np.ones((1, 64)), 10**4, 300, few=10**4)


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


def test_priced_rows_do_not_depend_on_the_batch_nor_on_threads():
    structure, rng = prepared(board(3)), np.random.default_rng(2)
    shift = np.array([3 * (r % 3) + r // 3 for r in range(9)])
    solved = (shift[:, None] + np.arange(9)) % 9
    price = rng.integers(0, 100, (12, 81, 9)) * (np.arange(9) != solved.reshape(81, 1))
    price[:, rng.permutation(81)[:50]] = 0  # cells that say nothing
    price = price.reshape(12, -1)
    allowed, nodes = np.ones(price.shape), 500
    together = search_priced(structure, allowed, price, nodes, step=10)
    threaded = search_priced(structure, allowed, price, nodes, step=10, threads=2)
    alone = [
        search_priced(structure, allowed[[row]], price[[row]], nodes, step=10) for row in range(12)
    ]
    assert (together.status == EXHAUSTED).any()
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


@pytest.mark.parametrize("mistake, price", [("must be", [[0, 0]]), ("negative", [[0, -1, 0, 0]])])
def test_a_mistake_in_the_prices_is_refused(mistake, price):
    with pytest.raises(ValueError, match=mistake):
        search_priced(prepared(Case([2, 2], [], [], None)), np.ones((1, 4)), price, 10)

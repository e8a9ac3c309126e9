"""Branch and bound on a linear relaxation, cores, and large neighbourhoods: held against all models
of small formulas."""

from collections.abc import Callable

import numpy as np
import pytest

from engine.decimals import Scale
from engine.kernels import clauses as learning
from engine.kernels.clauses import Formula, formula, objective, reference_models
from engine.search.branching import Tree
from engine.search.cores import Cores
from engine.search.cuts import covers
from engine.search.dive import Dive
from engine.search.freed import Sites
from engine.search.linear import Linear
from engine.search.neighbourhoods import Neighbourhoods, Spent
from engine.search.program import OPEN, Program, Rows, program_of
from engine.search.relaxation import SOLVED, Relaxation
from engine.search.rowwise import RowSearch
from engine.search.safe import exact_bound, refuted, safe_bound

Begin = Callable[[Formula, int, int], RowSearch]


def drawn(rng: np.random.Generator, magnitude: int = 1) -> Formula:
    """A small formula of every family, whose costs lie up to 10^magnitude apart."""
    n = int(rng.integers(3, 10))

    def literals(most: int) -> list[int]:
        chosen = rng.permutation(n)[: min(most, n)]
        return (2 * chosen + rng.integers(0, 2, len(chosen))).tolist()

    sums = []
    for _ in range(rng.integers(0, 3)):
        own = literals(5)
        sums.append((own, rng.integers(1, 10, len(own)).tolist(), int(rng.integers(0, 20))))
    costs = [
        (
            [2 * k, 2 * k + 1],
            (rng.integers(-10, 10, 2) * 10 ** rng.integers(0, magnitude, 2)).tolist(),
        )
        for k in range(n)
    ]
    return formula(
        n,
        [literals(3) for _ in range(rng.integers(0, 8))],
        [literals(3) for _ in range(rng.integers(0, 3))],
        sums,
        costs,
    )


def least(f: Formula) -> int | None:
    return min([objective(f, model) for model in reference_models(f)], default=None)


def tree(f: Formula, upper: int, work: int) -> Tree:
    return Tree.of(program_of(f), upper, work)


def neighbourhoods(f: Formula, upper: int, work: int) -> Neighbourhoods:
    """Every variable is a site."""
    sites = Sites.of(f, np.arange(f.variables))
    return Neighbourhoods.of(f, sites, upper, Spent(work, 10 * work), tree(f, upper, work))


BEGINS = {"relaxation": tree, "cores": Cores.of, "neighbourhoods": neighbourhoods}


@pytest.mark.parametrize("magnitude", [1, 5, 12])
@pytest.mark.parametrize("name", list(BEGINS))
def test_it_finds_and_proves_what_enumeration_finds(name: str, magnitude: int) -> None:
    begin: Begin = BEGINS[name]
    rng = np.random.default_rng(7)
    for _ in range(60):
        f = drawn(rng, magnitude)
        true = least(f)
        search = begin(f, learning.NEVER, int(rng.integers(1, 40)))
        for _ in range(2000):
            if search.done:
                break
            assert true is None or search.bound <= true
            search = search.copy()
            search.advance()
        assert search.done
        found = search.model
        assert (None if found is None else objective(f, found)) == true
        assert true is None or search.bound == true == search.upper


def test_an_advance_for_cores_is_bounded_by_what_it_looks_at() -> None:
    """However many conflicts it may meet; a core that is not small yet goes on to the next."""
    rng, looks, shrunk = np.random.default_rng(3), 200_000, 0
    n, m = 40, 200
    rows = [(2 * rng.permutation(n)[:3] + rng.integers(0, 2, 3)).tolist() for _ in range(m)]
    soft = [[*row, 2 * (n + k)] for k, row in enumerate(rows)]
    costs = [([2 * (n + k), 2 * (n + k) + 1], [int(rng.integers(1, 10)), 0]) for k in range(m)]
    f = formula(n + m, soft, [], [], costs)
    whole = Cores.of(f, learning.NEVER, 1 << 40)
    search, steps = Cores.of(f, learning.NEVER, 1 << 40, looks), 0
    while not search.done:
        before, steps = search.seen, steps + 1
        search = search.copy()
        search.advance()
        descent = 1000 * search.formula.variables  # which ends with a conflict, or a solution
        assert search.seen - before <= looks + descent
        shrunk += search.shrinking is not None
    while not whole.done:
        whole.advance()
    assert steps > 4 and shrunk > 0
    assert search.bound == whole.bound == search.upper


@pytest.mark.parametrize("name", list(BEGINS))
def test_it_finds_only_what_costs_less_than_it_was_told(name: str) -> None:
    begin: Begin = BEGINS[name]
    rng = np.random.default_rng(11)
    for _ in range(60):
        f = drawn(rng)
        true = least(f)
        if true is None:
            continue
        told = true + int(rng.integers(0, 3))
        search = begin(f, learning.NEVER, 20)
        model = reference_models(f)[0]
        search.told(told, 2 * np.arange(f.variables) + (model == 0))
        for _ in range(2000):
            if search.done:
                break
            search.advance()
        assert search.done and search.bound == true
        assert (search.model is None) == (told == true)


@pytest.mark.parametrize("name", list(BEGINS))
def test_a_copy_goes_on_by_itself(name: str) -> None:
    begin: Begin = BEGINS[name]
    rng = np.random.default_rng(13)
    for _ in range(20):
        f = drawn(rng)
        first = begin(f, learning.NEVER, 3)
        first.advance()
        kept = first.copy()
        before = (kept.bound, kept.upper, kept.done)
        while not first.done:
            first.advance()
        assert (kept.bound, kept.upper, kept.done) == before
        while not kept.done:
            kept.advance()
        assert (kept.bound, kept.upper) == (first.bound, first.upper)


def test_a_program_says_what_its_formula_says() -> None:
    rng = np.random.default_rng(3)
    for _ in range(40):
        f = drawn(rng)
        program = program_of(f)
        models = {tuple(model) for model in reference_models(f).tolist()}
        for k in range(1 << f.variables):
            x = np.array([k >> j & 1 for j in range(f.variables)], dtype=np.int64)
            assert program.rows.hold(x) == (tuple(x.tolist()) in models)
            if tuple(x.tolist()) in models:
                assert program.total(x) == objective(f, x.astype(np.uint8))


def test_any_duals_give_a_bound() -> None:
    """Whatever numbers the other solver gives: right ones, wrong ones, none."""
    rng = np.random.default_rng(5)
    for _ in range(60):
        f = drawn(rng, int(rng.integers(1, 13)))
        true, program = least(f), program_of(f)
        lo, hi = np.zeros(f.variables, np.int64), np.ones(f.variables, np.int64)
        for y in (
            Relaxation(program).solve(lo, hi, 1000).duals,
            rng.normal(size=program.rows.count) * 10.0 ** rng.integers(-3, 12),
            np.full(program.rows.count, np.nan),
        ):
            if len(y) == program.rows.count and true is not None:
                assert safe_bound(program, y, lo, hi).units <= true
            if len(y) == program.rows.count and true is not None:
                assert not refuted(program, y, lo, hi)


def test_any_duals_give_an_exact_bound_and_those_of_a_basis_its_value() -> None:
    """Costs of 90 bits: whatever is handed over bounds; duals of a whole point prove it least."""
    rng = np.random.default_rng(31)
    proved = 0
    for _ in range(60):
        f = drawn(rng)
        models = list(reference_models(f))
        more = np.array(
            [int(x) << 60 | int(y) for x, y in rng.integers(0, 2**30, (f.variables, 2))]
        )
        linear = Linear(Scale(total=1 << 100), more.astype(object) - (1 << 89), 0)
        program = program_of(f, linear)
        if not models or not program.rows.count:
            continue
        true = min(program.total(model) for model in models)
        lo, hi = np.zeros(f.variables, np.int64), np.ones(f.variables, np.int64)
        relaxation = Relaxation(program)
        point = relaxation.solve(lo, hi, 1000)
        wrong = rng.normal(size=program.rows.count)
        for y in (point.duals, wrong * 1e27):
            for mended in (relaxation.mended, lambda _, wrong=wrong: wrong * 1e9):
                assert safe_bound(program, y, lo, hi).units <= true
                assert exact_bound(program, y, lo, hi, true, mended).units <= true
        if point.state == SOLVED and np.abs(point.x - np.rint(point.x)).max() < 1e-9:
            got = exact_bound(program, point.duals, lo, hi, true, relaxation.mended)
            assert got.units == true
            proved += safe_bound(program, point.duals, lo, hi).units < true
    assert proved > 5  # that floats do not prove


def test_numbers_of_any_size_are_searched_to_the_end() -> None:
    """Costs and coefficients beyond what floats and 62 bits hold: exact, and in few steps."""
    rng = np.random.default_rng(23)
    least_known = 0
    for _ in range(60):
        n, m = 8, 3
        coef = rng.integers(1, 10, m * n) * 10 ** rng.integers(0, 17, m * n)
        cost = rng.integers(-9, 10, n) * 10 ** rng.integers(0, 17, n)
        high = [int(own.sum()) * int(rng.integers(3, 8)) // 10 for own in coef.reshape(m, n)]
        low = np.array([-OPEN, -OPEN, high[2] // 50])
        rows = Rows(np.arange(m + 1) * n, np.tile(np.arange(n), m), coef, low, np.array(high))
        program = Program(rows, cost, 0)
        every = [np.array([k >> j & 1 for j in range(n)]) for k in range(1 << n)]
        kept = [program.total(x) for x in every if rows.hold(x)]
        tree = Tree.of(program, learning.NEVER, 500)
        for _ in range(30):
            tree.advance()
        assert tree.done
        assert (tree.upper < learning.NEVER) == bool(kept)
        if kept:
            least_known += 1
            assert tree.upper == min(kept)
    assert least_known > 20


def test_reduced_costs_fix_only_what_better_solutions_share() -> None:
    rng = np.random.default_rng(17)
    fixed = 0
    for _ in range(60):
        f = drawn(rng)
        program = program_of(f)
        lo, hi = np.zeros(f.variables, np.int64), np.ones(f.variables, np.int64)
        point = Relaxation(program).solve(lo, hi, 1000)
        true = least(f)
        if true is None or len(point.duals) != program.rows.count:
            continue
        upper = true + 2
        bound = safe_bound(program, point.duals, lo, hi)
        low, high = bound.narrowed(upper, program.constant, lo, hi)
        fixed += int((low == high).sum())
        for model in reference_models(f):
            if objective(f, model) < upper:
                assert (low <= model).all() and (model <= high).all()
    assert fixed > 20


def test_covers_cut_off_no_whole_solution() -> None:
    rng = np.random.default_rng(19)
    told = 0
    for _ in range(200):
        n = int(rng.integers(3, 9))
        coef = rng.integers(-12, 13, n)
        coef[coef == 0] = 1
        high = int(rng.integers(0, max(1, int(coef[coef > 0].sum()))))
        rows = Rows(
            np.array([0, n]), np.arange(n), coef, np.array([-OPEN]), np.array([high])
        )  # fmt: skip
        cut = covers(rows, rng.random(n))
        if cut is None:
            continue
        told += 1
        for k in range(1 << n):
            x = np.array([k >> j & 1 for j in range(n)], dtype=np.int64)
            assert cut.hold(x) or not rows.hold(x)
    assert told > 20


def packed(n: int, boxes: int, room: int, rng: np.random.Generator) -> Formula:
    """Things of drawn sizes, each into one of some boxes of so much room; a price for each."""
    sizes = rng.integers(2, 9, n).tolist()
    at = [[2 * (boxes * k + b) for b in range(boxes)] for k in range(n)]
    sums = [([own[b] for own in at], sizes, room) for b in range(boxes)]
    costs = [(own, rng.integers(0, 9, boxes).tolist()) for own in at]
    return formula(n * boxes, at, at, sums, costs)


@pytest.mark.parametrize("room", [18, 22, 60])
def test_neighbourhoods_find_no_worse_than_before_and_keep_the_rules(room: int) -> None:
    rng = np.random.default_rng(5)
    for _ in range(6):
        f = packed(16, 5, room, rng)
        sites = Sites.of(f, np.repeat(np.arange(16), 5))
        root = tree(f, learning.NEVER, 50)
        search = Neighbourhoods.of(f, sites, learning.NEVER, Spent(60, 2000), root)
        rows, before = program_of(f).rows, learning.NEVER
        for _ in range(60):
            search.advance()
            assert search.upper <= before
            before = search.upper
            if search.model is not None:
                assert objective(f, search.model) == search.upper
                assert rows.hold(search.model.astype(np.int64))
        exact = tree(f, learning.NEVER, 10_000)
        while not exact.done:
            exact.advance()
        assert exact.upper <= search.upper
        assert not search.done or search.upper == exact.upper


def test_a_dive_ends_at_a_whole_point_or_nowhere() -> None:
    rng, found = np.random.default_rng(9), 0
    for _ in range(12):
        f = packed(14, 4, int(rng.integers(15, 26)), rng)
        program, n = program_of(f), f.variables
        relaxation = Relaxation(program)
        lo, hi = np.zeros(n, np.int64), np.ones(n, np.int64)
        point = relaxation.solve(lo, hi, 10_000)
        if point.state != SOLVED:
            continue
        dive = Dive.of(lo, hi, point.x)
        for _ in range(500):
            if dive.ended:
                break
            dive.go(program, relaxation, learning.NEVER, 20)
        assert dive.ended and (lo == 0).all() and (hi == 1).all()
        x = np.rint(dive.x).astype(np.int64)
        if np.abs(dive.x - x).max() < 1e-6:
            assert program.rows.hold(x)
            found += 1
    assert found

"""Things into as few boxes as will do: held against all ways, and seen in structures alone that are
nothing else."""

import numpy as np
import pytest

from engine import Finite, Problem, Variable, answers, required
from engine.minimizers.boxes import Boxes
from engine.minimizers.enumeration import Enumeration
from engine.minimizers.portfolio import Portfolio
from engine.search.boxes import Spent, bound, least_boxes
from modules.discrete.clause import Clause
from modules.discrete.linear import Linear
from modules.discrete.table import Table


def fewest(sizes: list[int], room: int) -> int:
    """By all ways: each thing into a box that is used, or a new one."""

    def ways(k: int, left: tuple[int, ...]) -> int:
        if k == len(sizes):
            return len(left)
        own = [ways(k + 1, (*left, room - sizes[k]))]
        for b in {free: b for b, free in enumerate(left) if free >= sizes[k]}.values():
            own.append(ways(k + 1, tuple(f - sizes[k] * (i == b) for i, f in enumerate(left))))
        return min(own)

    return ways(0, ())


def test_as_few_boxes_as_all_ways_find() -> None:
    rng, above = np.random.default_rng(3), 0
    for _ in range(150):
        room = int(rng.integers(5, 20))
        sizes = rng.integers(1, room + 1, int(rng.integers(0, 8))).tolist()
        true, found = fewest(sizes, room), least_boxes(sizes, room)
        assert found is not None and len(found) == true
        assert bound(sizes, room) <= true
        above += bound(sizes, room) < true
        assert sorted(k for box in found for k in box) == list(range(len(sizes)))
        assert all(sum(sizes[k] for k in box) <= room for box in found)
    assert above  # some bounds lie below what they bound


def test_ends() -> None:
    assert least_boxes([9], 8) is None
    assert least_boxes([], 8) == []
    assert least_boxes([0, 0], 8) == [[0, 1]]
    with pytest.raises(Spent):
        least_boxes([5, 5, 4, 4, 3, 3], 9, most=1)


def packing(sizes: list[int], boxes: int, room: int, turned: bool = False) -> Problem:
    """Boxes cost 2.5 each; `turned`: the last is used first."""
    x = Variable("x", Finite(tuple(range(boxes)), (len(sizes),)))
    used, n = Variable("used", Finite((0, 1), (boxes,))), len(sizes)
    energy = None
    for b in range(boxes):
        terms = [*((k, b, size) for k, size in enumerate(sizes)), (n + b, 1, -room)]
        one = required(Linear(x, used, terms=terms, compare="<=", constant=0))
        one = one + 2.5 * Table(used, sites=[b], costs=[0, 1])
        energy = one if energy is None else energy + one
        if b:
            first, then = (b, b - 1) if turned else (b - 1, b)
            energy = energy + required(Clause(used, clauses=[[(first, 1, True), (then, 1, False)]]))
    assert energy is not None
    return Problem(energy)


@pytest.mark.parametrize("turned", [False, True])
def test_the_portfolio_packs_as_enumeration_does(turned: bool) -> None:
    rng, none = np.random.default_rng(8), 0
    for _ in range(12):
        problem = packing(rng.integers(1, 8, 5).tolist(), 3, 8, turned)
        assert Boxes().refuses(problem) is None
        (answer,), (exact,) = answers(problem, Portfolio()), answers(problem, Enumeration())
        assert (answer.status, answer.energy) == (exact.status, exact.energy)
        assert answer.steps == 1
        none += answer.energy is None or answer.status == "INFEASIBLE"
    assert none < 12


def test_it_leaves_alone_what_is_more_than_that() -> None:
    sizes = [3, 4, 5, 2]
    plain = packing(sizes, 3, 8)
    x, used = plain.variables
    assert Boxes().refuses(plain) is None
    for told in ([2, None, None, None], [1, 0, None, None]):
        given = plain.given(x=told)
        assert Boxes().refuses(given) is not None
        (answer,), (exact,) = answers(given, Portfolio()), answers(given, Enumeration())
        assert (answer.status, answer.energy) == (exact.status, exact.energy)
    assert Boxes().refuses(plain.given(x=[1, None, None, None])) is None
    assert Boxes().refuses(plain.given(used=[1, None, None])) is not None
    more = {
        "a price of a thing": 1.0 * Table(x, sites=[0], costs=[0, 1, 0]),
        "another price of a box": 1.0 * Table(used, sites=[0], costs=[0, 1]),
        "a clause of things": required(Clause(x, clauses=[[(0, 1, True), (1, 1, True)]])),
        "a clause of three": required(
            Clause(used, clauses=[[(0, 1, True), (1, 1, True), (2, 1, True)]])
        ),
        "one box before itself": required(Clause(used, clauses=[[(2, 1, True), (0, 1, False)]])),
        "another sum": required(Linear(x, terms=[(0, 0, 1), (1, 0, 1)], compare="<=", constant=1)),
        "a table of two": 1.0 * Table(x, sites=[0, 1], costs=np.eye(3).tolist()),
    }
    for name, term in more.items():
        own = Problem(plain.energy + term)
        assert Boxes().refuses(own) is not None, name
        (answer,), (exact,) = answers(own, Portfolio()), answers(own, Enumeration())
        assert (answer.status, answer.energy) == (exact.status, exact.energy), name

"""Hints: a search starts from them, and nothing but the start hangs on them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from engine import Budget, Finite, Problem, Term, Variable, answers, required
from engine.errors import BadQuery
from engine.moves.start import Start
from engine.random import Stream
from modules.catalogue import Catalogue
from modules.discrete.all_different import AllDifferent
from modules.discrete.hint import Hint
from modules.discrete.table import Table
from services.query import query_of
from services.reasoner.reason import Reasoner

SECRET = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8]


class Lock(Term):
    """E = 1 where any site differs from the secret: no way leads there."""

    def energy(self, x: Tensor) -> Tensor:
        at = torch.tensor(SECRET, device=x.device).view(1, -1, 1).expand(len(x), -1, 1)
        return 1 - x.gather(2, at)[..., 0].prod(1)


def locked(hint: list[int | None]) -> Problem:
    x = Variable("x", Finite(tuple(range(10)), (len(SECRET),)))
    return Problem(1.0 * Lock(x) + 1.0 * Hint(x, values=hint))


def test_a_search_starts_from_a_hint():
    def least(hint: list[int | None]) -> float:
        return answers(locked(hint), particles=16, budget=Budget(steps=2))[0].energy

    assert least([None] * len(SECRET)) == 1
    assert least(SECRET) == 0
    assert least([*SECRET[:-1], None]) == 0  # a share of 16 particles tries ten values


def test_evidence_stands_over_a_hint():
    (answer,) = answers(locked(SECRET).given(x=[0, *[None] * 11]), budget=Budget(steps=2))
    assert answer.values["x"][0] == 0


@given(st.lists(st.sampled_from([None, 0, 1, 2]), min_size=3, max_size=3), st.integers(0, 26))
def test_a_hint_changes_no_optimum(values, seed):
    x = Variable("x", Finite((0, 1, 2), (3,)))
    energy = required(AllDifferent(x, lines=[[0, 1, 2]]))
    for k in range(3):
        energy = energy + 1.0 * Table(x, sites=[k], costs=[(seed + v * k) % 7 for v in range(3)])
    plain, hinted = (
        answers(Problem(e))[0] for e in (energy, energy + required(Hint(x, values=values)))
    )
    assert (plain.status, plain.energy, plain.bound) == (hinted.status, hinted.energy, hinted.bound)


def test_unknown_sites_are_drawn():
    grid = Variable("x", Finite(("a", "b", "c"), (2, 2)))
    term = Hint(grid, values=[["b", None], [None, "a"]])
    problem = Problem(1.0 * term)
    (x,) = term.propose(200, Stream(0, problem.keys), None, problem.domain("x"))
    assert (x[:, 0, 0] == 1).all() and (x[:, 1, 1] == 0).all()
    assert set(x[:, 0, 1].tolist()) == {0, 1, 2}


@given(st.data())
def test_a_hint_of_a_view_speaks_of_its_sites(data):
    grid = Variable("x", Finite(("a", "b", "c"), (2, 3)))
    views = [grid[0], grid[:, ::-1], grid[1, :1], grid[0, 0], grid[:, 1:], grid[[1, 0], 2]]
    view = data.draw(st.sampled_from(views))
    flat = data.draw(st.lists(st.sampled_from("abc"), min_size=view.places.size,
                              max_size=view.places.size))  # fmt: skip
    term = Hint(view, values=flat)
    problem = Problem(1.0 * term, (grid,)).given_rows([{}, {"x": [["a", *[None] * 2], [None] * 3]}])
    start = Start(problem, 4, Stream(0, problem.keys), {})["x"].reshape(2, 4, 6)
    for row, particle in ((0, 0), (0, 2), (1, 0)):
        for place, value in zip(view.places.flat, flat, strict=True):
            own = "a" if row == 1 and place == 0 else value
            assert start[row, particle, place] == "abc".index(own)
    assert [a.status for a in answers(problem, particles=4)] == ["OPTIMAL", "OPTIMAL"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([0, 1], "values: holds 2 values for 3 sites; give one a site"),
        ([0, 1, 7], r"values\[2\]: 7 is none of the values; known: 0, 1, 2"),
        ([0, True, None], r"values\[1\]: True"),
        ([[0, 1, 2]], "values"),
        ([[0], [1], [2]], r"values\[0\]: \[0\] is a list"),
        ([{"a": 1}, 1, 2], r"values\[0\]: {'a': 1} is none of the values"),
        (5, "values: 5 is no list"),
    ],
)
def test_a_wrong_hint_is_told(values, said):
    with pytest.raises(BadQuery, match=said):
        Hint(Variable("x", Finite((0, 1, 2), (3,))), values=values)


def test_a_query_takes_a_hint():
    query = query_of(
        {
            "variables": {"x": {"values": [0, 1, 2], "shape": [2, 2]}},
            "terms": [
                {"kind": "discrete.hint", "scope": ["x"], "params": {"values": [[0, 1], [None, 2]]}}
            ],
        }
    )
    (answer,) = Reasoner(Catalogue(entry_points=False)).reason(query)
    assert answer.values is not None and answer.energy == 0

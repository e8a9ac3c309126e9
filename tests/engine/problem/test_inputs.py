"""Inputs and constants of a problem: what terms see of them, row by row, beside the search."""

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import BadQuery, Finite, Given, Input, Problem, Real, Status, Term, Variable, answers
from engine.energy import Sum
from engine.minimizers.gibbs import Gibbs
from engine.rows import Report
from engine.solve import Budget
from modules.discrete.all_different import AllDifferent
from modules.discrete.table import Table

K = 4  # sites, values, and numbers of a picture


class Classifier(Term):
    """-ln softmax(W picture) at the digit: a table of the digit, once the picture is told."""

    calibrated = True

    def __init__(self, picture, digit, matrix: torch.Tensor):
        super().__init__(picture, digit)
        self.matrix, self.calls = matrix, 0

    def energy(self, *tensors: Any) -> torch.Tensor:
        picture, digit = tensors
        self.calls += 1
        return -(torch.log_softmax(picture @ self.matrix.T, -1) * digit).sum(-1)


class Brighter(Term):
    """A rule beside an input: the value is above what the mean of the picture asks for."""

    def __init__(self, picture, digit):
        super().__init__(picture, digit)

    def energy(self, *tensors: Any) -> torch.Tensor:
        picture, digit = tensors
        value = (digit * torch.arange(K).to(digit)).sum(-1)
        return torch.relu(picture.mean(-1) - value)

    def holds(self, *values: Any) -> bool | None:
        picture, digit = values
        return digit >= picture.mean()


class Counted(Term):
    """Takes absent entries: a cost for each that is there."""

    partial = True

    def __init__(self, pictures, digit):
        super().__init__(pictures, digit)

    def energy(self, *tensors: Any) -> torch.Tensor:
        (values, present), digit = tensors
        assert (values[~present] == 0).all()
        return present.sum(1) * digit[:, 1]


def board(seed: int = 0) -> tuple[Problem, torch.Tensor]:
    matrix = torch.randn(K, K, generator=torch.Generator().manual_seed(seed))
    pictures, x = Input("pictures", Real((K, K))), Variable("x", Finite(range(K), (K,)))
    terms = [Classifier(pictures[k], x[k], matrix) for k in range(K)]
    rule = AllDifferent(x, lines=[[*range(K)]])
    return Problem(Sum(*(s for t in (rule, *terms) for s in t.summands())), (x, pictures)), matrix


def cost(matrix: torch.Tensor, picture: Any, digit: int) -> float:
    if picture is None:
        return 0.0
    return -float(torch.log_softmax(matrix @ torch.as_tensor(picture).float(), 0)[digit])


pictures_of = st.lists(
    st.one_of(st.none(), st.lists(st.floats(-3, 3, width=32), min_size=K, max_size=K)),
    min_size=K,
    max_size=K,
)


@settings(max_examples=25)
@given(st.lists(st.one_of(st.none(), pictures_of), min_size=1, max_size=4), st.integers(0, K - 1))
def test_pictures_of_each_row_are_proved_least_beside_the_rules(rows, first):
    problem, matrix = board()
    evidence = [{"pictures": p} | ({"x": [first, None, None, None]} if k % 2 else {})
                for k, p in enumerate(rows)]  # fmt: skip
    found = answers(problem.given_rows(evidence))
    for k, (row, answer) in enumerate(zip(rows, found, strict=True)):
        orders = [p for p in itertools.permutations(range(K)) if not k % 2 or p[0] == first]
        told = row or [None] * K
        least = min(sum(cost(matrix, told[s], p[s]) for s in range(K)) for p in orders)
        assert answer.status is Status.OPTIMAL
        assert answer.energy == pytest.approx(least, abs=1e-5)
        assert answer.values is not None and answer.values.keys() == {"x"}


def test_a_row_answers_the_same_alone_and_in_company():
    problem, _ = board()
    made = torch.Generator().manual_seed(1)
    rows = [{"pictures": torch.randn(K, K, generator=made)} for _ in range(3)] + [{}]
    together = answers(problem.given_rows(rows))
    for row, answer in zip(rows, together, strict=True):
        (alone,) = answers(problem.given_rows([row]))
        assert (alone.values, alone.energy, alone.bound) == (
            answer.values, answer.energy, answer.bound)  # fmt: skip


def test_one_gradient_tells_the_costs_of_all_values():
    problem, _ = board()
    term = problem.summands[1].term
    assert isinstance(term, Classifier)
    problem.given_rows([{"pictures": torch.randn(K, K)}] * 9).factored()
    assert term.calls <= 5  # of which four try whether it is affine


def test_a_rule_is_not_asked_about_a_row_that_lacks_its_input():
    picture, x = Input("picture", Real((2,))), Variable("x", Finite(range(K)))
    problem = Problem(Brighter(picture, x), (x, picture))
    rows = [{"picture": [2.0, 2.0]}, {}, {"picture": [9.0, 9.0]}, {"picture": [1.0, 2.0], "x": 1}]
    found = answers(problem.given_rows(rows))
    assert [a.status for a in found] == [
        Status.OPTIMAL, Status.OPTIMAL, Status.INFEASIBLE, Status.INFEASIBLE]  # fmt: skip
    assert found[0].values is not None and found[0].values["x"] >= 2
    assert found[1].findings[0].holds is None and found[1].findings[0].text.startswith(
        "not asked: "
    )


def test_a_choice_says_which_of_its_terms_cost_nothing_in_a_row():
    """A term inside `|` that lacks its input costs 0, so that its branch may be the cheapest."""
    pictures, x = Input("pictures", Real((3, 2))), Variable("x", Finite((0, 1)))
    either = 1.0 * Counted(pictures, x) | Table(x, sites=[0], costs=[0.5, 0.5])
    problem = Problem(1.0 * either, (x, pictures))
    there, without = answers(problem.given_rows([{"pictures": [[1, 2]] * 3, "x": 1}, {"x": 1}]))
    assert (there.energy, there.findings[0].text) == (0.5, "")
    assert without.energy == 0.0
    assert without.findings[0].text == "what sees it costs nothing here: pictures is absent"


def test_terms_that_take_absent_entries_see_which_are_there():
    pictures, x = Input("pictures", Real((3, 2))), Variable("x", Finite((0, 1)))
    problem = Problem(Counted(pictures, x), (x, pictures))
    rows = [{"pictures": [[1, 2], None, [3, 4]], "x": 1}, {"x": 1}]
    assert [a.energy for a in answers(problem.given_rows(rows))] == [2.0, 0.0]
    other = Problem(Classifier(pictures[:, 0], x, torch.ones(2, 3)), (x, pictures))
    with pytest.raises(BadQuery, match=r"evidence.pictures: entry 1 is absent, and Classifier"):
        other.given_rows(rows)


def test_inputs_reach_relaxed_minimizers_and_opaque_terms():
    problem, matrix = board(3)
    told = torch.randn(2, K, K, generator=torch.Generator().manual_seed(2))
    rows = problem.given_rows([{"pictures": p} for p in told])
    found = answers(rows, Gibbs(), particles=8, budget=Budget(steps=40))
    for p, answer in zip(told, found, strict=True):
        assert answer.values is not None and answer.energy is not None
        said = sum(cost(matrix, p[s], v) for s, v in enumerate(answer.values["x"]))
        assert answer.energy == pytest.approx(said, abs=1e-5)


def test_pinned_reals_are_constants_and_come_back_to_the_bit():
    seen: list[tuple[int, ...]] = []

    class Watched(Term):
        def __init__(self, r, y):
            super().__init__(r, y)

        def energy(self, *tensors: Any) -> torch.Tensor:
            seen.append(tuple(tensors[0].stride()))
            return (tensors[1] - tensors[0].mean(1)).square()

    r, y = Variable("r", Real((3,))), Variable("y", Real((), -5, 5))
    problem = Problem(Watched(r, y), (r, y)).given(r=[0.1, 0.3, 1 / 3])
    assert [v.name for v in problem.open] == ["y"]
    (answer,) = answers(problem, particles=16, budget=Budget(steps=400))
    assert answer.values is not None and answer.values["r"] == [0.1, 0.3, 1 / 3]
    assert answer.values["y"] == pytest.approx(sum((0.1, 0.3, 1 / 3)) / 3, abs=1e-3)
    assert isinstance(Report.blank(problem, {}), Report)


def test_rows_with_other_constants_are_searched_beside_each_other():
    class Near(Term):
        def __init__(self, r, y):
            super().__init__(r, y)

        def energy(self, *tensors: Any) -> torch.Tensor:
            return (tensors[1] - tensors[0]).square()

        def floor(self) -> float:
            return 0.0

    r, y = Variable("r", Real((), -1, 1)), Variable("y", Real((), -1, 1))
    problem = Problem(Near(r, y), (r, y))
    rows = [{"r": 0.5}, {}, {"y": 0.25}, {"r": -0.5, "y": 0.5}]
    found = answers(problem.given_rows(rows), particles=4)
    for row, answer in zip(rows, found, strict=True):
        assert answer.values is not None
        assert all(answer.values[n] == v for n, v in row.items())
        (alone,) = answers(problem.given_rows([row]), particles=4)
        assert alone.values == answer.values
    assert found[3].energy == pytest.approx(1.0)
    assert math.isclose(found[0].values["y"], 0.5, abs_tol=1e-3)  # type: ignore[index]


def test_named_and_whole_inputs_arrive_as_integers():
    class Shifted(Term):
        def __init__(self, text, x):
            super().__init__(text, x)

        def energy(self, *tensors: Any) -> torch.Tensor:
            text, x = tensors
            assert text.dtype == torch.int64
            return (x * (torch.arange(3) - text[:, :1]).abs()).sum(-1)

        def holds(self, *values: Any) -> bool | None:
            text, x = values
            return x == text[0]

    text, x = Input("text", Finite("abc", (2,))), Variable("x", Finite("abc"))
    problem = Problem(Shifted(text, x), (x, text))
    found = answers(problem.given_rows([{"text": ["c", "a"]}, {"text": ["a", "b"]}]))
    assert [a.values for a in found] == [{"x": "c"}, {"x": "a"}]
    assert all(a.status is Status.OPTIMAL for a in found)


def test_mistakes_of_inputs_name_their_place():
    problem, _ = board()
    with pytest.raises(BadQuery, match="evidence.pictures: has shape"):
        problem.given(pictures=torch.zeros(2, 2))
    with pytest.raises(BadQuery, match="'picture' is no variable"):
        problem.given(picture=None)
    with pytest.raises(BadQuery, match="two different variables share one name"):
        Problem(problem.energy, (*problem.variables, Variable("pictures", Finite((0, 1)))))
    assert Given(1, 2).present == 2

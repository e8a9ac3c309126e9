"""What is defined from inputs alone joins nothing: the rest is searched as if it stood alone."""

from typing import Any

import pytest
import torch

from engine import Finite, Input, Problem, Real, Status, Variable, answers, required
from engine.energy import Definition
from engine.minimizers.apart import Apart
from engine.minimizers.elimination import LeastByElimination
from engine.minimizers.portfolio import Portfolio
from engine.problem.apart import groups_of, parts_of
from modules.discrete.table import Table

TOLD = Input("told", Real((2,)))
Y = Variable("y", Real((2,)))
Z = Variable("z", Real((2,)))
X = Variable("x", Finite((0, 1, 2), (4,)))


class Twice(Definition):
    """y = 2 told."""

    def define(self, *inputs: Any) -> torch.Tensor:
        return 2 * inputs[0]


def chain() -> Any:
    """Neighbours that would rather differ, the first of them 2."""
    costs = [[3, 1, 2], [1, 3, 1], [2, 1, 3]]
    return 0.5 * Table(X, sites=[[k, k + 1] for k in range(3)], costs=costs)


def beside(energy: Any) -> Problem:
    return Problem(energy + Twice(TOLD, Y) + Twice(Y, Z), (X, Y, Z, TOLD))


ROWS: list[dict[str, Any]] = [{}, {"x": [2, None, None, None]}, {"x": [0, 0, None, 0]}]


@pytest.mark.parametrize("reduced", [False, True])
def test_the_rest_is_searched_as_if_alone(reduced: bool) -> None:
    told = [{**row, "told": [0.5 + k, -1.0]} for k, row in enumerate(ROWS)]
    problem = beside(chain()).given_rows(told)
    problem = problem.reduced() if reduced else problem
    assert len(groups_of(problem)) == 2
    first, last = parts_of(problem)
    assert [v.name for v in first.open] == ["x"] and not last.open
    assert isinstance(Portfolio()._of(problem)[0], Apart)
    assert isinstance(Portfolio()._of(first)[0], LeastByElimination)
    alone = answers(Problem(chain(), (X,)).given_rows(ROWS))
    for k, (own, other) in enumerate(zip(answers(problem), alone, strict=True)):
        assert own.status is Status.OPTIMAL and other.values is not None and own.values is not None
        assert (own.energy, own.bound) == (other.energy, other.bound)
        assert own.values["y"] == pytest.approx([1.0 + 2 * k, -2.0])
        assert own.values["z"] == pytest.approx([2.0 + 4 * k, -4.0])


def test_rows_without_the_input_and_evidence_that_it_denies() -> None:
    """A row without the input searches the numbers; evidence beside what is defined is never
    told as proved or kept."""
    rows = [
        {"told": [0.5, -1.0]},
        {},
        {"told": [0.5, -1.0], "y": [1.0, None]},
        {"told": [0.5, -1.0], "y": [7.0, None]},
    ]
    together = answers(beside(chain()).given_rows(rows))
    for row, own in zip(rows, together, strict=True):
        (alone,) = answers(beside(chain()).given(**row))
        (lean,) = answers(beside(chain()).given(**row).reduced())
        for answer in (own, alone, lean):
            wrong = row.get("y") == [7.0, None]
            assert (answer.status in (Status.UNSATISFIED, Status.INFEASIBLE)) == wrong
            if not wrong:
                assert answer.energy == 1.5


def test_what_is_defined_from_what_is_searched_stays_with_it() -> None:
    free = Variable("free", Real((2,), -1.0, 1.0))
    problem = Problem(chain() + Twice(free, Y), (X, free, Y)).reduced()
    assert len(groups_of(problem)) == 1


def test_a_rule_that_fails_is_infeasible_beside_it() -> None:
    shut = Table(X, sites=[0], costs=[None, None, None])
    (answer,) = answers(beside(chain() + required(shut)).given(told=[0.0, 0.0]))
    assert answer.status is Status.INFEASIBLE

"""Listed states and their weights: where none is left, that is proved."""

import pytest

from engine import Finite, Problem, Status, Variable
from engine.sampling.draw import samples
from modules.discrete.circuit import Circuit
from modules.discrete.table import Table

X = Variable("x", Finite((0, 1), (2,)))
GUARDED = 1.0 * Table(X, sites=[1], costs=[0, None], guard=[[0, 0]])
SHUT = 1.0 * Table(X, sites=[1], costs=[None, 0], guard=[[1, 0]])


@pytest.mark.parametrize(
    ("row", "left"), [([None, None], {(1, 1)}), ([0, None], set()), ([0, 1], set())]
)
def test_what_a_guard_forbids_at_a_price_has_no_weight(row, left) -> None:
    """The guarded costs are explicit, but not looked up; the circuit at a price is evaluated."""
    (made,) = samples(Problem(1.0 * Circuit(X) + GUARDED + SHUT).given(x=row), 200, seed=1)
    assert {tuple(sample.values["x"]) for sample in made.samples} == left
    assert made.status is (Status.SATISFIED if left else Status.INFEASIBLE)

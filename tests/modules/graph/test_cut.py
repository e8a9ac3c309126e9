"""What a cut is worth: the weights of the edges that it cuts, whatever the others weigh."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from engine import Finite, Problem, Variable, answers
from modules.graph.cut import Cut

NODE = st.integers(0, 3)
WEIGHT = st.sampled_from([1e9, -1e9, 1e-3, -2e-3, 0.1, 7.0, 0.0])


@given(
    st.lists(st.tuples(NODE, NODE, WEIGHT), min_size=1, max_size=8),
    st.tuples(*[st.integers(0, 2)] * 4),
)
def test_costs_are_off_by_the_digits_of_what_is_cut_alone(edges, values) -> None:
    cut = Cut(Variable("x", Finite((0, 1, 2), (4,))), edges=edges)
    parted = [-w for a, b, w in edges if values[a] != values[b]]
    told = float(cut.cost(torch.tensor([values]))[0])
    assert abs(told - math.fsum(parted)) <= 1e-15 * sum(map(abs, parted))


def test_a_share_is_told_beside_an_edge_of_any_weight() -> None:
    x = Variable("x", Finite((0, 1), (4,)))
    cut = 1e6 * Cut(x, edges=[[2, 3, 0.001], [0, 1, 1e9]])
    (answer,) = answers(Problem(cut).given(x=[0, 0, None, None]))
    assert (answer.status, answer.energy, answer.terms[0].energy) == ("OPTIMAL", -1000.0, -1000.0)

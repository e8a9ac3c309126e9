"""Layouts of a scope are made once, and a copy of a variable has its own."""

import copy

from engine import Finite, Variable
from modules.discrete.linear import Linear
from modules.shared.sites import layout_of


def test_terms_over_the_same_views_share_a_layout() -> None:
    x, y = Variable("x", Finite((0, 1), (3,))), Variable("y", Finite((0, 1, 2), (2,)))
    one = Linear(x, y, terms=[[0, 1, 1]], compare="<=", constant=1)
    other = Linear(x, y, terms=[[4, 2, 1]], compare="<=", constant=1)
    assert one.layout is other.layout
    assert layout_of([x.view]) is not one.layout
    assert layout_of([y.view, x.view]).sizes.tolist() == [3, 3, 2, 2, 2]


def test_a_copy_is_laid_out_by_itself() -> None:
    x = Variable("x", Finite((0, 1), (3,)))
    first = layout_of([x.view])
    twin = copy.deepcopy(x)
    own = layout_of([twin.view])
    assert own is not first and own.scope == (twin.view,)
    vars(twin.view)["_layouts"][(id(twin.view),)] = first  # as a number used again would have it
    assert layout_of([twin.view]).scope == (twin.view,)

"""Layouts of a scope are made once, and a copy of a variable has its own."""

import copy

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

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


@given(st.lists(st.integers(1, 4), max_size=3), st.data())
def test_sites_are_named_by_their_place_in_the_variable(shape, data) -> None:
    x, y = Variable("x", Finite((0, 1), tuple(shape))), Variable("y", Finite((0, 1), (2,)))
    view = x.view if not shape else x[::-1]
    alone, beside = layout_of([view]), layout_of([y.view, view])
    site = data.draw(st.integers(0, alone.sites - 1))
    where = [int(k) for k in np.unravel_index(view.places.reshape(-1)[site], tuple(shape))]
    assert alone.name(site) == (str(where) if shape else "x")
    assert beside.name(2 + site) == (f"x{where}" if shape else "x")

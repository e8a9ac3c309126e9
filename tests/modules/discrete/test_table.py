"""What tables cost at decided states, and what single changes do, against plain look-ups."""

import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.domain import Finite, Variable
from engine.random import Stream
from engine.testing import check_term
from modules.discrete import table
from modules.discrete.table import Table
from modules.graph.cut import Cut
from modules.shared import pairs


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**20), st.sampled_from([1 << 20, 50, 1]))
def test_random_tables_keep_the_laws_in_pieces_of_any_size(seed: int, piece: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "PIECE", piece)
        patch.setattr(pairs, "PIECE", piece)
        rng = random.Random(seed)
        check_term(next(Table.examples(rng)), samples=6, seed=seed)
        check_term(next(Cut.examples(rng)), samples=6, seed=seed)


@pytest.mark.parametrize("default", [3.0, None])
@pytest.mark.parametrize("arity", [4, 16])
def test_words_over_many_scopes(arity: int, default: float | None) -> None:
    """A word list is looked up: nothing of the size of all combinations is made."""
    letters, count = tuple("abcdefghijklmnopqrstuvwxyz "), 40
    x = Variable("x", Finite(letters, (count,)))
    rng = np.random.default_rng(arity)
    words = np.unique(rng.integers(0, 27, (300, arity)), axis=0)
    costs = np.round(rng.normal(size=len(words)), 3)
    listed = [[*(letters[p] for p in w), c] for w, c in zip(words.tolist(), costs.tolist())]
    scopes = [list(range(k, k + arity)) for k in range(count - arity + 1)]
    scopes = scopes[::arity]
    term = Table(x, sites=scopes, tuples=listed, default=default)
    known = {tuple(w): c for w, c in zip(words.tolist(), costs.tolist(), strict=True)}
    other = math.inf if default is None else default

    def cost(places: list[int]) -> float:
        return sum(known.get(tuple(places[s] for s in scope), other) for scope in scopes)

    state = x.domain.sample(3, Stream(0, torch.tensor([1]))).long()
    for row, scope in enumerate(scopes):  # words stand in all scopes but the first of the last row
        state[:, scope] = torch.from_numpy(words[row * 7 : row * 7 + 3])
    state[2, scopes[0][1]] = (state[2, scopes[0][1]] + 1) % 27
    told = term.cost(state).tolist()
    assert told == pytest.approx([cost(row) for row in state.tolist()])
    sites = [0, 1, scopes[-1][-1], count - 1]
    change = term.changes(torch.tensor([[0, s] for s in sites]), state)
    for row, places in enumerate(state.tolist()):
        for j, site in enumerate(sites):
            for value in range(27):
                moved = [*places]
                moved[site] = value
                after, before = cost(moved), cost(places)
                wanted = math.inf if math.isinf(after) else after - before
                if value == places[site]:
                    wanted = 0.0
                assert float(change[row, j, value]) == pytest.approx(wanted)


def test_a_table_over_several_variables_keeps_the_laws() -> None:
    a, b = Variable("a", Finite((0, 1, 2), (2,))), Variable("b", Finite(("u", "v", "w"), (2, 2)))
    c = Variable("c", Finite((5, 6)))
    check_term(Table(a, b, c, sites=[0, 3, 6], tuples=[[1, "v", 5, 2.0], [2, "u", 6, None]]))
    check_term(Table(a, a, sites=[[0, 3], [2, 1]], costs=[[1, 2, None], [0, 0, 1], [4, None, 2]]))

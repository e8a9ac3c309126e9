"""Costs of combinations against a dict of them."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modules.shared import combinations
from modules.shared.combinations import Combinations
from modules.shared.incidence import Incidence


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_combination_costs_what_is_listed(data) -> None:
    seed = data.draw(st.integers(0, 2**20))
    rng = np.random.default_rng(seed)
    sizes = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=5))
    every = np.array(list(np.ndindex(*sizes)))
    count = data.draw(st.integers(0, len(every)))
    tuples = rng.permutation(every)[:count]
    costs = rng.choice([0.0, 1.5, math.inf, -2.0], count)
    default = data.draw(st.sampled_from([0.0, math.inf, 0.25]))
    known = {tuple(t): c for t, c in zip(tuples.tolist(), costs.tolist(), strict=True)}
    wanted = [known.get(tuple(t), default) for t in every.tolist()]
    with pytest.MonkeyPatch.context() as patch:
        # written out; listed; numbered bunch by bunch
        for small, largest in ((1 << 16, 2**62), (0, 2**62), (0, 12)):
            patch.setattr(combinations, "SMALL", small)
            patch.setattr(combinations, "LARGEST", max(largest, 1 + max(sizes) * max(1, count)))
            made = Combinations(sizes, tuples, costs, default)
            assert made.cost(torch.from_numpy(every)).tolist() == wanted


def test_words_longer_than_a_number_holds() -> None:
    rng = np.random.default_rng(0)
    words = np.unique(rng.integers(0, 27, (500, 20)), axis=0)
    costs = rng.normal(size=len(words))
    made = Combinations([27] * 20, words, costs, math.inf)
    assert not made.whole
    near = words.copy()
    near[:, -1] = (near[:, -1] + 1) % 27
    asked = torch.from_numpy(np.concatenate([words, near]))
    assert made.cost(asked).tolist() == [*costs.tolist(), *[math.inf] * len(near)]


@given(st.lists(st.lists(st.integers(0, 6), min_size=3, max_size=3), max_size=8), st.data())
def test_incidence_finds_every_list_of_a_site(lists, data) -> None:
    sites = data.draw(st.lists(st.integers(0, 6), max_size=5))
    every = np.array(lists, dtype=np.int64).reshape(-1, 3)
    met = Incidence(every, 7).met(torch.tensor(sites, dtype=torch.long))
    found = sorted(zip(*(t.tolist() for t in met), strict=True))
    wanted = [
        (owner, row, column)
        for owner, site in enumerate(sites)
        for row, line in enumerate(lists)
        for column, other in enumerate(line)
        if other == site
    ]
    assert found == sorted(wanted)

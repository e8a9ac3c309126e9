"""What an input may be told: arrays taken as they are, entries that are absent, clear mistakes."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from engine.domain import Finite, Given, Input, Real, Told
from engine.errors import BadQuery
from engine.random import Stream

KINDS = st.sampled_from([np.float32, np.float64, np.uint8, np.int16, np.float16])


@given(KINDS.flatmap(lambda kind: arrays.arrays(kind, (2, 3), elements=st.integers(0, 9))))
def test_arrays_come_back_to_the_bit(array):
    told = Told((2, 3)).narrow([array, torch.from_numpy(array.astype(np.float64)), array.tolist()])
    for row in range(3):
        values, present = told.plain(row)
        assert (values == array).all() and present.all()
    alone = Told((2, 3)).narrow([array])
    assert alone.fingerprints[0] == told.fingerprints[0] == told.select([2]).fingerprints[0]


def test_small_floats_stay_small():
    told = Told((2,)).narrow([np.array([0.1, 0.3], np.float32)])
    assert told.tensor.dtype == torch.float32
    assert told.join([Told((2,)).narrow([[0.1, 0.3]])]).tensor.dtype == torch.float64


@given(st.lists(st.sampled_from([None, 1.0, 2.5]), min_size=3, max_size=3))
def test_absent_entries_are_masked_and_zero(row):
    told = Told((3, 2)).narrow([[None if v is None else [v, v] for v in row]])
    assert told.present[0].tolist() == [v is not None for v in row]
    assert told.tensor[0, :, 0].tolist() == [v or 0.0 for v in row]
    masked = np.ma.masked_array(np.ones((3, 2)), False)
    for k, v in enumerate(row):
        masked[k] = np.ma.masked if v is None else v
    assert torch.equal(Told((3, 2)).narrow([masked]).present, told.present)
    values, present = told.plain(0)
    again = Told((3, 2)).narrow([Given(values, present)])
    assert again.fingerprints == told.fingerprints


def test_a_row_may_lack_the_input():
    told = Told((2,)).narrow([None, [1, 2], [None, 3]])
    assert told.there.tolist() == [False, True, True]
    assert told.complete.tolist() == [True, True, False]
    assert Told((2,)).there.tolist() == [False]


def test_named_values_are_places():
    told = Input("text", Finite("abc", (3,))).domain.narrow([list("bca"), np.array(list("aab"))])
    assert told.tensor.tolist() == [[1, 2, 0], [0, 0, 1]]
    assert told.plain(0).values == ["b", "c", "a"]


def test_views_see_their_entries():
    pictures = Input("pictures", Real((3, 2, 2), 0, 1))
    told = pictures.domain.narrow([[None, [[1, 0], [0, 1]], None]])
    one = pictures[1].of(told)
    assert one.tensor.tolist() == [[[1, 0], [0, 1]]] and one.there.tolist() == [True]
    assert pictures[0].of(told).there.tolist() == [False]
    assert pictures[1:].of(told).present.tolist() == [[True, False]]
    assert pictures[:, 0].plain(told.plain(0)).present.tolist() == [False, True, False]


def test_a_batch_is_a_view_where_one_row_or_one_state_a_row_is_asked():
    told = Told((4,)).narrow([np.arange(4.0), np.ones(4)])
    assert told.given(2).values.data_ptr() == told.tensor.data_ptr()
    assert told.select([0]).given(64).values.stride()[0] == 0
    assert told.given(6).values[:, 1].tolist() == [1, 1, 1, 1, 1, 1]
    assert torch.equal(told.sample(3, Stream(0, torch.tensor([1, 2]))), told.given(6).values)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.zeros((2, 2)), "has shape [2, 2]; give [3]"),
        ([0, 1], "has 2 entries"),
        ([0, 1, 7], "[2]: 7"),
        (np.array([0, 1, 7]), "[2]: 7 lies outside [0, 5]"),
        ([0, math.nan, 1], "[1]: nan"),
        (np.array([0, math.inf, 1]), "[1]: inf is no finite number"),
        ([0, "x", 1], "[1]: 'x' is no number"),
        ("abc", "'abc' is no list"),
        (np.zeros(3, complex), "are no numbers"),
        (Given(np.zeros(3), np.ones(2, bool)), "present: 2 entries"),
    ],
)
def test_mistakes_name_place_value_and_remedy(value, said):
    with pytest.raises(BadQuery) as caught:
        Told((3,), 0, 5).narrow([value])
    assert said in str(caught.value)


def test_whole_numbers_are_asked_for():
    assert Told((2,), integer=True).narrow([np.array([1.0, 2.0])]).tensor.dtype == torch.int64
    with pytest.raises(BadQuery, match=r"\[1\]: 2.5 is no whole number"):
        Told((2,), integer=True).narrow([[1, 2.5]])
    with pytest.raises(BadQuery, match="masked in part"):
        Told((2, 2)).narrow([np.ma.masked_equal(np.arange(4).reshape(2, 2), 3)])


@pytest.mark.parametrize(
    "domain",
    [
        Real((2,), torch.tensor([0.0, 5.0]), torch.tensor([9.0, 9.0])),
        Real((2,), 0.0, torch.tensor([1.0, 9.0])),
        Real((2,), torch.zeros(2, 2), torch.tensor([[1.0, 1.0], [9.0, 9.0]])),
        Finite((0, 1, 2), (2,)).narrow([[0, None]]),
        Finite((0, 1, 2), (2,)).select([0, 0]),
    ],
)
def test_edges_of_an_input_are_the_same_everywhere(domain):
    with pytest.raises(BadQuery, match="e: has edges or values that differ by site.*one low"):
        Input("e", domain)


def test_edges_of_an_input_are_kept():
    even = Input("e", Real((2,), torch.tensor([1.0, 1.0]), 9.0)).domain
    assert (even.low, even.high) == (1.0, 9.0)
    assert Input("e", Real((2,))).domain.high == math.inf
    assert Input("f", Finite((0, 1), (2,))).domain.values == (0, 1)

"""Of what rows were told, only what is there travels, and it comes back to the bit."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.domain import Given, Told
from engine.errors import BadQuery, TooLarge
from services.settings import Limits
from services.wire.binding import Binding, binding_from_proto, binding_to_proto, bytes_of


def told_rows(masks: list[list[bool]], shape: tuple[int, ...], dtype: type = np.float32) -> Told:
    rng = np.random.default_rng(0)
    rows = [Given(rng.random(shape).astype(dtype), np.array(mask)) for mask in masks]
    return Told(shape).narrow(rows)


@given(
    st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=5),
    st.sampled_from([(3,), (3, 2), (3, 1, 4)]),
    st.sampled_from([np.float32, np.float64]),
)
def test_rows_come_back_as_they_were(masks, shape, dtype):
    domain, raw = told_rows(masks, shape, dtype), []
    message = binding_to_proto(Binding("any.kind", {}, (domain,)), raw)
    (back,) = binding_from_proto(message, raw).domains
    assert isinstance(back, Told)
    if len(masks) > 1 or any(masks[0]):
        assert torch.equal(back.tensor, domain.tensor)
        assert back.tensor.dtype == domain.tensor.dtype
        assert sum(map(len, raw)) == bytes_of(domain).sum()
    assert torch.equal(back.present, domain.present)
    assert back.fingerprints == domain.fingerprints


def test_a_row_is_the_same_in_any_company():
    few, many = np.float32([0.1, 0.0, 3.0]), np.float64([1e300, 0.1, 0.2])
    alone, beside = Told((3,)).narrow([few]), Told((3,)).narrow([few, many])
    assert alone.tensor.dtype == torch.float32 and beside.tensor.dtype == torch.float64
    assert alone.fingerprints[0] == beside.fingerprints[0] != beside.fingerprints[1]
    other = Told((3,)).narrow([Given(few, np.array([True, False, True]))])
    assert other.fingerprints != alone.fingerprints


def test_rows_that_say_little_and_take_much_are_refused():
    domain, raw = told_rows([[False, False, True]] * 50, (3, 100)), []
    message = binding_to_proto(Binding("any.kind", {}, (domain,)), raw)
    assert len(binding_from_proto(message, raw).domains[0].tensor) == 50
    with pytest.raises(TooLarge, match=r"15000 numbers of all rows"):
        binding_from_proto(message, raw, Limits(input_numbers=14_999))


def test_entries_that_do_not_fit_what_is_there_are_refused():
    domain, raw = told_rows([[True, False, True], [True, True, True]], (3, 2)), []
    message = binding_to_proto(Binding("any.kind", {}, (domain,)), raw)
    spec = message.domains[0].told.tensor
    raw[spec.raw_index] = raw[spec.raw_index][:-8]
    spec.shape[0] -= 1
    with pytest.raises(BadQuery, match=r"domains\[0\].*give rows of"):
        binding_from_proto(message, raw)

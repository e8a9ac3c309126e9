"""Rows of a batch are told apart by what they were told, and by nothing else."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.domain import Given, Told
from services.remote.rows import RowKeys


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.integers(0, 1)), max_size=12))
def test_states_share_a_key_where_all_they_were_told_is_equal(told):
    """Whatever stands at entries that are absent."""

    def seen(one):
        return (pool[one[0]][0 if one[1] else 1 :].tolist(), *one[1:])

    rng = np.random.default_rng(0)
    pool = torch.from_numpy(rng.random((3, 2, 2), dtype=np.float32))
    values = pool[[a for a, _, _ in told]]
    present = torch.tensor([[b, True] for _, b, _ in told], dtype=torch.bool).reshape(-1, 2)
    other = torch.tensor([c for *_, c in told], dtype=torch.int64)
    book = RowKeys()
    rows = book.rows([Given(values, present), other])
    keys = rows.keys.tolist()
    assert len(keys) == len(told)
    for a, one in zip(keys, told):
        for b, two in zip(keys, told):
            assert (a == b) == (seen(one) == seen(two))
    again = book.rows([Given(values.clone(), present.clone()), other.clone()])
    assert again.keys.tolist() == keys
    assert np.array_equal(rows.inputs[0].values, values.numpy())
    assert rows.inputs[1].present is None


def test_a_row_that_is_spread_is_read_once():
    row = torch.rand(1, 1000)
    book = RowKeys()
    rows = book.rows([row.expand(10_000, 1000)])
    assert set(rows.keys.tolist()) == {0}
    assert rows.inputs[0].values.strides[0] == 0  # nothing was written out
    assert book.rows([row.clone()]).keys.tolist() == [0]


def test_the_same_memory_is_not_read_again_unless_it_has_changed():
    book, x = RowKeys(), torch.zeros(3, 2)
    first = book.rows([x])
    assert book.rows([x]) is first and book.rows([x.view(3, 2)]) is first
    assert book.rows([x[:2]]) is not first
    x[1] = 1
    keys = book.rows([x]).keys.tolist()
    assert keys[0] == keys[2] == 0 != keys[1]
    book.forget()
    assert book.rows([x]).keys.tolist() == keys


def test_numbers_of_one_type_alone_are_the_same():
    book = RowKeys()
    keys = [book.rows([torch.ones(1, 2, dtype=d)]).keys[0] for d in (torch.float32, torch.float64)]
    assert keys[0] != keys[1]
    assert book.rows([torch.ones(1, 2)]).keys[0] == keys[0]


def test_what_is_learned_of_domains_is_not_read_again(monkeypatch):
    """Keys by the fingerprints of the domains are those by reading what is handed."""
    rng = np.random.default_rng(1)
    told = [Given(rng.random((3, 2)), rng.random(3) < 0.6) for _ in range(6)]
    domain, other = Told((3, 2)).narrow([*told, told[0]]), Told().narrow([*range(6), 0])
    batch = [domain.given(7), other.given(7).values]
    read, learned = RowKeys(), RowKeys()
    keys = read.rows(batch).keys.tolist()
    assert keys == [0, 1, 2, 3, 4, 5, 0]
    learned.learn([domain, other], batch)
    with monkeypatch.context() as patched:
        patched.setattr(RowKeys, "_keys", None)
        assert learned.rows(batch).keys.tolist() == keys
    assert learned.rows([Given(*(x[2:4] for x in batch[0])), batch[1][2:4]]).keys.tolist() == [2, 3]
    batch[0].values[2] += 1  # in place: that is another row
    assert learned.rows(batch).keys.tolist() == [0, 1, 6, 3, 4, 5, 0]

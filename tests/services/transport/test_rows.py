"""What rows were told travels once a stream, and batches are cut where rows allow it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.domain import Told
from services.transport.rows import BoundRows, ToldArrays, ToldRows
from services.v1 import module_pb2 as pb
from services.wire.binding import told_of


def rows_of(keys: list[int], size: int = 2) -> ToldRows:
    """Rows that were told their own key."""
    values = np.repeat(np.array(keys, dtype=np.float32)[:, None], size, axis=1)
    return ToldRows(np.array(keys, dtype=np.int64), [ToldArrays(values, values > 0)])


@given(
    st.lists(st.lists(st.integers(0, 5), max_size=8), max_size=12),
    st.integers(1, 14),
)
def test_a_stream_knows_what_it_was_told(batches, most):
    """As a host would: what a batch names is there, and no more than may be unless it is needed."""
    bound, host = BoundRows(most), {}
    told = set()
    for keys in batches:
        if not keys:
            continue
        rows, message = rows_of(keys), pb.Rows()
        raw: list[bytes] = []
        bound.put(rows, message, raw)
        for key in message.dropped:
            del host[key]
        if message.keys:
            said = told_of(Told((2,)), message.inputs[0], raw)
            values, present = said.tensor, said.present
            for k, key in enumerate(message.keys):
                assert key not in host and key in keys
                host[key] = values[k].tolist()
                assert present[k].tolist() == [key > 0] * 2
        told |= set(message.keys)
        assert all(host[key] == [key, key] for key in keys)
        assert 2 * len(host) <= max(most, 2 * len(set(keys)))
    if most >= 12:
        assert told == set(host) == {key for keys in batches for key in keys}


def test_rows_that_may_be_unknown_are_told_again():
    bound = BoundRows(100)
    for wanted in ([1, 2], [], [1, 2]):
        message = pb.Rows()
        bound.put(rows_of([1, 1, 2]), message, [])
        assert [*message.keys] == wanted
        if not wanted:
            bound.forget(rows_of([2, 1]))


@given(st.lists(st.integers(0, 3), max_size=30).map(sorted), st.integers(1, 9), st.integers(1, 4))
def test_pieces_are_as_large_as_may_be(keys, states, rows):
    told = rows_of(keys)
    pieces = list(told.pieces(states, rows))
    assert [*range(len(keys))] == [at for start, end in pieces for at in range(start, end)]
    assert pieces or not keys
    for k, (start, end) in enumerate(pieces):
        inside = keys[start:end]
        assert len(inside) <= states and len(set(inside)) <= rows
        part = told.part(start, end)
        assert part.keys.tolist() == inside and part.inputs[0].values[:, 0].tolist() == inside
        if k + 1 < len(pieces):
            more = keys[start : end + 1]
            assert len(more) > states or len(set(more)) > rows
    assert told.row_bytes == (8 + 2 if keys else 0)


def test_rows_that_are_spread_take_no_more_room():
    values = np.broadcast_to(np.zeros((1, 5), np.float32), (1000, 5))
    rows = ToldRows(np.zeros(1000, np.int64), [ToldArrays(values, None)])
    assert rows.row_bytes == 20 and rows.numbers == 5

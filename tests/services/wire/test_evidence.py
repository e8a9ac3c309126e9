"""Arrays of evidence on the wire: their bits, and what makes no sense."""

import numpy as np
import pytest

from engine.errors import BadQuery
from services.query import EvidenceArray, query_of
from services.v1 import query_pb2 as pb
from services.v1 import reasoner_pb2
from services.wire.arrays import put_array
from services.wire.query import query_from_proto, query_to_proto

QUERY = {
    "variables": {"y": {"values": [0, 1], "shape": [2]}, "r": {"low": 0, "shape": [3]}},
    "inputs": {
        "x": {"low": 0, "shape": [2, 3]},
        "n": {"low": 0, "high": 255, "integer": True, "shape": [2]},
        "t": {"values": ["a", "b"], "shape": [2]},
    },
    "terms": [{"kind": "k", "scope": ["x", "y"]}],
}
X = np.arange(6, dtype=np.float32).reshape(2, 3) / 7


def test_rows_of_one_type_stand_in_one_tensor():
    """In the last field of the request, and each comes back with its bits and its gaps."""
    gap = np.ma.array(X, mask=[[0, 0, 0], [1, 1, 1]])
    rows = [
        {"x": X, "n": np.array([1, 2], dtype=np.uint8), "t": ["a", None]},
        {"x": [[0, 1, 2], None], "r": np.array([1.0, 2.0, 3.0])},
        {"x": X + 1, "y": np.ma.array([0, 1], mask=[True, False])},
        {"x": gap, "n": np.array([3, 4], dtype=np.uint8), "y": {"file": "y.npy"}},
        {},
    ]
    query = query_of({**QUERY, "evidence": rows})
    raw: list[bytes] = []
    message = query_to_proto(query, raw)
    assert [(a.name, [*a.rows]) for a in message.arrays] == [
        ("x", [0, 2]), ("n", [0, 3]), ("r", [1]), ("y", [2]), ("x", [3]),
    ]  # fmt: skip
    request = reasoner_pb2.SolveRequest(query=message, raw_contents=raw)
    assert request.SerializeToString().endswith(raw[-1])
    sent = reasoner_pb2.SolveRequest.FromString(request.SerializeToString())
    back = query_from_proto(sent.query, sent.raw_contents)
    assert back == query
    first = back.evidence[0]["x"]
    assert isinstance(first, EvidenceArray) and first.values.tobytes() == X.tobytes()
    assert back.evidence[0]["n"].values.dtype == np.uint8
    assert back.evidence[3]["x"].present.tolist() == [True, False]


def message(values, present=None, name="x", rows=(), count=2, **fields) -> tuple[pb.Query, list]:
    raw: list[bytes] = []
    made = query_to_proto(query_of({**QUERY, "evidence": [{}] * count} | fields), raw)
    array = made.arrays.add(name=name, rows=rows)
    put_array(np.asarray(values), array.values, raw)
    if present is not None:
        put_array(np.asarray(present), array.present, raw)
    return made, raw


TWO = np.stack([X, X])


def test_what_is_absent_does_not_count():
    made, raw = message(np.stack([X, X + 9]), [[True, False], [True, True]])
    query = query_from_proto(made, raw)
    assert query.evidence[0]["x"] == [X[0].tolist(), None]
    assert not query.evidence[0]["x"].values[1].any()
    made, raw = message(TWO, [[[True] * 3, [True, False, True]]] * 2)
    assert query_from_proto(made, raw).evidence[1]["x"].missing.sum() == 1


@pytest.mark.parametrize(
    ("values", "present", "fields", "path", "said"),
    [
        (TWO, None, {"count": 1}, "arrays[0].rows", "2 rows"),
        (TWO, None, {"rows": [0]}, "arrays[0].rows", "1 rows for 2 arrays"),
        (TWO, None, {"rows": [0, 0]}, "arrays[0].rows", "each once"),
        (TWO, None, {"rows": [0, 2]}, "arrays[0].rows", "2 rows of evidence"),
        (TWO, [[1, 1]] * 2, {}, "arrays[0].present", "int64"),
        (TWO, [[True] * 3] * 2, {}, "arrays[0].present", "shape [2, 3]"),
        (TWO, [True] * 2, {}, "arrays[0].present", "shape [2]"),
        (np.float32(1), None, {}, "arrays[0].values", "give rows"),
        (np.float32([1, 2]), None, {}, "arrays[0].values", "give rows"),
        (TWO, None, {"name": "z"}, "evidence[0].z", "no variable"),
        (TWO[:, :1], None, {}, "evidence[1].x", "shape [1, 3]"),
        (TWO * np.nan, None, {}, "evidence[0].x[0][0]", "nan"),
        (TWO, None, {"evidence": [{}, {"x": None}]}, "evidence[1].x", "stands twice"),
    ],
)
def test_what_makes_no_sense_is_told(values, present, fields, path, said):
    made, raw = message(values, present, **fields)
    with pytest.raises(BadQuery) as caught:
        query_from_proto(made, raw)
    found = [m for m in caught.value.mistakes if m.path == path]
    assert found and said in f"{found[0].problem} {found[0].remedy}", caught.value.mistakes


def test_bytes_that_are_not_there_are_told():
    made, raw = message(TWO)
    for contents in ([], raw[:0], [b"123"]):
        with pytest.raises(BadQuery, match=r"arrays\[0\]\.values"):
            query_from_proto(made, contents)


def test_one_name_for_all():
    made, raw = message(TWO)
    made.inputs.add(name="x").real.SetInParent()
    made.inputs.add(name="z")
    with pytest.raises(BadQuery) as caught:
        query_from_proto(made, raw)
    assert {m.path for m in caught.value.mistakes} == {"inputs[3].name", "inputs.z.domain"}

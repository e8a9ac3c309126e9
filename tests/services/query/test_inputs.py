"""Inputs in queries: declared beside variables, told as arrays that nobody walks."""

import json
import time

import numpy as np
import pytest
import torch

from engine.domain import Given
from engine.errors import BadQuery, TooLarge
from services.query import (
    ArrayFile,
    EvidenceArray,
    NamedInputSpec,
    NumberInputSpec,
    Query,
    parse_query,
    plain_query,
    query_of,
)
from services.query.arrays import evidence_array
from services.settings import Limits

VARIABLES = {"y": {"values": [0, 1], "shape": [2]}}
PICTURES = {"pictures": {"low": 0, "high": 1, "shape": [2, 3]}}
WHOLE = {"inputs": PICTURES, "variables": VARIABLES, "terms": []}


def told(value, inputs=PICTURES, **fields) -> Query:
    return query_of({**WHOLE, "inputs": inputs, "evidence": {"pictures": value}, **fields})


def test_inputs_stand_beside_variables():
    query = parse_query(
        """
        inputs:
          picture: {low: 0, high: 1, shape: [2, 2]}
          count: {low: 0, high: 255, integer: true, shape: [3]}
          text: {values: [a, b, c], shape: [4]}
          free: {shape: []}
        variables: {y: {values: [0, 1], shape: [2]}}
        terms: [{kind: k, scope: [picture, "text[0:2]", y]}]
        evidence: {picture: [[0, 1], null], text: [a, null, c, a], free: null}
        """
    )
    assert query.inputs["picture"] == NumberInputSpec(low=0, high=1, shape=(2, 2))
    assert query.inputs["count"] == NumberInputSpec(low=0, high=255, integer=True, shape=(3,))
    assert query.inputs["text"] == NamedInputSpec(values=("a", "b", "c"), shape=(4,))
    assert query.inputs["free"] == NumberInputSpec()
    assert query.evidence[0] == {
        "picture": [[0, 1], None], "text": ["a", None, "c", "a"], "free": None,
    }  # fmt: skip


MISTAKES = [
    ({"inputs": {"y": {"shape": []}}}, "inputs.y", "a variable too", "once"),
    ({"inputs": {"a b": {"shape": []}}}, "inputs.a b", "no name", "letters"),
    ({"inputs": {"x": 7}}, "inputs.x", "7", "low"),
    ({"inputs": {"x": {"shap": [2]}}}, "inputs.x.shap", "unknown", "did you mean shape?"),
    ({"inputs": {"x": {"vlaues": [2]}}}, "inputs.x.vlaues", "unknown", "did you mean values?"),
    ({"inputs": {"x": {"values": [1], "low": 0}}}, "inputs.x.low", "unknown", "known: shape"),
    ({"inputs": {"x": {"low": 2, "high": 1}}}, "inputs.x", "above high", "low <= high"),
    ({"inputs": {"x": {"integer": 1}}}, "inputs.x.integer", "neither", "true or false"),
    ({"inputs": {"x": {"shape": 3}}}, "inputs.x.shape", "no list", "[3]"),
    ({"inputs": [1]}, "inputs", "no mapping", "name: value"),
    ({"terms": [{"kind": "k", "scope": ["pictuers"]}]}, "terms[0].scope[0]", "no variable",
     "did you mean pictures?"),
    ({"terms": [{"kind": "k", "scope": ["pictures[2]"]}]}, "terms[0].scope[0]", "out of range",
     "[2, 3]"),
    ({"evidence": {"pictuers": 1}}, "evidence.pictuers", "no variable", "did you mean pictures?"),
    ({"evidence": {"pictures": np.zeros((2, 2))}}, "evidence.pictures", "[2, 2]", "[2, 3]"),
    ({"evidence": [{}, {"pictures": np.zeros(2)}]}, "evidence[1].pictures", "[2]", "[2, 3]"),
    ({"evidence": {"y": np.zeros(3)}}, "evidence.y", "[3]", "[2]"),
    ({"evidence": {"pictures": np.full((2, 3), np.nan)}}, "evidence.pictures[0][0]", "nan",
     "finite"),
    ({"evidence": {"pictures": {"flie": "a"}}}, "evidence.pictures", "mapping", "file: PATH"),
    ({"evidence": {"pictures": {"file": "a", "kye": "b"}}}, "evidence.pictures.kye", "unknown",
     "did you mean key?"),
    ({"evidence": {"pictures": {"file": 3}}}, "evidence.pictures.file", "3", "text"),
    ({"evidence": {"pictures": Given(np.zeros((2, 3)), np.ones(3))}},
     "evidence.pictures.present", "3", "give 2"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "path", "problem", "remedy"), MISTAKES)
def test_mistakes_about_inputs_are_told(fields, path, problem, remedy):
    with pytest.raises(BadQuery) as caught:
        query_of({**WHOLE, **fields})
    found = [m for m in caught.value.mistakes if m.path == path]
    assert found, caught.value.mistakes
    assert any(problem in m.problem and remedy in m.remedy for m in found), found


def test_inputs_have_a_limit_of_their_own():
    limits = Limits(input_numbers=11, sites=2)
    assert query_of(WHOLE, limits).rows == 1
    with pytest.raises(TooLarge, match="inputs: 12 rows"):
        query_of({**WHOLE, "evidence": [{}, {}]}, limits)
    with pytest.raises(TooLarge, match=r"inputs\.pictures\.shape"):
        query_of(WHOLE, Limits(input_numbers=5))


X = np.arange(6, dtype=np.float32).reshape(2, 3) / 8
GAP = [[0.0, 0.125, 0.25], None]


@pytest.mark.parametrize(
    ("value", "dtype", "present"),
    [
        (X, "float32", None),
        (X.astype(">f8"), "float64", None),
        (X.astype("f2"), "float32", None),
        (torch.tensor(X), "float32", None),
        (torch.tensor(X).bfloat16(), "float32", None),
        (torch.tensor(X, requires_grad=True), "float32", None),
        (np.asfortranarray(X), "float32", None),
        ([X[0], X[1]], "float32", None),
        ([torch.tensor(X[0]), None], "float32", [True, False]),
        (Given(X, np.array([True, False])), "float32", [True, False]),
        (Given(torch.tensor(X), torch.tensor([True, True])), "float32", None),
        (np.ma.array(X, mask=[[0, 0, 0], [1, 1, 1]]), "float32", [True, False]),
        (np.ma.array(X, mask=[[0, 0, 0], [0, 0, 1]]), "float32", [[1, 1, 1], [1, 1, 0]]),
        (np.ma.array(X), "float32", None),
        ((X * 8).astype("u1"), "uint8", None),
        ((X * 8).astype("i2"), "int32", None),
        ((X * 8).astype("u4"), "int64", None),
        ((X * 8).astype("i8"), "int64", None),
        (X > 0.3, "bool", None),
    ],
)  # fmt: skip
def test_arrays_are_taken_as_they_are(value, dtype, present):
    array = told(value, {"pictures": {"shape": [2, 3]}}).evidence[0]["pictures"]
    assert isinstance(array, EvidenceArray) and array.values.dtype == dtype
    assert array.values.dtype.isnative and array.values.flags.c_contiguous
    if present is None:
        assert array.present is None
        want = X * 8 if array.values.dtype.kind in "iu" else X > 0.3 if dtype == "bool" else X
        assert np.array_equal(array.values, want)
    else:
        assert np.array_equal(array.present, np.array(present, dtype=bool))
        assert not array.values[array.missing].any() and np.array_equal(array.values[0], X[0])


def test_what_happens_to_the_original_changes_nothing():
    x = X.copy()
    query = told(x)
    x[:] = 1
    assert query.evidence[0]["pictures"] == X.tolist()


@pytest.mark.parametrize(
    "value", [X.tolist(), np.array([["a"] * 3] * 2), np.array(X, dtype=object), [[0.0] * 3, None]]
)
def test_anything_else_becomes_lists(value):
    inputs = {"pictures": {"values": ["a"], "shape": [2, 3]}}
    assert isinstance(told(value, inputs).evidence[0]["pictures"], list)


def test_named_values_may_be_given_too():
    text = Given(["a", "b"], np.array([True, False]))
    query = told(text, {"pictures": {"values": ["a", "b"], "shape": [2]}})
    assert query.evidence[0]["pictures"] == ["a", None]


def test_arrays_of_variables_are_taken_too():
    query = told(X, evidence={"y": np.ma.array([0, 1], mask=[False, True])})
    assert query.evidence[0]["y"] == [0, None] and query.evidence[0]["y"] != [0, 1]


def test_queries_with_arrays_compare():
    assert told(X) == told(torch.tensor(X)) == told(X.tolist()) == told(X.astype("f8"))
    assert told(X) != told(X + 1) and told(X) != told(Given(X, np.array([True, False])))
    assert told(Given(X, np.array([True, False]))) == told(GAP)
    assert told(X).changed(budget={"seed": 1}) == told(X, budget={"seed": 1})


@pytest.mark.parametrize(
    "value", [X, Given(X, np.array([True, False])), X.tolist(), GAP, {"file": "a.npz", "key": "b"}]
)
def test_queries_with_arrays_are_written(value):
    query = told(value)
    assert query_of(query.model_dump()) == query
    assert parse_query(json.dumps(plain_query(query)), "q.json") == query
    assert query_of(json.loads(query.model_dump_json())) == query


def test_a_file_is_a_name_until_it_is_read():
    assert told({"file": "a.npy"}).evidence[0]["pictures"] == ArrayFile("a.npy")


def test_nothing_is_walked():
    """36 pictures of 28 x 28 in a small part of the 3 ms from Query to Problem."""
    pictures = np.random.default_rng(0).random((36, 28, 28), dtype=np.float32)
    inputs = {"pictures": {"low": 0, "high": 1, "shape": [36, 28, 28]}}
    fields = {**WHOLE, "inputs": inputs, "evidence": {"pictures": pictures}}
    seconds = []
    for _ in range(20):
        began = time.perf_counter()
        query_of(fields)
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 1e-3


def test_numbers_too_large_for_the_wire_stay_numbers():
    assert evidence_array(np.array([2**64 - 1], dtype=np.uint64)) is None

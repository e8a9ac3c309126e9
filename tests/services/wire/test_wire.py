"""Whatever travels comes back as it was."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.domain import Finite, Given, Real, Told
from engine.errors import BadQuery, TooLarge
from engine.plain import nest
from services.query import FiniteSpec, Options
from services.query.kind import KindDescription
from services.v1 import module_pb2, query_pb2, tensor_pb2, value_pb2
from services.wire.answer import answer_from_proto, answer_to_proto
from services.wire.binding import (
    Binding,
    BoundBinding,
    binding_digest,
    binding_from_proto,
    binding_to_proto,
    declared_digest,
    untold,
)
from services.wire.events import Progress, Result, event_from_proto, event_to_proto
from services.wire.info import ServiceInfo, info_from_proto, info_to_proto
from services.wire.kinds import kind_from_proto, kind_to_proto
from services.wire.query import (
    options_from_proto,
    options_to_proto,
    query_from_proto,
    query_to_proto,
)
from services.wire.tensors import put, put_all, take, take_all
from services.wire.values import from_value, to_value
from tests.support.strategies import (
    answers,
    assignments,
    dtypes,
    energies,
    exact,
    inputs,
    plain,
    queries,
    term_energies,
)

# --- round trips ------------------------------------------------------------------------------


@given(plain)
def test_a_value_comes_back_exactly(value):
    message = value_pb2.Value.FromString(to_value(value).SerializeToString())
    assert exact(from_value(message), value)


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (None, "null"),
        (True, "truth"),
        (1, "integer"),
        (1.0, "real"),
        ("a", "text"),
        (2**70, "json"),
        ("\ud800", "json"),
        ([[1, 2], [3, None]], "array"),
        ([[1.0], [-0.0]], "array"),
        ([], "array"),
        ([[], []], "array"),
        ([None, None], "array"),
        ([1, 2.0], "json"),
        ([True, 1], "json"),
        ([[1], [2, 3]], "json"),
        ([None, [1]], "json"),
        ({"a": [1, 1.0]}, "json"),
    ],
)
def test_a_value_takes_the_form_that_keeps_it(value, field):
    message = to_value(value)
    assert message.WhichOneof("kind") == field
    assert exact(from_value(message), value)


@pytest.mark.parametrize(
    "message",
    [
        value_pb2.Value(),
        value_pb2.Value(json="[1, 2"),
        value_pb2.Value(json="[" * 100_000),
        value_pb2.Value(array=value_pb2.Array(shape=[2], integers=[1])),
        value_pb2.Value(array=value_pb2.Array(shape=[1], integers=[1], missing=[1])),
        value_pb2.Value(array=value_pb2.Array(shape=[1], integers=[1], reals=[1.0])),
        value_pb2.Value(array=value_pb2.Array(integers=[1])),
        value_pb2.Value(array=value_pb2.Array(shape=[2**62, 0])),  # would become 2**62 lists
        value_pb2.Value(array=value_pb2.Array(shape=[1] * 50, integers=[1])),
    ],
)
def test_a_contradictory_value_is_a_mistake(message):
    with pytest.raises(BadQuery) as caught:
        from_value(message)
    assert all(mistake.remedy for mistake in caught.value.mistakes)


@given(queries())
def test_a_query_comes_back_from_the_wire(query):
    raw: list[bytes] = []
    message = query_pb2.Query.FromString(query_to_proto(query, raw).SerializeToString())
    back = query_from_proto(message, raw)
    assert back == query
    assert list(back.variables) == list(query.variables)
    for name, spec in query.variables.items():
        if isinstance(spec, FiniteSpec):
            assert exact(list(back.variables[name].values), list(spec.values))
    for mine, theirs in zip(query.terms, back.terms, strict=True):
        assert exact(mine.params, theirs.params)
    assert exact([*query.evidence], [*back.evidence])


@given(answers)
def test_an_answer_comes_back(answer):
    message = answer_to_proto(answer)
    back = answer_from_proto(type(message).FromString(message.SerializeToString()))
    assert back == answer
    assert exact(back.values, answer.values)


@given(answers, term_energies, energies, energies, st.none() | assignments)
def test_events_of_a_stream_come_back(answer, terms, energy, bound, values):
    for event in (
        Result(3, answer),
        Progress(1, 20, 0.5, energy, bound, tuple(terms), values),
    ):
        assert event_from_proto(event_to_proto(event)) == event


def test_options_and_kinds_come_back():
    options = Options(prove=True, alternatives=3, distance=2, minimizer="cp_sat", proof=True)
    options = options.model_copy(update={"margins": True})
    assert options_from_proto(options_to_proto(options)) == options
    asked = {"explain": True, "differ": ("x",)}  # what the call itself asks for
    both = options.model_copy(update=asked)
    assert options_from_proto(options_to_proto(both), **asked) == both
    assert options_from_proto(options_to_proto(both)) == options
    assert options_from_proto(query_pb2.Options()) == Options()
    with pytest.raises(TooLarge, match="options"):
        options_from_proto(query_pb2.Options(alternatives=10**9))
    kind = KindDescription("discrete.table", "costs", False, True, {"type": "object"})
    assert kind_from_proto(kind_to_proto(kind)) == kind
    info = ServiceInfo("1.2.3", {"rows": 7.0, "seconds": 0.5}, ("annealing",), 18)
    assert info_from_proto(info_to_proto(info)) == info


@given(st.sampled_from(dtypes), st.lists(st.integers(0, 4), max_size=5), st.integers(0, 2**31))
def test_a_tensor_comes_back_bit_by_bit(dtype, shape, seed):
    rng = torch.Generator().manual_seed(seed)
    tensor = (torch.rand(shape, generator=rng, dtype=torch.float64) * 300 - 100).to(dtype)
    batch = module_pb2.Batch()
    raw: list[bytes] = []
    put_all({"x": tensor, "turned": tensor.T if tensor.dim() == 2 else tensor}, batch.states, raw)
    back = take_all(batch.states, raw)["x"]
    assert back.dtype == dtype
    assert back.shape == tensor.shape
    assert torch.equal(back, tensor)
    if tensor.dim() == 2:  # views are written row-major
        assert torch.equal(take_all(batch.states, raw)["turned"], tensor.T)


@pytest.mark.parametrize(
    ("fields", "content"),
    [
        ({"shape": [3]}, b"\0" * 8),
        ({"shape": [2**62, 4]}, b""),
        ({"shape": [2**63, 0]}, b""),
        ({"shape": [1] * 20}, b"\0" * 4),
        ({"data_type": 0}, b"\0" * 4),
        ({"data_type": 99}, b"\0" * 4),
        ({"raw_index": 7}, b"\0" * 4),
        ({"data_type": tensor_pb2.DATA_TYPE_BOOL, "shape": [3]}, b"\0\2\1"),
    ],
)
def test_a_tensor_that_contradicts_its_bytes_is_refused(fields, content):
    good = {"data_type": tensor_pb2.DATA_TYPE_FLOAT32, "shape": [1], "raw_index": 0}
    with pytest.raises(BadQuery):
        take(tensor_pb2.TensorSpec(**(good | fields)), [content])


def test_tensors_of_other_types_do_not_travel():
    with pytest.raises(TypeError, match="float16"):
        put(torch.zeros(1, dtype=torch.float16), tensor_pb2.TensorSpec(), [])


def test_a_binding_comes_back_with_its_narrowed_domains():
    grid = Finite((1, 2.0, "x"), (2, 2)).narrow([[[1, None], [None, "x"]], [[None, None]] * 2])
    path = Real((3,), -1.0, math.inf).narrow([[0.5, None, None]])
    request = module_pb2.JudgeRequest()
    binding = Binding("my.kind", {"edges": [[0, 1, 0.5]]}, (grid, path))
    request.binding.CopyFrom(binding_to_proto(binding, request.raw_contents))
    request = module_pb2.JudgeRequest.FromString(request.SerializeToString())
    back = binding_from_proto(request.binding, request.raw_contents)
    assert (back.kind, exact(dict(back.params), dict(binding.params))) == ("my.kind", True)
    assert [domain.fingerprints for domain in back.domains] == [
        domain.fingerprints for domain in binding.domains
    ]
    assert back.domains[0].values == grid.values
    for broken in ([[1], 2], 7, [1, 1, 2]):
        bad = module_pb2.JudgeRequest.FromString(request.SerializeToString())
        bad.binding.domains[0].finite.values.CopyFrom(to_value(broken))
        with pytest.raises(BadQuery, match=r"domains\[0\].*values"):
            binding_from_proto(bad.binding, bad.raw_contents)
    request.binding.domains[1].shape[:] = [4]
    with pytest.raises(BadQuery, match=r"domains\[1\]"):
        binding_from_proto(request.binding, request.raw_contents)


@given(st.data())
def test_what_rows_were_told_comes_back_to_the_bit(data):
    spec, rows = data.draw(inputs().filter(lambda s: 0 not in s.shape)), []
    values = getattr(spec, "values", None)
    low = -math.inf if values or spec.low is None else spec.low
    high = math.inf if values or spec.high is None else spec.high
    domain = Told(spec.shape, low, high, not values and spec.integer, values)
    for _ in range(data.draw(st.integers(0, 3))):
        present = data.draw(
            st.lists(st.booleans(), min_size=domain.entries, max_size=domain.entries)
        )
        if values:
            at = st.integers(0, len(values) - 1)
            flat = data.draw(st.lists(at, min_size=domain.sites, max_size=domain.sites))
            told = nest([values[k] for k in flat], domain.shape)
        else:
            edge = low if low > -math.inf else high if high < math.inf else 0.25
            number = math.ceil(edge) if spec.integer else edge
            if not low <= number <= high or abs(number) >= 2**63:
                break
            told = np.full(domain.shape, number, dtype=np.int64 if spec.integer else np.float64)
        rows.append(data.draw(st.none() | st.just(Given(told, np.array(present)))))
    domain = domain.narrow(rows) if rows else domain
    raw: list[bytes] = [b"before"]
    message = binding_to_proto(Binding("k", {}, (Finite((0, 1)), domain)), raw)
    message = module_pb2.Binding.FromString(message.SerializeToString())
    back = binding_from_proto(message, raw).domains[1]
    assert back.fingerprints == domain.fingerprints
    for field in ("shape", "low", "high", "integer", "values"):
        assert getattr(back, field) == getattr(domain, field)
    assert back.tensor.dtype == domain.tensor.dtype or not domain.present.any()
    assert torch.equal(back.tensor, domain.tensor) and torch.equal(back.present, domain.present)
    other: list[bytes] = []
    blank = binding_to_proto(Binding("k", {}, (Finite((0, 1)), untold(domain))), other)
    own: list[bytes] = []
    again = binding_to_proto(Binding("k", {}, (Finite((0, 1)), domain)), own)
    assert declared_digest(again, own) == declared_digest(blank, other)
    narrow = Finite((0, 1)).narrow([1])
    for blanks in ([], [Told((2,))]):
        both = [
            BoundBinding.of(Binding("k", {}, (f, *blanks, domain)))
            for f in (narrow, Finite((0, 1)))
        ]
        assert len({declared_digest(one.message, one.raw) for one in both}) == 2
    if domain.present.any() or domain.rows > 1:
        assert binding_digest(again, own) != binding_digest(blank, other)

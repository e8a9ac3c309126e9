"""Laws of the wire: what goes out comes back the same, and what is malformed is told clearly."""

import asyncio
import json
import math
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
import torch
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from engine.answer import (
    Alternative,
    Answer,
    Conflict,
    Ended,
    Finding,
    Flag,
    Part,
    Place,
    RunnerUp,
    Status,
    TermEnergy,
)
from engine.domain import Finite, Real
from engine.errors import (
    BadQuery,
    BasinError,
    Mistake,
    ModuleFault,
    ModuleUnavailable,
    OutOfTime,
    Overloaded,
    TooLarge,
    Unavailable,
    UnknownKind,
)
from services import wire
from services.query import (
    Budget,
    FiniteSpec,
    Options,
    Query,
    RealSpec,
    TermSpec,
    parse_query,
    plain_query,
    query_of,
)
from services.query.views import check_view, parse_view
from services.rpc.errors import Door
from services.rpc.status import REQUEST_KEY, error_of, error_of_call, status_of
from services.settings import Limits
from services.v1 import module_pb2, query_pb2, reasoner_pb2, tensor_pb2, value_pb2
from services.v1.reasoner_pb2_grpc import (
    ReasonerServiceServicer,
    ReasonerServiceStub,
    add_ReasonerServiceServicer_to_server,
)
from services.wire.binding import Binding, binding_from_proto, binding_to_proto
from services.wire.tensors import put, put_all, take, take_all
from services.wire.values import from_value, to_value

ROOT = Path(__file__).resolve().parents[1]

# --- what may be said -------------------------------------------------------------------------

reals = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | st.integers() | reals | st.text()
plain = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)
nested = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4), max_leaves=12)
names = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,8}", fullmatch=True)
labels = st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), min_size=1, max_size=9)


def exact(a, b) -> bool:
    """Equal, types included: 1 is not 1.0 and not True."""
    if type(a) is not type(b):
        return False
    if isinstance(a, list):
        return len(a) == len(b) and all(exact(x, y) for x, y in zip(a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(exact(a[name], b[name]) for name in a)
    return a == b


@st.composite
def queries(draw) -> Query:
    variables = {}
    for name in draw(st.lists(names, min_size=1, max_size=4, unique=True)):
        shape = draw(st.lists(st.integers(0, 4), max_size=3))
        if draw(st.booleans()):
            values = st.booleans() | st.integers() | reals | st.text()
            once = st.lists(values, min_size=1, max_size=5, unique_by=lambda v: (type(v), v))
            variables[name] = FiniteSpec(values=draw(once), shape=shape)
        else:
            low, high = sorted(draw(st.tuples(reals, reals)))
            variables[name] = RealSpec(
                low=draw(st.sampled_from([None, low, -math.inf])),
                high=draw(st.sampled_from([None, high])),
                shape=shape,
            )
    term = st.builds(
        TermSpec,
        kind=labels,
        scope=st.lists(st.sampled_from(sorted(variables)), min_size=1, max_size=3),
        params=st.dictionaries(st.text(), plain, max_size=3),
        required=st.none() | st.booleans(),
        weight=st.floats(min_value=1e-9, max_value=1e9),
    )
    row = st.dictionaries(st.sampled_from(sorted(variables)), nested)
    return Query(
        variables=variables,
        terms=draw(st.lists(term, max_size=3)),
        evidence=draw(row | st.lists(row, min_size=1, max_size=3)),
        budget=Budget(
            seconds=draw(st.none() | st.floats(min_value=0.001, max_value=1e4)),
            seed=draw(st.integers(0, 2**63 - 1)),
            particles=draw(st.integers(1, 4096)),
            steps=draw(st.none() | st.integers(1, 2**60)),
        ),
    )


assignments = st.dictionaries(names, nested, max_size=3)
energies = st.none() | reals
counts = st.integers(0, 2**63)
places = st.builds(
    Place, variable=names, site=st.lists(st.integers(0, 99), max_size=3).map(tuple), value=scalars
)
parts = st.builds(Part, term=st.text(), part=counts)
term_energies = st.lists(st.builds(TermEnergy, term=st.text(), energy=energies), max_size=3)
answers = st.builds(
    Answer,
    status=st.sampled_from(Status),
    values=st.none() | assignments,
    energy=energies,
    bound=energies,
    terms=term_energies.map(tuple),
    findings=st.lists(
        st.builds(
            Finding,
            term=st.text(),
            holds=st.none() | st.booleans(),
            required=st.booleans(),
            text=st.text(),
        ),
        max_size=3,
    ).map(tuple),
    flags=st.lists(st.sampled_from(Flag), unique=True).map(tuple),
    ended=st.none() | st.sampled_from(Ended),
    unique=st.none() | st.booleans(),
    alternatives=st.lists(st.builds(Alternative, values=assignments, energy=reals), max_size=2).map(
        tuple
    ),
    conflict=st.builds(
        Conflict,
        evidence=st.lists(places, max_size=2).map(tuple),
        rules=st.lists(parts, max_size=2).map(tuple),
        repair=st.lists(places, max_size=2).map(tuple),
        text=st.text(),
    ),
    steps=counts,
    seconds=st.floats(0, 1e6),
    runner_up=st.none()
    | st.builds(
        RunnerUp,
        values=assignments,
        energy=reals,
        terms=term_energies.map(tuple),
        text=st.text(),
    ),
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
    message = query_pb2.Query.FromString(wire.query_to_proto(query).SerializeToString())
    back = wire.query_from_proto(message)
    assert back == query
    assert list(back.variables) == list(query.variables)
    for name, spec in query.variables.items():
        if isinstance(spec, FiniteSpec):
            assert exact(list(back.variables[name].values), list(spec.values))
    for mine, theirs in zip(query.terms, back.terms, strict=True):
        assert exact(mine.params, theirs.params)
    assert exact([*query.evidence], [*back.evidence])


@given(queries())
def test_a_query_comes_back_from_its_text(query):
    assert parse_query(json.dumps(plain_query(query)), "q.json") == query


@given(queries())
def test_json_is_yaml_too(query):
    text = json.dumps(plain_query(query), ensure_ascii=True)
    assert parse_query(text, "q.yaml") == parse_query(text, "q.json")


@given(answers)
def test_an_answer_comes_back(answer):
    message = wire.answer_to_proto(answer)
    back = wire.answer_from_proto(type(message).FromString(message.SerializeToString()))
    assert back == answer
    assert exact(back.values, answer.values)


@given(answers, term_energies, energies, energies, st.none() | assignments)
def test_events_of_a_stream_come_back(answer, terms, energy, bound, values):
    for event in (
        wire.Result(3, answer),
        wire.Progress(1, 20, 0.5, energy, bound, tuple(terms), values),
    ):
        assert wire.event_from_proto(wire.event_to_proto(event)) == event


def test_options_and_kinds_come_back():
    options = Options(prove=True, alternatives=3, explain=True)
    assert wire.options_from_proto(wire.options_to_proto(options)) == options
    assert wire.options_from_proto(query_pb2.Options()) == Options()
    with pytest.raises(TooLarge, match="options"):
        wire.options_from_proto(query_pb2.Options(alternatives=10**9))
    kind = wire.Kind("discrete.table", "costs", False, True, {"type": "object"})
    assert wire.kind_from_proto(wire.kind_to_proto(kind)) == kind


dtypes = [torch.float32, torch.float64, torch.int64, torch.int32, torch.bool, torch.uint8]


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


# --- errors -----------------------------------------------------------------------------------

mistakes = st.builds(Mistake, path=st.text(max_size=9), problem=labels, remedy=st.text(max_size=9))


@given(st.sampled_from([BadQuery, UnknownKind, TooLarge]), st.lists(mistakes, max_size=4))
def test_mistakes_come_back_as_the_same_exception(kind, given_mistakes):
    back = error_of(status_of(kind(*given_mistakes)))
    assert type(back) is kind
    assert back.mistakes == tuple(given_mistakes)


@pytest.mark.parametrize(
    "error",
    [
        ModuleFault("my.kind", "energy is nan"),
        ModuleUnavailable("my.kind", "connection refused"),
        Unavailable("draining"),
        Overloaded("64 queued"),
        OutOfTime("no state in time"),
    ],
)
def test_every_other_exception_comes_back(error):
    back = error_of(status_of(error))
    assert type(back) is type(error)
    assert (str(back), vars(back)) == (str(error), vars(error))


@given(st.lists(mistakes, min_size=1), st.integers(1, 3000), st.sampled_from(["a", "é", "\n", "🜁"]))
def test_details_never_exceed_their_room(few, times, letter):
    long = Mistake(letter * times, letter * times, letter * times)
    error = BadQuery(*few, *([long] * 20))
    status = status_of(error, "r" * 500)
    assert status.ByteSize() <= 4096
    back = error_of(status)
    told = [m for m in back.mistakes if "more mistakes" not in m.problem]
    cut = sum(int(m.problem.split()[0]) for m in back.mistakes if "more mistakes" in m.problem)
    assert len(told) + cut == len(error.mistakes)


def test_a_status_of_a_stranger_is_judged_by_its_code():
    stranger = status_of(Unavailable("gone"))
    stranger.ClearField("details")
    assert type(error_of(stranger)) is Unavailable
    assert type(error_of(stranger, module="my.kind")) is ModuleUnavailable
    stranger.code = 999
    assert type(error_of(stranger)) is BasinError


# --- what people get wrong --------------------------------------------------------------------

GOOD = "variables: {grid: {values: [1, 2], shape: [2, 2]}}\nterms: []\n"
VARIABLES = "variables: {grid: {values: [1, 2], shape: [2, 2]}, a: {low: 0, high: 1}}\n"
ONE = VARIABLES + "terms: [{kind: k, scope: [grid], %s}]"

MALFORMED = [
    # text, path, a piece of the problem, a piece of the remedy
    ("", "line 1", "empty", "variables"),
    ("variables: {grid: [", "line 1", "no YAML", "syntax"),
    ('{"variables": {"grid": ', "line 1", "no JSON", "syntax"),
    (b"variables: \xff", "line 1", "0xff", "UTF-8"),
    (GOOD + "terms: []", "line 3", "'terms' stands twice", "once"),
    ('{"terms": [], "terms": []}', "terms", "twice", "once"),
    (GOOD + "---\na: 1", "line 3", "second document", "one document"),
    ("a: !!python/object/apply:os.system [ls]", "line 1", "tag", "plain"),
    ("a: *nowhere", "line 1", "stands for nothing", "anchor"),
    ("a: &a [*a]", "line 1", "stands for nothing", "anchor"),
    ("- 1\n- 2", "", "no mapping", "variables"),
    ("just text", "", "no mapping", "variables"),
    ("terms: []", "variables", "missing", "name them"),
    ("variables: {a: {low: 0}}", "terms", "missing", "list them"),
    ("variables: {}\nterms: []", "variables", "empty", "at least one"),
    (GOOD + "budgt: {}", "budgt", "unknown field", "did you mean budget?"),
    (GOOD + "budget: {particels: 3}", "budget.particels", "3", "did you mean particles?"),
    (GOOD + "budget: {particles: 0}", "budget.particles", "0", "at least 1"),
    (GOOD + "budget: {seconds: -1}", "budget.seconds", "-1", "above 0"),
    (GOOD + "budget: {seconds: soon}", "budget.seconds", "'soon'", "number"),
    (GOOD + "budget: {seconds: .inf}", "budget.seconds", "inf", "finite"),
    (GOOD + "budget: {seed: 1.5}", "budget.seed", "1.5", "whole"),
    (GOOD + "budget: {seed: true}", "budget.seed", "True", "whole"),
    (ONE % "weight: .nan", "terms[0].weight", "nan", "finite"),
    (ONE % "weight: 0", "terms[0].weight", "0", "above 0"),
    (ONE % "weight: '2'", "terms[0].weight", "'2'", "number"),
    (ONE % "wieght: 2", "terms[0].wieght", "2", "did you mean weight?"),
    (ONE % "required: maybe", "terms[0].required", "'maybe'", "true or false"),
    (ONE % "params: [1]", "terms[0].params", "[1]", "name: value"),
    (ONE % "params: {a: [0, .nan]}", "terms[0].params.a[1]", "nan", "finite"),
    (ONE % "params: {1: 2}", "terms[0].params", "name 1", "quote"),
    (ONE % "name: ''", "terms[0].name", "''", "printable"),
    (VARIABLES + "terms: {kind: k}", "terms", "no list", "[...]"),
    (VARIABLES + "terms: [k]", "terms[0]", "'k'", "name: value"),
    (VARIABLES + "terms: [{scope: [a]}]", "terms[0].kind", "missing", "name a kind"),
    (VARIABLES + "terms: [{kind: 3, scope: [a]}]", "terms[0].kind", "3", "quotes"),
    (VARIABLES + "terms: [{kind: k}]", "terms[0].scope", "missing", "scope: [grid]"),
    (VARIABLES + "terms: [{kind: k, scope: a}]", "terms[0].scope", "'a'", "[...]"),
    (VARIABLES + "terms: [{kind: k, scope: []}]", "terms[0].scope", "empty", "at least"),
    (VARIABLES + "terms: [{kind: k, scope: [gird]}]", "terms[0].scope[0]", "gird", "mean grid?"),
    (VARIABLES + "terms: [{kind: k, scope: ['grid[']}]", "terms[0].scope[0]", "no view", "grid[0"),
    (VARIABLES + "terms: [{kind: k, scope: ['grid[x]']}]", "terms[0].scope[0]", "'x'", "1:3"),
    (VARIABLES + "terms: [{kind: k, scope: ['grid[2]']}]", "terms[0].scope[0]", "2", "-2 to 1"),
    (VARIABLES + "terms: [{kind: k, scope: ['grid[0,0,0]']}]", "terms[0].scope[0]", "3", "[2, 2]"),
    (VARIABLES + "terms: [{kind: k, scope: ['grid[::0]']}]", "terms[0].scope[0]", "step 0", "step"),
    (
        VARIABLES + "terms: [{kind: k, scope: [a], name: n}, {kind: k, scope: [a], name: n}]",
        "terms[1].name", "'n'", "own name",
    ),
    ("variables: {a: 7}\nterms: []", "variables.a", "7", "values"),
    ("variables: {a: {shape: [2]}}\nterms: []", "variables.a", "no domain", "values"),
    ("variables: {a: {vlaues: [2]}}\nterms: []", "variables.a", "no domain", "mean values?"),
    ("variables: {a: {values: []}}\nterms: []", "variables.a.values", "empty", "at least one"),
    ("variables: {a: {values: 3}}\nterms: []", "variables.a.values", "3", "[...]"),
    ("variables: {a: {values: [1, 1]}}\nterms: []", "variables.a.values[1]", "twice", "once"),
    ("variables: {a: {values: [null]}}\nterms: []", "variables.a.values[0]", "null", "open"),
    ("variables: {a: {values: [[1]]}}\nterms: []", "variables.a.values[0]", "[1]", "numbers"),
    ("variables: {a: {values: [1], shape: 3}}\nterms: []", "variables.a.shape", "3", "[3]"),
    ("variables: {a: {values: [1], shape: [-1]}}\nterms: []", "variables.a.shape[0]", "-1", "0"),
    ("variables: {a: {low: 0, shape: [1.5]}}\nterms: []", "variables.a.shape[0]", "1.5", "whole"),
    ("variables: {a: {low: 2, high: 1}}\nterms: []", "variables.a", "empty", "low <= high"),
    ("variables: {a: {low: .nan}}\nterms: []", "variables.a.low", "nan", "number"),
    ("variables: {a b: {low: 0}}\nterms: []", "variables.a b", "no name", "letters"),
    (GOOD + "evidence: {gird: [[1]]}", "evidence.gird", "gird", "did you mean grid?"),
    (GOOD + "evidence: 3", "evidence", "3", "mapping"),
    (GOOD + "evidence: []", "evidence", "[]", "leave evidence out"),
    (GOOD + "evidence: [{}, 3]", "evidence[1]", "3", "nested values"),
    (GOOD + "evidence: [{}, {gird: 1}]", "evidence[1].gird", "gird", "mean grid?"),
    (GOOD + "evidence: {grid: {0: 1}}", "evidence.grid", "mapping", "nest lists"),
    (GOOD + "evidence: {grid: [[.inf]]}", "evidence.grid[0][0]", "inf", "finite"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "path", "problem", "remedy"), MALFORMED)
def test_a_malformed_query_is_told_clearly(text, path, problem, remedy):
    with pytest.raises(BadQuery) as caught:
        parse_query(text)
    told = caught.value.mistakes
    found = [m for m in told if m.path == path or m.path.startswith(f"{path}, column")]
    assert found, f"no mistake at {path!r}: {told}"
    assert any(problem in m.problem and remedy in m.remedy for m in found), found
    assert all(m.problem and m.remedy for m in told)
    assert "pydantic" not in str(caught.value)


def test_every_mistake_is_told_at_once():
    text = """
    variables: {grid: {values: [1, 1]}, a: {low: 2, high: 1}}
    terms: [{kind: 3, scope: [gird], weight: .nan}, {kind: k, scop: [grid]}]
    evidence: {b: 1}
    budget: {seconds: 0}
    """
    with pytest.raises(BadQuery) as caught:
        parse_query(text)
    assert {m.path for m in caught.value.mistakes} == {
        "variables.grid.values[1]", "variables.a", "terms[0].kind", "terms[0].scope[0]",
        "terms[0].weight", "terms[1].scope", "terms[1].scop", "evidence.b", "budget.seconds",
    }  # fmt: skip


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]\n" for k in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (BOMB, "line 7"),
        ("a: " + "[" * 5_000, "line 1"),
        ('{"a": ' + "[" * 100_000, ""),
        ("variables: {a: {values: [1], shape: [100000, 100000]}}\nterms: []", "variables.a.shape"),
        ("variables: {a: {values: [1], shape: [1, 1, 1, 1, 1, 1, 1, 1, 1]}}\nterms: []",
         "variables.a.shape"),
        ("variables: {a: {values: [1], shape: [4000000]}, b: {low: 0, shape: [1]}}\nterms: []",
         "variables"),
        (json.dumps({"variables": {"a": {"values": [*range(70_000)]}}, "terms": []}),
         "variables.a.values"),
        (json.dumps({"variables": {f"a{k}": {"low": 0} for k in range(10_001)}, "terms": []}),
         "variables"),
        (GOOD + "budget: {particles: 5000}", "budget.particles"),
        (GOOD + "budget: {seconds: 1e9}", "budget.seconds"),
        (VARIABLES + "terms: [{kind: " + "k" * 2000 + ", scope: [a]}]", "terms[0].kind"),
        (json.dumps({"variables": {"a": {"low": 0}}, "terms": [{}] * 2000}), "terms"),
        (json.dumps({"variables": {"a": {"low": 0}}, "terms": [], "evidence": [{}] * 100_001}),
         "evidence"),
    ],
)  # fmt: skip
def test_what_is_too_large_is_refused_by_name(text, path):
    with pytest.raises(TooLarge) as caught:
        parse_query(text)
    assert any(m.path.split(",")[0] == path and "limit" in m.remedy for m in caught.value.mistakes)


fragments = st.sampled_from(
    [*"{}[],:-&*!|>'\"#%@` \n\t", "a", "variables", "terms", "evidence", "grid", "values", "low",
     "shape", "kind", "scope", "null", ".nan", "1", "-1", "1e400", "0x", "---", "...", "<<", "? "]
)  # fmt: skip


@given(st.lists(fragments, max_size=40).map("".join) | st.text() | st.binary())
def test_no_text_does_more_than_raise_a_told_mistake(text):
    for source in ("", "q.json", "q.yaml"):
        try:
            parse_query(text, source)
        except BadQuery as error:
            assert error.mistakes and all(m.problem and m.remedy for m in error.mistakes)


words = st.sampled_from(["variables", "terms", "evidence", "budget", "values", "low", "high",
                         "shape", "kind", "scope", "params", "weight", "name", "a"])  # fmt: skip
junk = st.recursive(
    scalars | st.floats() | words | st.just(object()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words | scalars, inner, max_size=4),
    max_leaves=20,
)
near = st.fixed_dictionaries(
    {},
    optional={
        "variables": st.dictionaries(words, junk, max_size=3) | junk,
        "terms": st.lists(st.dictionaries(words, junk, max_size=5), max_size=3) | junk,
        "evidence": junk,
        "budget": junk,
    },
)


@given(near | junk)
def test_no_data_does_more_than_raise_a_told_mistake(data):
    try:
        query_of(data)
    except BadQuery as error:
        assert error.mistakes and all(m.problem and m.remedy for m in error.mistakes)


@given(st.binary(max_size=200), queries(), st.integers(0), st.integers(0, 255))
def test_no_bytes_do_more_than_raise_a_told_mistake(noise, query, place, byte):
    raw = bytearray(wire.query_to_proto(query).SerializeToString())
    raw[place % len(raw)] = byte
    for content in (noise, bytes(raw)):
        with suppress(DecodeError, BadQuery):
            wire.query_from_proto(query_pb2.Query.FromString(content))
        with suppress(DecodeError, BadQuery):
            request = module_pb2.JudgeRequest.FromString(content)
            binding_from_proto(request.binding, request.raw_contents)


def test_limits_are_settings():
    with pytest.raises(TooLarge):
        parse_query(GOOD, limits=Limits(sites=3))
    with pytest.raises(TooLarge):
        parse_query(GOOD, limits=Limits(message_bytes=10))
    assert parse_query(GOOD, limits=Limits(sites=4)).variables["grid"].shape == (2, 2)


def test_nested_evidence_has_a_depth():
    deep: object = 1
    for _ in range(40):
        deep = [deep]
    with pytest.raises(BadQuery, match="too deep"):
        query_of({"variables": {"a": {"low": 0}}, "terms": [], "evidence": {"a": deep}})


def test_yaml_means_what_it_says():
    query = parse_query(
        "variables: {a: {values: [no, on, 12:30, 2026-01-02, 1e3, 0x10, '1', ~x, true, 0o17]}}\n"
        "terms: [{kind: k, scope: &all [a], weight: 1e-3}, {kind: k, scope: *all}]"
    )
    assert exact(
        list(query.variables["a"].values),
        ["no", "on", "12:30", "2026-01-02", 1000.0, 16, "1", "~x", True, 15],
    )
    assert query.terms[0].weight == 0.001
    assert query.terms[1].scope == ("a",)


def test_a_query_can_be_built_and_changed_in_python():
    query = Query(
        variables={"a": FiniteSpec(values=[1, 2], shape=(2,))},
        terms=[TermSpec(kind="k", scope=["a[0]"])],
        evidence={"a": (1, None)},
    )
    assert query.evidence == ({"a": [1, None]},)
    other = query.changed(evidence=[{"a": [1, 2]}, {}], budget={"seconds": 2})
    assert (other.rows, other.budget.seconds, other.budget.particles) == (2, 2.0, 64)
    with pytest.raises(BadQuery, match="evidence.b"):
        query.changed(evidence={"b": 1})
    with pytest.raises(BadQuery, match=r"terms\[0\]"):
        Query(variables=query.variables, terms=[TermSpec(kind="k", scope=["b"])])


def test_a_message_of_a_stranger_is_checked_as_any_other():
    message = query_pb2.Query()
    message.variables.add(name="a").finite.values.CopyFrom(to_value([1, 2]))
    message.variables.add(name="a")
    message.terms.add(kind="k", scope=["b"]).params.entries.add(name="p")
    with pytest.raises(BadQuery) as caught:
        wire.query_from_proto(message)
    assert {m.path for m in caught.value.mistakes} == {
        "variables[1].name", "variables.a.domain", "terms[0].params.p",
    }  # fmt: skip
    with pytest.raises(BadQuery, match="variables"):
        wire.query_from_proto(query_pb2.Query())


@pytest.mark.parametrize(
    ("text", "name", "index"),
    [
        ("grid", "grid", ()),
        ("grid[0]", "grid", (0,)),
        ("grid[-1, :]", "grid", (-1, slice(None))),
        (" grid [ 1:3 , ::2 ] ", "grid", (slice(1, 3), slice(None, None, 2))),
        ("grid[::-1]", "grid", (slice(None, None, -1),)),
        ("grid[[0, 2], 1]", "grid", ([0, 2], 1)),
    ],
)
def test_views_are_read(text, name, index):
    assert parse_view(text) == (name, index)


@pytest.mark.parametrize(
    "text",
    ["", "1a", "a[", "a]", "a[]", "a[0", "a[0]]", "a[0][1]", "a[,]", "a[0,,1]", "a[1.5]", "a[b]",
     "a.b", "a[__import__('os')]", "a[0:1:2:3]", "a[[0],[1]]", "a[99999999999999999]", "a b"],
)  # fmt: skip
def test_what_is_no_view_is_refused(text):
    with pytest.raises(BadQuery):
        parse_view(text)


@given(
    st.lists(st.integers(0, 3), max_size=3),
    st.lists(
        st.integers(-4, 4) | st.builds(slice, *[st.none() | st.integers(-4, 4)] * 2), max_size=4
    ),
)
def test_a_view_that_passes_can_be_taken(shape, index):
    try:
        check_view(index, shape)
    except BadQuery:
        return
    assert torch.zeros(shape).numpy()[tuple(index)] is not None


# --- the door ---------------------------------------------------------------------------------


class Rude(ReasonerServiceServicer):
    """Fails in the way that the name of a kind asks for."""

    async def DescribeKind(self, request, context):
        if request.kind == "abort":
            await context.abort(grpc.StatusCode.ABORTED, "on purpose")
        if request.kind == "sleep":
            await asyncio.sleep(60)
        if request.kind == "unknown":
            raise UnknownKind(Mistake("terms[0].kind", "'x' is unknown", "known: y"))
        if request.kind == "bug":
            raise RuntimeError("secret /etc/path")
        return reasoner_pb2.DescribeKindResponse()

    async def SolveStream(self, request, context):
        yield reasoner_pb2.SolveStreamResponse()
        if request.interval == 1:
            raise ModuleUnavailable("my.kind", "gone")
        if request.interval == 2:
            raise KeyError("secret")


async def _calls(check):
    server = grpc.aio.server(interceptors=[Door()])
    add_ReasonerServiceServicer_to_server(Rude(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            await check(channel, ReasonerServiceStub(channel))
    finally:
        await server.stop(None)


async def _failure(awaitable) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await awaitable
    return caught.value


def test_the_door_tells_mistakes_and_hides_bugs(caplog):
    async def check(channel, stub):
        ask = reasoner_pb2.DescribeKindRequest
        error = await _failure(stub.DescribeKind(ask(kind="unknown")))
        assert error.code() == grpc.StatusCode.NOT_FOUND
        back = error_of_call(error)
        assert type(back) is UnknownKind
        assert back.mistakes == (Mistake("terms[0].kind", "'x' is unknown", "known: y"),)

        call = stub.DescribeKind(ask(kind="bug"), metadata=[(REQUEST_KEY, "number-7")])
        error = await _failure(call)
        assert error.code() == grpc.StatusCode.INTERNAL
        assert "secret" not in str(error.details()) + str(error.trailing_metadata())
        assert "number-7" in error.details()
        assert type(error_of_call(error)) is BasinError

        error = await _failure(stub.DescribeKind(ask(kind="abort")))
        assert (error.code(), error.details()) == (grpc.StatusCode.ABORTED, "on purpose")

        error = await _failure(stub.DescribeKind(ask(kind="sleep"), timeout=0.1))
        assert type(error_of_call(error)) is OutOfTime

        error = await _failure(stub.Solve(reasoner_pb2.SolveRequest()))
        assert error.code() == grpc.StatusCode.UNIMPLEMENTED

        raw = channel.unary_unary("/basin.v1.ReasonerService/DescribeKind")
        error = await _failure(raw(b"\xff\xff\xff"))
        assert type(error_of_call(error)) is BadQuery
        assert await stub.DescribeKind(ask()) == reasoner_pb2.DescribeKindResponse()

    asyncio.run(_calls(check))
    assert "RuntimeError: secret /etc/path" in caplog.text
    assert "number-7" in caplog.text


def test_the_door_stands_before_streams_too():
    async def check(_, stub):
        async def read(interval):
            seen = []
            async for message in stub.SolveStream(
                reasoner_pb2.SolveStreamRequest(interval=interval)
            ):
                seen.append(message)
            return len(seen)

        assert await read(0) == 1
        back = error_of_call(await _failure(read(1)))
        assert (type(back), back.module) == (ModuleUnavailable, "my.kind")
        error = await _failure(read(2))
        assert "secret" not in str(error.details())
        assert error.code() == grpc.StatusCode.INTERNAL

    asyncio.run(_calls(check))


def test_who_cannot_be_reached_is_named():
    async def check():
        async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
            stub = ReasonerServiceStub(channel)
            error = await _failure(stub.ListKinds(reasoner_pb2.ListKindsRequest(), timeout=5))
        back = error_of_call(error, "127.0.0.1:1")
        assert type(back) is Unavailable
        assert "127.0.0.1:1" in str(back)
        assert type(error_of_call(error, module="my.kind")) is ModuleUnavailable

    asyncio.run(check())


# --- the generated code -----------------------------------------------------------------------


def test_generated_code_is_fresh():
    command = [sys.executable, str(ROOT / "proto" / "generate.py"), "--check"]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def test_a_touched_a_missing_and_a_foreign_generated_file_are_noticed(tmp_path):
    folder = tmp_path / "services" / "v1"
    shutil.copytree(ROOT / "proto", tmp_path / "proto")
    shutil.copytree(ROOT / "services" / "v1", folder)
    command = [sys.executable, str(tmp_path / "proto" / "generate.py")]
    (folder / "value_pb2.py").write_text("# touched")
    (folder / "query_pb2.pyi").unlink()
    (folder / "old_pb2.py").write_text("# left over")
    check = subprocess.run([*command, "--check"], capture_output=True, text=True, check=False)
    assert check.returncode == 1
    assert [line.split()[0].rpartition("/")[2] for line in check.stderr.splitlines()] == [
        "old_pb2.py", "query_pb2.pyi", "value_pb2.py",
    ]  # fmt: skip
    subprocess.run(command, check=True)
    subprocess.run([*command, "--check"], check=True)


def test_proto_follows_the_rules_of_buf():
    """The part of buf's STANDARD that is easily broken: suffixes, prefixes, unique messages."""
    files = [module_pb2.DESCRIPTOR, reasoner_pb2.DESCRIPTOR, query_pb2.DESCRIPTOR,
             tensor_pb2.DESCRIPTOR, value_pb2.DESCRIPTOR]  # fmt: skip
    used = set()
    for file in files:
        assert (file.package, file.name.rpartition("/")[0]) == ("basin.v1", "basin/v1")
        for service in file.services_by_name.values():
            assert service.name.endswith("Service")
            for method in service.methods:
                pair = {method.input_type.name, method.output_type.name}
                assert pair == {f"{method.name}Request", f"{method.name}Response"}
                assert not pair & used
                used |= pair
        for enum in file.enum_types_by_name.values():
            prefix = "".join(f"_{c}" if c.isupper() else c.upper() for c in enum.name)[1:]
            assert enum.values[0].name == f"{prefix}_UNSPECIFIED"
            assert all(value.name.startswith(f"{prefix}_") for value in enum.values)

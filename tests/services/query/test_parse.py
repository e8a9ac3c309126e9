"""Queries as people write them: every mistake is told, none does more than that."""

import json
from contextlib import suppress

import pytest
import torch
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import BadQuery, TooLarge, known
from services.query import FiniteSpec, Query, TermSpec, parse_query, plain_query, query_of
from services.query.views import check_view, parse_view
from services.settings import Limits
from services.v1 import module_pb2, query_pb2
from services.wire.binding import binding_from_proto
from services.wire.query import query_from_proto, query_to_proto
from services.wire.values import to_value
from tests.support.strategies import exact, queries, scalars


@given(queries())
def test_a_query_comes_back_from_its_text(query):
    assert parse_query(json.dumps(plain_query(query)), "q.json") == query


@given(queries())
def test_json_is_yaml_too(query):
    text = json.dumps(plain_query(query), ensure_ascii=True)
    assert parse_query(text, "q.yaml") == parse_query(text, "q.json")


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
    (r'{"variables": {"x": {"values": ["\ud800"], "shape": [1]}}, "terms": []}',
     "variables.x.values[0]", "half of a surrogate pair", "whole characters"),
    (r'{"variables": {"x": {"values": [1], "shape": [1]}}, "terms": [{"kind": "k", "scope": ["x"], '
     r'"params": {"a": [1, "\ud800"]}}]}',
     "terms[0].params.a[1]", "half of a surrogate pair", "whole characters"),
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
    raw = bytearray(query_to_proto(query).SerializeToString())
    raw[place % len(raw)] = byte
    for content in (noise, bytes(raw)):
        with suppress(DecodeError, BadQuery):
            query_from_proto(query_pb2.Query.FromString(content))
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
        query_from_proto(message)
    assert {m.path for m in caught.value.mistakes} == {
        "variables[1].name", "variables.a.domain", "terms[0].params.p",
    }  # fmt: skip
    with pytest.raises(BadQuery, match="variables"):
        query_from_proto(query_pb2.Query())


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


def test_a_variable_of_whole_numbers_is_told_to_list_them():
    data = {"variables": {"n": {"low": 0, "high": 9, "integer": True}}, "terms": []}
    with pytest.raises(BadQuery, match="variables.n.integer: .*write whole numbers out"):
        query_of(data)


def test_numbers_that_are_known_stand_in_their_order():
    assert known(12, [2, 10, 1]) == "known: 1, 2, 10"  # a number is no misspelt one
    assert known("1", [2, 10, 1]) == "did you mean 1? known: 1, 2, 10"
    assert known("12", ["2", "12b", "10"]) == "did you mean 12b? known: 10, 12b, 2"

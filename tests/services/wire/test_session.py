"""Changes, questions, sessions and samples come back from the wire as they went out."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.answer import Flag, Status
from engine.errors import BadQuery, TooLarge, UnknownKind
from engine.sampling.samples import Mixing, Sample, Samples
from services.client import Client
from services.client.calls import Call
from services.query import Options, TermSpec, spec_of
from services.query.change import Change, Resolve
from services.query.sampling import Sampling
from services.v1 import sample_pb2, session_pb2
from services.wire.query import query_to_proto
from services.wire.samples import (
    samples_from_proto,
    samples_to_proto,
    sampling_from_proto,
    sampling_to_proto,
)
from services.wire.session import (
    change_from_proto,
    change_to_proto,
    expiry_of,
    resolve_from_proto,
    resolve_to_proto,
    session_to_proto,
)
from tests.support.serving import soft, sudoku
from tests.support.strategies import (
    assignments,
    counts,
    energies,
    exact,
    labels,
    names,
    plain,
)

changes = st.builds(
    Change,
    drop=st.lists(labels, max_size=3).map(tuple),
    add=st.lists(
        st.builds(
            TermSpec,
            kind=labels,
            scope=st.lists(names, min_size=1, max_size=3).map(tuple),
            params=st.dictionaries(st.text(), plain, max_size=2),
            required=st.none() | st.booleans(),
            weight=st.floats(min_value=1e-9, max_value=1e9),
            name=st.none() | labels,
        ),
        max_size=3,
    ).map(tuple),
    evidence=st.none() | assignments,
)


@given(changes)
def test_a_change_comes_back(change: Change) -> None:
    message = session_pb2.Change.FromString(change_to_proto(change).SerializeToString())
    back = change_from_proto(message)
    assert exact(back.model_dump(), change.model_dump())


@given(
    st.none() | st.floats(min_value=1e-6, max_value=1e6),
    st.none() | st.integers(0, 2**60),
    st.booleans(),
    st.integers(0, 1000),
)
def test_a_question_comes_back(
    seconds: float | None, steps: int | None, prove: bool, alternatives: int
) -> None:
    differ = () if prove else ("x",)
    options = Options(prove=prove, alternatives=alternatives, explain=not prove, differ=differ)
    resolve = Resolve(seconds=seconds, steps=steps, options=options)
    message = session_pb2.Resolve.FromString(resolve_to_proto(resolve).SerializeToString())
    assert resolve_from_proto(message) == resolve


several = st.builds(
    Samples,
    samples=st.lists(
        st.builds(Sample, values=assignments, energy=energies, holds=st.none() | st.booleans()),
        max_size=3,
    ).map(tuple),
    status=st.sampled_from(Status),
    exact=st.booleans(),
    method=st.text(),
    mixing=st.lists(
        st.builds(Mixing, variable=st.text(), r_hat=energies, effective=st.floats(0, 1e9)),
        max_size=2,
    ).map(tuple),
    flags=st.lists(st.sampled_from(Flag), unique=True).map(tuple),
    steps=counts,
    seconds=st.floats(0, 1e6),
)


@given(several)
def test_samples_come_back(samples: Samples) -> None:
    message = sample_pb2.Samples.FromString(samples_to_proto(samples).SerializeToString())
    assert samples_from_proto(message) == samples


@given(st.integers(1, 100_000), st.floats(min_value=1e-9, max_value=1e9))
def test_what_is_asked_of_samples_comes_back(count: int, temperature: float) -> None:
    wishes = Sampling(count=count, temperature=temperature)
    message = sample_pb2.SampleRequest.FromString(sampling_to_proto(wishes).SerializeToString())
    assert sampling_from_proto(message) == wishes
    assert sampling_from_proto(sample_pb2.SampleRequest(count=count)).temperature == 1.0


@given(st.lists(labels, max_size=4), st.text(), st.none() | st.datetimes(timezones=st.just(UTC)))
def test_how_a_session_stands_comes_back(
    terms: list[str], identifier: str, expiry: datetime | None
) -> None:
    sent = session_to_proto(terms, identifier, expiry)
    back = session_pb2.Session.FromString(sent.SerializeToString())
    assert (list(back.terms), back.id, expiry_of(back)) == (terms, identifier, expiry)


def test_a_session_takes_no_score() -> None:
    with pytest.raises(BadQuery, match="options.score: a session searches"):
        spec_of(Resolve, {"options": {"score": True}})


# --- samples and explanations through a service ------------------------------------------------

PICKED = {
    "variables": {"x": {"values": [0, 1, 2], "shape": [4]}},
    "terms": [
        {"kind": "discrete.table", "scope": ["x"], "required": False, "name": "likes"}
        | {"params": {"sites": [0, 1], "costs": [[0, 1, 2], [1, 0, 2], [2, 2, 0]]}},
        {"kind": "discrete.not_equal", "scope": ["x"], "params": {"pairs": [[1, 2], [2, 3]]}},
    ],
    "evidence": [{"x": [0, None, None, None]}, {}],
    "budget": {"seed": 5},
}


def test_the_service_draws_what_the_engine_draws(client: Client) -> None:
    from engine.sampling.draw import samples
    from modules.catalogue import Catalogue
    from services.query import query_of
    from services.reasoner.compile import compile_query

    rows = client.sample(PICKED, 30, 0.5)
    here = samples(compile_query(query_of(PICKED), Catalogue()), 30, 0.5, seed=5)
    assert [row.samples for row in rows] == [row.samples for row in here]
    assert [row.samples for row in client.sample(PICKED, 30, 0.5)] == [r.samples for r in rows]
    assert all(row.exact and row.status is Status.SATISFIED for row in rows)
    assert {s.values["x"][0] for s in rows[0].samples} == {0}
    none = PICKED | {"evidence": {"x": [None, 1, 1, None]}}
    (empty,) = client.sample(none, 3)
    assert empty.status is Status.INFEASIBLE and empty.samples == ()


def test_a_hosted_energy_is_sampled_before_its_deadline(client: Client) -> None:
    query = soft("kinds.Pull", sites=3, seconds=0.02, budget={"particles": 8})
    (row,) = client.sample(query, 8, 0.1, deadline=2.0)
    assert row.flags == (Flag.DEADLINE,) and not row.exact and len(row.samples) == 8
    assert row.mixing[0].variable == "x" and row.status is Status.SCORED


def test_explanations(client: Client) -> None:
    (answer,) = client.explain(PICKED | {"evidence": {"x": [None, 1, 1, None]}})
    assert answer.status is Status.INFEASIBLE and len(answer.conflict.repair) == 1
    first, second = client.explain(PICKED, differ=["x"])
    for told in (first, second):
        assert told.status is Status.OPTIMAL and told.runner_up is not None
        assert told.runner_up.values != told.values and told.runner_up.energy >= 0
        assert told.runner_up.text


BAD_SAMPLES = [
    ({"count": 0}, "count: 0 is out of range"),
    ({"count": 10**9}, "count: 1000000000.*the limit is"),
    ({"count": 1, "temperature": 0.0}, "temperature: 0.0 is out of range"),
    ({"count": 1, "temperature": -1.0}, "temperature: -1.0"),
    ({"count": 1, "temperature": float("nan")}, "temperature: nan"),
    ({"count": 1, "temperature": float("inf")}, "temperature: inf"),
]


@pytest.mark.parametrize(("wrong", "said"), BAD_SAMPLES)
def test_malformed_wishes_are_told(client: Client, wrong: dict[str, Any], said: str) -> None:
    """By the client, and by the service for those who have another client."""
    with pytest.raises(BadQuery, match=said):
        client.sample(PICKED, **wrong)
    request = sample_pb2.SampleRequest(query=query_to_proto(client._calls.query(PICKED)), **wrong)
    with pytest.raises(BadQuery, match=said) as caught:
        client._ask(Call("Sample", request, lambda response: response), 10.0)
    assert all(m.path and m.problem and m.remedy for m in caught.value.mistakes)


def test_too_many_values_are_refused(client: Client) -> None:
    with pytest.raises(TooLarge, match="count: 8100000 values in all draws"):
        client.sample(sudoku(), 100_000)


@pytest.mark.parametrize("ask", ["sample", "explain"])
def test_malformed_queries_are_told(client: Client, ask: str) -> None:
    wrong = sudoku()
    wrong["terms"] = [{"kind": "discrete.nothing", "scope": ["grid"]}]
    arguments = (1,) if ask == "sample" else ()
    with pytest.raises(UnknownKind, match=r"terms\[0\]"):
        getattr(client, ask)(wrong, *arguments)
    with pytest.raises(BadQuery, match="evidence.grid"):
        getattr(client, ask)(sudoku(evidence={"grid": [1]}), *arguments)

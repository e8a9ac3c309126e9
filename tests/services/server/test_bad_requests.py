"""Wrong requests are told with their place, and tell nothing of the inside."""

from typing import Any

import grpc
import pytest

from engine.answer import Status
from engine.errors import BadQuery, BasinError, ModuleFault
from modules.catalogue import Catalogue
from services.client import Client
from services.client.calls import Call
from services.client.stream import EventStream
from services.query import query_of
from services.reasoner.reason import Reasoner
from services.rpc.server import Service
from services.rpc.status import error_of_call
from services.server.app import create_server
from services.v1 import query_pb2, reasoner_pb2, value_pb2
from services.wire.query import query_to_proto
from tests.support.fuzz.loop import Loop
from tests.support.queries import NAN, message, small, term
from tests.support.serving import soft

# a query that passes the client's own checks, or a message -> what the service says of it
WRONG: list[tuple[str, dict[str, Any] | query_pb2.Query, list[str]]] = [
    ("kind", small(terms=[term(kind="discrete.all_diferent")]),
     ["terms[0].kind", "all_diferent", "did you mean discrete.all_different"]),
    ("parameter name", small(terms=[term(params={"line": [[0, 1]]})]),
     ["terms[0].params.line", "did you mean lines"]),
    ("parameter missing", small(terms=[term(params={})]), ["terms[0].params.lines", "missing"]),
    ("parameter type", small(terms=[term(params={"lines": 3})]), ["terms[0].params.lines", "3"]),
    ("site", small(terms=[term(params={"lines": [[0, 3]]})]),
     ["terms[0].params.lines[0][1]", "3", "0 to 2"]),
    ("site twice", small(terms=[term(params={"lines": [[0, 0]]})]), ["terms[0].params.lines[0]"]),
    ("required but not decidable",
     small(terms=[term(kind="kinds.Pairs", params={}, required=True)]),
     ["terms[0].required", "kinds.Pairs", "cannot decide"]),
    ("evidence shape", small(evidence={"x": [1, 2]}), ["evidence.x", "2 entries"]),
    ("evidence value", small(evidence={"x": [1, 2, 9]}), ["evidence.x[2]", "9", "known"]),
    ("evidence of a row", small(evidence=[{}, {"x": [1, "one", None]}]), ["evidence[1].x[1]"]),
    ("two mistakes", small(terms=[term(params={"lines": [[7]]}), term(kind="graph.cuts")]),
     ["terms[0].params", "terms[1].kind"]),
    ("empty domain", message(lambda q: q.variables[0].finite.values.array.Clear()
                             or q.variables[0].finite.values.array.shape.append(0)),
     ["variables.x.values", "empty"]),
    ("no domain", message(lambda q: q.variables[0].ClearField("finite")),
     ["variables.x.domain", "missing"]),
    ("variable twice", message(lambda q: q.variables.add().CopyFrom(q.variables[0])),
     ["variables[1].name", "twice"]),
    ("nan weight", message(lambda q: setattr(q.terms[0], "weight", NAN)), ["terms[0].weight"]),
    ("negative weight", message(lambda q: setattr(q.terms[0], "weight", -1)), ["terms[0].weight"]),
    ("scope", message(lambda q: q.terms[0].scope.__setitem__(0, "y")), ["terms[0].scope[0]", "y"]),
    ("view out of range", message(lambda q: q.terms[0].scope.__setitem__(0, "x[5]")),
     ["terms[0].scope[0]", "5", "out of range"]),
    ("no scope", message(lambda q: q.terms[0].ClearField("scope")), ["terms[0].scope"]),
    ("huge shape", message(lambda q: q.variables[0].shape.append(2**50)), ["variables.x.shape"]),
    ("unknown evidence", message(lambda q: q.evidence.add().entries.add(
        name="y", value=value_pb2.Value(integer=1))), ["evidence[1].y"]),
    ("value without content", message(lambda q: q.evidence[0].entries.add(name="x")),
     ["evidence[0].x", "without content"]),
    ("deep json", message(lambda q: q.evidence[0].entries.add(name="x").value.__setattr__(
        "json", "[" * 9000 + "]" * 9000)), ["evidence[0].x", "deep"]),
    ("particles", message(lambda q: setattr(q.budget, "particles", 10**9)), ["budget.particles"]),
    ("seconds", message(lambda q: setattr(q.budget, "seconds", NAN)), ["budget.seconds"]),
    ("no variables", query_pb2.Query(), ["variables"]),
]  # fmt: skip


@pytest.mark.parametrize(("query", "said"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_malformed_queries_are_told_with_their_place(
    client: Client, query: dict[str, Any] | query_pb2.Query, said: list[str]
) -> None:
    for ask in (_solve, _score, _stream):
        with pytest.raises(BadQuery) as caught:
            ask(client, query)
        for words in said:
            assert words in str(caught.value)
        assert all(m.path and m.problem and m.remedy for m in caught.value.mistakes)
    (answer,) = client.solve(small())  # and the server goes on
    assert answer.status is Status.OPTIMAL


def _message(query: dict[str, Any] | query_pb2.Query) -> query_pb2.Query:
    return query_to_proto(query_of(query)) if isinstance(query, dict) else query


def _solve(client: Client, query: Any) -> Any:
    request = reasoner_pb2.SolveRequest(query=_message(query))
    return client._ask(Call("Solve", request, lambda response: response), None)


def _score(client: Client, query: Any) -> Any:
    request = reasoner_pb2.ScoreRequest(query=_message(query))
    return client._ask(Call("Score", request, lambda response: response), None)


def _stream(client: Client, query: Any) -> Any:
    request = reasoner_pb2.SolveStreamRequest(query=_message(query))
    asked = Call("SolveStream", request, lambda message: message)
    return list(EventStream(client._begin(asked, client._due(asked, None)), asked, client.address))


def test_bytes_that_are_no_message(service: Service) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{service.port}") as channel:
        call = channel.unary_unary("/basin.v1.ReasonerService/Solve")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"\xff\xff\xff")
        assert "cannot be read" in str(error_of_call(caught.value))


def test_a_message_over_the_limit(client: Client) -> None:
    with pytest.raises(BasinError, match="larger than max"):
        client.solve(small(evidence={"x": ["a" * (33 << 20), None, None]}))
    assert client.solve(small())


def test_a_service_that_is_not_there() -> None:
    with Client("127.0.0.1:1") as nobody, pytest.raises(BasinError, match="127.0.0.1:1") as caught:
        nobody.solve(small())
    assert caught.value.code == "UNAVAILABLE"


def test_no_text_of_a_bug_leaks(loop: Loop) -> None:
    reasoner = Reasoner(Catalogue())

    def buggy(*args: Any) -> Any:
        raise RuntimeError("secret")

    reasoner.compiler.problem = buggy  # type: ignore[method-assign]
    made: Service = loop.do(create_server(reasoner))
    with Client(f"127.0.0.1:{made.port}") as asking:
        with pytest.raises(BasinError, match="internal error, request") as caught:
            asking.solve(small())
        assert "secret" not in str(caught.value)
    loop.do(made.drain(0))


def test_disagreement_reaches_the_caller(client: Client) -> None:
    query = small(terms=[term(kind="kinds.Liar", params={})])
    with pytest.raises(ModuleFault, match="structure says") as caught:
        client.solve(query)
    assert caught.value.module == "kinds.Liar"
    assert client.solve(small())


@pytest.mark.parametrize("how", ["nan", "shape", "raise"])
def test_a_broken_module_is_named(client: Client, how: str) -> None:
    query = soft("kinds.Broken", sites=3) | {
        "terms": [{"kind": "kinds.Broken", "scope": ["x"], "params": {"how": how}}],
        "variables": {"x": {"low": 0.0, "high": 1.0, "shape": [3]}},
    }
    with pytest.raises(ModuleFault) as caught:
        client.solve(query)
    assert caught.value.module == "kinds.Broken"
    assert client.solve(small())

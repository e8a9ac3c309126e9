"""What goes wrong between processes: every error told with its place, none of them fatal."""

import math
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
import torch

from engine import Finite, Variable
from engine.answer import Status
from engine.errors import BadQuery, BasinError, ModuleFault, ModuleUnavailable
from modules.catalogue import Catalogue
from services.cli import serve
from services.client import Client
from services.query import query_of
from services.reasoner.compile import compile_query
from services.reasoner.reason import Reasoner
from services.remote.kinds import RemoteKinds
from services.rpc.server import Service
from services.rpc.status import error_of_call
from services.server.app import create_server
from services.v1 import query_pb2, reasoner_pb2, value_pb2
from services.wire.query import query_to_proto
from tests.serving_kit import GRID, Loop, Process, soft, sudoku

pytest_plugins = ["tests.serving_fixtures"]

NAN = math.nan


def term(**fields: Any) -> dict[str, Any]:
    """One term of a small query."""
    return {
        "kind": "discrete.all_different",
        "scope": ["x"],
        "params": {"lines": [[0, 1]]},
    } | fields


def small(**fields: Any) -> dict[str, Any]:
    """A small query."""
    return {"variables": {"x": {"values": [1, 2, 3], "shape": [3]}}, "terms": [term()]} | fields


def message(change: Callable[[query_pb2.Query], Any] = lambda q: None) -> query_pb2.Query:
    """The small query as a message, changed in a way no client of ours would send."""
    made = query_to_proto(query_of(small()))
    change(made)
    return made


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
    return client._ask(client._stub.Solve, request, None)


def _score(client: Client, query: Any) -> Any:
    request = reasoner_pb2.ScoreRequest(query=_message(query))
    return client._ask(client._stub.Score, request, None)


def _stream(client: Client, query: Any) -> Any:
    request = reasoner_pb2.SolveStreamRequest(query=_message(query))
    return client._ask(lambda *a, **m: list(client._stub.SolveStream(*a, **m)), request, None)


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


# ---------------------------------------------------------------- processes of their own


@pytest.mark.timeout(400)  # starts three processes
def test_three_hosts_equal_one_process(
    started: Callable[..., Process], catalogue: Catalogue
) -> None:
    """Energies and gradients to 1e-6 relative, and the same answers under the same seed."""
    kinds = ["discrete.all_different", "discrete.linear", "discrete.table"]
    with ThreadPoolExecutor(3) as pool:
        hosts = list(pool.map(lambda kind: started("host", kind).address, kinds))
    with_hosts = RemoteKinds(catalogue, {k: [h] for k, h in zip(kinds, hosts, strict=True)})
    costs = [[(3 * a + 5 * b) % 7 for b in range(9)] for a in range(9)]
    data = sudoku()
    data["terms"] += [
        {"kind": kinds[1], "scope": ["grid"], "required": False, "weight": 0.25,
         "params": {"terms": [[0, 5, 1.0], [2, 4, 2.0]], "compare": "<=", "constant": 2}},
        {"kind": kinds[2], "scope": ["grid[0, :]"], "required": False, "weight": 0.5,
         "params": {"sites": [2, 3], "costs": costs}},
    ]  # fmt: skip
    query = query_of(data | {"evidence": [{"grid": GRID}, {}], "budget": {"seed": 7, "steps": 40}})
    here, there = (compile_query(query, source) for source in (catalogue, with_hosts))
    x = torch.rand(6, 9, 9, 9, requires_grad=True)
    for what in ("forward", "violation"):
        values, slopes = [], []
        for problem in (here, there):
            value = getattr(problem.energy, what)({"grid": x})
            values.append(value.detach())
            slopes.append(torch.autograd.grad(value.sum(), x)[0])
        torch.testing.assert_close(*values, rtol=1e-6, atol=0)
        torch.testing.assert_close(*slopes, rtol=1e-6, atol=1e-7)
    found = [Reasoner(source).reason(query) for source in (catalogue, with_hosts)]
    for a, b in zip(*found, strict=True):
        assert (a.values, a.status, a.energy, a.bound) == (b.values, b.status, b.energy, b.bound)
        assert a.findings == b.findings and a.terms == b.terms
    with_hosts.close()


@pytest.mark.parametrize("seconds", [0.002, 5.0])  # between exchanges, and in one
def test_killing_a_host_in_mid_solve(
    started: Callable[..., Process],
    kinds_file: Path,
    loop: Loop,
    catalogue: Catalogue,
    seconds: float,
) -> None:
    """The caller hears of it within two seconds, by name; the reasoner goes on serving."""
    host = started("host", f"{kinds_file}:Pull")
    kinds = RemoteKinds(catalogue, {"kinds.Pull": [host.address]})
    made: Service = loop.do(create_server(Reasoner(kinds)))
    query = soft("kinds.Pull", seconds=seconds, budget={"particles": 4})
    with Client(f"127.0.0.1:{made.port}") as asking:
        killer = threading.Timer(1.0, host.process.kill)
        began = time.monotonic()
        killer.start()
        with pytest.raises(ModuleUnavailable) as caught:
            asking.solve(query)
        assert 1.0 < time.monotonic() - began < 3.0
        assert caught.value.module == "kinds.Pull" and host.address in caught.value.why
        (answer,) = asking.solve(small())
        assert answer.status is Status.OPTIMAL
        if seconds < 1:
            started("host", f"{kinds_file}:Pull", "--listen", host.address)
            time.sleep(0.3)  # the channel tries again every 250 ms
            (answer,) = asking.solve(query | {"budget": {"particles": 4, "steps": 2}})
            assert answer.values is not None
    loop.do(made.drain(0))
    kinds.close()


def test_a_replica_takes_over_in_mid_solve(
    started: Callable[..., Process], kinds_file: Path, catalogue: Catalogue
) -> None:
    """Same energies from whichever replica is alive; both dead is an error that names both."""
    hosts = [started("host", f"{kinds_file}:Pull") for _ in range(2)]
    kinds = RemoteKinds(catalogue, {"kinds.Pull": [host.address for host in hosts]})
    x = torch.rand(4, 3)
    variable = Variable("x", Finite((0, 1, 2), ()))
    terms = [kinds.kind("kinds.Pull").build([variable], {"seconds": 0.3}) for _ in range(2)]
    want = ((x - 0.3) ** 2).sum(-1).double()
    for term in terms:  # one stream to each of them
        torch.testing.assert_close(term({"x": x}), want)
    killer = threading.Timer(0.1, hosts[0].process.kill)
    killer.start()
    for term in terms:
        torch.testing.assert_close(term({"x": x}), want)
    killer.join()
    hosts[1].process.kill()
    began = time.monotonic()
    with pytest.raises(ModuleUnavailable) as caught:
        terms[0]({"x": x})
    assert time.monotonic() - began < 2.0
    assert caught.value.module == "kinds.Pull"
    with pytest.raises(ModuleUnavailable) as caught:
        kinds.kind("kinds.Pull").build([variable], {})
    assert all(host.address in caught.value.why for host in hosts)
    kinds.close()


def test_a_host_that_dies_of_a_state(
    started: Callable[..., Process], kinds_file: Path, catalogue: Catalogue
) -> None:
    host = started("host", f"{kinds_file}:Broken")
    kinds = RemoteKinds(catalogue, {"kinds.Broken": [host.address]})
    term = kinds.kind("kinds.Broken").build([Variable("x", Finite((0, 1), ()))], {"how": "exit"})
    with pytest.raises(ModuleUnavailable, match=r"kinds\.Broken"):
        term({"x": torch.rand(2, 2)})
    kinds.close()


@pytest.mark.parametrize("command", ["host", "serve"])
def test_sigterm_drains_and_ends_with_0(
    started: Callable[..., Process], kinds_file: Path, command: str
) -> None:
    host = started("host", f"{kinds_file}:Pull")
    if command == "host":
        assert host.end() == 0
        return
    server = started("serve", "--listen", "127.0.0.1:0", "--modules", "discrete",
                     "--remote", f"kinds.Pull={host.address}")  # fmt: skip
    found: list[Any] = []

    def ask() -> None:
        with Client(server.address) as client:
            found.extend(client.solve(soft("kinds.Pull", 3, 0.005, budget={"particles": 4})))

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(1.5)
    began = time.monotonic()
    assert server.end() == 0
    thread.join()
    assert found[0].values is not None and time.monotonic() - began < 9
    assert host.end() == 0


def test_the_commands_refuse_what_makes_no_sense(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, one line for each mistake; nothing is started."""
    open_to_all = "0.0.0.0:0"
    for call, said in (
        (lambda: serve.serve(open_to_all, None, [], None, False, False), "--insecure-listen"),
        (lambda: serve.host(["discrete.clause"], open_to_all, False, False), "--insecure-listen"),
        (lambda: serve.host(["discrete.clauses"], "127.0.0.1:0", False, False), "discrete.clause"),
        (
            lambda: serve.serve("127.0.0.1:0", "discreet", [], None, False, False),
            "did you mean discrete",
        ),
        (lambda: serve.serve("127.0.0.1:0", None, ["x"], None, False, False), "KIND=HOST:PORT"),
    ):
        code = call()
        told = capsys.readouterr().err
        assert code == 2 and said in told and told.count("\n") == 1
        assert "Traceback" not in told


def test_a_module_found_beside_the_command(
    started: Callable[..., Process], tmp_path: Path, kinds_file: Path, catalogue: Catalogue
) -> None:
    """`basin host module:Class` of a file in the current folder."""
    (tmp_path / "beside.py").write_text(kinds_file.read_text())
    host = started("host", "beside:Pull", cwd=tmp_path)
    for name in ("beside.Pull", "beside:Pull"):
        kinds = RemoteKinds(catalogue, {name: [host.address]})
        assert kinds.kind(name).about.startswith("Squared distance")
        kinds.close()
    assert host.end(signal.SIGINT) == 0

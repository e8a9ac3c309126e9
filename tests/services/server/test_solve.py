"""The services over real servers on port 0: hosts, hosted terms, the reasoner, its client."""

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

import engine
from engine import BadQuery, Problem
from engine.answer import Answer, Flag, Status
from engine.errors import Overloaded, UnknownKind
from modules.catalogue import Catalogue
from services.client import Client
from services.client.calls import Call
from services.query import query_of
from services.query.kind import describe
from services.reasoner.reason import Reasoner
from services.remote import lifecycle
from services.remote.kinds import RemoteKinds
from services.rpc.address import check_address
from services.rpc.server import Service
from services.server.app import create_server
from services.settings import DEFAULT, Limits, Policy, RemotePolicy
from services.v1 import reasoner_pb2
from services.wire.answer import answer_from_proto
from services.wire.events import Progress, Result
from services.wire.query import query_from_proto, query_to_proto
from tests.support.fuzz.loop import Loop
from tests.support.paths import ROOT
from tests.support.serving import GRID, Process, soft, sudoku

pytestmark = pytest.mark.clock

# ---------------------------------------------------------------- the reasoner's service


def test_solve_over_the_wire(client: Client) -> None:
    (answer,) = client.solve(sudoku())
    assert answer.status is Status.OPTIMAL and answer.unique is True
    grid = answer.values["grid"] if answer.values else []
    assert "".join(str(v) for v in grid[0]) == "534678912"
    assert all(finding.holds for finding in answer.findings)
    wrong = [[5, 5, *[None] * 7], *[[None] * 9] * 8]
    rows = client.solve(sudoku(evidence=[{"grid": GRID}, {"grid": wrong}]))
    assert [a.status for a in rows] == [Status.OPTIMAL, Status.INFEASIBLE]


def test_score_over_the_wire(client: Client) -> None:
    (whole,) = client.solve(sudoku())
    (scored,) = client.score(sudoku(evidence=whole.values))
    assert scored.status is Status.OPTIMAL and scored.energy == 0
    assert whole.values is not None
    whole.values["grid"][0][0] = 9
    (scored,) = client.score(sudoku(evidence=whole.values))
    assert scored.status is Status.UNSATISFIED
    assert any(finding.text for finding in scored.findings)


def test_kinds_over_the_wire(client: Client, catalogue: Catalogue) -> None:
    assert [kind.kind for kind in client.kinds()] == catalogue.names()
    one = client.kind("discrete.linear")
    assert one.required_by_default and "terms" in one.parameters["properties"]
    with pytest.raises(UnknownKind, match="did you mean discrete.linear"):
        client.kind("discrete.lineal")
    assert client.kinds() == [describe(kind) for kind in catalogue.kinds()]


def test_kinds_come_in_pages(client: Client, catalogue: Catalogue) -> None:
    names = catalogue.names()
    for size in (1, 2, len(names) - 1, len(names), 10**9):
        assert [kind.kind for kind in client.kinds(page_size=size)] == names
    first = client._stub.ListKinds(reasoner_pb2.ListKindsRequest(page_size=3))
    assert [kind.kind for kind in first.kinds] == names[:3] and first.next_page_token
    whole = client._stub.ListKinds(reasoner_pb2.ListKindsRequest())
    assert len(whole.kinds) == len(names) and not whole.next_page_token


def test_a_wrong_page_is_told(client: Client) -> None:
    good = client._stub.ListKinds(reasoner_pb2.ListKindsRequest(page_size=1)).next_page_token
    for token in (
        "x",
        "discrete.linear",
        good[:-2],
        good[:8],
        good[::-1],
        "AAAA",
        "ä",
        good + good,
    ):
        with pytest.raises(BadQuery, match="page_token: .* is no page; give the next_page_token"):
            client._ask(
                Call(
                    "ListKinds", reasoner_pb2.ListKindsRequest(page_token=token), lambda page: page
                ),
                5.0,
            )
    below = reasoner_pb2.ListKindsRequest(page_size=-1)  # a client would not send it
    with pytest.raises(BadQuery, match="page_size: -1 is below 0; give 1 to 1000"):
        client._ask(Call("ListKinds", below, lambda page: page), 5.0)


def test_the_service_tells_what_it_is(loop: Loop, client: Client, catalogue: Catalogue) -> None:
    """Every limit by its name, as it is there and not as it is here."""
    info = client.info()
    assert info.limits == {name: float(limit) for name, limit in DEFAULT.plain().items()}
    assert (info.version, info.kinds) == (engine.__version__, len(catalogue.names()))
    assert {"branch_and_bound", "annealing"} <= set(info.minimizers)
    fewer = Limits(rows=7, idle_seconds=0.25)
    made: Service = loop.do(create_server(Reasoner(catalogue, fewer)))
    with Client(f"127.0.0.1:{made.port}") as asking:
        told = asking.info().limits
        assert (told["rows"], told["idle_seconds"]) == (7.0, 0.25)
    loop.do(made.drain(0))


def test_options_ask_the_rpc_that_has_them(client: Client) -> None:
    """Scores and explanations through `solve` are those of their own calls; no stream has them."""
    query = sudoku(evidence=[{"grid": GRID}, {"grid": [[5, 5, *[None] * 7], *[[None] * 9] * 8]}])

    def known(answers: list[Answer]) -> list[Answer]:
        return [replace(answer, seconds=0.0, steps=0) for answer in answers]

    assert known(client.solve(query, {"score": True})) == known(client.score(query))
    told = client.solve(query, {"explain": True, "alternatives": 1})
    assert known(told) == known(client.explain(query)) and told[1].conflict.repair
    for name in ("score", "explain"):
        with pytest.raises(BadQuery, match=f"options.{name}: is not streamed"):
            list(client.stream(query, {name: True}))


def test_kinds_that_cannot_be_reached_are_left_out_at_once(catalogue: Catalogue) -> None:
    """Six hosts that are not there take the time of one."""
    gone = {f"far.kind{k}": [f"127.0.0.1:{k + 1}"] for k in range(6)}
    kinds = RemoteKinds(catalogue, gone, RemotePolicy(return_seconds=0.5))
    began = time.monotonic()
    assert [kind.name for kind in kinds.kinds()] == catalogue.names()
    assert time.monotonic() - began < 2.5
    kinds.close()


def test_a_served_reasoner_reads_weights_of_its_folder_alone(
    started: Callable[..., Process], tmp_path: Path
) -> None:
    """And draws samples for a command line elsewhere."""
    (tmp_path / "weights").mkdir()
    process = started("serve", "--listen", "127.0.0.1:0", "--weights", str(tmp_path / "weights"))
    secret = tmp_path / "secret.safetensors"
    secret.write_bytes(b"")
    bits = {"values": [0, 1], "shape": [4]}
    asked = {
        "variables": {"x": bits},
        "terms": [{"kind": "discrete.lattice", "scope": ["x"], "params": {"weights": str(secret)}}],
    }
    outside = pytest.raises(BadQuery, match="outside the folder")
    with Client(process.address) as client, outside:
        client.solve(asked)
    file = tmp_path / "wish.json"
    wish = {"kind": "discrete.table", "scope": ["x"], "required": False}
    wish["params"] = {"sites": [0], "costs": [0, 1]}
    file.write_text(json.dumps({"variables": {"x": bits}, "terms": [wish]}))
    command = ["sample", str(file), "--count", "8", "--seed", "3", "--json"]
    here, there = (
        subprocess.run(
            [sys.executable, "-m", "services.cli", *command, *server],
            cwd=ROOT, capture_output=True, text=True, check=True,
        ).stdout
        for server in ((), ("--server", process.address))
    )  # fmt: skip
    assert len(json.loads(there)["samples"]) == 8
    assert json.loads(here)["samples"] == json.loads(there)["samples"]


def test_stream_shows_progress_and_ends_with_results(client: Client) -> None:
    query = soft("kinds.Pull", seconds=0.002, budget={"particles": 4, "steps": 60})
    query["evidence"] = [{}, {"x": [0.5, *[None] * 11]}]
    events = list(client.stream(query, interval=0.001, partial_values=True))
    kinds = [type(event) for event in events]
    assert kinds.count(Result) == 2 and Progress in kinds and kinds[-1] is Result
    progress = next(event for event in events if isinstance(event, Progress))
    assert progress.values is not None and len(progress.values["x"]) == 12
    assert progress.energy is not None and progress.terms[0].energy == progress.energy
    last = next(e for e in events if isinstance(e, Result) and e.row == 1)
    assert last.answer.values is not None
    assert last.answer.values["x"][0] == 0.5


def test_a_hosted_soft_term_beside_local_rules(client: Client) -> None:
    """Finite sites, nothing explicit in the hosted term: sampled, with the rule kept."""
    query = soft("kinds.Pairs", sites=6, budget={"particles": 8, "steps": 60})
    query["terms"] += [
        {"kind": "discrete.not_equal", "scope": ["x"], "params": {"pairs": [[0, 5], [1, 4]]}}
    ]
    (answer,) = client.solve(query)
    assert answer.status in (Status.OPTIMAL, Status.SATISFIED) and answer.energy == 0
    assert answer.values is not None and answer.values["x"][0] != answer.values["x"][5]


def test_slow_readers_miss_progress_and_never_results(client: Client) -> None:
    query = soft("kinds.Pull", budget={"particles": 4, "steps": 300})
    events = []
    for event in client.stream(query, interval=0.0001):
        events.append(event)
        time.sleep(0.05 if len(events) < 4 else 0)
    assert isinstance(events[-1], Result)


def test_the_deadline_brings_the_best_so_far(client: Client) -> None:
    query = soft("kinds.Pull", seconds=0.005, budget={"particles": 4})
    client.solve(soft("kinds.Pull", budget={"particles": 4, "steps": 2}))
    began = time.monotonic()
    (answer,) = client.solve(query, deadline=1.0)
    assert time.monotonic() - began < 1.0
    assert answer.flags == (Flag.DEADLINE,)
    assert answer.values is not None


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> queue.Queue[float]:
    """When searches that wait for hosts have ended."""
    told: queue.Queue[float] = queue.Queue()
    close = lifecycle.close_remotes

    def closing(problem: Problem) -> None:
        close(problem)
        told.put(time.monotonic())

    monkeypatch.setattr(lifecycle, "close_remotes", closing)
    return told


@pytest.mark.parametrize("seconds", [0.005, 3.0])
def test_cancelling_stops_the_search(
    loop: Loop, remote: RemoteKinds, ended: queue.Queue[float], seconds: float
) -> None:
    """Before the next step, and in the middle of a slow exchange with a module."""
    made: Service = loop.do(create_server(Reasoner(remote)))
    query = query_of(soft("kinds.Pull", seconds=seconds, budget={"particles": 4}))
    request = reasoner_pb2.SolveStreamRequest(query=query_to_proto(query))
    with Client(f"127.0.0.1:{made.port}") as asking:
        call = asking._stub.SolveStream(request)
        time.sleep(0.7)
        assert ended.empty()
        left = time.monotonic()
        call.cancel()
        assert ended.get(timeout=5) - left < 0.3
    loop.do(made.drain(0))


def test_leaving_a_stream_cancels_it(
    loop: Loop, remote: RemoteKinds, ended: queue.Queue[float]
) -> None:
    made: Service = loop.do(create_server(Reasoner(remote)))
    query = soft("kinds.Pull", seconds=0.005, budget={"particles": 4})
    with Client(f"127.0.0.1:{made.port}") as asking:
        for event in asking.stream(query):
            assert isinstance(event, Progress)
            break
        assert ended.get(timeout=5) > 0
    loop.do(made.drain(0))


def test_an_exchange_cut_by_the_deadline_is_told(client: Client) -> None:
    began = time.monotonic()
    with pytest.raises(Exception, match="deadline|Deadline"):
        client.solve(soft("kinds.Pull", seconds=3.0, budget={"particles": 4}), deadline=0.6)
    assert time.monotonic() - began < 1.0


def test_overload_is_refused_at_once(
    loop: Loop, remote: RemoteKinds, ended: queue.Queue[float]
) -> None:
    made: Service = loop.do(create_server(Reasoner(remote), policy=Policy(workers=1, queue=1)))
    query = query_of(soft("kinds.Pull", seconds=0.01, budget={"particles": 4}))
    request = reasoner_pb2.SolveRequest(query=query_to_proto(query))
    with Client(f"127.0.0.1:{made.port}") as asking:
        calls = [asking._stub.Solve.future(request, timeout=20) for _ in range(2)]
        time.sleep(0.3)
        with pytest.raises(Overloaded, match="try again"):
            asking.solve(query)
        for call in calls:
            call.cancel()
        ended.get(timeout=5)
        time.sleep(0.1)
        (answer,) = asking.solve(soft("kinds.Pull", budget={"particles": 2, "steps": 1}))
        assert answer.values is not None  # and there is room again
    loop.do(made.drain(0))


@pytest.mark.parametrize("where", ["hosted", "local"])
def test_draining_answers_with_the_best_so_far(
    loop: Loop, remote: RemoteKinds, catalogue: Catalogue, where: str
) -> None:
    kinds = remote if where == "hosted" else catalogue
    made: Service = loop.do(create_server(Reasoner(kinds)))
    found: list[Any] = []
    query = soft("kinds.Pull", seconds=0.01, budget={"particles": 4})

    def ask() -> None:
        with Client(f"127.0.0.1:{made.port}") as asking:
            found.extend(asking.solve(query))

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.5)
    loop.do(made.drain(2.0))
    thread.join()
    assert Flag.DEADLINE in found[0].flags and found[0].values is not None


def test_callers_that_share_a_batch_get_what_they_would_alone(
    loop: Loop, catalogue: Catalogue
) -> None:
    """Puzzles, a contradiction and a mistake, of two tenants, all at once."""
    made: Service = loop.do(create_server(Reasoner(catalogue)))
    asked = []
    for k in range(16):
        grid = [list(row) for row in GRID]
        grid[k % 9] = [None] * 9
        if k == 5:
            grid[0] = [1, 1, *[None] * 7]
        query = query_to_proto(query_of(sudoku(evidence={"grid": grid}, budget={"seed": k})))
        if k == 9:
            query.evidence[0].entries[0].value.array.integers[80] = 77
        asked.append(query)
    with Client(f"127.0.0.1:{made.port}") as asking:
        calls = [
            asking._stub.Solve.future(
                reasoner_pb2.SolveRequest(query=query),
                metadata=[("x-basin-tenant", "ab"[k % 2])],
            )
            for k, query in enumerate(asked)
        ]
        for k, (call, query) in enumerate(zip(calls, asked, strict=True)):
            if k == 9:
                with pytest.raises(grpc.RpcError, match="77 is none of the values"):
                    call.result(120)
                continue
            (answer,) = (answer_from_proto(a) for a in call.result(120).answers)
            (alone,) = Reasoner(catalogue).reason(query_from_proto(query))
            assert (answer.status is Status.INFEASIBLE) == (k == 5)
            assert replace(answer, seconds=0.0) == replace(alone, seconds=0.0)
        with pytest.raises(grpc.RpcError, match="is no tenant"):
            asking._stub.Solve(
                reasoner_pb2.SolveRequest(query=asked[0]), metadata=[("x-basin-tenant", "a b")]
            )
    loop.do(made.drain(0))


def test_health_and_reflection(service: Service, host: str) -> None:
    for address, name in (
        (f"127.0.0.1:{service.port}", "basin.v1.ReasonerService"),
        (host, "basin.v1.ModuleService"),
    ):
        with grpc.insecure_channel(address) as channel:
            check = health_pb2_grpc.HealthStub(channel).Check
            for asked in ("", name):
                response = check(health_pb2.HealthCheckRequest(service=asked))
                assert response.status == health_pb2.HealthCheckResponse.SERVING
            listing = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
                iter([reflection_pb2.ServerReflectionRequest(list_services="")])
            )
            listed = {s.name for s in next(listing).list_services_response.service}
            assert {name, "grpc.health.v1.Health"} <= listed


def test_addresses() -> None:
    for fine in ("127.0.0.1:0", "localhost:7777", "[::1]:80", "unix:/tmp/basin.sock"):
        check_address(fine)
    for wrong in ("127.0.0.1", ":80", "127.0.0.1:x", "127.0.0.1:99999", "", "7777"):
        with pytest.raises(BadQuery, match="no address"):
            check_address(wrong)
    for open_to_all in ("0.0.0.0:0", "[::]:0", "basin.example.org:80"):
        with pytest.raises(BadQuery, match="--insecure-listen"):
            check_address(open_to_all)
        check_address(open_to_all, insecure=True)


def test_a_taken_port_is_told(loop: Loop, service: Service, remote: RemoteKinds) -> None:
    with pytest.raises(Exception, match="is the port taken"):
        loop.do(create_server(Reasoner(remote), f"127.0.0.1:{service.port}"))

"""Exchanges with hosts: frames, shared memory, batches side by side, replicas, what hosts see."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from grpc_health.v1 import health_pb2

from engine import BadQuery, Budget, Finite, Problem, Real, Variable, answers
from engine.energy import Sum
from engine.errors import Cancelled, ModuleFault, ModuleUnavailable
from engine.minimizers.descent import Descent
from engine.random import Stream as Draws
from engine.solve import solve
from modules.catalogue import Catalogue
from services.host.app import make_workers
from services.host.servicer import NAME
from services.host.stream import EvaluateStream, InlinePace
from services.query import query_of
from services.reasoner.reason import Reasoner
from services.remote.kinds import RemoteKinds
from services.remote.lifecycle import STOP
from services.remote.term import Remote
from services.settings import InlinePolicy, RemotePolicy
from services.v1 import module_pb2 as pb
from tests.support.hosting import WIDE, Running, check_pull, pull, soon
from tests.support.serving import Process, soft

pytestmark = pytest.mark.clock

# ---------------------------------------------------------------- side by side


def test_modules_of_a_step_compute_side_by_side(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six modules: one exchange each a step, all of them under way at once."""
    truly, at_work, most = EvaluateStream.answer, [0], [0]

    def counted(self: EvaluateStream, data: bytes) -> bytes:
        at_work[0] += 1
        most[0] = max(most[0], at_work[0])
        try:
            return truly(self, data)
        finally:
            at_work[0] -= 1

    monkeypatch.setattr(EvaluateStream, "answer", counted)
    host, address = running.host(workers=make_workers(8))
    kinds = running.kinds(address)
    terms = [pull(kinds, 3, 0.1) for _ in range(6)]
    for term in terms[1:]:
        term.scope = terms[0].scope
    problem = Problem(Sum(*(part for term in terms for part in term.summands())))
    found = list(solve(problem, Descent(), particles=2, budget=Budget(steps=3)))
    assert found[-1].steps == (3,)
    assert [term.stats().messages for term in terms] == [1 + 3] * 6  # one where it starts
    assert most == [6]
    kinds.close()


def test_rules_and_wishes_and_branches_are_under_way_together(running: Running) -> None:
    host, address = running.host(workers=make_workers(8))
    kinds = running.kinds(address)
    a, b = pull(kinds, 3, 0.15), pull(kinds, 3, 0.15)
    b.scope = a.scope
    x = torch.rand(2, 3)
    began = time.monotonic()
    energy, violation = (a | b).totals({"x": x})
    assert time.monotonic() - began < 0.28
    torch.testing.assert_close(energy, ((x - 0.3) ** 2).sum(-1).double())
    assert not violation.any()
    kinds.close()


def test_batches_of_one_term_may_be_awaited_in_any_order(running: Running) -> None:
    host, address = running.host(shared_memory=True)
    kinds = running.kinds(address)
    term = pull(kinds, WIDE)
    batches = [torch.rand(rows, WIDE) for rows in (64, 3, 70, 1, 2, 5, 6, 7)]
    waits = [term.begin(x) for x in batches]
    for x, energy in reversed(list(zip(batches, waits, strict=True))):
        torch.testing.assert_close(energy(), ((x - 0.3) ** 2).sum(-1).double())
    term.begin(batches[0])  # never awaited
    check_pull(term, batches[1])
    kinds.close()


def test_a_fault_of_one_leaves_the_others_right(running: Running) -> None:
    host, address = running.host()
    kinds = running.kinds(address)
    fine = pull(kinds)
    broken = kinds.kind("kinds.Broken").build([fine.scope[0].variable], {"how": "raise"})
    x = torch.rand(2, 3)
    for _ in range(2):
        with pytest.raises(ModuleFault, match=r"kinds\.Broken"):
            (1.0 * broken + 1.0 * fine)({"x": x})
        x = x / 2
        check_pull(fine, x)
    closed = fine.begin(x)
    fine.close()
    with pytest.raises(ModuleFault, match="closed"):
        closed()
    check_pull(fine, x)
    kinds.close()


@pytest.mark.parametrize("how", ["sequence", "bytes", "field", "shape", "outside"])
def test_a_host_that_answers_wrongly_is_named(
    running: Running, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    truly = EvaluateStream.answer

    def wrongly(self: EvaluateStream, data: bytes) -> bytes:
        answer = pb.EvaluateResponse.FromString(truly(self, data))
        if answer.HasField("energies"):
            if how == "bytes":
                return b"\xff"
            if how == "field":
                answer.ready.floor = 0
            elif how == "sequence":
                answer.energies.sequence += 1
            elif how == "shape":
                answer.energies.energy.shape[:] = [2, 1]
            else:
                answer.energies.energy.slice.offset = 64
        return answer.SerializeToString()

    host, address = running.host()
    kinds = running.kinds(address)
    term = pull(kinds)
    monkeypatch.setattr(EvaluateStream, "answer", wrongly)
    with pytest.raises(ModuleFault) as caught:
        term({"x": torch.rand(2, 3)})
    assert caught.value.module == "kinds.Pull"
    monkeypatch.undo()
    check_pull(term, torch.rand(2, 3))
    kinds.close()


# ---------------------------------------------------------------- replicas, health, stopping


def test_streams_are_spread_over_replicas(running: Running) -> None:
    (one, a), (two, b) = running.host(), running.host()
    kinds = running.kinds(a, b)
    terms = [pull(kinds) for _ in range(6)]
    for term in terms:
        check_pull(term, torch.rand(2, 3))
    assert (len(one.streams), len(two.streams)) == (3, 3)
    for term in terms[:3]:
        term.close()
    for term in terms[:3]:
        check_pull(term, torch.rand(2, 3))
    soon(lambda: (len(one.streams), len(two.streams)) == (3, 3))
    kinds.close()


def test_a_host_that_does_not_serve_gets_nothing_new(running: Running) -> None:
    (one, a), (two, b) = running.host(), running.host()
    kinds = running.kinds(a, b)
    health = running.services[0].health
    not_now = health_pb2.HealthCheckResponse.NOT_SERVING
    running.loop.do(health.set(NAME, not_now))
    terms = [pull(kinds) for _ in range(4)]
    for term in terms:
        check_pull(term, torch.rand(2, 3))
    assert (len(one.streams), len(two.streams)) == (0, 4)
    running.loop.do(health.set(NAME, health_pb2.HealthCheckResponse.SERVING))
    time.sleep(1.1)  # it rests for a second
    more = [pull(kinds) for _ in range(2)]
    for term in more:
        check_pull(term, torch.rand(2, 3))
    assert len(one.streams) == 2
    kinds.close()


def test_a_replica_that_hangs_is_left_for_another(running: Running) -> None:
    """The batch is asked again elsewhere; where every replica hangs, both are named."""
    (_, a), (_, b) = running.host(), running.host()
    kinds = running.kinds(a, b, exchange_seconds=0.3)
    term = pull(kinds, seconds=0.6)
    with pytest.raises(ModuleUnavailable, match="no answer within"):
        term({"x": torch.rand(2, 3)})
    kinds.close()


def test_hosts_see_that_a_solve_stops(running: Running) -> None:
    """Between exchanges and in the middle of one: the stream is cancelled, the memory given up."""
    host, address = running.host(shared_memory=True)
    kinds = running.kinds(address)
    for seconds in (0.0, 1.0):
        term = pull(kinds, WIDE, seconds)
        stop = threading.Event()
        ended: list[float] = []

        def run(term: Remote = term, stop: threading.Event = stop, ended: list = ended) -> None:
            STOP.set(stop.is_set)
            problem = Problem(term)
            with pytest.raises(Cancelled) if term.params["seconds"] else nullcontext():
                answers(problem, Descent(), particles=64, budget=Budget(stop=stop.is_set))
            term.close()
            ended.append(time.monotonic())

        thread = threading.Thread(target=run)
        thread.start()
        soon(lambda: len(host.streams) == 1)
        time.sleep(0.2)
        stop.set()
        at = time.monotonic()
        assert soon(lambda: not host.streams) < 0.2
        thread.join()
        assert ended[0] - at < 0.2 and host.regions.used == 0
    kinds.close()


def test_a_solve_that_stops_does_not_wait_for_lost_replicas(catalogue: Catalogue) -> None:
    kinds = RemoteKinds(catalogue, {"kinds.Pull": ["127.0.0.1:1"]}, RemotePolicy(return_seconds=30))
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    token = STOP.set(stop.is_set)
    began = time.monotonic()
    with pytest.raises(Cancelled):
        kinds.kind("kinds.Pull").about  # noqa: B018
    assert time.monotonic() - began < 1.0
    STOP.reset(token)
    kinds.close()


def test_which_answers_are_made_on_the_loop() -> None:
    policy = InlinePolicy()
    pace, light = InlinePace(policy), policy.seconds / 2
    for _ in range(policy.steady):
        assert not pace.light(10)
        pace.told(10, light)
    assert pace.light(10) and not pace.light(policy.message_bytes + 1)
    pace.told(10, 2 * policy.seconds)  # trusted in vain
    for _ in range(2 * policy.steady):
        assert not pace.light(10)
        pace.told(10, light)
    assert pace.light(10)


# ---------------------------------------------------------------- proposals


def test_hosted_proposals_are_those_of_this_process(running: Running) -> None:
    host, address = running.host()
    kinds = running.kinds(address)
    x = Variable("x", Real((3,), -1.0, 1.0))
    here, there = (
        source.kind("kinds.Hinted").build([x], {}) for source in (running.catalogue, kinds)
    )
    given = Problem(here).given_rows([{}, {"x": [0.5, None, None]}])
    steps = torch.tensor([3, 8])
    for rng in (Draws(2**63 - 1, given.keys), Draws(5, given.keys, steps).fork(9)):
        proposed = [t.propose(4, rng, None, given.domain("x")) for t in (here, there)]
        assert torch.equal(*(p[0] for p in proposed if p is not None))
    assert pull(kinds).propose(4, Draws(1, given.keys[:1]), None, x.domain) is None
    query = query_of(
        {
            "variables": {"x": {"low": -1.0, "high": 1.0, "shape": [3]}},
            "terms": [{"kind": "kinds.Hinted", "scope": ["x"], "params": {}}],
            "evidence": [{}, {"x": [0.5, None, None]}],
            "budget": {"seed": 4, "steps": 2, "particles": 3},
        }
    )
    found = [Reasoner(source).reason(query) for source in (running.catalogue, kinds)]
    assert [a.values for a in found[0]] == [a.values for a in found[1]]
    assert found[0][0].energy is not None and found[0][0].energy < 0.01
    kinds.close()


def test_wrong_proposals_are_faults_and_bad_requests_are_told(running: Running) -> None:
    host, address = running.host()
    kinds = running.kinds(address)
    x = Variable("x", Real((3,)))
    for how in ("shape", "nan", "raise"):
        term = kinds.kind("kinds.Hinted").build([x], {"how": how})
        with pytest.raises(ModuleFault, match="propose") as caught:
            term.propose(2, Draws(1, torch.tensor([1])), None, x.domain)
        assert caught.value.module == "kinds.Hinted"
    term = kinds.kind("kinds.Hinted").build([x], {})
    with pytest.raises(ModuleFault, match="particles"):
        _told(lambda: term.propose(10**6, Draws(1, torch.tensor([1])), None, x.domain))
    with pytest.raises(ModuleFault, match="keys"):
        _told(lambda: term.propose(2, Draws(1, torch.tensor([1, 2])), None, x.domain))
    kinds.close()


def _told(call: Callable[[], Any]) -> None:
    """A host that refuses a request of ours says so; here as one kind of error."""
    try:
        call()
    except BadQuery as error:
        raise ModuleFault("kinds.Hinted", str(error)) from None


# ---------------------------------------------------------------- real processes


def test_a_solve_outlives_its_replicas(
    started: Callable[..., Process], kinds_file: Path, catalogue: Catalogue
) -> None:
    """One of two replicas is killed, and comes back, while solves go on: all are right."""
    command = ("host", f"{kinds_file}:Pull")
    query = query_of(soft("kinds.Pull", 6, 0.002, budget={"particles": 4, "steps": 60, "seed": 3}))
    (want,) = Reasoner(catalogue).reason(query)
    with ThreadPoolExecutor(2) as pool:
        hosts = list(pool.map(lambda _: started(*command), range(2)))
        kinds = RemoteKinds(catalogue, {"kinds.Pull": [host.address for host in hosts]})
        reasoner = Reasoner(kinds)
        back = None
        for victim in hosts:
            if back is not None:
                back.result()
            threading.Timer(0.1, victim.process.kill).start()
            for _ in range(3):
                (got,) = reasoner.reason(query)
                assert (got.values, got.energy) == (want.values, want.energy)
                assert got.status == want.status
            victim.process.wait()
            back = pool.submit(started, *command, "--listen", victim.address)
    kinds.close()


def test_one_of_two_variables(running: Running) -> None:
    """Finite scopes go through shared memory too."""
    host, address = running.host(shared_memory=True)
    kinds = running.kinds(address)
    x = Variable("x", Finite((0, 1), (3000,)))
    here, there = (s.kind("kinds.Pairs").build([x], {}) for s in (running.catalogue, kinds))
    hot = x.domain.sample(8, Draws(0, torch.tensor([1])))
    assert torch.equal(there({"x": hot}), here({"x": hot}).double())
    assert host.regions.used > 0
    kinds.close()

"""Real processes, killed and drained."""

import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from engine import Finite, Variable
from engine.answer import Status
from engine.errors import ModuleUnavailable
from modules.catalogue import Catalogue
from services.cli import app
from services.client import Client
from services.query import query_of
from services.reasoner.compile import compile_query
from services.reasoner.reason import Reasoner
from services.remote.kinds import RemoteKinds
from services.rpc.server import Service
from services.server.app import create_server
from tests.support.fuzz.loop import Loop
from tests.support.queries import small
from tests.support.serving import GRID, Process, soft, sudoku

pytestmark = pytest.mark.clock

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
    for what in ("forward", "total_violation"):
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


def test_the_commands_refuse_what_makes_no_sense() -> None:
    """Exit code 2, one line for each mistake; nothing is started."""
    for words, said in (
        ("serve --listen 0.0.0.0:0", "--insecure-listen"),
        ("host discrete.clause --listen 0.0.0.0:0", "--insecure-listen"),
        ("host discrete.clauses", "discrete.clause"),
        ("serve --listen 127.0.0.1:0 --modules discreet", "did you mean discrete"),
        ("serve --listen 127.0.0.1:0 --remote x", "KIND=HOST:PORT"),
    ):
        done = CliRunner().invoke(app, words.split())
        assert done.exit_code == 2 and said in done.stderr and done.stderr.count("\n") == 1
        assert "Traceback" not in done.stderr


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


@pytest.mark.parametrize(("first", "second"), [(signal.SIGINT, signal.SIGINT), (2, 15)])
def test_a_second_signal_cuts_the_drain_off(
    first: int, second: int, started: Callable[..., Process], kinds_file: Path
) -> None:
    """While a call is still under way the first waits for it."""
    host = started("host", f"{kinds_file}:Pull")
    service = started("serve", "--listen", "127.0.0.1:0", "--remote", f"kinds.Pull={host.address}")
    with Client(service.address) as client, client.stream(soft("kinds.Pull")) as events:
        next(events)
        service.process.send_signal(first)
        time.sleep(0.3)
        assert service.process.poll() is None
        assert service.end(second) == 128 + second

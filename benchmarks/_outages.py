"""What faults cost: replicas that are killed while solves go on, callers that leave, deadlines.
Sections of `basin bench serving`."""

import math
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks import _learned
from benchmarks.common import ROOT, Row, at_least, at_most, percentile
from engine.errors import BasinError, Cancelled
from services.client import Client
from services.host.app import add_host, build_host, make_workers
from services.host.servicer import NAME
from services.query import Options, query_of
from services.reasoner.deadline import Deadline
from services.reasoner.reason import Reasoner
from services.reasoner.scheduler import Scheduler
from services.remote.kinds import RemoteKinds
from services.rpc.server import start
from services.server.app import create_server
from services.server.request_cache import Reader
from services.server.solve import batch_request
from services.v1 import reasoner_pb2
from services.wire.query import query_to_proto
from tests.support.fuzz.loop import Loop
from tests.support.hosted import KINDS, catalogue


def cancelled_rows(seed: int = 0, tries: int = 200) -> Iterator[Row]:
    """How long after its caller left a row is out of the batch that others go on in."""
    reader = Reader(Reasoner(_learned.catalogue()).compiler)
    spent = []
    with ThreadPoolExecutor(1) as aside:
        scheduler = Scheduler(2, aside)

        def ask(k: int, steps: int) -> tuple[Any, Deadline]:
            stop = Deadline(3600)
            message = query_to_proto(_learned.learned(k, seed + k, steps))

            def made() -> Any:
                read = reader.read("", message)
                return batch_request(read, Options(), stop, None, list)

            return scheduler.ask("", made, stop), stop

        others = [ask(k, 10**9) for k in range(8)]
        for k in range(tries):
            future, stop = ask(k, 10**9)
            time.sleep(0.02 + 0.01 * random.Random(k).random())
            began = time.perf_counter()
            stop.cancel()
            scheduler.wake()
            try:
                future.result(10)
            except Cancelled:
                spent.append(1000 * (time.perf_counter() - began))
        assert not any(future.done() for future, _ in others)
        for _, stop in others:
            stop.cancel()
        scheduler.wake()
        scheduler.pool.shutdown()
    title = f"a cancelled caller's row leaves a batch of 8 others, {tries} tries"
    whole = spent if len(spent) == tries else [math.inf]
    yield at_most(f"{title}: p50", percentile(whole, 0.5), 50, "ms")
    yield at_most(f"{title}: p99", percentile(whole, 0.99), 100, "ms")


class Kept:
    """A replica whose keeper, with all code loaded, forks it anew when it is killed."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.keeper = subprocess.Popen(
            [sys.executable, KINDS, self.address],
            stdout=subprocess.PIPE,
            text=True,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )
        self._process = self._started()

    def kill(self) -> float:
        """Seconds from a kill until it listens again."""
        began = time.perf_counter()
        os.kill(self._process, signal.SIGKILL)
        self._process = self._started()
        return time.perf_counter() - began

    def end(self) -> None:
        self.keeper.kill()
        self.keeper.wait()
        os.kill(self._process, signal.SIGKILL)

    def _started(self) -> int:
        assert self.keeper.stdout is not None
        number = int(self.keeper.stdout.readline().split()[-1])
        self.keeper.stdout.readline()  # listening
        return number


def replica_rows(seed: int = 0, tries: int = 200, every: float = 2.0) -> Iterator[Row]:
    """Solves over two replicas, one of which is killed every two seconds."""
    query = query_of(
        {
            "variables": {"x": {"low": -1.0, "high": 1.0, "shape": [6]}},
            "terms": [{"kind": "hosted.Pull", "scope": ["x"], "params": {"seconds": 0.002}}],
            "budget": {"particles": 4, "steps": 60, "seed": seed},
        }
    )
    (want,) = Reasoner(catalogue()).reason(query)
    hosts = [Kept(), Kept()]
    kinds = RemoteKinds(catalogue(), {"hosted.Pull": [host.address for host in hosts]})
    reasoner = Reasoner(kinds)  # type: ignore[arg-type]
    done, starts, began = threading.Event(), list[float](), time.monotonic()

    def killing() -> None:
        """One after the other, by the clock."""
        while not done.wait(began + every * (len(starts) + 1) - time.monotonic()):
            starts.append(hosts[len(starts) % 2].kill())

    killer = threading.Thread(target=killing)
    killer.start()
    right, failed = 0, []
    for _ in range(tries):
        try:
            (got,) = reasoner.reason(query)
            right += (got.values, got.energy) == (want.values, want.energy)
        except BasinError as error:
            failed.append(str(error))
    took = time.monotonic() - began
    done.set()
    killer.join()
    kinds.close()
    for host in hosts:
        host.end()
    yield at_least(
        "solves that finish and are right while one of two replicas is killed every 2 s",
        100.0 * right / tries,
        100.0,
        "%",
        note=f"{tries} solves in {took:.0f} s, {len(starts)} kills, {took / len(starts):.2f} s"
        f" apart; forked anew by its keeper, a replica is back after {percentile(starts, 0.5):.2f}"
        f" to {max(starts):.2f} s; right: the same as in this process"
        f"{'; ' + failed[0] if failed else ''}",
    )


def stop_rows(seed: int = 0, tries: int = 200) -> Iterator[Row]:
    """From a caller's cancel, and from its deadline, to the end of the stream at the host."""
    loop = Loop()
    host = build_host(catalogue(), ["hosted.Pull"], make_workers(4))
    running = loop.do(
        start(lambda server: add_host(host, server), [NAME], "127.0.0.1:0", workers=[host.workers])
    )
    kinds = RemoteKinds(catalogue(), {"hosted.Pull": [f"127.0.0.1:{running.port}"]})
    service = loop.do(create_server(Reasoner(kinds)))  # type: ignore[arg-type]
    query = query_of(
        {
            "variables": {"x": {"low": -1.0, "high": 1.0, "shape": [6]}},
            "terms": [{"kind": "hosted.Pull", "scope": ["x"], "params": {"seconds": 0.005}}],
            "budget": {"particles": 4, "seed": seed},
        }
    )
    request = reasoner_pb2.SolveRequest(query=query_to_proto(query))
    with Client(f"127.0.0.1:{service.port}") as client:
        for what, late in (
            ("cancel", [cancelled(client, request, host.streams) for _ in range(tries)]),
            ("deadline", [expired(client, request, host.streams) for _ in range(tries)]),
        ):
            for share, name, target in ((0.5, "median", 50.0), (0.99, "p99", 100.0)):
                yield at_most(
                    f"from {what} to the end of the search and of the stream at its host: {name}",
                    1e3 * percentile(late, share),
                    target,
                    "ms",
                    note=f"{tries} tries, from {1e3 * min(late):.1f} to {1e3 * max(late):.1f} ms"
                    + ("; below 0: before the deadline" if what == "deadline" else ""),
                )
    loop.do(service.drain(0))
    kinds.close()
    loop.do(running.drain(0))


def cancelled(client: Client, request: Any, streams: set[Any]) -> float:
    """Seconds from a cancel until the host has no stream."""
    call = client._stub.Solve.future(request)
    until(lambda: bool(streams))
    time.sleep(0.05)
    call.cancel()
    return until(lambda: not streams)


def expired(client: Client, request: Any, streams: set[Any], seconds: float = 0.15) -> float:
    """Seconds from a deadline until the host has no stream."""
    ends = time.perf_counter() + seconds
    call = client._stub.Solve.future(request, timeout=seconds)
    until(lambda: bool(streams))
    until(lambda: not streams)
    over = time.perf_counter() - ends
    call.cancel()
    return over


def until(true: Callable[[], bool], seconds: float = 10.0) -> float:
    """Seconds until something is so."""
    began = time.perf_counter()
    while not true():
        if time.perf_counter() - began > seconds:
            raise TimeoutError("nothing happened")
        time.sleep(0.0005)
    return time.perf_counter() - began

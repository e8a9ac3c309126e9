"""What a hosted module costs: one exchange, a whole solve, several modules at once; and what faults
cost. Rows of `basin bench serving`.

Hosts are processes of their own on this machine. Times are medians; CPU is that of both ends.
"""

import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import grpc
import torch
from torch import Tensor

from benchmarks.common import Clock, Row, at_least, at_most, clock, percentile
from engine import Budget, Problem, Real, Term, Variable
from engine.energy import Energy, Sum
from engine.errors import BasinError
from engine.minimizers.descent import Descent
from engine.solve import solve
from modules.catalogue import Catalogue
from services.client import Client
from services.dial import Dialing
from services.host import NAME, add_host, build_host, make_workers
from services.query import query_of
from services.reason import Reasoner
from services.remote import Remote, RemoteKinds
from services.server import create_server
from services.serving import start, tune_malloc
from services.v1 import reasoner_pb2
from services.wire import query_to_proto
from tests.serving_kit import Loop, Process

KINDS = str(Path(__file__).with_name("_hosted.py"))
STEPS = 40  # of one solve


def rows(tries: int = 200) -> Iterator[Row]:
    """Every row; `tries` solves under faults, and so many cancels and deadlines."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    tune_malloc()  # as a reasoner's service does
    try:
        yield from exchange_rows()
        yield from solve_rows()
        yield from together_rows()
        yield from replica_rows(tries)
        yield from stop_rows(tries)
    finally:
        torch.set_num_threads(threads)


# ---------------------------------------------------------------- one exchange


def exchange_rows() -> Iterator[Row]:
    """Small and large batches, in line and through shared memory."""
    with hosted("First", "--shared-memory") as make:
        for want, what in ((False, "energies back"), (True, "energies and gradients back")):
            term = make(40)
            x = torch.rand(64, 40)
            took, cpu = timed(exchange(term, x, want), 3000, term)
            bare, bare_cpu = bare_stream(x.numel() * 4, 3000)
            yield at_most(
                f"stream exchange of 10 KB, {what}: median",
                1e3 * took,
                0.4,
                "ms",
                peer="gRPC stream alone, bytes sent back, same run",
                peer_value=1e3 * bare,
                note=f"CPU of both ends {1e6 * cpu:.0f} us an exchange, the bare stream's"
                f" {1e6 * bare_cpu:.0f} us",
            )
        x = torch.rand(64, 65_536)
        for want, what in ((False, "energies back"), (True, "gradients of the same size back")):
            inline, inline_cpu = timed(exchange(make(65_536, sharing=False), x, want), 20)
            shared, shared_cpu = timed(exchange(make(65_536), x, want), 20)
            yield at_least(
                f"16 MB states, {what}: in line / through shared memory",
                inline / shared,
                5.0,
                "times",
                note=f"medians {1e3 * inline:.1f} ms in line, {1e3 * shared:.1f} ms shared; CPU of"
                f" this end {1e3 * inline_cpu:.1f} and {1e3 * shared_cpu:.1f} ms",
            )


def exchange(term: Remote, x: Tensor, want_gradient: bool) -> Callable[[], Any]:
    """One evaluation as a minimizer makes it."""

    def slope() -> Any:
        leaf = x.detach().requires_grad_()
        return torch.autograd.grad(term({"x": leaf}).sum(), leaf)

    @torch.no_grad()
    def energy() -> Any:
        return term({"x": x})

    return slope if want_gradient else energy


def timed(work: Callable[[], Any], count: int, term: Remote | None = None) -> tuple[float, float]:
    """Median seconds of a call, and CPU seconds: of the host too where the term knows it."""
    for _ in range(10):
        work()
    host = 0 if term is None else process_of(term)
    took, mine, theirs = [], time.process_time(), cpu_of(host)
    for _ in range(count):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    cpu = time.process_time() - mine + cpu_of(host) - theirs
    return statistics.median(took), cpu / count


HOSTS: dict[str, int] = {}  # process numbers by address


def process_of(term: Remote) -> int:
    """The process of a term's only host."""
    return HOSTS[term.home.replicas.lines[0].address]


def cpu_of(process: int) -> float:
    """CPU seconds that a process has used; 0 for none."""
    if not process:
        return 0.0
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


@contextmanager
def hosted(kind: str, *flags: str) -> Iterator[Callable[..., Remote]]:
    """A host of one kind of `_hosted.py`; gives a function from sites and options to a term."""
    host = Process("host", f"{KINDS}:{kind}", *flags)
    HOSTS[host.address] = host.process.pid
    opened: list[RemoteKinds] = []

    def make(sites: int, sharing: bool = True, **params: Any) -> Remote:
        name = f"_hosted.{kind}"
        kinds = RemoteKinds(catalogue(), {name: [host.address]}, Dialing(shared_memory=sharing))
        opened.append(kinds)
        return kinds.kind(name).build([variable(sites)], params)  # type: ignore[return-value]

    try:
        yield make
    finally:
        for kinds in opened:
            kinds.close()
        host.end()


def variable(sites: int) -> Variable:
    return Variable("x", Real((sites,), -1.0, 1.0))


def catalogue() -> Catalogue:
    """The kinds of `_hosted.py`."""
    names = ("First", "Pull", "Network")
    return Catalogue(entry_points=False, also=tuple(f"{KINDS}:{name}" for name in names))


def bare_stream(size: int, count: int) -> tuple[float, float]:
    """Median and CPU seconds of an exchange of bytes over a gRPC stream with nothing around it."""
    process = subprocess.Popen([sys.executable, KINDS], stdout=subprocess.PIPE, text=True,
                               env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(KINDS).parents[1])})  # fmt: skip
    assert process.stdout is not None
    address = process.stdout.readline().split()[-1]
    outbox: SimpleQueue[bytes | None] = SimpleQueue()
    try:
        with grpc.insecure_channel(address) as channel:
            call = channel.stream_stream("/Echo/Back")(iter(outbox.get, None))
            theirs = cpu_of(process.pid)

            def once() -> None:
                outbox.put(bytes(size))
                next(call)

            took, cpu = timed(once, count)
            cpu += (cpu_of(process.pid) - theirs) / (count + 10)
            outbox.put(None)
            call.cancel()
    finally:
        process.kill()
        process.communicate()
    return took, cpu


# ---------------------------------------------------------------- whole solves


def solve_rows() -> Iterator[Row]:
    """The same search with its module in this process and in another."""
    for size, sites, width, target, ways in (
        ("10 KB", 40, 512, 1.2, ((True, "in line"),)),
        ("640 KB", 2500, 256, 1.4, ((True, "through shared memory"), (False, "in line"))),
    ):
        with hosted("Network", "--shared-memory") as make:
            here: Term = catalogue().kind("_hosted.Network").build([variable(sites)], {"width": width})  # fmt: skip
            module = cost(here, sites)
            for sharing, way in ways:
                pairs = compared(here, make(sites, sharing, width=width))
                ratios = [there.wall / here.wall for here, there in pairs]
                local = statistics.median(here.wall for here, _ in pairs)
                cpu = statistics.median(there.cpu / here.cpu for here, there in pairs)
                yield at_most(
                    f"hosted / in-process solve, batch of {size}, {way}",
                    statistics.median(ratios),
                    target if sharing else None,
                    "times",
                    note=f"64 x {sites} floats; the module costs {1e3 * module:.1f} ms a step, a"
                    f" step in this process {1e3 * local / STEPS:.1f} ms; {len(ratios)} pairs,"
                    f" from {min(ratios):.2f} to {max(ratios):.2f}; CPU of both ends {cpu:.2f}"
                    " times that of this process alone (where others use the machine, two processes"
                    " get more of it than one: then this is the figure to look at)",
                )


def cost(term: Term, sites: int) -> float:
    """Median seconds of energy and gradient of 64 states in this process."""
    x = torch.rand(64, sites)

    def once() -> Any:
        leaf = x.detach().requires_grad_()
        return torch.autograd.grad(term({"x": leaf}).sum(), leaf)

    return timed(once, 50)[0]


def compared(here: Term, there: Remote, pairs: int = 15) -> list[tuple[Clock, Clock]]:
    """Solves in this process and hosted ones, in turn; CPU of both ends."""
    solved_in(there)
    found = []
    for _ in range(pairs):
        with clock() as local:
            solved_in(here)
        before = cpu_of(process_of(there))
        with clock() as hosted_one:
            solved_in(there)
        hosted_one.cpu += cpu_of(process_of(there)) - before
        found.append((local, hosted_one))
    return found


def solved_in(term: Energy) -> None:
    """One solve of a fixed number of steps."""
    for _ in solve(Problem(term), Descent(), particles=64, budget=Budget(steps=STEPS)):
        pass


def together_rows() -> Iterator[Row]:
    """Six modules that wait 20 ms each."""
    count, wait = 6, 0.02
    with ExitStack() as stack:
        makes = [stack.enter_context(hosted("Pull")) for _ in range(count)]
        terms = [make(40, seconds=wait) for make in makes]
        for term in terms[1:]:
            term.scope = terms[0].scope
        problem = Problem(Sum(*(part for term in terms for part in term.parts())))
        solved_in(problem.energy)
        before = [term.exchanges for term in terms]
        with clock() as whole:
            solved_in(problem.energy)
        together = whole.wall / STEPS
        each = [(term.exchanges - b) / (STEPS + 1) for term, b in zip(terms, before, strict=True)]
        x = torch.rand(64, 40)
        alone = sum(timed(exchange(term, x, True), 10)[0] for term in terms)
    yield at_most(
        "six hosted modules: exchanges of each in a step",
        max(each),
        1.0,
        "exchanges",
        note="counted; one more for the states a search starts from",
    )
    yield at_most(
        "six hosted modules side by side / one after the other",
        together / alone,
        0.3,
        "times",
        note=f"each waits {1e3 * wait:g} ms: {1e3 * together:.1f} ms a step together,"
        f" {1e3 * alone:.1f} ms one by one",
    )


# ---------------------------------------------------------------- faults


def replica_rows(tries: int, every: float = 2.0) -> Iterator[Row]:
    """Solves over two replicas, one of which is killed every two seconds and started anew."""
    command = ("host", f"{KINDS}:Pull")
    query = query_of(
        {
            "variables": {"x": {"low": -1.0, "high": 1.0, "shape": [6]}},
            "terms": [{"kind": "_hosted.Pull", "scope": ["x"], "params": {"seconds": 0.002}}],
            "budget": {"particles": 4, "steps": 60, "seed": 1},
        }
    )
    (want,) = Reasoner(catalogue()).reason(query)
    with ThreadPoolExecutor(2) as pool:
        hosts = list(pool.map(lambda _: Process(*command), range(2)))
        kinds = RemoteKinds(catalogue(), {"_hosted.Pull": [host.address for host in hosts]})
        reasoner = Reasoner(kinds)  # type: ignore[arg-type]
        done = threading.Event()
        killed = [0]

        def killing() -> None:
            """The other one each time, and not before its fellow is back."""
            back: Future[Process] | None = None
            while not done.wait(every):
                if back is not None:
                    hosts[(killed[0] - 1) % 2] = back.result()
                victim = hosts[killed[0] % 2]
                victim.process.kill()
                victim.process.communicate()
                killed[0] += 1
                back = pool.submit(Process, *command, "--listen", victim.address)
            if back is not None:
                hosts[(killed[0] - 1) % 2] = back.result()

        killer = threading.Thread(target=killing)
        killer.start()
        right, failed = 0, []
        began = time.perf_counter()
        for _ in range(tries):
            try:
                (got,) = reasoner.reason(query)
                right += (got.values, got.energy) == (want.values, want.energy)
            except BasinError as error:
                failed.append(str(error))
        took = time.perf_counter() - began
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
        note=f"{tries} solves in {took:.0f} s, {killed[0]} kills, at 2 s or as soon as the other"
        f" replica is back; right: the same as in this process{'; ' + failed[0] if failed else ''}",
    )


def stop_rows(tries: int) -> Iterator[Row]:
    """From a caller's cancel, and from its deadline, to the end of the stream at the host."""
    loop = Loop()
    host = build_host(catalogue(), ["_hosted.Pull"], make_workers(4))
    running = loop.do(
        start(lambda server: add_host(host, server), [NAME], "127.0.0.1:0", workers=[host.workers])
    )
    kinds = RemoteKinds(catalogue(), {"_hosted.Pull": [f"127.0.0.1:{running.port}"]})
    service = loop.do(create_server(Reasoner(kinds)))  # type: ignore[arg-type]
    query = query_of(
        {
            "variables": {"x": {"low": -1.0, "high": 1.0, "shape": [6]}},
            "terms": [{"kind": "_hosted.Pull", "scope": ["x"], "params": {"seconds": 0.005}}],
            "budget": {"particles": 4},
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


def expired(client: Client, request: Any, streams: set[Any], seconds: float = 0.25) -> float:
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

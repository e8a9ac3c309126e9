"""What a hosted module costs: one exchange, a whole solve, several modules at once. Sections
of `basin bench serving`.

Hosts are processes of their own on this machine. Times are medians; CPU is that of both ends.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import grpc
import torch
from torch import Tensor

from benchmarks.common import ROOT, Clock, Row, at_least, at_most, clock
from engine import Budget, Problem, Real, Term, Variable
from engine.energy import Energy, Sum
from engine.minimizers.descent import Descent
from engine.solve import solve
from services.remote.kinds import RemoteKinds
from services.remote.term import Remote
from services.rpc.tuning import tune_malloc
from services.settings import RemotePolicy
from tests.support.hosted import KINDS, catalogue
from tests.support.serving import Process

STEPS = 40  # of one solve


def section(work: Callable[[], Iterator[Row]]) -> Callable[..., list[Row]]:
    """Rows with torch in one thread, and memory kept, as a reasoner's service has it."""

    @wraps(work)
    def rows(seed: int = 0) -> list[Row]:
        del seed  # networks have fixed weights, and nothing else is drawn
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        tune_malloc()
        try:
            return list(work())
        finally:
            torch.set_num_threads(threads)

    return rows


# ---------------------------------------------------------------- one exchange


@section
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
    return HOSTS[term.home.replicas.every[0].address]


def cpu_of(process: int) -> float:
    """CPU seconds that a process has used; 0 for none."""
    if not process:
        return 0.0
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


@contextmanager
def hosted(kind: str, *flags: str) -> Iterator[Callable[..., Remote]]:
    """A host of one kind of `tests/support/hosted.py`; gives a function from sites and options to a term."""
    host = Process("host", f"{KINDS}:{kind}", *flags)
    HOSTS[host.address] = host.process.pid
    opened: list[RemoteKinds] = []

    def make(sites: int, sharing: bool = True, **params: Any) -> Remote:
        name = f"hosted.{kind}"
        kinds = RemoteKinds(
            catalogue(), {name: [host.address]}, RemotePolicy(shared_memory=sharing)
        )
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


def bare_stream(size: int, count: int) -> tuple[float, float]:
    """Median and CPU seconds of an exchange of bytes over a gRPC stream with nothing around it."""
    process = subprocess.Popen(
        [sys.executable, KINDS],
        stdout=subprocess.PIPE,
        text=True,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
    )
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


@section
def solve_rows() -> Iterator[Row]:
    """The same search with its module in this process and in another."""
    for size, sites, width, target, ways in (
        ("10 KB", 40, 768, 1.2, ((True, "through shared memory"), (False, "in line"))),
        ("640 KB", 2500, 256, 1.4, ((True, "through shared memory"), (False, "in line"))),
    ):
        with hosted("Network", "--shared-memory") as make:
            here: Term = catalogue().kind("hosted.Network").build([variable(sites)], {"width": width})  # fmt: skip
            module = cost(here, sites)
            for sharing, way in ways:
                pairs = compared(here, make(sites, sharing, width=width))
                ratios = [there.wall / here.wall for here, there in pairs]
                local = statistics.median(here.wall for here, _ in pairs)
                cpu = statistics.median(there.cpu / here.cpu for here, there in pairs)
                yield at_most(
                    f"hosted / in-process solve, batch of {size}, {way}",
                    statistics.median(ratios),
                    target if sharing or size == "10 KB" else None,
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


@section
def together_rows() -> Iterator[Row]:
    """Six modules that wait 20 ms each."""
    count, wait = 6, 0.02
    with ExitStack() as stack:
        makes = [stack.enter_context(hosted("Pull")) for _ in range(count)]
        terms = [make(40, seconds=wait) for make in makes]
        for term in terms[1:]:
            term.scope = terms[0].scope
        problem = Problem(Sum(*(part for term in terms for part in term.summands())))
        solved_in(problem.energy)
        before = [term.stats().messages for term in terms]
        with clock() as whole:
            solved_in(problem.energy)
        together = whole.wall / STEPS
        each = [
            (term.stats().messages - b) / (STEPS + 1) for term, b in zip(terms, before, strict=True)
        ]
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

"""Serving: many callers share batches, long solves beside short ones, one call alone, cancelling.

The service runs in a process of its own; the callers are tasks of this one, so that both together
have the two cores. Ratios are taken in one run, between shares of it that alternate; the machine
may be busy with other things, so CPU stands beside the clock.

An exchange of 10 KB took 0.60 ms on one gRPC stream, of frames that protobuf does not copy and with
light answers made on the event loop; through pipes of the host beside shared memory it takes 0.24.
With gradients it takes twice that: autograd runs at both ends, with cold caches after each change
of process. One pass over numbers to check them, large slopes left in shared memory, and no product
where they count once took the exchange of 16 MB with gradients from 12 to 7 ms, in line from 37 to
34.

A warm session takes 2.2 ms of CPU through the wire when nothing changes at all, 1.1 ms of it gRPC's
threads in the client: more than a fifth of a cold query of 9 ms. One stream takes 5 to 10 % less
than single calls.
"""

import asyncio
import itertools
import os
import random
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import torch

from benchmarks import _exchange, _outages, _talk
from benchmarks._learned import PARTICLES, catalogue, learned
from benchmarks.common import Row, at_least, at_most, clock, data_folder, percentile
from benchmarks.sudoku import puzzles
from engine.answer import Flag
from examples.processes import started
from services.client import Client
from services.formats.sudoku import sudoku_query
from services.query import Options, Query, query_of
from services.reasoner.reason import Reasoner
from services.v1 import reasoner_pb2 as pb
from services.v1 import reasoner_pb2_grpc as rpc
from services.wire.answer import answer_from_proto
from services.wire.query import query_to_proto

Section = Callable[..., Iterable[Row]]  # rows, of a seed

CALLERS = 32
TICKS = os.sysconf("SC_CLK_TCK")


def run(seed: int = 0) -> list[Row]:
    """All rows."""
    return [row for section in SECTIONS.values() for row in section(seed=seed)]


def _boards(seed: int) -> list[str]:
    """Hardest Sudokus. Raises FileNotFoundError without the folder of public instances."""
    folder = data_folder(None)
    if folder is None:
        raise FileNotFoundError("no data; set BASIN_DATA")
    every = puzzles(folder / "sudoku" / "forum_hardest_1905_11plus_shared.txt.gz")
    return random.Random(seed).sample(every, 800)


def _served(work: Callable[["Service", Sequence[Query], int], Awaitable[list[Row]]]) -> Section:
    """A section: some work with a service in a process of its own, and with hardest Sudokus."""

    async def connected(address: str, process: int, boards: Sequence[Query], seed: int) -> Any:
        options = [("grpc.enable_http_proxy", 0)]
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            return await work(Service(rpc.ReasonerServiceStub(channel), process), boards, seed)

    def section(seed: int) -> list[Row]:
        boards = [sudoku_query(9, [puzzle]) for puzzle in _boards(seed)]
        with started(["benchmarks._learned"]) as (address, process):
            return asyncio.run(connected(address, process, boards, seed))

    return section


@dataclass(frozen=True)
class Load:
    """What some callers saw: the seconds of each call, and what all of them took."""

    seconds: list[float]
    wall: float
    cpu: float  # of callers and service

    def each(self, total: float) -> float:
        return total / len(self.seconds)


def _alone(seed: int) -> list[Row]:
    """One caller; the clock runs from the text of a puzzle to its answer."""
    milliseconds = []
    with started(["benchmarks._learned"]) as (address, _), Client(address) as client:
        for k, puzzle in enumerate(_boards(seed)[:400]):
            began = time.perf_counter()
            answer = client.solve(sudoku_query(9, [puzzle]), Options(prove=True))[0]
            if k >= 20:  # the first ones warm the process
                milliseconds.append(1000 * (time.perf_counter() - began))
            assert answer.unique is True, answer
    note = f"{len(milliseconds)} calls of one thread, uniqueness proved"
    title = "one hardest Sudoku, warm, through gRPC"
    return [
        at_most(f"{title}: p50", percentile(milliseconds, 0.5), 3, "ms", note=note),
        at_most(f"{title}: p99", percentile(milliseconds, 0.99), 15, "ms", note=note),
    ]


class Service:
    """A service in another process, as many callers see it."""

    def __init__(self, stub: Any, process: int):
        self.stub, self.process = stub, process

    async def load(self, queries: Sequence[Query], callers: int, seconds: float) -> Load:
        """Each caller asks one query after the other, for some seconds."""
        requests = [pb.SolveRequest(query=query_to_proto(query)) for query in queries]
        until = time.perf_counter() + seconds

        async def caller(k: int) -> list[float]:
            spent, place = [], k * len(requests) // callers
            while (began := time.perf_counter()) < until:
                await self.stub.Solve(requests[place % len(requests)])
                spent.append(time.perf_counter() - began)
                place += 1
            return spent

        return await self._measured(*(caller(k) for k in range(callers)))

    async def once(self, queries: Sequence[Query], callers: int) -> Load:
        """Every query once, so many at a time."""
        waiting = iter([pb.SolveRequest(query=query_to_proto(query)) for query in queries])

        async def caller() -> list[float]:
            spent = []
            for request in waiting:
                began = time.perf_counter()
                await self.stub.Solve(request)
                spent.append(time.perf_counter() - began)
            return spent

        return await self._measured(*(caller() for _ in range(callers)))

    async def _measured(self, *callers: Awaitable[list[float]]) -> Load:
        before = self._cpu()
        with clock() as spent:
            every = await asyncio.gather(*callers)
        cpu = spent.cpu + self._cpu() - before
        return Load([s for own in every for s in own], spent.wall, cpu)

    def _cpu(self) -> float:
        """Seconds of CPU that the service has had."""
        fields = Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    @asynccontextmanager
    async def busy(self, query: Query) -> AsyncIterator[None]:
        """Beside a solve that does not end by itself."""
        call = self.stub.Solve(pb.SolveRequest(query=query_to_proto(query)))
        await asyncio.sleep(0.6)
        try:
            yield
            assert not call.done(), "the long solve has ended"
        finally:
            call.cancel()
            await asyncio.sleep(0.2)


def cut(seed: int, nodes: int = 400, edges: int = 4000) -> Query:
    """The largest cut of a random graph: annealing and complete search, far from a proof."""
    rng = random.Random(seed)
    pairs = [rng.sample(range(nodes), 2) for _ in range(edges)]
    return query_of(
        {
            "variables": {"x": {"values": [0, 1], "shape": [nodes]}},
            "terms": [
                {"kind": "graph.cut", "scope": ["x"], "params": {"edges": [[*p, 1] for p in pairs]}}
            ],
        }
    )


async def _crowd(service: Service, boards: Sequence[Query], seed: int) -> list[Row]:
    """Many callers of the same structure."""
    del seed
    await service.load(boards, 4, 1.0)  # warms the process
    loads = [await service.load(boards, CALLERS, 4.0) for _ in range(3)]
    best = max(loads, key=lambda load: len(load.seconds) / load.wall)
    rates = [len(load.seconds) / load.wall for load in loads]
    ratio = [percentile(x.seconds, 0.99) / percentile(x.seconds, 0.5) for x in loads]
    cpu = statistics.median(1000 * load.each(load.cpu) for load in loads)
    title = f"{CALLERS} callers, hardest Sudoku, through gRPC"
    p50, p99 = (1000 * percentile(best.seconds, q) for q in (0.5, 0.99))
    return [
        at_least(
            f"{title}: solves a second on two cores",
            statistics.median(rates), 400, "1/s",
            note=f"three runs: {', '.join(f'{rate:.0f}' for rate in rates)}; {cpu:.2f} ms of CPU a "
            "solve, callers included",
        ),
        at_most(
            f"{title}: p99 over p50",
            statistics.median(ratio), 10, "",
            note=f"best run: p50 {p50:.0f} ms, p99 {p99:.0f} ms",
        ),
    ]  # fmt: skip


async def _batches(service: Service, boards: Sequence[Query], seed: int) -> list[Row]:
    """Learned energies over real sites and over choices."""
    del boards
    nets = [learned(k, seed) for k in range(CALLERS)]
    choices = [learned(k, seed, values=[-1, 0, 1]) for k in range(CALLERS)]
    return [
        *await _batched(service, "real sites", nets),
        *await _batched(service, "choices, beside complete search", choices),
    ]


async def _batched(service: Service, over: str, nets: Sequence[Query]) -> list[Row]:
    """The learned energy one at a time, and all at once."""
    await service.once(nets[:2], 1)
    walls, cpus = [], []
    for _ in range(3):
        one = await service.once(nets[:4], 1)
        many = await service.once(nets, CALLERS)
        walls.append(one.each(one.wall) / many.each(many.wall))
        cpus.append(one.each(one.cpu) / many.each(many.cpu))
    return [
        at_least(
            f"learned energy over {over}, {PARTICLES} particles, {CALLERS} callers: batched "
            "throughput over one at a time",
            statistics.median(walls), 5, "",
            peer="the same in CPU", peer_value=statistics.median(cpus),
            note=f"median of 3 runs in turns; {1000 * one.each(one.wall):.0f} ms a solve alone",
        )
    ]  # fmt: skip


async def _identical(service: Service, boards: Sequence[Query], seed: int) -> list[Row]:
    """Answers of calls that shared batches against the same calls alone in this process."""
    boards, nets = boards[:200], [learned(k, seed) for k in range(8)]
    queries = [*boards, *nets]
    requests = [pb.SolveRequest(query=query_to_proto(query)) for query in queries]
    responses = await asyncio.gather(*(_admitted(service, request) for request in requests))
    torch.set_num_threads(1)  # as the service has it
    reasoner, other = Reasoner(catalogue()), 0
    for query, response in zip(queries, responses, strict=True):
        found = [answer_from_proto(answer) for answer in response.answers]
        for a, b in zip(found, reasoner.reason(query), strict=True):
            same = (a.status, a.values, a.energy, a.bound, a.unique, a.steps)
            other += same != (b.status, b.values, b.energy, b.bound, b.unique, b.steps)
    return [
        at_most(
            "answers of batched calls that differ from the same calls alone, same seed",
            other, 0, "", note=f"{len(boards)} Sudokus and {len(nets)} learned, compared exactly",
        )
    ]  # fmt: skip


async def _admitted(service: Service, request: pb.SolveRequest) -> Any:
    """The answer, asked for again where the queue was full."""
    while True:
        try:
            return await service.stub.Solve(request)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
            await asyncio.sleep(0.01)


async def _beside(service: Service, boards: Sequence[Query], seed: int) -> list[Row]:
    """Short calls with and without a long soft solve beside them."""
    rows = []
    longs = (("annealing", cut(seed)), ("learned", learned(0, seed, 10**9)))
    for (what, long), callers in itertools.product(longs, (CALLERS, 1)):
        quiet, loud = [], []
        for _ in range(3):
            quiet.append(await service.load(boards, callers, 1.6))
            async with service.busy(long):
                loud.append(await service.load(boards, callers, 1.6))
        before, after = (
            statistics.median(statistics.median(load.seconds) for load in loads)
            for loads in (quiet, loud)
        )
        rows.append(
            at_most(
                f"{callers} caller{'s' * (callers > 1)} of hardest Sudoku: p50 beside a long soft "
                f"solve ({what}) over p50 without",
                after / before, 2, "",
                note=f"{1000 * before:.1f} ms and {1000 * after:.1f} ms, medians of 3 runs in "
                "turns",
            )
        )  # fmt: skip
    return rows


async def _timely(
    service: Service, boards: Sequence[Query], seed: int, tries: int = 200
) -> list[Row]:
    """Endless searches under a deadline, beside callers that keep the service busy."""
    seconds, late, spent = 0.5, 0, []
    stub = service.stub
    requests = [
        pb.SolveRequest(query=query_to_proto(learned(k, seed, 10**9))) for k in range(tries)
    ]

    async def endless(request: pb.SolveRequest) -> None:
        nonlocal late
        began = time.perf_counter()
        try:
            (answer,) = (await stub.Solve(request, timeout=seconds)).answers
            assert answer_from_proto(answer).flags == (Flag.DEADLINE,), answer
        except grpc.aio.AioRpcError:
            late += 1
        spent.append(1000 * (time.perf_counter() - began))

    async def four(every: Sequence[pb.SolveRequest]) -> None:
        for request in every:
            await endless(request)

    busy = asyncio.ensure_future(service.load(boards, 8, seconds * tries / 4))
    await asyncio.gather(*(four(requests[k::4]) for k in range(4)))
    await busy
    return [
        at_least(
            f"an endless search under a deadline of {1000 * seconds:g} ms brings its best in time, "
            f"{tries} tries",
            100 * (tries - late) / tries, 100, "%",
            note=f"beside 8 callers of Sudoku; p50 {percentile(spent, 0.5):.0f} ms, p99 "
            f"{percentile(spent, 0.99):.0f} ms",
        )
    ]  # fmt: skip


SECTIONS: dict[str, Section] = {
    "alone": _alone,
    "callers": _served(_crowd),
    "batches": _served(_batches),
    "identical": _served(_identical),
    "beside": _served(_beside),
    "timely": _served(_timely),
    "cancelled": _outages.cancelled_rows,
    "exchange": _exchange.exchange_rows,
    "solves": _exchange.solve_rows,
    "together": _exchange.together_rows,
    "replicas": _outages.replica_rows,
    "stops": _outages.stop_rows,
    "sessions": _talk.rows,
}

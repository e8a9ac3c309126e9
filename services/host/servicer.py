"""The server of hosted energy terms: describe, structure, energies and gradients, judgement,
proposals, reading site by site.

Stateless between streams, so replicas are interchangeable. Terms compute in threads, never on the
event loop; what a term does wrong is told as a fault of its kind.
"""

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

import grpc
import torch
from cachetools import LRUCache, cachedmethod
from torch import Tensor

from engine.domain import Told
from engine.energy import Term
from engine.errors import BadQuery, Mistake, UnknownKind, known
from engine.random import Stream
from modules.catalogue import Kind, kind_name
from modules.shared.version import version_of
from services.host.bound_term import BoundTerm, guard_faults
from services.host.readings import Readings
from services.host.stream import EvaluateStream, InlinePace, ready
from services.host.structure import tell_structure
from services.query.kind import describe
from services.settings import InlinePolicy, Limits
from services.transport.shared_memory import Regions
from services.v1 import module_pb2 as pb
from services.v1 import module_pb2_grpc as rpc
from services.v1.tensor_pb2 import TensorSpec
from services.wire.arrays import Content, put_array
from services.wire.binding import (
    binding_digest,
    binding_from_proto,
    declared_digest,
    params_from_proto,
    told_of,
    untold,
)
from services.wire.kinds import kind_to_proto
from services.wire.tensors import put, take
from services.wire.values import from_value

NAME = "basin.v1.ModuleService"
KEPT = 64  # terms kept for Structure and Judge
READ = 16  # terms that are read, each with what it knows of the beginnings asked of last
P = ParamSpec("P")
R = TypeVar("R")


class ModuleServicer(rpc.ModuleServiceServicer):
    """The rpcs; everything a term computes runs in a thread of `workers`."""

    def __init__(
        self,
        kinds: Sequence[Kind],
        workers: ThreadPoolExecutor,
        limits: Limits,
        shared_memory: bool,
        inline_policy: InlinePolicy,
    ):
        self.kinds = {kind.name: kind for kind in kinds}
        self.modules = {kind.name: offer(kind, shared_memory) for kind in kinds}
        self.workers, self.limits, self.inline_policy = workers, limits, inline_policy
        each = limits.region_bytes if shared_memory else 0
        self.regions = Regions(each, limits.regions_bytes, limits.bells)
        self.streams: set[EvaluateStream] = set()  # open ones
        self._kept: LRUCache[bytes, BoundTerm] = LRUCache(KEPT)
        self._readings: LRUCache[bytes, Readings] = LRUCache(READ)
        self._lock = threading.Lock()

    async def Describe(self, request: pb.DescribeRequest, context: Any) -> pb.DescribeResponse:
        """What is hosted here."""
        del context
        kinds = [self._kind(request.kind).name] if request.kind else list(self.modules)
        return pb.DescribeResponse(modules=[self.modules[kind] for kind in kinds])

    async def Structure(self, request: pb.StructureRequest, context: Any) -> pb.StructureResponse:
        """The explicit structure of a term under domains, when it has one."""
        del context
        return await self._off(self._structure, request)

    async def Judge(self, request: pb.JudgeRequest, context: Any) -> pb.JudgeResponse:
        """Whether rules hold for plain values, and which parts fail."""
        del context
        return await self._off(self._judge, request)

    async def Propose(self, request: pb.ProposeRequest, context: Any) -> pb.ProposeResponse:
        """States worth starting a search from."""
        del context
        return await self._off(self._propose, request)

    async def Read(self, request: pb.ReadRequest, context: Any) -> pb.ReadResponse:
        """What each value of the next site adds, of energies that are read site by site."""
        del context
        return await self._off(self._read, request)

    async def Evaluate(self, requests: AsyncIterator[bytes], context: Any) -> None:
        """The first message binds a term; then batches of states in, energies and slopes out.

        Messages come and go as bytes: `frames` reads and writes them.
        """
        del requests  # `context` reads faster
        evaluation = EvaluateStream(self._bind, self.regions, self.limits)
        pace = InlinePace(self.inline_policy)
        self.streams.add(evaluation)
        try:
            while (data := await context.read()) is not grpc.aio.EOF:
                if pace.light(len(data)):
                    answer = evaluation.answer(data)
                else:
                    answer = await self._off(evaluation.answer, data)
                pace.told(len(data), evaluation.seconds)
                await context.write(answer)
        finally:  # also when the caller has cancelled the stream
            evaluation.close()
            self.streams.discard(evaluation)  # who sees that it is gone finds its memory given up

    async def _off(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """The same call, off the loop."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.workers, functools.partial(work, *args, **kwargs))

    def _kind(self, name: str) -> Kind:
        kind = self.kinds.get(kind_name(name))
        if kind is None:
            raise UnknownKind(
                Mistake("kind", f"{name!r} is not hosted here", known(name, self.kinds))
            )
        return kind

    def _bind(self, message: pb.Binding, raw: Sequence[Content]) -> BoundTerm:
        kind = self._kind(message.kind)
        return BoundTerm.of(kind, binding_from_proto(message, raw, self.limits))

    def _hosted(self, message: pb.Binding, raw: Sequence[bytes]) -> BoundTerm:
        """A term that may have served this binding before, beside what its rows are told now."""
        hosted = self._cached(message, raw)
        if not hosted.told:
            return hosted
        return hosted.over(binding_from_proto(message, raw, self.limits).domains)

    @cachedmethod(
        lambda host: host._kept,
        key=lambda _, message, raw: declared_digest(message, raw),
        lock=lambda host: host._lock,
    )
    def _cached(self, message: pb.Binding, raw: Sequence[bytes]) -> BoundTerm:
        """A term that may have served this binding before, whatever its rows were told."""
        return self._bind(message, raw)

    def _structure(self, request: pb.StructureRequest) -> pb.StructureResponse:
        hosted = self._hosted(request.binding, request.raw_contents)
        response = pb.StructureResponse(words=hosted.says(request.parts))
        if request.parts:
            return response
        raw: list[bytes] = []
        tell_structure(hosted, request, response, raw, self.limits)
        response.raw_contents.extend(raw)
        return response

    def _judge(self, request: pb.JudgeRequest) -> pb.JudgeResponse:
        if not request.binding.domains and not request.candidates:
            self._kind(request.binding.kind).check(params_from_proto(request.binding, self.limits))
            return pb.JudgeResponse()
        hosted = self._hosted(request.binding, request.raw_contents)
        response = pb.JudgeResponse(ready=ready(hosted))
        candidates = []
        for k, candidate in enumerate(request.candidates):
            try:
                values = [from_value(value, self.limits) for value in candidate.values]
                told = self._told(hosted, candidate, k, request.raw_contents)
                candidates.append(hosted.candidate(values, told))
                holds, parts = hosted.judge(candidates[-1])
            except BadQuery as error:
                raise error.under(f"candidates[{k}]") from None
            response.verdicts.add(holds=holds, parts=parts)
        inside = hosted.accepts(candidates) if request.accepts and candidates else None
        for verdict, own in zip(response.verdicts, () if inside is None else inside, strict=False):
            verdict.accepted = bool(own.all())
            verdict.outside.extend((~own).nonzero().reshape(-1).tolist())
        return response

    def _told(
        self, hosted: BoundTerm, candidate: pb.Arguments, k: int, raw: Sequence[bytes]
    ) -> list[Told]:
        """What a candidate was told, one row each: by itself, or as that row of the domains."""
        if not candidate.inputs:
            return [told.select([k if k < told.rows else 0]) for told in hosted.told]
        if len(candidate.inputs) != len(hosted.told):
            given = f"{len(candidate.inputs)} inputs"
            raise BadQuery(Mistake("inputs", given, f"the scope has {len(hosted.told)}"))
        pairs = zip(hosted.told, candidate.inputs, strict=True)
        return [told_of(untold(d), one, raw, self.limits, single=True) for d, one in pairs]

    def _propose(self, request: pb.ProposeRequest) -> pb.ProposeResponse:
        hosted = self._hosted(request.binding, request.raw_contents)
        if not 0 < request.particles <= self.limits.particles:
            said = f"give at least 1; {self.limits.told('particles')}"
            raise BadQuery(Mistake("particles", f"{request.particles}", said))
        rows = max(domain.rows for domain in hosted.domains)
        keys, steps = (self._whole(request, name, rows) for name in ("keys", "steps"))
        rng = Stream(0, keys, steps, request.lane)
        response = pb.ProposeResponse()
        raw: list[bytes] = []
        for state in hosted.propose(request.particles, rng) or ():
            put(state, response.states.add(), raw)
        response.raw_contents.extend(raw)
        return response

    def _read(self, request: pb.ReadRequest) -> pb.ReadResponse:
        response = pb.ReadResponse()
        own = self._reading(request)
        if own.reader is None:
            return response
        raw: list[bytes] = []
        put(own.sites, response.sites, raw)
        response.least = own.least
        if request.HasField("beginnings"):
            try:
                beginnings = take(request.beginnings, request.raw_contents, self.limits)
            except BadQuery as error:
                raise error.under("beginnings") from None
            put(own.costs(request.row, beginnings), response.costs, raw)
        windows = own.ahead(request.width) if request.width else None
        if windows is not None and windows.costs.nbytes < self.limits.message_bytes // 2:
            put_array(windows.places, response.windows, raw)
            put_array(windows.costs, response.guesses, raw)
        response.raw_contents.extend(raw)
        return response

    def _reading(self, request: pb.ReadRequest) -> Readings:
        """A term that may have been read under this binding before."""
        count = 1 + max((spec.raw_index for spec in _of_domains(request.binding)), default=-1)
        key = binding_digest(request.binding, request.raw_contents[:count])
        with self._lock:
            own = self._readings.get(key)
        if own is None:
            own = Readings(self._hosted(request.binding, request.raw_contents))
            with self._lock:
                own = self._readings.setdefault(key, own)
        return own

    def _whole(self, request: pb.ProposeRequest, name: str, rows: int) -> Tensor:
        """One whole number for each row. -> (rows,) int64"""
        try:
            numbers = take(getattr(request, name), request.raw_contents, self.limits)
            if numbers.dtype == torch.int64 and tuple(numbers.shape) == (rows,):
                return numbers
            raise BadQuery(
                Mistake("", f"{numbers.dtype} of shape {[*numbers.shape]}", f"give {rows} int64")
            )
        except BadQuery as error:
            raise error.under(name) from None


def _of_domains(binding: pb.Binding) -> Iterator[TensorSpec]:
    """What describes the tensors of a binding."""
    for domain in binding.domains:
        own = getattr(domain, domain.WhichOneof("kind") or "finite")
        yield from (spec for field, spec in own.ListFields() if isinstance(spec, TensorSpec))


def offer(kind: Kind, shared_memory: bool) -> pb.Module:
    """What a host tells of a kind."""
    return pb.Module(
        kind=kind_to_proto(guard_faults(kind.name, "parameters", lambda: describe(kind))),
        affine=kind.term.affine,
        version=version_of(kind.term),
        decides=kind.term.holds is not Term.holds,
        proposes=kind.term.propose is not Term.propose,
        shared_memory=shared_memory,
        accepts=kind.term.accepts is not Term.accepts,
        partial=kind.term.partial,
        fixed_structure=kind.term.fixed_structure,
        streams_structure=True,
        reads=kind.term.reader is not Term.reader,
    )

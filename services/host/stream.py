"""One Evaluate stream at its host: the term it bound, the memory it shares, what it answers."""

from collections.abc import Callable, Sequence
from time import perf_counter

import torch
from google.protobuf.message import DecodeError

from engine.domain import Given
from engine.errors import BadQuery, Mistake
from services.host.bound_term import BoundTerm
from services.host.rows import StreamRows
from services.host.structure import tell_structure
from services.settings import InlinePolicy, Limits
from services.transport.frames import Frame, load
from services.transport.shared_memory import HostRegion, Regions
from services.v1 import module_pb2 as pb
from services.v1.tensor_pb2 import TensorSpec
from services.wire.arrays import Content, aligned, lay, share, view, view_list, within
from services.wire.binding import domains_from_proto
from services.wire.tensors import array_of, number_of

Bind = Callable[[pb.Binding, Sequence[Content]], BoundTerm]


class InlinePace:
    """Which answers of a stream are light enough for the event loop: a thread costs a fifth of a
    small exchange. A stream trusted in vain has to be light for twice as long the next time, within
    a limit: a light answer may have waited for a core."""

    def __init__(self, policy: InlinePolicy):
        self.policy = policy
        self._wanted, self._seen = policy.steady, 0

    def light(self, size: int) -> bool:
        """Whether a message of so many bytes is answered on the loop."""
        return size <= self.policy.message_bytes and self._seen >= self._wanted

    def told(self, size: int, seconds: float) -> None:
        """How long the answer took."""
        if seconds <= self.policy.seconds:
            self._seen += 1
            return
        if self.light(size):
            self._wanted = min(2 * self._wanted, self.policy.most)
        self._seen = 0


class EvaluateStream:
    """What a stream has set up so far; nothing of it outlives the stream."""

    def __init__(self, bind: Bind, regions: Regions, limits: Limits):
        self.bind, self.regions, self.limits = bind, regions, limits
        self._hosted: BoundTerm | None = None
        self._rows = StreamRows((), limits)
        self._region: HostRegion | None = None
        self.seconds = 0.0  # that the last answer took

    def answer(self, data: bytes) -> bytes:
        """The answer to one message."""
        began = perf_counter()
        try:
            return self._answer(data)
        finally:
            self.seconds = perf_counter() - began

    def _answer(self, data: bytes) -> bytes:
        try:
            request = load(pb.EvaluateRequest, data)
        except DecodeError:
            raise BadQuery(
                Mistake("", "the message cannot be read", "use basin.v1 messages")
            ) from None
        field = request.head.WhichOneof("message")
        if field == "binding":
            self._hosted = self.bind(request.head.binding, request.raw)
            self._rows = StreamRows(self._hosted.told, self.limits)
            return pb.EvaluateResponse(ready=ready(self._hosted)).SerializeToString()
        if field == "region":
            return pb.EvaluateResponse(
                region=self._share(request.head.region.bytes)
            ).SerializeToString()
        if self._hosted is None:
            raise BadQuery(Mistake("binding", "is missing", "send it first"))
        if field == "structure":
            return self._structured(self._hosted, request).dump()
        if field != "batch":
            raise BadQuery(Mistake("message", "is missing", "send a batch"))
        return self._evaluated(self._hosted, request).dump()

    def close(self) -> None:
        """Give the shared memory up."""
        if self._region is not None:
            self._region.close()
            self._region = None

    def _share(self, size: int) -> pb.Region:
        self.close()
        self._region = self.regions.open(size, self.answer)
        return pb.Region() if self._region is None else self._region.told()

    def _structured(
        self, hosted: BoundTerm, request: Frame[pb.EvaluateRequest]
    ) -> Frame[pb.EvaluateResponse]:
        asked = request.head.structure
        if not hosted.told:
            raise BadQuery(Mistake("rows", "the term takes no inputs", "call Structure"))
        self._rows.bind(request.head.rows, request.raw)
        told = self._told(asked.rows, request, None)
        domains = domains_from_proto(asked.domains, request.raw, self.limits)
        head, raw = pb.EvaluateResponse(), list[bytes]()
        tell_structure(hosted.beside(domains, told), asked, head.structure, raw, self.limits)
        return Frame(head, raw)

    def _evaluated(
        self, hosted: BoundTerm, request: Frame[pb.EvaluateRequest]
    ) -> Frame[pb.EvaluateResponse]:
        batch = request.head.batch
        self._rows.bind(request.head.rows, request.raw)
        memory = None if self._region is None else self._region.memory
        try:
            arrays = view_list(batch.states, request.raw, self.limits, memory)
        except BadQuery as error:
            raise error.under("states") from None
        try:
            room = len(within(batch.room, memory)) if batch.HasField("room") else 0
        except BadQuery as error:
            raise error.under("room") from None
        told = self._told(batch.rows, request, memory)
        began = perf_counter()
        states = [
            torch.from_numpy(x if spec.HasField("slice") else x.copy())
            for x, spec in zip(arrays, batch.states, strict=True)
        ]
        energy, slopes = hosted.evaluate(states, batch.want_gradient, told)
        head = pb.EvaluateResponse()
        head.energies.sequence, head.energies.seconds = batch.sequence, perf_counter() - began
        specs = [head.energies.energy, *(head.energies.gradients.add() for _ in slopes)]
        results = [array_of(x) for x in (energy, *slopes)]
        raw: list[Content] = []
        if memory is not None and sum(aligned(x.nbytes) for x in results) <= room:
            offset = batch.room.offset
            for result, spec in zip(results, specs, strict=True):
                offset = share(result, spec, memory, offset)
        else:
            for result, spec in zip(results, specs, strict=True):
                lay(result, spec, raw)
        return Frame(head, raw)

    def _told(
        self, rows: TensorSpec, request: Frame[pb.EvaluateRequest], memory: memoryview | None
    ) -> list[Given]:
        """What some rows were told, by their keys; nothing where the scope has no input."""
        if not self._rows.told:
            return []
        try:
            keys = view(rows, request.raw, self.limits, memory)
        except BadQuery as error:
            raise error.under("rows") from None
        return self._rows.of(keys)


def ready(hosted: BoundTerm) -> pb.Ready:
    """What a binding is answered with."""
    dtype = number_of(hosted.term.dtype)
    return pb.Ready(floor=hosted.floor(), affine=bool(hosted.term.affine), dtype=dtype)

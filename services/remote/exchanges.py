"""Batches of one hosted term on their way: sent ahead, answered in order, resent when lost.

A batch asks the same whenever it is sent, so what a lost stream left unanswered goes to another
replica and the solve goes on. Large batches travel in chunks: in line, or through memory that the
host shares. Where it shares pipes too, they carry the messages about that memory, and the stream
is asked for what they cannot carry.
"""

import math
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from google.protobuf.message import DecodeError
from torch import Tensor

from engine.errors import BadQuery, BasinError, ModuleFault
from services.remote.lifecycle import STOP
from services.remote.replica import Line, Lost, Stream
from services.remote.replicas import Replicas
from services.transport.frames import Frame, load
from services.transport.pipes import Bell
from services.transport.shared_memory import attach, bell_of
from services.v1 import module_pb2 as pb
from services.wire.binding import Binding, binding_to_proto
from services.wire.tensors import (
    FLOATS,
    Array,
    Content,
    aligned,
    array_of,
    lay,
    share,
    view,
    view_list,
)

WINDOW = 4  # chunks under way at once, in line
SHARED = 64 << 10  # bytes of states and slopes from which shared memory is the faster way at once
LASTING = 4  # chunks after which it is for any: a stream that lasts repays the pipes beside it
LENT = 1 << 20  # bytes of slopes that are worth not being copied


@dataclass(eq=False)
class Pending:
    """One batch: what is known of its answer so far."""

    chunks: int
    answers: list[list[Array]] = field(default_factory=list)  # energies, slopes
    error: BasinError | None = None  # why there will be no answer


@dataclass(frozen=True, eq=False)
class _Chunk:
    """Some states of a batch, in one message."""

    pending: Pending
    sequence: int
    states: Sequence[Array]
    want_gradient: bool

    @property
    def room(self) -> int:
        """Bytes of shared memory that the answer takes."""
        return aligned(8 * len(self.states[0])) + (self.size if self.want_gradient else 0)

    @property
    def size(self) -> int:
        """Bytes of shared memory that the states take."""
        return sum(aligned(x.nbytes) for x in self.states)

    def message(self, memory: memoryview | None) -> bytes:
        """The request, its states in line or in shared memory with room for the answer."""
        head = pb.EvaluateRequest()
        batch = head.batch
        batch.sequence, batch.want_gradient = self.sequence, self.want_gradient
        raw: list[Content] = []
        if memory is None:
            for state in self.states:
                lay(state, batch.states.add(), raw)
        else:
            offset = 0
            for state in self.states:
                offset = share(state, batch.states.add(), memory, offset)
            batch.room.offset, batch.room.bytes = offset, self.room
        return Frame(head, raw).dump()


class Exchanges:
    """The one stream a term keeps open: batches out, energies and slopes back."""

    def __init__(self, replicas: Replicas, binding: Binding, sharing: bool):
        self.replicas, self.binding = replicas, binding
        self.sharing = sharing and replicas.dialing.shared_memory
        self._stream: Stream | None = None
        self._memory: memoryview | None = None  # shared on this stream
        self._refused = False  # the host shares none on this stream
        self._bell: Bell | None = None  # beside that memory
        self._rung = False  # the chunk under way went through it
        self._lending = True  # large slopes are left where they lie in that memory
        self._lent: list[weakref.ref[Array]] = []
        self._waiting: deque[_Chunk] = deque()  # not answered yet, in order
        self._sent = 0  # so many of them are under way on this stream
        self._lasted = 0  # so many were answered on it
        self.count = 0  # messages with states so far
        self._lock = threading.RLock()

    def send(self, tensors: Sequence[Tensor], want_gradient: bool) -> Pending:
        """Put a batch on its way. Raises what `wait` raises."""
        states = [array_of(x if x.dtype in FLOATS else x.float()) for x in tensors]
        with self._lock:
            chunks = list(_split(states, self._most(states)))
            pending = Pending(len(chunks))
            for chunk in chunks:
                self._waiting.append(_Chunk(pending, self.count, chunk, want_gradient))
                self.count += 1
            self._through(self._pump)
        return pending

    def wait(self, pending: Pending) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Energies (B,) and slopes of a batch. Raises ModuleUnavailable when every replica is lost,
        ModuleFault when the host answers wrongly, Cancelled when the solve is to stop."""
        with self._lock:
            while len(pending.answers) < pending.chunks:
                if pending.error is not None:
                    raise pending.error
                self._through(self._receive)
        parts = list(zip(*pending.answers, strict=True))  # of energies, and of each slope
        energy, *slopes = (
            torch.from_numpy(part[0] if len(part) == 1 else np.concatenate(part)) for part in parts
        )
        return energy, tuple(slopes)

    def close(self) -> None:
        """End the stream; the next batch opens another. What was not answered never will be."""
        with self._lock:
            self._end()
            self._drop(ModuleFault(self.binding.kind, "its stream was closed"))

    def _most(self, states: Sequence[Array]) -> int:
        """States in one chunk, the larger of states out and slopes back."""
        row = sum(math.prod(x.shape[1:]) * x.itemsize for x in states) + 8
        limits = self.replicas.dialing.limits
        # through shared memory too, a chunk must fit into a message: the next host may share none
        room = limits.message_bytes * 3 // 4 if self.sharing else limits.chunk_bytes
        return max(1, room // row)

    def _through(self, work: Callable[[], None]) -> None:
        """Some work on the stream, over and over while hosts are lost and others go on."""
        losses, hung = 0, set[Line]()
        while True:
            stream = self._stream
            try:
                if stream is None:
                    stream = self._open(frozenset(hung))
                    self._pump()
                work()
                return
            except Lost as lost:
                self._end()
                losses += 1
                assert stream is not None
                if lost.hung:
                    hung.add(stream.line)
                # a batch that ends whoever computes it must not go round for ever
                if losses > len(self.replicas.lines) or len(hung) == len(self.replicas.lines):
                    self._drop(lost.error)
                    raise lost.error from None
            except BadQuery as error:
                told = ModuleFault(self.binding.kind, f"refused a batch: {error}")
                self._end()
                self._drop(told)
                raise told from None
            except BasinError as error:
                self._end()
                self._drop(error)
                raise

    def _open(self, avoid: frozenset[Line]) -> Stream:
        raw: list[bytes] = []
        head = pb.EvaluateRequest(binding=binding_to_proto(self.binding, raw))
        message = Frame(head, raw).dump()

        def opened(line: Line) -> Stream:
            stream = Stream(line)
            try:
                stream.send(message)
                stream.receive()
            except BaseException:
                stream.close()
                raise
            return stream

        self._stream = self.replicas.first(opened, avoid)
        return self._stream

    def _end(self) -> None:
        """The stream and its memory are gone; nothing is under way."""
        if self._stream is not None:
            self._stream.close()
        self._hush()
        self._stream, self._memory, self._refused, self._sent = None, None, False, 0
        self._lasted = 0

    def _hush(self) -> None:
        """No more through pipes."""
        if self._bell is not None:
            self._bell.close()
        self._bell, self._rung = None, False

    def _drop(self, error: BasinError) -> None:
        """What waits will not be answered."""
        for chunk in self._waiting:
            chunk.pending.error = error
        self._waiting.clear()

    def _pump(self) -> None:
        """Send what may be under way by now: one chunk in shared memory, or some in line."""
        assert self._stream is not None
        while self._sent < min(WINDOW, len(self._waiting)):
            chunk = self._waiting[self._sent]
            shared = self._shares(chunk)
            if self._sent and (shared or self._rung):
                return
            memory = self._memory_for(chunk, self._stream) if shared else None
            message = chunk.message(memory)
            self._rung = memory is not None and self._bell is not None and self._bell.send(message)
            if not self._rung:
                self._stream.send(message)
            self._sent += 1

    def _shares(self, chunk: _Chunk) -> bool:
        """Whether the states of a chunk should lie in shared memory."""
        if not self.sharing or self._refused:
            return False
        return chunk.size + chunk.room >= SHARED or self._lasted >= LASTING

    def _memory_for(self, chunk: _Chunk, stream: Stream) -> memoryview | None:
        """Shared memory that holds a chunk and its answer; None where the host gives none."""
        size = chunk.size + chunk.room
        kept = any(slope() is not None for slope in self._lent)
        if kept:  # by a caller who would see them change; what is mapped stays as long as that
            self._lending = False
        self._lent.clear()
        if kept or self._memory is None or len(self._memory) < size:
            self._hush()
            head = pb.EvaluateRequest()
            head.region.bytes = size
            stream.send(head.SerializeToString())
            told = self._read(stream.receive(), "region").head.region
            self._memory = attach(told) if told.bytes >= size else None
            self._refused = self._memory is None
            if self._memory is not None:
                self._bell = bell_of(told)
        return self._memory

    def _receive(self) -> None:
        """The answer of the first chunk that waits."""
        chunk = self._waiting[0]
        answer = self._answer(self._read(self._next(chunk), "energies"), chunk)
        self._waiting.popleft()
        self._sent -= 1
        self._lasted += 1
        self._pump()
        chunk.pending.answers.append(answer)

    def _next(self, chunk: _Chunk) -> bytes:
        """The next message of the host, which answers this chunk."""
        assert self._stream is not None
        if self._rung:
            assert self._bell is not None
            seconds, stop = self.replicas.dialing.exchange_seconds, STOP.get()
            data = self._bell.receive(seconds, stop)
            if data:
                return data
            if data is None:
                raise self._stream.given_up(stop())
            self._hush()
            self._stream.send(chunk.message(self._memory))
        return self._stream.receive()

    def _read(self, data: bytes, field: str) -> Frame[pb.EvaluateResponse]:
        try:
            answer = load(pb.EvaluateResponse, data)
        except DecodeError as error:
            raise self._fault(f"its answer cannot be read: {error}") from None
        if answer.head.WhichOneof("message") != field:
            raise self._fault(f"its answer has no {field}")
        return answer

    def _answer(self, answer: Frame[pb.EvaluateResponse], chunk: _Chunk) -> list[Array]:
        """Energies and slopes of an answer, checked against what was sent: large slopes may be lent
        from shared memory, everything else is in memory of its own."""
        energies, limits = answer.head.energies, self.replicas.dialing.limits
        try:
            energy = view(energies.energy, answer.raw, limits, self._memory).copy()
            slopes = view_list(energies.gradients, answer.raw, limits, self._memory)
        except BadQuery as error:
            raise self._fault(f"its answer: {error}") from None
        if energies.sequence != chunk.sequence:
            raise self._fault(f"answered batch {energies.sequence}, not {chunk.sequence}")
        if energy.shape != (len(chunk.states[0]),) or energy.dtype != np.float64:
            raise self._fault(f"{energy.dtype} energies of shape {[*energy.shape]}")
        wanted = [x.shape for x in chunk.states] if chunk.want_gradient else []
        if [x.shape for x in slopes] != wanted:
            raise self._fault(f"gradients of shapes {[[*x.shape] for x in slopes]}")
        if np.isnan(energy).any():
            raise self._fault("an energy is nan")
        if not self._lends(energies):
            return [energy, *(slope.copy() for slope in slopes)]
        self._lent = [weakref.ref(slope) for slope in slopes]
        return [energy, *slopes]

    def _lends(self, energies: pb.Energies) -> bool:
        """Whether slopes may stay in shared memory: large ones, until that is needed again."""
        slices = [spec.slice.bytes for spec in energies.gradients if spec.HasField("slice")]
        free = self._lending and len(self._waiting) == 1
        return free and len(slices) == len(energies.gradients) and sum(slices) >= LENT

    def _fault(self, why: str) -> ModuleFault:
        return ModuleFault(self.binding.kind, why)


def _split(states: Sequence[Array], most: int) -> Iterator[Sequence[Array]]:
    """Chunks of at most so many states; one at least."""
    if len(states[0]) <= most:
        yield states
        return
    for at in range(0, len(states[0]), most):
        yield [x[at : at + most] for x in states]

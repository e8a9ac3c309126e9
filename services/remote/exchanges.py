"""Batches of one hosted term on their way: sent ahead, answered in order, resent when lost; and its
structure beside rows that the stream knows.

A batch asks the same whenever it is sent, so what a lost stream left unanswered goes to another
replica and the solve goes on. Large batches travel in chunks; a transport carries these, in line or
through memory that the host shares.
"""

import math
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from engine.errors import BadQuery, BasinError, ModuleFault, TooLarge
from services.remote.replica import Lost, Replica
from services.remote.replicas import Replicas
from services.remote.stream import EvaluateStream
from services.transport.base import Carried, Transport
from services.transport.chunk import Chunk, read_response
from services.transport.frames import Frame
from services.transport.inline import InlineTransport
from services.transport.rows import ToldRows
from services.transport.shared import SharedTransport
from services.transport.structure import StructureAsk
from services.v1 import module_pb2 as pb
from services.wire.arrays import Array
from services.wire.binding import BoundBinding
from services.wire.tensors import FLOATS, array_of

WINDOW = 4  # chunks under way at once


@dataclass(eq=False)
class Pending:
    """One batch: what is known of its answer so far."""

    chunks: int
    answers: list[list[Array]] = field(default_factory=list)  # energies, slopes
    error: BasinError | None = None  # why there will be no answer


@dataclass(frozen=True)
class Stats:
    """What the exchanges of a term have done, and do at the moment."""

    messages: int  # with states, so far
    waiting: int  # of these not answered yet
    carried: Carried | None  # by the open stream; None: there is none


class Exchanges:
    """The one stream a term keeps open: batches out, energies and slopes back."""

    def __init__(
        self,
        replicas: Replicas,
        bound: BoundBinding,
        sharing: bool,
        ready: pb.Ready | None = None,
    ):
        """sharing: the host shares memory. ready: what a host has said of the term already."""
        self.replicas, self.bound = replicas, bound
        self.sharing = sharing and replicas.policy.shared_memory
        self._transport: Transport | None = None
        self._ready = ready
        self._waiting: deque[tuple[Pending, Chunk]] = deque()  # not answered yet, in order
        self._sent = 0  # so many of them are under way on this stream
        self._count = 0  # messages with states so far
        self._lock = threading.RLock()

    def ready(self) -> pb.Ready:
        """What a host says of the term. Raises BadQuery as its kind does, or ModuleUnavailable."""
        with self._lock:
            if self._ready is None:
                self._open(frozenset())
            assert self._ready is not None
            return self._ready

    def send(
        self, tensors: Sequence[Tensor], want_gradient: bool, rows: ToldRows | None = None
    ) -> Pending:
        """Put a batch on its way: states, and the rows they belong to where the scope has inputs.
        Raises what `wait` raises."""
        states = [array_of(x if x.dtype in FLOATS else x.float()) for x in tensors]
        with self._lock:
            parts = list(_split(states, rows, self._most(states), self._most_rows(rows)))
            pending = Pending(len(parts))
            for part, own in parts:
                chunk = Chunk(self.bound.binding.kind, self._count, part, want_gradient, own)
                self._waiting.append((pending, chunk))
                self._count += 1
            self._insist(self._pump)
        return pending

    def wait(self, pending: Pending) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Energies (B,) and slopes of a batch. Raises ModuleUnavailable when every replica is lost,
        ModuleFault when the host answers wrongly, Cancelled when the solve is to stop."""
        with self._lock:
            while len(pending.answers) < pending.chunks:
                if pending.error is not None:
                    raise pending.error
                self._insist(self._receive)
        parts = list(zip(*pending.answers, strict=True))  # of energies, and of each slope
        energy, *slopes = (
            torch.from_numpy(part[0] if len(part) == 1 else np.concatenate(part)) for part in parts
        )
        return energy, tuple(slopes)

    def structure(self, ask: StructureAsk) -> Frame[pb.EvaluateResponse]:
        """What the host says of structure beside rows; batches under way are answered first. Raises
        what `wait` raises, and TooLarge where messages have no room for the answer."""
        said: list[Frame[pb.EvaluateResponse] | TooLarge] = []

        def exchanged(transport: Transport) -> None:
            try:
                said.append(transport.structure(ask))
            except TooLarge as error:
                said.append(error)

        with self._lock:
            while self._waiting:
                self._insist(self._receive)
            self._insist(exchanged)
            if isinstance(said[-1], TooLarge):
                self._end()  # as its host has
                raise said[-1]
            return said[-1]

    def stats(self) -> Stats:
        """What was done so far, and what is done at the moment."""
        with self._lock:
            carried = None if self._transport is None else self._transport.stats()
            return Stats(self._count, len(self._waiting), carried)

    def close(self) -> None:
        """End the stream; the next batch opens another. What was not answered never will be."""
        with self._lock:
            self._end()
            self._drop(ModuleFault(self.bound.binding.kind, "its stream was closed"))

    def _most(self, states: Sequence[Array]) -> int:
        """States in one chunk, the larger of states out and slopes back."""
        row = sum(math.prod(x.shape[1:]) * x.itemsize for x in states) + 8
        limits = self.replicas.limits
        # through shared memory too, a chunk must fit into a message: the next host may share none
        room = limits.message_bytes * 3 // 4 if self.sharing else limits.chunk_bytes
        return max(1, room // row)

    def _most_rows(self, rows: ToldRows | None) -> int:
        """Rows in one chunk: all of them may have to be told in one message."""
        if rows is None or not rows.row_bytes:
            return sys.maxsize
        return max(1, self.replicas.limits.message_bytes // 2 // rows.row_bytes)

    def _insist(self, work: Callable[[Transport], None]) -> None:
        """Some work on the stream, over and over while hosts are lost and others go on."""
        losses, hung = 0, set[Replica]()
        while True:
            try:
                transport = self._transport
                if transport is None:
                    transport = self._open(frozenset(hung))
                    self._pump(transport)
                work(transport)
                return
            except Lost as lost:
                self._end()
                losses += 1
                if lost.hung:
                    hung.add(lost.hung)
                # a batch that ends whoever computes it must not go round for ever
                if losses > len(self.replicas.every) or len(hung) == len(self.replicas.every):
                    self._drop(lost.error)
                    raise lost.error from None
            except BadQuery as error:
                fault = ModuleFault(self.bound.binding.kind, f"refused a message: {error}")
                self._end()
                self._drop(fault)
                raise fault from None
            except BasinError as error:
                self._end()
                self._drop(error)
                raise

    def _open(self, avoid: frozenset[Replica]) -> Transport:
        """A new stream. Raises ModuleFault where its host makes another term of the binding than
        the one before."""
        transport, ready = self.replicas.first(self._connect, avoid)
        self._transport = transport
        if self._ready is not None and ready != self._ready:
            where = transport.stats().address
            raise ModuleFault(
                self.bound.binding.kind,
                f"{where}: its floor, dtype or affine differs from what was said before; let all"
                " replicas run one version",
            )
        self._ready = ready
        return transport

    def _connect(self, replica: Replica) -> tuple[Transport, pb.Ready]:
        """A stream to one replica, bound to the term. Raises Lost, or what the host says."""
        stream, limits = EvaluateStream(replica), self.replicas.limits
        head = pb.EvaluateRequest(binding=self.bound.message)
        try:
            stream.send(Frame(head, self.bound.raw).dump())
            ready = read_response(stream.kind, stream.receive(), "ready").head.ready
        except BaseException:
            stream.close()
            raise
        make = SharedTransport if self.sharing else InlineTransport
        return make(stream, limits), ready

    def _end(self) -> None:
        """The stream is gone; nothing is under way."""
        if self._transport is not None:
            self._transport.close()
        self._transport, self._sent = None, 0

    def _drop(self, error: BasinError) -> None:
        """What waits will not be answered."""
        for pending, _ in self._waiting:
            pending.error = error
        self._waiting.clear()

    def _pump(self, transport: Transport) -> None:
        """Send what may be under way by now."""
        while self._sent < min(WINDOW, len(self._waiting)):
            if not transport.send(self._waiting[self._sent][1]):
                return
            self._sent += 1

    def _receive(self, transport: Transport) -> None:
        """The answer of the first chunk that waits."""
        pending, chunk = self._waiting[0]
        answer = transport.receive(chunk, lend=len(self._waiting) == 1)
        pending.answers.append(answer)
        self._waiting.popleft()
        self._sent -= 1
        self._pump(transport)


def _split(
    states: Sequence[Array], rows: ToldRows | None, most: int, most_rows: int
) -> Iterator[tuple[Sequence[Array], ToldRows | None]]:
    """Chunks of at most so many states, and of at most so many rows; one at least."""
    size = len(states[0] if rows is None else rows.keys)
    if rows is not None:
        for start, end in rows.pieces(most, most_rows):
            yield [x[start:end] for x in states], rows.part(start, end)
    elif size <= most:
        yield states, None
    else:
        for at in range(0, size, most):
            yield [x[at : at + most] for x in states], None

"""Chunks whose numbers stand in memory that the host shares, on its own machine; pipes beside it
carry the messages about them.

Small chunks of a stream that may not last, and all chunks where a host shares nothing, go in line.
One chunk at a time is in the memory. Linux only: elsewhere a host shares nothing.
"""

import weakref
from collections.abc import Sequence

from services.settings import Limits
from services.transport.base import Carried, Stream, Transport
from services.transport.chunk import Chunk, read_response
from services.transport.pipes import Bell
from services.transport.rows import BoundRows
from services.transport.shared_memory import attach, bell_of, detach
from services.v1 import module_pb2 as pb
from services.wire.arrays import Array

SHARED = 64 << 10  # bytes of states and slopes from which shared memory is the faster way at once
LASTING = 4  # chunks after which it is for any: a stream that lasts repays the pipes beside it
LENT = 1 << 20  # bytes of slopes that are worth not being copied


class SharedTransport(Transport):
    """Memory that grows with the chunks, and pipes where the host gives some."""

    def __init__(self, stream: Stream, limits: Limits):
        self.stream, self.limits = stream, limits
        self._memory: memoryview | None = None
        self._refused = False  # the host shares none
        self._bell: Bell | None = None  # beside that memory
        self._rung = False  # the chunk under way went through it
        self._loans = _Loans()
        self.bound = BoundRows(limits.input_numbers)
        self._sent = self._answered = self._piped = 0  # chunks

    def send(self, chunk: Chunk) -> bool:
        shared = self._shares(chunk)
        if self._sent > self._answered and (shared or self._rung):
            return False
        memory = self._memory_for(chunk) if shared else None
        message = chunk.message(memory, self.bound)
        self._rung = memory is not None and self._bell is not None and self._bell.send(message)
        if not self._rung:
            self.stream.send(message)
        self._sent += 1
        return True

    def receive(self, chunk: Chunk, lend: bool) -> list[Array]:
        found = chunk.read(self._next(chunk), self.limits, self._memory)
        self._answered += 1
        self._piped += self._rung
        if lend and found.shared >= LENT and self._loans.lend(found.slopes):
            return [found.energy, *found.slopes]
        return [found.energy, *(slope.copy() for slope in found.slopes)]

    def stats(self) -> Carried:
        return Carried(
            self.stream.address,
            memory=0 if self._memory is None else len(self._memory),
            pipes=self._bell is not None,
            piped=self._piped,
            lends=self._loans.open,
            lent=self._loans.held(),
        )

    def close(self) -> None:
        self.stream.close()
        self._let_go()

    def _shares(self, chunk: Chunk) -> bool:
        """Whether the states of a chunk should lie in shared memory."""
        lasting = self._answered >= LASTING
        return not self._refused and (lasting or chunk.size + chunk.room >= SHARED)

    def _memory_for(self, chunk: Chunk) -> memoryview | None:
        """Shared memory that holds a chunk and its answer; None where the host gives none."""
        size = chunk.size + chunk.room
        if self._loans.end() or self._memory is None or len(self._memory) < size:
            self._let_go()
            head = pb.EvaluateRequest()
            head.region.bytes = size
            self.stream.send(head.SerializeToString())
            told = read_response(chunk.kind, self.stream.receive(), "region").head.region
            self._memory = attach(told) if told.bytes >= size else None
            self._refused = self._memory is None
            if self._memory is not None:
                self._bell = bell_of(told)
        return self._memory

    def _next(self, chunk: Chunk) -> bytes:
        """The next message of the host, which answers this chunk."""
        if self._rung:
            assert self._bell is not None
            if data := self.stream.wait_for(self._bell.receive):
                return data
            self._hush()
            if chunk.rows is not None:
                self.bound.forget(chunk.rows)
            self.stream.send(chunk.message(self._memory, self.bound))
        return self.stream.receive()

    def _let_go(self) -> None:
        """No more through this memory."""
        self._hush()
        if self._memory is not None:
            detach(self._memory)
        self._memory = None

    def _hush(self) -> None:
        """No more through pipes."""
        if self._bell is not None:
            self._bell.close()
        self._bell, self._rung = None, False


class _Loans:
    """Slopes that stay in shared memory while nothing else needs it. A caller who held on to some
    would see them change: then that memory is left to him, and nothing is lent any more."""

    def __init__(self) -> None:
        self.open = True
        self._lent: list[weakref.ref[Array]] = []

    def lend(self, slopes: Sequence[Array]) -> bool:
        """Whether these may stay there."""
        if self.open:
            self._lent = [weakref.ref(slope) for slope in slopes]
        return self.open

    def held(self) -> int:
        """How many somebody holds."""
        return sum(slope() is not None for slope in self._lent)

    def end(self) -> bool:
        """The memory is needed; whether somebody still holds some of it."""
        held = self.held() > 0
        if held:
            self.open = False
        self._lent = []
        return held

"""Chunks whose numbers stand in the messages of the stream: between any two machines."""

from services.settings import Limits
from services.transport.base import Carried, Stream, Transport
from services.transport.chunk import Chunk
from services.transport.rows import BoundRows
from services.wire.arrays import Array


class InlineTransport(Transport):
    """As many chunks under way as one likes."""

    def __init__(self, stream: Stream, limits: Limits):
        self.stream, self.limits = stream, limits
        self.bound = BoundRows(limits.input_numbers)

    def send(self, chunk: Chunk) -> bool:
        self.stream.send(chunk.message(None, self.bound))
        return True

    def receive(self, chunk: Chunk, lend: bool) -> list[Array]:
        del lend  # nothing is shared
        found = chunk.read(self.stream.receive(), self.limits, None)
        return [found.energy, *(slope.copy() for slope in found.slopes)]

    def stats(self) -> Carried:
        return Carried(self.stream.address)

    def close(self) -> None:
        self.stream.close()

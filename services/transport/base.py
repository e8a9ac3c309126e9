"""What carries chunks to a host and their answers back, whatever way the bytes go."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from services.transport.chunk import Chunk, read_response
from services.transport.frames import Frame
from services.transport.rows import BoundRows
from services.transport.structure import StructureAsk
from services.v1 import module_pb2 as pb
from services.wire.arrays import Array

# of so many seconds, and of a stop signal: an answer, or None where they ended before it came
Receive = Callable[[float, Callable[[], bool]], bytes | None]


class Stream(ABC):
    """Abstract: an open stream to a host. What is sent is answered in order, bytes for bytes."""

    kind: str  # of the term
    address: str  # of the host

    @abstractmethod
    def send(self, message: bytes) -> None:
        """Put one message on its way."""

    @abstractmethod
    def receive(self) -> bytes:
        """The next answer. Raises what tells that there will be none."""

    @abstractmethod
    def wait_for(self, receive: Receive) -> bytes:
        """An answer that comes another way, waited for as long as one that comes here. Raises what
        `receive` does."""

    @abstractmethod
    def close(self) -> None:
        """End the stream; more than once does no harm."""


@dataclass(frozen=True)
class Carried:
    """What a transport does at the moment."""

    address: str  # of the host
    memory: int = 0  # bytes that are shared with the host
    pipes: bool = False  # whether pipes carry the messages about that memory
    piped: int = 0  # chunks that were answered through them
    lends: bool = False  # whether large slopes stay in that memory, as long as it is not needed
    lent: int = 0  # slopes there that somebody holds


class Transport(ABC):
    """Abstract: chunks out, answers back in the order of the chunks."""

    stream: Stream
    bound: BoundRows  # rows that the stream knows

    @abstractmethod
    def send(self, chunk: Chunk) -> bool:
        """Put a chunk on its way; False where what is under way has to be answered first."""

    @abstractmethod
    def receive(self, chunk: Chunk, lend: bool) -> list[Array]:
        """Energies and slopes of the chunk that is longest under way.

        lend: nothing waits behind it, so slopes may stay where the host wrote them. Raises
        ModuleFault for a wrong answer, and what the stream raises where there is none.
        """

    def structure(self, ask: StructureAsk) -> Frame[pb.EvaluateResponse]:
        """What the host says of structure, in line, while no chunk is under way. Raises as
        `receive` does."""
        self.stream.send(ask.message(self.bound))
        return read_response(ask.kind, self.stream.receive(), "structure")

    @abstractmethod
    def stats(self) -> Carried:
        """What it does at the moment."""

    @abstractmethod
    def close(self) -> None:
        """End the stream; nothing is under way any longer."""

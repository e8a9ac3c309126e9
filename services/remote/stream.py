"""One open Evaluate stream: its answers are waited for until they are overdue or unwanted."""

from queue import SimpleQueue

from engine.errors import ModuleUnavailable
from services.remote.replica import Lost, Replica
from services.transport.base import Receive, Stream


class EvaluateStream(Stream):
    """A stream to one replica."""

    def __init__(self, replica: Replica):
        self.replica = replica
        self.kind, self.address = replica.kind, replica.address
        self._outbox: SimpleQueue[bytes | None] = SimpleQueue()
        self._call = replica.channel.evaluate(iter(self._outbox.get, None))
        replica.channel.streams.add(self)

    def send(self, message: bytes) -> None:
        self._outbox.put(message)

    def receive(self) -> bytes:
        """The next answer. Raises Lost, Cancelled, or what the host says."""
        try:
            return self.replica.next_of(self._call)
        except StopIteration:
            why = f"{self.address}: it ended the stream"
            raise Lost(ModuleUnavailable(self.kind, why)) from None

    def wait_for(self, receive: Receive) -> bytes:
        seconds, stop = self.replica.patience()
        data = receive(seconds, stop)
        if data is None:
            raise self.replica.unwanted() if stop() else self.replica.overdue()
        return data

    def close(self) -> None:
        self.replica.channel.streams.discard(self)
        self._outbox.put(None)
        self._call.cancel()

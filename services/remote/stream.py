"""One open Evaluate stream: its answers are waited for until they are overdue or unwanted."""

from collections.abc import Callable
from queue import SimpleQueue

import grpc

from engine.errors import Cancelled, ModuleUnavailable
from services.remote.lifecycle import STOP
from services.remote.replica import Lost, Replica
from services.remote.watch import WATCH
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
        seconds, stop = self._patience()
        try:
            with WATCH.over(self._call, seconds, stop):
                return next(self._call)
        except StopIteration:
            why = f"{self.address}: it ended the stream"
            raise Lost(ModuleUnavailable(self.kind, why)) from None
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.CANCELLED and stop():
                raise self._unwanted() from None
            raise self.replica.error_of(error) from None

    def wait_for(self, receive: Receive) -> bytes:
        seconds, stop = self._patience()
        data = receive(seconds, stop)
        if data is None:
            raise self._unwanted() if stop() else self.replica.overdue()
        return data

    def close(self) -> None:
        self.replica.channel.streams.discard(self)
        self._outbox.put(None)
        self._call.cancel()

    def _patience(self) -> tuple[float, Callable[[], bool]]:
        """Seconds until an answer is overdue, and whether anybody still wants it."""
        return self.replica.channel.policy.exchange_seconds, STOP.get()

    def _unwanted(self) -> Cancelled:
        return Cancelled(f"stopped while module {self.kind} computed")

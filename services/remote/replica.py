"""One process that hosts a kind: its channel, and what its errors mean."""

import json
from queue import SimpleQueue
from typing import Any, TypeVar

import grpc

from engine.errors import BasinError, Cancelled, ModuleFault, ModuleUnavailable, OutOfTime
from services.remote.lifecycle import STOP
from services.remote.watch import WATCH
from services.rpc.channel import calling
from services.rpc.status import error_of_call
from services.settings import Dialing
from services.v1 import module_pb2_grpc as rpc

T = TypeVar("T")
SERVICE = "basin.v1.ModuleService"
_CONFIG = json.dumps(
    {  # a host that says it is not serving, such as one that drains, gets nothing new
        "loadBalancingConfig": [{"round_robin": {}}],
        "healthCheckConfig": {"serviceName": SERVICE},
    }
)


class Lost(Exception):
    """The transport failed: another replica may do better."""

    def __init__(self, error: ModuleUnavailable, hung: bool):
        self.error, self.hung = error, hung
        super().__init__(str(error))


class Line:
    """A channel to one address of a kind."""

    def __init__(self, kind: str, address: str, dialing: Dialing):
        self.kind, self.address, self.dialing = kind, address, dialing
        self.streams: set[Stream] = set()  # open ones: what balances the load
        self.rests = 0.0  # until then it is asked last
        patience = int(dialing.connect_seconds * 1000)
        self.channel = grpc.insecure_channel(
            address,
            options=[
                *calling(dialing.limits),
                ("grpc.service_config", _CONFIG),
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 250),  # a host that is back is found soon
                ("grpc.min_reconnect_backoff_ms", patience),  # what connecting may take
            ],
        )
        self.stub = rpc.ModuleServiceStub(self.channel)
        self.evaluate: Any = self.channel.stream_stream(f"/{SERVICE}/Evaluate")  # bytes both ways

    def ask(self, method: str, request: Any) -> Any:
        """One unary call. Raises Lost, or what the host says."""
        try:
            return getattr(self.stub, method)(request, timeout=self.dialing.exchange_seconds)
        except grpc.RpcError as error:
            raise self.said(error) from None

    def said(self, call: Any) -> BasinError | Lost:
        """The exception of a failed call."""
        error = error_of_call(call, self.address, self.kind)
        if isinstance(error, (OutOfTime, Cancelled)):
            return self.overdue()
        if isinstance(error, ModuleUnavailable) and error.module == self.kind:
            return Lost(error, hung=False)
        if type(error) is BasinError:
            return ModuleFault(self.kind, f"{self.address}: {error}")
        return error

    def overdue(self) -> Lost:
        """The exception of an answer that did not come in time."""
        why = f"{self.address}: no answer within {self.dialing.exchange_seconds:g} s"
        return Lost(ModuleUnavailable(self.kind, why), hung=True)


class Stream:
    """One open Evaluate stream: what is sent is answered in order, bytes for bytes."""

    def __init__(self, line: Line):
        self.line = line
        self._outbox: SimpleQueue[bytes | None] = SimpleQueue()
        self._call = line.evaluate(iter(self._outbox.get, None))
        line.streams.add(self)

    def send(self, message: bytes) -> None:
        """Put one message on its way."""
        self._outbox.put(message)

    def receive(self) -> bytes:
        """The next answer. Raises Lost, or what the host says."""
        stop = STOP.get()
        try:
            with WATCH.over(self._call, self.line.dialing.exchange_seconds, stop):
                return next(self._call)
        except StopIteration:
            why = f"{self.line.address}: it ended the stream"
            raise Lost(ModuleUnavailable(self.line.kind, why), hung=False) from None
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.CANCELLED and stop():
                raise self.given_up(True) from None
            raise self.line.said(error) from None

    def given_up(self, stopped: bool) -> Cancelled | Lost:
        """The exception of an answer that nobody waits for any longer: the solve was stopped, or
        the host is overdue."""
        if stopped:
            return Cancelled(f"stopped while module {self.line.kind} computed")
        return self.line.overdue()

    def close(self) -> None:
        """End the stream; more than once does no harm."""
        self.line.streams.discard(self)
        self._outbox.put(None)
        self._call.cancel()

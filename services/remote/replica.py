"""One process that hosts a kind: what it is asked, and what its errors mean."""

from typing import Any, Optional

import grpc

from engine.errors import BasinError, Cancelled, ModuleFault, ModuleUnavailable, OutOfTime
from services.remote.channel import Channel
from services.remote.lifecycle import STOP
from services.remote.watch import WATCH
from services.rpc.status import error_of_call


class Lost(Exception):
    """The transport failed: another replica may do better.

    hung: the replica that did not answer in time; None where it failed at once.
    """

    def __init__(self, error: ModuleUnavailable, hung: Optional["Replica"] = None):
        self.error, self.hung = error, hung
        super().__init__(str(error))


class Replica:
    """A kind at one address, over the channel that all kinds there share."""

    def __init__(self, kind: str, channel: Channel):
        self.kind, self.channel = kind, channel
        self.address = channel.address

    def ask(self, method: str, request: Any) -> Any:
        """One unary call. Raises Lost, or what the host says."""
        seconds, stop = self.channel.policy.exchange_seconds, STOP.get()
        call = getattr(self.channel.stub, method).future(request, timeout=seconds)
        try:
            with WATCH.over(call, seconds, stop):
                return call.result()
        except grpc.FutureCancelledError:
            if stop():
                raise Cancelled(f"{self.kind}: the caller stopped waiting") from None
            raise self.overdue() from None
        except grpc.RpcError as error:
            raise self.error_of(error) from None

    def error_of(self, call: Any) -> BasinError | Lost:
        """The exception of a failed call."""
        error = error_of_call(call, self.address, self.kind)
        if isinstance(error, (OutOfTime, Cancelled)):
            return self.overdue()
        if isinstance(error, ModuleUnavailable) and error.module == self.kind:
            return Lost(error)
        if type(error) is BasinError:
            return ModuleFault(self.kind, f"{self.address}: {error}")
        return error

    def overdue(self) -> Lost:
        """The exception of an answer that did not come in time."""
        seconds = self.channel.policy.exchange_seconds
        why = f"{self.address}: no answer within {seconds:g} s"
        return Lost(ModuleUnavailable(self.kind, why), hung=self)

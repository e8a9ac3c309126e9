"""One process that hosts a kind: what it is asked, and what its errors mean."""

from collections.abc import Callable
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
        """One unary call. Raises Lost, Cancelled, or what the host says."""
        seconds = self.channel.policy.exchange_seconds
        return self.next_of(self.channel.unary[method](request, timeout=seconds))

    def next_of(self, call: Any) -> Any:
        """The next message of a call, waited for as long as anybody wants it. Raises Lost,
        Cancelled, or what the host says; StopIteration where there is none."""
        seconds, stop = self.patience()
        try:
            with WATCH.over(call, seconds, stop):
                return next(call)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.CANCELLED and stop():
                raise self.unwanted() from None
            raise self.error_of(error) from None

    def patience(self) -> tuple[float, Callable[[], bool]]:
        """Seconds until an answer is overdue, and whether nobody wants it any more."""
        return self.channel.policy.exchange_seconds, STOP.get()

    def unwanted(self) -> Cancelled:
        """The exception of an answer that nobody waits for."""
        return Cancelled(f"stopped while module {self.kind} computed")

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

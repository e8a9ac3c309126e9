"""Calls to the hosts of one kind: replicas that share the load, streams that break, slow hosts.

What the transport loses becomes `ModuleUnavailable` with kind and address; what the host says
itself (a bad parameter, a fault of the module) is raised as the host said it.
"""

import itertools
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, TypeVar

import grpc

from engine.errors import BasinError, Cancelled, ModuleFault, ModuleUnavailable, OutOfTime
from services.agreement import STOP
from services.faults import error_of_call
from services.limits import DEFAULT, Limits
from services.serving import calling
from services.v1 import module_pb2_grpc as rpc

T = TypeVar("T")

SERVICE = "basin.v1.ModuleService"
TICK = 0.02  # seconds between two looks at exchanges under way
PAUSE = 0.05  # seconds between two rounds of all replicas
REST = 1.0  # seconds for which a replica that was lost is asked last
_CONFIG = json.dumps(
    {  # a host that says it is not serving, such as one that drains, gets nothing new
        "loadBalancingConfig": [{"round_robin": {}}],
        "healthCheckConfig": {"serviceName": SERVICE},
    }
)


@dataclass(frozen=True)
class Dialing:
    """How patient a caller of hosts is."""

    exchange_seconds: float = 60.0  # for one answer of a host; longer, and it counts as lost
    connect_seconds: float = 1.5
    return_seconds: float = 1.0  # for which a call tries again when every replica is lost
    shared_memory: bool = True  # used where a host on this machine offers it
    limits: Limits = DEFAULT


PATIENT = Dialing()


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
            with _WATCH.over(self._call, self.line.dialing.exchange_seconds, stop):
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


class Replicas:
    """The addresses that host one kind, interchangeable: the one with the fewest open streams is
    asked first, one that was lost lately last, and one that does not serve is passed over."""

    def __init__(self, kind: str, addresses: Sequence[str], dialing: Dialing = PATIENT):
        self.kind, self.dialing = kind, dialing
        self.lines = tuple(Line(kind, address, dialing) for address in addresses)
        self._turn = itertools.count()

    def ask(self, method: str, request: Any) -> Any:
        """One unary call, on the first replica that answers."""
        return self.first(lambda line: line.ask(method, request))

    def first(self, use: Callable[[Line], T], avoid: frozenset[Line] = frozenset()) -> T:
        """What `use` makes of the first line that is not lost.

        When all are lost they are tried again for a while: one of them may be starting anew.
        """
        ends = time.monotonic() + self.dialing.return_seconds
        hung = set(avoid)
        while True:
            errors = []
            for line in self._round():
                if line in hung:
                    continue
                try:
                    return use(line)
                except Lost as lost:
                    line.rests = time.monotonic() + REST
                    errors.append(lost.error)
                    if lost.hung:
                        hung.add(line)
            if len(hung) == len(self.lines) or time.monotonic() >= ends:
                raise _every(self.kind, errors)
            if STOP.get()():
                raise Cancelled(f"stopped while module {self.kind} was not to be reached")
            time.sleep(PAUSE)

    def close(self) -> None:
        """Close every channel."""
        for line in self.lines:
            line.channel.close()

    def _round(self) -> list[Line]:
        """Every line once: those at rest last, then by open streams, then by turns."""
        turn = next(self._turn) % len(self.lines)
        now = time.monotonic()
        turned = self.lines[turn:] + self.lines[:turn]
        return sorted(turned, key=lambda line: (line.rests > now, len(line.streams)))


def _every(kind: str, errors: Sequence[ModuleUnavailable]) -> ModuleUnavailable:
    """One error of all replicas."""
    if len(errors) == 1:
        return errors[0]
    return ModuleUnavailable(kind, "; ".join(error.why for error in errors) or "no replica left")


class _Watch:
    """Cancels calls that are overdue or no longer wanted: a blocked `next(call)` has no timeout."""

    def __init__(self) -> None:
        self.open: dict[int, tuple[float, Callable[[], bool], Any]] = {}
        self.some = threading.Event()
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def over(self, call: Any, seconds: float, stop: Callable[[], bool]) -> "_Watched":
        """A context in which `call` is cancelled after some seconds, or when `stop` says so."""
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, daemon=True, name="watch")
                    self._thread.start()
        return _Watched(self, next(self._numbers), (time.monotonic() + seconds, stop, call))

    def _run(self) -> None:
        while True:
            self.some.wait()
            time.sleep(TICK)
            now = time.monotonic()
            for due, stop, call in list(self.open.values()):
                if now >= due or stop():
                    call.cancel()
            if not self.open:
                self.some.clear()
                if self.open:  # opened between the two lines above
                    self.some.set()


@dataclass(frozen=True, eq=False)
class _Watched:
    """One exchange under watch."""

    watch: _Watch
    number: int
    entry: tuple[float, Callable[[], bool], Any]

    def __enter__(self) -> None:
        self.watch.open[self.number] = self.entry
        if not self.watch.some.is_set():
            self.watch.some.set()

    def __exit__(self, *exc: object) -> None:
        del self.watch.open[self.number]


_WATCH = _Watch()

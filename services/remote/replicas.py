"""Calls to the hosts of one kind: replicas that share the load, streams that break, slow hosts.

What the transport loses becomes `ModuleUnavailable` with kind and address; what the host says
itself (a bad parameter, a fault of the module) is raised as the host said it.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from engine.errors import Cancelled, ModuleUnavailable
from services.remote.channel import Channel
from services.remote.lifecycle import STOP
from services.remote.replica import Lost, Replica
from services.settings import DEFAULT, PATIENT, Limits, RemotePolicy

T = TypeVar("T")

PAUSE = 0.05  # seconds between two rounds of all replicas
REST = 1.0  # seconds for which a replica that was lost is asked last


class Replicas:
    """The addresses that host one kind, interchangeable: the one with the fewest open streams is
    asked first, one that was lost lately last, and one that does not serve is passed over."""

    def __init__(
        self,
        kind: str,
        channels: Sequence[Channel],
        policy: RemotePolicy = PATIENT,
        limits: Limits = DEFAULT,
    ):
        self.kind, self.policy, self.limits = kind, policy, limits
        self.every = tuple(Replica(kind, channel) for channel in channels)
        self._turn = itertools.count()

    def ask(self, method: str, request: Any) -> Any:
        """One unary call, on the first replica that answers."""
        return self.first(lambda replica: replica.ask(method, request))

    def first(self, use: Callable[[Replica], T], avoid: frozenset[Replica] = frozenset()) -> T:
        """What `use` makes of the first replica that is not lost.

        When all are lost they are tried again for a while: one of them may be starting anew.
        """
        ends = time.monotonic() + self.policy.return_seconds
        hung = set(avoid)
        while True:
            errors = []
            for replica in self._round():
                if replica in hung:
                    continue
                try:
                    return use(replica)
                except Lost as lost:
                    replica.channel.rests = time.monotonic() + REST
                    errors.append(lost.error)
                    if lost.hung:
                        hung.add(replica)
            if len(hung) == len(self.every) or time.monotonic() >= ends:
                raise _all_lost(self.kind, errors)
            if STOP.get()():
                raise Cancelled(f"stopped while module {self.kind} was not to be reached")
            time.sleep(PAUSE)

    def _round(self) -> list[Replica]:
        """Every replica once: those at rest last, then by open streams, then by turns."""
        turn = next(self._turn) % len(self.every)
        now = time.monotonic()
        turned = self.every[turn:] + self.every[:turn]
        return sorted(turned, key=lambda r: (r.channel.rests > now, len(r.channel.streams)))


def _all_lost(kind: str, errors: Sequence[ModuleUnavailable]) -> ModuleUnavailable:
    """One error of all replicas."""
    if len(errors) == 1:
        return errors[0]
    return ModuleUnavailable(kind, "; ".join(error.why for error in errors) or "no replica left")

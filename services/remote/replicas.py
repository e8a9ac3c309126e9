"""Calls to the hosts of one kind: replicas that share the load, streams that break, slow hosts.

What the transport loses becomes `ModuleUnavailable` with kind and address; what the host says
itself (a bad parameter, a fault of the module) is raised as the host said it.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

from engine.errors import Cancelled, ModuleUnavailable
from services.remote.lifecycle import STOP
from services.remote.replica import Line, Lost, T
from services.settings import PATIENT, Dialing

PAUSE = 0.05  # seconds between two rounds of all replicas
REST = 1.0  # seconds for which a replica that was lost is asked last


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

"""The sessions of a service: whose they are, how many there may be, and when they end.

An id is 128 random bits; another tenant's id is as unknown as one that never was. Everything here
runs on the event loop.
"""

import asyncio
import secrets
import threading
from collections import Counter

from engine.errors import SessionNotFound, TooManySessions
from services.reasoner.session import Talk
from services.settings import Limits


class Seat:
    """A session that waits for its next question; one question at a time."""

    def __init__(self, tenant: str, talk: Talk):
        self.tenant, self.talk = tenant, talk
        self.turn = asyncio.Lock()  # one question at a time, in order
        self.busy = threading.Lock()  # held by the thread, which may outlast a call that was left
        self.expiry: asyncio.TimerHandle | None = None


class Sessions:
    """Every session that was opened and has not ended."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self._seats: dict[str, Seat] = {}
        self._open: Counter[str] = Counter()  # by tenant; those that are streams count too

    def enter(self, tenant: str) -> None:
        """One more session of a tenant; it owes one `leave`. Raises TooManySessions."""
        mine, every = self._open[tenant], self._open.total()
        if mine >= self.limits.sessions:
            raise TooManySessions(f"{mine} sessions are open: close one, or let one expire")
        if every >= self.limits.all_sessions:
            raise TooManySessions("the service has as many sessions as it may: try again later")
        self._open[tenant] += 1

    def leave(self, tenant: str) -> None:
        """A session of a tenant has ended."""
        self._open[tenant] -= 1
        if not self._open[tenant]:
            del self._open[tenant]

    def seated(self, tenant: str, talk: Talk) -> str:
        """A new id for a session that has entered."""
        number = secrets.token_urlsafe(16)
        self._seats[number] = Seat(tenant, talk)
        self._wait(number)
        return number

    def seat(self, tenant: str, number: str) -> Seat:
        """A tenant's session; its time to expire begins anew. Raises SessionNotFound."""
        seat = self._seats.get(number)
        if seat is None or seat.tenant != tenant:
            raise SessionNotFound(
                "there is no such session: it was closed, has expired, or is not yours; open one"
            )
        self._wait(number)
        return seat

    def close(self, tenant: str, number: str) -> None:
        """End a tenant's session. Raises SessionNotFound."""
        self.seat(tenant, number)
        self._end(number)

    def _wait(self, number: str) -> None:
        seat = self._seats[number]
        if seat.expiry is not None:
            seat.expiry.cancel()
        loop = asyncio.get_running_loop()
        seat.expiry = loop.call_later(self.limits.idle_seconds, self._expire, number)

    def _expire(self, number: str) -> None:
        if self._seats[number].turn.locked():  # it is being asked
            self._wait(number)
        else:
            self._end(number)

    def _end(self, number: str) -> None:
        seat = self._seats.pop(number)
        if seat.expiry is not None:
            seat.expiry.cancel()
        self.leave(seat.tenant)

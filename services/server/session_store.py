"""The sessions of a service: whose they are, how many there may be, and when they end.

An id is 128 random bits; another tenant's id is as unknown as one that never was. Everything here
runs on the event loop.
"""

import asyncio
import secrets
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta

from engine.errors import SessionNotFound, TooManySessions
from services.reasoner.session import QuerySession
from services.settings import Limits


class StoredSession:
    """A session that waits for its next question; one question at a time."""

    def __init__(self, identifier: str, tenant: str, talk: QuerySession):
        self.id, self.tenant, self.talk = identifier, tenant, talk
        self.turn = asyncio.Lock()  # one question at a time, in order
        self.busy = threading.Lock()  # held by the thread, which may outlast a call that was left
        self.timer: asyncio.TimerHandle | None = None


class SessionStore:
    """Every session that was opened and has not ended."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self._sessions: dict[str, StoredSession] = {}
        self._open: Counter[str] = Counter()  # by tenant; those that are streams count too

    def enter(self, tenant: str) -> None:
        """One more session of a tenant; it owes one `leave`. Raises TooManySessions."""
        mine, every = self._open[tenant], self._open.total()
        if mine >= self.limits.sessions:
            limit = self.limits.told("sessions")
            raise TooManySessions(
                f"{mine} sessions are open: close one, or let one expire; {limit}"
            )
        if every >= self.limits.all_sessions:
            limit = self.limits.told("all_sessions")
            said = "the service has as many sessions as it may: try again later"
            raise TooManySessions(f"{said}; {limit}")
        self._open[tenant] += 1

    def leave(self, tenant: str) -> None:
        """A session of a tenant has ended."""
        self._open[tenant] -= 1
        if not self._open[tenant]:
            del self._open[tenant]

    def add(self, tenant: str, talk: QuerySession) -> StoredSession:
        """A session that has entered, under a new id."""
        session = StoredSession(secrets.token_urlsafe(16), tenant, talk)
        self._sessions[session.id] = session
        self.renew(session)
        return session

    def find(self, tenant: str, identifier: str) -> StoredSession:
        """A tenant's session; its time to expire begins anew. Raises SessionNotFound."""
        session = self._sessions.get(identifier)
        if session is None or session.tenant != tenant:
            raise SessionNotFound(
                "there is no such session: it was closed, has expired, or is not yours; open one"
            )
        self.renew(session)
        return session

    def close(self, tenant: str, identifier: str) -> StoredSession:
        """End a tenant's session. Raises SessionNotFound."""
        session = self.find(tenant, identifier)
        self._end(session)
        return session

    def renew(self, session: StoredSession) -> datetime | None:
        """Its time to expire begins anew; when it ends then, None where it has ended."""
        if session.id not in self._sessions:
            return None
        if session.timer is not None:
            session.timer.cancel()
        loop = asyncio.get_running_loop()
        session.timer = loop.call_later(self.limits.idle_seconds, self._expire, session)
        return self.expiry()

    def expiry(self) -> datetime:
        """When a session ends of which nothing is asked from now on."""
        return datetime.now(UTC) + timedelta(seconds=self.limits.idle_seconds)

    def _expire(self, session: StoredSession) -> None:
        if session.turn.locked():  # it is being asked
            self.renew(session)
        else:
            self._end(session)

    def _end(self, session: StoredSession) -> None:
        del self._sessions[session.id]
        if session.timer is not None:
            session.timer.cancel()
        self.leave(session.tenant)

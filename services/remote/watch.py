"""Calls under way are cancelled when their caller stops, or when they take too long.

A thread looks at all of them every 20 ms. Stop signals are questions (`Callable[[], bool]`): doors
make new ones of others and of the clock, `Stop.hurry` moves them, and users write their own
(`Budget.stop`). Callbacks and a timer would need each to be an object that tells when it turns, and
would still have to ask those of users; they are no faster: a watched exchange costs 1 to 3 us
either way, and eight that wait take a quarter of a percent of a core.
"""

import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

TICK = 0.02  # seconds between two looks at exchanges under way


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


WATCH = _Watch()

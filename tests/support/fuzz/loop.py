"""An event loop in a thread of its own: gRPC's servers want one a process."""

import asyncio
import threading
from typing import Any


class Loop:
    """Runs coroutines for threads that wait for them."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def do(self, coroutine: Any) -> Any:
        """What a coroutine comes to."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    def close(self) -> None:
        """Nothing more is run."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

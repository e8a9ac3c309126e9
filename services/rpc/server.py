"""How a service of Basin stands up: it binds with care, says where, drains on SIGTERM and ends."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection as grpc_reflection

from engine.errors import Unavailable
from services.rpc.address import bound, check_address
from services.rpc.channel import PINGS, end_no_earlier, message_options
from services.rpc.errors import ErrorInterceptor
from services.rpc.tuning import log, tune_malloc, tune_python
from services.settings import DEFAULT, Limits

GRACE = 3.0  # seconds that calls have to end after SIGTERM
_SERVING = health_pb2.HealthCheckResponse.SERVING


@dataclass(frozen=True, eq=False)
class Service:
    """A server that was started: what to wait for, and how to end it."""

    server: grpc.aio.Server
    port: int
    health: Any
    workers: Sequence[ThreadPoolExecutor]
    hurry: Callable[[float], None] = end_no_earlier  # calls that can end early do, in some seconds

    async def drain(self, grace: float = GRACE) -> None:
        """Refuse what is new, let calls end for `grace` seconds, then cut them off."""
        await self.health.enter_graceful_shutdown()
        self.hurry(grace)
        await self.server.stop(grace)
        for pool in self.workers:
            pool.shutdown(wait=False, cancel_futures=True)


async def start(
    add: Callable[[grpc.aio.Server], None],
    names: Sequence[str],
    address: str,
    *,
    workers: Sequence[ThreadPoolExecutor],
    limits: Limits = DEFAULT,
    reflection: bool = False,
    insecure: bool = False,
) -> Service:
    """Start a server with `add`ed services; port 0 takes a free one, which `port` tells."""
    check_address(address, insecure)
    server = grpc.aio.server(
        interceptors=[ErrorInterceptor(limits)],
        options=[
            *message_options(limits),
            ("grpc.so_reuseport", 0),  # or a second server on the port would bind silently
            ("grpc.http2.min_ping_interval_without_data_ms", PINGS // 2),  # or it hangs up
            ("grpc.keepalive_permit_without_calls", 1),
        ],
    )
    add(server)
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    if reflection:
        grpc_reflection.enable_server_reflection(
            (*names, health.SERVICE_NAME, grpc_reflection.SERVICE_NAME), server
        )
    try:
        port = server.add_insecure_port(address)
    except RuntimeError:
        raise Unavailable(f"cannot listen on {address}: is the port taken?") from None
    await server.start()
    for name in ("", *names):
        await checks.set(name, _SERVING)
    return Service(server, port, checks, workers)


def run(make: Callable[[], Awaitable[Service]], address: str, grace: float = GRACE) -> int:
    """Serve until SIGTERM or SIGINT, drain, and return the exit code, 0; a second signal ends now,
    with 128 and its number.

    Says `listening on HOST:PORT` on stdout as soon as calls are answered.
    """
    tune_malloc()
    tune_python()
    service = asyncio.run(_serve(make, address, grace))
    sys.stdout.flush()
    ending = time.monotonic() + 0.5
    for thread in [thread for pool in service.workers for thread in pool._threads]:
        thread.join(max(0.0, ending - time.monotonic()))
        if thread.is_alive():
            log.warning("ended with work unfinished")
            os._exit(0)  # a term that is still computing would keep the process
    return 0


async def _serve(make: Callable[[], Awaitable[Service]], address: str, grace: float) -> Service:
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    service = await make()

    def on_signal(number: int) -> None:
        if asked.is_set():
            os._exit(128 + number)
        asked.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    print(f"listening on {bound(address, service.port)}", flush=True)
    await asked.wait()
    await service.drain(grace)
    ending = asyncio.all_tasks() - {asyncio.current_task()}
    if ending:  # calls that were cut off; gRPC prints a traceback when the loop goes before them
        await asyncio.wait(ending, timeout=0.5)
    return service

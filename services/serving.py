"""How a service of Basin stands up: it binds with care, says where, drains on SIGTERM and ends."""

import asyncio
import ctypes
import gc
import ipaddress
import logging
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

from engine.errors import BadQuery, Mistake, Unavailable
from services.door import Door
from services.limits import DEFAULT, Limits

log = logging.getLogger(__name__)

GRACE = 3.0  # seconds that calls have to end after SIGTERM
PINGS = 10_000  # milliseconds between two looks whether the other end is there
_SERVING = health_pb2.HealthCheckResponse.SERVING
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)


def calling(limits: Limits) -> list[tuple[str, Any]]:
    """Channel options of clients: a connection that is gone is noticed while a call waits."""
    return [
        *options_of(limits),
        ("grpc.keepalive_time_ms", PINGS),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.enable_http_proxy", 0),
    ]


def options_of(limits: Limits) -> list[tuple[str, Any]]:
    """Channel options that servers and clients share."""
    return [
        ("grpc.max_receive_message_length", limits.message_bytes),
        ("grpc.max_send_message_length", limits.message_bytes),
    ]


def unhurried(seconds: float) -> None:
    """Nothing runs that could end earlier."""


@dataclass(frozen=True, eq=False)
class Service:
    """A server that was started: what to wait for, and how to end it."""

    server: grpc.aio.Server
    port: int
    health: Any
    workers: Sequence[ThreadPoolExecutor]
    hurry: Callable[[float], None] = unhurried  # calls that can end early do, in some seconds

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
        interceptors=[Door()],
        options=[
            *options_of(limits),
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
    """Serve until SIGTERM or SIGINT, drain, and return the exit code; a second signal ends now.

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

    def on_signal() -> None:
        if asked.is_set():
            os._exit(0)
        asked.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    print(f"listening on {bound(address, service.port)}", flush=True)
    await asked.wait()
    await service.drain(grace)
    ending = asyncio.all_tasks() - {asyncio.current_task()}
    if ending:  # calls that were cut off; gRPC prints a traceback when the loop goes before them
        await asyncio.wait(ending, timeout=0.5)
    return service


def bound(address: str, port: int) -> str:
    """The address with the port that was taken."""
    return address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}"


def check_address(address: str, insecure: bool = False) -> None:
    """Raise BadQuery unless it is HOST:PORT or unix:PATH, and loopback or insecure by name."""
    if address.startswith("unix:"):
        return
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isascii() and port.isdigit() and int(port) < 2**16):
        raise BadQuery(
            Mistake("listen", f"{address!r} is no address", "write HOST:PORT; port 0 is any")
        )
    if not insecure and not _is_loopback(host.strip("[]")):
        raise BadQuery(
            Mistake(
                "listen",
                f"{address!r} is open to other machines, and there is no TLS",
                "listen on 127.0.0.1, or say --insecure-listen",
            )
        )


def tune_malloc() -> None:
    """Keep freed memory of large messages: page faults are half of their cost (glibc only)."""
    try:
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        libc.mallopt(_M_TRIM_THRESHOLD, 512 << 20)
    except (AttributeError, OSError):
        log.debug("this C library has no mallopt")


def tune_python() -> None:
    """Leave what was loaded so far out of garbage collection, and collect less often: a look at
    every object of torch takes longer than a small query. Let threads take turns sooner."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    sys.setswitchinterval(0.001)  # a call waits for no more than this until a search lets go


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

"""A process that hosts kinds."""

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import torch

from modules.catalogue import Catalogue, kind_name
from services.host.servicer import NAME, ModuleServicer
from services.rpc.server import Service, start
from services.rpc.server import run as serve
from services.settings import (
    DEFAULT,
    INLINE,
    HostSettings,
    InlinePolicy,
    Limits,
    cores_and_four,
)
from services.v1 import module_pb2_grpc as rpc


def build_host(
    catalogue: Catalogue,
    kinds: Sequence[str],
    workers: ThreadPoolExecutor | None = None,
    limits: Limits = DEFAULT,
    shared_memory: bool = False,
    inline_policy: InlinePolicy = INLINE,
) -> ModuleServicer:
    """The rpcs for some kinds of a catalogue; with `shared_memory`, callers on this machine may
    have their tensors stand in memory of the host.

    Raises UnknownKind for one it does not have, ModuleFault for one that cannot be loaded.
    """
    found = [catalogue.kind(kind_name(kind)) for kind in kinds]
    return ModuleServicer(found, workers or make_workers(), limits, shared_memory, inline_policy)


def add_host(host: ModuleServicer, server: grpc.aio.Server) -> None:
    """Add the rpcs to a server, Evaluate in frames: a registered handler goes before a generic one,
    and of registered ones the last counts."""
    rpc.add_ModuleServiceServicer_to_server(host, server)
    frames: Any = grpc.stream_stream_rpc_method_handler(host.Evaluate)
    server.add_registered_method_handlers(NAME, {"Evaluate": frames})


async def create_host(
    catalogue: Catalogue,
    kinds: Sequence[str],
    address: str = "127.0.0.1:0",
    *,
    limits: Limits = DEFAULT,
    reflection: bool = False,
    insecure: bool = False,
    workers: int | None = None,
    shared_memory: bool = False,
    inline_policy: InlinePolicy = INLINE,
) -> Service:
    """Start a host in this event loop; its `port` tells where, `drain` ends it."""
    pool = make_workers(workers)
    host = build_host(catalogue, kinds, pool, limits, shared_memory, inline_policy)
    return await start(
        lambda server: add_host(host, server),
        [NAME],
        address,
        workers=[pool],
        limits=limits,
        reflection=reflection,
        insecure=insecure,
    )


def run(kinds: Sequence[str], settings: HostSettings) -> int:
    """Host kinds until SIGTERM, and return the exit code.

    A kind may also be `module:Class` of an importable Term, or a FILE.py. Says
    `listening on HOST:PORT` on stdout, and the names of the kinds on stderr. Raises
    BadQuery where a file cannot be loaded.
    """
    torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))  # several streams compute at once
    spoken = tuple(kind for kind in kinds if ":" in kind or kind.endswith(".py"))
    hint = "a kind of your own: basin host FILE.py"
    catalogue = Catalogue(also=spoken, weights=settings.weights_folder, hint=hint)
    for spec in spoken:
        catalogue.spoken(spec)
    hosted = [catalogue.kind(kind_name(kind)).name for kind in kinds]
    print(f"hosts {', '.join(hosted)}", file=sys.stderr)
    return serve(
        lambda: create_host(
            catalogue,
            kinds,
            settings.listen,
            limits=settings.limits,
            reflection=settings.reflection,
            insecure=settings.insecure_listen,
            workers=settings.workers,
            shared_memory=settings.shared_memory,
            inline_policy=settings.inline_policy,
        ),
        settings.listen,
    )


def make_workers(count: int | None = None) -> ThreadPoolExecutor:
    """Threads in which terms compute; many, for a term may wait rather than compute."""
    return ThreadPoolExecutor(count or cores_and_four(), thread_name_prefix="term")

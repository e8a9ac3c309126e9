"""A process that reasons for others."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import grpc
import torch

from engine.errors import BadQuery, Mistake, known
from modules.catalogue import Catalogue, Kinds
from services.reasoner.compile import Compiler
from services.reasoner.reason import Reasoner
from services.reasoner.workers import Workers
from services.remote.kinds import RemoteKinds
from services.rpc.server import Service, start
from services.rpc.server import run as serve
from services.server.servicer import NAME, Reasoning
from services.server.sessions import SESSION_SERVICE, SessionHandlers
from services.settings import DEFAULT, POLICY, Dialing, Limits, Policy
from services.v1.reasoner_pb2_grpc import add_ReasonerServiceServicer_to_server
from services.v1.session_pb2_grpc import add_SessionServiceServicer_to_server


async def create_server(
    reasoner: Reasoner,
    address: str = "127.0.0.1:0",
    *,
    policy: Policy = POLICY,
    limits: Limits = DEFAULT,
    reflection: bool = False,
    insecure: bool = False,
) -> Service:
    """Start a reasoner's services in this event loop; its `port` tells where, `drain` ends it."""
    crew = Workers(policy)
    compiler = Compiler(reasoner.catalogue, limits, kept=0)  # keeps nothing across tenants
    reasoning = Reasoning(reasoner, compiler, crew, limits)
    sessions = SessionHandlers(compiler, crew, limits)

    def add(server: grpc.aio.Server) -> None:
        add_ReasonerServiceServicer_to_server(reasoning, server)
        add_SessionServiceServicer_to_server(sessions, server)

    service = await start(
        add,
        [NAME, SESSION_SERVICE],
        address,
        workers=[crew.pool, reasoning.solving.scheduler.pool],
        limits=limits,
        reflection=reflection,
        insecure=insecure,
    )
    return replace(service, hurry=crew.hurry)


def run(
    listen: str = "127.0.0.1:7777",
    modules: Sequence[str] | None = None,
    remotes: Mapping[str, Sequence[str]] | None = None,
    reflection: bool = False,
    insecure_listen: bool = False,
    shared_memory: bool = True,
    weights: Path | None = None,
) -> int:
    """Serve until SIGTERM, and return the exit code. Says `listening on HOST:PORT` on stdout.

    modules: groups of kinds to offer, None for all. remotes: addresses of the hosts of a kind.
    shared_memory: used where a host on this machine offers it. weights: the folder of files that
    callers may name, None for the current one.
    """
    torch.set_num_threads(1)  # solves run beside one another
    offered = None if modules is None else tuple(modules)
    catalogue = Catalogue(groups=offered, weights=weights or Path.cwd())
    groups = {name.split(".")[0] for name in Catalogue().names()}
    if wrong := [name for name in modules or () if name not in groups]:
        raise BadQuery(
            *(Mistake("modules", f"{name!r} is no group", known(name, groups)) for name in wrong)
        )
    dialing = Dialing(shared_memory=shared_memory)
    kinds: Kinds = RemoteKinds(catalogue, remotes, dialing) if remotes else catalogue
    reasoner = Reasoner(kinds)
    return serve(
        lambda: create_server(reasoner, listen, reflection=reflection, insecure=insecure_listen),
        listen,
    )

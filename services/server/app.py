"""A process that reasons for others."""

from dataclasses import replace
from pathlib import Path

import grpc
import torch

from engine.errors import BadQuery, Mistakes, known
from engine.kernels import fused
from modules.catalogue import Catalogue, Kinds
from services.formats.arrays import inside, nowhere
from services.reasoner.reason import Reasoner
from services.reasoner.workers import Workers
from services.remote.kinds import RemoteKinds
from services.rpc.address import check_target
from services.rpc.server import Service, start
from services.rpc.server import run as serve
from services.server.request_cache import Reader
from services.server.servicer import NAME, ReasonerServicer
from services.server.sessions import SESSION_SERVICE, SessionHandlers
from services.settings import POLICY, Policy, ServerSettings
from services.v1.reasoner_pb2_grpc import add_ReasonerServiceServicer_to_server
from services.v1.session_pb2_grpc import add_SessionServiceServicer_to_server


async def create_server(
    reasoner: Reasoner,
    address: str = "127.0.0.1:0",
    *,
    policy: Policy = POLICY,
    reflection: bool = False,
    insecure: bool = False,
) -> Service:
    """Start a reasoner's services in this event loop; its `port` tells where, `drain` ends it. The
    limits of the services are those of the reasoner."""
    fused.load()  # before the first question has its deadline
    crew = Workers(policy)
    reader = Reader(reasoner.compiler)
    reasoning = ReasonerServicer(reasoner, reader, crew)
    sessions = SessionHandlers(reader, crew)

    def add(server: grpc.aio.Server) -> None:
        add_ReasonerServiceServicer_to_server(reasoning, server)
        add_SessionServiceServicer_to_server(sessions, server)

    service = await start(
        add,
        [NAME, SESSION_SERVICE],
        address,
        workers=[crew.pool, reasoning.solving.scheduler.pool],
        limits=reasoner.limits,
        reflection=reflection,
        insecure=insecure,
    )
    return replace(service, hurry=crew.hurry)


def check_settings(settings: ServerSettings) -> None:
    """Raises BadQuery for groups of kinds that are none, and for hosts without an address."""
    mistakes = Mistakes()
    groups = {name.split(".")[0] for name in Catalogue().names()}
    for k, name in enumerate(settings.modules or ()):
        if name not in groups:
            mistakes.add(f"modules[{k}]", f"{name!r} is no group", known(name, groups))
    for kind, replicas in settings.remote.items():
        for k, address in enumerate(replicas):
            try:
                check_target(address)
            except BadQuery as error:
                mistakes.take(*(replace(m, path=f"remote.{kind}[{k}]") for m in error.mistakes))
    mistakes.check()


def run(settings: ServerSettings) -> int:
    """Serve until SIGTERM, and return the exit code. Says `listening on HOST:PORT` on stdout."""
    torch.set_num_threads(1)  # solves run beside one another
    offered = None if settings.modules is None else tuple(settings.modules)
    catalogue = Catalogue(groups=offered, weights=settings.weights_folder)
    kinds: Kinds = catalogue
    if settings.remote:
        kinds = RemoteKinds(catalogue, settings.remote, settings.remote_policy, settings.limits)
    confine = nowhere if settings.files is None else inside(Path(settings.files))
    reasoner = Reasoner(kinds, settings.limits, confine=confine)
    return serve(
        lambda: create_server(
            reasoner,
            settings.listen,
            policy=settings.policy,
            reflection=settings.reflection,
            insecure=settings.insecure_listen,
        ),
        settings.listen,
    )

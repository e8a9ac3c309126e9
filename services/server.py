"""The reasoner as a service: calls bounded in number, each under its deadline.

Running out of time is no error: the best answers so far arrive before the caller's deadline, with
the flag DEADLINE. Cancelling a call stops its search before the next step.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from engine.errors import BadQuery, Mistake, known
from modules.catalogue import AnyKind, Catalogue, Kinds
from services.compile import Compiler
from services.dial import Dialing
from services.drawing import Drawing
from services.limits import DEFAULT, Limits
from services.reason import Reasoner
from services.remote import RemoteKinds
from services.serving import Service, start
from services.serving import run as serve
from services.solving import Solving
from services.talking import Talking
from services.v1 import reasoner_pb2 as pb
from services.v1 import reasoner_pb2_grpc as rpc
from services.v1 import sample_pb2, session_pb2
from services.wire import Kind, kind_to_proto
from services.workers import POLICY, Policy, Workers

NAME = "basin.v1.ReasonerService"


class Reasoning(rpc.ReasonerServiceServicer):
    """The rpcs, each handed to what answers it."""

    def __init__(self, reasoner: Reasoner, workers: Workers, limits: Limits):
        self.reasoner = reasoner
        self.solving = Solving(reasoner, workers, limits)
        compiler = Compiler(reasoner.catalogue, limits, kept=0)  # keeps nothing across tenants
        self.talking = Talking(compiler, workers, limits)
        self.drawing = Drawing(compiler, workers, limits)

    async def Solve(self, request: pb.SolveRequest, context: Any) -> pb.SolveResponse:
        """One answer for each row."""
        return await self.solving.solve(request, context)

    async def Score(self, request: pb.ScoreRequest, context: Any) -> pb.ScoreResponse:
        """Energy, findings and bound of the values given, without a search."""
        return await self.solving.score(request, context)

    async def Explain(self, request: pb.ExplainRequest, context: Any) -> pb.ExplainResponse:
        """Why: the conflict of a row without an answer, the runner-up of any other."""
        return await self.solving.explain(request, context)

    def SolveStream(
        self, request: pb.SolveStreamRequest, context: Any
    ) -> AsyncIterator[pb.SolveStreamResponse]:
        """Progress while it searches, then each row's result."""
        return self.solving.stream(request, context)

    async def Sample(
        self, request: sample_pb2.SampleRequest, context: Any
    ) -> sample_pb2.SampleResponse:
        """Draws from the Boltzmann distribution of each row."""
        return await self.drawing.sample(request, context)

    def Session(
        self, requests: AsyncIterator[session_pb2.SessionRequest], context: Any
    ) -> AsyncIterator[session_pb2.SessionResponse]:
        """A session that lasts as long as its stream."""
        return self.talking.stream(requests, context)

    async def OpenSession(
        self, request: session_pb2.OpenSessionRequest, context: Any
    ) -> session_pb2.OpenSessionResponse:
        """A session in single calls."""
        return await self.talking.open(request, context)

    async def Change(
        self, request: session_pb2.ChangeRequest, context: Any
    ) -> session_pb2.ChangeResponse:
        """Terms added and dropped, other evidence."""
        return await self.talking.change(request, context)

    async def Resolve(
        self, request: session_pb2.ResolveRequest, context: Any
    ) -> session_pb2.ResolveResponse:
        """The answer as things stand."""
        return await self.talking.resolve(request, context)

    async def CloseSession(
        self, request: session_pb2.CloseSessionRequest, context: Any
    ) -> session_pb2.CloseSessionResponse:
        """The end of a session."""
        return await self.talking.close(request, context)

    async def ListKinds(self, request: pb.ListKindsRequest, context: Any) -> pb.ListKindsResponse:
        """Every kind of term this service knows."""
        del request, context
        kinds = await asyncio.to_thread(lambda: [_told(k) for k in self.reasoner.catalogue.kinds()])
        return pb.ListKindsResponse(kinds=kinds)

    async def DescribeKind(
        self, request: pb.DescribeKindRequest, context: Any
    ) -> pb.DescribeKindResponse:
        """One kind of term."""
        del context
        kind = await asyncio.to_thread(lambda: _told(self.reasoner.catalogue.kind(request.kind)))
        return pb.DescribeKindResponse(kind=kind)


def _told(kind: AnyKind) -> pb.Kind:
    return kind_to_proto(
        Kind(kind.name, kind.about, kind.required_by_default, kind.calibrated, kind.schema)
    )


async def create_server(
    reasoner: Reasoner,
    address: str = "127.0.0.1:0",
    *,
    policy: Policy = POLICY,
    limits: Limits = DEFAULT,
    reflection: bool = False,
    insecure: bool = False,
) -> Service:
    """Start a reasoner's service in this event loop; its `port` tells where, `drain` ends it."""
    crew = Workers(policy)
    servicer = Reasoning(reasoner, crew, limits)
    service = await start(
        lambda server: rpc.add_ReasonerServiceServicer_to_server(servicer, server),
        [NAME],
        address,
        workers=[crew.pool, servicer.solving.scheduler.pool],
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

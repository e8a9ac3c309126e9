"""The reasoner as a service: calls bounded in number, each under its deadline.

Running out of time is no error: the best answers so far arrive before the caller's deadline, with
the flag DEADLINE. Cancelling a call stops its search before the next step.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from modules.catalogue import AnyKind
from services.reasoner.compile import Compiler
from services.reasoner.reason import Reasoner
from services.reasoner.workers import Workers
from services.server.sample import Drawing
from services.server.sessions import Talking
from services.server.solve import Solving
from services.settings import Limits
from services.v1 import reasoner_pb2 as pb
from services.v1 import reasoner_pb2_grpc as rpc
from services.v1 import sample_pb2, session_pb2
from services.wire.kinds import Kind, kind_to_proto

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

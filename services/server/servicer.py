"""The reasoner as a service: calls bounded in number, each under its deadline.

Running out of time is no error: the best answers so far arrive before the caller's deadline, with
the flag DEADLINE. Cancelling a call stops its search before the next step.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from engine import __version__
from services.query.kind import describe
from services.reasoner import minimizers
from services.reasoner.reason import Reasoner
from services.reasoner.workers import Workers
from services.server.change import ChangeHandler
from services.server.marginals import MarginalsHandler
from services.server.pages import Window
from services.server.request_cache import Reader
from services.server.sample import SampleHandler
from services.server.solve import SolveHandlers
from services.v1 import change_pb2, marginals_pb2, sample_pb2
from services.v1 import reasoner_pb2 as pb
from services.v1 import reasoner_pb2_grpc as rpc
from services.wire.info import ServiceInfo, info_to_proto
from services.wire.kinds import kind_to_proto

NAME = "basin.v1.ReasonerService"


class ReasonerServicer(rpc.ReasonerServiceServicer):
    """The rpcs, each handed to what answers it."""

    def __init__(self, reasoner: Reasoner, reader: Reader, workers: Workers):
        self.reasoner, self.limits = reasoner, reasoner.limits
        self.solving = SolveHandlers(reader, workers)
        self.drawing = SampleHandler(reader, workers)
        self.chances = MarginalsHandler(reader, workers)
        self.changing = ChangeHandler(reader, workers)

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

    async def Marginals(
        self, request: marginals_pb2.MarginalsRequest, context: Any
    ) -> marginals_pb2.MarginalsResponse:
        """The chances of the values at open sites, by the terms that offer them."""
        return await self.chances.marginals(request, context)

    async def SmallestChange(
        self, request: change_pb2.SmallestChangeRequest, context: Any
    ) -> change_pb2.SmallestChangeResponse:
        """The fewest values of each row that must change for all required rules to hold."""
        return await self.changing.smallest_change(request, context)

    async def ListKinds(self, request: pb.ListKindsRequest, context: Any) -> pb.ListKindsResponse:
        """Every kind of term this service knows, by name, in pages."""
        del context
        window = Window.of(request.page_size, request.page_token, self.limits)

        def work() -> pb.ListKindsResponse:
            kinds, token = window.cut(self.reasoner.catalogue.kinds(), lambda kind: kind.name)
            told = [kind_to_proto(describe(kind)) for kind in kinds]
            return pb.ListKindsResponse(kinds=told, next_page_token=token)

        return await asyncio.to_thread(work)

    async def DescribeKind(
        self, request: pb.DescribeKindRequest, context: Any
    ) -> pb.DescribeKindResponse:
        """One kind of term."""
        del context
        find = self.reasoner.catalogue.kind
        kind = await asyncio.to_thread(lambda: kind_to_proto(describe(find(request.kind))))
        return pb.DescribeKindResponse(kind=kind)

    async def GetServiceInfo(
        self, request: pb.GetServiceInfoRequest, context: Any
    ) -> pb.GetServiceInfoResponse:
        """What the service is, and what it lets callers ask."""
        del request, context
        info = await asyncio.to_thread(self._info)
        return pb.GetServiceInfoResponse(info=info_to_proto(info))

    def _info(self) -> ServiceInfo:
        kinds = len(self.reasoner.catalogue.names())
        return ServiceInfo(__version__, self.limits.plain(), tuple(minimizers.names()), kinds)

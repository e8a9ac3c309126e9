"""The rpc that draws samples: in a thread of its own, under the deadline of its call."""

from typing import Any

from services.reasoner.compile import Compiler
from services.reasoner.deadline import reflagged
from services.reasoner.sample import sampled
from services.reasoner.workers import Workers
from services.remote.lifecycle import Patience
from services.v1 import sample_pb2 as pb
from services.wire.query import query_from_proto
from services.wire.samples import samples_to_proto, sampling_from_proto


class Drawing:
    """Reads a request, draws, and makes what is sent."""

    def __init__(self, compiler: Compiler, workers: Workers):
        self.compiler, self.workers, self.limits = compiler, workers, compiler.limits

    async def sample(self, request: pb.SampleRequest, context: Any) -> pb.SampleResponse:
        """Draws from the Boltzmann distribution of each row."""
        stop = self.workers.stop(context)

        def work() -> pb.SampleResponse:
            wishes = sampling_from_proto(request, self.limits)
            query = query_from_proto(request.query, self.limits)
            problem = self.compiler.problem(query)
            # the moves of chains are short, and their last states are judged
            patience = Patience(stop.over, left=lambda: stop.cancelled)
            rows = sampled(problem, query.budget, wishes, self.limits, stop, patience)
            return pb.SampleResponse(rows=[samples_to_proto(reflagged(row)) for row in rows])

        return await self.workers.run(work, stop)

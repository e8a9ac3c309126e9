"""The rpc that draws samples: in a thread of its own, under the deadline of its call."""

from typing import Any

from services.reasoner.deadline import stopped_means_deadline
from services.reasoner.sample import sample_query
from services.reasoner.workers import Workers
from services.remote.lifecycle import Patience
from services.rpc.tenant import tenant_of
from services.server.request_cache import Reader
from services.v1 import sample_pb2 as pb
from services.wire.samples import samples_to_proto, sampling_from_proto


class SampleHandler:
    """Reads a request, draws, and makes what is sent."""

    def __init__(self, reader: Reader, workers: Workers):
        self.reader, self.workers, self.limits = reader, workers, reader.limits

    async def sample(self, request: pb.SampleRequest, context: Any) -> pb.SampleResponse:
        """Draws from the Boltzmann distribution of each row."""
        stop, tenant = self.workers.stop(context), tenant_of(context)

        def work() -> pb.SampleResponse:
            wishes = sampling_from_proto(request, self.limits)
            query, problem = self.reader.read(tenant, request.query, request.raw_contents)
            # the moves of chains are short, and their last states are judged
            patience = Patience(stop.over, left=lambda: stop.cancelled)
            rows = sample_query(problem, query.budget, wishes, self.limits, stop, patience)
            return pb.SampleResponse(
                rows=[samples_to_proto(stopped_means_deadline(row)) for row in rows]
            )

        return await self.workers.run(work, stop)

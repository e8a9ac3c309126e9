"""The rpc that tells chances: in a thread of its own, under the deadline of its call."""

from typing import Any

from services.reasoner.deadline import stopped_means_deadline
from services.reasoner.marginals import marginals_query
from services.reasoner.workers import Workers
from services.rpc.tenant import tenant_of
from services.server.request_cache import Reader
from services.v1 import marginals_pb2 as pb
from services.wire.marginals import marginals_to_proto


class MarginalsHandler:
    """Reads a request, asks its terms, and makes what is sent."""

    def __init__(self, reader: Reader, workers: Workers):
        self.reader, self.workers, self.limits = reader, workers, reader.limits

    async def marginals(self, request: pb.MarginalsRequest, context: Any) -> pb.MarginalsResponse:
        """What each term that offers chances says of each row."""
        stop, tenant = self.workers.stop(context), tenant_of(context)

        def work() -> pb.MarginalsResponse:
            query, problem = self.reader.read(tenant, request.query, request.raw_contents)
            rows = marginals_query(problem, query, self.limits, stop, stop.since)
            return pb.MarginalsResponse(
                rows=[marginals_to_proto(stopped_means_deadline(row)) for row in rows]
            )

        return await self.workers.run(work, stop)

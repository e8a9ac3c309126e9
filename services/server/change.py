"""The rpc of smallest changes: in a thread of its own, under the deadline of its call."""

from dataclasses import replace
from typing import Any

from engine.answer import Answer
from engine.errors import BadQuery
from engine.problem import Problem
from services.query import Query
from services.query.wish import Wish
from services.reasoner.change import smallest_changes
from services.reasoner.reason import solve_query, watch_nothing
from services.reasoner.workers import Workers, present_answer
from services.remote.lifecycle import Patience
from services.rpc.tenant import tenant_of
from services.server.request_cache import Reader
from services.v1 import change_pb2 as pb
from services.wire.change import change_to_proto
from services.wire.query import options_from_proto
from services.wire.values import from_assignment


class ChangeHandler:
    """Reads a request, searches row by row, and makes what is sent."""

    def __init__(self, reader: Reader, workers: Workers):
        self.reader, self.workers, self.limits = reader, workers, reader.limits

    async def smallest_change(
        self, request: pb.SmallestChangeRequest, context: Any
    ) -> pb.SmallestChangeResponse:
        """The fewest values of each row that must change."""
        stop, tenant = self.workers.stop(context), tenant_of(context)

        def left() -> bool:
            return stop.cancelled

        def work() -> pb.SmallestChangeResponse:
            options = options_from_proto(
                request.options, self.limits, explain=request.explain, differ=tuple(request.differ)
            )
            query, problem = self.reader.read(tenant, request.query, request.raw_contents)
            try:
                wanted = from_assignment(request.wanted, self.limits)
            except BadQuery as error:
                raise error.under("wanted") from None

            def ask(problem: Problem, query: Query, since: float | None) -> list[Answer]:
                patience = Patience(stop.gives_up, left, left)
                return solve_query(
                    problem, query, options, watch_nothing, stop, patience=patience, since=since
                )

            wish = Wish(wanted, tuple(request.keep))
            rows = smallest_changes(problem.root or problem, query, wish, ask, self.limits, stop)
            return pb.SmallestChangeResponse(
                rows=[
                    change_to_proto(replace(row, answer=present_answer(row.answer))) for row in rows
                ]
            )

        return await self.workers.run(work, stop)

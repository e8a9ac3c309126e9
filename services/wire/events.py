"""What a stream of solutions tells, as messages and back."""

from dataclasses import dataclass
from typing import Any

from engine.answer import Answer, TermEnergy
from engine.errors import BasinError
from services.settings import DEFAULT, Limits
from services.v1 import reasoner_pb2
from services.wire.answer import answer_from_proto, answer_to_proto, term_energies, terms_to_proto
from services.wire.fields import optional, put_present
from services.wire.values import from_assignment, to_assignment


@dataclass(frozen=True)
class Progress:
    """How far the search of one row has come."""

    row: int
    steps: int
    seconds: float
    energy: float | None  # of the best state so far
    bound: float | None
    terms: tuple[TermEnergy, ...] = ()
    values: dict[str, Any] | None = None  # None in a value: not decided yet


@dataclass(frozen=True)
class Result:
    """The answer of one row of a stream."""

    row: int
    answer: Answer


def event_to_proto(event: Progress | Result) -> reasoner_pb2.SolveStreamResponse:
    """One message of a stream."""
    if isinstance(event, Result):
        result = reasoner_pb2.Result(row=event.row, answer=answer_to_proto(event.answer))
        return reasoner_pb2.SolveStreamResponse(result=result)
    progress = reasoner_pb2.Progress(
        row=event.row,
        steps=event.steps,
        seconds=event.seconds,
        terms=terms_to_proto(event.terms),
        values=None if event.values is None else to_assignment(event.values),
    )
    put_present(progress, energy=event.energy, bound=event.bound)
    return reasoner_pb2.SolveStreamResponse(progress=progress)


def event_from_proto(
    message: reasoner_pb2.SolveStreamResponse, limits: Limits = DEFAULT
) -> Progress | Result:
    """One event of a stream. Raises BasinError when the service speaks another version."""
    field = message.WhichOneof("event")
    if field == "result":
        return Result(message.result.row, answer_from_proto(message.result.answer, limits))
    if field is None:
        raise BasinError("the service sent an event this version does not know")
    event = message.progress
    return Progress(
        row=event.row,
        steps=event.steps,
        seconds=event.seconds,
        energy=optional(event, "energy"),
        bound=optional(event, "bound"),
        terms=term_energies(event.terms),
        values=from_assignment(event.values, limits) if event.HasField("values") else None,
    )

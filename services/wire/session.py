"""What a session says as messages and back: changes, questions, and what went wrong."""

from collections.abc import Iterable
from functools import partial
from typing import Any

from engine.errors import BadQuery, BasinError, Mistake, ModuleFault, ModuleUnavailable
from services.query import spec_of
from services.query.change import Change, Resolve
from services.rpc.status import named
from services.settings import DEFAULT, Limits
from services.v1 import fault_pb2, session_pb2
from services.wire.fields import gathered, present, put_present
from services.wire.query import options_from_proto, options_to_proto, term_from_proto, term_to_proto
from services.wire.values import from_assignment, to_assignment


def change_to_proto(change: Change) -> session_pb2.Change:
    """A change as a message."""
    message = session_pb2.Change(drop=change.drop)
    for term in change.add:
        term_to_proto(term, message.add.add())
    if change.evidence is not None:
        message.evidence.CopyFrom(to_assignment(change.evidence))
    return message


def change_from_proto(message: session_pb2.Change, limits: Limits = DEFAULT) -> Change:
    """The change of a message. Raises BadQuery with every mistake, or TooLarge."""
    found: list[Mistake] = []
    data: dict[str, Any] = {"drop": tuple(message.drop)}
    data["add"] = tuple(
        gathered(found, f"add[{k}]", partial(term_from_proto, term, limits))
        for k, term in enumerate(message.add)
    )
    if message.HasField("evidence"):
        make = partial(from_assignment, message.evidence, limits)
        data["evidence"] = gathered(found, "evidence", make)
    if found:
        raise BadQuery(*found[: limits.mistakes])
    return spec_of(Change, data, limits)


def resolve_to_proto(resolve: Resolve) -> session_pb2.Resolve:
    """A question as a message."""
    message = session_pb2.Resolve(options=options_to_proto(resolve.options))
    put_present(message, seconds=resolve.seconds, steps=resolve.steps)
    return message


def resolve_from_proto(message: session_pb2.Resolve, limits: Limits = DEFAULT) -> Resolve:
    """The question of a message. Raises BadQuery with every mistake, or TooLarge."""
    options = options_from_proto(message.options, limits)
    return spec_of(Resolve, present(message, "seconds", "steps") | {"options": options}, limits)


def fault_to_proto(error: BasinError, limits: Limits = DEFAULT) -> fault_pb2.Fault:
    """An exception as a message of a stream that goes on."""
    message = fault_pb2.Fault(
        code=error.code, reason=error.reason, text=str(error)[: limits.details_bytes]
    )
    if isinstance(error, BadQuery):
        for m in error.mistakes[: limits.mistakes]:
            message.mistakes.add(path=m.path, problem=m.problem, remedy=m.remedy)
    if isinstance(error, (ModuleFault, ModuleUnavailable)):
        message.module, message.text = error.module, error.why
    return message


def fault_from_proto(message: fault_pb2.Fault) -> BasinError:
    """The exception of a message: of the same class as in the service."""
    return named(message.reason, message.text, _mistakes(message.mistakes), message.module)


def _mistakes(messages: Iterable[fault_pb2.Mistake]) -> list[Mistake]:
    return [Mistake(m.path, m.problem, m.remedy) for m in messages]

"""Basin's exceptions as google.rpc.Status and back: the same class on both sides of the wire.

Always an ErrorInfo (reason, domain "basin"); mistakes travel as BadRequest. gRPC carries details
as metadata and fails strangely beyond 8 KB of it, so what is too much is cut, and the cut is told.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from engine.errors import (
    BadQuery,
    BasinError,
    Cancelled,
    Mistake,
    ModuleFault,
    ModuleUnavailable,
    OutOfTime,
    Overloaded,
    TooLarge,
    Unavailable,
)
from services.settings import DEFAULT, Limits

DOMAIN = "basin"
DETAILS_KEY = "grpc-status-details-bin"
REQUEST_KEY = "x-request-id"

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_MESSAGE_BYTES = 512  # of the line beside the details; percent-encoding may triple it
_PATH_BYTES, _TEXT_BYTES = 200, 600  # of one mistake

# what the transport says by itself, without a reason of ours
_BY_CODE: dict[grpc.StatusCode, type[BasinError]] = {
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: OutOfTime,
    grpc.StatusCode.CANCELLED: Cancelled,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.INVALID_ARGUMENT: BadQuery,
}


def to_status(
    error: BasinError, request_id: str = "", limits: Limits = DEFAULT
) -> status_pb2.Status:
    """An exception as a status of at most `limits.details_bytes`."""
    code = grpc.StatusCode[error.code]
    status = status_pb2.Status(code=code.value[0], message=_clip(str(error), _MESSAGE_BYTES))
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN)
    if request_id:
        info.metadata["request_id"] = _clip(request_id, 100)
    for name in ("module", "why"):  # ModuleUnavailable, ModuleFault
        if value := getattr(error, name, ""):
            info.metadata[name] = _clip(str(value), 500)
    if isinstance(error, BadQuery):
        room = limits.details_bytes - status.ByteSize() - info.ByteSize() - 200
        request, left = _violations(error.mistakes, room)
        if left:
            info.metadata["more"] = str(left)
        _pack(status, info)
        _pack(status, request)
    else:
        _pack(status, info)
    return status


def bug(request_id: str) -> status_pb2.Status:
    """What a caller is told of an exception nobody meant: a number to quote, no more."""
    return to_status(BasinError(f"internal error, request {request_id}"), request_id)


def from_status(status: status_pb2.Status, module: str = "") -> BasinError:
    """The exception of a status; `module` names who was asked, when it was a hosted module."""
    info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        for message in (info, request):
            if detail.Is(message.DESCRIPTOR):
                detail.Unpack(message)
    if info.domain != DOMAIN or info.reason not in _classes():
        return _unexplained(code_of(status), status.message, module)
    mistakes = tuple(_mistakes(status, info, request))
    if "module" in info.metadata:
        return error_for_reason(
            info.reason, info.metadata["why"], mistakes, info.metadata["module"]
        )
    return error_for_reason(info.reason, status.message, mistakes)


def error_for_reason(
    reason: str, text: str, mistakes: Sequence[Mistake] = (), module: str = ""
) -> BasinError:
    """The exception of a reason; one that this version does not know is a plain BasinError."""
    kind = _classes().get(reason, BasinError)
    if issubclass(kind, BadQuery):
        return kind(*(mistakes or ([Mistake("", text)] if text else ())))
    if issubclass(kind, (ModuleUnavailable, ModuleFault)):
        return kind(module, text)
    return kind(text)


def not_reached(call: Any) -> bool:
    """Whether a call failed on its way: no service answered it, so that it may be sent again."""
    if call.code() is not grpc.StatusCode.UNAVAILABLE:
        return False
    return DETAILS_KEY not in {key for key, _ in call.trailing_metadata() or ()}


def error_of_call(call: Any, address: str = "", module: str = "") -> BasinError:
    """The exception of a failed call (`grpc.RpcError`, `grpc.aio.AioRpcError`)."""
    details = call.details() or ""
    for key, value in call.trailing_metadata() or ():
        if key == DETAILS_KEY:
            try:
                return from_status(status_pb2.Status.FromString(value), module)
            except DecodeError:
                break
    return _unexplained(call.code(), f"{address}: {details}" if address else details, module)


def code_of(status: status_pb2.Status) -> grpc.StatusCode:
    """The gRPC code of a status; UNKNOWN for a number that is none."""
    return _CODES.get(status.code, grpc.StatusCode.UNKNOWN)


def metadata_of(status: status_pb2.Status) -> tuple[tuple[str, bytes], ...]:
    """The trailing metadata that carries a status."""
    return ((DETAILS_KEY, status.SerializeToString()),)


def _unexplained(code: grpc.StatusCode, text: str, module: str) -> BasinError:
    if "larger than max" in text:  # gRPC's own words for a message over the limit
        return TooLarge(Mistake("", text, "send less at once"))
    broken = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL)
    if module and code in (*broken, grpc.StatusCode.UNIMPLEMENTED):
        return ModuleUnavailable(module, text or code.name)
    if code is grpc.StatusCode.UNAVAILABLE and "Connection refused" in text:
        text += (
            "; nobody listens there: start `basin serve --listen HOST:PORT`, or name its address"
        )
    return _BY_CODE.get(code, BasinError)(f"{text or code.name}")


def _violations(mistakes: Sequence[Mistake], room: int) -> tuple[error_details_pb2.BadRequest, int]:
    """As many mistakes as fit into `room` bytes, and how many did not."""
    request = error_details_pb2.BadRequest()
    for k, mistake in enumerate(mistakes):
        remedy = _clip(mistake.remedy, _TEXT_BYTES)
        problem = _clip(mistake.problem, _TEXT_BYTES)
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=_clip(mistake.path, _PATH_BYTES),
            description=f"{problem}; {remedy}" if remedy else problem,
        )
        if remedy:  # alone too, so that a client can tell it from the problem
            violation.localized_message.locale = "en"
            violation.localized_message.message = remedy
        room -= violation.ByteSize() + 4
        if room < 0:
            return request, len(mistakes) - k
        request.field_violations.append(violation)
    return request, 0


def _mistakes(
    status: status_pb2.Status,
    info: error_details_pb2.ErrorInfo,
    request: error_details_pb2.BadRequest,
) -> Iterator[Mistake]:
    for violation in request.field_violations:
        remedy = violation.localized_message.message
        problem = violation.description
        if remedy:
            problem = problem.removesuffix(f"; {remedy}")
        yield Mistake(violation.field, problem, remedy)
    if "more" in info.metadata:
        yield Mistake("", f"{info.metadata['more']} more mistakes", "mend these first")
    if not request.field_violations and status.message:
        yield Mistake("", status.message)


def _classes() -> dict[str, type[BasinError]]:
    """Every exception class by its reason; the topmost where classes share one."""
    found: dict[str, type[BasinError]] = {}
    waiting: list[type[BasinError]] = [BasinError]
    while waiting:
        kind = waiting.pop(0)
        found.setdefault(kind.reason, kind)
        waiting.extend(kind.__subclasses__())
    return found


def _pack(status: status_pb2.Status, message: Message) -> None:
    status.details.add().Pack(message)


def _clip(text: str, room: int) -> str:
    """At most `room` bytes of UTF-8; the cut is shown."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= room:
        return raw.decode()
    return raw[: room - 3].decode("utf-8", "ignore") + "..."

"""The outermost gRPC interceptor: every exception leaves as a status with a reason, or as a bug.

A BasinError tells its code, reason and mistakes. Anything else is logged with its traceback, and
the caller gets INTERNAL with the number of the request: no text of an exception leaks. Cancelling
(asyncio.CancelledError) passes through.
"""

import inspect
import logging
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from engine.errors import BadQuery, BasinError, Mistake, ModuleFault
from services.rpc.status import REQUEST_KEY, bug, code_of, metadata_of, to_status
from services.settings import DEFAULT, Limits

log = logging.getLogger(__name__)

# what generated servicers set on the context before they raise NotImplementedError
_UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED
_REQUEST_ID = re.compile(r"[\w.-]{1,64}")


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Maps exceptions of handlers to gRPC statuses; put it first among the interceptors."""

    def __init__(self, limits: Limits = DEFAULT):
        self.limits = limits

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None:
            return handler  # no such method: gRPC says UNIMPLEMENTED
        return _guarded(handler, handler_call_details, self.limits)


def _guarded(handler: Any, call: grpc.HandlerCallDetails, limits: Limits) -> grpc.RpcMethodHandler:
    method, number = call.method, _request_id(call)
    parse, serialize = handler.request_deserializer, handler.response_serializer
    streams_in, streams_out = handler.request_streaming, handler.response_streaming
    behavior = (
        handler.stream_stream or handler.unary_stream or handler.stream_unary or handler.unary_unary
    )

    def opened(request: Any) -> Any:
        """The request: bytes until here unless it is a stream, so that what cannot be read is
        told like every other mistake."""
        if streams_in or parse is None:
            return request
        try:
            return parse(request)
        except DecodeError:
            raise BadQuery(
                Mistake("", f"the request of {method} cannot be read", "use basin.v1 messages")
            ) from None

    async def one(request: Any, context: Any) -> Any:
        try:
            answer = behavior(opened(request), context)
            return await answer if inspect.isawaitable(answer) else answer
        except Exception as error:
            await _leave(error, context, method, number, limits)

    async def many(request: Any, context: Any) -> AsyncIterator[Any]:
        try:
            answers = behavior(opened(request), context)
            if inspect.isawaitable(answers):  # a handler that calls context.write itself
                await answers
                return
            async with aclosing(answers):
                async for answer in answers:
                    yield answer
        except Exception as error:
            await _leave(error, context, method, number, limits)

    make = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[streams_in, streams_out]
    return make(many if streams_out else one, parse if streams_in else None, serialize)


async def _leave(error: Exception, context: Any, method: str, number: str, limits: Limits) -> None:
    """End the call with the status of an exception."""
    if isinstance(error, grpc.aio.AbortError):
        raise error  # the handler has ended the call itself
    if isinstance(error, NotImplementedError) and context.code() == _UNIMPLEMENTED:
        await context.abort(_UNIMPLEMENTED, f"{method} is not offered here")
    from engine.energy.blame import blamed  # torch is here where terms are

    blame = None if isinstance(error, BasinError) else blamed(error)
    if blame is not None:
        log.error("%s %s: %s: %s", number, method, blame.term, blame, exc_info=error)
        what = f"{blame.method} raised {type(error).__name__}; the log of the service tells more"
        status = to_status(ModuleFault(blame.term, what), number, limits)
    elif isinstance(error, BasinError) and type(error) is not BasinError:
        log.info("%s %s: %s %s", number, method, error.reason, error)
        status = to_status(error, number, limits)
    else:
        log.error("%s %s: a bug", number, method, exc_info=error)
        status = bug(number)
    await _abort(context, status)


async def _abort(context: Any, status: status_pb2.Status) -> None:
    await context.abort(code_of(status), status.message, metadata_of(status))


def _request_id(call: grpc.HandlerCallDetails) -> str:
    """The caller's number of the request where it sent a sane one, else a new one."""
    for key, value in call.invocation_metadata or ():
        if key == REQUEST_KEY and isinstance(value, str) and _REQUEST_ID.fullmatch(value):
            return value
    return uuid.uuid4().hex[:16]

"""What a service tells while it searches, as an iterator that ends the call when it is left."""

import weakref
from collections.abc import Iterator
from typing import Any, Self

import grpc

from services.client.calls import Call
from services.rpc.status import error_of_call
from services.wire.events import Progress, Result


class EventStream(Iterator[Progress | Result]):
    """Events of one call, which runs from the start on. Leaving its `with` block, or letting go of
    it, cancels the call. Raises what the reasoner raises."""

    def __init__(self, call: Any, asked: Call[Progress | Result], address: str):
        self._call, self._asked, self._address = call, asked, address
        self._end = weakref.finalize(self, call.cancel)

    def __next__(self) -> Progress | Result:
        try:
            return self._asked.read(next(self._call))
        except grpc.RpcError as error:
            raise error_of_call(error, self._address) from None

    def close(self) -> None:
        """Cancel the call, if it still runs."""
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

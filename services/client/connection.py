"""What both clients are made of: a channel to a service, who asks, and how long a call may take."""

import time
from abc import ABC, abstractmethod
from typing import Any

from services.client.arguments import check_deadline, check_limits
from services.client.calls import Call, Calls, Metadata
from services.rpc.address import check_target
from services.rpc.channel import client_options
from services.rpc.tenant import TENANT_KEY, check_tenant
from services.settings import DEFAULT, Limits
from services.v1.reasoner_pb2_grpc import ReasonerServiceStub
from services.v1.session_pb2_grpc import SessionServiceStub


class Connection(ABC):
    """Abstract: a client over a channel of one sort, blocking or for asyncio."""

    def __init__(
        self,
        address: str,
        limits: Limits = DEFAULT,
        *,
        tenant: str = "",
        deadline: float | None = None,
    ):
        check_target(address)
        check_limits(limits)
        check_deadline(deadline)
        self.address, self.limits, self.deadline = address, limits, deadline
        self._who: Metadata = ((TENANT_KEY, check_tenant(tenant)),) if tenant != "" else ()
        self._channel = self._connect(address, client_options(limits))
        self._stub = ReasonerServiceStub(self._channel)
        self._sessions = SessionServiceStub(self._channel)
        self._calls = Calls(limits)

    @abstractmethod
    def _connect(self, address: str, options: list[tuple[str, Any]]) -> Any:
        """The channel."""

    def _due(self, asked: Call[Any], deadline: float | None) -> float:
        """When a call must have ended, however often it is sent. Raises BadQuery."""
        check_deadline(deadline)
        given = self.deadline if deadline is None else deadline
        return time.monotonic() + (asked.seconds if given is None else given)

    def _begin(self, asked: Call[Any], due: float) -> Any:
        """Sends a call."""
        left = max(0.0, due - time.monotonic())
        return getattr(self._stub, asked.method)(asked.request, timeout=left, metadata=self._who)

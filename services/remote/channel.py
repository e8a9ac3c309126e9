"""One connection to each address of hosts, whatever kinds they host."""

import json
from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf.message_factory import GetMessageClass
from grpc.experimental import ChannelOptions

from services.rpc.channel import client_options
from services.settings import Limits, RemotePolicy
from services.transport.base import Stream
from services.v1 import module_pb2

SERVICE = "basin.v1.ModuleService"
_CONFIG = json.dumps(
    {  # a host that says it is not serving, such as one that drains, gets nothing new
        "loadBalancingConfig": [{"round_robin": {}}],
        "healthCheckConfig": {"serviceName": SERVICE},
    }
)


class Channel:
    """A connection to one host."""

    def __init__(self, address: str, policy: RemotePolicy, limits: Limits):
        self.address, self.policy = address, policy
        self.streams: set[Stream] = set()  # open ones, of all kinds: what balances the load
        self.rests = 0.0  # until then it is asked last; time.monotonic()
        patience = int(policy.connect_seconds * 1000)
        self._channel = grpc.insecure_channel(
            address,
            options=[
                *client_options(limits),
                ("grpc.service_config", _CONFIG),
                (ChannelOptions.SingleThreadedUnaryStream, 1),
                # how long it waits to connect anew is no business of another catalogue's
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 250),  # a host that is back is found soon
                ("grpc.min_reconnect_backoff_ms", patience),  # what connecting may take
            ],
        )
        # calls of one answer, by name: read as streams of one message in the thread that asks,
        # since such a call can be cancelled from another, and is hardly slower than a blocking one
        self.unary: dict[str, Any] = {
            method.name: self._channel.unary_stream(
                f"/{SERVICE}/{method.name}",
                request_serializer=GetMessageClass(method.input_type).SerializeToString,
                response_deserializer=GetMessageClass(method.output_type).FromString,
            )
            for method in module_pb2.DESCRIPTOR.services_by_name["ModuleService"].methods
            if not method.client_streaming
        }
        # bytes both ways: `frames` reads and writes them
        self.evaluate: Any = self._channel.stream_stream(f"/{SERVICE}/Evaluate")

    def close(self) -> None:
        """End every call."""
        self._channel.close()


def open_channels(
    addresses: Iterable[str], policy: RemotePolicy, limits: Limits
) -> dict[str, Channel]:
    """A channel to each address, once; it connects when it is first asked."""
    return {address: Channel(address, policy, limits) for address in set(addresses)}

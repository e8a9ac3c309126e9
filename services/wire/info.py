"""What a service tells of itself, as a message and back."""

from collections.abc import Mapping
from dataclasses import dataclass

from services.v1 import reasoner_pb2


@dataclass(frozen=True)
class ServiceInfo:
    """What a service is, and what it lets callers ask."""

    version: str  # of Basin
    limits: Mapping[str, float]  # those of `services.settings.Limits`, by name
    minimizers: tuple[str, ...]  # what `options.minimizer` may name
    kinds: int  # how many are listed


def info_to_proto(info: ServiceInfo) -> reasoner_pb2.ServiceInfo:
    """What is told, as a message."""
    return reasoner_pb2.ServiceInfo(
        version=info.version, limits=info.limits, minimizers=info.minimizers, kinds=info.kinds
    )


def info_from_proto(message: reasoner_pb2.ServiceInfo) -> ServiceInfo:
    """What a message tells."""
    return ServiceInfo(
        message.version, dict(message.limits), tuple(message.minimizers), message.kinds
    )

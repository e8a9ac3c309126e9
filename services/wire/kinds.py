"""Kinds as messages, and back."""

import json
from dataclasses import dataclass
from typing import Any

from services.v1 import reasoner_pb2


@dataclass(frozen=True)
class Kind:
    """What a service tells of a kind of term."""

    kind: str
    about: str
    required_by_default: bool
    calibrated: bool
    parameters: dict[str, Any]  # JSON Schema


def kind_to_proto(kind: Kind) -> reasoner_pb2.Kind:
    """A kind as a message."""
    return reasoner_pb2.Kind(
        kind=kind.kind,
        about=kind.about,
        required_by_default=kind.required_by_default,
        calibrated=kind.calibrated,
        parameters=json.dumps(kind.parameters),
    )


def kind_from_proto(message: reasoner_pb2.Kind) -> Kind:
    """The kind of a message."""
    return Kind(
        message.kind,
        message.about,
        message.required_by_default,
        message.calibrated,
        json.loads(message.parameters or "{}"),
    )

"""Descriptions of kinds as messages, and back."""

import json

from services.query.kind import KindDescription
from services.v1 import kind_pb2


def kind_to_proto(kind: KindDescription) -> kind_pb2.Kind:
    """A description as a message."""
    return kind_pb2.Kind(
        kind=kind.kind,
        about=kind.about,
        required_by_default=kind.required_by_default,
        calibrated=kind.calibrated,
        parameters=json.dumps(kind.parameters),
    )


def kind_from_proto(message: kind_pb2.Kind) -> KindDescription:
    """The description of a message."""
    return KindDescription(
        message.kind,
        message.about,
        message.required_by_default,
        message.calibrated,
        json.loads(message.parameters or "{}"),
    )

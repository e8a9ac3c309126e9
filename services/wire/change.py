"""Smallest changes as messages and back."""

from engine.explain.change import SmallestChange
from services.settings import DEFAULT, Limits
from services.v1 import change_pb2 as pb
from services.wire.answer import (
    answer_from_proto,
    answer_to_proto,
    places_from_proto,
    places_to_proto,
)


def change_to_proto(row: SmallestChange) -> pb.SmallestChange:
    """How one row changes, as a message."""
    return pb.SmallestChange(
        answer=answer_to_proto(row.answer),
        changed=places_to_proto(row.changed),
        smallest=row.smallest,
    )


def change_from_proto(message: pb.SmallestChange, limits: Limits = DEFAULT) -> SmallestChange:
    """How one row changes. Raises BasinError when the service speaks another version."""
    return SmallestChange(
        answer_from_proto(message.answer, limits),
        places_from_proto(message.changed, limits),
        message.smallest,
    )

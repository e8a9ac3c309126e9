"""What a host answers where it is asked for structure."""

from collections.abc import MutableSequence

from services.host.bound_term import BoundTerm
from services.settings import Limits
from services.v1 import module_pb2 as pb
from services.wire.arrays import put_array
from services.wire.structure import digest_of, factors_to_proto, skeleton_of


def tell_structure(
    hosted: BoundTerm,
    asked: pb.StructureRequest | pb.RowsStructure,
    response: pb.StructureResponse,
    raw: MutableSequence[bytes],
    limits: Limits,
) -> None:
    """Write the structure of a term under its domains into a response: costs by row apart, the
    rest only where its digest is another. Bytes are appended to `raw`."""
    factors = hosted.structured(asked.weight if asked.HasField("weight") else None, limits)
    if factors is None:
        return
    if hosted.told:
        factors, costs = skeleton_of(factors)
        if costs is not None:
            put_array(costs, response.costs, raw)
    response.digest = digest_of(factors)
    if response.digest != asked.known_digest:
        response.factors.CopyFrom(factors_to_proto(factors, raw))

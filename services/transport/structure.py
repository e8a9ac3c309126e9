"""Structure beside rows as one message of a stream, and the answer to it."""

from collections.abc import Sequence
from dataclasses import dataclass

from engine.domain import Domain
from services.transport.frames import Frame
from services.transport.rows import BoundRows, ToldRows
from services.v1 import module_pb2 as pb
from services.wire.arrays import Content, lay
from services.wire.binding import domain_to_proto


@dataclass(frozen=True, eq=False)
class StructureAsk:
    """Asks for the structure of a term of some kind: one domain for each entry of its scope that
    is no input, under the evidence of these rows, and what the rows were told."""

    kind: str
    domains: Sequence[Domain]
    rows: ToldRows
    weight: float | None  # None: it is required
    known_digest: str  # of the structure that is there already; empty: none

    def message(self, bound: BoundRows) -> bytes:
        """The request, with what the stream does not know yet of its rows."""
        head = pb.EvaluateRequest()
        asked = head.structure
        asked.known_digest = self.known_digest
        if self.weight is not None:
            asked.weight = self.weight
        raw: list[Content] = []
        asked.domains.extend(domain_to_proto(domain, raw) for domain in self.domains)
        lay(self.rows.keys, asked.rows, raw)
        bound.put(self.rows, head.rows, raw)
        return Frame(head, raw).dump()

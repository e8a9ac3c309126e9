"""From a request to a problem; what was read before is not read again.

Callers mostly ask the same question under other evidence. The part of a request that names
variables and terms is known by a digest of its bytes: it was checked and compiled once, for each
tenant apart, and stays with the one compiler of the service.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from engine.problem import Problem
from services.query import Query, query_of
from services.reasoner.compile import Compiler, StructureKey, narrow_problem
from services.v1 import query_pb2
from services.wire.query import budget_from_proto, evidence_from_proto, query_from_proto

Raw = Sequence[bytes]  # the contents of a request


class Read(NamedTuple):
    """A request as it was understood."""

    query: Query
    problem: Problem


def key_of(tenant: str, message: query_pb2.Query) -> StructureKey:
    """What the structure of a request is known by."""
    structure = query_pb2.Query(
        variables=message.variables, inputs=message.inputs, terms=message.terms
    )
    raw = structure.SerializeToString(deterministic=True)
    return StructureKey(tenant, hashlib.blake2b(raw, digest_size=20).digest())


class Reader:
    """Reads requests: to be solved, to be drawn from, to be talked about."""

    def __init__(self, compiler: Compiler):
        self.compiler, self.limits = compiler, compiler.limits

    def read(self, tenant: str, message: query_pb2.Query, raw: Raw = ()) -> Read:
        """The request, whatever it is; raw: its contents. Raises BadQuery with every mistake."""
        key = key_of(tenant, message)
        return self.again(key, message, raw) or self.fresh(key, message, raw)

    def again(self, key: StructureKey, message: query_pb2.Query, raw: Raw = ()) -> Read | None:
        """The request, where all but evidence and budget was read before; else None. Raises
        BadQuery with every mistake."""
        known = self.compiler.known(key)
        if known is None:
            return None
        parts = {
            "variables": known.variables,
            "inputs": known.inputs,
            "terms": (),
            "evidence": evidence_from_proto(message, raw, self.limits),
            "budget": budget_from_proto(message),
        }
        query = query_of(parts, self.limits).model_copy(update={"terms": known.terms})
        query = self.compiler.with_files(query)
        return Read(query, narrow_problem(known.problem, query, self.limits))

    def fresh(self, key: StructureKey, message: query_pb2.Query, raw: Raw = ()) -> Read:
        """The request, read and compiled as if for the first time unless another call has just
        done so. Raises BadQuery with every mistake."""
        query = self.compiler.with_files(query_from_proto(message, raw, self.limits))
        return Read(query, self.compiler.problem(query, key))

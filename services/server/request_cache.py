"""From a request to a problem; what was read before is not read again.

Callers mostly ask the same question under other evidence. The part of a request that names
variables and terms is known by its bytes: it was checked and compiled once, for each tenant apart.
"""

import hashlib
import threading
from collections import OrderedDict
from typing import NamedTuple

from engine.problem import Problem
from services.query import Query, query_of
from services.reasoner.compile import Compiler, narrowed
from services.v1 import query_pb2
from services.wire.query import budget_from_proto, evidence_from_proto, query_from_proto


class Read(NamedTuple):
    """A request as it was understood."""

    query: Query
    problem: Problem


class Reader:
    """Reads requests, and keeps what the last ones were made of."""

    def __init__(self, compiler: Compiler, kept: int = 64):
        self.compiler, self.limits, self.kept = compiler, compiler.limits, kept
        self._known: OrderedDict[bytes, Read] = OrderedDict()
        self._lock = threading.Lock()

    def again(self, tenant: str, message: query_pb2.Query) -> Read | None:
        """The request, where all but evidence and budget was read before; else None. Raises
        BadQuery with every mistake."""
        with self._lock:
            known = self._known.get(self._key(tenant, message))
            if known is None:
                return None
            self._known.move_to_end(self._key(tenant, message))
        parts = {
            "variables": known.query.variables,
            "terms": (),
            "evidence": evidence_from_proto(message, self.limits),
            "budget": budget_from_proto(message),
        }
        query = query_of(parts, self.limits).model_copy(update={"terms": known.query.terms})
        return Read(query, narrowed(known.problem, query, self.limits))

    def read(self, tenant: str, message: query_pb2.Query) -> Read:
        """The request, whatever it is. Raises BadQuery with every mistake."""
        query = query_from_proto(message, self.limits)
        problem = self.compiler.problem(query, tenant)
        if problem.root is not None and all(s.term.reusable for s in problem.summands):
            bare = query.model_copy(update={"evidence": ({},)})  # nothing of the evidence is kept
            with self._lock:
                self._known[self._key(tenant, message)] = Read(bare, problem.root)
                while len(self._known) > self.kept:
                    self._known.popitem(last=False)
        return Read(query, problem)

    @staticmethod
    def _key(tenant: str, message: query_pb2.Query) -> bytes:
        structure = query_pb2.Query(variables=message.variables, terms=message.terms)
        made = hashlib.blake2b(structure.SerializeToString(deterministic=True), digest_size=20)
        made.update(b"|" + tenant.encode())
        return made.digest()

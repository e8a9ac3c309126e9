"""Small queries, right and wrong."""

import math
from collections.abc import Callable
from typing import Any

from services.query import query_of
from services.v1 import query_pb2
from services.wire.query import query_to_proto

NAN = math.nan


def term(**fields: Any) -> dict[str, Any]:
    """One term of a small query."""
    return {
        "kind": "discrete.all_different",
        "scope": ["x"],
        "params": {"lines": [[0, 1]]},
    } | fields


def small(**fields: Any) -> dict[str, Any]:
    """A small query."""
    return {"variables": {"x": {"values": [1, 2, 3], "shape": [3]}}, "terms": [term()]} | fields


def message(change: Callable[[query_pb2.Query], Any] = lambda q: None) -> query_pb2.Query:
    """The small query as a message, changed in a way no client of ours would send."""
    made = query_to_proto(query_of(small()))
    change(made)
    return made

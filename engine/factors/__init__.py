"""Explicit structure over finite sites."""

from engine.factors.amounts import per_site, whole_sum
from engine.factors.choice import conditional, parts_after
from engine.factors.factors import Factors
from engine.factors.families import Clauses, Counted, Different, Sums, Table, floats, ints

__all__ = [
    "Clauses",
    "Counted",
    "Different",
    "Factors",
    "Sums",
    "Table",
    "conditional",
    "floats",
    "ints",
    "parts_after",
    "per_site",
    "whole_sum",
]

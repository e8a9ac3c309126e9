"""What may be asked, as people write it: models, YAML and JSON, views."""

from services.query.arrays import ArrayFile, EvidenceArray
from services.query.model import (
    Budget,
    FiniteSpec,
    InputSpec,
    NamedInputSpec,
    NumberInputSpec,
    Options,
    Query,
    RealSpec,
    S,
    Spec,
    TermSpec,
    VariableSpec,
    options_of,
    parse_query,
    plain_query,
    query_of,
    spec_of,
)

__all__ = [
    "ArrayFile",
    "Budget",
    "EvidenceArray",
    "FiniteSpec",
    "InputSpec",
    "NamedInputSpec",
    "NumberInputSpec",
    "Options",
    "Query",
    "RealSpec",
    "S",
    "Spec",
    "TermSpec",
    "VariableSpec",
    "options_of",
    "parse_query",
    "plain_query",
    "query_of",
    "spec_of",
]

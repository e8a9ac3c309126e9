"""What may be asked, as people write it: models, YAML and JSON, views."""

from services.query.model import (
    Budget,
    FiniteSpec,
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
    "Budget",
    "FiniteSpec",
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

"""Queries and options as messages, and back."""

from collections.abc import MutableSequence, Sequence
from functools import partial
from typing import Any

from engine.errors import BadQuery, Mistake
from services.query import (
    FiniteSpec,
    InputSpec,
    NamedInputSpec,
    NumberInputSpec,
    Options,
    Query,
    TermSpec,
    VariableSpec,
    options_of,
    query_of,
)
from services.settings import DEFAULT, Limits
from services.v1 import query_pb2
from services.wire.arrays import Content
from services.wire.evidence import rows_from_proto, rows_to_proto
from services.wire.fields import collect_mistakes, present, put_present
from services.wire.values import from_assignment, from_value, to_assignment, to_value


def query_to_proto(query: Query, raw: MutableSequence[bytes] | None = None) -> query_pb2.Query:
    """A query as a message; bytes of its arrays are appended to `raw`, without which they become
    nested lists."""
    message = query_pb2.Query()
    for name, spec in query.variables.items():
        _domain_to_proto(spec, message.variables.add(name=name, shape=spec.shape))
    for name, told in query.inputs.items():
        _domain_to_proto(told, message.inputs.add(name=name, shape=told.shape))
    for term in query.terms:
        term_to_proto(term, message.terms.add())
    rows_to_proto(query.evidence, message.evidence, message.arrays, raw, query.inputs)
    budget = query.budget
    put_present(
        message.budget,
        seconds=budget.seconds,
        seed=budget.seed,
        particles=budget.particles,
        steps=budget.steps,
    )
    return message


def query_from_proto(
    message: query_pb2.Query, raw: Sequence[Content] = (), limits: Limits = DEFAULT
) -> Query:
    """The query of a message, checked as any other; raw: the contents of the outermost message.
    Raises BadQuery with every mistake."""
    found: list[Mistake] = []
    variables = _domains("variables", message.variables, found, limits)
    inputs = _domains("inputs", message.inputs, found, limits)
    terms = [
        collect_mistakes(found, f"terms[{k}]", partial(term_from_proto, term, limits))
        for k, term in enumerate(message.terms)
    ]
    evidence = collect_mistakes(found, "", partial(evidence_from_proto, message, raw, limits))
    if found:
        raise BadQuery(*found[: limits.mistakes])
    data = {"variables": variables, "inputs": inputs, "terms": terms, "evidence": evidence}
    return query_of(data | {"budget": budget_from_proto(message)}, limits)


def evidence_from_proto(
    message: query_pb2.Query, raw: Sequence[Content] = (), limits: Limits = DEFAULT
) -> list[dict[str, Any]]:
    """The rows of evidence of a message. Raises BadQuery with every mistake."""
    return rows_from_proto(message.evidence, message.arrays, raw, limits)


def budget_from_proto(message: query_pb2.Query) -> dict[str, Any]:
    """The fields of the budget that a message sets."""
    return present(message.budget, "seconds", "seed", "particles", "steps")


def options_to_proto(options: Options) -> query_pb2.Options:
    """Options as a message: all but scoring and explaining, which are asked for by the call."""
    message = query_pb2.Options(
        prove=options.prove,
        alternatives=options.alternatives,
        proof=options.proof,
        margins=options.margins,
    )
    put_present(message, distance=options.distance, minimizer=options.minimizer)
    return message


def options_from_proto(
    message: query_pb2.Options, limits: Limits = DEFAULT, **asked: Any
) -> Options:
    """The options of a message, and what the call itself asks for. Raises BadQuery or TooLarge."""
    fields = {
        name: getattr(message, name) for name in ("prove", "alternatives", "proof", "margins")
    }
    return options_of(fields | present(message, "distance", "minimizer") | asked, limits)


def term_to_proto(term: TermSpec, message: query_pb2.Term) -> None:
    message.kind = term.kind
    message.scope[:] = term.scope
    message.params.CopyFrom(to_assignment(term.params))
    weight = term.weight if "weight" in term.model_fields_set else None
    put_present(message, required=term.required, weight=weight, name=term.name)


def term_from_proto(message: query_pb2.Term, limits: Limits) -> dict[str, Any]:
    try:
        params = from_assignment(message.params, limits)
    except BadQuery as error:
        raise error.under("params") from None
    data = {"kind": message.kind, "scope": list(message.scope), "params": params}
    return data | present(message, "required", "weight", "name")


def _domain_to_proto(spec: VariableSpec | InputSpec, message: Any) -> None:
    """What a variable or an input may be, in its message."""
    if isinstance(spec, (FiniteSpec, NamedInputSpec)):
        message.finite.values.CopyFrom(to_value(spec.values))
        return
    edges = message.integer if isinstance(spec, NumberInputSpec) and spec.integer else message.real
    edges.SetInParent()
    put_present(edges, low=spec.low, high=spec.high)


def _domains(path: str, messages: Any, found: list[Mistake], limits: Limits) -> dict[str, Any]:
    """Variables or inputs by name; their mistakes go to `found`."""
    made: dict[str, Any] = {}
    for k, message in enumerate(messages):
        if message.name in made:
            twice = f"{message.name!r} stands twice"
            found.append(Mistake(f"{path}[{k}].name", twice, "give every name once"))
        make = partial(_domain, message, limits)
        made[message.name] = collect_mistakes(found, f"{path}.{message.name}", make)
    return made


def _domain(message: query_pb2.Variable | query_pb2.Input, limits: Limits) -> dict[str, Any]:
    data: dict[str, Any] = {"shape": list(message.shape)}
    field = message.WhichOneof("domain")
    if field == "finite":
        return data | {"values": from_value(message.finite.values, limits)}
    if field == "real":
        return data | {"low": None} | present(message.real, "low", "high")
    if field == "integer" and isinstance(message, query_pb2.Input):
        return data | {"integer": True} | present(message.integer, "low", "high")
    raise BadQuery(Mistake("domain", "is missing", "set finite or real"))

"""Queries and options as messages, and back."""

from functools import partial
from typing import Any

from engine.errors import BadQuery, Mistake
from services.query import FiniteSpec, Options, Query, TermSpec, options_of, query_of
from services.settings import DEFAULT, Limits
from services.v1 import query_pb2
from services.wire.fields import collect_mistakes, present, put_present
from services.wire.values import from_assignment, from_value, to_assignment, to_value


def query_to_proto(query: Query) -> query_pb2.Query:
    """A query as a message."""
    message = query_pb2.Query()
    for name, spec in query.variables.items():
        variable = message.variables.add(name=name, shape=spec.shape)
        if isinstance(spec, FiniteSpec):
            variable.finite.values.CopyFrom(to_value(spec.values))
        else:
            variable.real.SetInParent()
            put_present(variable.real, low=spec.low, high=spec.high)
    for term in query.terms:
        term_to_proto(term, message.terms.add())
    message.evidence.extend(to_assignment(row) for row in query.evidence)
    budget = query.budget
    put_present(
        message.budget,
        seconds=budget.seconds,
        seed=budget.seed,
        particles=budget.particles,
        steps=budget.steps,
    )
    return message


def query_from_proto(message: query_pb2.Query, limits: Limits = DEFAULT) -> Query:
    """The query of a message, checked as any other. Raises BadQuery with every mistake."""
    found: list[Mistake] = []
    variables: dict[str, Any] = {}
    for k, variable in enumerate(message.variables):
        if variable.name in variables:
            found.append(
                Mistake(
                    f"variables[{k}].name",
                    f"{variable.name!r} stands twice",
                    "give every name once",
                )
            )
        variables[variable.name] = collect_mistakes(
            found, f"variables.{variable.name}", partial(_domain, variable, limits)
        )
    terms = [
        collect_mistakes(found, f"terms[{k}]", partial(term_from_proto, term, limits))
        for k, term in enumerate(message.terms)
    ]
    evidence = collect_mistakes(found, "", partial(evidence_from_proto, message, limits))
    if found:
        raise BadQuery(*found[: limits.mistakes])
    data = {"variables": variables, "terms": terms, "evidence": evidence}
    return query_of(data | {"budget": budget_from_proto(message)}, limits)


def evidence_from_proto(message: query_pb2.Query, limits: Limits = DEFAULT) -> list[dict[str, Any]]:
    """The rows of evidence of a message. Raises BadQuery with every mistake."""
    found: list[Mistake] = []
    evidence = [
        collect_mistakes(found, f"evidence[{k}]", partial(from_assignment, row, limits))
        for k, row in enumerate(message.evidence)
    ]
    if found:
        raise BadQuery(*found[: limits.mistakes])
    return evidence or [{}]


def budget_from_proto(message: query_pb2.Query) -> dict[str, Any]:
    """The fields of the budget that a message sets."""
    return present(message.budget, "seconds", "seed", "particles", "steps")


def options_to_proto(options: Options) -> query_pb2.Options:
    """Options as a message: all but scoring and explaining, which are asked for by the call."""
    message = query_pb2.Options(
        prove=options.prove, alternatives=options.alternatives, proof=options.proof
    )
    put_present(message, distance=options.distance, minimizer=options.minimizer)
    return message


def options_from_proto(
    message: query_pb2.Options, limits: Limits = DEFAULT, **asked: Any
) -> Options:
    """The options of a message, and what the call itself asks for. Raises BadQuery or TooLarge."""
    fields = {name: getattr(message, name) for name in ("prove", "alternatives", "proof")}
    return options_of(fields | present(message, "distance", "minimizer") | asked, limits)


def term_to_proto(term: TermSpec, message: query_pb2.Term) -> None:
    message.kind = term.kind
    message.scope[:] = term.scope
    message.params.CopyFrom(to_assignment(term.params))
    put_present(message, required=term.required, weight=term.weight, name=term.name)


def term_from_proto(message: query_pb2.Term, limits: Limits) -> dict[str, Any]:
    try:
        params = from_assignment(message.params, limits)
    except BadQuery as error:
        raise error.under("params") from None
    data = {"kind": message.kind, "scope": list(message.scope), "params": params}
    return data | present(message, "required", "weight", "name")


def _domain(message: query_pb2.Variable, limits: Limits) -> dict[str, Any]:
    data: dict[str, Any] = {"shape": list(message.shape)}
    field = message.WhichOneof("domain")
    if field == "finite":
        return data | {"values": from_value(message.finite.values, limits)}
    if field == "real":
        return data | {"low": None} | present(message.real, "low", "high")
    raise BadQuery(Mistake("domain", "is missing", "set finite or real"))

"""Queries and answers as messages and back: the one place that converts them."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from engine.answer import (
    Alternative,
    Answer,
    Conflict,
    Ended,
    Finding,
    Flag,
    Part,
    Place,
    RunnerUp,
    Status,
    TermEnergy,
)
from engine.errors import BadQuery, BasinError, Mistake
from services.limits import DEFAULT, Limits
from services.query import FiniteSpec, Options, Query, TermSpec, options_of, query_of
from services.v1 import answer_pb2, query_pb2, reasoner_pb2
from services.values import from_assignment, from_value, to_assignment, to_value


@dataclass(frozen=True)
class Progress:
    """How far the search of one row has come."""

    row: int
    steps: int
    seconds: float
    energy: float | None  # of the best state so far
    bound: float | None
    terms: tuple[TermEnergy, ...] = ()
    values: dict[str, Any] | None = None  # None in a value: not decided yet


@dataclass(frozen=True)
class Result:
    """The answer of one row of a stream."""

    row: int
    answer: Answer


@dataclass(frozen=True)
class Kind:
    """What a service tells of a kind of term."""

    kind: str
    about: str
    required_by_default: bool
    calibrated: bool
    parameters: dict[str, Any]  # JSON Schema


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
        variables[variable.name] = gathered(
            found, f"variables.{variable.name}", partial(_domain, variable, limits)
        )
    terms = [
        gathered(found, f"terms[{k}]", partial(term_from_proto, term, limits))
        for k, term in enumerate(message.terms)
    ]
    evidence = gathered(found, "", partial(evidence_from_proto, message, limits))
    if found:
        raise BadQuery(*found[: limits.mistakes])
    data = {"variables": variables, "terms": terms, "evidence": evidence}
    return query_of(data | {"budget": budget_from_proto(message)}, limits)


def evidence_from_proto(message: query_pb2.Query, limits: Limits = DEFAULT) -> list[dict[str, Any]]:
    """The rows of evidence of a message. Raises BadQuery with every mistake."""
    found: list[Mistake] = []
    evidence = [
        gathered(found, f"evidence[{k}]", partial(from_assignment, row, limits))
        for k, row in enumerate(message.evidence)
    ]
    if found:
        raise BadQuery(*found[: limits.mistakes])
    return evidence or [{}]


def budget_from_proto(message: query_pb2.Query) -> dict[str, Any]:
    """The fields of the budget that a message sets."""
    return present(message.budget, "seconds", "seed", "particles", "steps")


def options_to_proto(options: Options) -> query_pb2.Options:
    """Options as a message."""
    return query_pb2.Options(**dict(options))


def options_from_proto(message: query_pb2.Options, limits: Limits = DEFAULT) -> Options:
    """The options of a message. Raises BadQuery or TooLarge."""
    fields = {name: getattr(message, name) for name in Options.model_fields}
    optional = ("distance", "minimizer")
    fields = {name: value for name, value in fields.items() if name not in optional}
    fields |= present(message, *optional) | {"differ": tuple(message.differ)}
    return options_of(fields, limits)


def answer_to_proto(answer: Answer) -> answer_pb2.Answer:
    """An answer as a message."""
    message = answer_pb2.Answer(
        status=status_to_proto(answer.status),
        terms=_terms_to_proto(answer.terms),
        flags=flags_to_proto(answer.flags),
        alternatives=[
            answer_pb2.Alternative(values=to_assignment(other.values), energy=other.energy)
            for other in answer.alternatives
        ],
        conflict=answer_pb2.Conflict(
            evidence=_places_to_proto(answer.conflict.evidence),
            rules=[answer_pb2.Part(term=p.term, part=p.part) for p in answer.conflict.rules],
            repair=_places_to_proto(answer.conflict.repair),
            text=answer.conflict.text,
        ),
        steps=answer.steps,
        seconds=answer.seconds,
        runner_up=None if answer.runner_up is None else _runner_up_to_proto(answer.runner_up),
        proof=answer.proof,
        ended=ended_to_proto(answer.ended),
    )
    put_present(message, energy=answer.energy, bound=answer.bound, unique=answer.unique)
    if answer.values is not None:
        message.values.CopyFrom(to_assignment(answer.values))
    for finding in answer.findings:
        made = message.findings.add(term=finding.term, required=finding.required, text=finding.text)
        put_present(made, holds=finding.holds)
    return message


def answer_from_proto(message: answer_pb2.Answer, limits: Limits = DEFAULT) -> Answer:
    """The answer of a message. Raises BasinError when the service speaks another version."""
    conflict = message.conflict
    return Answer(
        status=status_from_proto(message.status),
        values=from_assignment(message.values, limits) if message.HasField("values") else None,
        energy=optional(message, "energy"),
        bound=optional(message, "bound"),
        terms=_terms(message.terms),
        findings=tuple(
            Finding(f.term, optional(f, "holds"), f.required, f.text) for f in message.findings
        ),
        flags=flags_from_proto(message.flags),
        unique=optional(message, "unique"),
        alternatives=tuple(
            Alternative(from_assignment(other.values, limits), other.energy)
            for other in message.alternatives
        ),
        conflict=Conflict(
            evidence=_places(conflict.evidence, limits),
            rules=tuple(Part(part.term, part.part) for part in conflict.rules),
            repair=_places(conflict.repair, limits),
            text=conflict.text,
        ),
        steps=message.steps,
        seconds=message.seconds,
        runner_up=_runner_up(message.runner_up, limits) if message.HasField("runner_up") else None,
        proof=optional(message, "proof"),
        ended=ended_from_proto(message.ended),
    )


def status_to_proto(status: Status) -> answer_pb2.Status.ValueType:
    """A status as a number."""
    return answer_pb2.Status.Value(f"STATUS_{status}")


def status_from_proto(number: int) -> Status:
    """The status of a number. Raises BasinError when the service speaks another version."""
    return _named(Status, answer_pb2.Status, number, "STATUS_")


def ended_to_proto(ended: Ended | None) -> answer_pb2.Ended.ValueType:
    """Why a search ended, as a number; 0: there was none."""
    return answer_pb2.Ended.Value("ENDED_UNSPECIFIED" if ended is None else f"ENDED_{ended.name}")


def ended_from_proto(number: int) -> Ended | None:
    """Why a search ended. Raises BasinError when the service speaks another version."""
    return _named(Ended, answer_pb2.Ended, number, "ENDED_") if number else None


def flags_to_proto(flags: Iterable[Flag]) -> list[answer_pb2.Flag.ValueType]:
    """Flags as numbers."""
    return [answer_pb2.Flag.Value(f"FLAG_{flag}") for flag in flags]


def flags_from_proto(numbers: Iterable[int]) -> tuple[Flag, ...]:
    """The flags of numbers. Raises BasinError when the service speaks another version."""
    return tuple(_named(Flag, answer_pb2.Flag, number, "FLAG_") for number in numbers)


def event_to_proto(event: Progress | Result) -> reasoner_pb2.SolveStreamResponse:
    """One message of a stream."""
    if isinstance(event, Result):
        result = reasoner_pb2.Result(row=event.row, answer=answer_to_proto(event.answer))
        return reasoner_pb2.SolveStreamResponse(result=result)
    progress = reasoner_pb2.Progress(
        row=event.row,
        steps=event.steps,
        seconds=event.seconds,
        terms=_terms_to_proto(event.terms),
        values=None if event.values is None else to_assignment(event.values),
    )
    put_present(progress, energy=event.energy, bound=event.bound)
    return reasoner_pb2.SolveStreamResponse(progress=progress)


def event_from_proto(
    message: reasoner_pb2.SolveStreamResponse, limits: Limits = DEFAULT
) -> Progress | Result:
    """One event of a stream. Raises BasinError when the service speaks another version."""
    field = message.WhichOneof("event")
    if field == "result":
        return Result(message.result.row, answer_from_proto(message.result.answer, limits))
    if field is None:
        raise BasinError("the service sent an event this version does not know")
    event = message.progress
    return Progress(
        row=event.row,
        steps=event.steps,
        seconds=event.seconds,
        energy=optional(event, "energy"),
        bound=optional(event, "bound"),
        terms=_terms(event.terms),
        values=from_assignment(event.values, limits) if event.HasField("values") else None,
    )


def kind_to_proto(kind: Kind) -> reasoner_pb2.Kind:
    """A kind as a message."""
    return reasoner_pb2.Kind(
        kind=kind.kind,
        about=kind.about,
        required_by_default=kind.required_by_default,
        calibrated=kind.calibrated,
        parameters=json.dumps(kind.parameters),
    )


def kind_from_proto(message: reasoner_pb2.Kind) -> Kind:
    """The kind of a message."""
    return Kind(
        message.kind,
        message.about,
        message.required_by_default,
        message.calibrated,
        json.loads(message.parameters or "{}"),
    )


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


def _runner_up_to_proto(other: RunnerUp) -> answer_pb2.RunnerUp:
    return answer_pb2.RunnerUp(
        values=to_assignment(other.values),
        energy=other.energy,
        terms=_terms_to_proto(other.terms),
        text=other.text,
    )


def _runner_up(message: answer_pb2.RunnerUp, limits: Limits) -> RunnerUp:
    return RunnerUp(
        from_assignment(message.values, limits), message.energy, _terms(message.terms), message.text
    )


def _terms_to_proto(terms: Iterable[TermEnergy]) -> list[answer_pb2.TermEnergy]:
    return [answer_pb2.TermEnergy(term=term.term, energy=term.energy) for term in terms]


def _terms(messages: Iterable[answer_pb2.TermEnergy]) -> tuple[TermEnergy, ...]:
    return tuple(TermEnergy(term.term, optional(term, "energy")) for term in messages)


def _places_to_proto(places: Iterable[Place]) -> list[answer_pb2.Place]:
    return [
        answer_pb2.Place(variable=place.variable, site=place.site, value=to_value(place.value))
        for place in places
    ]


def _places(messages: Iterable[answer_pb2.Place], limits: Limits) -> tuple[Place, ...]:
    return tuple(
        Place(place.variable, tuple(place.site), from_value(place.value, limits))
        for place in messages
    )


def _named(kind: Any, enum: Any, number: int, prefix: str) -> Any:
    name = enum.Name(number) if number in enum.values() else str(number)
    if name.removeprefix(prefix) not in kind.__members__:
        raise BasinError(f"the service sent {name}, which this version does not know")
    return kind[name.removeprefix(prefix)]


def put_present(message: Any, **fields: Any) -> None:
    """Fill optional fields; None leaves one out."""
    for name, value in fields.items():
        if value is not None:
            setattr(message, name, value)


def present(message: Any, *names: str) -> dict[str, Any]:
    return {name: getattr(message, name) for name in names if message.HasField(name)}


def optional(message: Any, name: str) -> Any:
    return getattr(message, name) if message.HasField(name) else None


def gathered(found: list[Mistake], path: str, make: Callable[[], Any]) -> Any:
    """What `make` makes; its mistakes go to `found` instead."""
    try:
        return make()
    except BadQuery as error:
        found.extend(error.under(path).mistakes)
        return None

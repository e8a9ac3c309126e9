"""Answers as messages, and back."""

from collections.abc import Iterable

from engine.answer import (
    Alternative,
    Answer,
    Conflict,
    Ended,
    Finding,
    Flag,
    Margin,
    Part,
    Place,
    Proof,
    RunnerUp,
    Status,
    TermEnergy,
)
from services.settings import DEFAULT, Limits
from services.v1 import answer_pb2
from services.wire.fields import enum_member, optional, put_present
from services.wire.values import from_assignment, from_value, to_assignment, to_value


def answer_to_proto(answer: Answer) -> answer_pb2.Answer:
    """An answer as a message."""
    message = answer_pb2.Answer(
        status=status_to_proto(answer.status),
        terms=terms_to_proto(answer.terms),
        flags=flags_to_proto(answer.flags),
        alternatives=[
            answer_pb2.Alternative(values=to_assignment(other.values), energy=other.energy)
            for other in answer.alternatives
        ],
        conflict=answer_pb2.Conflict(
            evidence=places_to_proto(answer.conflict.evidence),
            rules=[answer_pb2.Part(term=p.term, part=p.part) for p in answer.conflict.rules],
            repair=places_to_proto(answer.conflict.repair),
            text=answer.conflict.text,
        ),
        steps=answer.steps,
        seconds=answer.seconds,
        runner_up=None if answer.runner_up is None else _runner_up_to_proto(answer.runner_up),
        proof=answer.proof,
        ended=ended_to_proto(answer.ended),
        abstained=places_to_proto(answer.abstained),
        proved_by=proof_to_proto(answer.proved_by),
        margins=[
            answer_pb2.Margin(variable=m.variable, low=m.low, high=m.high) for m in answer.margins
        ],
    )
    put_present(message, energy=answer.energy, bound=answer.bound)
    put_present(message, unique=answer.unique, converged=answer.converged)
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
        terms=term_energies(message.terms),
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
            evidence=places_from_proto(conflict.evidence, limits),
            rules=tuple(Part(part.term, part.part) for part in conflict.rules),
            repair=places_from_proto(conflict.repair, limits),
            text=conflict.text,
        ),
        steps=message.steps,
        seconds=message.seconds,
        runner_up=_runner_up(message.runner_up, limits) if message.HasField("runner_up") else None,
        proof=optional(message, "proof"),
        ended=ended_from_proto(message.ended),
        abstained=places_from_proto(message.abstained, limits),
        converged=optional(message, "converged"),
        proved_by=proof_from_proto(message.proved_by),
        margins=tuple(Margin(m.variable, tuple(m.low), tuple(m.high)) for m in message.margins),
    )


def status_to_proto(status: Status) -> answer_pb2.Status.ValueType:
    """A status as a number."""
    return answer_pb2.Status.Value(f"STATUS_{status}")


def status_from_proto(number: int) -> Status:
    """The status of a number. Raises BasinError when the service speaks another version."""
    return enum_member(Status, answer_pb2.Status, number, "STATUS_")


def ended_to_proto(ended: Ended | None) -> answer_pb2.Ended.ValueType:
    """Why a search ended, as a number; 0: there was none."""
    return answer_pb2.Ended.Value("ENDED_UNSPECIFIED" if ended is None else f"ENDED_{ended.name}")


def ended_from_proto(number: int) -> Ended | None:
    """Why a search ended. Raises BasinError when the service speaks another version."""
    return enum_member(Ended, answer_pb2.Ended, number, "ENDED_") if number else None


def proof_to_proto(proof: Proof | None) -> answer_pb2.Proof.ValueType:
    """What proved a bound, as a number; 0: nothing did, or it is not known."""
    return answer_pb2.Proof.Value("PROOF_UNSPECIFIED" if proof is None else f"PROOF_{proof.name}")


def proof_from_proto(number: int) -> Proof | None:
    """What proved a bound; None also for proofs that only a newer service knows."""
    known = number in answer_pb2.Proof.values()
    return enum_member(Proof, answer_pb2.Proof, number, "PROOF_") if number and known else None


def flags_to_proto(flags: Iterable[Flag]) -> list[answer_pb2.Flag.ValueType]:
    """Flags as numbers."""
    return [answer_pb2.Flag.Value(f"FLAG_{flag}") for flag in flags]


def flags_from_proto(numbers: Iterable[int]) -> tuple[Flag, ...]:
    """The flags of numbers. Raises BasinError when the service speaks another version."""
    return tuple(enum_member(Flag, answer_pb2.Flag, number, "FLAG_") for number in numbers)


def _runner_up_to_proto(other: RunnerUp) -> answer_pb2.RunnerUp:
    return answer_pb2.RunnerUp(
        values=to_assignment(other.values),
        energy=other.energy,
        terms=terms_to_proto(other.terms),
        text=other.text,
    )


def _runner_up(message: answer_pb2.RunnerUp, limits: Limits) -> RunnerUp:
    return RunnerUp(
        from_assignment(message.values, limits),
        message.energy,
        term_energies(message.terms),
        message.text,
    )


def terms_to_proto(terms: Iterable[TermEnergy]) -> list[answer_pb2.TermEnergy]:
    return [answer_pb2.TermEnergy(term=term.term, energy=term.energy) for term in terms]


def term_energies(messages: Iterable[answer_pb2.TermEnergy]) -> tuple[TermEnergy, ...]:
    return tuple(TermEnergy(term.term, optional(term, "energy")) for term in messages)


def places_to_proto(places: Iterable[Place]) -> list[answer_pb2.Place]:
    return [
        answer_pb2.Place(variable=place.variable, site=place.site, value=to_value(place.value))
        for place in places
    ]


def places_from_proto(messages: Iterable[answer_pb2.Place], limits: Limits) -> tuple[Place, ...]:
    return tuple(
        Place(place.variable, tuple(place.site), from_value(place.value, limits))
        for place in messages
    )

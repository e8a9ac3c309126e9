"""A hosted term's kind, parameters and domains as one message and back.

The tensors of narrowed domains stand in `raw_contents` of the outermost message.
"""

from collections.abc import Mapping, MutableSequence, Sequence
from dataclasses import dataclass
from typing import Any

from engine.domain import Domain, Finite, Real
from engine.errors import BadQuery, Mistake
from services.limits import DEFAULT, Limits
from services.tensors import put, take
from services.v1 import module_pb2 as pb
from services.values import from_assignment, from_value, to_assignment, to_value


@dataclass(frozen=True)
class Binding:
    """A kind with its parameters, over one domain for each entry of its scope."""

    kind: str
    params: Mapping[str, Any]
    domains: tuple[Domain, ...]


def binding_to_proto(binding: Binding, raw: MutableSequence[bytes]) -> pb.Binding:
    """A binding as a message; bytes of its domains are appended to `raw`."""
    return pb.Binding(
        kind=binding.kind,
        params=to_assignment(binding.params),
        domains=[_domain_to_proto(domain, raw) for domain in binding.domains],
    )


def binding_from_proto(
    message: pb.Binding, raw: Sequence[bytes], limits: Limits = DEFAULT
) -> Binding:
    """The binding of a message. Raises BadQuery with the path inside the binding."""
    try:
        params = from_assignment(message.params, limits)
    except BadQuery as error:
        raise error.under("params") from None
    domains = []
    for k, domain in enumerate(message.domains):
        try:
            domains.append(_domain(domain, raw, limits))
        except BadQuery as error:
            raise error.under(f"domains[{k}]") from None
    return Binding(message.kind, params, tuple(domains))


def _domain_to_proto(domain: Domain, raw: MutableSequence[bytes]) -> pb.Domain:
    message = pb.Domain(shape=domain.shape)
    if isinstance(domain, Finite):
        message.finite.values.CopyFrom(to_value(domain.values))
        put(domain.allowed, message.finite.allowed, raw, "allowed")
    elif isinstance(domain, Real):
        put(domain.low, message.real.low, raw, "low")
        put(domain.high, message.real.high, raw, "high")
    else:
        raise TypeError(f"domains of {type(domain).__name__} do not travel")
    return message


def _domain(message: pb.Domain, raw: Sequence[bytes], limits: Limits) -> Domain:
    shape, field = tuple(message.shape), message.WhichOneof("kind")
    if field == "finite":
        values = from_value(message.finite.values, limits)
        if not isinstance(values, list):
            raise BadQuery(Mistake("values", f"{values!r} is no list", "list the values"))
        return Finite(tuple(values), shape, take(message.finite.allowed, raw, limits))
    if field == "real":
        edges = [take(edge, raw, limits) for edge in (message.real.low, message.real.high)]
        for edge in edges:
            if tuple(edge.shape[1:]) != shape or not edge.shape[:1].numel():
                raise BadQuery(
                    Mistake("low", f"shape {[*edge.shape]}", f"give (rows, {[*shape]})")
                )
        return Real(shape, *edges)
    raise BadQuery(Mistake("kind", "is missing", "set finite or real"))

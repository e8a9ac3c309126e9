"""A hosted term's kind, parameters and domains as one message and back.

The tensors of narrowed domains stand in `raw_contents` of the outermost message.
"""

import hashlib
from collections.abc import Mapping, MutableSequence, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from engine.domain import Domain, Finite, Real, Variable
from engine.errors import BadQuery, Mistake, shown
from services.settings import DEFAULT, Limits
from services.v1 import module_pb2 as pb
from services.wire.arrays import Content
from services.wire.tensors import put, take
from services.wire.values import from_assignment, from_value, to_assignment, to_value


@dataclass(frozen=True)
class Binding:
    """A kind with its parameters, over one domain for each entry of its scope."""

    kind: str
    params: Mapping[str, Any]
    domains: tuple[Domain, ...]
    names: tuple[str, ...] = ()  # of the variables of the scope; a term may tell of them

    def scope(self) -> list[Variable]:
        """A variable over each domain; one whose name is missing, or that of two, is numbered."""
        names = self.names if len(self.names) == len(self.domains) else ("",) * len(self.domains)
        return [
            Variable(name if name and names.count(name) == 1 else f"v{k}", domain)
            for k, (name, domain) in enumerate(zip(names, self.domains, strict=True))
        ]


@dataclass(frozen=True, eq=False)
class BoundBinding:
    """A binding as it travels, made once and sent as often as is needed."""

    binding: Binding
    message: pb.Binding
    raw: tuple[bytes, ...]  # bytes of its domains: the first of the outermost message

    @staticmethod
    def of(binding: Binding) -> "BoundBinding":
        """Raises BadQuery or TypeError for parameters or domains that do not travel."""
        raw: list[bytes] = []
        return BoundBinding(binding, binding_to_proto(binding, raw), tuple(raw))

    @cached_property
    def digest(self) -> bytes:
        """What tells it from other bindings."""
        return binding_digest(self.message, self.raw)


def binding_digest(message: pb.Binding, raw: Sequence[Content]) -> bytes:
    """What tells bindings apart, by message and bytes of the domains."""
    made = hashlib.blake2b(message.SerializeToString(deterministic=True), digest_size=20)
    for content in raw:
        made.update(b"|%d|" % len(content))
        made.update(content)
    return made.digest()


def binding_to_proto(binding: Binding, raw: MutableSequence[bytes]) -> pb.Binding:
    """A binding as a message; bytes of its domains are appended to `raw`."""
    return pb.Binding(
        kind=binding.kind,
        params=to_assignment(binding.params),
        names=binding.names,
        domains=[_domain_to_proto(domain, raw) for domain in binding.domains],
    )


def binding_from_proto(
    message: pb.Binding, raw: Sequence[Content], limits: Limits = DEFAULT
) -> Binding:
    """The binding of a message. Raises BadQuery with the path inside the binding."""
    params = params_from_proto(message, limits)
    domains = []
    for k, domain in enumerate(message.domains):
        try:
            domains.append(_domain(domain, raw, limits))
        except BadQuery as error:
            raise error.under(f"domains[{k}]") from None
    return Binding(message.kind, params, tuple(domains), tuple(message.names))


def params_from_proto(message: pb.Binding, limits: Limits = DEFAULT) -> dict[str, Any]:
    """The parameters of a binding. Raises BadQuery under `params`."""
    try:
        return from_assignment(message.params, limits)
    except BadQuery as error:
        raise error.under("params") from None


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


def _domain(message: pb.Domain, raw: Sequence[Content], limits: Limits) -> Domain:
    shape, field = tuple(message.shape), message.WhichOneof("kind")
    if field == "finite":
        values = from_value(message.finite.values, limits)
        if not isinstance(values, list) or any(isinstance(v, (list, dict)) for v in values):
            raise BadQuery(Mistake("values", f"{shown(values)} is no list of values", "list them"))
        allowed = _rows(take(message.finite.allowed, raw, limits), torch.bool, "allowed")
        return Finite(tuple(values), shape, allowed)
    if field == "real":
        low = _rows(take(message.real.low, raw, limits), torch.float64, "low")
        high = _rows(take(message.real.high, raw, limits), torch.float64, "high")
        if low.shape[1:] != shape or high.shape[1:] != shape or 1 < len(low) != len(high) > 1:
            raise BadQuery(
                Mistake(
                    "low",
                    f"edges of shape {[*low.shape]} and {[*high.shape]}",
                    f"give rows of the shape {[*shape]}",
                )
            )
        return Real(shape, low, high)
    raise BadQuery(Mistake("kind", "is missing", "set finite or real"))


def _rows(tensor: Tensor, dtype: torch.dtype, path: str) -> Tensor:
    """The same tensor: it has the type, and a leading axis of at least one row."""
    if tensor.dtype != dtype or not tensor.dim() or not len(tensor):
        raise BadQuery(
            Mistake(path, f"{tensor.dtype} of shape {[*tensor.shape]}", f"give rows of {dtype}")
        )
    return tensor

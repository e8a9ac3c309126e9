"""A hosted term's kind, parameters and domains as one message and back.

The tensors of narrowed domains, and of what rows were told, stand in `raw_contents` of the
outermost message.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, MutableSequence, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from engine.decimals import Ints
from engine.domain import Domain, Finite, Input, Real, Told, Variable
from engine.domain.told import there_of
from engine.errors import BadQuery, Mistake, TooLarge, shown
from services.settings import DEFAULT, Limits
from services.v1 import module_pb2 as pb
from services.v1.tensor_pb2 import TensorSpec
from services.v1.value_pb2 import Value
from services.wire.arrays import Content, put_array
from services.wire.tensors import array_of, put, take
from services.wire.values import from_assignment, from_value, to_assignment, to_value


@dataclass(frozen=True)
class Binding:
    """A kind with its parameters, over one domain for each entry of its scope."""

    kind: str
    params: Mapping[str, Any]
    domains: tuple[Domain, ...]
    names: tuple[str, ...] = ()  # of the variables of the scope; a term may tell of them

    def scope(self) -> list[Variable]:
        """A variable over each domain, an input over what is told; one whose name is missing, or
        that of two, is numbered."""
        names = self.names if len(self.names) == len(self.domains) else ("",) * len(self.domains)
        called = [
            name if name and names.count(name) == 1 else f"v{k}" for k, name in enumerate(names)
        ]
        return [
            Input(name, untold(domain)) if isinstance(domain, Told) else Variable(name, domain)
            for name, domain in zip(called, self.domains, strict=True)
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


def untold(domain: Told) -> Told:
    """The same domain in which no row was told anything."""
    return Told(domain.shape, domain.low, domain.high, domain.integer, domain.values)


def binding_digest(message: pb.Binding, raw: Sequence[Content]) -> bytes:
    """What tells bindings apart, by message and bytes of the domains."""
    made = hashlib.blake2b(message.SerializeToString(deterministic=True), digest_size=20)
    for content in raw:
        made.update(b"|%d|" % len(content))
        made.update(content)
    return made.digest()


def declared_digest(message: pb.Binding, raw: Sequence[Content]) -> bytes:
    """What tells bindings apart, whatever their rows were told."""
    told = [domain.told for domain in message.domains if domain.HasField("told")]
    left_out = {one.tensor.raw_index for one in told if one.HasField("tensor")}
    left_out |= {one.present.raw_index for one in told if one.HasField("present")}
    if not left_out:
        return binding_digest(message, raw)
    bare = pb.Binding()
    bare.CopyFrom(message)
    for domain in bare.domains:
        if domain.HasField("told"):
            domain.told.ClearField("tensor")
            domain.told.ClearField("present")
    return binding_digest(bare, [one for k, one in enumerate(raw) if k not in left_out])


def tensors_of(candidate: pb.Arguments) -> Iterator[TensorSpec]:
    """What describes the tensors of a candidate."""
    for told in candidate.inputs:
        yield told.values
        if told.HasField("present"):
            yield told.present


def binding_to_proto(binding: Binding, raw: MutableSequence[bytes]) -> pb.Binding:
    """A binding as a message; bytes of its domains are appended to `raw`."""
    return pb.Binding(
        kind=binding.kind,
        params=to_assignment(binding.params),
        names=binding.names,
        domains=[domain_to_proto(domain, raw) for domain in binding.domains],
    )


def binding_from_proto(
    message: pb.Binding, raw: Sequence[Content], limits: Limits = DEFAULT
) -> Binding:
    """The binding of a message. Raises BadQuery with the path inside the binding."""
    params = params_from_proto(message, limits)
    domains = domains_from_proto(message.domains, raw, limits)
    return Binding(message.kind, params, domains, tuple(message.names))


def domains_from_proto(
    messages: Sequence[pb.Domain], raw: Sequence[Content], limits: Limits = DEFAULT
) -> tuple[Domain, ...]:
    """The domains of a message. Raises BadQuery under `domains`."""
    domains = []
    for k, message in enumerate(messages):
        try:
            domains.append(_domain(message, raw, limits))
        except BadQuery as error:
            raise error.under(f"domains[{k}]") from None
    return tuple(domains)


def params_from_proto(message: pb.Binding, limits: Limits = DEFAULT) -> dict[str, Any]:
    """The parameters of a binding. Raises BadQuery under `params`."""
    try:
        return from_assignment(message.params, limits)
    except BadQuery as error:
        raise error.under("params") from None


def domain_to_proto(domain: Domain, raw: MutableSequence[Any]) -> pb.Domain:
    """A domain as a message; bytes of its tensors are appended to `raw`. Raises TypeError for one
    that does not travel."""
    message = pb.Domain(shape=domain.shape)
    if isinstance(domain, Finite):
        message.finite.values.CopyFrom(to_value(domain.values))
        put(domain.allowed, message.finite.allowed, raw, "allowed")
    elif isinstance(domain, Real):
        put(domain.low, message.real.low, raw, "low")
        put(domain.high, message.real.high, raw, "high")
    elif isinstance(domain, Told):
        _told_to_proto(domain, message.told, raw)
    else:
        raise TypeError(f"domains of {type(domain).__name__} do not travel")
    return message


def _told_to_proto(domain: Told, message: pb.ToldDomain, raw: MutableSequence[Any]) -> None:
    message.integer = domain.integer
    if domain.low > -math.inf:
        message.low = domain.low
    if domain.high < math.inf:
        message.high = domain.high
    if domain.values is not None:
        message.values.CopyFrom(to_value(domain.values))
    if domain.rows > 1 or bool(domain.present.any()):
        present = array_of(domain.present)
        put_array(there_of(array_of(domain.tensor), present), message.tensor, raw, "tensor")
        put_array(present, message.present, raw, "present")


def _domain(message: pb.Domain, raw: Sequence[Content], limits: Limits) -> Domain:
    shape, field = tuple(message.shape), message.WhichOneof("kind")
    if field == "finite":
        values = _values(message.finite.values, limits)
        allowed = _rows(take(message.finite.allowed, raw, limits), torch.bool, "allowed")
        return Finite(values, shape, allowed)
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
    if field == "told":
        return _told(message.told, shape, raw, limits)
    raise BadQuery(Mistake("kind", "is missing", "set finite, real or told"))


def _values(message: Value, limits: Limits) -> tuple[Any, ...]:
    values = from_value(message, limits)
    if not isinstance(values, list) or any(isinstance(v, (list, dict)) for v in values):
        raise BadQuery(Mistake("values", f"{shown(values)} is no list of values", "list them"))
    return tuple(values)


def _told(
    message: pb.ToldDomain, shape: tuple[int, ...], raw: Sequence[Content], limits: Limits
) -> Told:
    values = _values(message.values, limits) if message.HasField("values") else None
    low = message.low if message.HasField("low") else -math.inf
    high = message.high if message.HasField("high") else math.inf
    domain = Told(shape, low, high, message.integer, values)
    if not message.HasField("tensor"):
        return domain
    tensor, present = take(message.tensor, raw, limits), take(message.present, raw, limits)
    return told_rows(domain, _filled(domain, tensor, present, limits), present)


def bytes_of(domain: Told) -> Ints:
    """Bytes that each row takes on its way: of what is there alone. -> (R,)"""
    entry = domain.tensor[:1].nbytes // domain.entries
    there: Ints = domain.present.sum(1).numpy(force=True)
    return domain.entries + entry * there


def _filled(domain: Told, tensor: Tensor, present: Tensor, limits: Limits) -> Tensor:
    """Rows of which only the entries that are there travelled, with 0 for all others; others as
    they are. (m, *shape[1:]), (rows, n) -> (rows, *shape)"""
    count = int(present.sum())
    packed = domain.shape and tuple(tensor.shape) == (count, *domain.shape[1:])
    if not packed or present.dtype != torch.bool or present.shape[1:] != domain.shape[:1]:
        return tensor
    numbers = len(present) * domain.sites
    if numbers > limits.input_numbers:
        remedy = limits.told("input_numbers")
        raise TooLarge(Mistake("tensor", f"{numbers} numbers of all rows", remedy))
    rows = tensor.new_zeros(len(present), *domain.shape)
    rows[present] = tensor
    return rows


def told_rows(domain: Told, tensor: Tensor, present: Tensor) -> Told:
    """A domain whose rows were told this. Raises BadQuery unless it fits.
    tensor (rows, *shape), present (rows, n)"""
    if not tensor.dim():
        raise BadQuery(Mistake("tensor", "has no rows", f"give rows of {[*domain.shape]}"))
    whole = domain.integer or domain.values is not None
    types = (torch.int64,) if whole else (torch.float32, torch.float64)
    if tensor.dtype not in types or not len(tensor) or tuple(tensor.shape[1:]) != domain.shape:
        given = f"{tensor.dtype} of shape {[*tensor.shape]}"
        raise BadQuery(Mistake("tensor", given, f"give rows of {[*domain.shape]} in {types[0]}"))
    if present.dtype != torch.bool or tuple(present.shape) != (len(tensor), domain.entries):
        given = f"{present.dtype} of shape {[*present.shape]}"
        remedy = f"give bool of shape {[len(tensor), domain.entries]}"
        raise BadQuery(Mistake("present", given, remedy))
    k = None if domain.values is None else len(domain.values)
    if k is not None and tensor.numel() and not 0 <= int(tensor.min()) <= int(tensor.max()) < k:
        raise BadQuery(Mistake("tensor", "a place out of range", f"places lie in 0 to {k - 1}"))
    if not whole and not all_finite(tensor):
        raise BadQuery(Mistake("tensor", "a number is not finite", "send finite numbers"))
    return replace(domain, tensor=tensor, present=present)


def all_finite(x: Tensor) -> bool:
    """Whether all numbers are finite; one pass where the sum is, and it mostly is."""
    return math.isfinite(x.detach().sum()) or bool(x.isfinite().all())


def told_of(
    domain: Told,
    message: pb.InputValues,
    raw: Sequence[Content],
    limits: Limits = DEFAULT,
    single: bool = False,
) -> Told:
    """A domain whose rows were told what a message says; single: of one row, without a leading
    axis. Raises BadQuery."""
    tensor = take(message.values, raw, limits)
    tensor = tensor[None] if single else tensor
    if message.HasField("present"):
        present = take(message.present, raw, limits)
        present = present[None] if single else present
    else:
        rows = len(tensor) if tensor.dim() else 0
        present = torch.ones(rows, domain.entries, dtype=torch.bool)
    return told_rows(
        domain, tensor if single else _filled(domain, tensor, present, limits), present
    )


def _rows(tensor: Tensor, dtype: torch.dtype, path: str) -> Tensor:
    """The same tensor: it has the type, and a leading axis of at least one row."""
    if tensor.dtype != dtype or not tensor.dim() or not len(tensor):
        raise BadQuery(
            Mistake(path, f"{tensor.dtype} of shape {[*tensor.shape]}", f"give rows of {dtype}")
        )
    return tensor

"""What settings are, in texts that are the same in every process: by these a run is known.

    told("objective", Sparse(PseudoLikelihood(holes=2), 0.1)) == {
        "objective": "engine.learning.objectives.sparse.Sparse",
        "objective.inner": "engine.learning.objectives.pseudo_likelihood.PseudoLikelihood",
        "objective.inner.holes": "2", ..., "objective.strength": "0.1"}

A record is its class and its fields, one by one, but for those that it does not compare by. A
function is known by the name under which it can be imported; one that has none, written in place or
made by another, takes a name: `Named("all states of 5 bits", lambda: ...)`.
"""

import dataclasses
import enum
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial, singledispatch
from pathlib import PurePath
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from engine.errors import BadQuery, Mistake

T = TypeVar("T")
Parts = tuple[
    str, Mapping[str, Any]
]  # what a value is, and what it is made of, by `.name` or `[k]`


@dataclass(frozen=True)
class Named(Generic[T]):
    """A function under a name that tells it from others: another function takes another name."""

    name: str
    function: Callable[..., T] = field(compare=False)

    def __call__(self, *args: Any) -> T:
        return self.function(*args)


def told(path: str, value: Any) -> dict[str, str]:
    """A value in texts, by path. Raises BadQuery where a part of it cannot be told."""
    try:
        text, parts = _parts(value)
    except BadQuery as error:
        raise error.under(path) from None
    out = {path: text}
    for name, part in parts.items():
        out.update(told(path + name, part))
    return out


def told_of_net(path: str, net: nn.Module) -> dict[str, str]:
    """The modules of a network, each by its class and what it prints of itself, and the shapes of
    its numbers; not the numbers, which training changes."""
    out = {}
    for name, module in net.named_modules():
        out[f"{path}.{name}" if name else path] = f"{_class(module)}({module.extra_repr()})"
    for name, t in net.state_dict().items():
        out[f"{path}.{name}"] = f"{tuple(t.shape)} {t.dtype}"
    return out


def digest(tensors: Iterable[Tensor]) -> str:
    """Of shapes, types and bits."""
    made = hashlib.blake2b(digest_size=16)
    for t in tensors:
        plain = t.detach().cpu().contiguous().reshape(-1)
        made.update(f"{tuple(t.shape)} {t.dtype}".encode())
        made.update(plain.view(torch.uint8).numpy().tobytes())
    return made.hexdigest()


def _class(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


@singledispatch
def _parts(value: Any) -> Parts:
    if dataclasses.is_dataclass(value):
        names = [f.name for f in dataclasses.fields(value) if f.compare]
    elif hasattr(value, "__dict__"):
        names = sorted(vars(value))
    else:
        problem = f"a {_class(value)} cannot be told in texts"
        raise BadQuery(Mistake("", problem, "make it a frozen dataclass"))
    return _class(value), {f".{name}": getattr(value, name) for name in names}


@_parts.register(type(None))
@_parts.register(str)
@_parts.register(bytes)
@_parts.register(int)
@_parts.register(float)
@_parts.register(complex)
@_parts.register(PurePath)
@_parts.register(torch.dtype)
@_parts.register(torch.device)
def _plain(value: Any) -> Parts:
    return repr(value), {}


@_parts.register
def _choice(value: enum.Enum) -> Parts:
    return f"{_class(value)}.{value.name}", {}


@_parts.register
def _type(value: type) -> Parts:
    return f"{value.__module__}.{value.__qualname__}", {}


@_parts.register(Tensor)
@_parts.register(np.ndarray)
@_parts.register(np.generic)
def _numbers(value: Any) -> Parts:
    return digest([torch.as_tensor(value)]), {}


@_parts.register
def _network(value: nn.Module) -> Parts:
    return f"{told_of_net('', value)} {digest(value.state_dict().values())}", {}


@_parts.register
def _mapping(value: Mapping) -> Parts:
    return f"{len(value)} names", {f".{name}": value[name] for name in sorted(value, key=repr)}


@_parts.register(tuple)
@_parts.register(list)
def _sequence(value: Any) -> Parts:
    names = [f".{name}" for name in getattr(value, "_fields", ())]  # of a named tuple
    names = names or [f"[{k}]" for k in range(len(value))]
    return f"{len(value)} parts", dict(zip(names, value, strict=True))


@_parts.register(set)
@_parts.register(frozenset)
def _set(value: Any) -> Parts:
    return "a set", {f"[{k}]": part for k, part in enumerate(sorted(value, key=repr))}


@_parts.register(FunctionType)
@_parts.register(BuiltinFunctionType)
def _function(value: Any) -> Parts:
    name = f"{value.__module__}.{value.__qualname__}"
    if "<" in name:  # <lambda>, <locals>: two functions may be called so
        raise BadQuery(Mistake("", f"{name} has no name of its own", 'give Named("...", it)'))
    return name, {}


@_parts.register
def _method(value: MethodType) -> Parts:
    return value.__func__.__name__, {".of": value.__self__}


@_parts.register
def _partial(value: partial) -> Parts:
    return "partial", {".of": value.func, ".args": value.args, ".named": value.keywords}

"""A second device that every machine has: to mix it with the host fails as beside an accelerator.

    with elsewhere() as device:
        solve(problem.to(device))

Tensors there keep their numbers on the host and compute on them, but say that they lie on `device`.
An operation on tensors of both places raises `Mixed`, and so does `numpy()`; single numbers of the
host (0 dimensions) may join in, and its integers may index, as CUDA allows.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

AWAY = torch.device("meta")  # torch makes no numbers there, so that the name is free
aten = torch.ops.aten
COPIES = (aten.copy_.default, aten._to_copy.default)
INDEXED = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default)
JOINED = (aten.cat.default, aten.stack.default)  # of these, single numbers too lie in one place


class Mixed(RuntimeError):
    """Tensors of two devices met, or one elsewhere was taken for an array."""


@contextlib.contextmanager
def elsewhere() -> Iterator[torch.device]:
    """Within, tensors of the device that it gives hold numbers; in this thread alone."""
    with _Dispatched(), _Made():
        yield AWAY


class _Away(Tensor):
    """A tensor elsewhere; `host` holds its numbers."""

    host: Tensor

    @staticmethod
    def __new__(cls, host: Tensor) -> "_Away":
        made = Tensor._make_wrapper_subclass(
            cls, host.shape, strides=host.stride(), dtype=host.dtype, device=AWAY
        )
        made.host = host
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _computed(func, args, kwargs or {})

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self, *, force: bool = False) -> Any:
        if not force:
            raise Mixed("a tensor elsewhere is no array: call cpu() first")
        return self.detach().cpu().numpy()


class _Dispatched(TorchDispatchMode):
    """Sees every operation, those too that make tensors of nothing."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _computed(func, args, kwargs or {})


class _Made(TorchFunctionMode):
    """Makes tensors of lists, arrays and numbers on the host: torch would make them out of sight
    of `_Dispatched`."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is Tensor.new_tensor:
            kwargs = {"dtype": args[0].dtype, "device": args[0].device, **kwargs}
            func, args = torch.tensor, args[1:]
        if func in (torch.tensor, torch.as_tensor, torch.asarray):
            device = kwargs.pop("device", None)
            made = func(*args, **kwargs)
            return made if device is None else made.to(device)
        if func in (Tensor.__getitem__, Tensor.__setitem__):
            args = (args[0], _index(args[1]), *(_value(x, args[0]) for x in args[2:]))
        return func(*args, **kwargs)


def _computed(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What an operation gives, in the place where its tensors lie or its device says."""
    tensors: list[Tensor] = []

    def host(x: Tensor) -> Tensor:
        tensors.append(x)
        return x.host if isinstance(x, _Away) else x

    args_here = [_mapped(host, x) for x in args]
    kwargs_here = {name: _mapped(host, x) for name, x in kwargs.items()}
    _check(func, args, tensors)
    away = any(isinstance(x, _Away) for x in tensors)
    if kwargs.get("device") is not None:
        away, kwargs_here["device"] = kwargs["device"] == AWAY, torch.device("cpu")
    made = func(*args_here, **kwargs_here)
    first = func._schema.arguments[0] if func._schema.arguments else None
    if first is not None and first.alias_info is not None and first.alias_info.is_write:
        return args[0]
    return _mapped(_Away, made) if away else made


def _mapped(of: Callable[[Tensor], Tensor], x: Any) -> Any:
    """A tensor, or those of a list, changed; anything else as it is."""
    if isinstance(x, Tensor):
        return of(x)
    return type(x)(_mapped(of, one) for one in x) if type(x) in (list, tuple) else x


def _check(func: Any, args: tuple[Any, ...], tensors: list[Tensor]) -> None:
    """Raises Mixed where the operation would be refused beside an accelerator."""
    if any(x.device == AWAY and not isinstance(x, _Away) for x in tensors):
        raise Mixed(f"{func}: a tensor elsewhere was made where `elsewhere` cannot see it")
    if func in COPIES:
        return
    if func in INDEXED:
        places = [x for x in args[1] if x is not None]
        if isinstance(args[0], _Away):
            tensors = [x for x in tensors if all(x is not place for place in places)]
    away = [x for x in tensors if isinstance(x, _Away)]
    here = [x for x in tensors if not isinstance(x, _Away) and (x.dim() or func in JOINED)]
    if away and here:
        raise Mixed(
            f"{func}: tensors of the host, {[tuple(x.shape) for x in here]}, and of elsewhere, "
            f"{[tuple(x.shape) for x in away]}, meet"
        )


def _index(at: Any) -> Any:
    """An index whose lists are tensors of the host."""
    if isinstance(at, tuple):
        return tuple(map(_index, at))
    if not isinstance(at, (list, range, np.ndarray)):
        return at
    return torch.as_tensor(at, dtype=None if len(at) else torch.long)


def _value(x: Any, into: Tensor) -> Any:
    """What is assigned, a number as a tensor of the host."""
    return torch.tensor(x, dtype=into.dtype) if isinstance(x, (bool, int, float)) else x

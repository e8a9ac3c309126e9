"""Tensors as raw little-endian bytes beside their descriptions, and back; see `arrays`."""

from collections.abc import Iterable, Mapping, MutableSequence, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.errors import BadQuery, Mistake, TooLarge, join
from services.settings import DEFAULT, Limits
from services.v1 import tensor_pb2 as pb
from services.wire.arrays import Array, Content, put_array, view, view_list

FLOATS = (torch.float32, torch.float64)  # that states travel in


def put(tensor: Tensor, spec: pb.TensorSpec, raw: MutableSequence[Any], name: str = "") -> None:
    """Describe one tensor in `spec` and append its bytes to `raw`."""
    put_array(array_of(tensor), spec, raw, name)


def number_of(dtype: torch.dtype) -> pb.DataType.ValueType:
    """The number of the type that states of a term travel in: its own, or float32."""
    return pb.DATA_TYPE_FLOAT64 if dtype == torch.float64 else pb.DATA_TYPE_FLOAT32


def dtype_of(number: pb.DataType.ValueType) -> torch.dtype:
    """The type that states of a term travel in, by its number; none is float32."""
    return torch.float64 if number == pb.DATA_TYPE_FLOAT64 else torch.float32


def array_of(tensor: Tensor) -> Array:
    """The numbers of a tensor, side by side in the memory of this machine."""
    return np.asarray(tensor.numpy(force=True), order="C")  # keeps a tensor without axes as it is


def put_all(tensors: Mapping[str, Tensor], specs: Any, raw: MutableSequence[bytes]) -> None:
    """Describe named tensors in the repeated field `specs` and append their bytes to `raw`."""
    for name, tensor in tensors.items():
        put(tensor, specs.add(), raw, name)


def take(spec: pb.TensorSpec, raw: Sequence[Content], limits: Limits = DEFAULT) -> Tensor:
    """One tensor, in memory of its own. Raises BadQuery as `view` does."""
    return torch.from_numpy(view(spec, raw, limits).copy())


def take_all(
    specs: Iterable[pb.TensorSpec], raw: Sequence[Content], limits: Limits = DEFAULT
) -> dict[str, Tensor]:
    """Named tensors; a name given twice is a mistake."""
    tensors: dict[str, Tensor] = {}
    for k, spec in enumerate(specs):
        if k >= limits.tensors:
            raise TooLarge(Mistake("", "too many tensors", limits.told("tensors")))
        path = join(f"[{k}]", spec.name)
        if spec.name in tensors:
            raise BadQuery(Mistake(path, "stands twice", "give every tensor its own name"))
        try:
            tensors[spec.name] = take(spec, raw, limits)
        except BadQuery as error:
            raise error.under(path) from None
    return tensors


def take_list(
    specs: Iterable[pb.TensorSpec], raw: Sequence[Content], limits: Limits = DEFAULT
) -> list[Tensor]:
    """Tensors in order, names aside."""
    return [torch.from_numpy(array.copy()) for array in view_list(specs, raw, limits)]

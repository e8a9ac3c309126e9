"""Tensors as raw little-endian bytes beside their descriptions, and back, checked before use."""

import math
from collections.abc import Iterable, Mapping, MutableSequence, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.errors import BadQuery, Mistake, TooLarge, join
from services.limits import DEFAULT, Limits
from services.v1 import tensor_pb2 as pb

_TYPES: dict[torch.dtype, tuple[pb.DataType.ValueType, np.dtype[Any]]] = {
    torch.float32: (pb.DATA_TYPE_FLOAT32, np.dtype("<f4")),
    torch.float64: (pb.DATA_TYPE_FLOAT64, np.dtype("<f8")),
    torch.int64: (pb.DATA_TYPE_INT64, np.dtype("<i8")),
    torch.int32: (pb.DATA_TYPE_INT32, np.dtype("<i4")),
    torch.bool: (pb.DATA_TYPE_BOOL, np.dtype("?")),
    torch.uint8: (pb.DATA_TYPE_UINT8, np.dtype("u1")),
}
_BACK = {number: dtype for number, dtype in _TYPES.values()}


def put(tensor: Tensor, spec: pb.TensorSpec, raw: MutableSequence[bytes], name: str = "") -> None:
    """Describe one tensor in `spec` and append its bytes to `raw`."""
    if tensor.dtype not in _TYPES:
        raise TypeError(f"tensors of {tensor.dtype} do not travel; use {[*_TYPES]}")
    number, dtype = _TYPES[tensor.dtype]
    spec.name, spec.data_type, spec.raw_index = name, number, len(raw)
    spec.shape[:] = tensor.shape
    raw.append(tensor.detach().cpu().numpy().astype(dtype, copy=False).tobytes())


def put_all(tensors: Mapping[str, Tensor], specs: Any, raw: MutableSequence[bytes]) -> None:
    """Describe named tensors in the repeated field `specs` and append their bytes to `raw`."""
    for name, tensor in tensors.items():
        put(tensor, specs.add(), raw, name)


def take(spec: pb.TensorSpec, raw: Sequence[bytes], limits: Limits = DEFAULT) -> Tensor:
    """One tensor. Raises BadQuery unless type, place and byte length fit the description."""
    shape = tuple(spec.shape)
    if spec.data_type not in _BACK:
        raise BadQuery(Mistake("data_type", f"{spec.data_type} is no type", "give 1 to 6"))
    if len(shape) > limits.rank + 2:  # rows and values come on top of a shape
        raise TooLarge(Mistake("shape", f"{len(shape)} axes", f"the limit is {limits.rank + 2}"))
    if spec.WhichOneof("location") is None or spec.raw_index >= len(raw):
        raise BadQuery(
            Mistake("raw_index", f"{spec.raw_index} of {len(raw)} contents", "name one of them")
        )
    dtype, content = _BACK[spec.data_type], raw[spec.raw_index]
    if any(size >= 2**40 for size in shape):  # beside a 0 no byte count would tell
        raise TooLarge(Mistake("shape", f"{[*shape]}", "the limit of an axis is 2**40"))
    wanted = math.prod(shape) * dtype.itemsize
    if len(content) != wanted:
        raise BadQuery(
            Mistake(
                "shape", f"{[*shape]} needs {wanted} bytes, not {len(content)}", "make them agree"
            )
        )
    array = np.frombuffer(bytearray(content), dtype=dtype)
    if spec.data_type == pb.DATA_TYPE_BOOL and (array.view(np.uint8) > 1).any():
        raise BadQuery(Mistake("", "a truth value other than 0 and 1", "send one byte, 0 or 1"))
    native = array.astype(dtype.newbyteorder("="), copy=False)
    return torch.from_numpy(native).reshape(shape)


def take_all(
    specs: Iterable[pb.TensorSpec], raw: Sequence[bytes], limits: Limits = DEFAULT
) -> dict[str, Tensor]:
    """Named tensors; a name given twice is a mistake."""
    tensors: dict[str, Tensor] = {}
    for k, spec in enumerate(specs):
        if k >= limits.tensors:
            raise TooLarge(Mistake("", "too many tensors", f"the limit is {limits.tensors}"))
        path = join(f"[{k}]", spec.name)
        if spec.name in tensors:
            raise BadQuery(Mistake(path, "stands twice", "give every tensor its own name"))
        try:
            tensors[spec.name] = take(spec, raw, limits)
        except BadQuery as error:
            raise error.under(path) from None
    return tensors


def take_list(
    specs: Iterable[pb.TensorSpec], raw: Sequence[bytes], limits: Limits = DEFAULT
) -> list[Tensor]:
    """Tensors in order, names aside."""
    tensors = []
    for k, spec in enumerate(specs):
        if k >= limits.tensors:
            raise TooLarge(Mistake("", "too many tensors", f"the limit is {limits.tensors}"))
        try:
            tensors.append(take(spec, raw, limits))
        except BadQuery as error:
            raise error.under(f"[{k}]") from None
    return tensors

"""Tensors as raw little-endian bytes beside their descriptions, and back, checked before use.

The bytes stand in line, in a list of contents, or in a region of memory that both ends share.
"""

import math
from collections.abc import Iterable, Mapping, MutableSequence, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
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
_DTYPES = {number: kind for kind, (number, _) in _TYPES.items()}
ALIGNED = 64  # what offsets in shared memory are multiples of

Content = bytes | memoryview


def put(tensor: Tensor, spec: pb.TensorSpec, raw: MutableSequence[bytes], name: str = "") -> None:
    """Describe one tensor in `spec` and append its bytes to `raw`."""
    spec.raw_index = len(raw)
    raw.append(_described(tensor, spec, name).tobytes())


def lay(tensor: Tensor, spec: pb.TensorSpec, raw: MutableSequence[Content]) -> None:
    """The same without a copy: what is appended is a view of the tensor's memory."""
    spec.raw_index = len(raw)
    raw.append(_bytes(_described(tensor, spec, "")))


def share(tensor: Tensor, spec: pb.TensorSpec, region: memoryview, offset: int) -> int:
    """Describe one tensor in `spec`, write it into shared memory, and give the next free offset.

    Raises ValueError where it does not fit.
    """
    content = _bytes(_described(tensor, spec, ""))
    end = offset + content.nbytes
    if end > region.nbytes:
        raise ValueError(f"{content.nbytes} bytes at {offset} of {region.nbytes}")
    spec.slice.offset, spec.slice.bytes = offset, content.nbytes
    np.frombuffer(region, np.uint8)[offset:end] = content
    return aligned(end)


def aligned(offset: int) -> int:
    """The next offset at which a tensor may stand."""
    return -(-offset // ALIGNED) * ALIGNED


def within(place: pb.SharedSlice, region: memoryview | None) -> memoryview:
    """A slice of shared memory. Raises BadQuery where it leaves the region."""
    size = 0 if region is None else region.nbytes
    if region is None or place.offset + place.bytes > size or place.offset % ALIGNED:
        raise BadQuery(
            Mistake(
                "slice",
                f"{place.bytes} bytes at {place.offset} of a region of {size}",
                f"stay inside, at multiples of {ALIGNED}",
            )
        )
    return region[place.offset : place.offset + place.bytes]


def _described(tensor: Tensor, spec: pb.TensorSpec, name: str) -> npt.NDArray[Any]:
    if tensor.dtype not in _TYPES:
        raise TypeError(f"tensors of {tensor.dtype} do not travel; use {[*_TYPES]}")
    number, dtype = _TYPES[tensor.dtype]
    spec.name, spec.data_type = name, number
    spec.shape[:] = tensor.shape
    return tensor.detach().cpu().numpy().astype(dtype, copy=False)


def _bytes(array: npt.NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def put_all(tensors: Mapping[str, Tensor], specs: Any, raw: MutableSequence[bytes]) -> None:
    """Describe named tensors in the repeated field `specs` and append their bytes to `raw`."""
    for name, tensor in tensors.items():
        put(tensor, specs.add(), raw, name)


def take(
    spec: pb.TensorSpec,
    raw: Sequence[Content],
    limits: Limits = DEFAULT,
    region: memoryview | None = None,
) -> Tensor:
    """One tensor. Raises BadQuery unless type, place and byte length fit the description.

    What stands in shared memory comes as a view of it, what stands in line as a copy.
    """
    shape = tuple(spec.shape)
    if spec.data_type not in _BACK:
        raise BadQuery(Mistake("data_type", f"{spec.data_type} is no type", "give 1 to 6"))
    if len(shape) > limits.rank + 2:  # rows and values come on top of a shape
        raise TooLarge(Mistake("shape", f"{len(shape)} axes", f"the limit is {limits.rank + 2}"))
    shared = spec.HasField("slice")
    content = within(spec.slice, region) if shared else _content(spec, raw)
    dtype = _BACK[spec.data_type]
    if any(size >= 2**40 for size in shape):  # beside a 0 no byte count would tell
        raise TooLarge(Mistake("shape", f"{[*shape]}", "the limit of an axis is 2**40"))
    wanted = math.prod(shape) * dtype.itemsize
    if len(content) != wanted:
        raise BadQuery(
            Mistake(
                "shape", f"{[*shape]} needs {wanted} bytes, not {len(content)}", "make them agree"
            )
        )
    array = np.frombuffer(content, dtype=dtype).reshape(shape)
    if spec.data_type == pb.DATA_TYPE_BOOL and (array.view(np.uint8) > 1).any():
        raise BadQuery(Mistake("", "a truth value other than 0 and 1", "send one byte, 0 or 1"))
    if shared:
        return torch.from_numpy(array.astype(dtype.newbyteorder("="), copy=False))
    own = torch.empty(shape, dtype=_DTYPES[spec.data_type])
    own.numpy()[...] = array
    return own


def _content(spec: pb.TensorSpec, raw: Sequence[Content]) -> Content:
    if spec.WhichOneof("location") is None or spec.raw_index >= len(raw):
        raise BadQuery(
            Mistake("raw_index", f"{spec.raw_index} of {len(raw)} contents", "name one of them")
        )
    return raw[spec.raw_index]


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
    specs: Iterable[pb.TensorSpec],
    raw: Sequence[Content],
    limits: Limits = DEFAULT,
    region: memoryview | None = None,
) -> list[Tensor]:
    """Tensors in order, names aside."""
    tensors = []
    for k, spec in enumerate(specs):
        if k >= limits.tensors:
            raise TooLarge(Mistake("", "too many tensors", f"the limit is {limits.tensors}"))
        try:
            tensors.append(take(spec, raw, limits, region))
        except BadQuery as error:
            raise error.under(f"[{k}]") from None
    return tensors

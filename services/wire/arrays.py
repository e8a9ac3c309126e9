"""Arrays of numbers as raw little-endian bytes beside their descriptions, and back, checked before
use.

The bytes stand in line, in a list of contents, or in a region of memory that both ends share.
"""

import math
from collections.abc import Iterable, MutableSequence, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import BadQuery, Mistake, TooLarge
from services.settings import DEFAULT, Limits
from services.v1 import tensor_pb2 as pb

_BACK: dict[pb.DataType.ValueType, np.dtype[Any]] = {
    pb.DATA_TYPE_FLOAT32: np.dtype("<f4"),
    pb.DATA_TYPE_FLOAT64: np.dtype("<f8"),
    pb.DATA_TYPE_INT64: np.dtype("<i8"),
    pb.DATA_TYPE_INT32: np.dtype("<i4"),
    pb.DATA_TYPE_BOOL: np.dtype("?"),
    pb.DATA_TYPE_UINT8: np.dtype("u1"),
}
_NUMBERS = {dtype.newbyteorder("="): number for number, dtype in _BACK.items()}
ALIGNED = 64  # what offsets in shared memory are multiples of

Content = bytes | memoryview
Array = npt.NDArray[Any]


def put_array(array: Array, spec: pb.TensorSpec, raw: MutableSequence[Any], name: str = "") -> None:
    """Describe numbers in `spec` and append a copy of their bytes to `raw`."""
    spec.name, spec.raw_index = name, len(raw)
    raw.append(_described(array, spec).tobytes())


def lay(array: Array, spec: pb.TensorSpec, raw: MutableSequence[Content]) -> None:
    """Describe numbers in `spec` and append a view of their memory to `raw`: nothing is copied."""
    spec.raw_index = len(raw)
    raw.append(_described(array, spec).reshape(-1).view(np.uint8).data)


def share(array: Array, spec: pb.TensorSpec, region: memoryview, offset: int) -> int:
    """Describe numbers in `spec`, write them into shared memory, and give the next free offset.

    Raises ValueError where they do not fit.
    """
    content = _described(array, spec).reshape(-1).view(np.uint8)
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


def _described(array: Array, spec: pb.TensorSpec) -> Array:
    """The same numbers, little-endian, and what `spec` says of them."""
    if array.dtype not in _NUMBERS:
        raise TypeError(f"arrays of {array.dtype} do not travel; use {[*map(str, _NUMBERS)]}")
    spec.data_type = _NUMBERS[array.dtype]
    spec.shape[:] = array.shape
    return array.astype(_BACK[spec.data_type], copy=False)


def view(
    spec: pb.TensorSpec,
    raw: Sequence[Content],
    limits: Limits = DEFAULT,
    region: memoryview | None = None,
) -> Array:
    """The numbers of one tensor where they stand. Raises BadQuery unless type, place and byte
    length fit the description."""
    shape = tuple(spec.shape)
    if spec.data_type not in _BACK:
        raise BadQuery(Mistake("data_type", f"{spec.data_type} is no type", "give 1 to 6"))
    if len(shape) > limits.rank + 2:  # rows and values come on top of a shape
        said = f"{len(shape)} axes, two of them for rows and values"
        raise TooLarge(Mistake("shape", said, limits.told("rank")))
    content = within(spec.slice, region) if spec.HasField("slice") else _content(spec, raw)
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
    return array.astype(dtype.newbyteorder("="), copy=False)


def _content(spec: pb.TensorSpec, raw: Sequence[Content]) -> Content:
    if spec.WhichOneof("location") is None or spec.raw_index >= len(raw):
        raise BadQuery(
            Mistake("raw_index", f"{spec.raw_index} of {len(raw)} contents", "name one of them")
        )
    return raw[spec.raw_index]


def view_list(
    specs: Iterable[pb.TensorSpec],
    raw: Sequence[Content],
    limits: Limits = DEFAULT,
    region: memoryview | None = None,
) -> list[Array]:
    """The numbers of tensors where they stand, in order, names aside."""
    arrays = []
    for k, spec in enumerate(specs):
        if k >= limits.tensors:
            raise TooLarge(Mistake("", "too many tensors", limits.told("tensors")))
        try:
            arrays.append(view(spec, raw, limits, region))
        except BadQuery as error:
            raise error.under(f"[{k}]") from None
    return arrays

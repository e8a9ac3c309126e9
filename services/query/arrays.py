"""Arrays of evidence, taken as they are: never walked, kept with their type and what is absent."""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import BadQuery, Mistake
from engine.plain import place_path, plain

Numbers = npt.NDArray[Any]

# types that do not travel are held in the next wider one that does
_WIDER = {"f2": "f4", "i1": "i4", "i2": "i4", "u2": "i4", "u4": "i8", "u8": "i8"}


@dataclass(frozen=True, eq=False)
class EvidenceArray:
    """Numbers of one input or variable, and which of them are there.

    Equal to whatever has the same numbers and the same gaps: another of its sort, or nested lists.
    """

    values: Numbers  # 0 where absent; (b)ool, (u)int8, int32, int64, float32 or float64
    present: Numbers | None = None  # bool, over the first axis or over all; None: all are there

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def missing(self) -> Numbers:
        """Which numbers are absent, each by itself. -> (*shape) bool"""
        if self.present is None:
            return np.zeros(self.shape, dtype=bool)
        rest = (1,) * (self.values.ndim - self.present.ndim)
        return np.broadcast_to(~self.present.reshape(*self.present.shape, *rest), self.shape)

    def array(self) -> Numbers:
        """The same numbers as one array, a masked one where some are absent."""
        if self.present is None:
            return self.values
        masked: Numbers = np.ma.MaskedArray(self.values, self.missing)
        return masked

    def lists(self) -> Any:
        """Nested lists, null for each number that is absent."""
        return self.array().tolist()

    def entries(self) -> Any:
        """Nested lists, null for each entry of the first axis that is absent as a whole."""
        if self.present is None or self.present.ndim != 1:
            return self.lists()
        every = self.values.tolist()
        return [entry if there else None for entry, there in zip(every, self.present)]

    def mistakes(self) -> list[Mistake]:
        """What no evidence may be: numbers that are not finite; the first of them."""
        if self.values.dtype.kind != "f":
            return []
        wild = ~np.isfinite(self.values)
        if not wild.any():
            return []
        at = int(wild.reshape(-1).argmax())
        said = f"{self.values.reshape(-1)[at].item()} is not finite"
        path = place_path(at, self.shape)
        return [Mistake(path, said, "give a finite number, or mask what is absent")]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Numbers:
        return np.array(self.array(), dtype=dtype, copy=copy, subok=True)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (list, tuple)):
            return other in (self.lists(), self.entries())
        if not isinstance(other, EvidenceArray):
            return NotImplemented
        same = self.shape == other.shape and bool((self.values == other.values).all())
        return same and bool((self.missing == other.missing).all())


@dataclass(frozen=True)
class ArrayFile:
    """A file that holds the numbers of one input or variable, not read yet."""

    file: str  # its path
    key: str | None = None  # of an array in an .npz; None: the first

    def written(self) -> dict[str, str]:
        """As a query says it."""
        return {"file": self.file} | ({} if self.key is None else {"key": self.key})


def evidence_array(value: Any) -> EvidenceArray | None:
    """Numbers that come as an array, a tensor, `Given`, or a list of such for the first axis, None
    where an entry is absent; None for anything else, nested lists of numbers too.

    Copied, so that what happens to the original later changes nothing. Raises BadQuery for `Given`
    whose two parts do not fit.
    """
    if isinstance(value, EvidenceArray):
        return value
    if is_given(value):
        return _of_given(value)
    if isinstance(value, (list, tuple)):
        return _stacked(value)
    array = _array_of(value)
    if array is None or not array.ndim:
        return None
    if isinstance(array, np.ma.MaskedArray):
        return _held(array.filled(0), _reduced(~np.ma.getmaskarray(array)))
    return _held(array, None)


def _array_of(value: Any) -> Numbers | None:
    """An array of numbers; None for what is none."""
    torch = sys.modules.get("torch")  # where nobody loaded it, nothing is a tensor
    if torch is not None and isinstance(value, torch.Tensor):
        plain = value.detach().cpu()
        value = (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()
    if isinstance(value, (np.generic, Mapping)) or not hasattr(type(value), "__array__"):
        return None
    array: Numbers = np.asanyarray(value)
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        return None
    too_large = array.dtype.kind == "u" and array.size and array.max() > np.iinfo(np.int64).max
    return None if too_large else array


def is_given(value: Any) -> bool:
    """Whether a value is the engine's `Given`; where nobody loaded that, nothing is."""
    told = sys.modules.get("engine.domain.told")
    return told is not None and isinstance(value, told.Given)


def given_list(given: Any) -> Any:
    """`Given` of values that are no numbers: a list, None where an entry is absent. Raises BadQuery
    unless what is present counts them."""
    values, present = plain(given.values), np.asarray(given.present, dtype=bool).reshape(-1)
    if not isinstance(values, list):
        return values if present.all() else None
    if len(values) != len(present):
        raise _uneven(len(present), len(values))
    return [entry if there else None for entry, there in zip(values, present)]


def _of_given(given: Any) -> EvidenceArray | None:
    array = _array_of(given.values)
    if array is None or not array.ndim:
        return None
    present = np.asarray(given.present, dtype=bool).reshape(-1)
    if len(present) != len(array):
        raise _uneven(len(present), len(array))
    if isinstance(array, np.ma.MaskedArray):
        there = present.reshape(-1, *[1] * (array.ndim - 1)) & ~np.ma.getmaskarray(array)
        return _held(array.filled(0), _reduced(there))
    return _held(array, present)


def _uneven(found: int, wanted: int) -> BadQuery:
    return BadQuery(Mistake("present", f"{found} entries", f"give {wanted}, one for each entry"))


def _stacked(value: Sequence[Any]) -> EvidenceArray | None:
    """Arrays of one shape, one above the other."""
    if not any(hasattr(type(entry), "__array__") for entry in value):
        return None
    every = [None if entry is None else _array_of(entry) for entry in value]
    arrays = [array for array in every if array is not None]
    gaps = sum(entry is None for entry in value)
    masked = any(isinstance(array, np.ma.MaskedArray) for array in arrays)
    if masked or len(arrays) + gaps < len(value) or len({a.shape for a in arrays}) != 1:
        return None
    blank = np.zeros(arrays[0].shape, np.bool_)
    present = np.array([array is not None for array in every])
    whole = np.stack([blank if array is None else array for array in every])
    return _held(whole, _reduced(present))


def _held(array: Numbers, present: Numbers | None) -> EvidenceArray:
    """A copy in a type that travels, 0 where absent."""
    kind = _WIDER.get(array.dtype.str[1:], array.dtype.str[1:])
    values = np.array(array, dtype=np.dtype(kind), order="C", subok=False)
    if present is None or present.all():
        return EvidenceArray(values)
    values[~present] = 0
    return EvidenceArray(values, present)


def _reduced(present: Numbers) -> Numbers:
    """Over the first axis, where each of its entries is there or absent as a whole."""
    flat = present.reshape(len(present), math.prod(present.shape[1:]))
    there = np.asarray(flat.any(1))
    return there if np.array_equal(there, flat.all(1)) else present

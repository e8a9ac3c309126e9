"""Tells the rows of a batch apart by what they were told, as a term is handed it state by state."""

import hashlib
from collections.abc import Sequence
from itertools import count

import numpy as np
from cachetools import LRUCache
from torch import Tensor

from engine.domain import Given, Told
from engine.domain.told import fingerprint_of
from services.transport.rows import ToldArrays, ToldRows
from services.wire.arrays import Array

KEPT = 100_000  # rows that are known by a number


class RowKeys:
    """A number for each row that was ever seen; rows that were told the same share one."""

    def __init__(self) -> None:
        self._known: LRUCache[tuple[str | bytes, ...], int] = LRUCache(KEPT)
        self._next = count()
        self._last: tuple[list[Tensor], list[int], ToldRows] | None = None

    def rows(self, told: Sequence[Tensor | Given]) -> ToldRows:
        """The rows of a batch of states: one entry for each input, (n, *shape)."""
        tensors, versions = _memory(told)
        if self._last is not None and self._unchanged(tensors, versions):
            return self._last[2]
        inputs = [_arrays(one) for one in told]
        return self._keep(tensors, versions, ToldRows(self._keys(inputs), inputs))

    def learn(self, domains: Sequence[Told], told: Sequence[Tensor | Given]) -> ToldRows:
        """What all rows of some domains were told, as a batch of one state a row would be handed
        it: their fingerprints are known, and nothing is read."""
        prints = zip(*(domain.fingerprints for domain in domains), strict=True)
        inputs = [_arrays(one) for one in told]
        kinds = [one.values.dtype.str for one in inputs]
        keys = [self._number(kinds, own) for own in prints]
        return self._keep(*_memory(told), ToldRows(np.array(keys, dtype=np.int64), inputs))

    def _keep(self, tensors: list[Tensor], versions: list[int], rows: ToldRows) -> ToldRows:
        fixed = not any(x.is_inference() for x in tensors)
        self._last = (tensors, versions, rows) if fixed else None
        return rows

    def forget(self) -> None:
        """Let go of the last batch."""
        self._last = None

    def _unchanged(self, tensors: Sequence[Tensor], versions: Sequence[int]) -> bool:
        """Whether these are the tensors of the last batch, or the same memory as it was then."""
        assert self._last is not None
        before, then, _ = self._last
        same = len(before) == len(tensors) and then == versions
        return same and all(_place(a) == _place(b) for a, b in zip(before, tensors, strict=True))

    def _keys(self, inputs: Sequence[ToldArrays]) -> Array:
        """(n,) int64"""
        every = [a for one in inputs for a in reversed(one) if a is not None]  # presence first
        size = len(every[0])
        same = np.ones(max(0, size - 1), dtype=bool)  # as the state before
        for array in every:
            if array.strides[0]:  # else all states are of one row
                at = np.flatnonzero(same)
                same[at] = _equal(array, at)
        turns = np.append(np.ones(min(size, 1), dtype=bool), ~same)  # where another row begins
        own = [self._key(inputs, int(at)) for at in np.flatnonzero(turns)]
        return np.array(own, dtype=np.int64)[np.cumsum(turns) - 1]

    def _key(self, inputs: Sequence[ToldArrays], at: int) -> int:
        prints = []
        for values, present in inputs:
            own = values[at]
            there = np.ones(own.shape[:1] or 1, bool) if present is None else present[at]
            prints.append(fingerprint_of(own, there))
        return self._number([one.values.dtype.str for one in inputs], prints)

    def _number(self, kinds: Sequence[str], prints: Sequence[bytes]) -> int:
        """The number of a row, by types and fingerprints of its inputs."""
        name: tuple[str | bytes, ...] = (*kinds, *prints)
        if name not in self._known:
            self._known[name] = next(self._next)
        return self._known[name]


def _arrays(told: Tensor | Given) -> ToldArrays:
    values, present = told if isinstance(told, Given) else (told, None)
    return ToldArrays(_numbers(values), None if present is None else _numbers(present))


def _memory(told: Sequence[Tensor | Given]) -> tuple[list[Tensor], list[int]]:
    """The tensors of what was told, and how often each was written to."""
    tensors = [x for one in told for x in (one if isinstance(one, Given) else (one,))]
    return tensors, [0 if x.is_inference() else x._version for x in tensors]


def _equal(array: Array, at: Array) -> Array:
    """Whether the states that follow these have the same numbers. (n, ...), (m,) -> (m,) bool"""
    following, own = (
        (array[1:], array[:-1]) if len(at) == len(array) - 1 else (array[at + 1], array[at])
    )
    return np.asarray((following == own).all(axis=tuple(range(1, array.ndim))))


def state_keys(states: Sequence[Tensor], rows: ToldRows) -> list[bytes]:
    """What tells the states of a batch apart, each beside its row."""
    arrays = [rows.keys, *(np.asarray(_numbers(x), order="C") for x in states)]
    keys = []
    for at in range(len(rows.keys)):
        made = hashlib.blake2b(digest_size=16)
        for array in arrays:
            made.update(array[at : at + 1].data)
        keys.append(made.digest())
    return keys


def _numbers(x: Tensor) -> Array:
    """The numbers of a tensor where they stand: nothing that is spread is written out."""
    numbers: Array = x.numpy(force=True)
    return numbers


def _place(x: Tensor) -> tuple[object, ...]:
    return x.data_ptr(), x.shape, x.stride(), x.dtype

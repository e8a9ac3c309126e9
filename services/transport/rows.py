"""What the rows of a batch were told, and which of it a stream knows already: it travels once."""

from collections import OrderedDict
from collections.abc import Iterator, MutableSequence, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from engine.domain.told import there_of
from services.v1 import module_pb2 as pb
from services.wire.arrays import Array, Content, lay


class ToldArrays(NamedTuple):
    """One input in every state of a batch."""

    values: Array  # (n, *shape)
    present: Array | None  # (n, entries) bool; None: all of it

    def at(self, states: slice | list[int]) -> "ToldArrays":
        """The same of some states."""
        return ToldArrays(
            self.values[states], None if self.present is None else self.present[states]
        )


@dataclass(frozen=True, eq=False)
class ToldRows:
    """The row that each state of a batch belongs to, and what that row was told."""

    keys: Array  # (n,) int64: equal where the row is
    inputs: Sequence[ToldArrays]  # one for each input of the scope

    @property
    def numbers(self) -> int:
        """Numbers that one row was told."""
        return sum(int(np.prod(one.values.shape[1:], dtype=np.int64)) for one in self.inputs)

    @property
    def row_bytes(self) -> int:
        """Bytes that one row takes on its way."""
        every = (a for one in self.inputs for a in one if a is not None)
        return sum(a[:1].nbytes for a in every)

    def part(self, start: int, end: int) -> "ToldRows":
        """The same of some states."""
        states = slice(start, end)
        return ToldRows(self.keys[states], [one.at(states) for one in self.inputs])

    def rows_at(self, at: list[int]) -> "ToldRows":
        """The same of the states at some places."""
        return ToldRows(self.keys[at], [one.at(at) for one in self.inputs])

    def pieces(self, states: int, rows: int) -> Iterator[tuple[int, int]]:
        """Where a batch is cut so that each piece has at most so many states, and rows."""
        turns = 1 + np.flatnonzero(self.keys[1:] != self.keys[:-1])  # where another row begins
        start, end = 0, len(self.keys)
        if not end:
            yield 0, 0
        while start < end:
            stop = min(start + states, end)
            inside = turns[np.searchsorted(turns, start, "right") :][:rows]
            if len(inside) == rows:
                stop = min(stop, int(inside[-1]))
            yield start, stop
            start = stop


class BoundRows:
    """The rows that a stream knows, those named last at the end."""

    def __init__(self, most: int):
        self.most = most  # numbers that it may know
        self._numbers: OrderedDict[int, int] = OrderedDict()

    def put(self, rows: ToldRows, message: pb.Rows, raw: MutableSequence[Content]) -> None:
        """Tell in `message` what the stream does not know yet; bytes are appended to `raw`. Rows
        that were named longest ago make room."""
        keys, first = np.unique(rows.keys, return_index=True)
        fresh = []
        for key, at in zip(keys.tolist(), first.tolist(), strict=True):
            if key in self._numbers:
                self._numbers.move_to_end(key)
            else:
                fresh.append((key, at))
        total = sum(self._numbers.values()) + rows.numbers * len(fresh)
        named = set(keys.tolist())
        while total > self.most and self._numbers and next(iter(self._numbers)) not in named:
            key, numbers = self._numbers.popitem(last=False)
            total -= numbers
            message.dropped.append(key)
        if not fresh:
            return
        self._numbers |= {key: rows.numbers for key, _ in fresh}
        message.keys.extend(key for key, _ in fresh)
        at = [place for _, place in fresh]
        whole = at == [*range(len(rows.keys))]
        for one in rows.inputs:
            spec = message.inputs.add()
            values, present = one if whole else one.at(at)
            if present is None:
                lay(values, spec.values, raw)
            else:
                lay(there_of(values, present), spec.values, raw)
                lay(present, spec.present, raw)

    def forget(self, rows: ToldRows) -> None:
        """The stream may not know these rows after all."""
        for key in np.unique(rows.keys).tolist():
            self._numbers.pop(key, None)

"""What an input may be told, and what each row was told: arrays, and which of their entries are
absent."""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine.domain.base import Domain, read_number, read_shape, read_values, typed
from engine.errors import BadQuery, Mistake, known
from engine.plain import flatten, place_path, plain, plain_list
from engine.random import Stream

EXACT, LONGEST = 2**53, 2**63 - 1  # whole numbers that float64 and int64 hold
SMALL = (np.float32, np.float16, np.uint8, np.int8, np.uint16, np.int16)  # float32 holds them all


class Given(NamedTuple):
    """An input, and which entries along its first axis are there: what a term gets that says
    `partial`, in place of the values alone.

    Tensors of a batch, or arrays of one row where plain values are asked about.
    """

    values: Any  # ([batch,] *shape); 0 where absent
    present: Any  # ([batch,] n) bool; n = 1 for an input without an axis


@dataclass(frozen=True, eq=False)
class Told(Domain):
    """An array that a query is told and never asks for: numbers within edges, or named values.

    low, high: edges that every number keeps; integer: whole numbers, int64; values: the values an
    entry may have: tensors then hold their places, int64. Other numbers are float64, or float32
    where every row was told float32 or less, so that what was given comes back to the bit.

    A row may lack the array, or entries along its first axis: `present` says so, never a value.
    """

    shape: tuple[int, ...] = ()
    low: float = -math.inf
    high: float = math.inf
    integer: bool = False
    values: tuple[Any, ...] | None = None
    tensor: Tensor = None  # type: ignore[assignment]  # (R, *shape), 0 where absent
    present: Tensor = None  # type: ignore[assignment]  # (R, n) bool; left out: nothing was told

    def __post_init__(self):
        object.__setattr__(self, "shape", read_shape(self.shape))
        if self.values is not None:
            object.__setattr__(self, "values", read_values(self.values))
            if len(self.lookup) < len(self.values) or not self.values:
                raise BadQuery(Mistake("values", "none, or one twice", "name every value once"))
        for name in ("low", "high"):
            edge = getattr(self, name)
            if not isinstance(edge, (int, float)) or math.isnan(edge):
                raise BadQuery(Mistake(name, f"{edge!r} is no edge", "give a number"))
        if self.low > self.high:
            raise BadQuery(Mistake("low", "lies above high", "give low <= high"))
        if self.tensor is None:
            blank = torch.zeros(1, *self.shape, dtype=self._widest)
            object.__setattr__(self, "tensor", blank)
            object.__setattr__(self, "present", torch.zeros(1, self.entries, dtype=torch.bool))

    @property
    def entries(self) -> int:
        """Entries along the first axis that may be absent each; 1 where there is no axis."""
        return self.shape[0] if self.shape else 1

    @property
    def event(self) -> tuple[int, ...]:
        return self.shape

    @property
    def rows(self) -> int:
        return self.tensor.shape[0]

    @property
    def _widest(self) -> torch.dtype:
        whole = self.integer or self.values is not None
        return torch.int64 if whole else torch.float64

    @property
    def device(self) -> torch.device:
        return self.tensor.device

    def to(self, device: torch.device | str) -> "Told":
        moved = self.tensor.to(device)
        if moved is self.tensor:
            return self
        return replace(self, tensor=moved, present=self.present.to(device))

    @cached_property
    def lookup(self) -> Mapping[Any, int]:
        """The place of each value; 1, 1.0 and True are different values."""
        return {typed(value): place for place, value in enumerate(self.values or ())}

    @cached_property
    def there(self) -> Tensor:
        """Rows that were told any of it. -> (R,) bool"""
        return self.present.any(1)

    @cached_property
    def complete(self) -> Tensor:
        """Rows that were told all of it, or nothing. -> (R,) bool"""
        return self.present.all(1) | ~self.there

    def narrow(self, values: Sequence[Any]) -> "Told":
        """One row for each entry: an array, a tensor, nested lists, or `Given`; None where the row
        lacks it. In a list, None stands for an absent entry of the first axis; a masked array
        masks whole entries. Arrays are taken as they are, without a walk."""
        if self.rows not in (1, len(values)):
            raise BadQuery(f"{len(values)} entries for {self.rows} rows")
        read = [self._read(value) for value in values]
        every = [x for x, _ in read if x is not None]
        kind = self._widest
        if kind == torch.float64 and every and all(x.dtype in SMALL for x in every):
            kind = torch.float32
        out = torch.zeros(len(values), *self.shape, dtype=kind)
        present = torch.zeros(len(values), self.entries, dtype=torch.bool)
        for row, (x, mask) in enumerate(read):
            if x is not None:
                out[row] = torch.from_numpy(np.ascontiguousarray(x)).to(kind)
                present[row] = True if mask is None else torch.from_numpy(mask)
        absent = ~present.view(len(values), self.entries, *[1] * (len(self.shape) - 1))
        if not bool(present.all()):
            out.masked_fill_(absent if self.shape else ~present[:, 0], 0)
        return replace(self, tensor=out.to(self.device), present=present.to(self.device))

    def _read(self, value: Any) -> tuple[np.ndarray | None, np.ndarray | None]:
        """An array of the shape, and which entries are there; None: nothing, and all of them."""
        if value is None:
            return None, None
        if isinstance(value, Given):
            mask = np.asarray(value.present, dtype=bool).reshape(-1)
            if len(mask) != self.entries:
                raise BadQuery(Mistake("present", f"{len(mask)} entries", f"give {self.entries}"))
            array, _ = self._read(value.values)
            return array, mask
        if isinstance(value, Tensor):
            value = value.detach().cpu().numpy()
        if isinstance(value, np.ma.MaskedArray):
            return self._masked(value)
        if isinstance(value, np.ndarray) and value.dtype != object:
            return self._checked(value), None
        if self.shape and isinstance(value, (list, tuple)) and any(v is None for v in value):
            return self._listed(value)
        return self._walked(value, self.shape, ""), None

    def _masked(self, value: np.ma.MaskedArray) -> tuple[np.ndarray, np.ndarray]:
        mask = np.ma.getmaskarray(value).reshape(self.entries, -1)
        some = mask.any(1) & ~mask.all(1)
        if some.any():
            at = place_path(int(some.argmax()), self.shape[:1])
            raise BadQuery(Mistake(at, "is masked in part", "mask whole entries of the first axis"))
        return self._checked(value.filled(self._filler)), np.asarray(~mask.all(1))

    def _listed(self, value: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
        """A list with absent entries."""
        if len(value) != self.shape[0]:
            raise BadQuery(
                Mistake("", f"has {len(value)} entries", f"the shape asks for {self.shape[0]}")
            )
        part = Told(self.shape[1:], self.low, self.high, self.integer, self.values)
        filled = []
        for k, entry in enumerate(value):
            try:
                array, mask = part._read(entry)
            except BadQuery as error:
                raise error.under(f"[{k}]") from None
            if mask is not None and not mask.all():
                raise BadQuery(
                    Mistake(
                        f"[{k}]", "is absent in part", "leave out whole entries of the first axis"
                    )
                )
            filled.append(np.zeros(part.shape, np.uint8) if array is None else array)
        return np.stack(filled), np.array([entry is not None for entry in value])

    @property
    def _filler(self) -> float:
        """A number inside the edges, for entries that are absent."""
        return min(max(0.0, self.low), self.high)

    def _walked(self, value: Any, shape: tuple[int, ...], path: str) -> np.ndarray:
        """Nested lists, entry by entry only where something is unusual."""
        flat = flatten(value, shape)
        plain = set(map(type, flat)) <= {int, float}
        if self.values is None and plain and all(abs(v) <= EXACT or type(v) is float for v in flat):
            try:
                return self._checked(np.array(flat, dtype=self._plain_type(flat)).reshape(shape))
            except OverflowError:
                pass
        if self.values is not None:
            places = [self._place(v, path + place_path(k, shape)) for k, v in enumerate(flat)]
            return np.array(places, dtype=np.int64).reshape(shape)
        numbers = [read_number(v, path + place_path(k, shape)) for k, v in enumerate(flat)]
        return self._checked(np.array(numbers).reshape(shape))

    def _plain_type(self, flat: Sequence[Any]) -> Any:
        whole = all(type(v) is int for v in flat)
        return np.int64 if whole and self.integer else np.float64

    def _place(self, value: Any, path: str) -> int:
        assert self.values is not None
        value = plain(value)
        place = self.lookup.get(typed(value)) if not isinstance(value, list) else None
        if place is None:
            raise BadQuery(
                Mistake(path, f"{value!r} is none of the values", known(value, self.values))
            )
        return place

    def _checked(self, array: np.ndarray) -> np.ndarray:
        """An array of numbers of the right shape, within the edges. Raises BadQuery."""
        if array.shape != self.shape:
            raise BadQuery(Mistake("", f"has shape {[*array.shape]}", f"give {[*self.shape]}"))
        if self.values is not None:
            return self._placed(array)
        if array.dtype.kind not in "iufb" or array.dtype.itemsize > 8:
            raise BadQuery(Mistake("", f"{array.dtype} are no numbers", "give an array of numbers"))
        if array.dtype.kind == "b":
            array = array.astype(np.uint8)
        if not array.size:
            return array
        least, most = array.min().item(), array.max().item()
        if not (self.low <= least and most <= self.high and math.isfinite(least + most)):
            self._complain(array)
        if max(-least, most) > (LONGEST if self.integer else EXACT) and array.dtype.kind in "iu":
            far = (array < -EXACT) | (array > EXACT)
            problem = (
                "no int64 is that" if self.integer else "no float64 tells it from its neighbours"
            )
            self._wrong(
                array, int(far.reshape(-1).argmax()), f"is too large: {problem}", "scale it"
            )
        if self.integer:
            whole = array.astype(np.int64)
            if (whole != array).any():
                at = int((whole != array).reshape(-1).argmax())
                self._wrong(array, at, "is no whole number", "give whole numbers")
            return whole
        return array

    def _complain(self, array: np.ndarray) -> None:
        flat = array.reshape(-1)
        wild = ~np.isfinite(flat) if array.dtype.kind == "f" else np.zeros(len(flat), bool)
        if wild.any():
            self._wrong(
                array, int(wild.argmax()), "is no finite number", "leave absent entries out"
            )
        outside = (flat < self.low) | (flat > self.high)
        if outside.any():
            edges = f"lies outside [{self.low:g}, {self.high:g}]"
            self._wrong(array, int(outside.argmax()), edges, "give a number inside")

    def _wrong(self, array: np.ndarray, at: int, problem: str, remedy: str) -> None:
        value = array.reshape(-1)[at].item()
        raise BadQuery(Mistake(place_path(at, self.shape), f"{value!r} {problem}", remedy))

    def _placed(self, array: np.ndarray) -> np.ndarray:
        """Places of an array of values."""
        assert self.values is not None
        distinct, place = np.unique(array, return_inverse=True)
        try:
            places = [self._place(v, "") for v in plain_list(distinct)]
        except BadQuery:
            for at, value in enumerate(array.reshape(-1).tolist()):
                self._place(value, place_path(at, self.shape))
            raise
        return np.array(places, dtype=np.int64)[place].reshape(array.shape)

    def select(self, rows: Sequence[int]) -> "Told":
        """Some of the rows; of rows side by side nothing is copied."""
        first = rows[0] if len(rows) else 0
        span = range(first, first + len(rows))
        index: slice | Tensor = slice(first, span.stop)
        if first < 0 or span.stop > self.rows or [*rows] != [*span]:
            index = torch.as_tensor(rows, dtype=torch.long)
        return replace(self, tensor=self.tensor[index], present=self.present[index])

    def join(self, others: Sequence["Told"]) -> "Told":
        every = (self, *others)
        wide = self._widest if len({d.tensor.dtype for d in every}) > 1 else self.tensor.dtype
        return replace(
            self,
            tensor=torch.cat([d.tensor.to(wide) for d in every]),
            present=torch.cat([d.present for d in every]),
        )

    def inside(self, other: "Told") -> bool:
        same = torch.equal(self.present, other.present)
        return same and torch.equal(self.tensor, other.tensor.to(self.tensor.dtype))

    def holding(self, tensor: Tensor, present: Tensor) -> "Told":
        """The rows that were told these numbers. (R, *shape), (R, n) bool"""
        return replace(self, tensor=tensor, present=present)

    def given(self, batch: int) -> Given:
        """The told arrays of a batch, `batch // R` states a row; where there is one row, or one
        state a row, nothing is copied. -> ((batch, *shape), (batch, n))"""
        return Given(spread(self.tensor, batch), spread(self.present, batch))

    def plain(self, row: int) -> Given:
        """What one row was told, as arrays; named values as lists."""
        return self.plain_of(self.tensor[row], self.present[row])

    def plain_of(self, values: Tensor, present: Tensor) -> Given:
        """What one state was told, numbers as float64 whatever stands beside. (*shape), (n,)"""
        values = values.double() if values.is_floating_point() else values
        array = values.cpu().numpy()
        return Given(self._named(array) if self.values else array, present.cpu().numpy())

    def _named(self, places: np.ndarray) -> Any:
        assert self.values is not None
        names = np.empty(len(self.values), dtype=object)
        names[:] = list(self.values)
        return names[places].tolist()

    def sample(self, particles: int, rng: Stream) -> Tensor:
        del rng
        return spread(self.tensor, self.rows * particles)

    def project(self, x: Tensor) -> Tensor:
        return x

    def decide(self, x: Tensor) -> Tensor:
        return x

    def encode(self, value: Any) -> Tensor:
        return self.narrow([value]).tensor[0].cpu()

    def decode(self, x: Tensor) -> list[Any]:
        return [self._named(one) for one in x.cpu().numpy()] if self.values else x.tolist()

    @cached_property
    def decided(self) -> Tensor:
        return torch.ones(self.rows, dtype=torch.bool, device=self.device)

    @cached_property
    def fingerprints(self) -> list[bytes]:
        rows = zip(self.tensor.numpy(force=True), self.present.numpy(force=True), strict=True)
        return [fingerprint_of(x, present) for x, present in rows]


def fingerprint_of(values: np.ndarray, present: np.ndarray) -> bytes:
    """What tells apart what rows were told. (*shape), (n,)"""
    made = hashlib.blake2b(present.tobytes(), digest_size=16)
    made.update(_narrowest(there_of(values, present)).data)
    return made.digest()


def there_of(values: np.ndarray, present: np.ndarray) -> np.ndarray:
    """What stands at the entries that are there; of one row, or of several, one row after the
    other. (*shape), (n,) -> (m, *shape[1:]), or (R, *shape), (R, n) -> the same; without an axis
    all of it."""
    return values if values.ndim < present.ndim or present.all() else values[present]


def _narrowest(x: np.ndarray) -> np.ndarray:
    """The same numbers side by side, in float32 where it holds all of them: how numbers are kept
    hangs on the rows beside them."""
    if x.dtype == np.float64:
        with np.errstate(over="ignore"):
            narrow = x.astype(np.float32)
        x = narrow if (narrow == x).all() else x
    return np.ascontiguousarray(x)


def batch_of(tensors: Sequence[Any]) -> int:
    """How many states the tensors of a scope hold, some of them `Given`."""
    first = tensors[0]
    return len(first.values) if isinstance(first, Given) else len(first)


def width_of(x: Any) -> int:
    """The numbers of one state of a tensor, or of `Given`."""
    values = x.values if isinstance(x, Given) else x
    return math.prod(values.shape[1:])


def pieces_of(tensors: Sequence[Any], each: int) -> Iterator[list[Any]]:
    """The tensors of a scope for so many states at once, `Given` too."""
    for first in range(0, batch_of(tensors), each):
        yield [part_of(x, slice(first, first + each)) for x in tensors]


def part_of(x: Any, states: slice) -> Any:
    """Some states of a tensor, or of `Given`."""
    return Given(*(t[states] for t in x)) if isinstance(x, Given) else x[states]


def spread(x: Tensor, batch: int) -> Tensor:
    """(R, ...) -> (batch, ...), each row as often; nothing is copied where one stride says it."""
    rows = x.shape[0]
    if rows == batch:
        return x
    if rows == 1:
        return x.expand(batch, *x.shape[1:])
    return x.repeat_interleave(batch // rows, 0)


def states_at(tensors: Sequence[Any], at: Tensor) -> list[Any]:
    """Some states of a batch, and what inputs tell them."""
    return [Given(x.values[at], x.present[at]) if isinstance(x, Given) else x[at] for x in tensors]


def put_back(some: Tensor, at: Tensor, batch: int) -> Tensor:
    """What some states of a batch have, 0 for the others. (n, *rest) -> (batch, *rest)"""
    return some.new_zeros(batch, *some.shape[1:]).index_copy(0, at, some)

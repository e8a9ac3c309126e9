"""Sites that take one of a list of values: evidence narrows which."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.domain.base import Domain, read_shape, read_values, typed
from engine.errors import BadQuery, Mistake, known
from engine.plain import flatten, place_path, plain
from engine.random import Stream

PIECE = 1 << 18  # numbers that drawing holds at once
OF_VALUES = ("lookup", "_ranked", "_values")  # what was made of the values alone


def places_dtype(count: int) -> torch.dtype:
    """The smallest integers that hold the places of so many values."""
    if count <= 256:
        return torch.uint8
    return torch.int16 if count <= 32767 else torch.int32


def is_decided(x: Tensor) -> bool:
    """Whether the state of a finite variable is decided: places of values, not distributions."""
    return not x.is_floating_point()


def one_hot(places: Tensor, count: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Places of values as distributions. (...) -> (..., count)"""
    hot = torch.zeros(*places.shape, count, dtype=dtype, device=places.device)
    return hot.scatter_(-1, places.long()[..., None], 1.0)


@dataclass(frozen=True, eq=False)
class Finite(Domain):
    """Sites that each take one of the same k values.

    Decided, a site is the place of its value, in the smallest of uint8 (k <= 256), int16 and int32;
    relaxed, a distribution over its k values.
    """

    values: tuple[Any, ...]
    shape: tuple[int, ...] = ()
    allowed: Tensor = None  # type: ignore[assignment]  # (R, *shape, k) bool; all when left out

    def __post_init__(self):
        object.__setattr__(self, "values", read_values(self.values))
        object.__setattr__(self, "shape", read_shape(self.shape))
        if len(self.values) == 0:
            raise BadQuery(Mistake("values", "a finite domain needs a value", "name at least one"))
        if len(self.lookup) < len(self.values):
            raise BadQuery(Mistake("values", "a value stands twice", "name every value once"))
        if self.allowed is None:
            full = torch.ones(1, *self.shape, len(self.values), dtype=torch.bool)
            object.__setattr__(self, "allowed", full)
        if tuple(self.allowed.shape[1:]) != self.event:
            raise BadQuery(
                Mistake("allowed", f"shape {tuple(self.allowed.shape[1:])}, not {self.event}")
            )

    @property
    def event(self) -> tuple[int, ...]:
        return (*self.shape, len(self.values))

    @property
    def rows(self) -> int:
        return self.allowed.shape[0]

    @property
    def dtype(self) -> torch.dtype:
        """Of decided states."""
        return places_dtype(len(self.values))

    @cached_property
    def lookup(self) -> dict[Any, int]:
        """The place of each value; 1, 1.0 and True are different values."""
        return {typed(value): place for place, value in enumerate(self.values)}

    def place(self, value: Any, path: str = "") -> int:
        """The place of a person's value among the values."""
        value = plain(value)
        try:
            place = self.lookup.get(typed(value))
        except TypeError:
            place = None
        if isinstance(value, float) and math.isnan(value):
            raise BadQuery(Mistake(path, "nan is no value", "give None where a site is open"))
        if place is None and isinstance(value, float) and value.is_integer():
            place = self.lookup.get(typed(int(value)))
        if place is None:
            raise BadQuery(
                Mistake(path, f"{value!r} is none of the values", known(value, self.values))
            )
        return place

    @property
    def device(self) -> torch.device:
        return self.allowed.device

    def to(self, device: torch.device | str) -> "Finite":
        moved = self.allowed.to(device)
        return self if moved is self.allowed else self._under(moved)

    def narrow(self, values: Sequence[Any]) -> "Finite":
        count = len(values)
        if self.rows not in (1, count):
            raise BadQuery(f"{count} entries for {self.rows} rows")
        base = self.allowed.expand(count, *self.event).reshape(count, self.sites, -1)
        given = np.full((count, self.sites), -1, dtype=np.int64)
        lookup = self.lookup
        for row, value in enumerate(values):
            if value is None:
                continue
            known_places = self._array_places(value)
            if known_places is not None:
                given[row] = known_places
                continue
            flat = flatten(value, self.shape)
            try:
                given[row] = [-1 if v is None else lookup[typed(v)] for v in flat]
            except (KeyError, TypeError):
                given[row] = [
                    -1 if v is None else self.place(v, place_path(k, self.shape))
                    for k, v in enumerate(flat)
                ]
        index = torch.from_numpy(given).to(self.allowed.device)
        one_hot = torch.arange(len(self.values), device=index.device) == index[..., None]
        allowed = base & (one_hot | (index < 0)[..., None])
        if not allowed.any(-1).all():
            self._complain(allowed, values)
        return self._under(allowed.reshape(count, *self.event))

    def _array_places(self, value: Any) -> np.ndarray | None:
        """Places of an array of whole numbers, without a walk; None where it is something else."""
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
        plain_array = isinstance(array, np.ndarray) and not isinstance(array, np.ma.MaskedArray)
        if not plain_array or array.dtype.kind not in "iu" or array.shape != self.shape:
            return None
        order, ranked = self._ranked
        if ranked is None:
            return None
        at = np.searchsorted(ranked, array.reshape(-1)).clip(max=len(ranked) - 1)
        return order[at] if (ranked[at] == array.reshape(-1)).all() else None

    @cached_property
    def _ranked(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Where the values stand in rising order, and the values so; None: not all whole."""
        if not all(type(v) is int and abs(v) < 2**62 for v in self.values):
            return np.zeros(0, np.int64), None
        every = np.array(self.values, dtype=np.int64)
        order = np.argsort(every)
        return order, every[order]

    def _under(self, allowed: Tensor) -> "Finite":
        """The same values where others are allowed, which are not looked through again.
        (R, *event)"""
        other = object.__new__(Finite)
        vars(other).update(values=self.values, shape=self.shape, allowed=allowed)
        vars(other).update((name, vars(self)[name]) for name in OF_VALUES if name in vars(self))
        return other

    def _complain(self, allowed: Tensor, values: Sequence[Any]) -> None:
        row, site = (~allowed.any(-1)).nonzero()[0].tolist()
        value = flatten(values[row], self.shape)[site]
        raise BadQuery(
            Mistake(
                place_path(site, self.shape),
                f"{value!r} contradicts what this site was narrowed to before",
                "start from the base domains",
            )
        )

    def select(self, rows: Sequence[int]) -> "Finite":
        return self._under(self.allowed[torch.as_tensor(rows, dtype=torch.long)])

    def join(self, others: Sequence["Finite"]) -> "Finite":
        return self._under(torch.cat([self.allowed, *(o.allowed for o in others)]))

    def inside(self, other: "Finite") -> bool:
        return bool((self.allowed <= other.allowed).all())

    def sample(self, particles: int, rng: Stream) -> Tensor:
        """Each site by one random word: the place of rank (word * options) >> 32 among the allowed
        values of its row. A function of (row, particle, site), whatever is drawn beside it."""
        rows, k = len(rng.keys), len(self.values)
        device = rng.keys.device
        out = torch.empty(rows, particles, self.sites, dtype=self.dtype, device=device)
        allowed = self.allowed.to(device).expand(rows, *self.event).reshape(rows, self.sites, k)
        width = 4 * max(1, PIECE // (4 * max(1, rows * max(particles, k))))  # words come in fours
        for start in range(0, self.sites, width):
            part = allowed[:, start : start + width]
            count = part.shape[1]
            words = rng.bits(particles, count, start).reshape(rows, particles, count)
            rank = (words * part.sum(-1)[:, None]) >> 32
            if not self.open:
                order = (~part).to(torch.uint8).argsort(dim=-1, stable=True)  # allowed values first
                rank = order.gather(-1, rank.transpose(1, 2)).transpose(1, 2)
            out[:, :, start : start + width] = rank
        return out.reshape(rows * particles, *self.shape)

    @cached_property
    def open(self) -> bool:
        """Every value is allowed at every site of every row."""
        return bool(self.allowed.all())

    def allows(self, places: Tensor) -> Tensor:
        """Whether the values at these places are allowed. (R * P, *shape) -> same, bool"""
        if self.open:
            return torch.ones_like(places, dtype=torch.bool)
        flat = places.reshape(self.rows, -1, self.sites).transpose(1, 2).long()  # (R, n, P)
        found = self.allowed.to(places.device).reshape(self.rows, self.sites, -1).gather(-1, flat)
        return found.transpose(1, 2).reshape(places.shape)

    def project(self, x: Tensor) -> Tensor:
        """The nearest point of the simplex over the allowed values (Duchi et al., ICML 2008)."""
        mask = self._mask(x)
        big = x.masked_fill(~mask, -torch.inf)
        ordered = big.sort(-1, descending=True).values
        finite = ordered.isfinite()
        total = ordered.masked_fill(~finite, 0).cumsum(-1)
        rank = torch.arange(1, x.shape[-1] + 1, device=x.device, dtype=x.dtype)
        keep = finite & (ordered * rank > total - 1)
        count = keep.sum(-1, keepdim=True).clamp(min=1)
        shift = (total.gather(-1, count - 1) - 1) / count
        return (x - shift).clamp(min=0).masked_fill(~mask, 0)

    def decide(self, x: Tensor) -> Tensor:
        """Of distributions the likeliest allowed value; a place that is not allowed goes to the
        first that is."""
        if not is_decided(x):
            return x.masked_fill(~self._mask(x), -torch.inf).argmax(-1).to(self.dtype)
        x = x.to(self.dtype)
        if self.open:
            return x
        first = self.allowed.to(x.device).to(torch.uint8).argmax(-1).to(self.dtype)
        first = first.repeat_interleave(len(x) // self.rows, 0)
        return torch.where(self.allows(x), x, first)

    def hot(self, places: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Decided states as distributions. (B, *shape) -> (B, *event)"""
        return one_hot(places, len(self.values), dtype)

    def _mask(self, x: Tensor) -> Tensor:
        """(R * P, *event) -> allowed, aligned with the batch."""
        allowed = self.allowed.to(x.device)
        particles = x.shape[0] // allowed.shape[0]
        return allowed.repeat_interleave(particles, 0) if particles > 1 else allowed

    def encode(self, value: Any) -> Tensor:
        flat = flatten(value, self.shape)
        try:
            index = [self.lookup[typed(v)] for v in flat]
        except (KeyError, TypeError):  # something is odd, and may be a mistake
            index = [self.place(v, place_path(k, self.shape)) for k, v in enumerate(flat)]
        return torch.tensor(index, dtype=self.dtype).reshape(self.shape)

    def decode(self, x: Tensor) -> list[Any]:
        return self._values[x.cpu().numpy()].reshape(len(x), *self.shape).tolist()

    @cached_property
    def _values(self) -> np.ndarray:
        """The values as an array of objects. -> (k,)"""
        values = np.empty(len(self.values), dtype=object)
        for k, value in enumerate(self.values):
            values[k] = value
        return values

    @cached_property
    def decided(self) -> Tensor:
        return (self.allowed.sum(-1) == 1).reshape(self.rows, -1).all(1)

    @cached_property
    def fingerprints(self) -> list[bytes]:
        flat = self.allowed.cpu().reshape(self.rows, -1).numpy()
        return [row.tobytes() for row in np.packbits(flat, axis=1)]

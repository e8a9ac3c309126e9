"""Where a variable may lie: arrays of finite choices or of real numbers, narrowed row by row.

Evidence never touches an energy: it narrows a domain. Every domain carries a leading row axis R
(1 unless rows are stacked); tensors of states carry a batch axis, and batch index b belongs to
row b // P, where P is the number of particles a row.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from operator import index
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from engine.errors import BadQuery, Mistake, join, known
from engine.plain import OWN, plain, plain_list
from engine.random import Stream

State = Mapping[str, Tensor]  # every variable by name, (R * P, *event)


class Domain(ABC):
    """Frozen: every change is a new domain."""

    shape: tuple[int, ...]  # of the array of sites

    @property
    @abstractmethod
    def event(self) -> tuple[int, ...]:
        """Shape of one state tensor without the batch axis."""

    @property
    @abstractmethod
    def rows(self) -> int:
        """R, the number of evidences side by side."""

    @abstractmethod
    def narrow(self, values: Sequence[Any]) -> Self:
        """One row for each entry of `values`: nested as the shape, None where a site stays open.

        A domain of one row gives as many rows as there are entries; a domain of R rows takes R
        entries. Raises BadQuery with the place, the value and a remedy.
        """

    @abstractmethod
    def select(self, rows: Sequence[int]) -> Self:
        """Some of the rows, in the given order; a row may be taken more than once."""

    @abstractmethod
    def join(self, others: Sequence[Self]) -> Self:
        """The rows of this domain, then those of the others."""

    @abstractmethod
    def inside(self, other: Self) -> bool:
        """Whether every row allows nothing that the same row of another domain rules out."""

    @abstractmethod
    def sample(self, particles: int, rng: Stream) -> Tensor:
        """Random states inside the domain. -> (R * particles, *event)"""

    @abstractmethod
    def project(self, x: Tensor) -> Tensor:
        """The nearest allowed point. (R * P, *event) -> same"""

    @abstractmethod
    def decide(self, x: Tensor) -> Tensor:
        """The nearest definite value. (R * P, *event) -> same"""

    @abstractmethod
    def encode(self, value: Any) -> Tensor:
        """A person's complete value, nested as the shape, as a state tensor. -> (*event)"""

    @abstractmethod
    def decode(self, x: Tensor) -> list[Any]:
        """Decided states as people's values: (B, *event) -> B of them, nested as the shape."""

    @property
    @abstractmethod
    def fingerprints(self) -> list[bytes]:
        """Bytes that tell what each row allows: the material of a row's key."""

    @property
    def sites(self) -> int:
        """The number of sites."""
        return math.prod(self.shape)


@dataclass(frozen=True, eq=False)
class Finite(Domain):
    """Sites that each take one of the same k values; a state is one-hot, or a distribution."""

    values: tuple[Any, ...]
    shape: tuple[int, ...] = ()
    allowed: Tensor = None  # type: ignore[assignment]  # (R, *shape, k) bool; all when left out

    def __post_init__(self):
        object.__setattr__(self, "values", _single(self.values))
        object.__setattr__(self, "shape", _sizes(self.shape))
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

    @cached_property
    def lookup(self) -> dict[Any, int]:
        """The place of each value; 1, 1.0 and True are different values."""
        return {_exact(value): place for place, value in enumerate(self.values)}

    def place(self, value: Any, path: str = "") -> int:
        """The place of a person's value among the values."""
        value = plain(value)
        try:
            place = self.lookup.get(_exact(value))
        except TypeError:
            place = None
        if isinstance(value, float) and math.isnan(value):
            raise BadQuery(Mistake(path, "nan is no value", "give None where a site is open"))
        if place is None and isinstance(value, float) and value.is_integer():
            place = self.lookup.get(_exact(int(value)))
        if place is None:
            raise BadQuery(
                Mistake(path, f"{value!r} is none of the values", known(value, self.values))
            )
        return place

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
            flat = flatten(value, self.shape)
            try:
                given[row] = [-1 if v is None else lookup[_exact(v)] for v in flat]
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
        return replace(self, allowed=allowed.reshape(count, *self.event))

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
        return replace(self, allowed=self.allowed[torch.as_tensor(rows, dtype=torch.long)])

    def join(self, others: Sequence["Finite"]) -> "Finite":
        return replace(self, allowed=torch.cat([self.allowed, *(o.allowed for o in others)]))

    def inside(self, other: "Finite") -> bool:
        return bool((self.allowed <= other.allowed).all())

    def sample(self, particles: int, rng: Stream) -> Tensor:
        noise = rng.uniform(particles, *self.event)
        return self.decide(noise)

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
        best = x.masked_fill(~self._mask(x), -torch.inf).argmax(-1)
        return torch.nn.functional.one_hot(best, x.shape[-1]).to(x.dtype)

    def _mask(self, x: Tensor) -> Tensor:
        """(R * P, *event) -> allowed, aligned with the batch."""
        allowed = self.allowed.to(x.device)
        particles = x.shape[0] // allowed.shape[0]
        return allowed.repeat_interleave(particles, 0) if particles > 1 else allowed

    def encode(self, value: Any) -> Tensor:
        flat = flatten(value, self.shape)
        index = [self.place(v, place_path(k, self.shape)) for k, v in enumerate(flat)]
        hot = torch.nn.functional.one_hot(torch.tensor(index, dtype=torch.long), len(self.values))
        return hot.reshape(self.event).float()

    def decode(self, x: Tensor) -> list[Any]:
        return self.named(x.argmax(-1).reshape(x.shape[0], -1).cpu().numpy())

    def named(self, places: np.ndarray) -> list[Any]:
        """Places of values as people's values, nested as the shape. (B, sites) -> B of them"""
        return self._values[places].reshape(len(places), *self.shape).tolist()

    @cached_property
    def _values(self) -> np.ndarray:
        """The values as an array of objects. -> (k,)"""
        values = np.empty(len(self.values), dtype=object)
        for k, value in enumerate(self.values):
            values[k] = value
        return values

    @cached_property
    def fingerprints(self) -> list[bytes]:
        flat = self.allowed.cpu().reshape(self.rows, -1).numpy()
        return [row.tobytes() for row in np.packbits(flat, axis=1)]


@dataclass(frozen=True, eq=False)
class Real(Domain):
    """Sites that are real numbers between `low` and `high` (either may be infinite).

    States are float64, so that a given number comes back to the bit; a term sees them in a dtype of
    its own (`Term.views`). An edge is one number for all sites, an array of the shape, site by
    site, or (R, *shape), row by row. BadQuery: another shape, nan, no number between the edges.
    """

    shape: tuple[int, ...] = ()
    low: Any = -math.inf
    high: Any = math.inf

    def __post_init__(self):
        object.__setattr__(self, "shape", _sizes(self.shape))
        for name in ("low", "high"):
            object.__setattr__(self, name, self._edge(name, getattr(self, name)))
        if len(self.low) != len(self.high) and 1 not in (len(self.low), len(self.high)):
            raise BadQuery(
                Mistake("low", f"{len(self.low)} rows, high has {len(self.high)}", "give as many")
            )
        if (self.low > self.high).any():
            raise BadQuery(
                Mistake("low", "lies above high: the domain is empty", "give low <= high")
            )
        if (self.low == math.inf).any() or (self.high == -math.inf).any():
            raise BadQuery(Mistake("low", "no number lies between the edges", "give numbers"))

    def _edge(self, name: str, edge: Any) -> Tensor:
        """An edge as (R, *shape) float64."""
        try:
            edge = torch.as_tensor(edge, dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            raise BadQuery(
                Mistake(name, f"{edge!r} is no array of numbers", "give a number")
            ) from None
        if edge.isnan().any():
            raise BadQuery(Mistake(name, "nan is no edge", "give a number"))
        if not edge.dim():
            return edge.expand(1, *self.shape)
        if edge.shape == self.shape:
            return edge[None]
        if edge.shape[1:] != self.shape:
            wanted = f"give a number, or {[*self.shape]} numbers" if self.shape else "give a number"
            raise BadQuery(
                Mistake(name, f"has shape {[*edge.shape]}, the variable {[*self.shape]}", wanted)
            )
        return edge

    @property
    def event(self) -> tuple[int, ...]:
        return self.shape

    @property
    def rows(self) -> int:
        return max(self.low.shape[0], self.high.shape[0])

    def narrow(self, values: Sequence[Any]) -> "Real":
        count = len(values)
        if self.rows not in (1, count):
            raise BadQuery(f"{count} entries for {self.rows} rows")
        low = self.low.expand(count, *self.shape).reshape(count, -1).clone()
        high = self.high.expand(count, *self.shape).reshape(count, -1).clone()
        for row, value in enumerate(values):
            if value is None:
                continue
            flat = flatten(value, self.shape)
            sites = [site for site, number in enumerate(flat) if number is not None]
            numbers = [_number(flat[site], place_path(site, self.shape)) for site in sites]
            given = torch.tensor(numbers, dtype=torch.float64)
            outside = (given < low[row, sites]) | (given > high[row, sites])
            if outside.any():
                site = sites[int(outside.nonzero()[0])]
                raise BadQuery(
                    Mistake(
                        place_path(site, self.shape),
                        f"{flat[site]!r} lies outside [{low[row, site]:g}, {high[row, site]:g}]",
                        "give a number inside",
                    )
                )
            low[row, sites] = high[row, sites] = given
        return Real(self.shape, low.reshape(count, *self.shape), high.reshape(count, *self.shape))

    def select(self, rows: Sequence[int]) -> "Real":
        index = torch.as_tensor(rows, dtype=torch.long)
        low = self.low.expand(self.rows, *self.shape)
        high = self.high.expand(self.rows, *self.shape)
        return Real(self.shape, low[index], high[index])

    def join(self, others: Sequence["Real"]) -> "Real":
        every = (self, *others)
        return Real(
            self.shape,
            torch.cat([d.low.expand(d.rows, *d.shape) for d in every]),
            torch.cat([d.high.expand(d.rows, *d.shape) for d in every]),
        )

    def inside(self, other: "Real") -> bool:
        return bool((self.low >= other.low).all() and (self.high <= other.high).all())

    def sample(self, particles: int, rng: Stream) -> Tensor:
        """Uniform where both edges are finite, else a standard normal moved inside."""
        normal = rng.normal(particles, *self.shape, dtype=torch.float64)
        uniform = rng.fork(1).uniform(particles, *self.shape, dtype=torch.float64)
        low, high = self._edges(normal)
        boxed = low.isfinite() & high.isfinite()
        between = torch.where(boxed, low, 0.0) * (1 - uniform)
        between = between + torch.where(boxed, high, 0.0) * uniform
        return self.project(torch.where(boxed, between, normal))

    def project(self, x: Tensor) -> Tensor:
        """The nearest number inside, in float64; a given number itself, with the sign of a zero."""
        low, high = self._edges(x)
        return torch.where(low == high, low, torch.clamp(x.double(), low, high))

    def decide(self, x: Tensor) -> Tensor:
        return self.project(x)

    def _edges(self, x: Tensor) -> tuple[Tensor, Tensor]:
        particles = x.shape[0] // self.rows
        edges = (e.expand(self.rows, *self.shape).to(x.device) for e in (self.low, self.high))
        low, high = (e.repeat_interleave(particles, 0) for e in edges)
        return low, high

    def encode(self, value: Any) -> Tensor:
        flat = flatten(value, self.shape)
        numbers = [_number(v, place_path(k, self.shape)) for k, v in enumerate(flat)]
        return torch.tensor(numbers, dtype=torch.float64).reshape(self.shape)

    def decode(self, x: Tensor) -> list[Any]:
        return x.double().tolist()

    @cached_property
    def fingerprints(self) -> list[bytes]:
        edges = torch.stack(
            [
                self.low.expand(self.rows, *self.shape).reshape(self.rows, -1),
                self.high.expand(self.rows, *self.shape).reshape(self.rows, -1),
            ],
            1,
        )
        return [row.tobytes() for row in edges.cpu().numpy()]


def _number(value: Any, path: str) -> float:
    """A person's number as a float64 of the same value."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BadQuery(Mistake(path, f"{value!r} is no number", "give a number"))
    if isinstance(value, float):
        if not math.isfinite(value):
            raise BadQuery(Mistake(path, f"{value!r} is no finite number", "give a number"))
        return float(value)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if number != value:
        near = f"no float is {value}" if number < math.inf else "is larger than any float"
        raise BadQuery(Mistake(path, near, f"give {number:.0f}" if number < math.inf else ""))
    return number


@dataclass(frozen=True, eq=False)
class Variable:
    """A named array of sites. Identity is identity: two objects with one name are an error."""

    name: str
    domain: Domain

    def __getitem__(self, index: Any) -> "View":
        return self.view[index]

    @cached_property
    def view(self) -> "View":
        """All sites of the variable."""
        shape = self.domain.shape
        return View(self, np.arange(self.domain.sites).reshape(shape))


@dataclass(frozen=True, eq=False)
class View:
    """Some sites of a variable, taken by indexing: `grid[0, :]`, `grid[::2]`, `grid.view`."""

    variable: Variable
    places: np.ndarray  # flat places, in the shape of the view

    @property
    def shape(self) -> tuple[int, ...]:
        return self.places.shape

    @cached_property
    def whole(self) -> bool:
        """True when the view is the variable itself."""
        domain = self.variable.domain
        return self.shape == domain.shape and bool(
            (self.places.reshape(-1) == np.arange(domain.sites)).all()
        )

    def __getitem__(self, index: Any) -> "View":
        try:
            return View(self.variable, np.array(self.places[index], order="C"))
        except IndexError as error:
            raise BadQuery(
                Mistake(
                    self.variable.name, f"view out of range: {error}", f"the shape is {self.shape}"
                )
            ) from None

    def of(self, domain: Domain) -> Domain:
        """The domain of these sites only, with the rows of `domain`."""
        if self.whole:
            return domain
        flat = torch.as_tensor(self.places.reshape(-1), dtype=torch.long)
        if isinstance(domain, Finite):
            allowed = domain.allowed.reshape(domain.rows, domain.sites, -1)[:, flat]
            return Finite(
                domain.values, self.shape, allowed.reshape(-1, *self.shape, len(domain.values))
            )
        assert isinstance(domain, Real)
        low, high = (
            e.expand(domain.rows, *domain.shape).reshape(domain.rows, -1)[:, flat]
            for e in (domain.low, domain.high)
        )
        return Real(self.shape, low.reshape(-1, *self.shape), high.reshape(-1, *self.shape))

    def tensor(self, x: Tensor) -> Tensor:
        """These sites of a state tensor. (B, *event) -> (B, *shape[, k])"""
        if self.whole:
            return x
        tail = x.shape[1 + len(self.variable.domain.shape) :]
        flat = torch.as_tensor(self.places.reshape(-1), dtype=torch.long, device=x.device)
        flat_x = x.reshape(x.shape[0], self.variable.domain.sites, *tail)
        return flat_x[:, flat].reshape(x.shape[0], *self.shape, *tail)

    def placed(self, x: Tensor, part: Tensor) -> Tensor:
        """A state tensor with these sites taken from `part`: the inverse of `tensor`."""
        if self.whole:
            return part
        flat = torch.as_tensor(self.places.reshape(-1), dtype=torch.long, device=x.device)
        sites = x.reshape(x.shape[0], self.variable.domain.sites, -1)
        return sites.index_copy(1, flat, part.reshape(x.shape[0], len(flat), -1)).reshape(x.shape)

    def plain(self, value: Any) -> Any:
        """These sites of a person's value (nested lists)."""
        if self.whole:
            return value
        found = []
        for place in self._places:
            entry = value
            for k in place:
                entry = entry[k]
            found.append(entry)
        return nest(found, self.shape)

    @cached_property
    def _places(self) -> list[tuple[int, ...]]:
        """Where each site stands in the variable."""
        shape, flat = self.variable.domain.shape, self.places.reshape(-1)
        if not shape:
            return [()] * len(flat)
        return list(zip(*(k.tolist() for k in np.unravel_index(flat, shape)), strict=True))


def flatten(value: Any, shape: tuple[int, ...]) -> list[Any]:
    """Nested lists of a given shape as one flat list, row-major. Raises BadQuery with the place."""
    if not shape:
        value = plain(value)
        if isinstance(value, (list, tuple)):
            raise BadQuery(Mistake("", f"{value!r} is a list", "give one value"))
        return [value]
    flat = _rectangle(value, shape)
    return list(_walk(plain(value), shape, "")) if flat is None else flat


def _rectangle(value: Any, shape: tuple[int, ...]) -> list[Any] | None:
    """The flat list where all is plain and every length is right, the common case; else None."""
    if not isinstance(value, (list, tuple)) or len(value) != shape[0]:
        return None
    level: list[Any] = list(value)
    for size in shape[1:]:
        if any(not isinstance(entry, (list, tuple)) or len(entry) != size for entry in level):
            return None
        level = list(chain.from_iterable(level))
    return level if set(map(type, level)) <= OWN else None


def _walk(value: Any, shape: tuple[int, ...], path: str) -> Iterator[Any]:
    if not isinstance(value, (list, tuple)):
        raise BadQuery(Mistake(path, f"{value!r} is no list", f"give {shape[0]} entries"))
    if len(value) != shape[0]:
        raise BadQuery(Mistake(path, f"has {len(value)} entries", f"the shape asks for {shape[0]}"))
    if len(shape) == 1:
        for k, entry in enumerate(value):
            if isinstance(entry, (list, tuple)):
                raise BadQuery(Mistake(f"{path}[{k}]", f"{entry!r} is a list", "give one value"))
            yield entry
        return
    for k, entry in enumerate(value):
        yield from _walk(entry, shape[1:], f"{path}[{k}]")


def nest(flat: Sequence[Any], shape: tuple[int, ...]) -> Any:
    """A flat list, row-major, as nested lists of a given shape."""
    if not shape:
        return flat[0]
    if len(shape) == 1:
        return list(flat)
    step = len(flat) // shape[0] if shape[0] else 0
    return [nest(flat[k * step : (k + 1) * step], shape[1:]) for k in range(shape[0])]


def place_path(site: int, shape: tuple[int, ...]) -> str:
    """The place of a flat site as a path: `[3][4]`."""
    return "".join(f"[{k}]" for k in np.unravel_index(site, shape)) if shape else ""


def _single(values: Any) -> tuple[Any, ...]:
    """The values of a domain, numbers of numpy as Python's own. Raises BadQuery."""
    every = plain_list(values) if isinstance(values, np.ndarray) else list(values)
    for k, value in enumerate(every):
        if isinstance(value, np.generic):
            every[k] = value.item()
        elif isinstance(value, float) and math.isnan(value):
            raise BadQuery(Mistake("values", "nan is no value", "name values that can be told"))
    return tuple(every)


def _sizes(shape: Any) -> tuple[int, ...]:
    """The shape of a domain. Raises BadQuery."""
    try:
        sizes = tuple(index(size) for size in shape)
    except TypeError:
        remedy = f"write ({shape},)" if isinstance(shape, int) else "write it as (9, 9)"
        raise BadQuery(Mistake("shape", f"{shape!r} is no list of whole numbers", remedy)) from None
    if any(size < 0 for size in sizes):
        raise BadQuery(Mistake("shape", f"{shape!r} has a size below 0", "give sizes of 0 or more"))
    return sizes


def _exact(value: Any) -> tuple[type, Any]:
    return (type(value), value)


__all__ = [
    "Domain",
    "Finite",
    "Real",
    "State",
    "Variable",
    "View",
    "flatten",
    "join",
    "nest",
    "place_path",
]

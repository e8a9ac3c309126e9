"""Sites that take a real number within bounds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.domain.base import Domain, read_number, read_shape
from engine.errors import BadQuery, Mistake
from engine.plain import flatten, place_path
from engine.random import Stream


def read_numbers(value: Any, shape: tuple[int, ...]) -> tuple[slice | list[int], Tensor]:
    """A person's numbers, None where a site is open: which sites are given, and their numbers.

    Arrays and tensors are taken as they are, without a walk. -> sites, (n,) float64
    """
    array = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
    plain = isinstance(array, np.ndarray) and not isinstance(array, np.ma.MaskedArray)
    if plain and array.dtype.kind in "iuf" and array.dtype.itemsize <= 8:
        if array.shape != shape:
            raise BadQuery(Mistake("", f"has shape {[*array.shape]}", f"give {[*shape]}"))
        numbers = array.astype(np.float64).reshape(-1)
        exact = array.dtype.kind == "f" or np.abs(numbers).max(initial=0.0) < 2.0**53
        if exact and np.isfinite(numbers).all():
            return slice(None), torch.from_numpy(numbers)
    flat = flatten(value, shape)
    types = set(map(type, flat))
    if types == {float} and all(map(math.isfinite, flat)):
        return slice(None), torch.tensor(flat, dtype=torch.float64)
    sites = [site for site, number in enumerate(flat) if number is not None]
    numbers = [read_number(flat[site], place_path(site, shape)) for site in sites]
    return sites, torch.tensor(numbers, dtype=torch.float64)


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
        object.__setattr__(self, "shape", read_shape(self.shape))
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

    @property
    def device(self) -> torch.device:
        return self.low.device

    def to(self, device: torch.device | str) -> "Real":
        low, high = self.low.to(device), self.high.to(device)
        same = low is self.low and high is self.high
        return self if same else replace(self, low=low, high=high)

    def narrow(self, values: Sequence[Any]) -> "Real":
        count = len(values)
        if self.rows not in (1, count):
            raise BadQuery(f"{count} entries for {self.rows} rows")
        low, high = (  # on the host, as what is given
            e.cpu().expand(count, *self.shape).reshape(count, -1).clone()
            for e in (self.low, self.high)
        )
        for row, value in enumerate(values):
            if value is None:
                continue
            sites, given = read_numbers(value, self.shape)
            outside = (given < low[row, sites]) | (given > high[row, sites])
            if outside.any():
                at = int(outside.nonzero()[0])
                site = at if isinstance(sites, slice) else sites[at]
                raise BadQuery(
                    Mistake(
                        place_path(site, self.shape),
                        f"{given[at]:g} lies outside [{low[row, site]:g}, {high[row, site]:g}]",
                        "give a number inside",
                    )
                )
            low[row, sites] = high[row, sites] = given
        low, high = (e.reshape(count, *self.shape).to(self.device) for e in (low, high))
        return replace(self, low=low, high=high)

    def select(self, rows: Sequence[int]) -> "Real":
        index = torch.as_tensor(rows, dtype=torch.long)
        low = self.low.expand(self.rows, *self.shape)
        high = self.high.expand(self.rows, *self.shape)
        return replace(self, low=low[index], high=high[index])

    def join(self, others: Sequence["Real"]) -> "Real":
        every = (self, *others)
        return replace(
            self,
            low=torch.cat([d.low.expand(d.rows, *d.shape) for d in every]),
            high=torch.cat([d.high.expand(d.rows, *d.shape) for d in every]),
        )

    def inside(self, other: "Real") -> bool:
        return bool((self.low >= other.low).all() and (self.high <= other.high).all())

    def sample(self, particles: int, rng: Stream) -> Tensor:
        """Uniform where both edges are finite, else a standard normal moved inside."""
        normal = rng.normal(particles, *self.shape, dtype=torch.float64)
        uniform = rng.fork(1).uniform(particles, *self.shape, dtype=torch.float64)
        low, high = self.edges(normal)
        boxed = low.isfinite() & high.isfinite()
        between = torch.where(boxed, low, 0.0) * (1 - uniform)
        between = between + torch.where(boxed, high, 0.0) * uniform
        return self.project(torch.where(boxed, between, normal))

    def project(self, x: Tensor) -> Tensor:
        """The nearest number inside, in float64; a given number itself, with the sign of a zero."""
        low, high = self.edges(x)
        return torch.where(low == high, low, torch.clamp(x.double(), low, high))

    def decide(self, x: Tensor) -> Tensor:
        return self.project(x)

    def edges(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both edges at every site of a state. (R * P, *shape) -> same, twice"""
        particles = x.shape[0] // self.rows
        edges = (e.expand(self.rows, *self.shape).to(x.device) for e in (self.low, self.high))
        low, high = (e.repeat_interleave(particles, 0) for e in edges)
        return low, high

    def encode(self, value: Any) -> Tensor:
        flat = flatten(value, self.shape)
        numbers = [read_number(v, place_path(k, self.shape)) for k, v in enumerate(flat)]
        return torch.tensor(numbers, dtype=torch.float64).reshape(self.shape)

    def decode(self, x: Tensor) -> list[Any]:
        return x.double().tolist()

    @cached_property
    def decided(self) -> Tensor:
        same = (self.low == self.high).expand(self.rows, *self.shape)
        return same.reshape(self.rows, -1).all(1)

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

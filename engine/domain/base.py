"""What a domain is: the values that the sites of a variable may take, row by row."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from operator import index
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from engine.errors import BadQuery, Mistake
from engine.plain import plain_list
from engine.random import Stream

# every variable by name: relaxed (R * P, *event), or decided (R * P, *shape); where a domain is
# finite, decided states are places of values, and known by being integers
State = Mapping[str, Tensor]


class Domain(ABC):
    """Frozen: every change is a new domain."""

    shape: tuple[int, ...]  # of the array of sites

    @property
    @abstractmethod
    def event(self) -> tuple[int, ...]:
        """Shape of one relaxed state without the batch axis; that of a decided one is `shape`."""

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

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where its tensors lie, and what it draws. What people give is read on the host."""

    @abstractmethod
    def to(self, device: torch.device | str) -> Self:
        """The same domain on another device; itself where it lies there."""

    @abstractmethod
    def inside(self, other: Self) -> bool:
        """Whether every row allows nothing that the same row of another domain rules out."""

    @abstractmethod
    def sample(self, particles: int, rng: Stream) -> Tensor:
        """Random decided states inside the domain; where that has one row, for every key of `rng`.
        -> (R * particles, *shape)"""

    @abstractmethod
    def project(self, x: Tensor) -> Tensor:
        """The nearest allowed point of a relaxed state. (R * P, *event) -> same"""

    @abstractmethod
    def decide(self, x: Tensor) -> Tensor:
        """The nearest definite states inside the domain, of relaxed or decided ones.
        (R * P, *event) or (R * P, *shape) -> (R * P, *shape)"""

    @abstractmethod
    def encode(self, value: Any) -> Tensor:
        """A person's complete value, nested as the shape, as a decided state on the host.
        -> (*shape)"""

    @abstractmethod
    def decode(self, x: Tensor) -> list[Any]:
        """Decided states as people's values: (B, *shape) -> B of them, nested as the shape."""

    @property
    @abstractmethod
    def decided(self) -> Tensor:
        """Rows in which every site has one value left. -> (R,) bool"""

    @property
    @abstractmethod
    def fingerprints(self) -> list[bytes]:
        """Bytes that tell what each row allows: the material of a row's key."""

    @property
    def sites(self) -> int:
        """The number of sites."""
        return math.prod(self.shape)


def device_of(domains: Iterable[Domain]) -> torch.device:
    """Where some domains lie; the host where there is none."""
    return next((domain.device for domain in domains), torch.device("cpu"))


def read_number(value: Any, path: str) -> float:
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


def read_values(values: Any) -> tuple[Any, ...]:
    """The values of a domain, numbers of numpy as Python's own. Raises BadQuery."""
    every = plain_list(values) if isinstance(values, np.ndarray) else list(values)
    for k, value in enumerate(every):
        if isinstance(value, np.generic):
            every[k] = value.item()
        elif isinstance(value, float) and math.isnan(value):
            raise BadQuery(Mistake("values", "nan is no value", "name values that can be told"))
    return tuple(every)


def read_shape(shape: Any) -> tuple[int, ...]:
    """The shape of a domain. Raises BadQuery."""
    try:
        sizes = tuple(index(size) for size in shape)
    except TypeError:
        remedy = f"write ({shape},)" if isinstance(shape, int) else "write it as (9, 9)"
        raise BadQuery(Mistake("shape", f"{shape!r} is no list of whole numbers", remedy)) from None
    if any(size < 1 for size in sizes):
        raise BadQuery(Mistake("shape", f"{[*sizes]} has no sites", "give sizes of at least 1"))
    return sizes


def typed(value: Any) -> tuple[type, Any]:
    return (type(value), value)

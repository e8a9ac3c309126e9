"""Channels that lose information: x -> y, and the way back, as energy discrepancy needs them.

A channel is symmetric, q(y | x) = q(x | y), so that the way back uses the same law. On finite sites
it is the heat flow exp(tR) of a rate matrix R over S values, each site by itself:

    Uniform   R = 11^T / S - I               exp(tR) = e^-t I + (1 - e^-t) 11^T / S
    Cyclic    neighbours modulo S, rate 1    circulant: FFT of one row
    Ordinal   neighbours on a path, rate 1   cosine basis
    Bernoulli Uniform with S = 2: each bit flips with probability (1 - e^-t) / 2
    Grid      one site of each row is erased; back, it is drawn evenly
    Neighbour one site of each row changes to another value; back, one does again
    Gaussian  real sites: y = x + s noise (the heat equation)

Source: Schroeder, Ou, Li, Duncan, "Energy-based modelling for discrete and mixed data via heat
equations on structured spaces", NeurIPS 2024.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from engine.domain import State
from engine.errors import BadQuery, Mistake
from engine.random import Stream


class Channel(ABC):
    """Acts on some variables of a state, one-hot where they are finite; the results hold these
    alone."""

    variables: tuple[str, ...]

    @abstractmethod
    def corrupt(self, x: State, rng: Stream) -> dict[str, Tensor]:
        """y ~ q(. | x). {name: (B, *event)} -> {name: (B, *event)}"""

    @abstractmethod
    def back(self, y: State, count: int, rng: Stream) -> dict[str, Tensor]:
        """`count` draws of x ~ q(. | y) for each y. -> {name: (B * count, *event)}, row-major"""


class Heat(Channel):
    """Abstract: every site of every variable by itself, with a matrix for each number of values."""

    @abstractmethod
    def matrix(self, size: int) -> Tensor:
        """Probability of b given a. -> (size, size) float64"""

    def corrupt(self, x: State, rng: Stream) -> dict[str, Tensor]:
        return self.back(x, 1, rng)

    def back(self, y: State, count: int, rng: Stream) -> dict[str, Tensor]:
        return {
            name: self._drawn(y[name], count, rng.fork(k)) for k, name in enumerate(self.variables)
        }

    def _drawn(self, y: Tensor, count: int, rng: Stream) -> Tensor:
        """By inversion. (B, *shape, k) -> (B * count, *shape, k)"""
        size, shape = y.shape[-1], y.shape[1:-1]
        edges = self.matrix(size).cumsum(-1)[:, :-1].to(y)  # (k, k - 1)
        u = rng.uniform(len(y) * count, *shape).to(y)
        if size == 2:  # bits: a flip is one comparison
            flip = u.reshape(len(y), count, *shape) < 1 - edges[0, 0]
            one = (y[..., 1] > 0.5)[:, None] ^ flip
            return torch.stack([~one, one], -1).reshape(-1, *y.shape[1:]).to(y)
        place = y.argmax(-1).repeat_interleave(count, 0)
        drawn = (u[..., None] > edges[place]).sum(-1)
        return torch.eye(size, dtype=y.dtype, device=y.device)[drawn]


@dataclass(frozen=True)
class Uniform(Heat):
    """Unordered values: with probability 1 - e^-time a site is drawn anew."""

    variables: tuple[str, ...]
    time: float

    def __post_init__(self):
        _check("time", self.time)

    def matrix(self, size: int) -> Tensor:
        return uniform_heat(size, self.time)


@dataclass(frozen=True)
class Cyclic(Heat):
    """Values on a circle. `time` is counted in circles: a site of S values flows time * S^2, near
    a wrapped Gaussian of variance 2 time on [0, 1)."""

    variables: tuple[str, ...]
    time: float

    def __post_init__(self):
        _check("time", self.time)

    def matrix(self, size: int) -> Tensor:
        return cyclic_heat(size, self.time * size**2)


@dataclass(frozen=True)
class Ordinal(Heat):
    """Ordered values. `time` is counted in lengths, as in `Cyclic`; the ends reflect."""

    variables: tuple[str, ...]
    time: float

    def __post_init__(self):
        _check("time", self.time)

    def matrix(self, size: int) -> Tensor:
        return ordinal_heat(size, self.time * size**2)


def bernoulli(variables: tuple[str, ...], flip: float) -> Uniform:
    """Each bit flips with probability `flip` < 1/2."""
    if not 0 < flip < 0.5:
        raise BadQuery(Mistake("flip", f"{flip!r}", "give 0 < flip < 0.5"))
    return Uniform(variables, -math.log(1 - 2 * flip))


@dataclass(frozen=True)
class Grid(Channel):
    """One site of each row, of any of the variables, is erased: it takes the zero row. Back, it is
    drawn evenly among its values; `every`: not drawn, but each value once, `count` of them."""

    variables: tuple[str, ...]
    every: bool = False

    def corrupt(self, x: State, rng: Stream) -> dict[str, Tensor]:
        chosen = _one_site(x, self.variables, rng)
        return {n: x[n].masked_fill(chosen[n][..., None], 0.0) for n in self.variables}

    def back(self, y: State, count: int, rng: Stream) -> dict[str, Tensor]:
        out = {}
        for lane, name in enumerate(self.variables):
            wide = y[name].repeat_interleave(count, 0)
            erased = wide.sum(-1) < 0.5
            size = wide.shape[-1]
            if self.every:
                if count != size:
                    raise BadQuery(
                        Mistake("negatives", f"{count}, and {name} has {size} values", "as many")
                    )
                place = torch.arange(count, device=wide.device).repeat(len(y[name]))
                place = place.view(-1, *[1] * (wide.dim() - 2)).expand(wide.shape[:-1])
            else:
                draw = rng.fork(lane).integers(len(wide), *wide.shape[1:-1], high=size)
                place = draw.to(wide.device)
            value = torch.eye(size, dtype=wide.dtype, device=wide.device)[place]
            out[name] = torch.where(erased[..., None], value, wide)
        return out


@dataclass(frozen=True)
class Neighbour(Channel):
    """One site of each row, of any of the variables, changes to another value; for images, where
    independent flips of many bits leave nothing to see."""

    variables: tuple[str, ...]

    def corrupt(self, x: State, rng: Stream) -> dict[str, Tensor]:
        chosen = _one_site(x, self.variables, rng)
        out = {}
        for lane, name in enumerate(self.variables):
            size, shape = x[name].shape[-1], x[name].shape[1:-1]
            step = 1 + rng.fork(lane + 1).integers(len(x[name]), *shape, high=size - 1)
            place = (x[name].argmax(-1) + step.to(x[name].device)) % size
            other = torch.eye(size, dtype=x[name].dtype, device=x[name].device)[place]
            out[name] = torch.where(chosen[name][..., None], other, x[name])
        return out

    def back(self, y: State, count: int, rng: Stream) -> dict[str, Tensor]:
        return self.corrupt({n: y[n].repeat_interleave(count, 0) for n in self.variables}, rng)


@dataclass(frozen=True)
class Gaussian(Channel):
    """Real sites: y = x + scale * noise, and the same back (variance 2 scale^2 in all)."""

    variables: tuple[str, ...]
    scale: float

    def __post_init__(self):
        _check("scale", self.scale)

    def corrupt(self, x: State, rng: Stream) -> dict[str, Tensor]:
        return self.back(x, 1, rng)

    def back(self, y: State, count: int, rng: Stream) -> dict[str, Tensor]:
        out = {}
        for lane, name in enumerate(self.variables):
            wide = y[name].repeat_interleave(count, 0)
            noise = rng.fork(lane).normal(len(wide), *wide.shape[1:]).to(wide)
            out[name] = wide + self.scale * noise
        return out


@dataclass(frozen=True)
class Product(Channel):
    """Several channels on different variables: what a mixed schema takes."""

    channels: tuple[Channel, ...]

    def __post_init__(self):
        names = self.variables
        if len(set(names)) < len(names):
            raise BadQuery(Mistake("channels", f"share a variable: {names}", "one channel each"))

    @property
    def variables(self) -> tuple[str, ...]:
        return tuple(name for channel in self.channels for name in channel.variables)

    def corrupt(self, x: State, rng: Stream) -> dict[str, Tensor]:
        each = [c.corrupt(x, rng.fork(k)) for k, c in enumerate(self.channels)]
        return {name: t for one in each for name, t in one.items()}

    def back(self, y: State, count: int, rng: Stream) -> dict[str, Tensor]:
        each = [c.back(y, count, rng.fork(k)) for k, c in enumerate(self.channels)]
        return {name: t for one in each for name, t in one.items()}


# ---------------------------------------------------------------- transition matrices


@lru_cache(maxsize=256)
def uniform_heat(size: int, time: float) -> Tensor:
    """exp(t (11^T / S - I)). -> (S, S) float64"""
    stay = math.exp(-time)
    even = torch.full((size, size), (1 - stay) / size, dtype=torch.float64)
    return even + stay * torch.eye(size, dtype=torch.float64)


@lru_cache(maxsize=256)
def cyclic_heat(size: int, time: float) -> Tensor:
    """Flow on a circle: (1/S) sum_p e^(t (2 cos(2 pi p / S) - 2)) cos(2 pi p (b - a) / S).
    -> (S, S) float64"""
    p = torch.arange(size, dtype=torch.float64)
    decay = torch.exp(time * (2 * torch.cos(2 * math.pi * p / size) - 2))
    row = torch.fft.fft(decay).real / size
    shift = (p[None, :] - p[:, None]).long() % size
    return _normal(row[shift])


@lru_cache(maxsize=256)
def ordinal_heat(size: int, time: float) -> Tensor:
    """Flow on a path with reflecting ends, in the cosine basis. -> (S, S) float64"""
    p = torch.arange(size, dtype=torch.float64)
    decay = torch.exp(time * (2 * torch.cos(math.pi * p / size) - 2))
    basis = math.sqrt(2 / size) * torch.cos(math.pi * p[None, :] * (2 * p[:, None] + 1) / 2 / size)
    basis[:, 0] = size**-0.5  # (a, p)
    return _normal((basis * decay) @ basis.T)


def _normal(matrix: Tensor) -> Tensor:
    """Rounding may leave -1e-17 and sums of 1 + 1e-16."""
    matrix = matrix.clamp(min=0)
    return matrix / matrix.sum(-1, keepdim=True)


def _check(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise BadQuery(Mistake(name, f"{value!r}", "give a number above 0"))


def _one_site(x: State, names: tuple[str, ...], rng: Stream) -> dict[str, Tensor]:
    """One site of each row, drawn evenly over all variables. -> {name: (B, *shape) bool}"""
    counts = [x[n][0, ..., 0].numel() for n in names]
    batch = len(x[names[0]])
    drawn = rng.fork(len(names) + 1).integers(batch, 1, high=sum(counts))  # (B, 1)
    hot = (drawn == torch.arange(sum(counts), device=drawn.device)).split(counts, 1)
    return {
        n: mine.reshape(x[n].shape[:-1]).to(x[n].device) for n, mine in zip(names, hot, strict=True)
    }

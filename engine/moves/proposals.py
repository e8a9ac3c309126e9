"""Proposals for finite sites, drawn from the gradient: one site, a path, one colour, all at once.

A proposal sees the tilt of every literal, half of what the gradient foretells of the log density
when its site takes that value: tilt(i, v) = -beta/2 (g(i, v) - g(i, x_i)); 0 for what stands, -inf
for what evidence forbids. After the energy at the new state is known, it tells the ratio of the
chances of the way back and the way there, so that Metropolis makes each of them exact.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from engine.errors import BadQuery, Mistake
from engine.random import Stream


class Flipped(NamedTuple):
    """A proposed state, and what is needed to judge the way back."""

    hot: Tensor  # (B, C) the proposal
    to: Tensor  # (B, m) literals that become true
    back: Tensor  # (B, m) literals that were true at the same sites
    used: Tensor  # (B, m) bool: which of the m moves count
    log: Tensor  # (B,) ln of the chance of the way there


class Flips(ABC):
    """How finite sites move; `owner` (C,) is the site of each literal."""

    @abstractmethod
    def propose(
        self, tilt: Tensor, hot: Tensor, owner: Tensor, particles: int, rng: Stream
    ) -> Flipped:
        """A new state for each particle, with the chance of the way there. (B, C), (B, C)"""

    @abstractmethod
    def return_log(self, flipped: Flipped, tilt: Tensor, owner: Tensor) -> Tensor:
        """ln of the chance of the way back, under the tilt at the proposed state. -> (B,)"""


@dataclass(frozen=True)
class Single(Flips):
    """One literal of one site, with probability proportional to exp(tilt).

    Source: Grathwohl et al., "Oops I took a gradient", ICML 2021.
    """

    def propose(
        self, tilt: Tensor, hot: Tensor, owner: Tensor, particles: int, rng: Stream
    ) -> Flipped:
        logits = torch.log_softmax(_moves(tilt, hot), 1)
        heap = logits.exp().nan_to_num(0.0).cumsum(1)
        u = rng.uniform(particles, 1, dtype=torch.float64).to(heap.device)
        to = torch.searchsorted(heap, u * heap[:, -1:], right=True).clamp(max=hot.shape[1] - 1)
        back = _true(hot, owner).gather(1, owner[to])
        return Flipped(
            _moved(hot, to, back, torch.ones_like(to, dtype=torch.bool)),
            to,
            back,
            torch.ones_like(to, dtype=torch.bool),
            logits.gather(1, to)[:, 0],
        )

    def return_log(self, flipped: Flipped, tilt: Tensor, owner: Tensor) -> Tensor:
        logits = torch.log_softmax(_moves(tilt, flipped.hot), 1)
        return logits.gather(1, flipped.back)[:, 0]


@dataclass(frozen=True)
class Path(Flips):
    """A path of different sites, one after the other with probability proportional to exp(tilt);
    the way back is the path reversed. Its length is even on length / 2 ... 3 length / 2.

    Source: Sun, Dai, Xia, Ramamurthy, "Path auxiliary proposal for MCMC in discrete space", ICLR
    2022 (the fast sampler: one gradient at each end).
    """

    length: int

    def __post_init__(self):
        if self.length < 1:
            raise BadQuery(Mistake("length", f"{self.length!r}", "give at least 1"))

    def propose(
        self, tilt: Tensor, hot: Tensor, owner: Tensor, particles: int, rng: Stream
    ) -> Flipped:
        sites = int(owner[-1]) + 1
        half = self.length // 2
        most = min(self.length + half, sites)
        weight, mass = _weights(tilt, hot, owner)
        # an exponential race: sites finish in the order of a path
        noise = rng.fork(0).uniform(particles, sites).to(mass)
        finish = noise.log() / mass
        chosen = finish.topk(most, 1).indices  # (B, m) sites in order
        u = rng.fork(1).uniform(particles, most).to(mass)
        back = _true(hot, owner).gather(1, chosen)
        to = back ^ 1 if weight is None else _within(weight, owner, chosen, u)
        length = self.length - half + rng.fork(2).integers(particles, 1, high=2 * half + 1)
        rank = torch.arange(most, device=hot.device)
        used = (rank < length.to(hot.device)) & (mass.gather(1, chosen) > 0)
        log = _path_log(weight, mass, owner, to, used, False)
        return Flipped(_moved(hot, to, back, used), to, back, used, log)

    def return_log(self, flipped: Flipped, tilt: Tensor, owner: Tensor) -> Tensor:
        weight, mass = _weights(tilt, flipped.hot, owner)
        return _path_log(weight, mass, owner, flipped.back, flipped.used, True)


@dataclass(frozen=True)
class Parallel(Flips):
    """Every site by itself, with probability proportional to exp(tilt - [v changes] / step): the
    discrete Langevin proposal.

    Source: Zhang, Liu, Liu, "A Langevin-like sampler for discrete distributions", ICML 2022.
    """

    step: float

    def __post_init__(self):
        if not self.step > 0:
            raise BadQuery(Mistake("step", f"{self.step!r}", "give a number above 0"))

    def propose(
        self, tilt: Tensor, hot: Tensor, owner: Tensor, particles: int, rng: Stream
    ) -> Flipped:
        sites = int(owner[-1]) + 1
        keys = tilt - (hot < 0.5) / self.step
        noise = rng.uniform(particles, keys.shape[1]).to(keys.device)
        _, to = _best(keys - torch.log(-torch.log(noise.double())), owner, sites)
        back = _true(hot, owner)
        used = torch.ones_like(to, dtype=torch.bool)
        moved = _moved(hot, to, back, used)
        return Flipped(moved, to, back, used, self._log(tilt, hot, owner, to))

    def return_log(self, flipped: Flipped, tilt: Tensor, owner: Tensor) -> Tensor:
        return self._log(tilt, flipped.hot, owner, flipped.back)

    def _log(self, tilt: Tensor, hot: Tensor, owner: Tensor, to: Tensor) -> Tensor:
        keys = tilt - (hot < 0.5) / self.step
        whole = site_sum(keys.exp(), owner).log().sum(1)
        return keys.gather(1, to).sum(1) - whole


@dataclass(frozen=True)
class Colored(Flips):
    """Every site of one colour, drawn evenly for each particle, takes a value with probability
    proportional to exp(2 tilt), which is what the gradient foretells of its conditional.

    colors: of each site, 0 and up. Where the energy is affine and no two sites of a colour share a
    part of it, the foretold law is the true one, every proposal is taken, and a round over the
    colours is a sweep of Gibbs sampling by as many gradients. Elsewhere Metropolis makes up for
    the difference. `colors_of` of `independent` finds colours for any energy with gradients.
    Source: Gonzalez, Low, Gretton, Guestrin, "Parallel Gibbs sampling", AISTATS 2011.
    """

    colors: tuple[int, ...]

    def __post_init__(self):
        if not self.colors or min(self.colors) < 0:
            raise BadQuery(Mistake("colors", f"{self.colors!r}", "give one from 0 up a site"))

    def propose(
        self, tilt: Tensor, hot: Tensor, owner: Tensor, particles: int, rng: Stream
    ) -> Flipped:
        sites = int(owner[-1]) + 1
        if len(self.colors) != sites:
            problem = f"are {len(self.colors)}, and the energy has {sites} finite sites"
            raise BadQuery(Mistake("colors", problem, "give one a site"))
        colors = torch.tensor(self.colors, device=hot.device)
        turn = rng.fork(0).integers(particles, 1, high=int(colors.max()) + 1).to(hot.device)
        used = colors == turn  # (B, n)
        noise = rng.fork(1).uniform(particles, sites, dtype=torch.float64).to(hot.device)
        back = _true(hot, owner)
        if _width(owner) == 2:
            change = 2 * (tilt[:, ::2] + tilt[:, 1::2])  # what stands has none
            to = torch.where(noise < 1 / (1 + (-change.double()).exp()), back ^ 1, back)
        else:
            every = torch.arange(sites, device=hot.device).expand(used.shape)
            to = _within((2 * tilt.double()).exp(), owner, every, noise)
        return Flipped(_moved(hot, to, back, used), to, back, used, _own(tilt, owner, to, used))

    def return_log(self, flipped: Flipped, tilt: Tensor, owner: Tensor) -> Tensor:
        return _own(tilt, owner, flipped.back, flipped.used)


def _own(tilt: Tensor, owner: Tensor, literal: Tensor, used: Tensor) -> Tensor:
    """ln of the chance that each used site takes its literal. (B, C), (B, n), (B, n) -> (B,)"""
    foretold = 2 * tilt.double()
    log = foretold.gather(1, literal) - site_sum(foretold.exp(), owner).log()
    return torch.where(used, log, 0.0).sum(1)


def _moves(tilt: Tensor, hot: Tensor) -> Tensor:
    """The tilts of literals that would change something."""
    return tilt.masked_fill(hot > 0.5, -torch.inf)


def _weights(tilt: Tensor, hot: Tensor, owner: Tensor) -> tuple[Tensor | None, Tensor]:
    """exp(tilt) of literals that would change something, over the largest, and its sum at each
    site. -> (B, C), (B, n); at sites of two values there is one such literal: None, (B, n)"""
    two = _width(owner) == 2
    moves = tilt[:, ::2] + tilt[:, 1::2] if two else _moves(tilt, hot)
    top = moves.max(1, keepdim=True).values.nan_to_num(0.0, 0.0, 0.0)
    weight = (moves - top).exp_()
    return (None, weight) if two else (weight, site_sum(weight, owner))


def _width(owner: Tensor) -> int:
    """How many literals each site has, 0 where they differ."""
    width, rest = divmod(len(owner), int(owner[-1]) + 1)
    return width if not rest and bool((owner[width - 1 :: width] == owner[::width]).all()) else 0


def _within(weight: Tensor, owner: Tensor, chosen: Tensor, u: Tensor) -> Tensor:
    """A literal of each chosen site, in proportion to its weight. (B, C), (B, m) -> (B, m)"""
    size = torch.bincount(owner)
    start = (size.cumsum(0) - size)[chosen]
    wide = int(size.max())
    step = torch.arange(wide, device=owner.device)
    inside = step < size[chosen][..., None]  # (B, m, k)
    at = (start[..., None] + step).clamp(max=len(owner) - 1)
    mine = weight.gather(1, at.flatten(1)).reshape(at.shape).masked_fill(~inside, 0.0)
    heap = mine.cumsum(-1)
    place = (heap <= u[..., None] * heap[..., -1:]).sum(-1)
    return start + torch.minimum(place, size[chosen] - 1)


def _true(hot: Tensor, owner: Tensor) -> Tensor:
    """The literal that is true at each site. (B, C) -> (B, n)"""
    width, sites = _width(owner), int(owner[-1]) + 1
    if width == 2:
        return (hot[:, 1::2] > 0.5).long() + 2 * torch.arange(sites, device=hot.device)
    return _best(hot, owner, sites)[1]


def _best(keys: Tensor, owner: Tensor, sites: int) -> tuple[Tensor, Tensor]:
    """The largest key of each site, and its literal. (B, C) -> (B, n), (B, n)"""
    width = _width(owner)
    if width:
        best, place = keys.reshape(len(keys), sites, width).max(-1)
        return best, place + width * torch.arange(sites, device=keys.device)
    wide = owner.expand(keys.shape)
    lowest = keys.new_full((len(keys), sites), -torch.inf)
    best = lowest.scatter_reduce(1, wide, keys, "amax")
    tie = torch.where(
        keys == best.gather(1, wide), torch.arange(len(owner), device=keys.device), -1
    )
    none = torch.full((len(keys), sites), -1, device=keys.device)
    return best, none.scatter_reduce(1, wide, tie, "amax")


def spread(values: Tensor, owner: Tensor) -> Tensor:
    """What stands at each site, at each of its literals. (B, n) -> (B, C)"""
    width = _width(owner)
    if width:
        return values[..., None].expand(*values.shape, width).flatten(1)
    return values[:, owner]


def site_sum(values: Tensor, owner: Tensor) -> Tensor:
    """(B, C) -> (B, n)"""
    width, sites = _width(owner), int(owner[-1]) + 1
    if width == 2:
        return values[:, ::2] + values[:, 1::2]
    if width:
        return values.reshape(len(values), sites, width).sum(-1)
    return values.new_zeros(len(values), sites).index_add(1, owner, values)


def _moved(hot: Tensor, to: Tensor, back: Tensor, used: Tensor) -> Tensor:
    """The state in which the used moves are made."""
    change = used.to(hot.dtype)
    return hot.scatter_add(1, back, -change).scatter_add_(1, to, change)


def _path_log(
    weight: Tensor | None, mass: Tensor, owner: Tensor, literal: Tensor, used: Tensor, reverse: bool
) -> Tensor:
    """ln of the chance of a path: sum_k ln(w_k / what is left before k). -> (B,) float64

    Sites leave as they are taken, in order, or from the last used one back.
    """
    own = mass.gather(1, owner[literal]).double()
    each = torch.where(used, own, 0.0)
    rest = (mass.sum(1, dtype=torch.float64) - each.sum(1)).clamp(min=0.0)[:, None]
    left = each.cumsum(1) if reverse else each.flip(1).cumsum(1).flip(1)
    taken = own if weight is None else weight.gather(1, literal).double()
    log = taken.log() - (rest + left).log()
    return torch.where(used, log, 0.0).sum(1)

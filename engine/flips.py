"""Proposals for finite sites, drawn from the gradient: one site, a path of sites, all at once.

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
    the way back is the path reversed. Its length is even on 1 ... 2 length - 1.

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
        most = min(2 * self.length - 1, sites)
        weight = _moves(tilt, hot)
        noise = rng.fork(0).uniform(particles, weight.shape[1]).to(weight.device)
        keys = weight - torch.log(-torch.log(noise.double()))  # Gumbel: the order is a path
        best, literal = _best(keys, owner, sites)
        chosen = best.topk(most, 1).indices  # (B, m) sites in order
        to, back = literal.gather(1, chosen), _true(hot, owner).gather(1, chosen)
        length = 1 + rng.fork(1).integers(particles, 1, high=2 * self.length - 1)
        rank = torch.arange(most, device=hot.device)
        used = (rank < length.to(hot.device)) & best.gather(1, chosen).isfinite()
        log = _path_log(weight, owner, to, used, False)
        return Flipped(_moved(hot, to, back, used), to, back, used, log)

    def return_log(self, flipped: Flipped, tilt: Tensor, owner: Tensor) -> Tensor:
        weight = _moves(tilt, flipped.hot)
        return _path_log(weight, owner, flipped.back, flipped.used, True)


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
        whole = _site_sum(keys.exp(), owner).log().sum(1)
        return keys.gather(1, to).sum(1) - whole


def _moves(tilt: Tensor, hot: Tensor) -> Tensor:
    """The tilts of literals that would change something."""
    return tilt.masked_fill(hot > 0.5, -torch.inf)


def _true(hot: Tensor, owner: Tensor) -> Tensor:
    """The literal that is true at each site. (B, C) -> (B, n)"""
    return _best(hot, owner, int(owner[-1]) + 1)[1]


def _best(keys: Tensor, owner: Tensor, sites: int) -> tuple[Tensor, Tensor]:
    """The largest key of each site, and its literal. (B, C) -> (B, n), (B, n)"""
    width, rest = divmod(len(owner), sites)
    if not rest and bool((owner[::width] == torch.arange(sites, device=owner.device)).all()):
        best, place = keys.reshape(len(keys), sites, width).max(-1)
        return best, place + width * torch.arange(sites, device=keys.device)
    wide = owner.expand(keys.shape)
    lowest = keys.new_full((len(keys), sites), -torch.inf)
    best = lowest.scatter_reduce(1, wide, keys, "amax")
    tie = torch.where(keys == best.gather(1, wide), torch.arange(len(owner)).to(keys.device), -1)
    none = torch.full((len(keys), sites), -1, device=keys.device)
    return best, none.scatter_reduce(1, wide, tie, "amax")


def _site_sum(values: Tensor, owner: Tensor) -> Tensor:
    """(B, C) -> (B, n)"""
    width = int(owner[-1]) + 1
    return values.new_zeros(len(values), width).index_add(1, owner, values)


def _moved(hot: Tensor, to: Tensor, back: Tensor, used: Tensor) -> Tensor:
    """The state in which the used moves are made."""
    off = torch.zeros_like(hot).scatter(1, back, used.to(hot.dtype))
    on = torch.zeros_like(hot).scatter(1, to, used.to(hot.dtype))
    return hot - off + on


def _path_log(
    weight: Tensor, owner: Tensor, literal: Tensor, used: Tensor, reverse: bool
) -> Tensor:
    """ln of the chance of a path: sum_k ln(w_k / what is left before k). -> (B,)

    Sites leave as they are taken, in order, or from the last used one back.
    """
    top = weight.max(1, keepdim=True).values.nan_to_num(0.0, 0.0, 0.0)
    mass = _site_sum((weight - top).exp(), owner)  # (B, n)
    site = owner[literal]
    each = torch.where(used, mass.gather(1, site), 0.0)
    rest = mass.sum(1, keepdim=True) - each.sum(1, keepdim=True)
    rest = rest.clamp(min=0.0)
    left = each.cumsum(1) if reverse else each.flip(1).cumsum(1).flip(1)
    log = weight.gather(1, literal) - top - (rest + left).log()
    return torch.where(used, log, 0.0).sum(1)

"""Denoising diffusion: a network tells the noise in noised data, and so steps back from noise.

    y = a_k x + (1 - a_k^2)^(1/2) e;   loss = mean |e - net(y, k)|^2,   k even in 0 ... T - 1
    back: x_(t+1) ~ N((y - b_k e^ / (1 - a_k^2)^(1/2)) / (1 - b_k)^(1/2), v_k I),   k = T - 1 - t
    v_k = b_k (1 - a_(k-1)^2) / (1 - a_k^2),   a_k^2 = product of 1 - b up to k

The plain way to a sampler of T steps, to be improved by `max_entropy_irl`, or its peer. Sources:
Ho, Jain, Abbeel, "Denoising diffusion probabilistic models", NeurIPS 2020; the cosine schedule:
Nichol, Dhariwal, ICML 2021.
"""

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.domain import State
from engine.errors import BadQuery, Mistake
from engine.learning.objective import Nets, Objective, Update
from engine.learning.refiner import QUICK, Refiner
from engine.random import Stream

LAST = 1e-2  # sigma of the last step, which is 0 in theory, as a share of the one before


class Denoised(nn.Module):
    """How far the mean of a step back lies from where it starts. net: (y, k) -> the noise in y;
    spread: b_k, from data to noise."""

    keep: Tensor
    share: Tensor

    def __init__(self, net: nn.Module, spread: Sequence[float]):
        super().__init__()
        wrong = [
            Mistake(f"spread[{k}]", f"{b!r}", "give a number above 0 and below 1")
            for k, b in enumerate(spread)
            if not 0 < b < 1
        ]
        if wrong:
            raise BadQuery(*wrong)
        self.net = net
        b = torch.tensor(spread, dtype=torch.float64)
        self.register_buffer("spread", b.float(), persistent=False)
        self.register_buffer("share", (1 - b).cumprod(0).float(), persistent=False)  # a_k^2
        self.spread: Tensor

    def noised(self, x: Tensor, k: Tensor, noise: Tensor) -> Tensor:
        """y. (B, *event), (B,), like x -> like x"""
        share = self.share[k].reshape(-1, *[1] * (x.dim() - 1))
        return share.sqrt() * x + (1 - share).sqrt() * noise

    def forward(self, y: Tensor, t: Tensor) -> Tensor:  # (B, *event), (B,) -> (B, *event)
        k = len(self.spread) - 1 - t
        one = [-1, *[1] * (y.dim() - 1)]
        b, share = self.spread[k].reshape(one), self.share[k].reshape(one)
        mean = (y - b / (1 - share).sqrt() * self.net(y, k)) / (1 - b).sqrt()
        return mean - y


def diffusing(net: nn.Module, event: tuple[int, ...], spread: Sequence[float]) -> Refiner:
    """The sampler that steps back along a schedule, `spread` from data to noise."""
    mean = Denoised(net, spread)
    share = mean.share.double()
    before = torch.cat([torch.ones(1, dtype=torch.float64), share[:-1]])
    sigma = (mean.spread.double() * (1 - before) / (1 - share)).sqrt().flip(0)
    if len(sigma) > 1:
        sigma[-1] = LAST * sigma[-2]
    else:
        sigma[-1] = LAST
    out = Refiner(mean, event, len(sigma))
    with torch.no_grad():
        out.slow.copy_(sigma.log() / QUICK)
    return out


def cosine(steps: int, most: float = 0.999) -> list[float]:
    """b_k of the schedule whose a_k^2 falls like a squared cosine, from data to noise."""
    level = [math.cos((k / steps + 0.008) / 1.008 * math.pi / 2) ** 2 for k in range(steps + 1)]
    return [min(most, 1 - b / a) for a, b in zip(level, level[1:], strict=False)]


@dataclass(frozen=True)
class DenoisingDiffusion(Objective[tuple[()]]):
    """Over the net "refiner", made by `diffusing`; its sigmas stay. Batches: of one variable."""

    clip: float | None = 1.0

    def start(self, nets: Nets, rng: Stream) -> tuple[()]:
        _denoised(nets)
        return ()

    def updates(
        self, nets: Nets, batch: State, s: tuple[()], rng: Stream
    ) -> Generator[Update, None, tuple[()]]:
        mean = _denoised(nets)
        (x,) = batch.values()
        x = x.to(mean.share)
        k = (rng.fork(0).uniform(len(x)) * len(mean.share)).long().clamp(max=len(mean.share) - 1)
        noise = rng.fork(1).normal(len(x), *x.shape[1:]).to(x)
        missed = mean.net(mean.noised(x, k, noise), k) - noise
        yield Update("refiner", missed.square().mean(), self.clip)
        return s


def _denoised(nets: Nets) -> Denoised:
    refiner = nets.get("refiner")
    if not isinstance(refiner, Refiner) or not isinstance(refiner.net, Denoised):
        said = "is no sampler of a diffusion"
        raise BadQuery(Mistake("nets.refiner", said, "make it by `diffusing`"))
    return refiner.net

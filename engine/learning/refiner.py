"""A sampler that is learned: a few Gaussian steps from noise to data.

x_0 ~ N(0, I);   x_(t+1) ~ N(x_t + net(x_t, t), sigma_t^2 I),   t = 0 ... T - 1
"""

import math

import torch
from torch import Tensor, nn

from engine.errors import BadQuery, Mistake
from engine.random import Stream

NOISE, STEP = 421, 422  # lanes of the stream
QUICK = 10.0  # ln sigma moves so much faster than a weight of the networks, under Adam
WIDTH = 128
PITCH = 1.5  # of waves, for states whose heaps lie a few units apart


class Waves(nn.Module):
    """x with what it is in waves drawn once, [x, sin(x w), cos(x w)],  w ~ N(0, pitch^2).

    Dense networks learn what turns within a short way last; given waves, they learn it at once, and
    no direction is dearer than another. Source: Tancik et al., "Fourier features let networks learn
    high frequency functions in low dimensional domains", NeurIPS 2020.
    """

    way: Tensor

    def __init__(self, size: int, count: int, pitch: float = PITCH):
        super().__init__()
        self.register_buffer("way", pitch * torch.randn(size, count))

    def forward(self, x: Tensor) -> Tensor:  # (B, size) -> (B, size + 2 count)
        turned = x @ self.way
        return torch.cat([x, turned.sin(), turned.cos()], 1)


class Timed(nn.Module):
    """A dense network that knows the time: three linear maps, the first with an offset for each of
    `times` times. `out` is the shape of what it says of a state, () for a number. waves: how many
    `Waves` it sees a state in, too."""

    def __init__(
        self,
        event: tuple[int, ...],
        out: tuple[int, ...],
        times: int,
        width: int = WIDTH,
        waves: int = 0,
    ):
        super().__init__()
        self.event, self.out, self.width = tuple(event), tuple(out), width
        size = math.prod(event)
        self.seen = Waves(size, waves) if waves else nn.Identity()
        self.first = nn.Linear(size + 2 * waves, width)
        self.at = nn.Embedding(times, width)
        self.rest = nn.Sequential(
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, math.prod(out)),
        )

    def forward(self, x: Tensor, t: Tensor) -> Tensor:  # (B, *event), (B,) -> (B, *out)
        hidden = self.first(self.seen(x.reshape(len(x), -1))) + self.at(t)
        return self.rest(hidden).reshape(len(x), *self.out)


class Refiner(nn.Module):
    """T Gaussian steps over states of a shape. net: (x, t) -> how far the mean lies from x.

    first, last: sigma at the beginning, falling evenly in its logarithm to that of the last step.
    ending: whether the last sigma learns, too; for pictures it stays, at the noise of the data.
    """

    def __init__(
        self,
        net: nn.Module,
        event: tuple[int, ...],
        steps: int,
        first: float = 1.0,
        last: float = 0.3,
        ending: bool = True,
    ):
        super().__init__()
        if steps < 1:
            raise BadQuery(Mistake("steps", f"{steps!r}", "give at least 1"))
        wrong = [
            Mistake(name, f"{value!r}", "give a number above 0")
            for name, value in (("first", first), ("last", last))
            if not 0 < value < math.inf
        ]
        if wrong:
            raise BadQuery(*wrong)
        self.net, self.event, self.steps, self.ending = net, tuple(event), steps, ending
        self.slow = nn.Parameter(torch.linspace(math.log(first), math.log(last), steps) / QUICK)

    @property
    def log_sigma(self) -> Tensor:
        """ln sigma_t of every step. -> (T,)"""
        log = QUICK * self.slow
        return log if self.ending else torch.cat([log[:-1], log[-1:].detach()])

    def step(self, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """x_(t+1), with slopes towards the parameters. (B, *event), (B,), like x -> like x"""
        sigma = self.log_sigma[t].exp().reshape(-1, *[1] * len(self.event))
        return x + self.net(x, t) + sigma * noise

    @torch.no_grad()
    def path(
        self, particles: int, rng: Stream, seen: Tensor | None = None, there: Tensor | None = None
    ) -> Tensor:
        """x_0 ... x_T of R rows of particles. -> (T + 1, R * particles, *event)

        Entries that are `there` are pulled to those `seen`, by 1 / (steps left) of the way after
        each step, and end where they were seen; both (R * particles, *event).
        """
        x = rng.fork(NOISE).normal(particles, *self.event).to(self.slow)
        out = [x]
        for t in range(self.steps):
            noise = rng.fork(STEP).fork(t).normal(particles, *self.event).to(x)
            x = self.step(x, torch.full((len(x),), t, device=x.device), noise)
            if seen is not None and there is not None:
                near = x + (seen.to(x) - x) / (self.steps - t)
                x = torch.where(there, near, x)
            out.append(x)
        return torch.stack(out)

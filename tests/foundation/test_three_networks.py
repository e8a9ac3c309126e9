"""Three networks in turn over points of a plane: an energy of the points, a generator that makes
them from a latent number, and an encoder that tells the number from a point."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from engine import Real, Term, Variable
from engine.learning.examples import Stored
from engine.learning.objective import Objective, Update, problem_of
from engine.learning.optimizers import Adam, AdamW
from engine.learning.recipe import Recipe
from engine.learning.train import train
from engine.moves.langevin import Langevin

SCALE, SHIFT, NOISE = (1.5, -1.0), (0.5, -1.0), 0.5  # x = SCALE z + SHIFT + NOISE e, z and e normal


@dataclass(frozen=True)
class Teaching(Objective[tuple[()]]):
    """The energy by likelihood, its negatives made by the generator and moved by Langevin steps;
    the generator by likelihood of data and negatives, whose latents the encoder draws (wake); the
    encoder by likelihood of latents whose points the generator has made (sleep). Sources: Cui and
    Han, NeurIPS 2023; Hinton, Dayan, Frey, Neal, Science 1995."""

    sampler: Langevin
    moves: int = 15
    noise: float = NOISE  # of what the generator makes

    def start(self, nets, rng):
        return ()

    def updates(self, nets, batch, s, rng):
        energy, size = nets["energy"], len(batch["x"])
        _, made = self.dreamt(nets, size, rng.fork(0))
        seen = self.sampler.walk(problem_of(energy), {"x": made}, self.moves, rng.fork(1))
        yield Update("energy", energy(batch).mean() - energy(seen).mean())
        x = torch.cat([batch["x"], seen["x"]])
        mean, log = nets["encoder"](x)
        z = mean + log.exp() * rng.fork(2).normal(len(x), 1, dtype=x.dtype)
        missed = (x - nets["generator"](z.detach())).square().sum(1)
        yield Update("generator", missed.mean() / (2 * self.noise**2), clip=10.0)
        z, x = self.dreamt(nets, size, rng.fork(3))  # by the step that was taken
        mean, log = nets["encoder"](x)
        yield Update("encoder", (((z - mean) / log.exp()).square() / 2 + log).mean())
        return s

    def dreamt(self, nets, count, rng):
        """Latents and their points. -> (count, 1), (count, 2)"""
        z, e = (rng.fork(k).normal(count, k + 1, dtype=torch.float64) for k in (0, 1))
        return z, (nets["generator"](z) + self.noise * e).detach()


class Bowl(Term):
    """E = |(x - m)^T L|^2 / 2"""

    dtype = torch.float64

    def __init__(self):
        super().__init__(Variable("x", Real((2,))))
        self.root = nn.Parameter(torch.eye(2, dtype=torch.float64))
        self.mean = nn.Parameter(torch.zeros(2, dtype=torch.float64))

    def energy(self, x):  # (B, 2) -> (B,)
        return ((x - self.mean) @ self.root).square().sum(1) / 2


class Encoder(nn.Module):
    """The mean of a latent, and ln of its spread."""

    def __init__(self):
        super().__init__()
        self.line = nn.Linear(2, 1, dtype=torch.float64)
        self.log = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, x):  # (B, 2) -> (B, 1), ()
        return self.line(x), self.log


def examples() -> Stored:
    rng = torch.Generator().manual_seed(0)
    z, e = (torch.randn(20_000, n, generator=rng, dtype=torch.float64) for n in (1, 2))
    return Stored({"x": z * torch.tensor(SCALE) + torch.tensor(SHIFT) + NOISE * e})


def misses(objective: Teaching) -> dict[str, float]:
    """How far what was learned is from the closed form, at worst; the sign of z is free."""
    torch.manual_seed(1)
    generator = nn.Linear(1, 2, dtype=torch.float64)
    energy, encoder = Bowl(), Encoder()
    nets = {"energy": energy, "generator": generator, "encoder": encoder}
    step = {"generator": Adam(0.02, betas=(0.0, 0.9)), "encoder": AdamW(0.03)}
    train(objective, nets, examples(), Recipe(500, 256, 0.03, step, average=0.98))
    scale, shift = (torch.tensor(t, dtype=torch.float64) for t in (SCALE, SHIFT))
    room = NOISE**2 + scale.square().sum()
    sharp = (torch.outer(scale, scale) + NOISE**2 * torch.eye(2)).inverse()
    back = scale / room  # the mean of z given x is back (x - shift), its spread NOISE / room^(1/2)
    sign = torch.sign(generator.weight[0, 0])
    found = {
        "energy": (energy.root @ energy.root.T - sharp, energy.mean - shift),
        "generator": (sign * generator.weight[:, 0] - scale, generator.bias - shift),
        "encoder": (
            sign * encoder.line.weight[0] - back,
            sign * encoder.line.bias + back @ shift,
            encoder.log.exp() - NOISE / math.sqrt(room),
        ),
    }
    return {n: max(float(t.detach().abs().max()) for t in each) for n, each in found.items()}


@pytest.mark.slow
def test_each_network_learns_what_is_known() -> None:
    found = misses(Teaching(Langevin(0.3)))
    assert found["energy"] < 0.1 and found["generator"] < 0.06 and found["encoder"] < 0.04


def test_a_generator_of_other_noise_is_seen() -> None:
    """Planted: the points it makes lie closer than those of the data, and the encoder is misled."""
    assert misses(Teaching(Langevin(0.3), moves=2, noise=0.25))["encoder"] > 0.1

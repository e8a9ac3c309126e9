"""Eight Gaussians in the plane, learned by samplers of few steps; how far from the truth."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from engine.domain import Real, Variable
from engine.energy import Term
from engine.learning.examples import Drawn
from engine.learning.objectives.denoising_diffusion import DenoisingDiffusion, diffusing
from engine.learning.objectives.max_entropy_irl import MaxEntropyIRL
from engine.learning.optimizers import Adam
from engine.learning.recipe import Recipe
from engine.learning.refiner import Refiner, Timed, Waves
from engine.learning.train import train
from engine.random import Stream
from tests.support.planar import points

POINTS, DIRECTIONS = 10_000, 200
BOX = 4.0  # half a side of the square of even noise
RATE, AVERAGE, BATCH = 1e-3, 0.999, 256


class How(NamedTuple):
    """Networks of the plane and how fast they learn. waves: that all of them see points in. energy,
    others: rates. average: memory of the running mean."""

    width: int = 128
    waves: int = 0
    energy: float = RATE
    others: float = RATE
    average: float = AVERAGE


PLAIN = How()
WAVY = How(64, 16, 1e-3, 4e-3, 0.998)


def stream(seed: int) -> Stream:
    """Of one row."""
    return Stream(seed, torch.zeros(1, dtype=torch.int64))


DATA = Drawn(lambda size, rng: {"x": points("8gaussians", size, rng).float()}, "8gaussians")


class Plane(Term):
    """E = net(x); a small network over the plane."""

    affine = False

    def __init__(self, width: int = 128, waves: int = 0):
        super().__init__(Variable("x", Real((2,))))
        self.net = nn.Sequential(
            Waves(2, waves) if waves else nn.Identity(),
            nn.Linear(2 + 2 * waves, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, 1),
        )

    def energy(self, x: Tensor) -> Tensor:  # (B, 2) -> (B,)
        return self.net(x)[:, 0]


def refined(
    objective: MaxEntropyIRL, steps: int, updates: int, seed: int, how: How = PLAIN
) -> tuple[Plane, Refiner]:
    """An energy and a sampler of `steps` steps, learned together from nothing."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        energy, value = Plane(how.width, how.waves), Timed((2,), (), steps, how.width, how.waves)
        refiner = Refiner(Timed((2,), (2,), steps, how.width, how.waves), (2,), steps)
    nets = {"energy": energy, "value": value, "refiner": refiner}
    each = {"energy": Adam(how.energy, (0.0, 0.9)), "refiner": Adam(how.others, (0.0, 0.9))}
    each["value"] = Adam(how.others)
    recipe = Recipe(updates, BATCH, optimizers=each, average=how.average, every=updates, seed=seed)
    train(objective, nets, DATA, recipe)
    return energy, refiner


def diffused(spread: list[float], updates: int, seed: int) -> Refiner:
    """The plain peer: as many steps by denoising diffusion, from a network without waves, which
    serve it worse: its first step multiplies every error by up to 30."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        refiner = diffusing(Timed((2,), (2,), len(spread)), (2,), spread)
    each = {"refiner": Adam(RATE)}
    recipe = Recipe(updates, BATCH, optimizers=each, average=AVERAGE, every=updates, seed=seed)
    train(DenoisingDiffusion(), {"refiner": refiner}, DATA, recipe)
    return refiner


def fresh(seed: int, count: int = POINTS) -> Tensor:
    """Points of the eight Gaussians. -> (count, 2) float32"""
    return points("8gaussians", count, stream(seed).fork(1)).float()


def ends(refiner: Refiner, seed: int, count: int = POINTS) -> Tensor:
    """Where the sampler ends. -> (count, *event)"""
    return refiner.path(count, stream(seed).fork(2))[-1]


def sliced(a: Tensor, b: Tensor, seed: int = 0) -> float:
    """Sliced Wasserstein-2 of as many points: root of the mean over directions of W2^2. (N, d)"""
    way = stream(seed).fork(3).normal(DIRECTIONS, a.shape[1]).T
    way = way / way.norm(dim=0)
    apart = (a @ way).sort(0).values - (b @ way).sort(0).values
    return float(apart.square().mean().sqrt())


def area(usual: Tensor, odd: Tensor) -> float:
    """The chance that an odd score lies above a usual one, ties half. (N,), (M,)"""
    both = torch.cat([usual, odd]).double()
    value, place = both.unique(return_inverse=True)
    count = torch.bincount(place, minlength=len(value)).double()
    rank = (count.cumsum(0) - (count - 1) / 2)[place]
    n, m = len(usual), len(odd)
    return float((rank[n:].sum() - m * (m + 1) / 2) / (n * m))


def even_noise(seed: int, count: int = POINTS) -> Tensor:
    """Points of the square. -> (count, 2)"""
    return BOX * (2 * stream(seed).fork(4).uniform(count, 2) - 1)


def ceiling(seed: int) -> float:
    """What the density itself has as `area`, against even noise."""
    return area(exact_energy(fresh(seed)), exact_energy(even_noise(seed)))


def exact_energy(x: Tensor) -> Tensor:
    """-ln p up to a constant. (N, 2) -> (N,)"""
    turn = torch.arange(8) * math.pi / 4
    middle = 4 / 1.414 * torch.stack([turn.cos(), turn.sin()], 1)
    return -torch.logsumexp(-(x[:, None] - middle).square().sum(2) / (2 * (0.5 / 1.414) ** 2), 1)


def modes(x: Tensor, least: float = 0.05) -> int:
    """How many of the eight have this share of the points. (N, 2)"""
    turn = torch.arange(8) * math.pi / 4
    middle = 4 / 1.414 * torch.stack([turn.cos(), turn.sin()], 1)
    share = torch.bincount(torch.cdist(x, middle).argmin(1), minlength=8) / len(x)
    return int((share >= least).sum())

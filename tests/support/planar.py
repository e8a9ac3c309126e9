"""The seven 2-D sets as bit strings: generators, densities, floors, likelihood, discrepancy.

A point is 2 x 16 bits, a sign and 15 Gray bits an axis (or fewer for the small twin). Generators
after Grathwohl et al., FFJORD, 2019; the encoding and both scores after Dai et al., ALOE, 2020,
and Zhang et al., EB-GFN, 2022. Every density is known here, so that a likelihood can be compared
with its floor: entropy + 2 ln(cells per unit).
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from engine.domain import Finite, Variable
from engine.energy import Term
from engine.learning.examples import Drawn
from engine.learning.objective import Objective
from engine.learning.objectives.pseudo_likelihood import PseudoLikelihood
from engine.learning.recipe import Recipe
from engine.learning.train import train
from engine.random import Stream

SETS = ("2spirals", "8gaussians", "circles", "moons", "pinwheel", "swissroll", "checkerboard")
LATENT = 2000  # points on a curve in the quadrature of a density


# ---------------------------------------------------------------- points and densities


def _curve(name: str, t: Tensor) -> tuple[Tensor, float]:
    """The noiseless point of a latent t in (0, 1), and the noise around it. (n,) -> (n, 2)"""
    pi = math.pi
    if name == "swissroll":
        a = 1.5 * pi * (1 + 2 * t)
        return torch.stack([a * a.cos(), a * a.sin()], -1) / 5, 0.2
    if name == "circles":
        radius = torch.where(t < 0.5, 3.0, 1.5)[:, None]
        return radius * torch.stack([(4 * pi * t).cos(), (4 * pi * t).sin()], -1), 0.24
    if name == "moons":
        a = 2 * pi * t
        upper = torch.stack([a.cos(), a.sin()], -1)
        lower = torch.stack([1 - (a - pi).cos(), 0.5 - (a - pi).sin()], -1)
        shift = torch.tensor([-1.0, -0.2], dtype=t.dtype)
        return 2 * torch.where(t[:, None] < 0.5, upper, lower) + shift, 0.2
    if name == "8gaussians":
        a = (8 * t).floor() * pi / 4
        return 4 / 1.414 * torch.stack([a.cos(), a.sin()], -1), 0.5 / 1.414
    assert name == "2spirals", name
    side = torch.where(t < 0.5, 1.0, -1.0).to(t.dtype)[:, None]
    a = ((2 * t) % 1).sqrt() * 3 * pi
    return side * torch.stack([-a.cos() * a, a.sin() * a], -1) / 3, 0.1


BOX = 0.5 / 3  # the spirals are also shifted evenly within a square of this side


def points(name: str, count: int, rng: Stream) -> Tensor:
    """Fresh points of a set. -> (count, 2) float64"""
    t = rng.fork(0).uniform(count, dtype=torch.float64)
    noise = rng.fork(1).normal(count, 2, dtype=torch.float64)
    square = rng.fork(2).uniform(count, 2, dtype=torch.float64)
    if name == "checkerboard":
        x = 4 * t - 2
        y = square[:, 0] - 2 * (square[:, 1] < 0.5) + x.floor() % 2
        return 2 * torch.stack([x, y], -1)
    if name == "pinwheel":
        feature = noise * torch.tensor([0.3, 0.1]) + torch.tensor([1.0, 0.0])
        return 2 * _turned(feature, (5 * t).floor())
    middle, spread = _curve(name, t)
    if name == "2spirals":
        middle = middle + BOX * square * torch.where(t < 0.5, 1.0, -1.0)[:, None]
    return middle + spread * noise


def _turned(feature: Tensor, arm: Tensor) -> Tensor:
    """A point of the pinwheel: a feature turned by the angle of its arm and of its length."""
    a = arm * 2 * math.pi / 5 + 0.25 * feature[..., 0].exp()
    x, y = feature.unbind(-1)
    return torch.stack([x * a.cos() + y * a.sin(), -x * a.sin() + y * a.cos()], -1)


def log_density(name: str, x: Tensor) -> Tensor:
    """ln p of points, by quadrature over the latent. (n, 2) -> (n,)"""
    if name == "checkerboard":
        return torch.full((len(x),), -math.log(32), dtype=x.dtype)
    if name == "pinwheel":
        return _pinwheel(x)
    t = (torch.arange(LATENT, dtype=x.dtype) + 0.5) / LATENT
    middle, spread = _curve(name, t)
    out = []
    for part in x.split(2000):
        step = part[:, None] - middle
        if name == "2spirals":
            side = torch.where(t < 0.5, 1.0, -1.0)[:, None]
            normal = torch.special.log_ndtr
            step = step * side
            high, low = normal(step / spread), normal((step - BOX) / spread)
            each = (high + torch.log1p(-(low - high).clamp(max=-1e-12).exp())).sum(-1)
            each = each - 2 * math.log(BOX)
        else:
            each = -(step / spread).square().sum(-1) / 2 - math.log(2 * math.pi * spread**2)
        out.append(each.logsumexp(1) - math.log(LATENT))
    return torch.cat(out)


def _pinwheel(x: Tensor) -> Tensor:
    """Each arm is an invertible map of a Gaussian; its inverse by bisection along the length."""
    total = []
    for arm in range(5):
        grid = torch.linspace(-1.0, 3.0, 801, dtype=x.dtype)

        def gap(f: Tensor, arm: int = arm) -> tuple[Tensor, Tensor]:
            a = arm * 2 * math.pi / 5 + 0.25 * f.exp()
            u, v = (x / 2).unbind(-1)
            u, v = (t.reshape(-1, *[1] * (f.dim() - 1)) for t in (u, v))
            return u * a.cos() - v * a.sin() - f, u * a.sin() + v * a.cos()

        wide, _ = gap(grid.expand(len(x), -1))
        roots = wide[:, :-1] * wide[:, 1:] <= 0
        logs = torch.full(roots.shape, -math.inf, dtype=x.dtype)
        row, col = roots.nonzero(as_tuple=True)
        part = wide[row, col] / (wide[row, col] - wide[row, col + 1])
        f = grid[col] + part * (grid[1] - grid[0])
        a = arm * 2 * math.pi / 5 + 0.25 * f.exp()
        u, v = (x[row] / 2).unbind(-1)
        g = u * a.sin() + v * a.cos()
        stretch = (1 + 0.25 * f.exp() * g).abs().clamp(min=1e-6)
        logs[row, col] = (
            -((f - 1) / 0.3).square() / 2
            - (g / 0.1).square() / 2
            - math.log(2 * math.pi * 0.03)
            - stretch.log()
        )
        total.append(logs.logsumexp(1))
    return torch.stack(total).logsumexp(0) - math.log(5) - 2 * math.log(2)


# ---------------------------------------------------------------- bits


@dataclass(frozen=True)
class Planar:
    """One set and its encoding with `bits` bits an axis, a sign and a Gray code."""

    name: str
    bits: int = 16

    @cached_property
    def scale(self) -> float:
        """Cells per unit, from the largest of 5,000 fixed draws."""
        far = points(self.name, 5000, Stream(0, torch.zeros(1, dtype=torch.int64))).abs().max()
        return 2 ** (self.bits - 1) / (float(far) + 2)

    def state(self, count: int, rng: Stream) -> dict[str, Tensor]:
        """Fresh examples. -> {"bits": (count, 2 * bits, 2)}"""
        return {"bits": hot(self.encode(points(self.name, count, rng)))}

    def encode(self, x: Tensor) -> Tensor:
        """(n, 2) -> (n, 2 * bits) of 0 and 1"""
        size = (x.abs() * self.scale).long().clamp(max=2 ** (self.bits - 1) - 1)
        gray = size ^ (size >> 1)
        shifts = torch.arange(self.bits - 2, -1, -1)
        digits = (gray[..., None] >> shifts) & 1
        return torch.cat([(x < 0).long()[..., None], digits], -1).flatten(1).float()

    def cells(self, bits: Tensor) -> Tensor:
        """The signed cell of each axis, from -2^(bits-1) up. (n, 2 * bits) -> (n, 2) int64"""
        b = bits.reshape(len(bits), 2, self.bits).long()
        digits = b[..., 1:].cumsum(-1) % 2
        size = (digits << torch.arange(self.bits - 2, -1, -1)).sum(-1)
        return torch.where(b[..., 0] == 1, -1 - size, size)

    def of_cells(self, cells: Tensor) -> Tensor:
        """The inverse of `cells`. (n, 2) -> (n, 2 * bits)"""
        return self.encode((cells.double() + 0.5) / self.scale)

    def floor(self, count: int = 20_000) -> float:
        """Entropy of the density + 2 ln(cells per unit): the least likelihood loss, in nats."""
        x = points(self.name, count, Stream(1, torch.zeros(1, dtype=torch.int64)))
        return -float(log_density(self.name, x).mean()) + 2 * math.log(self.scale)


def hot(bits: Tensor) -> Tensor:
    """(n, m) of 0 and 1 -> (n, m, 2) one-hot"""
    return torch.stack([1 - bits, bits], -1)


class BitEnergy(Term):
    """E = net(bits) - sum_i ln Bernoulli(bit_i; mean_i): a network over the base of single bits."""

    affine = False

    def __init__(self, bits: int, width: int, mean: Tensor, seed: int = 0):
        super().__init__(Variable("bits", Finite((0, 1), (bits,))))
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.net = nn.Sequential(
                nn.Linear(bits, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(),
                nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1),
            )  # fmt: skip
        mean = mean.clamp(0.01, 0.99)
        self.register_buffer("base", torch.stack([(1 - mean).log(), mean.log()], -1))

    def energy(self, bits: Tensor) -> Tensor:  # (B, n, 2) -> (B,)
        return self.net(2 * bits[..., 1] - 1)[:, 0] - (bits * self.base).sum((-1, -2))

    def of_bits(self, bits: Tensor) -> Tensor:
        """The energy without one-hot detours, in large batches. (n, m) -> (n,)"""
        with torch.no_grad():
            return torch.cat([self.energy(hot(b)) for b in bits.split(20_000)]).double()


# ---------------------------------------------------------------- scores


@dataclass(frozen=True, eq=False)
class Cover:
    """A known law that covers a set: its histogram at 8 bits an axis, mixed with the even law.

    Importance samples from it give ln Z and exact-looking samples of a trained energy.
    """

    planar: Planar
    mass: Tensor  # (256, 256) of the coarse cells
    fine: int  # cells of an axis in a coarse one

    @staticmethod
    def of(planar: Planar, count: int = 2_000_000) -> "Cover":
        """From many draws, smoothed by the neighbours of each cell and 5 % even."""
        fine = 2 ** max(0, planar.bits - 8)
        side = 2**planar.bits // fine
        half = 2 ** (planar.bits - 1)
        histogram = torch.zeros(side * side, dtype=torch.float64)
        for k in range(10):
            rng = Stream(7 + k, torch.zeros(1, dtype=torch.int64))
            x = points(planar.name, count // 10, rng)
            cells = planar.cells(planar.encode(x)) + half
            at = (cells // fine).clamp(0, side - 1)
            histogram += torch.bincount(at[:, 0] * side + at[:, 1], minlength=side * side)
        image = (histogram / histogram.sum()).reshape(1, 1, side, side)
        blur = nn.functional.avg_pool2d(image, 5, 1, 2)
        mass = 0.6 * image + 0.35 * blur / blur.sum() + 0.05 / side**2
        return Cover(planar, mass[0, 0], fine)

    def draw(self, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """Bit strings and the ln of their probability. -> (count, 2 * bits), (count,)"""
        g = torch.Generator().manual_seed(seed)
        side = len(self.mass)
        flat = self.mass.reshape(-1)
        heap = flat.cumsum(0)
        u = torch.rand(count, generator=g, dtype=torch.float64) * heap[-1]
        coarse = torch.searchsorted(heap, u).clamp(max=side * side - 1)
        pair = torch.stack([coarse // side, coarse % side], -1) * self.fine
        inside = torch.randint(self.fine, (count, 2), generator=g)
        cells = pair + inside - 2 ** (self.planar.bits - 1)
        log = flat[coarse].log() - 2 * math.log(self.fine)
        return self.planar.of_cells(cells), log


def log_partition(term: BitEnergy, cover: Cover, count: int, seed: int) -> tuple[float, float]:
    """ln Z by importance sampling, and the share of samples that are effective."""
    bits, log = cover.draw(count, seed)
    weight = -term.of_bits(bits) - log
    total = weight.logsumexp(0)
    share = (2 * total - (2 * weight).logsumexp(0)).exp() / count
    return float(total - math.log(count)), float(share)


def likelihood(term: BitEnergy, planar: Planar, log_z: float, count: int = 100_000) -> float:
    """Mean of E + ln Z on fresh points, in nats."""
    x = points(planar.name, count, Stream(11, torch.zeros(1, dtype=torch.int64)))
    return float(term.of_bits(planar.encode(x)).mean()) + log_z


def discrepancy(a: Tensor, b: Tensor) -> float:
    """Unbiased squared maximum mean discrepancy, kernel exp(-0.1 * Hamming distance).

    (n, m), (n, m) of 0 and 1
    """

    def total(p: Tensor, q: Tensor) -> float:
        ones = q.sum(1)[None, :]
        parts = (
            torch.exp(-0.1 * (c.sum(1)[:, None] + ones - 2 * c @ q.T)).sum(dtype=torch.float64)
            for c in p.split(2000)
        )
        return float(sum(parts))

    n, m = len(a), len(b)
    within = (total(a, a) - n) / (n * (n - 1)) + (total(b, b) - m) / (m * (m - 1))
    return within - 2 * total(a, b) / (n * m)


def gibbs(
    energy: Callable[[Tensor], Tensor], bits: int, count: int, betas: Sequence[float], seed: int
) -> Tensor:
    """One sweep of single bits at each inverse temperature, from an even start. -> (count, bits)"""
    g = torch.Generator().manual_seed(seed)
    x = torch.randint(2, (count, bits), generator=g).float()
    now = energy(x)
    for beta in betas:
        for i in torch.randperm(bits, generator=g).tolist():
            other = x.clone()
            other[:, i] = 1 - other[:, i]
            there = energy(other)
            u = torch.rand(count, generator=g, dtype=torch.float64)
            take = u < torch.sigmoid(beta * (now - there))
            x = torch.where(take[:, None], other, x)
            now = torch.where(take, there, now)
    return x


# ---------------------------------------------------------------- one run


WIDTH, BATCH, SAMPLES = 128, 128, 16_000
ANNEALED = (*(k / 20 for k in range(1, 21)), *[1.0] * 10)  # inverse temperatures of the sweeps
EVEN = (1.0,) * 20  # as the published scores draw samples


def fresh(planar: Planar, seed: int, width: int = WIDTH) -> BitEnergy:
    """An untrained energy over the mean bits of the set."""
    rng = Stream(seed, torch.zeros(1, dtype=torch.int64)).fork(1)
    mean = planar.state(20_000, rng)["bits"][..., 1].mean(0)
    return BitEnergy(2 * planar.bits, width, mean, seed)


def fit(
    term: BitEnergy, planar: Planar, objective: Objective, steps: int, rate: float, seed: int
) -> float:
    """Trains on fresh points; the CPU seconds it took."""
    began = time.process_time()
    examples = Drawn(planar.state, f"{planar.name} {planar.bits}")
    train(objective, {"energy": term}, examples, Recipe(steps, BATCH, rate, seed=seed))
    return time.process_time() - began


def judged(term: BitEnergy, planar: Planar, seed: int, samples: int = SAMPLES) -> dict[str, float]:
    """Gap of the likelihood to its floor, and discrepancies x 1e-4 of samples from fresh points.

    Single bits leave the mass of far regions as the start divided it (on moons that alone is 0.7),
    so samples are annealed; `even` is the discrepancy of the published sweeps, `same` that of
    other fresh points. Published scores are means over ten runs of 4,000 samples; the estimate is
    unbiased at any size, and `samples` at once have less noise than as many in separate runs.
    """
    log_z, share = log_partition(term, Cover.of(planar), 500_000, seed)
    bits = 2 * planar.bits
    data, same = (
        planar.encode(points(planar.name, samples, Stream(seed, torch.full((1,), k))))
        for k in (1, 2)
    )
    annealed, even = (gibbs(term.of_bits, bits, samples, b, seed) for b in (ANNEALED, EVEN))
    nll = likelihood(term, planar, log_z)
    return {
        "nll": nll,
        "gap": nll - planar.floor(),
        "effective": share,
        "mmd": 1e4 * discrepancy(annealed, data),
        "even": 1e4 * discrepancy(even, data),
        "same": 1e4 * discrepancy(same, data),
    }


def exact_divergence(term: BitEnergy, planar: Planar) -> float:
    """KL of the law of the cells from exp(-E) / Z, both over all cells; for 8 bits an axis.

    The law of a cell is the density at its middle: cells are narrow beside the noise of the sets.
    """
    half = 2 ** (planar.bits - 1)
    cells = torch.cartesian_prod(*[torch.arange(-half, half)] * 2)
    p = torch.softmax(log_density(planar.name, (cells.double() + 0.5) / planar.scale), 0)
    q = torch.log_softmax(-term.of_bits(planar.of_cells(cells)), 0)
    return float((p * (p.clamp(min=1e-300).log() - q)).sum())


def twin(seed: int, sites: int = 8, rate: float = 2e-3) -> float:
    """Moons at 8 bits an axis, learned by pseudo-likelihood: `exact_divergence` of what came."""
    few = Planar("moons", 8)
    term = fresh(few, seed)
    fit(term, few, PseudoLikelihood(sites=sites, clip=5.0), 2000, rate, seed)
    return exact_divergence(term, few)

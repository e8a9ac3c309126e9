"""Figures of training objectives and samplers whose truth is known exactly."""

import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.common import Row, at_least, at_most
from engine.domain import Finite, Real, Variable
from engine.energy import Term
from engine.learning.corruptions import Grid, bernoulli, cyclic_heat, ordinal_heat, uniform_heat
from engine.learning.examples import Drawn, Stored
from engine.learning.objectives.contrastive_divergence import ContrastiveDivergence
from engine.learning.objectives.energy_discrepancy import EnergyDiscrepancy
from engine.learning.objectives.pseudo_likelihood import PseudoLikelihood
from engine.learning.objectives.pseudo_spherical import PseudoSpherical
from engine.learning.recipe import Recipe
from engine.learning.train import train
from engine.minimizers.gibbs import Gibbs
from engine.moves.independent import colors_of
from engine.moves.proposals import Colored, Flips
from engine.moves.proposals import Path as PathFlips
from engine.moves.sampler import Sampler
from engine.problem import Problem
from engine.random import Stream
from modules.discrete.lattice import Lattice
from tests.support.planar import points

# --- kernels --------------------------------------------------------------------------------------


def kernels() -> list[Row]:
    """Closed forms against the matrix exponential."""
    worst = 0.0
    for size in range(2, 20):
        a = torch.arange(size)
        apart = (a[:, None] - a[None, :]).abs()
        path = (apart == 1).double()
        ring = ((apart == 1) | (apart == size - 1)).double() * (2.0 if size == 2 else 1.0)
        even = torch.full((size, size), 1 / size, dtype=torch.float64)
        for flow, rates in ((ordinal_heat, path), (cyclic_heat, ring), (uniform_heat, even)):
            r = rates - torch.diag(rates.sum(1))
            for t in (0.01, 0.3, 2.0):
                worst = max(worst, float((flow(size, t) - torch.matrix_exp(t * r)).abs().max()))
    name = "Heat kernels (uniform, cyclic, ordinal; 2 to 19 values): largest error against expm"
    return [at_most(name, worst, 1e-6, "")]


# --- P1: one Gaussian -----------------------------------------------------------------------------


class Normal(Term):
    """E = (x - mu)^2 / (2 sigma^2)"""

    def __init__(self, mu: float, sigma: float):
        super().__init__(Variable("x", Real((1,))))
        self.mu = nn.Parameter(torch.tensor(mu))
        self.log = nn.Parameter(torch.tensor(math.log(sigma)))

    def energy(self, x: Tensor) -> Tensor:
        return ((x[:, 0] - self.mu) / self.log.exp()).square() / 2


@dataclass(frozen=True)
class Independent(Sampler):
    """Exact draws of a `Normal`."""

    def walk(self, problem, x, steps, rng, beta=1.0):
        (part,) = problem.summands
        noise = rng.normal(len(x["x"]), 1)
        with torch.no_grad():
            return {"x": part.term.mu + part.term.log.exp() * noise / math.sqrt(beta)}


@dataclass(frozen=True)
class Mixture:
    """A mixture of Gaussians: (weight, mean, spread) each."""

    parts: tuple[tuple[float, float, float], ...]

    def draw(self, count: int, rng: Stream) -> dict[str, Tensor]:
        weight, mean, spread = (torch.tensor(t) for t in zip(*self.parts, strict=True))
        u = rng.fork(0).uniform(count)
        which = torch.searchsorted(weight.cumsum(0), u).clamp(max=len(weight) - 1)
        noise = rng.fork(1).normal(count)
        return {"x": (mean[which] + spread[which] * noise)[:, None]}


TWO = Mixture(((0.33, -1.0, 0.25), (0.67, 2.0, 2**0.5)))
DIRTY = Mixture(((0.9, 0.0, 1.0), (0.1, 8.0, 0.5)))
TABLE = (
    ("mixture", TWO, -0.25, 1.092, 1.712),
    ("mixture", TWO, 0.0, 1.010, 1.830),
    ("mixture", TWO, 0.25, 0.951, 1.941),
    ("mixture", TWO, 0.5, 0.907, 2.046),
    ("mixture", TWO, 1.0, 0.840, 2.240),
    ("10 % outliers at 8", DIRTY, 0.0, 0.800, 2.586),
    ("10 % outliers at 8", DIRTY, 0.5, 0.0, 1.0),
    ("10 % outliers at 8", DIRTY, 1.0, 0.0, 1.0),
)


def gaussians(seed: int, steps: int = 3000) -> list[Row]:
    """The sampled objective against the closed-form optima."""
    rows = []
    for said, data, gamma, mu, sigma in TABLE:
        term = Normal(*((0.2, 1.4) if data is DIRTY and gamma else (1.0, 1.8)))
        objective = ContrastiveDivergence(Independent(), 1, buffer=1000, gamma=gamma, clip=None)
        recipe = Recipe(steps, 1000, 0.01, average=0.995, seed=seed)
        train(objective, {"energy": term}, Drawn(data.draw, said), recipe)
        found = float(term.mu.detach()), float(term.log.detach().exp())
        error = max(abs(found[0] - mu), abs(found[1] - sigma))
        rows.append(
            at_most(
                f"P1, Gaussian to {said}, gamma {gamma:g}: error of mean and spread", error, 0.05,
                "", peer="closed form (mean)", peer_value=mu,
                note=f"mean {found[0]:.3f} (closed form {mu:.3f}), spread {found[1]:.3f} ({sigma:.3f})",
            )
        )  # fmt: skip
    return rows


# --- P2: a network with outliers ------------------------------------------------------------------


class Plane(Term):
    """E = net(x) over the square; a small network in the plane."""

    affine = False

    def __init__(self, seed: int):
        super().__init__(Variable("x", Real((2,))))
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.net = nn.Sequential(
                nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1)
            )

    def energy(self, x: Tensor) -> Tensor:
        return self.net(x)[:, 0]


SIDE, CELLS = 5.0, 40


def square() -> Tensor:
    """The middles of the cells of the square. -> (CELLS^2, 2)"""
    edge = torch.linspace(-SIDE, SIDE, CELLS + 1)
    middle = (edge[1:] + edge[:-1]) / 2
    return torch.cartesian_prod(middle, middle)


class Wells(Term):
    """E = -ln sum_k exp(l_k - |x - m_k|^2 / (2 r^2)): wells of one width, which cannot be even."""

    affine = False

    def __init__(self, seed: int, count: int = 16):
        super().__init__(Variable("x", Real((2,))))
        g = torch.Generator().manual_seed(seed)
        self.middle = nn.Parameter(SIDE / 2 * torch.randn(count, 2, generator=g))
        self.level = nn.Parameter(torch.zeros(count))
        self.sharp = nn.Parameter(torch.zeros(()))  # -ln r

    def energy(self, x: Tensor) -> Tensor:
        away = (x[:, None] - self.middle).square().sum(2) * (2 * self.sharp).exp() / 2
        return -torch.logsumexp(self.level - away, 1)


Found = dict[tuple[float, float], list[float]]  # KL by (share of outliers, order)


def clean_mass(clean: Tensor) -> Tensor:
    """The share of points in each cell of the square. (n, 2) -> (CELLS^2,)"""
    place = ((clean + SIDE) / (2 * SIDE) * CELLS).long().clamp(0, CELLS - 1)
    mass = torch.bincount(place[:, 0] * CELLS + place[:, 1], minlength=CELLS**2).double()
    return mass / mass.sum()


def clean_points(seed: int) -> Tensor:
    """8gaussians, those in the square."""
    made = points("8gaussians", 400_000, Stream(seed, torch.zeros(1, dtype=torch.int64))).float()
    return made[(made.abs() < SIDE).all(1)]


def least_kl(share: float, seed: int) -> float:
    """KL of the clean cells from the law of the data, outliers among them, where every score of a
    model that can say it is least."""
    mass = clean_mass(clean_points(seed))
    whole = (1 - share) * mass + share / CELLS**2
    return float((mass * (mass.clamp(min=1e-300) / whole).log()).sum())


def learned_from_outliers(
    make: Callable[[int], Term],
    orders: dict[float, tuple[float, ...]],
    seed: int,
    seeds: int,
    steps: int,
    rate: float,
) -> Found:
    """KL of the clean cells of 8gaussians from what each order learns, by share of outliers."""
    cells, clean = square(), clean_points(seed)
    mass = clean_mass(clean)
    found: Found = {}
    for k in range(seeds):
        for share, gammas in orders.items():
            g = torch.Generator().manual_seed(seed + k)
            rows = clean[torch.randint(len(clean), (20_000,), generator=g)]
            noise = (2 * torch.rand(20_000, 2, generator=g) - 1) * SIDE
            dirty = torch.rand(20_000, 1, generator=g) < share
            x = torch.where(dirty, noise, rows)
            for gamma in gammas:
                term = make(seed + k)
                objective = PseudoSpherical(
                    lambda: {"x": cells}, gamma, 2 * math.log(2 * SIDE / CELLS), warm=steps // 5
                )
                recipe = Recipe(steps, 256, rate, average=0.99, seed=seed + k)
                train(objective, {"energy": term}, Stored({"x": x}), recipe)
                with torch.no_grad():
                    q = torch.log_softmax(-term.energy(cells).double(), 0)
                kl = float((mass * (mass.clamp(min=1e-300).log() - q)).sum())
                found.setdefault((share, gamma), []).append(kl)
    return found


def wells(seed: int, seeds: int = 5, steps: int = 500) -> list[Row]:
    """The same outliers for a model that cannot express them: here the order decides.

    The score of every order is least at the law of the data, outliers among them, so that a network
    that can be even differs by how it errs alone.
    """
    found = learned_from_outliers(Wells, {0.2: (0.0, 0.5, 1.0)}, seed, seeds, steps, 3e-2)
    middle = {gamma: sorted(values)[len(values) // 2] for (_, gamma), values in found.items()}
    told = "; ".join(
        f"gamma {gamma:g}: " + ", ".join(f"{v:.3f}" for v in values)
        for (_, gamma), values in found.items()
    )
    return [
        at_most(
            f"P2, 16 wells of one width, the same outliers, {seeds} seeds: KL as a share of likelihood's",
            middle[0.5] / middle[0.0], 0.7, "", peer="likelihood, KL in nats",
            peer_value=middle[0.0], note=f"medians, gamma 0.5; {told}",
        )
    ]  # fmt: skip


def outliers(seed: int, seeds: int = 5, steps: int = 1500) -> list[Row]:
    """8gaussians with a fifth of even noise, for a network; the rate falls to 0 along a cosine.

    Why a share of 0.7 is out of reach: every order is least at the law of the data, outliers among
    them, and its KL of 0.1445 nats from the clean cells (`least_kl`; 0.1445 from other points) is 0.725
    of what likelihood comes to here, 0.199. Checked with a table of the 1,600 cells, which can say
    any law, by the exact score: orders 0, 0.5 and 1 end at 0.1445 from an even start, and 0 and 0.5
    from the clean law as well; order 1 from there stays on a plateau at 0.1423. A network below 0.725
    would err in favour of the clean law, and not because of its order.
    """
    orders = {0.0: (0.0, 1.0), 0.2: (0.0, 0.5, 1.0)}
    found = learned_from_outliers(Plane, orders, seed, seeds, steps, 1e-2)
    mean = {key: sum(values) / len(values) for key, values in found.items()}
    plain = mean[0.2, 0.0]
    best = min(mean[0.2, 0.5], mean[0.2, 1.0])
    told = ", ".join(f"gamma {g:g}: {v:.3f}" for (s, g), v in mean.items() if s)
    gap = mean[0.0, 1.0] - mean[0.0, 0.0]
    return [
        at_most(
            f"P2, MLP on 8gaussians with 20 % outliers, {seeds} seeds: KL as a share of likelihood's",
            best / plain, 0.7, "", peer="likelihood, KL in nats", peer_value=plain,
            note=f"KL of the clean law in nats: {told}; of the law with its outliers, where every order "
            f"is least: {least_kl(0.2, seed):.4f}, {least_kl(0.2, seed) / plain:.3f} of likelihood's",
        ),
        at_most(
            f"P2, the same on clean data, {seeds} seeds: KL at gamma 1 above likelihood's", gap,
            0.05, "nats", note=f"{mean[0.0, 1.0]:.3f} and {mean[0.0, 0.0]:.3f}",
        ),
    ]  # fmt: skip


# --- Ising ----------------------------------------------------------------------------------------


def exact_torus(side: int, coupling: float, count: int, seed: int) -> Tensor:
    """Independent states of a side x side torus, by transfer matrices row by row.

    p(s) ~ exp(coupling * sum over edges of s_a s_b). -> (count, side, side) of -1 and 1
    """
    states = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * side).double()  # (2^side, side)
    within = coupling * (states * states.roll(-1, 1)).sum(1)
    move = (coupling * states @ states.T + within[None, :]).exp()  # from a row to the next
    powers = [torch.eye(len(states), dtype=torch.float64)]
    for _ in range(side):
        powers.append(powers[-1] @ move)
    g = torch.Generator().manual_seed(seed)
    first = torch.multinomial(powers[side].diagonal(), count, replacement=True, generator=g)
    chosen = [first]
    for row in range(1, side):
        weight = move[chosen[-1]] * powers[side - row][:, first].T
        chosen.append(torch.multinomial(weight, 1, generator=g)[:, 0])
    return states[torch.stack(chosen, 1)].float()


def couplings(seed: int, seeds: int = 3) -> list[Row]:
    """5x5 torus, E = -s' J s with J = 0.2 on edges (0.4 an edge), 2,000 samples, all pairs free."""
    rows = []
    spin = Variable("spin", Finite((-1, 1), (5, 5)))
    truth = torch.zeros(25, 25)
    edges = Lattice(spin, pairs="torus")
    truth[edges.one, edges.other] = 0.2
    truth = truth + truth.T
    objectives = {
        "pseudo-likelihood": PseudoLikelihood(),
        "energy discrepancy, Bernoulli 0.1": EnergyDiscrepancy(bernoulli(("spin",), 0.1), 32),
        "energy discrepancy, grid": EnergyDiscrepancy(Grid(("spin",)), 32),
    }
    for said, objective in objectives.items():
        scores = []
        for k in range(seeds):
            s = exact_torus(5, 0.4, 2000, seed + k)
            x = torch.stack([s < 0, s > 0], -1).float()
            term = Lattice(spin, pairs="all")
            term.fields.requires_grad_(False)
            recipe = Recipe(600, 256, 0.01, seed=seed + k)
            train(objective, {"energy": term}, Stored({"spin": x}), recipe)
            found = torch.zeros(25, 25)
            found[term.one, term.other] = term.couplings.detach() / 2
            scores.append(-math.log((found + found.T - truth).square().mean().sqrt()))
        rows.append(
            at_least(
                f"Ising 5x5 torus, 2,000 samples, {said}: -ln RMSE of couplings, mean of {seeds}",
                sum(scores) / seeds, 3.5, "", peer="published 10x10, ED-Bern", peer_value=4.0,
                note=", ".join(f"{v:.2f}" for v in scores),
            )
        )  # fmt: skip
    return rows


def sampler(seed: int, seconds: float = 30.0) -> list[Row]:
    """64x64 spins with free edges at beta 0.4, from a random start, by CPU time."""
    spin = Variable("spin", Finite((-1, 1), (64, 64)))
    problem = Problem(Lattice(spin, couplings=1.0))
    rng = Stream(seed, torch.zeros(1, dtype=torch.int64))

    def walked(flips: Callable[[], Flips]) -> tuple[Tensor, str]:
        x, began, steps = {"spin": spin.domain.sample(100, rng)}, time.process_time(), 0
        walker = Gibbs(flips=flips())
        while time.process_time() - began < seconds:
            steps += 1
            x = walker.walk(problem, x, 10, rng.at(steps), 0.4)
        with torch.no_grad():
            each = problem.energy(x) / 4096
        return each.mean(), f"{10 * steps} moves; spread over chains {float(each.std()):.3f}"

    colored, note = walked(lambda: Colored(colors_of(problem, rng)))
    paths, other = walked(lambda: PathFlips(85))
    name = "64x64 Ising at beta 0.4, 100 chains from random, 30 CPU s: energy a site"
    return [
        at_most(
            f"Gradient-informed sampler, {name}", float(colored), -1.07, "",
            peer="ebmkit, single flips", peer_value=-0.534,
            note=f"colours found from the slopes, which is timed; {note}",
        ),
        at_most(f"The same by paths of 85 flips, {name}", float(paths), None, "", note=other),
    ]  # fmt: skip


# --- resumption -----------------------------------------------------------------------------------

SCRIPT = """
import sys, torch
from pathlib import Path
from engine.domain import Finite, Variable
from engine.minimizers.gibbs import Gibbs
from engine.learning.objectives.contrastive_divergence import ContrastiveDivergence
from engine.random import Stream
from engine.learning.recipe import Recipe
from engine.learning.examples import Stored
from engine.learning.train import train
from modules.discrete.lattice import Lattice
torch.set_num_threads(1)
spin = Variable("spin", Finite((-1, 1), (4, 4)))
x = spin.domain.sample(500, Stream(1, torch.zeros(1, dtype=torch.int64)))
term = Lattice(spin, pairs="all")
work = Path(sys.argv[1]) if sys.argv[1] != "-" else None
recipe = Recipe(400, 64, 0.01, every=20)
train(ContrastiveDivergence(Gibbs(), 2, buffer=200), {"energy": term}, Stored({"spin": x}), recipe, work=work)
torch.save(term.state_dict(), sys.argv[2])
"""


def resumed() -> list[Row]:
    """Killed (SIGKILL) three times in the middle, against a run that was left alone."""
    root = Path(__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)

        def command(work: str, out: str) -> list[str]:
            return [sys.executable, "-c", SCRIPT, work, str(place / out)]

        subprocess.run(command("-", "whole.pt"), cwd=root, check=True)
        checkpoint, kills = place / "work" / "training.ckpt", 0
        for _ in range(3):
            seen = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
            process = subprocess.Popen(command(str(place / "work"), "cut.pt"), cwd=root)
            while process.poll() is None:
                if checkpoint.exists() and checkpoint.stat().st_mtime_ns != seen:
                    time.sleep(0.13)  # some steps past the checkpoint
                    os.kill(process.pid, signal.SIGKILL)
                    process.wait()
                    kills += 1
                    break
                time.sleep(0.02)
        subprocess.run(command(str(place / "work"), "cut.pt"), cwd=root, check=True)
        whole, cut = (torch.load(place / n, weights_only=True) for n in ("whole.pt", "cut.pt"))
        same = all(torch.equal(whole[n], cut[n]) for n in whole)
    name = "Training killed by SIGKILL and resumed: weights equal to the bit to an unbroken run"
    return [at_least(name, float(same), 1.0, "true", note=f"killed {kills} times")]

"""What generators are taught by: their pictures and latents, revised by Langevin moves.

    x' ~ exp(-beta E(x)), begun at what a generator makes
    z' ~ exp(-|x - G(z)|^2 / (2 noise^2) - |z|^2 / 2), begun where an encoder believes z
    (y, z)' ~ exp(-beta (E(y + G(z)) + |y|^2 / (2 width^2))), begun at y = 0: the picture is defined

All three are short runs of one kernel, `engine.moves.langevin`.
"""

import math

import torch
from torch import Tensor, nn

from engine.domain import Real, Variable
from engine.energy import Energy, Term
from engine.energy.definition import Definition
from engine.errors import BadQuery, Mistake
from engine.learning.objective import Nets, problem_of
from engine.moves.langevin import Langevin
from engine.problem import Problem
from engine.random import Stream

LATENT, CORRECTION = "latent", "correction"  # names of the variables of a revision


def pictured(energy: Energy) -> Variable:
    """The one variable of an energy of pictures. Raises BadQuery where it is not one of numbers."""
    variables = energy.variables()
    if len(variables) != 1 or not isinstance(variables[0].domain, Real):
        problem = f"is over {', '.join(v.name for v in variables)}"
        raise BadQuery(Mistake("nets.energy", problem, "give an energy of one real variable"))
    return variables[0]


def network(nets: Nets, name: str) -> nn.Module:
    """One of the networks that an objective needs."""
    if name not in nets:
        raise BadQuery(Mistake(f"nets.{name}", "is missing", f'give {{"{name}": a network}}'))
    return nets[name]


def normal(rng: Stream, count: int, latent: int, like: Tensor) -> Tensor:
    """Latents as they are before anything is seen. -> (count, latent)"""
    return rng.normal(count, latent, dtype=torch.float64).to(like)


class Made(Definition):
    """x = y + G(z)."""

    def __init__(self, latent: Variable, correction: Variable, picture: Variable, net: nn.Module):
        super().__init__(latent, correction, picture)
        self.net = net

    def define(self, latent: Tensor, correction: Tensor) -> Tensor:  # (B, d), (B, *shape)
        return correction + self.net(latent).reshape(correction.shape)


class Small(Term):
    """E = |y|^2 / (2 width^2)."""

    def __init__(self, correction: Variable, width: float):
        super().__init__(correction)
        self.width = width

    def energy(self, correction: Tensor) -> Tensor:  # (B, *shape) -> (B,)
        return correction.flatten(1).square().sum(1) / (2 * self.width**2)


class Posterior(Term):
    """E(z) = |x - G(z)|^2 / (2 noise^2) + |z|^2 / 2, of as many latents as pictures x.

    `there`: which pixels were seen, 1 or 0. The log-likelihood with its 1/2, once: published code
    often has twice this pull.
    """

    def __init__(self, latent: Variable, net: nn.Module, seen: Tensor, noise: float, there: Tensor):
        super().__init__(latent)
        self.net, self.noise = net, noise
        self.target, self.there_at = seen.flatten(1), there.flatten(1)  # (B, n) each

    def energy(self, latent: Tensor) -> Tensor:  # (B, d) -> (B,)
        missed = (self.target - self.net(latent).flatten(1)) * self.there_at
        return missed.square().sum(1) / (2 * self.noise**2) + latent.square().sum(1) / 2


def revised_pictures(
    energy: Energy, x: Tensor, sampler: Langevin, steps: int, rng: Stream, beta: float
) -> Tensor:
    """Pictures after a short run under an energy. (B, *shape) -> same"""
    name = pictured(energy).name
    moved = sampler.walk(problem_of(energy), {name: x.detach()}, steps, rng, beta)
    return moved[name].detach().to(x)


def revised_latents(
    net: nn.Module,
    z: Tensor,
    seen: Tensor,
    noise: float,
    sampler: Langevin,
    steps: int,
    rng: Stream,
    there: Tensor | None = None,
) -> Tensor:
    """Latents after a short run towards those whose pictures were seen, or the pixels of them that
    are `there`, 1 or 0. (B, d), (B, *shape), (B, *shape) -> (B, d)"""
    latent = Variable(LATENT, Real((z.shape[1],)))
    there = torch.ones_like(seen) if there is None else there
    term = Posterior(latent, net, seen.detach(), noise, there)
    moved = sampler.walk(Problem(term), {LATENT: z.detach()}, steps, rng)
    return moved[LATENT].detach().to(z)


def hat_problem(energy: Energy, net: nn.Module, latent: int, width: float = math.inf) -> Problem:
    """Latent and correction, searched, and the picture they make, defined: E(y + G(z))."""
    picture = pictured(energy)
    z = Variable(LATENT, Real((latent,)))
    y = Variable(CORRECTION, Real(picture.domain.shape))
    total = Made(z, y, picture, net) + energy
    if width < math.inf:
        total = total + Small(y, width)
    return Problem(total, (z, y, picture)).to(problem_of(energy).device).reduced()


def revised_pairs(
    problem: Problem, z: Tensor, sampler: Langevin, steps: int, rng: Stream, beta: float
) -> tuple[Tensor, Tensor]:
    """Latents after a short run of both, from no correction, and the pictures that they make.

    problem: of `hat_problem`. (B, d) -> (B, d), (B, *shape)
    """
    domain = problem.domains[CORRECTION]
    y = z.new_zeros(len(z), *domain.event, dtype=torch.float64)
    moved = sampler.walk(problem, {LATENT: z.detach(), CORRECTION: y}, steps, rng, beta)
    (name,) = (v.name for v in problem.variables if v.name not in (LATENT, CORRECTION))
    with torch.no_grad():
        x = problem.filled(moved)[name]
    return moved[LATENT].detach().to(z), x.detach().to(z)

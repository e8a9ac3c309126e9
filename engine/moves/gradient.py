"""Moves informed by a gradient: the slope of every literal, and what a state is worth."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from engine.domain import Finite, Real, State, one_hot, places_dtype
from engine.minimizer import sound
from engine.moves.proposals import Flips, site_sum, spread
from engine.problem import Problem
from engine.random import Stream

ELEMENTS = 4_000_000  # literals and real sites of all particles evaluated in one step
WORD, NOISE, FLIP = 301, 302, 303  # lanes of the stream


class Evaluated(NamedTuple):
    """States with what one evaluation says of them."""

    hot: Tensor  # (B, C) one-hot literals of the finite variables in the energy
    real: Tensor  # (B, D) real sites of the energy
    energy: Tensor  # (B,) float64
    violation: Tensor  # (B,) float64
    hot_slope: Tensor  # (B, C) of the energy
    real_slope: Tensor  # (B, D)
    hot_force: Tensor  # (B, C) of the violation
    real_force: Tensor  # (B, D)


@dataclass(frozen=True, eq=False)
class Frame:
    """How the variables of the energy lie side by side; the same for all rows."""

    finite: tuple[tuple[str, tuple[int, ...]], ...]  # (name, event)
    real: tuple[tuple[str, tuple[int, ...]], ...]
    owner: Tensor  # (C,) the site of each literal

    def state(self, hot: Tensor, real: Tensor) -> dict[str, Tensor]:
        """Relaxed states. -> {name: (B, *event)}"""
        out = {}
        for flat, variables in ((hot, self.finite), (real, self.real)):
            start = 0
            for name, event in variables:
                size = math.prod(event)
                out[name] = flat[:, start : start + size].reshape(-1, *event)
                start += size
        return out

    def decided(self, hot: Tensor, real: Tensor) -> dict[str, Tensor]:
        """The states as places and numbers. -> {name: (B, *shape)}"""
        out = self.state(hot, real)
        for name, event in self.finite:
            out[name] = out[name].argmax(-1).to(places_dtype(event[-1]))
        return out

    def sides(self, x: State, batch: int) -> tuple[Tensor, Tensor]:
        """Decided states, one-hot and real, side by side: the inverse of `decided`. -> (B, C),
        (B, D)"""
        hot = [one_hot(x[name], event[-1]) for name, event in self.finite]
        none = torch.zeros(batch, 0, device=self.owner.device)
        return _side(hot, none), _side([x[name] for name, _ in self.real], none)


@dataclass(frozen=True, eq=False)
class Move:
    """One proposal for every particle, and the logarithm of its Metropolis ratio.

    walls: a Langevin step that leaves its box is refused, which is exact; without them it is
    projected, which is quicker.
    """

    problem: Problem
    frame: Frame
    flips: Flips
    multiplier: Tensor  # (B,)
    beta: Tensor  # (B,)
    pace: Tensor  # (B,)
    walls: bool = False

    @cached_property
    def movable(self) -> Tensor:
        """Literals that evidence leaves open. -> (B, C)"""
        return open_literals(self.problem, self.frame, len(self.beta) // self.problem.rows)

    @cached_property
    def open(self) -> Tensor:
        """Particles that have a finite site to move: one with two values left. -> (B,) bool"""
        if not len(self.frame.finite):
            return torch.zeros_like(self.beta, dtype=torch.bool)
        return (site_sum(self.movable.int(), self.frame.owner) > 1).any(1)

    @cached_property
    def free(self) -> bool:
        """Evidence leaves every literal open."""
        return bool(self.movable.all())

    def tilt(self, seen: Evaluated) -> Tensor:
        """Half of what the gradient foretells of ln p, for every literal; -inf where evidence
        closes it. -> (B, C)"""
        g = seen.hot_slope
        if bool((self.multiplier != 0).any()):
            g = g + self.multiplier.to(g)[:, None] * seen.hot_force
        tilt = (g - present_slope(g, seen.hot, self.frame.owner)) * (-self.beta / 2).to(g)[:, None]
        return tilt if self.free else tilt.masked_fill(~self.movable, -math.inf)

    def propose(
        self, there: Evaluated, tilt: Tensor, rng: Stream
    ) -> tuple[Evaluated, Tensor, Tensor, Tensor]:
        """-> the proposed states, their tilt, ln of the ratio (B,), which particles moved finite
        sites (B,)"""
        problem, frame, beta, multiplier = self.problem, self.frame, self.beta, self.multiplier
        particles = len(beta) // problem.rows
        u = rng.fork(WORD).uniform(particles, 1, dtype=torch.float64)
        flips = self.open & (u[:, 0] < (0.5 if frame.real else 2.0))
        hot, flipped = there.hot, None
        if len(frame.finite):
            flipped = self.flips.propose(tilt, there.hot, frame.owner, particles, rng.fork(FLIP))
            hot = where(flips, flipped.hot, there.hot)
        width = box_widths(problem, frame, particles)
        drift = langevin_drift(there, multiplier, self.pace, width)
        real, left = there.real, torch.zeros_like(flips)
        if len(frame.real):
            noise = rng.fork(NOISE).normal(particles, real.shape[1], dtype=torch.float64)
            moved = real.double() + drift + width * (2 * self.pace / beta).sqrt()[:, None] * noise
            low, high = (e.repeat_interleave(particles, 0) for e in box_edges(problem, frame))
            moved = torch.where(low == high, low, round_real(problem, frame, moved))
            inside = torch.where(low == high, low, torch.clamp(moved, low, high))
            real = where(flips, real, inside)
            if self.walls:
                left = ~flips & (inside != moved).any(1)
        here = evaluate(problem, frame, hot, real)
        change = _objective(here, multiplier) - _objective(there, multiplier)
        log = (-beta * change.nan_to_num(0.0)).masked_fill(left, -math.inf)
        back = langevin_drift(here, multiplier, self.pace, width)
        chance = _langevin(there.real, here.real, drift, back, beta / self.pace, width)
        tilt = self.tilt(here)
        if flipped is not None:
            way = self.flips.return_log(flipped, tilt, frame.owner) - flipped.log
            chance = torch.where(flips, way.nan_to_num(-math.inf, math.inf, -math.inf), chance)
        return here, tilt, log + chance, flips


# ---------------------------------------------------------------- states


def frame_of(problem: Problem) -> Frame:
    """How the variables of the energy of a problem lie side by side."""
    used = problem.used
    finite, real, owner, site = [], [], [torch.zeros(0, dtype=torch.long)], 0
    for variable in problem.open:
        name, domain = variable.name, problem.domains[variable.name]
        if name not in used:
            continue
        if isinstance(domain, Finite):
            finite.append((name, domain.event))
            owner.append(site + torch.arange(domain.sites).repeat_interleave(domain.event[-1]))
            site += domain.sites
        else:
            real.append((name, domain.event))
    return Frame(tuple(finite), tuple(real), torch.cat(owner).to(problem.device))


def _side(tensors: Sequence[Tensor], none: Tensor) -> Tensor:
    """Tensors side by side; `none`, (B, 0), where there is none. -> (B, total)"""
    flat = [t.reshape(len(none), -1) for t in tensors]
    return torch.cat(flat, 1) if flat else none


def evaluate(problem: Problem, frame: Frame, hot: Tensor, real: Tensor) -> Evaluated:
    """Energy, violation and the slopes of both, in one call of every term."""
    hot, real = hot.detach().requires_grad_(), real.detach().requires_grad_()
    state = frame.state(hot, real)
    rows = torch.arange(problem.rows, device=hot.device)
    owner = rows.repeat_interleave(len(hot) // problem.rows)
    with torch.enable_grad():
        energy, violation = problem.totals(problem.whole(state, owner))
    slopes = []
    for value in (energy, violation):
        pair: tuple[Tensor | None, ...] = (None, None)
        if value.requires_grad:
            # both sums may share nodes above the terms' own graphs: views of the leaves
            pair = torch.autograd.grad(
                value.sum(), (hot, real), allow_unused=True, retain_graph=value is energy
            )
        slopes += [
            torch.zeros_like(x) if g is None else g.nan_to_num(0.0, 0.0, 0.0)
            for x, g in zip((hot, real), pair, strict=True)
        ]
    return Evaluated(hot.detach(), real.detach(), energy.detach(), violation.detach(), *slopes)


def _objective(seen: Evaluated, multiplier: Tensor) -> Tensor:
    broken = torch.where(seen.violation == 0, 0.0, multiplier * seen.violation)
    return sound(seen.energy + broken)


def where(taken: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(taken.view(-1, *[1] * (a.dim() - 1)), a, b)


def power(base: Tensor | float, exponent: Tensor) -> Tensor:
    """base^exponent for a positive base, of the same bits in a batch of any size: those of torch's
    own differ where a loop over many numbers ends."""
    return (exponent * torch.as_tensor(base, dtype=torch.float64).log()).exp()


# ---------------------------------------------------------------- moves of finite sites


def open_literals(problem: Problem, frame: Frame, particles: int) -> Tensor:
    """Literals that evidence leaves open. -> (R * P, C)"""
    parts = []
    for name, _ in frame.finite:
        domain = problem.domain(name)
        assert isinstance(domain, Finite)
        parts.append(domain.allowed.reshape(problem.rows, -1))
    if not parts:
        shape = (problem.rows * particles, 0)
        return torch.zeros(shape, dtype=torch.bool, device=problem.device)
    return torch.cat(parts, 1).repeat_interleave(particles, 0)


def present_slope(slope: Tensor, hot: Tensor, owner: Tensor) -> Tensor:
    """The slope of the literal that is true at each literal's site. (B, C) -> (B, C)"""
    if not len(owner):
        return slope
    return spread(site_sum(slope * hot, owner), owner)


# ---------------------------------------------------------------- moves of real sites


def box_edges(problem: Problem, frame: Frame) -> tuple[Tensor, Tensor]:
    """Low and high of all real sites. -> (R, D) each"""
    low: list[Tensor] = []
    high: list[Tensor] = []
    for name, _ in frame.real:
        domain = problem.domain(name)
        assert isinstance(domain, Real)
        for out, edge in ((low, domain.low), (high, domain.high)):
            out.append(edge.expand(problem.rows, *domain.shape).reshape(problem.rows, -1))
    none = torch.zeros(problem.rows, 0, dtype=torch.float64, device=problem.device)
    return (torch.cat(low, 1), torch.cat(high, 1)) if low else (none, none)


def round_real(problem: Problem, frame: Frame, real: Tensor) -> Tensor:
    """Real sites as the terms see them: `Problem.rounded` of each variable. (B, D) -> same"""
    sizes = [math.prod(event) for _, event in frame.real]
    columns = zip(frame.real, real.split(sizes, 1), strict=True)
    return torch.cat([problem.rounded(name, x) for (name, _), x in columns], 1)


def box_widths(problem: Problem, frame: Frame, particles: int) -> Tensor:
    """The unit of length at each real site: the width of its box, 1 where that is infinite, 0 where
    evidence fixes it. -> (R * P, D)"""
    low, high = box_edges(problem, frame)
    width = torch.where((high - low).isfinite(), high - low, 1.0)
    return width.repeat_interleave(particles, 0)


def langevin_drift(seen: Evaluated, multiplier: Tensor, pace: Tensor, width: Tensor) -> Tensor:
    """Where a Langevin step leads before noise. -> (B, D)"""
    slope = seen.real_slope.double() + multiplier[:, None] * seen.real_force.double()
    return -pace[:, None] * width**2 * slope


def _langevin(
    there: Tensor, here: Tensor, drift: Tensor, back: Tensor, sharp: Tensor, width: Tensor
) -> Tensor:
    """ln q(x | x') - ln q(x' | x), both Gaussian with variance 2 width^2 / sharp. -> (B,)"""
    step = here.double() - there.double()
    unit = width.clamp(min=1e-12)
    forward = ((step - drift) / unit).square().sum(1)
    reverse = ((-step - back) / unit).square().sum(1)
    return (sharp / 4 * (forward - reverse)).nan_to_num(-math.inf, math.inf, -math.inf)

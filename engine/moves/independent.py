"""Colours of sites such that those of one colour leave each other's slopes alone.

Two sites meet where a change of the one changes what the gradient foretells of the other. Every
site is changed once in a few random states, and the gradients before and after are compared, so
that any energy with gradients can be coloured. A meeting that no probe shows costs moves that are
refused (`engine.moves.proposals.Colored` corrects), never truth.
"""

import torch
from torch import Tensor

from engine.moves.gradient import ELEMENTS, Frame, evaluate, frame_of
from engine.moves.proposals import site_sum, spread
from engine.problem import Problem
from engine.random import Stream

SMALL = 1e-5  # of the largest slope: rounding
START, VALUE = 311, 312  # lanes of the stream


def colors_of(problem: Problem, rng: Stream, probes: int = 2) -> tuple[int, ...]:
    """A colour for each finite site in the energy, in the order of its variables.

    By the greedy rule, sites that meet many first. `probes` random states of the first row of the
    problem are looked at; all colours differ where all sites meet.
    """
    problem = problem.select([0]) if problem.rows > 1 else problem
    rng = rng.select(torch.zeros(1, dtype=torch.long))
    frame = frame_of(problem)
    sites = int(frame.owner[-1]) + 1 if len(frame.owner) else 0
    seen = [_meetings(problem, frame, sites, rng.at(k)) for k in range(probes)]
    met = torch.cat([*seen, *(pairs.flip(1) for pairs in seen)])
    met = met[met[:, 0] != met[:, 1]].unique(dim=0)  # in order of the first
    count = torch.bincount(met[:, 0], minlength=sites)
    near = met[:, 1].split(count.tolist())
    colors = torch.full((sites,), -1, device="cpu")
    for site in (-count).argsort(stable=True).tolist():
        taken = torch.bincount(colors[near[site]] + 1, minlength=2)[1:]
        free = (taken == 0).nonzero()
        colors[site] = int(free[0]) if len(free) else len(taken)
    return tuple(colors.tolist())


def _meetings(problem: Problem, frame: Frame, sites: int, rng: Stream) -> Tensor:
    """Which slopes each change of a site changes, in one random state: pairs of the site and
    another. -> (L, 2)"""
    x = {
        name: problem.domain(name).sample(1, rng.fork(START).fork(lane))
        for lane, name in enumerate(problem.domains)
    }
    hot, real = frame.sides(x, problem.rows)
    owner = frame.owner
    size = torch.bincount(owner)
    start = size.cumsum(0) - size
    place = (hot[0] > 0.5).nonzero()[:, 0] - start
    u = rng.fork(VALUE).uniform(1, sites, dtype=torch.float64)[0]
    other = start + (place + 1 + (u * (size - 1)).long()) % size  # where it has one
    stood = _foretold(problem, frame, hot, real)
    limit = SMALL * stood.abs().max().clamp(min=1e-30)
    part = max(1, ELEMENTS // len(owner))
    out = [torch.zeros(0, 2, dtype=torch.long, device="cpu")]
    for some in torch.arange(sites, device=owner.device).split(part):
        changed = hot.repeat(len(some), 1)
        row = some - some[0]
        changed[row, (start + place)[some]] = 0
        changed[row, other[some]] = 1
        now = _foretold(problem, frame, changed, real.expand(len(some), -1))
        moved = ((now - stood).abs() > limit).int()
        both = moved[:, : len(owner)] | moved[:, len(owner) :]
        pairs = (site_sum(both, owner) > 0).nonzero()
        out.append(torch.stack([some[pairs[:, 0]], pairs[:, 1]], 1).cpu())
    return torch.cat(out)


def _foretold(problem: Problem, frame: Frame, hot: Tensor, real: Tensor) -> Tensor:
    """Slopes of energy and violation, over their mean at each site. (B, C) -> (B, 2 C)"""
    seen = evaluate(problem, frame, hot, real)
    width = torch.bincount(frame.owner).to(hot.dtype)
    parts = []
    for slope in (seen.hot_slope, seen.hot_force):
        parts.append(slope - spread(site_sum(slope, frame.owner) / width, frame.owner))
    return torch.cat(parts, 1)

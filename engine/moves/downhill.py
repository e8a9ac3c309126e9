"""Whether numbers have settled: no step along the slope of the energy makes it smaller.

For the state of each row, with g the slope of the weighted terms towards the numbers that are open
there and w the widths of their boxes, the states x - t w^2 g, moved into the box, are evaluated for
lengths t over many orders of magnitude, all in one call. This is a stationary point told by values,
apart from what a minimizer says of itself; it may be a local minimum.
"""

from dataclasses import replace

import torch
from torch import Tensor

from engine.compare import opaque_slack
from engine.domain import Real, State
from engine.energy import Summand
from engine.minimizer import sound
from engine.moves.gradient import Frame, box_edges, box_widths, frame_of, round_real
from engine.problem import Problem

LENGTHS = 24  # of steps, the longest of which moves a number by the width of its box
SHORTER = 0.25  # from one length to the next


def settled(problem: Problem, x: State) -> list[bool | None]:
    """Whether the numbers of decided states, one a row, have settled; None where none is open,
    where a required term sees them, so that the slope of the cost alone says nothing, where there
    is no slope or it is no number, or where other processes would have to be asked."""
    numbers = {v.name for v in problem.open if isinstance(problem.domains[v.name], Real)}
    if not numbers or any(_sees(s, numbers) for s in problem.summands if s.required):
        return [None] * problem.rows
    seen = any(_sees(s, numbers) for s in problem.summands)
    if not seen or not all(s.term.reusable for s in problem.summands):
        return [None] * problem.rows
    frame, own = frame_of(problem), {v.name: x[v.name] for v in problem.open}
    rows = problem.rows
    real = torch.cat([own[name].reshape(rows, -1).double() for name, _ in frame.real], 1)
    leaf = real.detach().requires_grad_()
    with torch.enable_grad():
        energy = problem.totals({**own, **_numbers(frame, leaf)}).energy
        if not energy.requires_grad:
            return [None] * rows
        (slope,) = torch.autograd.grad(energy.sum(), leaf)
    width = box_widths(problem, frame, 1)
    told = slope.isfinite().all(1) & energy.isfinite()  # (R,)
    way = -(width**2) * slope.nan_to_num(0.0, 0.0, 0.0)
    reach = (way.abs() / width.clamp(min=1e-300)).amax(1, keepdim=True)
    longest = 1 / reach.clamp(min=1e-300)
    lengths = SHORTER ** torch.arange(LENGTHS, dtype=torch.float64, device=real.device)
    there = real[:, None] + (longest * lengths)[..., None] * way[:, None]  # (R, LENGTHS, D)
    low, high = (e.repeat_interleave(LENGTHS, 0) for e in box_edges(problem, frame))
    there = round_real(problem, frame, there.flatten(0, 1))
    there = torch.where(low == high, low, torch.clamp(there, low, high))
    beside = {n: t.repeat_interleave(LENGTHS, 0) for n, t in own.items()}
    with torch.no_grad():
        found = problem.totals({**beside, **_numbers(frame, there)}).energy
    least = sound(found).view(rows, LENGTHS).amin(1)
    energy = energy.detach()
    near = (energy - least <= opaque_slack(energy)).tolist()
    return [one if sure else None for one, sure in zip(near, told.tolist(), strict=True)]


def _numbers(frame: Frame, real: Tensor) -> State:
    """States of the numbers alone. (B, D) -> {name: (B, *event)}"""
    return replace(frame, finite=()).state(real[:, :0], real)


def _sees(summand: Summand, names: set[str]) -> bool:
    return any(view.variable.name in names for view in summand.term.scope)

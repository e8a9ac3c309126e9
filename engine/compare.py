"""The one place that says what zero, better, refuted and proved mean.

Zero: the violation of a required term at or below its tolerance is 0 before it is compared
(`engine.energy`). A minimizer that can meet rules more closely calls 0 only what is off by no more
than rounding (`strictly`), as a state that makes use of tolerances is cheaper than the optimum.
Better: less violated, then cheaper. Refuted: only by `holds` being False on plain values, or by
explicit structure. Proved: nothing lies below an energy. Explicit costs are compared exactly,
however large others are beside them, those that were computed as floats as near as units tell them;
what is not explicit may add GAP of its own size.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from engine.domain import Real, State
from engine.energy import Energy, Summand, plain_scope
from engine.energy.parts import Constraints
from engine.factors.explicit import Explicit
from engine.problem import Problem

GAP = 1e-6  # of the energy of what is not explicit, relative to max(1, |energy|)
COMPUTED = 2.0**-40  # of the energy of explicit costs that were computed as floats
SURE = 2.0  # times what meeting rules more closely costs to first order
LEVEL = 1e-9  # violations, or opaque energies relative to max(1, |energy|), nearer than this are
# level


def better(energy: Tensor, violation: Tensor, other: Tensor, broken: Tensor) -> Tensor:
    """Where the first of two states is the better one: less violated, or level and cheaper.

    A state that breaks nothing is better than one that breaks something, however little.
    """
    clean, dirty = violation == 0, broken == 0
    less = (violation < broken - LEVEL) | (clean & ~dirty)
    more = (violation > broken + LEVEL) | (dirty & ~clean)
    return less | (~more & (energy < other))


def best_of(energy: Tensor, violation: Tensor) -> Tensor:
    """The place of the best particle of each row; what is no number is never best.

    (R, P) each -> (R,)
    """
    broken = violation.nan_to_num(torch.inf, torch.inf, torch.inf)
    least = broken.min(1, keepdim=True).values
    level = (broken == least) | ((broken <= least + LEVEL) & (least > 0))
    most = torch.finfo(energy.dtype).max
    return energy.nan_to_num(most, most, most).masked_fill(~level, torch.inf).argmin(1)


def off_by(got: Constraints) -> Tensor:
    """How far each number lies from where it must, with a sign. -> (B, n)"""
    return got.values - torch.minimum(torch.maximum(got.values, got.low), got.high)


def strictly(got: Constraints) -> Tensor:
    """What is violated; where tolerances spare all of it, half the squares of what is off by more
    than rounding. So 0 just where all tolerances are kept and nothing is off by more; infinite
    where what is violated is no number. -> (B,)"""
    off = off_by(got)
    edge = torch.where(off < 0, got.low, got.high)
    size = torch.maximum(got.values.abs(), edge.abs().nan_to_num(0.0, 0.0, 0.0)).clamp(min=1.0)
    more = off.abs() > size * got.fine
    least = 0.5 * torch.where(more, off, 0.0).square().sum(1)
    told = torch.where(got.violation > 0, got.violation, least)
    return told.masked_fill(got.violation.isnan() | off.isnan().any(1), math.inf)


def dearer(problem: Problem, x: State) -> tuple[Tensor, Tensor]:
    """What states of a row each are violated by `strictly`, and how much dearer they may become by
    meeting that: the slope of the energy times the distance, both to first order. -> (R,), (R,)"""
    moved = {
        n: t.detach().clone().requires_grad_()
        for n, t in x.items()
        if isinstance(problem.domains[n], Real)
    }
    with torch.enable_grad():
        got = problem.constraints({**x, **moved})
        least = 0.5 * off_by(got).square().sum(1)
    sizes = []
    for value in (got.energy, least):
        slope = torch.zeros_like(least)
        if value.requires_grad:
            every = torch.autograd.grad(
                value.sum(), list(moved.values()), allow_unused=True, retain_graph=True
            )
            for g in every:
                slope = (
                    slope if g is None else slope + g.double().square().reshape(len(g), -1).sum(1)
                )
        sizes.append(slope.sqrt())
    price = SURE * 2 * least.detach() * sizes[0] / sizes[1]
    return strictly(got).detach(), price.nan_to_num(0.0, math.inf, math.inf)


def opaque_slack(energy: Tensor) -> Tensor:
    """How far an energy of what is not explicit may lie above its bound and count as least."""
    return GAP * energy.abs().clamp(min=1.0)


def opaque_gap(energy: float) -> float:
    """`opaque_slack` of one number."""
    return GAP * max(1.0, abs(energy))


def opaque_cost(problem: Problem) -> Energy | None:
    """What is not explicit, where something of it costs; None where nothing does."""
    _, rest = problem.factored()
    costs = rest is not None and any(summand.weight is not None for summand in rest.summands())
    return rest if costs else None


def computed_gap(explicit: Explicit, energy: float) -> float:
    """How near two energies of explicit costs lie where nothing tells them apart: 0 where these are
    decimals or have a unit in which they are whole. Costs that were computed as floats, and have
    none, are compared as near as units tell them, and never nearer than COMPUTED of their total."""
    if not explicit.computed or not explicit.scale.error:
        return 0.0
    return min(2 * explicit.scale.off, COMPUTED * max(1.0, abs(energy)))


def room(problem: Problem, energy: float) -> float:
    """How near two energies of what is not explicit lie where nothing tells them apart: 0 where all
    that costs is explicit."""
    return opaque_gap(energy) if opaque_cost(problem) else 0.0


@torch.no_grad()
def slack(problem: Problem, x: State) -> Tensor:
    """How far the energy of decided states may lie above a bound and count as least. -> (R,)"""
    rest = opaque_cost(problem)
    if rest is None:
        return torch.zeros(problem.rows, dtype=torch.float64, device=problem.device)
    return opaque_slack(rest(problem.whole(x)))


def proved(problem: Problem, x: State, energy: Tensor, violation: Tensor, bound: Tensor) -> Tensor:
    """Rows whose states break nothing, and below whose energy nothing lies. -> (R,) bool"""
    near = energy - bound <= opaque_slack(energy)
    near = near & (violation == 0) & energy.isfinite()
    if not bool(near.any()):
        return near
    told = zip(problem.explicits, energy.tolist(), strict=True)
    level = energy.new_tensor([computed_gap(own, cost) for own, cost in told])
    return near & (energy - bound <= slack(problem, x) + level)


def verdicts(rules: Sequence[Summand], plain: Sequence[Mapping[str, Any]]) -> list[bool | None]:
    """Whether each of some plain values satisfies all of these rules; None: some rule cannot
    say, and none fails."""
    out: list[bool | None] = [True] * len(plain)
    for summand in rules:
        asked = [k for k, one in enumerate(plain) if summand.term.speaks(one)]
        values = [plain_scope(summand.term, plain[k]) for k in asked]
        for k, holds in zip(asked, summand.term.verdicts(values), strict=True):
            if holds is False or (holds is None and out[k]):
                out[k] = holds
    return out

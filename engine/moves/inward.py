"""States that keep rules only by their tolerances, moved to where the rules say that they hold."""

import torch
from torch import Tensor

from engine.compare import off_by, verdicts
from engine.domain import Real, State
from engine.problem import Problem

MARGINS = (0.0, 1e-7, 1e-6, 1e-5, 1e-4)  # how far inside, in the unit of the numbers
STEPS = 8  # towards where nothing is off, for each of these


def inward(problem: Problem, x: State) -> tuple[dict[str, Tensor], Tensor]:
    """States of a row each, moved until `holds` says of every required rule that it does; as they
    are in rows where no move brings that about. What is not real stays where it is.

    A tolerance allows what `holds` may forbid: searches end a little outside of inequalities, where
    it is cheapest. With V = sum of (c - z)^2 / 2 over what must hold (c: numbers, z: the nearest
    that are allowed), steps x - 2 V grad V / |grad V|^2, which meet a single linear rule at once,
    are taken of V at x - margin grad E / |grad E|: so what costs push against is kept by a margin,
    the least of a few. -> states, (R,) bool: whether all rules hold there
    """
    names = [n for n, t in x.items() if isinstance(problem.domains[n], Real) and t.numel()]
    rules = [s for s in (problem.lifted or problem.energy).summands() if s.required]
    out, done = dict(x), torch.zeros(problem.rows, dtype=torch.bool, device=problem.device)
    if not names or not rules:
        return out, done
    start = {n: x[n].double() for n in names}
    down = _slope(problem, x, start, of_energy=True)[1]
    size = _length(down).clamp(min=1e-300)
    for margin in MARGINS:
        at, ahead = start, {n: -margin * _led(1 / size, g) * g for n, g in down.items()}
        for _ in range(STEPS):
            seen = {n: t + ahead[n] for n, t in at.items()}
            value, slope = _slope(problem, x, seen)
            if not bool((value > 0).any()):
                break
            pace = 2 * value / _length(slope).square().clamp(min=1e-300)
            for n, t in at.items():
                moved = _inside(problem, n, t - _led(pace, t) * slope[n])
                at = {**at, n: torch.where(_led(value > 0, t), moved, t)}
        state = {**x, **{n: t.to(x[n].dtype) for n, t in at.items()}}
        kept = (problem.totals(state).violation == 0) & ~done
        said = verdicts(rules, problem.asked(state)) if bool(kept.any()) else []
        holds = torch.tensor([one is True for one in said], device=done.device)
        better = kept & holds if len(said) else kept & False
        for n in names:
            out[n] = torch.where(_led(better, out[n]), state[n], out[n])
        done = done | better
        if bool(done.all()):
            break
    return out, done


def _slope(
    problem: Problem, x: State, at: dict[str, Tensor], of_energy: bool = False
) -> tuple[Tensor, dict[str, Tensor]]:
    """V, or the energy, and how it rises. -> (R,), (R, *shape) each"""
    leaves = {n: t.detach().clone().requires_grad_() for n, t in at.items()}
    with torch.enable_grad():
        got = problem.constraints({**x, **leaves})
        value = got.energy if of_energy else 0.5 * off_by(got).square().sum(1)
    every: tuple[Tensor | None, ...] = (None,) * len(leaves)
    if value.requires_grad:
        every = torch.autograd.grad(value.sum(), list(leaves.values()), allow_unused=True)
    pairs = zip(leaves.items(), every, strict=True)
    slope = {n: torch.zeros_like(t) if g is None else g.nan_to_num(0, 0, 0) for (n, t), g in pairs}
    return value.detach().nan_to_num(0.0, 0.0, 0.0), slope


def _length(slope: dict[str, Tensor]) -> Tensor:
    """The length of vectors that stand by variable. -> (R,)"""
    squares = [g.double().square().reshape(len(g), -1).sum(1) for g in slope.values()]
    return torch.stack(squares).sum(0).sqrt()


def _led(row: Tensor, like: Tensor) -> Tensor:
    """(R,) -> (R, 1, ...), with as many axes"""
    return row.view(-1, *[1] * (like.dim() - 1))


def _inside(problem: Problem, name: str, x: Tensor) -> Tensor:
    """The nearest numbers of a domain, as the terms see them."""
    return problem.domain(name).project(problem.rounded(name, x))

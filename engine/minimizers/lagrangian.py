"""Augmented Lagrangian over real variables: multipliers for every entry of every residual.

Minimizes f(x) + sum_i (lambda_i r_i(x) + mu / 2 r_i(x)^2) over a box, where f is the energy of the
weighted terms and r are the residuals of the required ones; a required term without a residual
enters by mu times its energy. The inner minimization is projected L-BFGS: the two-loop recursion on
the sites that no edge holds, steps projected into the box, halved until the objective falls enough.
Where the slope is small lambda_i grows by mu r_i, and mu where the residual has not shrunk enough.
Sources: Nocedal and Wright, "Numerical Optimization", 2006, chapters 7.2 and 17.3; Bertsekas,
"Constrained Optimization and Lagrange Multiplier Methods", 1982 (projected steps).
Finds local minima, to the precision of the terms: those of float64 to nine digits.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from engine.compare import best_of, better
from engine.domain import State
from engine.domain.told import spread
from engine.energy import total_of
from engine.errors import BadQuery, Mistake
from engine.minimizer import Minimizer, score, sound
from engine.moves.gradient import Frame, box_edges, frame_of, where
from engine.problem import Problem
from engine.random import Stream
from engine.rows import Report, particles_of

ARMIJO, HALVED = 1e-4, 12  # share of the foretold fall asked for; halvings of a step
SHRUNK, STEEPER, STEEPEST = 0.25, 10.0, 1e10  # of the residual, of mu, and the end of mu


class LagrangianState(NamedTuple):
    """All particles, and the best settled state of each row."""

    frame: Frame
    x: Tensor  # (R * P, D) float64
    value: Tensor  # (R * P,) of the augmented Lagrangian
    slope: Tensor  # (R * P, D)
    residual: Tensor  # (R * P, m)
    moved: Tensor  # (R * P, memory, D) the last steps, 0 where there were none
    turned: Tensor  # (R * P, memory, D) how the slope changed by each
    multiplier: Tensor  # (R * P, m)
    mu: Tensor  # (R * P,)
    farthest: Tensor  # (R * P,) the largest residual when multipliers last grew
    inner: Tensor  # (R * P,) steps since then
    outer: Tensor  # (R * P,) times that they grew
    asleep: Tensor  # (R * P,) bool: settled, or given up
    best: dict[str, Tensor]  # (R, *event)
    energy: Tensor  # (R,)
    violation: Tensor  # (R,)
    done: Tensor  # (R,) bool


class _Seen(NamedTuple):
    value: Tensor
    slope: Tensor
    residual: Tensor


@dataclass(frozen=True)
class Lagrangian(Minimizer[LagrangianState]):
    """One projected L-BFGS step of every particle a step.

    memory: steps that L-BFGS remembers. mu: the first weight of squared residuals.
    slope, residual: at most so large where a particle has settled, of 1 + the largest multiplier.
    inner, outer: steps before multipliers grow at the latest, and how often they do.
    """

    memory: int = 12
    mu: float = 10.0
    slope: float = 1e-9
    residual: float = 1e-9
    inner: int = 400
    outer: int = 30

    def __post_init__(self):
        for name in ("memory", "inner", "outer"):
            if getattr(self, name) < 1:
                raise BadQuery(Mistake(name, f"{getattr(self, name)!r}", "give at least 1"))
        if not 0 < self.mu < math.inf:
            raise BadQuery(Mistake("mu", f"{self.mu!r}", "give a number above 0"))

    def refuses(self, problem: Problem) -> str | None:
        if any(v in problem.finite for v in problem.open):
            return "the augmented Lagrangian needs real variables; use gibbs"
        return None

    def init(self, problem: Problem, x: State, rng: Stream) -> LagrangianState:
        del rng
        if why := self.refuses(problem):
            raise BadQuery(why)
        frame, rows, particles = frame_of(problem), problem.rows, particles_of(problem, x)
        at = frame.sides(x, rows * particles)[1].double()
        one = at.new_ones(len(at))
        seen = self._seen(problem, frame, at, None, self.mu * one)
        past = at.new_zeros(len(at), self.memory, at.shape[1])
        infinite = at.new_full((rows,), math.inf)
        return LagrangianState(
            frame,
            at,
            *seen,
            past,
            past.clone(),
            torch.zeros_like(seen.residual),
            self.mu * one,
            one * math.inf,
            torch.zeros_like(one, dtype=torch.int64),
            torch.zeros_like(one, dtype=torch.int64),
            torch.zeros_like(one, dtype=torch.bool),
            {v.name: x[v.name][::particles].clone() for v in problem.open},
            infinite,
            infinite.clone(),
            torch.zeros(rows, dtype=torch.bool, device=at.device),
        )

    def step(self, problem: Problem, s: LagrangianState, rng: Stream) -> LagrangianState:
        del rng
        if s.done.all():
            return s
        s = self._descended(problem, s)
        due = (self._still(problem, s) | (s.inner >= self.inner)) & ~s.asleep
        if due.any():
            s = self._raised(problem, s, due)
        asleep = s.asleep.view(problem.rows, -1).all(1)
        return self._kept(problem, s, asleep) if (asleep & ~s.done).any() else s

    def report(self, problem: Problem, s: LagrangianState) -> Report:
        if not s.done.all():
            s = self._kept(problem, s, ~s.done)
        blank = Report.blank(problem, s.best)
        bound = torch.full_like(s.energy, problem.floor)
        return Report(s.best, s.energy, s.violation, bound, s.done, blank.unique, blank.others)

    def _seen(
        self, problem: Problem, frame: Frame, at: Tensor, multiplier: Tensor | None, mu: Tensor
    ) -> _Seen:
        """The augmented Lagrangian at some states, with its slope. at (B, D)"""
        leaf = at.detach().requires_grad_()
        particles = len(at) // problem.rows
        owner = torch.arange(problem.rows, device=at.device).repeat_interleave(particles)
        with torch.enable_grad():
            state = problem.whole(frame.state(leaf.new_zeros(len(at), 0), leaf), owner)
            residual, loose = _broken(problem, state)
            own = multiplier if multiplier is not None else torch.zeros_like(residual)
            square = 0.5 * residual.square().sum(1)
            value = problem.totals(state).energy + (own * residual).sum(1) + mu * (square + loose)
            slope = None
            if value.requires_grad:
                (slope,) = torch.autograd.grad(value.sum(), leaf, allow_unused=True)
        slope = torch.zeros_like(at) if slope is None else slope.nan_to_num(0.0, 0.0, 0.0)
        return _Seen(sound(value.detach()), slope.double(), residual.detach())

    def _descended(self, problem: Problem, s: LagrangianState) -> LagrangianState:
        """One projected step of the particles that are awake."""
        low, high = _edges(problem, s.frame, len(s.x))
        held = ((s.x <= low) & (s.slope > 0)) | ((s.x >= high) & (s.slope < 0))
        free = s.slope.masked_fill(held, 0.0)
        way = -_two_loops(free, s.moved, s.turned).masked_fill(held, 0.0)
        uphill = (way * free).sum(1) >= 0
        way = torch.where(uphill[:, None], -free, way)
        longest = way.abs().amax(1, keepdim=True).clamp(min=1e-300)
        first = (s.moved == 0).all(2).all(1, keepdim=True)  # nothing is known of the scale yet
        way = torch.where(first, way * (0.1 / longest).clamp(max=1.0), way)
        size, open_ = torch.ones_like(s.value), ~s.asleep
        x, seen = s.x, _Seen(s.value, s.slope, s.residual)
        for _ in range(HALVED):
            there = torch.where(open_[:, None], s.x + size[:, None] * way, x)
            there = torch.minimum(torch.maximum(there, low), high)
            got = self._seen(problem, s.frame, there, s.multiplier, s.mu)
            fall = ((there - s.x) * free).sum(1)
            taken = open_ & (got.value <= s.value + ARMIJO * fall.clamp(max=0.0))
            x = torch.where(taken[:, None], there, x)
            seen = _Seen(*(where(taken, a, b) for a, b in zip(got, seen, strict=True)))
            open_ = open_ & ~taken
            size = torch.where(open_, size / 2, size)
            if not open_.any():
                break
        step, turn = x - s.x, seen.slope - s.slope
        curved = (step * turn).sum(1) > 1e-12 * (turn * turn).sum(1)
        kept = (curved & ~s.asleep)[:, None, None]
        moved = torch.where(kept, torch.cat([s.moved[:, 1:], step[:, None]], 1), s.moved)
        turned = torch.where(kept, torch.cat([s.turned[:, 1:], turn[:, None]], 1), s.turned)
        stuck = open_ & ~first[:, 0]  # no step falls: what is remembered is of no use
        moved = moved.masked_fill(stuck[:, None, None], 0.0)
        turned = turned.masked_fill(stuck[:, None, None], 0.0)
        inner = s.inner + (~s.asleep).long()
        inner = torch.where(open_ & first[:, 0], self.inner, inner)
        return s._replace(
            x=x, value=seen.value, slope=seen.slope, residual=seen.residual,
            moved=moved, turned=turned, inner=inner,
        )  # fmt: skip

    def _still(self, problem: Problem, s: LagrangianState) -> Tensor:
        """Particles whose projected slope is small. -> (B,) bool"""
        low, high = _edges(problem, s.frame, len(s.x))
        back = torch.minimum(torch.maximum(s.x - s.slope, low), high) - s.x
        largest = s.multiplier.abs().amax(1) if s.multiplier.shape[1] else torch.zeros_like(s.mu)
        wanted = (0.1 ** (s.outer + 2)).clamp(min=self.slope)  # finer with every rise
        return back.abs().amax(1) <= wanted * (1.0 + largest)

    def _raised(self, problem: Problem, s: LagrangianState, due: Tensor) -> LagrangianState:
        """Multipliers of some particles grow, or the particles are settled."""
        far = s.residual.abs().amax(1) if s.residual.shape[1] else torch.zeros_like(s.mu)
        fine = (s.outer + 2 >= -math.log10(self.slope)) | (s.inner >= self.inner)
        over = due & ((fine & (far <= self.residual)) | (s.outer >= self.outer))
        grown = due & ~over
        multiplier = s.multiplier + torch.where(grown, s.mu, 0.0)[:, None] * s.residual
        slow = grown & (far > SHRUNK * s.farthest)
        mu = torch.where(slow, (s.mu * STEEPER).clamp(max=STEEPEST), s.mu)
        seen = self._seen(problem, s.frame, s.x, multiplier, mu)
        forget = grown[:, None, None]
        return s._replace(
            value=where(grown, seen.value, s.value),
            slope=where(grown, seen.slope, s.slope),
            multiplier=multiplier,
            mu=mu,
            farthest=torch.where(grown, far, s.farthest),
            inner=torch.where(grown, 0, s.inner),
            outer=s.outer + grown.long(),
            asleep=s.asleep | over,
            moved=torch.where(forget & slow[:, None, None], 0.0, s.moved),
            turned=torch.where(forget & slow[:, None, None], 0.0, s.turned),
        )

    def _kept(self, problem: Problem, s: LagrangianState, due: Tensor) -> LagrangianState:
        """The best particle of some rows, as it would be answered; rows that are settled are
        done."""
        state = s.frame.state(s.x.new_zeros(len(s.x), 0), s.x)
        state = {n: problem.domain(n).project(t) for n, t in state.items()}
        got = score(problem, {n: state.get(n, spread(t, len(s.x))) for n, t in s.best.items()})
        shape = (problem.rows, -1)
        energy, violation = (sound(t).view(shape) for t in got)
        pick = best_of(energy, violation)[:, None]
        e, v = energy.gather(1, pick)[:, 0], violation.gather(1, pick)[:, 0]
        ready = s.asleep.view(shape).all(1)
        wins = due & (ready | better(e, v, s.energy, s.violation) | (s.energy == math.inf))
        rows = torch.arange(problem.rows, device=pick.device)
        at = rows * (len(s.x) // problem.rows) + pick[:, 0]
        best = {n: where(wins, state[n][at], t) if n in state else t for n, t in s.best.items()}
        return s._replace(
            best=best,
            energy=torch.where(wins, e, s.energy),
            violation=torch.where(wins, v, s.violation),
            done=s.done | (due & ready),
        )


def _broken(problem: Problem, state: State) -> tuple[Tensor, Tensor]:
    """The residuals of all required terms side by side, and of computed sites, and what the terms
    without one are violated by. -> (B, m), (B,) float64"""
    loose = total_of(state, ())
    parts = [loose.new_zeros(len(loose), 0), *problem.completion.beyond(state)]
    for summand in problem.summands:
        if not summand.required:
            continue
        term = summand.term
        own = term.residual(*term.hot(term.views(state)))
        if own is None:
            loose = loose + term(state).double()
            continue
        there = term.there(state)
        own = own if there is None else torch.where(there[:, None], own, 0.0)
        parts.append(own.double().reshape(len(loose), -1))
    return torch.cat(parts, 1), loose


def _two_loops(slope: Tensor, moved: Tensor, turned: Tensor) -> Tensor:
    """The slope times the inverse curvature that the last steps tell. (B, D) -> (B, D)"""
    product = (moved * turned).sum(2)  # (B, memory)
    known = product > 0
    rho = torch.where(known, 1.0 / torch.where(known, product, 1.0), 0.0)
    q, shares = slope, []
    for k in range(moved.shape[1] - 1, -1, -1):
        share = rho[:, k] * (moved[:, k] * q).sum(1)
        q = q - share[:, None] * turned[:, k]
        shares.append(share)
    last = (turned[:, -1] * turned[:, -1]).sum(1)
    scale = torch.where(known[:, -1], product[:, -1] / last.clamp(min=1e-300), 1.0)
    q = scale[:, None] * q
    for k in range(moved.shape[1]):
        back = rho[:, k] * (turned[:, k] * q).sum(1)
        q = q + (shares[-1 - k] - back)[:, None] * moved[:, k]
    return q


def _edges(problem: Problem, frame: Frame, batch: int) -> tuple[Tensor, Tensor]:
    """Low and high of every site of every particle. -> (B, D) each"""
    low, high = box_edges(problem, frame)
    return tuple(e.repeat_interleave(batch // problem.rows, 0) for e in (low, high))  # type: ignore[return-value]

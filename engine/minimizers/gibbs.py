"""Gradient-informed sampling of decided states, for energies that can only be evaluated.

With d(i, v) the change that the gradient foretells for site i taking value v, `flips` draws a move
of one site, of a path of sites or of all sites from exp(-beta d / 2), and it is taken with
probability min(1, exp(-beta (L(x') - L(x))) q(x | x') / q(x' | x)), so that a gradient that
misleads costs speed, never truth. Real variables take Langevin steps in the same manner; where a
problem has both kinds, a coin says which of the two a particle moves. L = energy + multiplier *
violation. Every step evaluates energy and gradient once, at the proposed states; as a minimizer,
beta rises geometrically over an anneal, and after it multipliers grow where rules fail and the
reals of the best state go downhill; as a sampler, beta stands and no move may raise the violation.
Sources: Grathwohl, Swersky, Hashemi, Duvenaud, Maddison, "Oops I took a gradient", ICML 2021;
Zanella, JASA 2020 (locally informed proposals); Roberts and Tweedie, Bernoulli 1996 (Langevin);
those of `engine.moves.proposals`. At the edges of a box, where a step is projected, the Langevin
correction is approximate.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from engine.answer import Proof
from engine.compare import LEVEL, best_of, better, proved
from engine.domain import State
from engine.errors import BadQuery, Mistake
from engine.minimizer import Best, Minimizer, heard, sound
from engine.moves.gradient import (
    ELEMENTS,
    WORD,
    Evaluated,
    Frame,
    Move,
    box_edges,
    box_widths,
    evaluate,
    frame_of,
    langevin_drift,
    open_literals,
    power,
    present_slope,
    round_real,
    where,
)
from engine.moves.proposals import Flips, Single
from engine.moves.sampler import Sampler
from engine.problem import Problem
from engine.random import Stream
from engine.rows import Report, particles_of, put_rows, select_rows

POLISH = 24  # steps downhill of the best state after an anneal, where there are reals


class GibbsState(NamedTuple):
    """All particles with their last evaluation, and the best decided state of each row."""

    frame: Frame
    now: Evaluated
    age: Tensor  # (R,) steps done
    multiplier: Tensor  # (R,)
    beta: Tensor  # (R, 2) hot and cold
    pace: Tensor  # (R * P,) Langevin step
    stale: Tensor  # (R,) anneals since the last better state
    improved: Tensor  # (R,) bool: in the present anneal
    x: dict[str, Tensor]  # (R, *shape) best decided states
    energy: Tensor  # (R,)
    violation: Tensor  # (R,)
    done: Tensor  # (R,) bool


@dataclass(frozen=True)
class Gibbs(Minimizer[GibbsState], Sampler):
    """One evaluation with gradient a step, for every particle.

    flips: how finite sites move. pace: Langevin step in squared widths of a box; None: adapted to
    the moves that are taken (while minimizing), 0.01 (while sampling).
    steps: length of one anneal; None: from the number of sites.
    hot, cold: inverse temperatures of its ends; None: from the scale of the energy, row by row.
    patience: anneals without a better state after which a row is done; None: only at the floor.
    elements: literals and real sites of all particles evaluated in one step, `rows` rows at least.
    """

    proof: ClassVar[Proof] = Proof.FLOOR

    steps: int | None = None
    hot: float | None = None
    cold: float | None = None
    patience: int | None = 20
    flips: Flips = Single()
    pace: float | None = None
    elements: int = ELEMENTS
    rows: int = 8

    def __post_init__(self):
        for name in ("elements", "rows"):
            if getattr(self, name) < 1:
                raise BadQuery(Mistake(name, f"{getattr(self, name)!r}", "give at least 1"))
        if self.steps is not None and self.steps < 1:
            raise BadQuery(Mistake("steps", f"{self.steps!r}", "give at least 1"))
        if self.pace is not None and not self.pace > 0:
            raise BadQuery(Mistake("pace", f"{self.pace!r}", "give a number above 0"))

    def walk(
        self, problem: Problem, x: State, steps: int, rng: Stream, beta: float = 1.0
    ) -> dict[str, Tensor]:
        frame = frame_of(problem)
        batch = len(next(iter(x.values())))
        now = evaluate(problem, frame, *frame.sides(x, batch))
        one = torch.ones_like(now.energy)
        move = Move(problem, frame, self.flips, 0 * one, beta * one, (self.pace or 0.01) * one)
        tilt = move.tilt(now)
        for k in range(steps):
            here, there, ratio, _ = move.propose(now, tilt, rng.fork(k))
            u = rng.fork(k).fork(WORD).uniform(batch // problem.rows, 2, dtype=torch.float64)
            worse = here.violation > now.violation + LEVEL
            taken = (u[:, 1].log() <= ratio) & ~worse
            now = Evaluated(*(where(taken, a, b) for a, b in zip(here, now, strict=True)))
            tilt = where(taken, there, tilt)
        return {**x, **{n: t.to(x[n].dtype) for n, t in frame.decided(now.hot, now.real).items()}}

    def init(self, problem: Problem, x: State, rng: Stream) -> GibbsState:
        frame = frame_of(problem)
        rows = problem.rows
        x = {v.name: x[v.name] for v in problem.open}
        particles = particles_of(problem, x)
        now = evaluate(problem, frame, *frame.sides(x, rows * particles))
        infinite = torch.full((rows,), math.inf, dtype=torch.float64, device=problem.device)
        zero = torch.zeros_like(infinite, dtype=torch.int64)
        s = GibbsState(
            frame,
            now,
            zero,
            torch.ones_like(infinite),
            infinite.new_ones(rows, 2),
            infinite.new_ones(rows * particles),
            zero,
            zero > 0,
            {n: t[::particles].clone() for n, t in x.items()},
            infinite,
            infinite,
            zero > 0,
        )
        s = self._scaled(problem, s)
        return self._settled(problem, self._kept(problem, s, now))

    def step(self, problem: Problem, s: GibbsState, rng: Stream) -> GibbsState:
        open_rows = (~s.done).nonzero().reshape(-1)
        if not len(open_rows):
            return s
        if len(open_rows) == problem.rows:
            return self._advanced(problem, s, rng)
        rows, total = open_rows.tolist(), problem.rows
        some = self._advanced(
            problem.select(rows), select_rows(s, rows, total), rng.select(open_rows)
        )
        return put_rows(s, some, rows, total)

    def width(self, s: GibbsState) -> int:
        elements = s.now.hot.numel() + s.now.real.numel()  # of all rows
        return max(self.rows, self.elements * len(s.age) // max(1, elements))

    def report(self, problem: Problem, s: GibbsState) -> Report:
        bound = torch.full_like(s.energy, problem.floor)
        return Best(s.x, s.energy, s.violation).reported(problem, bound, s.done)

    def told(self, problem: Problem, s: GibbsState, report: Report) -> GibbsState:
        best, _, done = heard(problem, report, Best(s.x, s.energy, s.violation))
        return s._replace(**best._asdict(), done=s.done | done)

    def length(self, frame: Frame) -> int:
        """Steps of one anneal."""
        sites = int(frame.owner.max()) + 1 if len(frame.owner) else 0
        sites += sum(math.prod(event) for _, event in frame.real)
        return self.steps or max(200, 20 * sites)

    def _advanced(self, problem: Problem, s: GibbsState, rng: Stream) -> GibbsState:
        """One step of all rows of the problem."""
        particles = len(s.pace) // problem.rows
        rng = rng.at(s.age)
        beta = self._beta(s).repeat_interleave(particles)
        multiplier = s.multiplier.repeat_interleave(particles)
        there = s.now
        move = Move(problem, s.frame, self.flips, multiplier, beta, s.pace)
        here, _, ratio, flips = move.propose(there, move.tilt(there), rng)
        u = rng.fork(WORD).uniform(particles, 2, dtype=torch.float64)
        taken = u[:, 1].log() <= ratio
        s = self._kept(problem, s, here)
        pace = s.pace
        if self.pace is None:
            pace = torch.where(flips, pace, pace * torch.where(taken, 1.15, 0.8))
        now = Evaluated(*(where(taken, a, b) for a, b in zip(here, there, strict=True)))
        s = s._replace(now=now, pace=pace, age=s.age + 1)
        return self._settled(problem, s)

    def _beta(self, s: GibbsState) -> Tensor:
        """Inverse temperature of each row at its count. -> (R,)"""
        length = self.length(s.frame)
        t = (s.age % length).double() / max(1, length - 1)
        hot, cold = s.beta.clamp(min=1e-12).unbind(1)
        return torch.where(hot == cold, hot, power(hot, 1 - t) * power(cold, t))

    def _scaled(self, problem: Problem, s: GibbsState) -> GibbsState:
        """Multipliers, temperatures and Langevin steps from the slopes at the start."""
        rows, now = problem.rows, s.now
        mask = open_literals(problem, s.frame, len(s.pace) // rows) & (now.hot < 0.5)
        width = box_widths(problem, s.frame, len(s.pace) // rows)
        terms = []
        for hot, real in ((now.hot_slope, now.real_slope), (now.hot_force, now.real_force)):
            d = (hot - present_slope(hot, now.hot, s.frame.owner)).double().abs()
            d = torch.cat([d.masked_fill(~mask, 0), (real * width).abs().double()], 1)
            d = d.view(rows, -1)
            terms.append(d.sum(1) / (d > 1e-12).sum(1).clamp(min=1))
        cost, force = terms
        unit = torch.where(cost > 0, cost, 1.0)
        multiplier = unit / torch.where(force > 0, force, 1.0)
        both = torch.where(cost > 0, cost, torch.where(force > 0, unit, 1.0))
        beta = torch.stack([0.5 / both, 50 / both], 1)
        if self.hot is not None:
            beta[:, 0] = self.hot
        if self.cold is not None:
            beta[:, 1] = self.cold
        pace = (0.05 / both).repeat_interleave(len(s.pace) // rows)
        if self.pace is not None:
            pace = torch.full_like(pace, self.pace)
        return s._replace(multiplier=multiplier, beta=beta, pace=pace)

    def _kept(self, problem: Problem, s: GibbsState, seen: Evaluated) -> GibbsState:
        """The best of the rows so far and of these states, by violation, then energy; a state
        without a finite energy is never the best."""
        shape = (problem.rows, -1)
        e = sound(seen.energy).view(shape)
        v = sound(seen.violation).view(shape).masked_fill(e == math.inf, math.inf)
        pick = best_of(e, v)[:, None]
        e, v = e.gather(1, pick)[:, 0], v.gather(1, pick)[:, 0]
        at = better(e, v, s.energy, s.violation).nonzero().reshape(-1)
        if not len(at):
            return s
        much = s.energy[at] - e[at] > LEVEL * e[at].abs().nan_to_num(0, 0, 0)
        much = much | (v[at] < s.violation[at] - LEVEL)
        particles = len(seen.energy) // problem.rows
        first = torch.arange(problem.rows, device=at.device) * particles
        source = (first + pick[:, 0])[at]
        found = s.frame.decided(seen.hot[source], seen.real[source])
        return s._replace(
            x={
                n: t.index_copy(0, at, found[n].to(t.dtype)) if n in found else t
                for n, t in s.x.items()
            },
            energy=s.energy.index_copy(0, at, e[at]),
            violation=s.violation.index_copy(0, at, v[at]),
            improved=s.improved.index_fill(0, at[much], True),
        )

    def _settled(self, problem: Problem, s: GibbsState) -> GibbsState:
        """Multipliers after an anneal, and which rows are done."""
        ends = s.age % self.length(s.frame) == 0
        if ends.any() and int(s.age.max()):
            broken = (s.now.violation > 0).view(problem.rows, -1).double().mean(1)
            multiplier = torch.where(ends, s.multiplier * (1 + broken), s.multiplier)
            stale = torch.where(ends, torch.where(s.improved, 0, s.stale + 1), s.stale)
            s = s._replace(multiplier=multiplier, stale=stale, improved=s.improved & ~ends)
            if s.frame.real:
                s = self._polished(problem, s, ends.nonzero().reshape(-1))
        bound = torch.full_like(s.energy, problem.floor)
        done = s.done | proved(problem, s.x, s.energy, s.violation, bound)
        if self.patience is not None:
            done = done | (s.stale >= self.patience)
        if not len(s.frame.finite) and not len(s.frame.real):
            done = torch.ones_like(done)
        return s._replace(done=done)

    def _polished(self, problem: Problem, s: GibbsState, rows: Tensor) -> GibbsState:
        """The best states of some rows, their reals some projected steps downhill, each taken only
        where the state is the better one; a step grows while it is taken, and shrinks."""
        some, frame = problem.select(rows.tolist()), s.frame
        hot, real = frame.sides({n: t[rows] for n, t in s.x.items()}, len(rows))
        width, one = box_widths(some, frame, 1), torch.ones_like(s.multiplier[rows])
        low, high = box_edges(some, frame)
        best = evaluate(some, frame, hot, real)
        steep = (
            langevin_drift(best, s.multiplier[rows], one, width).abs() / width.clamp(min=1e-300)
        ).amax(1)
        pace = 0.1 / steep.clamp(min=1e-30)
        for _ in range(POLISH):
            moved = best.real + langevin_drift(best, s.multiplier[rows], pace, width)
            moved = torch.clamp(round_real(some, frame, moved), low, high)
            here = evaluate(some, frame, hot, torch.where(low == high, low, moved))
            pairs = ((here.energy, here.violation), (best.energy, best.violation))
            (energy, violation), (other, broken) = ((sound(e), sound(v)) for e, v in pairs)
            fell = better(energy, violation, other, broken)
            best = Evaluated(*(where(fell, a, b) for a, b in zip(here, best, strict=True)))
            pace = torch.where(fell, 2 * pace, pace / 4)
        found = frame.decided(best.hot, best.real)
        return s._replace(
            x={n: t.index_copy(0, rows, found[n]) if n in found else t for n, t in s.x.items()},
            energy=s.energy.index_copy(0, rows, sound(best.energy)),
            violation=s.violation.index_copy(0, rows, sound(best.violation)),
        )

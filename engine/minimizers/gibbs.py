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
those of `engine.flips`. At the edges of a box, where a step is projected, the Langevin correction
is approximate.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from engine.compare import LEVEL, best_of, better, proved
from engine.domain import Finite, Real, State
from engine.errors import BadQuery, Mistake
from engine.flips import Flips, Single, site_sum, spread
from engine.minimizer import Minimizer, Report, put_rows, select_rows, sound
from engine.problem import Problem
from engine.random import Stream
from engine.sampler import Sampler

ELEMENTS = 4_000_000  # literals and real sites of all particles evaluated in one step
ROWS = 8  # rows moved in one step, however large
POLISH = 24  # steps downhill of the best state after an anneal, where there are reals
WORD, NOISE, FLIP = 301, 302, 303  # lanes of the stream


class Seen(NamedTuple):
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
        out = {}
        for flat, variables in ((hot, self.finite), (real, self.real)):
            start = 0
            for name, event in variables:
                size = math.prod(event)
                out[name] = flat[:, start : start + size].reshape(-1, *event)
                start += size
        return out


class GibbsState(NamedTuple):
    """All particles with their last evaluation, and the best decided state of each row."""

    frame: Frame
    now: Seen
    age: Tensor  # (R,) steps done
    multiplier: Tensor  # (R,)
    beta: Tensor  # (R, 2) hot and cold
    pace: Tensor  # (R * P,) Langevin step
    stale: Tensor  # (R,) anneals since the last better state
    improved: Tensor  # (R,) bool: in the present anneal
    x: dict[str, Tensor]  # (R, *event) best decided states
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
    """

    steps: int | None = None
    hot: float | None = None
    cold: float | None = None
    patience: int | None = 20
    flips: Flips = Single()
    pace: float | None = None

    def __post_init__(self):
        if self.steps is not None and self.steps < 1:
            raise BadQuery(Mistake("steps", f"{self.steps!r}", "give at least 1"))
        if self.pace is not None and not self.pace > 0:
            raise BadQuery(Mistake("pace", f"{self.pace!r}", "give a number above 0"))

    def walk(
        self, problem: Problem, x: State, steps: int, rng: Stream, beta: float = 1.0
    ) -> dict[str, Tensor]:
        frame = frame_of(problem)
        batch = len(next(iter(x.values())))
        now = evaluate(
            problem,
            frame,
            side([x[n] for n, _ in frame.finite], batch),
            side([x[n] for n, _ in frame.real], batch),
        )
        one = torch.ones(batch, dtype=torch.float64)
        move = Move(problem, frame, self.flips, 0 * one, beta * one, (self.pace or 0.01) * one)
        tilt = move.tilt(now)
        for k in range(steps):
            here, there, ratio, _ = move.propose(now, tilt, rng.fork(k))
            u = rng.fork(k).fork(WORD).uniform(batch // problem.rows, 2, dtype=torch.float64)
            worse = here.violation > now.violation + LEVEL
            taken = (u[:, 1].log() <= ratio) & ~worse
            now = Seen(*(where(taken, a, b) for a, b in zip(here, now, strict=True)))
            tilt = where(taken, there, tilt)
        return {**x, **{n: t.to(x[n].dtype) for n, t in frame.state(now.hot, now.real).items()}}

    def init(self, problem: Problem, x: State, rng: Stream) -> GibbsState:
        frame = frame_of(problem)
        rows = problem.rows
        x = {n: x[n] for n in problem.domains}
        particles = next(iter(x.values())).shape[0] // rows
        hot = side([x[n] for n, _ in frame.finite], rows * particles)
        real = side([x[n] for n, _ in frame.real], rows * particles)
        now = evaluate(problem, frame, hot, real)
        infinite = torch.full((rows,), math.inf, dtype=torch.float64)
        s = GibbsState(
            frame,
            now,
            torch.zeros(rows, dtype=torch.int64),
            torch.ones(rows, dtype=torch.float64),
            torch.ones(rows, 2, dtype=torch.float64),
            torch.ones(rows * particles, dtype=torch.float64),
            torch.zeros(rows, dtype=torch.int64),
            torch.zeros(rows, dtype=torch.bool),
            {n: t[::particles].clone() for n, t in x.items()},
            infinite,
            infinite.clone(),
            torch.zeros(rows, dtype=torch.bool),
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
        return max(ROWS, ELEMENTS * len(s.age) // max(1, elements))

    def report(self, problem: Problem, s: GibbsState) -> Report:
        blank = Report.blank(problem, s.x)
        bound = torch.full_like(s.energy, problem.floor)
        return Report(s.x, s.energy, s.violation, bound, s.done, blank.unique, blank.others)

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
        now = Seen(*(where(taken, a, b) for a, b in zip(here, there, strict=True)))
        s = s._replace(now=now, pace=pace, age=s.age + 1)
        return self._settled(problem, s)

    def _beta(self, s: GibbsState) -> Tensor:
        """Inverse temperature of each row at its count. -> (R,)"""
        length = self.length(s.frame)
        t = (s.age % length).double() / max(1, length - 1)
        hot, cold = s.beta.clamp(min=1e-12).unbind(1)
        return torch.where(hot == cold, hot, hot ** (1 - t) * cold**t)

    def _scaled(self, problem: Problem, s: GibbsState) -> GibbsState:
        """Multipliers, temperatures and Langevin steps from the slopes at the start."""
        rows, now = problem.rows, s.now
        mask = _movable(problem, s.frame, len(s.pace) // rows) & (now.hot < 0.5)
        width = _widths(problem, s.frame, len(s.pace) // rows)
        terms = []
        for hot, real in ((now.hot_slope, now.real_slope), (now.hot_force, now.real_force)):
            d = (hot - _present(hot, now.hot, s.frame.owner)).double().abs()
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

    def _kept(self, problem: Problem, s: GibbsState, seen: Seen) -> GibbsState:
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
        source = (torch.arange(problem.rows) * particles + pick[:, 0])[at]
        found = s.frame.state(seen.hot[source], seen.real[source])
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
        hot = side([s.x[n][rows] for n, _ in frame.finite], len(rows))
        real = side([s.x[n][rows] for n, _ in frame.real], len(rows))
        width, one = _widths(some, frame, 1), torch.ones(len(rows), dtype=torch.float64)
        low, high = _edges(some, frame)
        best = evaluate(some, frame, hot, real)
        steep = (_drift(best, s.multiplier[rows], one, width).abs() / width.clamp(min=1e-300)).amax(
            1
        )
        pace = 0.1 / steep.clamp(min=1e-30)
        for _ in range(POLISH):
            moved = best.real + _drift(best, s.multiplier[rows], pace, width)
            moved = torch.clamp(_rounded(some, frame, moved), low, high)
            here = evaluate(some, frame, hot, torch.where(low == high, low, moved))
            pairs = ((here.energy, here.violation), (best.energy, best.violation))
            (energy, violation), (other, broken) = ((sound(e), sound(v)) for e, v in pairs)
            fell = better(energy, violation, other, broken)
            best = Seen(*(where(fell, a, b) for a, b in zip(here, best, strict=True)))
            pace = torch.where(fell, 2 * pace, pace / 4)
        found = frame.state(best.hot, best.real)
        return s._replace(
            x={n: t.index_copy(0, rows, found[n]) if n in found else t for n, t in s.x.items()},
            energy=s.energy.index_copy(0, rows, sound(best.energy)),
            violation=s.violation.index_copy(0, rows, sound(best.violation)),
        )


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
        return _movable(self.problem, self.frame, len(self.beta) // self.problem.rows)

    @cached_property
    def open(self) -> Tensor:
        """Particles that have a finite site to move: one with two values left. -> (B,) bool"""
        if not len(self.frame.finite):
            return torch.zeros(len(self.beta), dtype=torch.bool)
        return (site_sum(self.movable.int(), self.frame.owner) > 1).any(1)

    @cached_property
    def free(self) -> bool:
        """Evidence leaves every literal open."""
        return bool(self.movable.all())

    def tilt(self, seen: Seen) -> Tensor:
        """Half of what the gradient foretells of ln p, for every literal; -inf where evidence
        closes it. -> (B, C)"""
        g = seen.hot_slope
        if bool((self.multiplier != 0).any()):
            g = g + self.multiplier.to(g)[:, None] * seen.hot_force
        tilt = (g - _present(g, seen.hot, self.frame.owner)) * (-self.beta / 2).to(g)[:, None]
        return tilt if self.free else tilt.masked_fill(~self.movable, -math.inf)

    def propose(
        self, there: Seen, tilt: Tensor, rng: Stream
    ) -> tuple[Seen, Tensor, Tensor, Tensor]:
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
        width = _widths(problem, frame, particles)
        drift = _drift(there, multiplier, self.pace, width)
        real, left = there.real, torch.zeros_like(flips)
        if len(frame.real):
            noise = rng.fork(NOISE).normal(particles, real.shape[1], dtype=torch.float64)
            moved = real.double() + drift + width * (2 * self.pace / beta).sqrt()[:, None] * noise
            low, high = (e.repeat_interleave(particles, 0) for e in _edges(problem, frame))
            moved = torch.where(low == high, low, _rounded(problem, frame, moved))
            inside = torch.where(low == high, low, torch.clamp(moved, low, high))
            real = where(flips, real, inside)
            if self.walls:
                left = ~flips & (inside != moved).any(1)
        here = evaluate(problem, frame, hot, real)
        change = _objective(here, multiplier) - _objective(there, multiplier)
        log = (-beta * change.nan_to_num(0.0)).masked_fill(left, -math.inf)
        back = _drift(here, multiplier, self.pace, width)
        chance = _langevin(there.real, here.real, drift, back, beta / self.pace, width)
        tilt = self.tilt(here)
        if flipped is not None:
            way = self.flips.return_log(flipped, tilt, frame.owner) - flipped.log
            chance = torch.where(flips, way.nan_to_num(-math.inf, math.inf, -math.inf), chance)
        return here, tilt, log + chance, flips


# ---------------------------------------------------------------- states


def frame_of(problem: Problem) -> Frame:
    used = {v.name for v in problem.energy.variables()}
    finite, real, owner, site = [], [], [torch.zeros(0, dtype=torch.long)], 0
    for name, domain in problem.domains.items():
        if name not in used:
            continue
        if isinstance(domain, Finite):
            finite.append((name, domain.event))
            owner.append(site + torch.arange(domain.sites).repeat_interleave(domain.event[-1]))
            site += domain.sites
        else:
            real.append((name, domain.event))
    return Frame(tuple(finite), tuple(real), torch.cat(owner))


def side(tensors: Sequence[Tensor], batch: int) -> Tensor:
    """Tensors side by side. -> (B, total)"""
    flat = [t.reshape(batch, -1) for t in tensors]
    return torch.cat(flat, 1) if flat else torch.zeros(batch, 0)


def evaluate(problem: Problem, frame: Frame, hot: Tensor, real: Tensor) -> Seen:
    """Energy, violation and the slopes of both, in one call of every term."""
    hot, real = hot.detach().requires_grad_(), real.detach().requires_grad_()
    state = frame.state(hot, real)
    if not state:
        none = hot.new_zeros(len(hot), dtype=torch.float64)
        return Seen(
            hot.detach(),
            real.detach(),
            none,
            none,
            hot.detach(),
            real.detach(),
            hot.detach(),
            real.detach(),
        )
    with torch.enable_grad():
        energy, violation = problem.energy.totals(state)
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
    return Seen(hot.detach(), real.detach(), energy.detach(), violation.detach(), *slopes)


def _objective(seen: Seen, multiplier: Tensor) -> Tensor:
    broken = torch.where(seen.violation == 0, 0.0, multiplier * seen.violation)
    return sound(seen.energy + broken)


def where(taken: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(taken.view(-1, *[1] * (a.dim() - 1)), a, b)


# ---------------------------------------------------------------- moves of finite sites


def _movable(problem: Problem, frame: Frame, particles: int) -> Tensor:
    """Literals that evidence leaves open. -> (R * P, C)"""
    parts = []
    for name, _ in frame.finite:
        domain = problem.domain(name)
        assert isinstance(domain, Finite)
        parts.append(domain.allowed.reshape(problem.rows, -1))
    if not parts:
        return torch.zeros(problem.rows * particles, 0, dtype=torch.bool)
    return torch.cat(parts, 1).repeat_interleave(particles, 0)


def _present(slope: Tensor, hot: Tensor, owner: Tensor) -> Tensor:
    """The slope of the literal that is true at each literal's site. (B, C) -> (B, C)"""
    if not len(owner):
        return slope
    return spread(site_sum(slope * hot, owner), owner)


# ---------------------------------------------------------------- moves of real sites


def _edges(problem: Problem, frame: Frame) -> tuple[Tensor, Tensor]:
    """Low and high of all real sites. -> (R, D) each"""
    low: list[Tensor] = []
    high: list[Tensor] = []
    for name, _ in frame.real:
        domain = problem.domain(name)
        assert isinstance(domain, Real)
        for out, edge in ((low, domain.low), (high, domain.high)):
            out.append(edge.expand(problem.rows, *domain.shape).reshape(problem.rows, -1))
    none = torch.zeros(problem.rows, 0, dtype=torch.float64)
    return (torch.cat(low, 1), torch.cat(high, 1)) if low else (none, none)


def _rounded(problem: Problem, frame: Frame, real: Tensor) -> Tensor:
    """Real sites as the terms see them: `Problem.rounded` of each variable. (B, D) -> same"""
    sizes = [math.prod(event) for _, event in frame.real]
    columns = zip(frame.real, real.split(sizes, 1), strict=True)
    return torch.cat([problem.rounded(name, x) for (name, _), x in columns], 1)


def _widths(problem: Problem, frame: Frame, particles: int) -> Tensor:
    """The unit of length at each real site: the width of its box, 1 where that is infinite, 0 where
    evidence fixes it. -> (R * P, D)"""
    low, high = _edges(problem, frame)
    width = torch.where((high - low).isfinite(), high - low, 1.0)
    return width.repeat_interleave(particles, 0)


def _drift(seen: Seen, multiplier: Tensor, pace: Tensor, width: Tensor) -> Tensor:
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


__all__ = ["Gibbs", "GibbsState"]

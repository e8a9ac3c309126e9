"""Augmented Lagrangian on real variables: multipliers for what must hold, projected L-BFGS inside.

What must hold are numbers c(x) between edges l and h: entries of the residuals of required terms,
and parts of those that have none (0 and 0), and sites that are computed (the edges of their
domains). With z the point of [l, h] nearest to c + m / mu, each particle minimizes over its box

    L(x) = E(x) + sum over c of m (c - z) + mu / 2 (c - z)^2

until little is to be gained; then each m grows by mu (c - z), of either sign, and mu tenfold unless
the largest |c - z| has fallen to a quarter. Where something must hold, E and each c are brought
first to slopes between a thousandth and a thousand at the start of the particle, so that their
units change little. The
inner search is limited-memory BFGS: the two-loop recursion over sites that are not held at an edge,
steps projected into the box and shortened until Armijo's condition holds. A particle stands still
once nothing is off by more than rounding and little is to be gained, or after so many rounds.
Rounding is that of each number's own term. What is off by more, but within the tolerance of its
term, is reported as violated by that (`compare.strictly`): a state that makes use of tolerances is
cheaper than the optimum, and gives way to it.
Sources: Hestenes, JOTA 4 (1969), and Powell (1969); Bertsekas, "Constrained Optimization and
Lagrange Multiplier Methods", 1982; Nocedal and Wright, "Numerical Optimization", 2006, ch. 7
(two-loop recursion) and 17 (bounds: 17.4); Bertsekas, SIAM J. Control Optim. 20 (1982) (projected
steps over free sites); Birgin and Martinez, "Practical Augmented Lagrangian Methods", 2014
(mu, units).
Finds local minima; `restarts` looks further.
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from engine.answer import Proof
from engine.compare import off_by, proved, strictly
from engine.domain import Finite, State
from engine.energy.parts import Constraints
from engine.errors import BadQuery, Mistake
from engine.minimizer import Best, Minimizer, heard, score, sound
from engine.moves.gradient import Frame, box_edges, frame_of, round_real
from engine.problem import Problem
from engine.random import Stream
from engine.rows import Report, particles_of

ARMIJO = 1e-4  # of the fall that the slope foretells, which a step must bring
TRIES = 16  # lengths of a step before its direction is given up
FIRST = 0.1  # of the width of a box: the first step of a search that has seen no curvature
FLAT = 1e-10  # of its largest value: curvature that says nothing
ROUGH = 1e-3  # what may still be gained after the first round, as `smallest`
WARM = 1e-6  # the same where multipliers are known from before; mu begins higher then
STEEPER = 10  # by so much
SHARPER = 0.1  # of that, after each further round
STEEPEST = 1e9  # beyond which no multiplier grows, nor mu, of E and c so divided
PROBES, NEAR = 4, 1e-4  # differences that tell how steep each c is, and their length, of a box
TINY = 1e-20  # slopes that say nothing
USUAL = 1e3  # slopes up to which, and down to its inverse, units are left as they are
WORK = 1_000_000  # numbers remembered by all rows of one step


class LagrangianState(NamedTuple):
    """All particles, and the best decided state of each row."""

    frame: Frame  # of the real sites
    fixed: dict[str, Tensor]  # (R * P, *shape) places at finite sites, which evidence decides
    at: Tensor  # (R * P, D) where they stand
    slope: Tensor  # (R * P, D) of L there
    value: Tensor  # (R * P,) L there
    unit: Tensor  # (R * P,) what E is multiplied by
    units: Tensor  # (R * P, n) and each c
    off: Tensor  # (R * P, n) c - z there
    clean: Tensor  # (R * P,) bool: nothing is violated there
    way: Tensor  # (R * P, D) direction of the next trial
    length: Tensor  # (R * P,) of it
    tries: Tensor  # (R * P,) lengths tried
    steps: Tensor  # (R * P, memory, D) the last steps, in a ring
    bends: Tensor  # (R * P, memory, D) what they changed of the slope
    pairs: Tensor  # (R * P,) steps remembered, and those overwritten
    signed: Tensor  # (R * P, n) multipliers m
    mu: Tensor  # (R * P,)
    gap: Tensor  # (R * P,) largest |c - z| after the last round
    sharp: Tensor  # (R * P,) a round ends where less than this is to be gained
    moves: Tensor  # (R * P,) steps of this round
    rounds: Tensor  # (R * P,) rounds done
    fresh: Tensor  # (R * P,) bool: L is another since it was evaluated
    still: Tensor  # (R * P,) bool
    best: Best
    done: Tensor  # (R,) bool


class Seen(NamedTuple):
    """One evaluation."""

    value: Tensor  # (B,) L
    slope: Tensor  # (B, D) of it
    energy: Tensor  # (B,)
    violation: Tensor  # (B,) without tolerance
    off: Tensor  # (B, n) c - z


@dataclass(frozen=True)
class Lagrangian(Minimizer[LagrangianState]):
    """One evaluation with gradient a step.

    memory: steps that the curvature is told from. inner: steps of one round at most.
    rounds: of one particle at most. smallest: fall of L, relative to max(1, |L|), below which
    nothing is to be gained.
    """

    proof: ClassVar[Proof] = Proof.FLOOR

    memory: int = 10
    inner: int = 200
    rounds: int = 40
    smallest: float = 1e-12

    def __post_init__(self):
        for name in ("memory", "inner", "rounds"):
            if getattr(self, name) < 1:
                raise BadQuery(Mistake(name, f"{getattr(self, name)!r}", "give at least 1"))
        if not 0 < self.smallest < 1:
            raise BadQuery(
                Mistake("smallest", f"{self.smallest!r}", "give a number between 0 and 1")
            )

    def refuses(self, problem: Problem) -> str | None:
        left = [v.name for v in problem.open if bool(undecided(problem, v.name).any())]
        if not left:
            return None
        return f"lagrangian moves real variables alone, not {', '.join(left)}; use gibbs"

    def init(self, problem: Problem, x: State, rng: Stream) -> LagrangianState:
        why = self.refuses(problem)
        if why is not None:
            raise BadQuery(why)
        rows, frame = problem.rows, replace(frame_of(problem), finite=())
        particles = particles_of(problem, x)
        flat = [x[name].reshape(rows * particles, -1).double() for name, _ in frame.real]
        at = (
            torch.cat(flat, 1)
            if flat
            else torch.zeros(rows, 0, dtype=torch.float64, device=problem.device)
        )
        at = _inside(at, *_edges(problem, frame, len(at)))
        fixed = {
            v.name: x[v.name]
            for v in problem.open
            if v.name in problem.used and isinstance(problem.domains[v.name], Finite)
        }
        own = {v.name: x[v.name][::particles].clone() for v in problem.open}
        infinite = at.new_full((rows,), math.inf)
        best, every = Best(own, infinite, infinite.clone()), torch.ones_like(infinite).bool()
        if not flat:  # nothing moves
            best = best.joined({}, *score(problem, own), every)
        with torch.no_grad():
            got = problem.constraints({**fixed, **_state(frame, at)} if flat else own)
        off, violation = off_by(got), strictly(got)
        unit, units = self._units(problem, fixed, frame, at, got, rng)
        off = units * off
        size = 0.5 * off.square().sum(1)
        mu = 10 * (unit * got.energy).abs().clamp(min=1.0) / size.clamp(min=1.0)
        one, count = torch.ones_like(mu), torch.zeros_like(mu, dtype=torch.int64)
        return LagrangianState(
            frame=frame,
            fixed=fixed,
            at=at,
            slope=torch.zeros_like(at),
            value=math.inf * one,
            unit=unit,
            units=units,
            off=off,
            clean=violation == 0,
            way=torch.zeros_like(at),
            length=one,
            tries=count,
            steps=at.new_zeros(len(at), self.memory, at.shape[1]),
            bends=at.new_zeros(len(at), self.memory, at.shape[1]),
            pairs=count.clone(),
            signed=torch.zeros_like(off),
            mu=mu.nan_to_num(1.0).clamp(1e-6, 1e6),
            gap=math.inf * one,
            sharp=max(ROUGH if off.shape[1] else 0.0, self.smallest) * one,
            moves=count.clone(),
            rounds=count.clone(),
            fresh=torch.ones_like(count, dtype=torch.bool),
            still=torch.full_like(count, not flat, dtype=torch.bool),
            best=best.joined(_state(frame, at), got.energy, violation, every),
            done=torch.full_like(every, not flat),
        )

    def step(self, problem: Problem, s: LagrangianState, rng: Stream) -> LagrangianState:
        if s.done.all():
            return s
        low, high = _edges(problem, s.frame, len(s.at))
        there = _inside(round_real(problem, s.frame, s.at + s.length[:, None] * s.way), low, high)
        there = torch.where((s.fresh | s.still)[:, None], s.at, there)
        seen = self._seen(problem, s, there)
        s = s._replace(
            best=s.best.joined(_state(s.frame, there), seen.energy, seen.violation, ~s.done)
        )
        s, turned, worn = self._tried(problem, s, there, seen)
        way, gain = _downhill(s, low, high)
        s = s._replace(
            way=torch.where(turned[:, None], way, s.way),
            length=torch.where(turned, 1.0, s.length),
        )
        told = (s.pairs > 0) | (gain == 0)  # a first step knows no scale
        size = torch.maximum(s.value.abs(), s.unit.clamp(max=1.0))
        calm = turned & told & (gain <= s.sharp * size)
        over = (calm | worn | (turned & (s.moves >= self.inner))) & ~s.still
        if over.any():
            s = self._priced(s, over, calm | worn)
        return self._finished(problem, s)

    def report(self, problem: Problem, s: LagrangianState) -> Report:
        bound = torch.full_like(s.best.energy, problem.floor)
        return s.best.reported(problem, bound, s.done)

    def told(self, problem: Problem, s: LagrangianState, report: Report) -> LagrangianState:
        best, _, done = heard(problem, report, s.best)
        return s._replace(best=best, done=s.done | done)

    def renewed(self, problem: Problem, s: LagrangianState) -> LagrangianState | None:
        """Every particle from where it stood, with its multipliers. Curvature is told anew: that
        of another mu, or of elsewhere, misleads."""
        frame = frame_of(problem)
        if not frame.real or frame.real != s.frame.real:
            return None
        if {v.name for v in problem.open} != s.best.x.keys():
            return None
        moved = _state(frame, s.at)
        x = problem.decide({name: moved[name] for name, _ in frame.real})
        others = {n: problem.domain(n).decide(t) for n, t in s.best.x.items() if n not in x}
        particles = len(s.at) // problem.rows
        others = {n: t.repeat_interleave(particles, 0) for n, t in others.items()}
        fresh = self.init(problem, {**others, **x}, Stream(0, problem.keys))
        if fresh.off.shape != s.off.shape or fresh.at.shape != s.at.shape:
            return None
        sharp = torch.full_like(s.sharp, max(WARM if s.off.shape[1] else 0.0, self.smallest))
        scale = (s.units / s.unit[:, None]) * (fresh.unit[:, None] / fresh.units)
        return fresh._replace(signed=scale * s.signed, mu=STEEPER * fresh.mu, sharp=sharp)

    def width(self, s: LagrangianState) -> int:
        return max(1, WORK * len(s.done) // max(1, s.steps.numel()))

    def _seen(self, problem: Problem, s: LagrangianState, there: Tensor) -> Seen:
        """L and its slope at some states."""
        leaf = there.detach().requires_grad_()
        with torch.enable_grad():
            got = problem.constraints({**s.fixed, **_state(s.frame, leaf)})
            values, low, high = (s.units * x for x in (got.values, got.low, got.high))
            wanted = values.detach() + s.signed / s.mu[:, None]
            off = values - torch.minimum(torch.maximum(wanted, low), high)
            value = s.unit * got.energy + (s.signed * off + s.mu[:, None] / 2 * off.square()).sum(1)
            slope: Tensor | None = None
            if value.requires_grad:
                (slope,) = torch.autograd.grad(value.sum(), leaf, allow_unused=True)
        slope = torch.zeros_like(leaf) if slope is None else slope.nan_to_num(0.0, 0.0, 0.0)
        violation = strictly(got).detach()
        return Seen(
            sound(value.detach()), slope.detach(), got.energy.detach(), violation, off.detach()
        )

    def _units(
        self,
        problem: Problem,
        fixed: dict[str, Tensor],
        frame: Frame,
        at: Tensor,
        got: Constraints,
        rng: Stream,
    ) -> tuple[Tensor, Tensor]:
        """Factors that give E and each c a usual slope where a search begins: that of E as it is,
        those of c by a few differences. -> (B,), (B, n)"""
        unit = torch.ones_like(got.energy)
        if not got.values.shape[1] or not at.shape[1]:
            return unit, torch.ones_like(got.values)
        leaf = at.detach().requires_grad_()
        with torch.enable_grad():
            energy = problem.constraints({**fixed, **_state(frame, leaf)}).energy
        if energy.requires_grad:
            (slope,) = torch.autograd.grad(energy.sum(), leaf, allow_unused=True)
            unit = unit if slope is None else _usual(slope.square().sum(1).sqrt())
        low, high = _edges(problem, frame, len(at))
        sizes = torch.where((high - low).isfinite(), high - low, at.abs().clamp(min=1.0))
        length = NEAR * torch.where(low == high, math.inf, sizes).amin(1, keepdim=True)
        rises = []
        for k in range(PROBES):
            way = rng.fork(k).normal(len(at) // problem.rows, at.shape[1], dtype=torch.float64)
            way = torch.where(low == high, 0.0, length * way)
            with torch.no_grad():
                there = problem.constraints({**fixed, **_state(frame, at + way)})
            rises.append(((there.values - got.values) / length).square())
        return unit, _usual(torch.stack(rises).mean(0).sqrt())

    def _tried(
        self, problem: Problem, s: LagrangianState, there: Tensor, seen: Seen
    ) -> tuple[LagrangianState, Tensor, Tensor]:
        """Trials taken, or shortened; which particles need another direction, and which of them
        have none left."""
        step = there - s.at
        foretold = (s.slope * step).sum(1)
        noise = _noise(problem) * s.value.abs().nan_to_num(0.0, 0.0, 0.0)
        fell = seen.value <= s.value + ARMIJO * foretold.clamp(max=0.0) + noise
        fell = fell & seen.value.isfinite() & (step != 0).any(1)
        taken = (s.fresh | fell) & ~s.still
        moved = taken & ~s.fresh
        s = self._remembered(s, step, seen.slope - s.slope, moved)
        tries = torch.where(taken, 0, s.tries + 1)
        worn = (tries >= TRIES) & ~s.still
        again = worn & (s.pairs > 0)  # once more, without a memory
        rise = (seen.value - s.value - foretold).nan_to_num(math.inf, math.inf, math.inf)
        share = torch.clamp(-foretold / (2 * rise), 0.1, 0.5).nan_to_num(0.1)
        lead = taken[:, None]
        s = s._replace(
            at=torch.where(lead, there, s.at),
            slope=torch.where(lead, seen.slope, s.slope),
            value=torch.where(taken, seen.value, s.value),
            off=torch.where(lead, seen.off, s.off),
            clean=torch.where(taken, seen.violation == 0, s.clean),
            length=s.length * share,
            tries=torch.where(worn, 0, tries),
            pairs=torch.where(again, 0, s.pairs),
            moves=s.moves + moved,
            fresh=s.fresh & ~taken,
        )
        return s, taken | worn, worn & ~again

    def _remembered(
        self, s: LagrangianState, step: Tensor, bend: Tensor, moved: Tensor
    ) -> LagrangianState:
        """The memory with the steps that were taken and saw the slope rise along them."""
        sizes = step.square().sum(1) * bend.square().sum(1)
        rows = (moved & ((step * bend).sum(1) > FLAT * sizes.sqrt())).nonzero().reshape(-1)
        if not len(rows):
            return s
        place = s.pairs[rows] % self.memory
        return s._replace(
            steps=s.steps.index_put((rows, place), step[rows]),
            bends=s.bends.index_put((rows, place), bend[rows]),
            pairs=s.pairs.index_add(0, rows, torch.ones_like(rows)),
        )

    def _priced(self, s: LagrangianState, over: Tensor, settled: Tensor) -> LagrangianState:
        """The next round of some particles, or none."""
        gap = s.off.abs().amax(1) if s.off.shape[1] else torch.zeros_like(s.mu)
        sharp = s.sharp <= self.smallest
        ended = over & ((s.clean & settled & sharp) | (s.rounds + 1 >= self.rounds))
        on = over & ~ended
        steeper = on & (gap > 0.25 * s.gap) & (s.mu < STEEPEST)
        signed = (s.signed + s.mu[:, None] * s.off).clamp(-STEEPEST, STEEPEST)
        return s._replace(
            signed=torch.where(on[:, None], signed, s.signed),
            mu=torch.where(steeper, 10 * s.mu, s.mu),
            gap=torch.where(on, gap, s.gap),
            sharp=torch.where(on, (SHARPER * s.sharp).clamp(min=self.smallest), s.sharp),
            pairs=torch.where(steeper, 0, s.pairs),
            moves=torch.where(on, 0, s.moves),
            rounds=s.rounds + on,
            fresh=s.fresh | on,
            still=s.still | ended,
        )

    def _finished(self, problem: Problem, s: LagrangianState) -> LagrangianState:
        """Rows whose particles all stand still, or whose best is at the floor, are done."""
        still = s.still.view(problem.rows, -1).all(1)
        best, bound = s.best, torch.full_like(s.best.energy, problem.floor)
        done = s.done | still | proved(problem, best.x, best.energy, best.violation, bound)
        asleep = done.repeat_interleave(len(s.at) // problem.rows)
        return s._replace(done=done, still=s.still | asleep)


def undecided(problem: Problem, name: str) -> Tensor:
    """Rows in which a variable has finite sites that evidence leaves open, or without a value.
    -> (R,) bool"""
    domain = problem.domain(name)
    if not isinstance(domain, Finite):
        return torch.zeros(problem.rows, dtype=torch.bool, device=problem.device)
    return (domain.allowed.reshape(problem.rows, domain.sites, -1).sum(-1) != 1).any(1)


def numbers_alone(problem: Problem) -> Tensor:
    """Rows in which real sites alone are left to decide. -> (R,) bool"""
    none = torch.zeros(problem.rows, dtype=torch.bool, device=problem.device)
    return ~sum((undecided(problem, v.name) for v in problem.open), none)


def _usual(slope: Tensor) -> Tensor:
    """What brings slopes between 1 / USUAL and USUAL; 1 where there is none."""
    good = slope.isfinite() & (slope > TINY) & (slope < 1 / TINY)
    slope = slope.masked_fill(~good, 1.0)
    return slope.clamp(1 / USUAL, USUAL) / slope


def _state(frame: Frame, at: Tensor) -> dict[str, Tensor]:
    """What moves, by variable. (B, D) -> {name: (B, *event)}"""
    return frame.state(at[:, :0], at)


def _edges(problem: Problem, frame: Frame, batch: int) -> tuple[Tensor, Tensor]:
    """Low and high of each site. -> (B, D) each"""
    low, high = box_edges(problem, frame)
    each = batch // problem.rows
    return low.repeat_interleave(each, 0), high.repeat_interleave(each, 0)


def _inside(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The nearest numbers in the box; given ones themselves."""
    return torch.where(low == high, low, torch.clamp(x, low, high))


def _noise(problem: Problem) -> float:
    """How much of a sum of energies may be rounding."""
    narrow = any(s.term.dtype != torch.float64 for s in problem.summands)
    return 4 * torch.finfo(torch.float32 if narrow else torch.float64).eps


def _downhill(s: LagrangianState, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """The two-loop recursion over the sites that no edge holds: the direction of each particle, and
    how far L falls along it to first order. -> (B, D), (B,)"""
    held = ((s.at <= low) & (s.slope > 0)) | ((s.at >= high) & (s.slope < 0))
    loose = (~held).double()
    q = s.slope * loose
    memory = s.steps.shape[1]
    age = torch.arange(memory, device=q.device)
    order = ((s.pairs[:, None] - 1 - age) % memory)[..., None].expand(s.steps.shape)
    steps = s.steps.gather(1, order) * loose[:, None]  # the newest first
    bends = s.bends.gather(1, order) * loose[:, None]
    along, bent = (steps * bends).sum(-1), bends.square().sum(-1)  # (B, memory)
    sizes = (steps.square().sum(-1) * bent).sqrt()
    good = (age < s.pairs[:, None]) & (along > FLAT * sizes)
    rho = torch.where(good, 1 / along.masked_fill(~good, 1.0), 0.0)
    shares = []
    for k in range(memory):
        shares.append(rho[:, k] * (steps[:, k] * q).sum(1))
        q = q - shares[k][:, None] * bends[:, k]
    newest = good.int().argmax(1, keepdim=True)
    curved = (along / bent.masked_fill(~good, 1.0)).gather(1, newest)
    steep = _first(s, loose, low, high)
    q = q * torch.where(good.any(1, keepdim=True), curved, steep)
    for k in reversed(range(memory)):
        back = rho[:, k] * (bends[:, k] * q).sum(1)
        q = q + (shares[k] - back)[:, None] * steps[:, k]
    gain = (s.slope * q).sum(1)
    bad = ~(gain > 0)
    q = torch.where(bad[:, None], steep * (s.slope * loose), q)  # 0 where an edge holds
    return -q, torch.where(bad, (s.slope * q).sum(1), gain)


def _first(s: LagrangianState, loose: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The step along the slope that moves no site by more than a share of its box. -> (B, 1)"""
    width = torch.where((high - low).isfinite(), high - low, 1.0)
    if not width.shape[1]:
        return width.new_ones(len(width), 1)
    fast = ((s.slope * loose).abs() / width.clamp(min=1e-300)).amax(1, keepdim=True)
    return FIRST / fast.clamp(min=1e-300)

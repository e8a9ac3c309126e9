"""What searches by moves over explicit structure share: rows of particles, the best of them scored
by the energy itself, rows that are done.

`_visit` moves the particles of one row: that is what annealing and tabu search differ in.
"""

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine.answer import Proof
from engine.compare import best_of, better, proved
from engine.decimals import surely_below
from engine.domain import State
from engine.errors import BadQuery, Mistake
from engine.minimizer import Best, Minimizer, Scored, heard, score
from engine.problem import Problem
from engine.random import Stream
from engine.rows import Report, particles_of
from engine.sweeps.layout import refusal
from engine.sweeps.run import (
    OpenValues,
    PreparedSweeps,
    layout_of,
    move_inside,
    open_values,
    probed,
    run_sweeps,
    unit_of,
)

HIDDEN = 102  # lane of the stream


class SweptState(NamedTuple):
    """Where every row stands."""

    plan: PreparedSweeps
    origin: Tensor  # (R,) the row of the plan, where its costs differ from row to row
    choices: Tensor  # (R, C) int16 allowed values of each site, packed
    options: Tensor  # (R, n) int32 how many
    sweep: Tensor  # (R,) sweeps done
    until: Tensor  # (R * P, C) int64 up to which sweep a value is not taken again; or (R * P, 0)
    places: Tensor  # (R * P, n) int16 states, hidden sites last
    best: Tensor  # (R * P, n) int16 the best of each particle
    scores: Tensor  # (R * P, 4) cost and violation of both
    multiplier: Tensor  # (R, rules)
    beta: Tensor  # (R, 2) hot and cold
    scale: Tensor  # (R,) by which multipliers grow
    stale: Tensor  # (R,) anneals since the last better state
    improved: Tensor  # (R,) bool: in the present anneal
    x: dict[str, Tensor]  # (R, *shape) best decided states
    energy: Tensor  # (R,)
    violation: Tensor  # (R,)
    bound: Tensor  # (R,)
    done: Tensor  # (R,) bool


@dataclass(frozen=True)
class Swept(Minimizer[SweptState]):
    """Abstract. Needs the whole energy as explicit structure over finite sites.

    sweeps: length of one round. patience: rounds without a better state after which a row is done;
    None: only when the bound is reached. visit: memory touches of one visit of a row; the default
    is about 5 ms. rows: of one step.
    """

    proof: ClassVar[Proof] = Proof.FLOOR

    sweeps: int = 500
    patience: int | None = 20
    visit: int = 1_000_000
    rows: int = 4

    def __post_init__(self):
        for name in ("sweeps", "visit", "rows"):
            if getattr(self, name) < 1:
                raise BadQuery(Mistake(name, f"{getattr(self, name)!r}", "give at least 1"))

    @abstractmethod
    def _visit(self, s: SweptState, r: int, rng: Stream) -> None:
        """Some moves of one row, up to the end of its round; writes into the copies in `s`."""

    def _marks(self, particles: int, literals: int) -> Tensor:
        """First of `until`, for so many particles."""
        del literals
        return torch.zeros(particles, 0, dtype=torch.int64)

    def refuses(self, problem: Problem) -> str | None:
        if not problem.finite:
            return "annealing needs finite variables; use descent"
        factors, rest = problem.factored()
        if rest is not None:
            names = ", ".join(part.label for part in rest.summands())
            return (
                f"annealing needs explicit structure, which these terms do not give: {names}; "
                "use gibbs, or descent where all variables are real numbers"
            )
        return refusal(factors)

    def prepare(self, problem: Problem) -> Iterator[None]:
        yield from problem.prepare()
        if self.refuses(problem) is None:
            layout_of(problem)
            yield

    def init(self, problem: Problem, x: State, rng: Stream) -> SweptState:
        why = self.refuses(problem)
        if why is not None:
            raise BadQuery(why)
        factors, _ = problem.factored()
        layout = layout_of(problem)
        rows, n = problem.rows, len(factors.sizes)
        particles = particles_of(problem, x)
        plan = PreparedSweeps(layout, particles, unit_of(problem))
        left = open_values(problem, layout)
        places = torch.zeros(rows * particles, n, dtype=torch.int16)
        if problem.finite:
            visible = problem.places({v.name: x[v.name] for v in problem.finite})
            places[:, : factors.visible] = torch.from_numpy(visible.astype(np.int16))
        move_inside(plan, left, places, rng.fork(HIDDEN))
        multiplier, beta, scale = self._scales(plan, left, places)
        bound = _bound(plan, left).to(problem.device)
        infinite = torch.full_like(bound, math.inf)
        s = SweptState(
            plan,
            torch.arange(rows),
            torch.from_numpy(left.choices),
            torch.from_numpy(left.options),
            torch.zeros(rows, dtype=torch.int64),
            self._marks(len(places), left.choices.shape[1]),
            places,
            places.clone(),
            torch.full((rows * particles, 4), math.inf, dtype=torch.float64),
            multiplier,
            beta,
            scale,
            torch.zeros(rows, dtype=torch.int64),
            torch.zeros(rows, dtype=torch.bool),
            {n: t[::particles] for n, t in x.items()},
            infinite,
            infinite.clone(),
            bound,
            bound == math.inf,
        )
        every = range(rows)
        if factors.visible < n:
            return self._scored(problem, s, every, places[:, : factors.visible], particles)
        for row in every:
            at = slice(row * particles, (row + 1) * particles)
            arrays = (places[at].numpy(), s.best[at].numpy(), s.scores[at].numpy())
            weight, blame = multiplier[row].numpy(), np.zeros(layout.rules)
            key = np.zeros(2, dtype=np.uint64)  # no draw is made
            own = OpenValues(left.choices[row], left.options[row])
            run_sweeps(plan, row, own, weight, np.zeros(0), key, 0, 0, arrays, blame)
        return self._scored(problem, s, every, *self._leaders(s, every))

    def step(self, problem: Problem, s: SweptState, rng: Stream) -> SweptState:
        open_rows = (~s.done).nonzero().reshape(-1)
        if not len(open_rows):
            return s
        rows = open_rows.tolist()
        changed = (
            "sweep",
            "until",
            "places",
            "best",
            "scores",
            "multiplier",
            "stale",
            "improved",
            "done",
        )
        s = s._replace(**{name: getattr(s, name).clone() for name in changed})
        lead = self._leads(s, rows)
        for r in rows:
            self._visit(s, r, rng)
        after = self._leads(s, rows)
        better = [r for r, a, b in zip(rows, lead, after, strict=True) if b < a]
        if s.plan.layout.visible < len(s.plan.layout.sizes):
            s = self._scored(problem, s, rows, *self._all(s, rows))
        elif better:
            s = self._scored(problem, s, better, *self._leaders(s, better))
        return self._settled(problem, s, rows)

    def report(self, problem: Problem, s: SweptState) -> Report:
        blank = Report.blank(problem, s.x)
        return Report(s.x, s.energy, s.violation, s.bound, s.done, blank.unique, blank.others)

    def width(self, s: SweptState) -> int:
        del s
        return self.rows

    def _scales(
        self, plan: PreparedSweeps, left: OpenValues, places: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """First multipliers, ends of beta, and the unit of cost, from the changes that single
        moves of random states would bring."""
        rows, p = len(left.options), plan.particles
        scale = torch.ones(rows, dtype=torch.float64)
        beta = torch.ones(rows, 2, dtype=torch.float64)
        weight = np.ones(plan.layout.rules)
        for r in range(rows):
            mine = places[r * p : (r + 1) * p].numpy()[:16]
            out = probed(
                plan.layout, r, left.choices[r], left.options[r], plan.field(r), weight, mine
            )
            cost = np.abs(out[..., 0])
            unit = cost[cost > 1e-12].mean() if (cost > 1e-12).any() else 1.0
            scale[r] = unit
            both = np.abs(out[..., 0] + unit * out[..., 1])
            both = both[both > 1e-12 * unit]
            if len(both):
                least = np.quantile(both, 0.05)
                if plan.scale is None:  # what is smaller may be rounding
                    least = max(least, 1e-6 * both.mean())
                beta[r] = torch.tensor([0.5 / both.mean(), math.log(100) / least])
        return scale[:, None].repeat(1, plan.layout.rules), beta, scale

    def told(self, problem: Problem, s: SweptState, report: Report) -> SweptState:
        best, bound, done = heard(problem, report, Best(s.x, s.energy, s.violation))
        return s._replace(**best._asdict(), bound=torch.maximum(s.bound, bound), done=s.done | done)

    def _leads(self, s: SweptState, rows: Sequence[int]) -> list[tuple[float, float]]:
        """Violation and cost of the best particle of some rows."""
        scores = s.scores.unflatten(0, (-1, s.plan.particles)).numpy()[rows]
        return [min(zip(row[:, 3].tolist(), row[:, 2].tolist(), strict=True)) for row in scores]

    def _leaders(self, s: SweptState, rows: Sequence[int]) -> tuple[Tensor, int]:
        """The best particle of some rows. -> (rows, visible)"""
        scores = s.scores.unflatten(0, (-1, s.plan.particles)).numpy()[rows]
        first = [int(np.lexsort((row[:, 2], row[:, 3]))[0]) for row in scores]
        index = torch.tensor(rows) * s.plan.particles + torch.tensor(first)
        return s.best[index, : s.plan.layout.visible], 1

    def _all(self, s: SweptState, rows: Sequence[int]) -> tuple[Tensor, int]:
        """Present and best states of all particles of some rows: where sites are hidden, the
        visible ones may be better than the hidden ones make them look."""
        shape, visible = (-1, s.plan.particles), s.plan.layout.visible
        both = [t[:, :visible].unflatten(0, shape)[rows] for t in (s.places, s.best)]
        return torch.cat(both, 1).flatten(0, 1), 2 * s.plan.particles

    def _scored(
        self, problem: Problem, s: SweptState, rows: Sequence[int], places: Tensor, each: int
    ) -> SweptState:
        """Scores candidates, `each` a row, by the energy itself; keeps those that are better."""
        at = torch.as_tensor(list(rows), dtype=torch.long, device=problem.device)
        fixed = {n: t[at].repeat_interleave(each, 0) for n, t in s.x.items()}
        states = {**fixed, **problem.state(places.numpy())}
        got = score(problem, states, at.repeat_interleave(each))
        energy = got.energy.unflatten(0, (-1, each)).nan_to_num(math.inf, math.inf, -math.inf)
        violation = got.violation.unflatten(0, (-1, each)).nan_to_num(math.inf, math.inf)
        pick = best_of(energy, violation)
        got = Scored(*(t.gather(1, pick[:, None])[:, 0] for t in (energy, violation)))
        taken = better(got.energy, got.violation, s.energy[at], s.violation[at])
        pick = (torch.arange(len(at), device=at.device) * each + pick)[taken]
        at = at[taken]
        if not len(at):
            return s
        return s._replace(
            x={n: t.index_copy(0, at, states[n][pick].to(t.dtype)) for n, t in s.x.items()},
            energy=s.energy.index_copy(0, at, got.energy[taken]),
            violation=s.violation.index_copy(0, at, got.violation[taken]),
            improved=s.improved.index_fill(0, at.cpu(), True),
        )

    def _settled(self, problem: Problem, s: SweptState, rows: Sequence[int]) -> SweptState:
        """Rows at their bound, or stale for long, are done; writes into the copies in `s`."""
        done = s.done | proved(problem, s.x, s.energy, s.violation, s.bound)
        improved, stale = s.improved.clone(), s.stale.clone()
        for r in rows:
            if int(s.sweep[r]) % self.sweeps == 0:
                stale[r] = 0 if improved[r] else stale[r] + 1
                improved[r] = False
        if self.patience is not None:
            done = done | (stale >= self.patience).to(done.device)
        return s._replace(done=done, improved=improved, stale=stale)


def _bound(plan: PreparedSweeps, left: OpenValues) -> Tensor:
    """Sum of the least cost of every table; infinite where a site has no value left."""
    layout, rows = plan.layout, len(left.options)
    offset = layout.structure.offset[:-1].astype(np.int64)
    out = np.zeros(rows)
    for r in range(rows):
        closed = layout.closed[r if len(layout.closed) > 1 else 0]
        cost = np.where(left.open(r, layout) & ~closed, plan.field(r), np.inf)
        least = np.minimum.reduceat(cost, offset) if len(offset) else np.zeros(0)
        least = least.sum() + layout.floor[r if len(layout.floor) > 1 else 0]
        if plan.scale is not None and math.isfinite(least):
            out[r] = plan.scale.below(int(least))
        else:
            out[r] = surely_below(float(least))
    return torch.from_numpy(out)

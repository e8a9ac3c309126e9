"""Mixed problems: complete search over the finite sites, the numbers minimized at each leaf.

A leaf is a decided state of the finite sites that explicit structure allows. With f(y) what is
explicit of the energy and g(y, x) the opaque rest of it, leaves under way are the rows of one
problem over x alone, where a minimizer of numbers moves many starts side by side. A leaf costs at
least f(y) plus the floor of g: it is not looked at where that is above the best, and the least of
it over all leaves is a bound. That the numbers of a leaf were searched in vain refutes
nothing; only where explicit structure leaves no leaf, or rules over finite sites alone say of each
that they do not hold, is the problem infeasible.
Sources: Lawler and Wood, "Branch-and-bound methods", Operations Research 14 (1966); Dakin, "A
tree-search algorithm for mixed integer programming problems", Computer Journal 8 (1965).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine.compare import better, proved, verdicts
from engine.domain import Finite, Real, State
from engine.energy import Summand
from engine.errors import BadQuery, Mistake
from engine.minimizer import Best, Minimizer, heard, score
from engine.minimizers.lagrangian import Lagrangian
from engine.problem import Problem
from engine.problem.held import held_at
from engine.random import Stream
from engine.rows import UNKNOWN, Report, particles_of
from engine.search.leaves import Leaf, LeafSearch
from engine.search.prepared import Prepared, oversize, prepared_of, prepared_rows, refusal

INNER, AGAIN = 221, 222  # lanes of the stream
CONFLICTS = 400  # of one row in one step
KEPT = 4_096  # leaves of a row that are looked at again from other starts
FEW = 10  # bits: leaves of a row that are all looked at


class _Under(NamedTuple):
    """Leaves under way."""

    leaves: tuple[Leaf, ...]
    problem: Problem  # a row for each
    inner: Any  # the state of the inner minimizer there


class _Row(NamedTuple):
    """Where one row stands."""

    plan: Prepared
    search: LeafSearch
    start: dict[str, Tensor]  # (P, *event) where the numbers of each leaf start
    waiting: tuple[Leaf, ...] = ()  # found, and not begun
    under: _Under | None = None  # None: no leaf is
    known: tuple[Leaf, ...] = ()  # all that were found
    lowest: float = math.inf  # what the cheapest of them pays of explicit costs
    rounds: int = 1  # of starts begun

    @property
    def count(self) -> int:
        """How many leaves are under way."""
        return 0 if self.under is None else len(self.under.leaves)


class LeavesState(NamedTuple):
    """All rows, and the best decided state of each."""

    rows: tuple[_Row, ...]
    best: Best
    bound: Tensor  # (R,)
    done: Tensor  # (R,) bool


@dataclass(frozen=True)
class Leaves(Minimizer[LeavesState]):
    """Some moves of the numbers of all leaves under way a step.

    inner: minimizes the numbers of a leaf. particles: starts of each leaf, no more than there are.
    width: leaves of a row under way. moves: of one step.
    rounds: how often each leaf is begun, from other starts; None: until something is proved.
    """

    inner: Minimizer = Lagrangian(smallest=1e-10)
    particles: int = 16
    beside: int = 64
    moves: int = 6
    rounds: int | None = 1

    def __post_init__(self):
        for name in ("particles", "beside", "moves", "rounds"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise BadQuery(Mistake(name, f"{value!r}", "give at least 1"))

    def refuses(self, problem: Problem) -> str | None:
        kinds = {isinstance(problem.domains[v.name], Finite) for v in problem.open}
        if kinds != {True, False} or problem.factored()[1] is None:
            return "leaves needs finite variables beside numbers; use branch_and_bound or descent"
        if problem.lifted is not None:
            return "leaves moves no numbers that are computed; use gibbs"
        why = refusal(problem)
        return None if why is None else f"leaves has no form for {why}; use gibbs"

    def prepare(self, problem: Problem):
        yield from problem.prepare()
        if "refusal" not in problem.memo and oversize(problem.factored()[0]) is None:
            yield
            _ = self.refuses(problem)

    def init(self, problem: Problem, x: State, rng: Stream) -> LeavesState:
        why = self.refuses(problem)
        if why is not None:
            raise BadQuery(why)
        rows, particles = problem.rows, particles_of(problem, x)
        own = {v.name: x[v.name] for v in problem.open}
        first = {n: t[::particles].clone() for n, t in own.items()}
        infinite = torch.full((rows,), math.inf, dtype=torch.float64, device=problem.device)
        every = torch.ones(rows, dtype=torch.bool, device=problem.device)
        best = Best(first, infinite, infinite.clone()).joined(own, *score(problem, own), every)
        some = {
            v.name: own[v.name].unflatten(0, (rows, particles))[:, : self.particles].clone()
            for v in problem.open
            if v not in problem.finite
        }
        plans, allowed, seen = prepared_rows(problem), problem.allowed, seen_sites(problem)
        begun = tuple(
            _Row(
                plan,
                LeafSearch.opened(plan, allowed[r], seen),
                {n: t[r] for n, t in some.items()},
            )
            for r, plan in enumerate(plans)
        )
        return LeavesState(begun, best, -infinite, ~every)

    def step(self, problem: Problem, s: LeavesState, rng: Stream) -> LeavesState:
        rows = list(s.rows)
        todo = [r for r, done in enumerate(s.done.tolist()) if not done]
        for r in todo:
            rows[r] = self._begun(problem, s, self._fed(problem, s, r), r, rng)
        s = s._replace(rows=tuple(rows))
        busy = [r for r in todo if rows[r].under]
        if busy:
            s = self._moved(problem, s, busy, rng)
        return self._settled(problem, s, todo, rng)

    def report(self, problem: Problem, s: LeavesState) -> Report:
        unique = torch.full_like(s.done, UNKNOWN, dtype=torch.int8)
        x, energy, violation = s.best
        return Report(x, energy, violation, s.bound, s.done, unique, ((),) * problem.rows)

    def told(self, problem: Problem, s: LeavesState, report: Report) -> LeavesState:
        best, bound, done = heard(problem, report, s.best)
        return s._replace(best=best, bound=torch.maximum(s.bound, bound), done=s.done | done)

    def width(self, s: LeavesState) -> int:
        under = sum(row.count for row in s.rows)
        return max(1, 8 * self.beside * len(s.rows) // max(1, under))

    def _fed(self, problem: Problem, s: LeavesState, r: int) -> _Row:
        """A row with further leaves, as long as there is room for them."""
        row = s.rows[r]
        room = self.beside - row.count - len(row.waiting)
        if row.search.exhausted or room <= 0:
            return row
        search = row.search.copy()
        floor = prepared_of(problem).rest_floor
        if float(s.best.violation[r]) == 0 and math.isfinite(floor):
            scale = row.plan.factors.scale
            search = search.cut(scale.from_on(float(s.best.energy[r]) - floor))
        search, found = search.advanced(row.plan, CONFLICTS, room)
        found = self._standing(problem, found, r)
        return row._replace(
            search=search,
            waiting=(*row.waiting, *found),
            known=(*row.known, *found)[: KEPT + 1],
            lowest=min([row.lowest, *(leaf.least for leaf in found)]),
        )

    def _standing(self, problem: Problem, found: list[Leaf], r: int) -> list[Leaf]:
        """Without those of which rules over finite sites alone say that they do not hold."""
        rules = _closed_rules(problem)
        if not rules or not found:
            return found
        x = {n: problem.sample(n, 1, Stream(0, problem.keys)) for n in _numbers(problem)}
        state = problem.state(np.stack([leaf.places for leaf in found]))
        beside = {n: t[r : r + 1].expand(len(found), *t.shape[1:]) for n, t in x.items()}
        owner = torch.full((len(found),), r)
        plain = problem.asked(problem.whole({**beside, **state}, owner))
        said = verdicts(rules, plain)
        return [leaf for leaf, holds in zip(found, said, strict=True) if holds is not False]

    def _begun(self, problem: Problem, s: LeavesState, row: _Row, r: int, rng: Stream) -> _Row:
        """A row with the leaves that waited under way, but for those that cannot be the best."""
        waiting = [leaf for leaf in row.waiting if not _above(problem, s.best, r, leaf)]
        fresh = waiting[: max(0, self.beside - row.count)]
        row = row._replace(waiting=tuple(waiting[len(fresh) :]))
        if not fresh:
            return row
        owner = np.full(len(fresh), r)
        leaves = held_at(problem, np.stack([leaf.places for leaf in fresh]), owner)
        x = {
            v.name: row.start[v.name].repeat(len(fresh), *[1] * (row.start[v.name].dim() - 1))
            for v in leaves.open
        }
        inner = self.inner.init(leaves, x, rng.select(torch.from_numpy(owner)).fork(INNER))
        begun = _Under(tuple(fresh), leaves, inner)
        return row._replace(under=self._stacked([row.under, begun] if row.under else [begun]))

    def _stacked(self, every: Sequence[_Under]) -> _Under:
        """Leaves side by side."""
        if len(every) == 1:
            return every[0]
        counts = [len(one.leaves) for one in every]
        return _Under(
            tuple(leaf for one in every for leaf in one.leaves),
            Problem.stack([one.problem for one in every]),
            self.inner.stack([one.inner for one in every], counts),
        )

    def _moved(self, problem: Problem, s: LeavesState, busy: list[int], rng: Stream) -> LeavesState:
        """The leaves of some rows, moved side by side; what they found, and which are left."""
        every = [under for r in busy if (under := s.rows[r].under)]
        counts = [len(under.leaves) for under in every]
        owner = torch.tensor(busy).repeat_interleave(torch.tensor(counts))
        leaves, problems, inner = self._stacked(every)
        streams = rng.select(owner).fork(INNER)
        for k in range(self.moves):
            inner = self.inner.step(problems, inner, streams.fork(k))
        moved = _Under(leaves, problems, inner)
        report = self.inner.report(problems, inner)
        s = s._replace(best=self._better(problem, s, owner, moved, report))
        over, rows, first = report.done.tolist(), list(s.rows), 0
        for r, count in zip(busy, counts, strict=True):
            own = range(first, first + count)
            left = [k for k in own if not over[k] and not _above(problem, s.best, r, leaves[k])]
            rows[r] = rows[r]._replace(under=self._kept(moved, left))
            first += count
        return s._replace(rows=tuple(rows))

    def _kept(self, under: _Under, left: list[int]) -> _Under | None:
        """Some of the leaves."""
        total = len(under.leaves)
        if len(left) in (0, total):
            return under if left else None
        some = self.inner.select(under.inner, left, total)
        return _Under(tuple(under.leaves[k] for k in left), under.problem.select(left), some)

    def _better(
        self, problem: Problem, s: LeavesState, owner: Tensor, under: _Under, report: Report
    ) -> Best:
        """The best of each row, and of its leaves."""
        device, leaves = report.energy.device, under.leaves
        owner = owner.to(device)
        cost = torch.tensor([leaf.cost for leaf in leaves], dtype=torch.float64, device=device)
        energy, violation, best = report.energy + cost, report.violation, s.best
        ahead = better(energy, violation, best.energy[owner], best.violation[owner])
        for r in owner[ahead].unique().tolist():
            mine = (owner == r).nonzero().reshape(-1)
            state = problem.state(np.stack([leaves[k].places for k in mine.tolist()]))
            found = {n: t[mine] for n, t in report.x.items()}
            if problem.definitions:  # of what is held alone
                found = under.problem.select(mine.tolist()).filled(found)
            x = {**found, **state}
            one = Best(
                {n: t[r : r + 1] for n, t in best.x.items()},
                best.energy[r : r + 1],
                best.violation[r : r + 1],
            )
            yes = torch.ones(1, dtype=torch.bool, device=device)
            one = one.joined(x, energy[mine], violation[mine], yes)
            at = torch.tensor([r], device=device)
            best = Best(
                {n: t.index_copy(0, at, one.x[n]) for n, t in best.x.items()},
                best.energy.index_copy(0, at, one.energy),
                best.violation.index_copy(0, at, one.violation),
            )
        return best

    def _settled(
        self, problem: Problem, s: LeavesState, todo: Sequence[int], rng: Stream
    ) -> LeavesState:
        """What is proved, and which rows are done; those that are not, and have no leaf left,
        begin all of them anew."""
        bound, done, rows = s.bound.clone(), s.done.clone(), list(s.rows)
        floor = prepared_of(problem).rest_floor
        for r in todo:
            row = rows[r]
            least = min(row.search.bound(row.plan), row.lowest)
            if least == math.inf:
                bound[r], done[r] = math.inf, True
                continue
            if float(s.best.violation[r]) == 0:  # what is above is not looked at
                least = min(least, float(s.best.energy[r]) - floor)
            bound[r] = max(float(bound[r]), least + floor)
            if not row.search.exhausted or row.waiting or row.under:
                continue
            spent = self.rounds is not None and row.rounds >= self.rounds
            if spent or len(row.known) > KEPT:
                done[r] = True
            else:
                rows[r] = self._again(problem, row, r, rng)
        s = s._replace(rows=tuple(rows), bound=bound, done=done)
        met = proved(problem, s.best.x, s.best.energy, s.best.violation, bound)
        return s._replace(done=done | met)

    def _again(self, problem: Problem, row: _Row, r: int, rng: Stream) -> _Row:
        """All leaves of a row, from other starts."""
        count = len(next(iter(row.start.values())))
        drawn = rng.select(torch.tensor([r])).fork(AGAIN)
        one = problem.select([r])
        start = {n: one.sample(n, count, drawn.fork(k)) for k, n in enumerate(row.start)}
        return row._replace(start=start, waiting=row.known, rounds=row.rounds + 1)


def seen_sites(problem: Problem) -> np.ndarray:
    """The finite sites that the opaque rest of the energy sees."""
    rest = problem.factored()[1]
    every = [problem.structures.sites_of(s.term) for s in rest.summands()] if rest else []
    return np.unique(np.concatenate([np.zeros(0, np.int64), *every]))


def few_leaves(problem: Problem) -> Tensor:
    """Rows whose leaves are few enough to look at all of them. -> (R,) bool"""
    seen = seen_sites(problem)
    sizes = problem.form.factors.sizes[: problem.form.factors.visible]
    starts = np.concatenate([[0], np.cumsum(sizes)])[:-1]
    if not len(sizes):
        return torch.ones(problem.rows, dtype=torch.bool, device=problem.device)
    counts = np.add.reduceat(problem.possible, starts, axis=1, dtype=np.int64)[:, seen]
    return torch.from_numpy(np.log2(counts).sum(1) <= FEW + 1e-9).to(problem.device)


def _above(problem: Problem, best: Best, r: int, leaf: Leaf) -> bool:
    """A leaf costs at least as much as the best of its row."""
    floor = prepared_of(problem).rest_floor
    return float(best.violation[r]) == 0 and leaf.least + floor >= float(best.energy[r])


def _numbers(problem: Problem) -> list[str]:
    return [v.name for v in problem.open if isinstance(problem.domains[v.name], Real)]


def _closed_rules(problem: Problem) -> list[Summand]:
    """The required summands of the opaque rest that see no number that is searched."""
    rest, numbers = problem.factored()[1], {*_numbers(problem)}
    return [
        s
        for s in (rest.summands() if rest else ())
        if s.required and not any(view.variable.name in numbers for view in s.term.scope)
    ]

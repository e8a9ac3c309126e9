"""Many beginnings of a state side by side, extended site by site in the order of reading.

Takes energies that are read (`Term.reader`) beside explicit structure of small width. A beginning
is kept by what it has cost, plus what the rest will cost: exactly for rules and explicit costs, by
elimination from the other end, so that no beginning is kept which no state goes on from; and by
the readers' guess of what they will say, so that what is given further on counts from the start.
Each round keeps more beginnings than the one before. Nothing is proved but that rules leave
nothing. Sources: Lowerre, "The Harpy speech recognition system", 1976; Zhang, Dang, Peng, Van den
Broeck, "Tractable control for autoregressive language generation", ICML 2023 (a look ahead by a
model in which it can be computed).
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine.answer import Proof
from engine.decimals import Floats, Ints
from engine.domain import State
from engine.errors import BadQuery, Mistake
from engine.minimizer import Best, Minimizer, heard, score
from engine.problem import Problem
from engine.random import Stream
from engine.rows import UNKNOWN, Report, particles_of
from engine.search.ahead import Lane, Read, lanes_of, readers_of
from engine.search.elimination import Elimination
from engine.search.semiring import Weight

VISIT = 8_000_000  # table entries added up in one step
EXTENDED = 4_096  # beginnings times values in one step, one site at least
MARGIN = 30.0  # a beginning that promises to be worse than the best by so much is left
LARGE, TINY = 1e300, 1e-300
SCORED = 16  # states of a row that are scored at the end of a round


class _Ahead(NamedTuple):
    """What some explicit structure tells of the beginnings."""

    lane: Lane
    elimination: Elimination
    bucket: int = -1  # the next to be extended; they count down
    at: Ints = np.zeros((1, 0), dtype=np.int64)  # (W, N) places among the options left, of the
    # sites extended so far

    @property
    def site(self) -> int:
        """The site that is extended next; -1: none is left."""
        return int(self.lane.plan.buckets.order[self.bucket]) if self.bucket >= 0 else -1

    @property
    def hides(self) -> bool:
        """The next site is one that never shows."""
        return self.site >= self.elimination.visible


class _Row(NamedTuple):
    """Where one row stands in its round."""

    every: tuple[Read, ...]
    ahead: tuple[_Ahead, ...]
    round: int = 0
    known: tuple[Any, ...] = ()  # of each reader
    said: Floats = np.zeros(0)  # (W,) what readers said so far
    level: Floats = np.zeros(0)  # (W,) explicit costs and guesses, of the whole
    guessed: Floats = np.zeros(0)  # (W,) guesses of what was read

    @property
    def over(self) -> bool:
        """Nothing is left to extend, as before a round and behind it."""
        return all(one.bucket < 0 for one in self.ahead)


class BeamState(NamedTuple):
    """All rows, and the best decided state of each."""

    rows: tuple[_Row | None, ...]
    best: Best
    bound: Tensor  # (R,)
    done: Tensor  # (R,) bool


@dataclass(frozen=True)
class Beam(Minimizer[BeamState]):
    """widths: beginnings kept, round by round; after the last a row is done."""

    proof: ClassVar[Proof] = Proof.FLOOR

    widths: tuple[int, ...] = (16, 128, 1024)

    def __post_init__(self):
        if not self.widths or min(self.widths) < 1:
            raise BadQuery(Mistake("widths", f"{self.widths!r}", "give numbers above 0"))

    def refuses(self, problem: Problem) -> str | None:
        every = readers_of(problem)
        if isinstance(every, str):
            return f"beam reads site by site: {every}"
        if not every or len(problem.finite) < len(problem.open):
            return "beam needs an energy that is read, over finite sites alone"
        for row in range(problem.rows):
            lanes = lanes_of(problem, row, every)
            if isinstance(lanes, str):
                return f"beam needs explicit structure of a smaller width: {lanes}"
        return None

    def init(self, problem: Problem, x: State, rng: Stream) -> BeamState:
        del rng
        every = readers_of(problem)
        if isinstance(every, str):
            raise BadQuery(f"beam reads site by site: {every}")
        rows, particles = problem.rows, particles_of(problem, x)
        own = {v.name: x[v.name] for v in problem.open}
        first = {n: t[::particles].clone() for n, t in own.items()}
        infinite = torch.full((rows,), math.inf, dtype=torch.float64, device=problem.device)
        begun = []
        for row in range(rows):
            lanes = lanes_of(problem, row, every)
            if isinstance(lanes, str):
                raise BadQuery(f"beam needs explicit structure of a smaller width: {lanes}")
            ahead = (
                _Ahead(lane, Elimination.of(lane.plan, lane.problem, row, Weight()))
                for lane in lanes
            )
            begun.append(_Row(every, tuple(ahead)))
        every_row = torch.ones(rows, dtype=torch.bool, device=problem.device)
        best = Best(first, infinite, infinite.clone())
        if particles:
            best = best.joined(own, *score(problem, own), every_row)
        return BeamState(tuple(begun), best, -infinite, ~every_row)

    def step(self, problem: Problem, s: BeamState, rng: Stream) -> BeamState:
        del rng
        for row in (~s.done).nonzero().reshape(-1).tolist():
            s = self._moved(problem, s, row)
        return s

    def told(self, problem: Problem, s: BeamState, report: Report) -> BeamState:
        best, _, done = heard(problem, report, s.best)
        return s._replace(best=best, done=s.done | done)

    def width(self, s: BeamState) -> int:
        return 4

    def report(self, problem: Problem, s: BeamState) -> Report:
        bound = torch.maximum(s.bound, torch.full_like(s.bound, problem.floor))
        unique = torch.full_like(s.done, UNKNOWN, dtype=torch.int8)
        best = s.best
        return Report(
            best.x, best.energy, best.violation, bound, s.done, unique, ((),) * len(s.done)
        )

    def _moved(self, problem: Problem, s: BeamState, row: int) -> BeamState:
        """One step of one row."""
        own = s.rows[row]
        assert own is not None
        for k, one in enumerate(own.ahead):
            if not one.elimination.done:
                one = one._replace(elimination=one.elimination.advanced(VISIT))
                return _put(s, row, own._replace(ahead=(*own.ahead[:k], one, *own.ahead[k + 1 :])))
        if own.over:
            if any(one.elimination.total is None for one in own.ahead):
                mine = torch.arange(len(s.done), device=s.done.device) == row
                bound = torch.where(mine, math.inf, s.bound)
                return _put(s._replace(bound=bound, done=s.done | mine), row, None)
            own = _begun(own, row)
        spent = 0
        while not own.over and spent < EXTENDED:
            own, work = _extended(own, self.widths[own.round])
            spent += work
        return _put(s, row, own) if not own.over else self._ended(problem, s, row, own)

    def _ended(self, problem: Problem, s: BeamState, row: int, own: _Row) -> BeamState:
        """The best states of a round, scored; and the next round."""
        order = np.argsort(own.said + own.level - own.guessed, kind="stable")[:SCORED]
        if not len(order):  # what rules forbid together was not foreseen
            return self._next(s, row, own)
        lane = own.ahead[0]
        places = lane.elimination.values(lane.at[order])[:, : lane.elimination.visible]
        x = problem.state(places)
        rows = torch.full((len(places),), row, device=problem.device)
        energy, violation = score(problem, x, rows)
        one = _row_of(s.best, row).joined(
            {n: t for n, t in x.items() if n in s.best.x}, energy, violation, _true(problem)
        )
        s = s._replace(best=_with_row(s.best, one, row))
        return self._next(s, row, own)

    def _next(self, s: BeamState, row: int, own: _Row) -> BeamState:
        """The next round of a row, or its end."""
        if own.round + 1 < len(self.widths):
            ahead = tuple(one._replace(bucket=-1) for one in own.ahead)
            return _put(s, row, own._replace(round=own.round + 1, ahead=ahead))
        mine = torch.arange(len(s.done), device=s.done.device) == row
        return _put(s._replace(done=s.done | mine), row, None)


def _true(problem: Problem) -> Tensor:
    return torch.ones(1, dtype=torch.bool, device=problem.device)


def _row_of(best: Best, row: int) -> Best:
    """The best state of one row."""
    some = {n: t[row : row + 1] for n, t in best.x.items()}
    return Best(some, best.energy[row : row + 1], best.violation[row : row + 1])


def _with_row(best: Best, one: Best, row: int) -> Best:
    """With the best state of one row in its place."""
    at = torch.tensor([row], device=best.energy.device)
    x = {n: t.index_copy(0, at, one.x[n].to(t.dtype)) for n, t in best.x.items()}
    return Best(
        x,
        best.energy.index_copy(0, at, one.energy),
        best.violation.index_copy(0, at, one.violation),
    )


def _put(s: BeamState, row: int, own: _Row | None) -> BeamState:
    rows = list(s.rows)
    rows[row] = own
    return s._replace(rows=tuple(rows))


def _begun(own: _Row, row: int) -> _Row:
    """A round at its beginning: one state of which nothing is known."""
    ahead = []
    for one in own.ahead:
        plan = one.lane.plan
        at = np.zeros((1, len(plan.network.sizes)), dtype=np.int64)
        ahead.append(one._replace(bucket=len(plan.buckets.order) - 1, at=at))
    totals = [one.elimination.total or 0.0 for one in own.ahead]
    return own._replace(
        ahead=tuple(ahead),
        known=tuple(one.reader.begin(row) for one in own.every),
        said=np.zeros(1),
        level=np.full(1, float(sum(totals))),
        guessed=np.zeros(1),
    )


def _extended(own: _Row, width: int) -> tuple[_Row, int]:
    """All beginnings with one more site, the best `width` of them; and the work it took. A site
    that never shows is extended where it stands; any other in all that is looked ahead by."""
    hidden = [k for k, one in enumerate(own.ahead) if one.hides]
    moving = hidden[:1] or [k for k, one in enumerate(own.ahead) if one.site >= 0]
    first = own.ahead[moving[0]]
    site, options = first.site, first.elimination.left.options
    assert all(own.ahead[k].site == site for k in moving)
    values = options.value[options.start[site] : options.start[site + 1]]
    level, guesses = own.level[:, None], np.zeros((1, 1))
    for k in moving:
        one = own.ahead[k]
        cost = one.elimination.extended(one.bucket, one.at)  # (W, k)
        soft = bool(one.elimination.soft[one.bucket])
        level = level + cost - _reduced(cost, soft)[:, None]
        guesses = guesses + (0.0 if hidden else _guessed(one, site, values))
    said = np.repeat(own.said[:, None], len(values), 1)
    reads = [k for k, one in enumerate(own.every) if not hidden and bool((one.sites == site).any())]
    for k in reads:
        told = own.every[k].reader.costs(own.known[k])[:, torch.from_numpy(values)]
        said = said + own.every[k].weight * told.cpu().numpy()
    guessed = np.broadcast_to(own.guessed[:, None] + guesses, said.shape)
    parent, place = np.divmod(_best(said + level - guessed, width), len(values))
    same = len(parent) == len(own.said) and bool((parent == np.arange(len(parent))).all())
    ahead = []
    for k, one in enumerate(own.ahead):
        at = one.at[parent] if k in moving or not same else one.at
        if k in moving:
            at[:, site] = place
        ahead.append(one._replace(at=at, bucket=one.bucket - (k in moving)))
    known = list(own.known)
    for k, read in enumerate(own.every):
        if not same:
            known[k] = read.reader.picked(known[k], torch.from_numpy(parent))
        if k in reads and len(parent):
            known[k] = read.reader.read(known[k], torch.from_numpy(values[place]))
    flat = parent, place
    more = own._replace(
        ahead=tuple(ahead) if len(parent) else tuple(one._replace(bucket=-1) for one in ahead),
        known=tuple(known),
        said=said[flat],
        level=level[flat],
        guessed=guessed[flat],
    )
    return more, max(1, said.size)


def _reduced(cost: Floats, soft: bool) -> Floats:
    """What elimination made of the options of a site. (W, k) -> (W,)"""
    least = np.minimum(cost.min(1), LARGE)  # nothing goes on from there
    if not soft:
        return least
    return least - np.log(np.maximum(np.exp(least[:, None] - cost).sum(1), TINY))


def _guessed(own: _Ahead, site: int, values: Ints) -> Floats:
    """What readers guessed of a site, beside the places before it. -> (W, k) or (1, 1)"""
    out = np.zeros((1, 1))
    for guess in own.lane.guesses:
        window = guess.ending.get(site)
        if window is not None:
            before = own.elimination.values(own.at)[:, window[:-1]]
            out = out + guess.costs[tuple(before.T)][:, values]
    return out


def _best(total: Floats, width: int) -> Ints:
    """The least entries of a matrix, flat, in their order; those far above the least left out."""
    flat = total.reshape(-1)
    least = flat.min(initial=math.inf)
    if least == math.inf:
        return np.zeros(0, dtype=np.int64)
    able = np.flatnonzero(flat <= least + MARGIN)
    if len(able) > width:
        able = able[np.argpartition(flat[able], width - 1)[:width]]
    return np.sort(able)

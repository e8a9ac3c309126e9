"""Annealing inside of what rules allow: sites change value alone, or two at once where that keeps
the rules.

Where rules count how often values occur, states below the least of a priced relaxation are few, and
single moves with a price on what is missed hardly meet them; exchanges never leave the rules. It
proves nothing: bounds come from others. Rounds begin at the best state that is known, each twice as
long as the one before, and cool down.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine.answer import Proof
from engine.decimals import Floats, Ints
from engine.domain import State
from engine.errors import BadQuery, Mistake
from engine.kernels.exchange import exchange
from engine.minimizer import Best, Minimizer, best_start, heard
from engine.problem import Problem
from engine.random import Stream
from engine.rows import Report
from engine.search.messages import NEVER, Coupled, coupled_of, refusal
from engine.search.placed import taken

HOT, COLD = 1.5, 6.0  # beta, in one over what a usual pair costs
FIRST, LONGEST = 800, 5  # moves of a group in the first round; how often that doubles
TOLD = 8  # steps from one time that the best is told to the next
TRIES = 20  # steps that look for a state to begin at


class Groups(NamedTuple):
    """Sites that must have one value."""

    start: Ints  # (G + 1,)
    members: Ints  # (n,)
    of: Ints  # (n,)
    possible: np.ndarray  # (G, k) uint8


class Run(NamedTuple):
    """How far the search of one row has come."""

    coupled: Coupled
    groups: Groups
    x: Ints  # (n,)
    found: Ints | None  # the best of this round
    ahead: float  # by how much it is better than x, below 0
    good: bool  # x keeps all rules
    tries: int
    round: int
    done: int  # moves of this round
    moves: int  # of all


class ExchangeState(NamedTuple):
    """Where every row stands."""

    best: Best
    done: Tensor  # (R,) bool
    begun: tuple[Run | None, ...]


@dataclass(frozen=True)
class Exchange(Minimizer[ExchangeState]):
    """Refuses what is no costs of sites and pairs beside rules over more sites.

    visit: moves of one step of a row; the default is roughly 20 ms.
    rounds: after which a row is done.
    """

    proof: ClassVar[Proof] = Proof.FLOOR

    visit: int = 160_000
    rounds: int = 12

    def __post_init__(self):
        for name in ("visit", "rounds"):
            if getattr(self, name) < 1:
                raise BadQuery(Mistake(name, f"{getattr(self, name)!r}", "give at least 1"))

    def refuses(self, problem: Problem) -> str | None:
        if problem.form.rest is not None:
            return f"{problem.form.rest.summands()[0].label} has no explicit structure"
        f = problem.form.factors
        why = refusal(f)
        if why is not None:
            return f"exchange has no form for {why}"
        if len(f.sizes) > f.visible or any(t.arity > 2 or t.when is not None for t in f.tables):
            return "exchange takes tables over at most two sites, and none but visible ones"
        many = f.counted.count + f.sums.count
        return None if many else "exchange needs rules that count; use annealing"

    def init(self, problem: Problem, x: State, rng: Stream) -> ExchangeState:
        del rng
        why = self.refuses(problem)
        if why is not None:
            raise BadQuery(why)
        done = torch.zeros(problem.rows, dtype=torch.bool, device=problem.device)
        return ExchangeState(best_start(problem, x), done, (None,) * problem.rows)

    def step(self, problem: Problem, s: ExchangeState, rng: Stream) -> ExchangeState:
        begun, done, best = list(s.begun), s.done.clone(), s.best
        words, lane = rng.words.cpu().numpy().astype(np.uint64), rng.at(0).lane
        for row in (~s.done).nonzero().reshape(-1).tolist():
            now = begun[row] or _begun(problem, row)
            if now.good or best.known(row):
                now, found = self._moved(problem, now, best, row, (*words[row], lane))
            else:
                now = _mended(now)
                found = now.x if now.good else None
            if found is not None:
                best = taken(problem, best, row, found)
            begun[row] = now
            done[row] = now.round >= self.rounds or now.tries >= TRIES or not now.coupled.whole
        return ExchangeState(best, done, tuple(begun))

    def _moved(
        self,
        problem: Problem,
        now: Run,
        best: Best,
        row: int,
        key: tuple[np.uint64, np.uint64, int],
    ) -> tuple[Run, Ints | None]:
        """A step of a round. -> and a better state than it began with"""
        x, found = now.x.copy(), now.found
        if now.done == 0 or found is None:
            x = _places(problem, best, row) if best.known(row) else x
            found = x.copy()
        c, g = now.coupled, now.groups
        if not _uniform(g, x):
            return now._replace(round=self.rounds), None
        whole = FIRST * (len(g.start) - 1) << min(now.round, LONGEST)
        count = min(self.visit, whole - now.done)
        usual = _usual(c)
        beta = HOT * (COLD / HOT) ** (now.done / whole) / usual
        found, score = found.copy(), np.array([0.0, now.ahead])
        exchange(
            *c.near, c.ends, c.table, c.floats, c.cost.astype(np.float64), g.possible,
            g.start, g.members, g.of, *c.literals, c.rows.low, c.rows.high, c.rows.sums(x),
            x, found, score, *key, now.moves, count, beta, 2 * usual,
        )  # fmt: skip
        after = now.done + count
        ended = after >= whole
        due = ended or (now.done // self.visit) % TOLD == TOLD - 1
        ahead = float(score[1] - score[0])
        now = now._replace(
            x=x, found=None if ended else found, good=True, ahead=0.0 if ended else ahead
        )
        now = now._replace(moves=now.moves + count, round=now.round + ended)
        return now._replace(done=0 if ended else after), found if due else None

    def told(self, problem: Problem, s: ExchangeState, report: Report) -> ExchangeState:
        """Takes better states, where the next round begins."""
        best, _, ended = heard(problem, report, s.best)
        return s._replace(best=best, done=s.done | ended)

    def report(self, problem: Problem, s: ExchangeState) -> Report:
        return s.best.reported(problem, torch.full_like(s.best.energy, -math.inf), s.done)

    def width(self, s: ExchangeState) -> int:
        return max(1, 160_000 // self.visit)


def _begun(problem: Problem, row: int) -> Run:
    """The cheapest value of each group by itself."""
    c = coupled_of(problem.concrete(row), problem.explicits[row].scale, problem.allowed[row])
    groups = _groups(c)
    price = np.zeros(groups.possible.shape)
    np.add.at(price, groups.of, c.cost.astype(np.float64))
    x = np.where(groups.possible > 0, price, np.inf).argmin(1)[groups.of]
    empty = not groups.possible.any(1).all()
    return Run(c, groups, x.astype(np.int64), None, 0.0, False, TRIES if empty else 0, 0, 0, 0)


def _groups(c: Coupled) -> Groups:
    """Sites that pairs bind to one value."""
    n, k = c.cost.shape
    apart = ~np.eye(k, dtype=bool)
    shut = (c.pool == NEVER) & apart  # (t, k, k)
    hard = np.flatnonzero(shut.any((1, 2))[c.table])
    turned = c.ends[hard, 0] > c.ends[hard, 1]
    both = np.sort(c.ends[hard], 1)
    which, place = np.unique(both[:, 0] * n + both[:, 1], return_inverse=True)
    every = np.zeros((len(which), k, k), dtype=bool)
    own = shut[c.table[hard]]
    np.logical_or.at(every, place, np.where(turned[:, None, None], own.swapaxes(1, 2), own))
    root = np.arange(n)
    for a, b in zip(*np.divmod(which[every[:, apart].all(1)], n), strict=True):
        one, other = sorted((int(root[a]), int(root[b])))
        root[root == other] = one
    _, of = np.unique(root, return_inverse=True)
    members = np.argsort(of, kind="stable")
    start = np.searchsorted(of[members], np.arange(int(of.max(initial=-1)) + 2))
    possible = np.ones((len(start) - 1, k), dtype=np.uint8)
    np.minimum.at(possible, of, c.possible)
    return Groups(start, members, of, possible)


def _mended(now: Run) -> Run:
    """Moves towards keeping the rows."""
    x = now.coupled.mended(now.x)
    c = now.coupled
    open_ = c.possible[np.arange(len(x)), x].all()
    keeps = bool(open_) and not c.rows.missed(x).any() and _uniform(now.groups, x)
    paid = c.floats[c.table, x[c.ends[:, 0]], x[c.ends[:, 1]]]
    return now._replace(x=x, good=keeps and bool(np.isfinite(paid).all()), tries=now.tries + 1)


def _uniform(g: Groups, x: Ints) -> bool:
    return bool((x == x[g.members[g.start[:-1]]][g.of]).all())


def _usual(c: Coupled) -> float:
    """What a usual pair costs, or else a site."""
    spread: Floats = c.spread[c.table]
    spread = spread[spread > 0]
    if len(spread):
        return float(np.median(spread))
    return max(1.0, float(c.cost.max(initial=0)) - float(c.cost.min(initial=0)))


def _places(problem: Problem, best: Best, row: int) -> Ints:
    own = problem.select([row]) if problem.rows > 1 else problem
    state = {n: t[row : row + 1] for n, t in best.x.items() if n in problem.starts}
    return own.places(state)[0].astype(np.int64)

"""What a minimizer is: frozen hyper-parameters, an explicit state, pure steps, a report."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace
from typing import ClassVar, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from engine.answer import Proof
from engine.compare import best_of, better, opaque_slack, proved
from engine.domain import State
from engine.energy import begin_shares, begin_violations, total_of
from engine.energy.kin import violations_together
from engine.problem import Problem
from engine.random import Stream
from engine.rows import Report, select_rows, stack_rows

S = TypeVar("S")
WIDE = 256  # rows of a step, where a minimizer says nothing else


class Minimizer(ABC, Generic[S]):
    """Searches for the least energy in steps of at most about 20 ms of work.

    A step is pure: the same problem, state and stream give the same next state. It moves every row
    that is not done, by one step of that row's own, and what a row does depends on no other row:
    so rows leave, join and are stepped in any company, and answer as each alone. It branches on
    counts, never on the clock.
    """

    proof: ClassVar[Proof] = Proof.SEARCH  # what its bounds are, where its reports do not say

    def refuses(self, problem: Problem) -> str | None:
        """Why this form or size is not for it; None: it takes it. Then `init` and `step` raise
        nothing on account of the structure. The default takes anything."""
        del problem
        return None

    def prepare(self, problem: Problem) -> Iterator[None]:
        """Prepares what all rows of a structure share, kept with the problem, in pieces of a few
        milliseconds: between them the loop looks at the clock. Whoever does not ask for it pays
        in `init` or at the first step."""
        return problem.prepare()

    @abstractmethod
    def init(self, problem: Problem, x: State, rng: Stream) -> S:
        """The state to start from; x holds P decided particles a row: (R * P, *shape)."""

    @abstractmethod
    def step(self, problem: Problem, s: S, rng: Stream) -> S:
        """One more step of every row; rows may stand at different steps of `rng`. A row that is
        done comes back as it is."""

    @abstractmethod
    def report(self, problem: Problem, s: S) -> Report:
        """The best decided states so far, and what is proved."""

    def told(self, problem: Problem, s: S, report: Report) -> S:
        """The same search, told what others found and proved of its rows.

        It may hold better states and higher bounds from then on, and end where they meet; nothing
        else changes. A state is believed as far as it is scored here again, a bound as it is said
        unless a state contradicts it: hand on those alone that were proved of this very problem
        (`Report.unproved` leaves them out). It comes at fixed counts of steps, never by the clock.
        The default listens to nothing.
        """
        del problem, report
        return s

    def credited(self, problem: Problem, s: S) -> Report:
        """`report`, which says what proved the bounds."""
        return self.report(problem, s).credited(self.proof)

    def renewed(self, problem: Problem, s: S) -> S | None:
        """The same search under moved evidence: what it learned of the energy stays (multipliers,
        momenta, curvature), what it found and proved under other evidence does not. None where
        nothing of it can stay, such as where other variables are open than before; then a search
        begins anew. The default keeps nothing."""
        del problem, s
        return None

    def kin(self, problem: Problem) -> Sequence[Hashable]:
        """What decides how each row is searched, apart from the structure: only rows of equal kin
        are begun and stepped together. The default searches all rows alike. -> R entries"""
        return (None,) * problem.rows

    def width(self, s: S) -> int:
        """How many rows one step should move at most, so that it ends within about 20 ms."""
        del s
        return WIDE

    def asked(self, unique: bool, alternatives: int) -> "Minimizer[S]":
        """The same minimizer, told to decide uniqueness or to look for further solutions too. The
        default can do neither."""
        del unique, alternatives
        return self

    def until(self, over: Callable[[], bool]) -> "Minimizer[S]":
        """The same minimizer; where its steps may be long, one ends early once `over` says so, with
        the best so far. The default's steps are short, and the loop looks at the clock between."""
        del over
        return self

    def select(self, s: S, rows: Sequence[int], total: int) -> S:
        """The state of some of the `total` rows; the default takes every tensor that leads with
        rows or with rows times particles, and every tuple of `total` entries."""
        return select_rows(s, rows, total)

    def stack(self, states: Sequence[S], totals: Sequence[int]) -> S:
        """The rows of several states of one problem, side by side; what does not
        lead with rows is taken from the first."""
        return stack_rows(states, totals)


def sound(x: Tensor) -> Tensor:
    """Energies to compare by: infinite where a term gave no finite number, so that such a state is
    never the better one. (B,) -> (B,)"""
    return torch.where(x.isfinite(), x, math.inf)


class Best(NamedTuple):
    """The best decided state of each row so far."""

    x: dict[str, Tensor]  # (R, *shape)
    energy: Tensor  # (R,)
    violation: Tensor  # (R,)

    def joined(self, x: State, energy: Tensor, violation: Tensor, due: Tensor) -> "Best":
        """With the best particle of each row that is due, where it is the better one: by violation,
        then energy; a state without a finite energy is never the best. Variables that `x` lacks
        stay. (R * P, *shape), (R * P,), (R * P,), (R,) bool"""
        rows = len(self.energy)
        e = sound(energy).view(rows, -1)
        v = sound(violation).view(rows, -1).masked_fill(e == math.inf, math.inf)
        pick = best_of(e, v)[:, None]
        e, v = e.gather(1, pick)[:, 0], v.gather(1, pick)[:, 0]
        at = (better(e, v, self.energy, self.violation) & due).nonzero().reshape(-1)
        if not len(at):
            return self
        source = at * (len(energy) // rows) + pick[at, 0]
        taken = {n: t.index_copy(0, at, x[n][source].detach()) for n, t in self.x.items() if n in x}
        return Best(
            {**self.x, **taken},
            self.energy.index_copy(0, at, e[at]),
            self.violation.index_copy(0, at, v[at]),
        )

    def known(self, row: int) -> bool:
        """The state of a row has an energy, and breaks nothing."""
        return float(self.violation[row]) == 0 and math.isfinite(float(self.energy[row]))

    def reported(self, problem: Problem, bound: Tensor, done: Tensor) -> Report:
        """A report of these states, whether they are unique not known. (R,), (R,) bool"""
        blank = Report.blank(problem, self.x)
        return replace(blank, energy=self.energy, violation=self.violation, bound=bound, done=done)


def best_start(problem: Problem, x: State) -> Best:
    """The best of the particles of each row that came. They are compared in units; where these are
    rounded, the best alone is summed by its decimals. (R * P, *shape)"""
    rows = problem.rows
    energy, violation = _score(problem, {v.name: x[v.name] for v in problem.open}, None, False)
    pick = best_of(energy.view(rows, -1), violation.view(rows, -1))
    pick = pick + torch.arange(rows, device=problem.device) * (len(energy) // rows)
    best = {v.name: x[v.name][pick] for v in problem.open}
    energy, violation = score(problem, best)
    return Best(best, sound(energy), violation)


class Heard(NamedTuple):
    """What is believed of a report."""

    best: Best  # the better of two states of each row
    bound: Tensor  # (R,)
    done: Tensor  # (R,) bool: these meet


def heard(problem: Problem, report: Report, best: Best) -> Heard:
    """What is believed of a report about the rows of a problem, beside the best known states: its
    states where they are said to be better, moved into the domains and scored; its bounds where no
    state lies below them."""
    said = better(report.energy, report.violation, best.energy, best.violation)
    if bool(said.any()):
        x = problem.decide({v.name: report.x[v.name] for v in problem.open})
        best = best.joined(x, *score(problem, x), said)
    energy, clean = best.energy, (best.violation == 0) & best.energy.isfinite()
    over = report.bound - energy > opaque_slack(energy)
    bound = torch.where(clean & over, -math.inf, report.bound)
    return Heard(best, bound, proved(problem, best.x, energy, best.violation, bound))


class Scored(NamedTuple):
    """Energy and violation of decided states."""

    energy: Tensor  # (B,) float64
    violation: Tensor  # (B,) float64


def score(problem: Problem, x: State, owner: Tensor | None = None) -> Scored:
    """Energy of the weighted terms and violation of the required ones, of decided states.
    (B, *shape) -> (B,)

    owner: the row of each state, (B,) int64; left out: `B // R` states a row, in order. What is
    explicit is looked up and summed in whole units; its terms are not asked.
    """
    return _score(problem, x, owner, True)


@torch.no_grad()
def _score(problem: Problem, x: State, owner: Tensor | None, exactly: bool) -> Scored:
    """`score`; where units are rounded, each state is summed by its decimals only if `exactly`."""
    if problem.rows > 1 and problem.form.factors.varying:
        return _score_apart(problem, x, owner, exactly)
    explicit, x = problem.explicit, problem.whole(x, owner)
    asked = [
        (k, summand)
        for k, summand in enumerate(problem.summands)
        if summand.weight is not None and k not in explicit.direct
    ]
    rules = {k: s for k, s in enumerate(problem.summands) if s.weight is None}
    broken, beside = violations_together(problem.kin, x)
    required = [summand for k, summand in rules.items() if k not in beside]
    plain = [
        replace(summand, weight=1.0) if k in explicit.hidden else summand for k, summand in asked
    ]
    shares = begin_shares(plain, x)
    violations = begin_violations(required, x)
    energy = total_of(x, ())  # nothing yet
    device = energy.device
    told = {k: share for (k, _), share in zip(asked, shares(), strict=True)}
    if explicit.direct or explicit.hidden:
        weights = {k: summand.weight or 1.0 for k, summand in asked}
        hidden = {k: (weights[k], told.pop(k)) for k in explicit.hidden}
        places = problem.places(x)
        energy = explicit.energy(places, hidden)
        if exactly and explicit.resolves:  # units are rounded: each state by its decimals
            sums = [
                float(problem.exactly(at)) if math.isfinite(rounded) else rounded
                for at, rounded in zip(places, energy.tolist(), strict=True)
            ]
            energy = torch.tensor(sums, dtype=torch.float64)
        energy = energy.to(device)
    energy = sum(told.values(), energy)
    violation = sum([*broken, *violations()], torch.zeros_like(energy))
    violation = violation + problem.completion.outside(x)
    return Scored(energy, violation)


def _score_apart(problem: Problem, x: State, owner: Tensor | None, exactly: bool) -> Scored:
    """The states of each row by what that row pays."""
    batch = len(next(iter(x.values())))
    rows = torch.arange(problem.rows)
    owner = rows.repeat_interleave(batch // problem.rows) if owner is None else owner
    out = torch.zeros(2, batch, dtype=torch.float64, device=problem.device)
    for row in owner.unique().tolist():
        mine = (owner == row).nonzero().reshape(-1)
        some = {v.name: x[v.name][mine] for v in problem.variables if v.name in x}
        out[:, mine] = torch.stack(_score(problem.select([row]), some, None, exactly))
    return Scored(*out)


@torch.no_grad()
def forbidden(problem: Problem, row: int, x: State) -> Tensor:
    """Which decided states an explicit summand of a row forbids at any price. Hidden ones that list
    forbidden combinations are asked. (B, *shape) -> (B,) bool"""
    explicit, places = problem.explicits[row], problem.places(x)
    shut = explicit.energy(places, {}).isinf()
    forbids = {k for t in explicit.factors.tables if t.forbids for k in t.term.tolist()}
    asked = [problem.summands[k] for k in sorted(explicit.hidden & forbids)]
    if asked:
        whole = problem.whole(x, torch.full((len(places),), row))
        for share in begin_shares(asked, whole)():
            shut = shut | share.cpu().isposinf()
    return shut


def never() -> bool:
    """The caller never stops the search."""
    return False

"""A conversation with one problem: add or drop terms, change evidence, ask again from where it
stood.

What was proved stays known as long as changes only restrict: then the last answer, where it still
holds, is the answer, and what was infeasible stays so; only terms that are new are asked about it.
For explicit terms over finite sites one clause-learning search stays alive
(`engine.search.incremental`).
Whatever has no such form is answered by a new solve that starts from the last answer.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from engine.answer import Answer, Ended, Flag, Status
from engine.decimals import surely_below
from engine.domain import Domain, State
from engine.energy import Energy, Summand, judge, named
from engine.errors import BadQuery, Cancelled, Mistake, known
from engine.judgement import Said, ended_of, judge_answer, said_of, verify
from engine.minimizer import Minimizer
from engine.moves.start import Proposer, Start
from engine.problem import Problem
from engine.random import Stream
from engine.rows import NOT_UNIQUE, UNKNOWN
from engine.search.incremental import IncrementalSearch
from engine.search.placed import Placed
from engine.settle import last
from engine.solve import (
    Budget,
    Solution,
    budget_of,
    check_minimizer_given,
    minimizer_of,
    solve,
)


class _Known(NamedTuple):
    """What the last answers leave behind for the next question."""

    x: State  # the last values, (1, *event) each; empty where there are none
    plain: dict[str, Any] | None  # the same as people's values, while evidence allows them
    said: Said  # of these, by the terms that stood
    bound: float  # no values have less energy now; infinite: there are none
    unique: int


NOTHING = _Known({}, None, {}, -math.inf, UNKNOWN)


class Session:
    """One row of evidence, changed step by step; every answer is verified as any other.

    A full solve has the last answer among its starting states, so that an answer is never worse
    than the last one is under what has changed since.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        minimizer: Minimizer | None = None,
        particles: int = 64,
        seed: int = 0,
        starts: Sequence[Proposer] = (),
    ) -> None:
        if problem.rows != 1:
            raise BadQuery(Mistake("evidence", f"{problem.rows} rows", "a session takes one"))
        if problem.lifted is not None:
            raise BadQuery(Mistake("problem", "is reduced", "give the one it was reduced from"))
        check_minimizer_given(minimizer)
        self.minimizer, self.particles, self.seed = minimizer, particles, seed
        self.starts = tuple(starts)
        self._known = NOTHING
        self._base = problem.root or problem
        self._problem = problem
        self._fresh: dict[str, tuple[Summand, ...]] = {}  # rules that the living search lacks
        self._switches: dict[str, int] = {}  # of rules added to it; all others are built in
        self._live = IncrementalSearch.opened(problem)
        self._formless = self._live is None
        self._search: Any = None  # the state of the last full solve, and who made it
        self._searcher: Minimizer | None = None

    @property
    def problem(self) -> Problem:
        """The problem as it stands now."""
        return self._problem

    def add(self, name: str, energy: Energy) -> None:
        """One more summand, under a name to drop it by."""
        if name in self._names():
            raise BadQuery(Mistake("name", f"{name!r} is taken", "choose another name"))
        summands = named(name, energy).summands()
        self._rebuild((*self._base.summands, *summands))
        self._fresh[name] = summands
        weighted = [p for p in summands if p.weight is not None]
        bound, unique = self._known.bound, self._known.unique
        least = sum(p.weight * p.term.lowest_anywhere() for p in weighted if p.weight is not None)
        if bound < math.inf and least != 0:
            bound = surely_below(bound + least)
        kept = UNKNOWN if weighted or unique == NOT_UNIQUE else unique
        self._known = self._known._replace(bound=bound, unique=kept)

    def drop(self, name: str) -> None:
        """Take a summand out by its name."""
        if name not in self._names():
            raise BadQuery(Mistake("name", f"{name!r} is no term", known(name, self._names())))
        self._rebuild(tuple(p for p in self._base.summands if p.label != name))
        self._known = self._known._replace(bound=-math.inf, unique=UNKNOWN)
        if self._fresh.pop(name, None) is None and self._switches.pop(name, None) is None:
            self._live, self._formless = None, False  # it has no switch

    def given(self, evidence: Mapping[str, Any]) -> None:
        """Other evidence in place of all that was given before."""
        before, known = self._problem.every, self._known
        self._problem = self._base.given_rows([evidence])
        if self._live is not None:
            self._live = self._live.given(self._problem)
        domains = self._problem.domains
        if not all(d.inside(before[n]) for n, d in self._problem.every.items()):
            known = known._replace(bound=-math.inf, unique=UNKNOWN)
        if not all(self._problem.every[n].inside(before[n]) for n in self._problem.told):
            known = known._replace(said={})  # terms said it beside other inputs
        if known.unique == NOT_UNIQUE:
            known = known._replace(unique=UNKNOWN)
        if any(not _same(d.decide(x), x) for d, x in _paired(domains, known.x)):
            known = known._replace(plain=None)
        self._known = known

    def answer(self, budget: Budget | None = None) -> Answer:
        """The verified answer to the problem as it stands."""
        began = time.perf_counter()
        budget = budget_of(budget).begun()
        answer = self._standing() or self._resolved(budget)
        if answer is not None:
            return replace(answer, seconds=time.perf_counter() - began)
        found = self._searched(budget)
        self._search = found.search
        answer = verify(self._problem, found)[0]
        report = found.report
        self._learn(answer, report.x, float(report.bound[0]), int(report.unique[0]))
        return answer

    @property
    def _bound(self) -> float:
        """The best bound that is proved; the exact floor of the terms is asked for only where it
        could lie above what is known."""
        known = self._known.bound
        return known if known >= self._problem.energy.floor() else max(known, self._problem.floor)

    def _learn(self, answer: Answer, x: State, bound: float, unique: int) -> None:
        """Keep what an answer tells; where there are no values, the last ones stay."""
        if answer.status is Status.INFEASIBLE:
            self._known = self._known._replace(bound=math.inf, unique=UNKNOWN)
            return
        x = self._problem.filled(x)
        good = answer.status in (Status.OPTIMAL, Status.SATISFIED)
        said = said_of(self._problem, answer) if good else {}
        self._known = _Known(x, answer.values if good else None, said, bound, unique)

    def _standing(self) -> Answer | None:
        """The last answer, where it is proved to be the answer still: what its terms said of it
        stands, and only new ones are asked."""
        known = self._known
        bound = self._bound
        if bound == math.inf:
            return Answer(Status.INFEASIBLE, None, None, None, ended=Ended.PROVED)
        if bound == -math.inf or known.plain is None:
            return None
        told = self._problem.told_plain(0)
        for summand in self._problem.summands:
            if (
                summand.required
                and summand not in known.said
                and judge(summand.term, known.plain | told) is False
            ):
                return None
        answer = judge_answer(self._problem, known.x, known.plain, bound, known.unique, known.said)
        if answer.status is not Status.OPTIMAL:
            return None
        self._known = known._replace(said=said_of(self._problem, answer))
        return replace(answer, ended=Ended.PROVED)

    def _resolved(self, budget: Budget) -> Answer | None:
        """An answer of the living search, or None where a full solve is needed."""
        live = self._with_rules()
        if live is None or (live.weighs and (budget.steps is not None or not self._known.x)):
            return None
        last = self._problem.places(self._known.x)[0] if live.weighs else None
        switches = [*self._switches.values()]
        self._live, found = live.answer(switches, last, self._bound, budget.clock())
        if found is None:
            return None
        if found.places is None:
            answer = Answer(Status.INFEASIBLE, None, None, None, steps=found.conflicts)
            answer = replace(answer, ended=Ended.PROVED)
            x: State = {}
        else:
            x = Placed(self._problem, found.places[None], {})
            plain = self._problem.plain(x)[0]
            answer = judge_answer(self._problem, x, plain, found.bound, UNKNOWN, {})
            late = Flag.CANCELLED if budget.stop() else Flag.DEADLINE
            proved = found.proved or answer.status is Status.OPTIMAL
            flags = answer.flags if proved else (late, *answer.flags)
            stopped = Ended.CANCELLED if late is Flag.CANCELLED else Ended.TIME
            ended = ended_of(answer.status, Ended.PROVED if found.proved else stopped)
            answer = replace(answer, steps=found.conflicts, flags=flags, ended=ended)
        self._learn(answer, x, found.bound, UNKNOWN)
        return answer

    def _with_rules(self) -> IncrementalSearch | None:
        """The living search with every new rule in it, behind a switch where that is possible."""
        for name, summands in self._fresh.items():
            if self._live is None:
                break
            more = self._live.with_rule(self._problem, summands)
            self._live, self._switches[name] = more or (None, 0)
        if self._live is None and not self._formless:
            self._switches.clear()
            self._live = IncrementalSearch.opened(self._problem)
            self._formless = self._live is None
        self._fresh.clear()
        return self._live

    def best(self) -> Answer | None:
        """The best values known so far under the problem as it stands, without a search; None
        where none are known. For a caller whose search was broken off by `Cancelled`."""
        if self._start() is None:
            return None
        found = last(self._solve(Budget(steps=0)))
        return verify(self._problem, replace(found, cancelled=True))[0]

    def _searched(self, budget: Budget | None) -> Solution:
        """A full solve; what it found stays known when a module breaks it off."""
        seen: list[Solution] = []
        try:
            for found in self._solve(budget):
                seen[:] = [found]
        except Cancelled:
            if seen:
                self._known = self._known._replace(x=self._problem.filled(seen[0].report.x))
            raise
        return seen[0]

    def _solve(self, budget: Budget | None) -> Iterator[Solution]:
        minimizer = minimizer_of(self.minimizer, budget_of(budget))
        search = self._search if minimizer == self._searcher else None
        self._searcher = minimizer
        return solve(
            self._problem,
            minimizer,
            particles=self.particles,
            budget=budget,
            seed=self.seed,
            start=self._start(),
            starts=self.starts,
            search=search,
        )

    def _start(self) -> State | None:
        """States as a fresh solve has them, the first of them the last answer."""
        if not self._known.x:
            return None
        rng = Stream(self.seed, self._problem.keys).at(0)
        starts, known = self.starts, self._known.x
        drawn = Start(self._problem, self.particles, rng, {}, starts, known)
        states = {n: x.clone() for n, x in drawn.items()}
        for name, x in states.items():
            x[0] = self._known.x[name][0]
        return states

    def _names(self) -> list[str]:
        return [summand.label for summand in self._base.summands]

    def _rebuild(self, summands: tuple[Summand, ...]) -> None:
        """The same variables and evidence under another energy."""
        domains, told = self._problem.domains, self._problem.told
        self._search = None  # it was one of another energy
        self._base = self._base.with_summands(summands)
        self._problem = replace(self._base, domains=domains, told=told, root=self._base)


def _same(one: Tensor, other: Tensor) -> bool:
    """Equal to the bit: 0.0 and -0.0 are two numbers."""
    return torch.equal(one, other) and torch.equal(one.signbit(), other.signbit())


def _paired(domains: Mapping[str, Domain], x: State) -> Iterator[tuple[Domain, Tensor]]:
    """Each domain with the values of its variable, where there are any."""
    return ((domains[name], values) for name, values in x.items())

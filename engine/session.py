"""A conversation with one problem: add or drop terms, change evidence, ask again from where it
stood.

What was proved stays known as long as changes only restrict: then the last answer, where it still
holds, is the answer, and what was infeasible stays so. For explicit rules one clause-learning
search stays alive: evidence is assumed, every added rule hangs on a switch that is assumed while
the rule stands, so all that was learned remains true. Whatever has no such form is answered by a
new solve that starts from the last answer.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch

from engine.answer import Answer, Status, verify
from engine.domain import Finite, State
from engine.encode import Boolean, NotEncodable
from engine.energy import Energy, Part, Sum, named, scope_domains
from engine.errors import BadQuery, Cancelled, Mistake, known
from engine.factors import Factors
from engine.kernels import clauses as learning
from engine.minimizer import NOT_UNIQUE, UNKNOWN, Minimizer, Report
from engine.minimizers.branch_and_bound import Placed, plan_of
from engine.problem import Problem
from engine.random import Stream
from engine.settle import last
from engine.solve import Budget, Solution, solve

SWITCHES = 64  # rules added and dropped before the living search is built anew
TUPLES = 4_096  # combinations of a table that become clauses
CONFLICTS = 2_000  # the living search may spend on one question; then a full solve takes over


class _Known(NamedTuple):
    """What the last answer leaves behind for the next question."""

    x: State  # its values, (1, *event) each; empty where there is none
    bound: float  # no values have less energy now; infinite: there are none
    unique: int


NOTHING = _Known({}, -math.inf, UNKNOWN)


@dataclass(frozen=True, eq=False)
class _Live:
    """The search that stays alive between questions."""

    boolean: Boolean
    state: learning.State
    free: int  # the first variable of a switch that was never used


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
    ) -> None:
        if problem.rows != 1:
            raise BadQuery(Mistake("evidence", f"{problem.rows} rows", "a session takes one"))
        self.minimizer, self.particles, self.seed = minimizer, particles, seed
        self._known = NOTHING
        self._base = problem.root or problem
        self._problem = problem
        self._added: dict[str, tuple[Part, ...]] = {}
        self._switches: dict[str, int] = {}  # of the added rules that the living search knows
        self._live = self._opened()

    @property
    def problem(self) -> Problem:
        """The problem as it stands now."""
        return self._problem

    def add(self, name: str, energy: Energy) -> None:
        """One more summand, under a name to drop it by."""
        if name in self._names():
            raise BadQuery(Mistake("name", f"{name!r} is taken", "choose another name"))
        parts = named(name, energy).parts()
        self._rebuild((*self._base.parts, *parts))
        self._added[name] = parts
        weighted = [p for p in parts if p.weight is not None]
        least = sum(p.weight * p.term.floor() for p in weighted if p.weight is not None)
        kept = UNKNOWN if weighted or self._known.unique == NOT_UNIQUE else self._known.unique
        self._known = self._known._replace(bound=self._known.bound + least, unique=kept)

    def drop(self, name: str) -> None:
        """Take a summand out by its name."""
        if name not in self._names():
            raise BadQuery(Mistake("name", f"{name!r} is no term", known(name, self._names())))
        self._rebuild(tuple(p for p in self._base.parts if p.label != name))
        self._known = NOTHING._replace(x=self._known.x)
        added = self._added.pop(name, None) is not None
        self._switches.pop(name, None)
        if not added or self._live is None:  # a term of the first query has no switch
            self._live = self._opened()

    def given(self, evidence: Mapping[str, Any]) -> None:
        """Other evidence in place of all that was given before."""
        before = self._problem.domains
        self._problem = self._base.given_rows([evidence])
        narrower = all(d.inside(before[n]) for n, d in self._problem.domains.items())
        known = self._known if narrower else NOTHING._replace(x=self._known.x)
        unique = UNKNOWN if known.unique == NOT_UNIQUE else known.unique
        self._known = known._replace(unique=unique)

    def answer(self, budget: Budget | None = None) -> Answer:
        """The verified answer to the problem as it stands."""
        standing = self._standing()
        if standing is not None:
            return standing
        found = self._resolve()
        if found is None:
            found = self._searched(budget)
        report = found.report
        infeasible = float(report.bound[0]) == math.inf
        x = self._known.x if infeasible else report.x
        self._known = _Known(x, float(report.bound[0]), int(report.unique[0]))
        return verify(self._problem, found)[0]

    def _standing(self) -> Answer | None:
        """The last answer, where it is proved to be the answer still."""
        x, bound, unique = self._known
        bound = max(bound, self._problem.energy.floor())
        if bound == -math.inf:
            return None
        if bound == math.inf:
            return verify(self._problem, _solution(x or self._any(), bound, UNKNOWN, 0))[0]
        domains = self._problem.domains
        if not x or any(
            not torch.equal(d.decide(d.project(x[n])), x[n]) for n, d in domains.items()
        ):
            return None
        answer = verify(self._problem, _solution(x, bound, unique, 0))[0]
        return answer if answer.status is Status.OPTIMAL else None

    def _any(self) -> State:
        """Some state, where it does not matter which."""
        rng = Stream(self.seed, self._problem.keys).at(0)
        names = self._problem.domains
        return {n: self._problem.domain(n).sample(1, rng.fork(k)) for k, n in enumerate(names)}

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
                self._known = self._known._replace(x=seen[0].report.x)
            raise
        return seen[0]

    def _solve(self, budget: Budget | None) -> Iterator[Solution]:
        return solve(
            self._problem,
            self.minimizer,
            particles=self.particles,
            budget=budget,
            seed=self.seed,
            start=self._start(),
        )

    def _start(self) -> State | None:
        """States as a fresh solve would draw them, the first of them the last answer."""
        if not self._known.x:
            return None
        rng = Stream(self.seed, self._problem.keys).at(0)
        states = {}
        for lane, name in enumerate(self._problem.domains):
            drawn = self._problem.domain(name).sample(self.particles, rng.fork(lane))
            drawn[0] = self._known.x[name][0]
            states[name] = drawn
        return states

    def _possible(self) -> np.ndarray:
        """Which literals the evidence leaves, sites in order. -> (C,) bool"""
        columns = []
        for variable in self._problem.finite:
            domain = self._problem.domains[variable.name]
            assert isinstance(domain, Finite)
            columns.append(domain.allowed[0].reshape(-1).numpy())
        return np.concatenate(columns)

    @cached_property
    def _owner(self) -> np.ndarray:
        """The site of each literal. -> (C,)"""
        sizes = Factors.sizes_of([v.domain for v in self._base.finite])
        return np.repeat(np.arange(len(sizes)), sizes)

    def _names(self) -> list[str]:
        return [part.label for part in self._base.parts]

    def _rebuild(self, parts: tuple[Part, ...]) -> None:
        """The same variables and evidence under another energy."""
        domains = self._problem.domains
        self._base = Problem(Sum(*parts), self._base.variables)
        self._problem = replace(self._base, domains=domains, root=self._base)

    def _opened(self) -> _Live | None:
        """A living search over the rules of the first query; None where they have no such form."""
        self._switches.clear()
        first = [part for part in self._base.parts if part.label not in self._added]
        plan = plan_of(Problem(Sum(*first), self._base.variables))
        fixed = all(part.term.fixed_structure for part in first)
        if (
            plan.factors.soft
            or not fixed
            or plan.rest is not None
            or len(self._base.finite) < len(self._base.variables)
        ):
            return None
        try:
            boolean = plan.boolean
        except NotEncodable:
            return None
        formula = plan.formula._replace(variables=boolean.variables + SWITCHES)
        return _Live(boolean, learning.load(formula), boolean.variables)

    def _switched(self, parts: tuple[Part, ...]) -> int | None:
        """Clauses of new rules behind a fresh switch. Without a clausal form the living search
        ends; a full solve answers from then on."""
        live = self._live
        if live is None:
            return None
        self._live = None
        pieces = []
        for part in parts:
            domains = scope_domains(part.term, dict(self._base.domains))
            own = part.term.structured(part.weight, *domains)
            if own is None or own.soft or not part.term.fixed_structure:
                return None
            starts = self._base.starts
            places = [
                starts[view.variable.name] + int(k)
                for view in part.term.scope
                for k in view.places.reshape(-1)
            ]
            pieces.append((own, places))
        sizes = Factors.sizes_of([self._base.domains[v.name] for v in self._base.finite])
        clauses = _clausal(Factors.merge(sizes, pieces), live.boolean)
        if clauses is None:
            return None
        switch = 2 * live.free
        start, literal = clauses
        lengths = np.diff(start) + 1
        guarded = np.insert(literal, start[1:], switch ^ 1).astype(np.int32)
        ptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        state = learning.add_clauses(live.state, ptr, guarded)
        self._live = replace(live, state=state, free=live.free + 1)
        return switch

    def _switched_all(self) -> _Live | None:
        """The living search with every added rule in it; None where one has no clausal form."""
        new = [name for name in self._added if name not in self._switches]
        live = self._live
        if live is not None and live.free + len(new) > live.boolean.variables + SWITCHES:
            self._live = self._opened() if len(self._added) <= SWITCHES else None
            new = [*self._added]
        for name in new:
            switch = self._switched(self._added[name])
            if switch is None:
                return None
            self._switches[name] = switch
        return self._live

    def _resolve(self) -> Solution | None:
        """An answer of the living search, or None where a full solve is needed."""
        live = self._switched_all()
        if live is None:
            return None
        b = live.boolean
        switches = [*self._switches.values()]
        assumed = np.concatenate([self._assumed(b), switches]).astype(np.int32)
        before = learning.conflicts(live.state)
        status, state = learning.search(live.state, assumed, CONFLICTS)
        self._live = replace(live, state=state)
        if status == learning.LIMIT:
            return None
        steps = learning.conflicts(state) - before
        if status == learning.REFUTED:
            return _solution(self._known.x or self._any(), math.inf, UNKNOWN, steps)
        places = b.places(learning.model(state))
        return _solution(Placed(self._problem, places[None], {}), 0.0, UNKNOWN, steps)

    def _assumed(self, b: Boolean) -> np.ndarray:
        """The evidence as literals: the value of a pinned site, else what is ruled out."""
        possible, ends = self._possible(), b.offset[: b.visible]
        pinned = (np.add.reduceat(possible, ends) == 1)[self._owner]
        literal = b.literal[: len(possible)]
        return np.concatenate([literal[possible & pinned], literal[~possible & ~pinned] ^ 1])


def _solution(x: State, bound: float, unique: int, steps: int) -> Solution:
    """A final solution of one row of explicit rules, or of what was known before."""

    def one(value: float | bool | int, dtype: torch.dtype) -> torch.Tensor:
        return torch.tensor([value], dtype=dtype)

    number = torch.float64
    value = 0.0 if bound < math.inf else math.inf
    report = Report(
        x,
        one(value, number),
        one(value, number),
        one(bound, number),
        one(True, torch.bool),
        one(unique, torch.int8),
        ((),),
    )
    return Solution(report, (steps,), 0.0, one(0.0, number), one(False, torch.bool), False, True)


def _clausal(factors: Factors, boolean: Boolean) -> tuple[np.ndarray, np.ndarray] | None:
    """Factors over visible sites as clauses in the numbering of a formula; None where they need
    hidden sites, counts or sums. -> start (m + 1,), literals (L,)"""
    f = factors.expanded()
    c = f.counted
    if len(f.sizes) > f.visible or f.sums.count or ((c.high != 1) | (c.low > 1)).any():
        return None
    rows: list[np.ndarray] = []  # blocks of clauses of one length, (m, length)
    literal, lengths = boolean.literal[boolean.offset[c.site] + c.value], c.lengths()
    for length in np.unique(lengths):
        which = np.flatnonzero(lengths == length)
        members = literal[c.start[which][:, None] + np.arange(length)]  # (m, length)
        i, j = np.triu_indices(int(length), 1)
        rows.append(np.stack([members[:, i], members[:, j]], -1).reshape(-1, 2) ^ 1)
        rows.append(members[c.low[which] == 1])
    lengths = f.clauses.lengths()
    literal = boolean.literal[boolean.offset[f.clauses.site] + f.clauses.value] ^ ~f.clauses.sign
    for length in np.unique(lengths):
        which = np.flatnonzero(lengths == length)
        rows.append(literal[f.clauses.start[which][:, None] + np.arange(length)])
    for table in f.tables:
        shape = [int(f.sizes[s]) for s in table.scopes[0]]
        alike = all([int(f.sizes[s]) for s in scope] == shape for scope in table.scopes)
        if table.soft or table.costs.ndim > 1 or not alike or math.prod(shape) > TUPLES:
            return None
        bad = np.argwhere(np.isinf(table.dense(shape)))  # (T, arity)
        at = boolean.offset[table.scopes][:, None, :] + bad[None]  # (scopes, T, arity)
        rows.append(boolean.literal[at].reshape(-1, table.arity) ^ 1)
    counts = np.concatenate([[0], *(np.full(len(block), block.shape[1]) for block in rows)])
    flat = np.concatenate([np.zeros(0, np.int32), *(block.reshape(-1) for block in rows)])
    return np.cumsum(counts), flat.astype(np.int32)

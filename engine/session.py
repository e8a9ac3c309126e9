"""A conversation with one problem: add or drop terms, change evidence, ask again from where it
stood.

For explicit rules one clause-learning search stays alive: evidence is assumed, every added rule
hangs on a switch that is assumed while the rule stands, so all that was learned remains true.
Whatever has no such form is answered by a new solve over the kept structure.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from engine.answer import Answer, verify
from engine.domain import Finite, State
from engine.encode import Boolean, NotEncodable
from engine.energy import Energy, Part, Sum, named, scope_domains
from engine.errors import BadQuery, Mistake, known
from engine.factors import Factors
from engine.kernels import clauses as learning
from engine.minimizer import UNKNOWN, Minimizer, Report
from engine.minimizers.branch_and_bound import Placed, plan_of
from engine.problem import Problem
from engine.random import Stream
from engine.settle import last
from engine.solve import Budget, Solution, solve

SWITCHES = 64  # rules added and dropped before the living search is built anew
TUPLES = 4_096  # combinations of a table that become clauses
CONFLICTS = 2_000  # the living search may spend on one question; then a full solve takes over


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
        self._before: State = {}  # the last answer, (1, *event) each
        self._base = problem.root or problem
        self._problem = problem
        self._added: dict[str, tuple[tuple[Part, ...], int | None]] = {}  # parts, switch literal
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
        self._added[name] = (parts, self._switched(parts))

    def drop(self, name: str) -> None:
        """Take a summand out by its name."""
        if name not in self._names():
            raise BadQuery(Mistake("name", f"{name!r} is no term", known(name, self._names())))
        self._rebuild(tuple(p for p in self._base.parts if p.label != name))
        switched = self._added.pop(name, None) is not None
        if not switched or self._live is None:  # a term of the first query has no switch
            self._live = self._opened()

    def given(self, evidence: Mapping[str, Any]) -> None:
        """Other evidence in place of all that was given before."""
        self._problem = self._base.given_rows([evidence])

    def answer(self, budget: Budget | None = None) -> Answer:
        """The verified answer to the problem as it stands."""
        quick = self._resolve()
        if quick is not None:
            return verify(self._problem, quick)[0]
        found = last(
            solve(
                self._problem,
                self.minimizer,
                particles=self.particles,
                budget=budget,
                seed=self.seed,
                start=self._start(),
            )
        )
        if not bool(found.report.bound[0] == math.inf):
            self._before = found.report.x
        return verify(self._problem, found)[0]

    def _start(self) -> State | None:
        """States as a fresh solve would draw them, the first of them the last answer."""
        if not self._before:
            return None
        rng = Stream(self.seed, self._problem.keys).at(0)
        states = {}
        for lane, name in enumerate(self._problem.domains):
            drawn = self._problem.domain(name).sample(self.particles, rng.fork(lane))
            drawn[0] = self._before[name][0]
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

    def _names(self) -> list[str]:
        return [part.label for part in self._base.parts]

    def _rebuild(self, parts: tuple[Part, ...]) -> None:
        """The same variables and evidence under another energy."""
        domains = self._problem.domains
        self._base = Problem(Sum(*parts), self._base.variables)
        self._problem = replace(self._base, domains=domains, root=self._base)

    def _opened(self) -> _Live | None:
        """A living search over the rules of the first query; None where they have no such form."""
        plan = plan_of(self._base)
        fixed = all(part.term.fixed_structure for part in self._base.parts)
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
        state = learning.load(formula)
        live = _Live(boolean, state, boolean.variables)
        for name, (parts, _) in self._added.items():
            self._live = live
            self._added[name] = (parts, self._switched(parts))
            if self._live is None:
                return None
            live = self._live
        return live

    def _switched(self, parts: tuple[Part, ...]) -> int | None:
        """Clauses of new rules behind a fresh switch. Without a clausal form the living search
        ends; a full solve answers from then on."""
        live = self._live
        if live is None:
            return None
        self._live = None
        if live.free == live.boolean.variables + SWITCHES:
            return None
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

    def _resolve(self) -> Solution | None:
        """An answer of the living search, or None where a full solve is needed."""
        live = self._live
        if live is None:
            return None
        b = live.boolean
        closed = b.literal[: b.offset[b.visible]][~self._possible()] ^ 1
        switches = [switch for _, switch in self._added.values() if switch is not None]
        assumed = np.concatenate([np.unique(closed), switches]).astype(np.int32)
        before = learning.conflicts(live.state)
        status, state = learning.search(live.state, assumed, CONFLICTS)
        self._live = replace(live, state=state)
        if status == learning.LIMIT:
            return None
        refuted = status == learning.REFUTED
        model = learning.model(state)
        places = b.places(model) if not refuted else np.zeros(b.visible, dtype=np.int64)
        value = np.inf if refuted else 0.0
        report = Report(
            Placed(self._problem, places[None], {}),
            torch.tensor([value], dtype=torch.float64),
            torch.tensor([value], dtype=torch.float64),
            torch.tensor([value], dtype=torch.float64),
            torch.tensor([True]),
            torch.tensor([UNKNOWN], dtype=torch.int8),
            ((),),
        )
        steps = learning.conflicts(state) - before
        none = torch.zeros(1, dtype=torch.float64)
        return Solution(report, (steps,), 0.0, none, torch.tensor([False]), False, True)


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

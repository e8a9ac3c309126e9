"""Hosted terms at every door: waited for with patience, asked together, held against their own
structure, and their streams closed.

Whoever answers over a problem that may have hosted terms does it inside `attended`, asks hosts
ahead with `judge_ahead`, and holds what was found against `check_values`; where there are none, all
three cost nothing. gRPC is not loaded by this.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from engine.answer import Answer
from engine.decimals import Ints
from engine.domain import Finite, Input, State
from engine.domain.told import states_at
from engine.energy import plain_scope
from engine.errors import ModuleFault
from engine.factors import Factors
from engine.problem import Problem
from services.remote.lifecycle import HostedTerm, remotes_of

HIDDEN = 4096  # combinations of hidden sites up to which a structure is checked on an answer
SAME = 1e-6  # relative difference of energies that counts as none


def judge_ahead(problem: Problem, plain: Sequence[Mapping[str, Any]]) -> None:
    """Have every host judge all these values in one call, before they are asked one by one. What
    inputs were told stands beside them (`Problem.asked`), unless the problem has a single row."""
    terms = [term for term in remotes_of(problem) if term.decides]
    told = problem.told_plain(0) if terms and problem.inputs and problem.rows == 1 else {}
    asked = [{**told, **values} for values in plain] if terms else []
    for term in terms:
        term.judge([plain_scope(term, values) for values in asked if term.speaks(values)])


def score_ahead(problem: Problem, x: State) -> None:
    """Have every host score the best states of all rows in one exchange, before they are judged row
    by row: rows that were told something of their own are. x (R, *event)"""
    soft = {s.term for s in problem.summands if s.weight is not None}
    if problem.rows == 1 or not problem.inputs:
        return
    whole = problem.whole(x)
    for term in remotes_of(problem):
        if term in soft and any(view.told for view in term.scope):
            term.score_ahead(*term.views(whole))


def check_answers(problem: Problem, answers: Sequence[Answer]) -> None:
    """Raise ModuleFault when a hosted term's structure and its judgement disagree on an answer, on
    an alternative, or on a runner-up. Call it after `verify`."""
    if not remotes_of(problem):
        return
    found: list[tuple[int, Mapping[str, Any]]] = []
    for row, answer in enumerate(answers):
        beside = (*answer.alternatives, *([answer.runner_up] if answer.runner_up else ()))
        every = (answer.values, *(other.values for other in beside))
        found += [(row, values) for values in every if values is not None]
    check_values(problem, found)


def check_values(problem: Problem, found: Sequence[tuple[int, Mapping[str, Any]]]) -> None:
    """Raise ModuleFault when a hosted term's structure and its judgement disagree on complete
    values, each beside its row of the problem.

    One call and at most one exchange for each term. A structure with many hidden sites is not
    checked.
    """
    terms = remotes_of(problem) if found else []
    if not terms:
        return
    weights = {summand.term: summand.weight for summand in problem.summands}
    rows, state = [row for row, _ in found], _whole(problem, terms, found)
    for term in terms:
        weight = weights.get(term, None if term.required_by_default else 1.0)
        domains = problem.scope(term)
        if term.fixed_structure and all(isinstance(domain, Finite) for domain in domains):
            domains = [view.of(view.variable.domain) for view in term.scope]  # as it was kept
        factors = term.structured(weight, *domains)
        if factors is None:
            continue
        there = term.there(state)
        heard = [*range(len(found))] if there is None else there.nonzero().reshape(-1).tolist()
        costs = _costs(term, factors, state, [(at, rows[at]) for at in heard])
        _Check(problem, term, weight, state, found).run(dict(zip(heard, costs, strict=True)))


def _whole(
    problem: Problem, terms: Sequence[HostedTerm], found: Sequence[tuple[int, Mapping[str, Any]]]
) -> State:
    """Values as decided states, each beside what its row was told."""
    scopes = (view.variable for term in terms for view in term.scope)
    state = {
        v.name: torch.stack([v.domain.encode(values[v.name]) for _, values in found])
        for v in dict.fromkeys(v for v in scopes if not isinstance(v, Input))
    }
    rows = [row for row, _ in found]
    in_order = rows == [*range(problem.rows)]  # then nothing that was told is copied
    return problem.whole(state, None if in_order else torch.tensor(rows))


def _costs(
    term: HostedTerm, factors: Factors, state: State, states: Sequence[tuple[int, int]]
) -> list[float | None]:
    """What a structure says of some states, each with its row; see `cost_of`."""
    every = [
        view.tensor(state[view.variable.name])
        for view in term.scope
        if isinstance(view.variable.domain, Finite)
    ]
    columns = [x.reshape(len(x), -1) for x in every]  # a site by itself has no shape
    places = torch.cat(columns, 1).numpy().astype(np.int64) if columns else None
    factors, none = factors.lowered(), np.zeros(0, np.int64)
    return [cost_of(factors, none if places is None else places[at], row) for at, row in states]


@dataclass(frozen=True)
class _Check:
    """A hosted term, and the complete values that its structure priced: as states, and as they are
    with their rows."""

    problem: Problem
    term: HostedTerm
    weight: float | None
    state: State
    found: Sequence[tuple[int, Mapping[str, Any]]]

    def run(self, costs: Mapping[int, float | None]) -> None:
        """Raises ModuleFault unless costs of some of the values agree with what the term says."""
        known = {at: cost for at, cost in costs.items() if cost is not None}
        if not self.term.decides:
            self._check_priced(known)
            return
        verdicts = self.term.judge([self._plain(at) for at in known])
        priced: dict[int, float] = {}  # where nothing decides
        for (at, cost), verdict in zip(known.items(), verdicts, strict=True):
            if not verdict.HasField("holds"):
                priced[at] = cost
                continue
            # a rule at a price costs something where it fails; a cost may forbid, at any price
            rule = self.weight is not None and self.term.required_by_default
            free = cost == 0 if rule else cost < math.inf
            if verdict.holds != free:
                said, judged = ("fails", "holds") if verdict.holds else ("holds", "fails")
                raise ModuleFault(
                    self.term.label,
                    f"its structure says that an answer {said}, its judgement that it {judged}",
                )
        self._check_priced(priced)

    def _plain(self, at: int) -> list[Any]:
        row, values = self.found[at]
        told = self.problem.told_plain(row) if self.problem.inputs else {}
        return plain_scope(self.term, {**values, **told})

    @torch.no_grad()
    def _check_priced(self, priced: Mapping[int, float]) -> None:
        if not priced:
            return
        some = self.state
        if len(priced) < len(self.found):
            at = torch.tensor([*priced])
            some = dict(zip(some, states_at([*some.values()], at), strict=True))
        for cost, told in zip(priced.values(), self.term(some).tolist(), strict=True):
            energy = (1.0 if self.weight is None else self.weight) * told
            if energy != cost and not abs(energy - cost) <= SAME * max(1.0, abs(energy)):
                raise ModuleFault(
                    self.term.label,
                    f"its structure costs an answer {cost:g}, its energy is {energy:g}",
                )


def cost_of(factors: Factors, places: Sequence[int] | Ints, row: int = 0) -> float | None:
    """What a structure says of decided sites: infinite where a rule fails, the least over hidden
    sites; None where those are too many to look through."""
    factors = factors.lowered()
    hidden = factors.sizes[factors.visible :]
    if math.prod(hidden.tolist()) > HIDDEN:
        return None
    least = math.inf
    for choice in np.ndindex(*hidden.tolist()):
        at = np.array([*places, *choice], dtype=np.int64)
        every = (family.costs_at(at, row) for family in factors.families() if family.count)
        least = min(least, float(sum(costs.sum() for costs in every)))
    return least

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
from engine.domain import Finite, Input, State, flatten
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
    told = problem.told_plain(0) if problem.inputs and problem.rows == 1 else {}
    asked = [{**told, **values} for values in plain]
    for term in remotes_of(problem):
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
    weights = {summand.term: summand.weight for summand in problem.summands}
    told = [problem.told_plain(row) for row in range(problem.rows)] if problem.inputs else None
    asked = [(row, {**values, **told[row]} if told else values) for row, values in found]
    for term in remotes_of(problem) if found else ():
        weight = weights.get(term, None if term.required_by_default else 1.0)
        domains = problem.scope(term)
        if term.fixed_structure and all(isinstance(domain, Finite) for domain in domains):
            domains = [view.of(view.variable.domain) for view in term.scope]  # as it was kept
        factors = term.structured(weight, *domains)
        if factors is not None:
            heard = [(row, values) for row, values in asked if term.speaks(values)]
            _Check(problem, term, weight, factors).run(heard)


@dataclass(frozen=True)
class _Check:
    """A hosted term, and the structure that it said to have."""

    problem: Problem
    term: HostedTerm
    weight: float | None
    factors: Factors

    def run(self, found: Sequence[tuple[int, Mapping[str, Any]]]) -> None:
        """Raises ModuleFault unless it agrees with what the term says of values beside rows."""
        term, weight = self.term, self.weight
        priced: list[tuple[float, int, Mapping[str, Any]]] = []  # where nothing decides
        costs = [cost_of(self.factors, self._places(values), row) for row, values in found]
        verdicts = term.judge([plain_scope(term, values) for _, values in found])
        for (row, values), cost, verdict in zip(found, costs, verdicts, strict=True):
            if cost is None:
                continue
            if not verdict.HasField("holds"):
                priced.append((cost, row, values))
                continue
            # a rule at a price costs something where it fails; a cost may forbid, at any price
            free = cost == 0 if weight is not None and term.required_by_default else cost < math.inf
            if verdict.holds != free:
                said, judged = ("fails", "holds") if verdict.holds else ("holds", "fails")
                raise ModuleFault(
                    term.label,
                    f"its structure says that an answer {said}, its judgement that it {judged}",
                )
        if priced:
            self._check_priced(priced)

    def _check_priced(self, priced: Sequence[tuple[float, int, Mapping[str, Any]]]) -> None:
        energies = self._energies([(row, values) for _, row, values in priced])
        for (cost, *_), told in zip(priced, energies, strict=True):
            energy = (1.0 if self.weight is None else self.weight) * told
            if energy != cost and not abs(energy - cost) <= SAME * max(1.0, abs(energy)):
                raise ModuleFault(
                    self.term.label,
                    f"its structure costs an answer {cost:g}, its energy is {energy:g}",
                )

    @torch.no_grad()
    def _energies(self, found: Sequence[tuple[int, Mapping[str, Any]]]) -> list[float]:
        """What the term says that values cost, each beside its row, in one exchange."""
        variables = {
            view.variable.name: view.variable.domain
            for view in self.term.scope
            if not isinstance(view.variable, Input)
        }
        state = {
            name: torch.stack([domain.encode(values[name]) for _, values in found])
            for name, domain in variables.items()
        }
        whole = self.problem.whole(state, torch.tensor([row for row, _ in found]))
        energies: list[float] = self.term(whole).tolist()
        return energies

    def _places(self, values: Mapping[str, Any]) -> list[int]:
        """The place of the value of each finite site, through the whole scope."""
        places: list[int] = []
        for view in self.term.scope:
            domain = view.variable.domain
            if isinstance(domain, Finite):
                value = view.plain(values[view.variable.name])
                places += [domain.place(entry) for entry in flatten(value, view.shape)]
        return places


def cost_of(factors: Factors, places: Sequence[int], row: int = 0) -> float | None:
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

"""Hosted terms of a solved problem: judged together, and held against their own structure."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from engine.answer import Answer
from engine.domain import Domain, Finite, flatten
from engine.energy import plain_scope
from engine.errors import ModuleFault
from engine.factors import Factors
from engine.problem import Problem
from services.remote import Remote

HIDDEN = 4096  # combinations of hidden sites up to which a structure is checked on an answer
SAME = 1e-6  # relative difference of energies that counts as none


def remotes_of(problem: Problem) -> list[Remote]:
    """Every hosted term of a problem, those inside `|` too."""
    return [
        term for part in problem.parts for term in part.term.modules() if isinstance(term, Remote)
    ]


def close_remotes(problem: Problem) -> None:
    """End the streams of a problem that is solved."""
    for term in remotes_of(problem):
        term.close()


def judge_ahead(problem: Problem, plain: Sequence[Mapping[str, Any]]) -> None:
    """Have every host judge all these values in one call, before `verify` asks one by one."""
    for term in remotes_of(problem):
        term.judge([plain_scope(term, dict(values)) for values in plain])


def check_answers(problem: Problem, answers: Sequence[Answer]) -> None:
    """Raise ModuleFault when a hosted term's structure and its judgement disagree on an answer.

    Call it after `verify`. A structure with many hidden sites is not checked.
    """
    for term in remotes_of(problem):
        domains = [view.of(problem.domains[view.variable.name]) for view in term.scope]
        factors = term.factors(*domains)
        if factors is None:
            continue
        for row, answer in enumerate(answers):
            if answer.values is not None:
                _check_answer(term, factors, domains, answer.values, row)


def _check_answer(
    term: Remote, factors: Factors, domains: Sequence[Domain], values: dict[str, Any], row: int
) -> None:
    plain = plain_scope(term, values)
    places: list[int] = []
    states = []
    for domain, value in zip(domains, plain, strict=True):
        assert isinstance(domain, Finite)
        places += [domain.place(entry) for entry in flatten(value, domain.shape)]
        states.append(domain.encode(value)[None])
    cost = cost_of(factors, places, row)
    if cost is None:
        return
    verdict = term.verdict(plain)
    if verdict.HasField("holds"):
        if verdict.holds != math.isfinite(cost):
            said, judged = ("fails", "holds") if verdict.holds else ("holds", "fails")
            raise ModuleFault(
                term.home.name,
                f"its structure says that an answer {said}, its judgement that it {judged}",
            )
        return
    with torch.no_grad():
        energy = float(term.energy(*states)[0])
    if energy != cost and not abs(energy - cost) <= SAME * max(1.0, abs(energy)):
        raise ModuleFault(
            term.home.name, f"its structure costs an answer {cost:g}, its energy is {energy:g}"
        )


def cost_of(factors: Factors, places: Sequence[int], row: int = 0) -> float | None:
    """What a structure says of decided sites: infinite where a rule fails, the least over hidden
    sites; None where those are too many to look through."""
    hidden = factors.sizes[factors.visible :]
    if math.prod(hidden.tolist()) > HIDDEN:
        return None
    least = math.inf
    for choice in np.ndindex(*hidden.tolist()):
        least = min(least, _cost(factors, np.array([*places, *choice], dtype=np.int64), row))
    return least


def _cost(factors: Factors, at: np.ndarray, row: int) -> float:
    """(n,) places of the values of all sites -> the cost, infinite where a rule fails."""
    c, d, s = factors.counted, factors.clauses, factors.sums
    counts = _sums(c, at[c.site] == c.value)
    if ((counts < c.low) | (counts > c.high)).any():
        return math.inf
    if (_sums(d, (at[d.site] == d.value) == d.sign) == 0).any():
        return math.inf
    totals = _sums(s, (at[s.site] == s.value) * s.coefficient)
    slack = 1e-9 * (1 + _sums(s, abs(s.coefficient)))
    if ((totals < s.low - slack) | (totals > s.high + slack)).any():
        return math.inf
    for line in factors.different.lines():
        if len(np.unique(at[line])) < len(line):
            return math.inf
    total = 0.0
    for table in factors.tables:
        costs = table.costs if table.costs.ndim == 1 else table.costs[row % len(table.costs)]
        listed = {tuple(t): cost for t, cost in zip(table.tuples.tolist(), costs.tolist())}
        total += sum(listed.get(tuple(v), table.default) for v in at[table.scopes].tolist())
    return total


def _sums(lists: Any, per_literal: np.ndarray) -> np.ndarray:
    """(L,) -> (m,): the sum over each list."""
    return np.bincount(lists.owner(), weights=per_literal, minlength=lists.count)

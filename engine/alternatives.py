"""Other answers to the same query: the k best, and the best that differs where it is asked to."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.answer import Alternative, Answer, Status, verify
from engine.domain import Finite, Variable, flatten
from engine.energy import Term
from engine.factors import Clauses, Factors, Sums, floats, ints
from engine.problem import Problem
from engine.settle import last
from engine.solve import Budget, solve

CHECKED = (Status.OPTIMAL, Status.SATISFIED)


class Apart(Term):
    """At least `distance` sites differ from given values (Hamming distance).

    E = max(0, distance - expected number of sites that differ).
    """

    affine = False
    fixed_structure = True

    def __init__(self, *variables: Variable, values: Sequence[Any], distance: int = 1):
        super().__init__(*variables)
        self.values, self.distance = values, distance
        self.places = []
        for variable, value in zip(variables, values, strict=True):
            domain = variable.domain
            assert isinstance(domain, Finite)
            self.places.append([domain.place(v) for v in flatten(value, domain.shape)])

    def energy(self, *tensors: Tensor) -> Tensor:  # (B, *shape, k) each -> (B,)
        same = torch.zeros(tensors[0].shape[0], dtype=tensors[0].dtype, device=tensors[0].device)
        for x, places in zip(tensors, self.places, strict=True):
            flat = x.reshape(x.shape[0], len(places), -1)
            index = torch.tensor(places, device=x.device).view(1, -1, 1).expand(x.shape[0], -1, 1)
            same = same + flat.gather(2, index).sum((1, 2))
        total = sum(map(len, self.places))
        return (self.distance - (total - same)).clamp(min=0)

    def holds(self, *values: Any) -> bool:
        differing = 0
        for view, value, old in zip(self.scope, values, self.values, strict=True):
            shape = view.variable.domain.shape
            pairs = zip(flatten(value, shape), flatten(old, shape), strict=True)
            differing += sum(new != before for new, before in pairs)
        return differing >= self.distance

    def factors(self, *domains) -> Factors:
        sizes = Factors.sizes_of(domains)
        place = ints([p for places in self.places for p in places])
        n, zero = len(sizes), ints([0])
        if self.distance == 1:
            signs = np.zeros(n, dtype=bool)
            one = Clauses(ints([0, n]), np.arange(n), place, zero, zero, signs)
            return Factors(sizes, n, clauses=one)
        sums = Sums(
            ints([0, n]),
            np.arange(n),
            place,
            zero,
            zero,
            np.ones(n),
            floats([-np.inf]),
            floats([n - self.distance]),
        )
        return Factors(sizes, n, sums=sums)


def alternatives(
    problem: Problem,
    answer: Answer,
    count: int,
    *,
    distance: int = 1,
    budget: Budget | None = None,
    seed: int = 0,
) -> tuple[Alternative, ...]:
    """Up to `count` next best answers of a one-row problem, each at least `distance` sites away
    from the answer and from each other; fewer only when there are no more, or time ran out."""
    finite = list(problem.finite)
    if answer.values is None or answer.status not in CHECKED or not finite:
        return ()
    found: list[Alternative] = []
    if distance == 1:
        found = sorted(answer.alternatives, key=lambda a: a.energy)[:count]
    soft = any(part.weight is not None for part in problem.parts)
    if soft:
        found = []  # these were met on the way, not proved next best
    while len(found) < count:
        known: list[Mapping[str, Any]] = [answer.values, *(a.values for a in found)]
        other = _next(problem, [(finite, v) for v in known], distance, budget, seed)
        if other is None:
            break
        found.append(other)
    return tuple(found)


def runner_up(
    problem: Problem,
    answer: Answer,
    names: Sequence[str] = (),
    *,
    budget: Budget | None = None,
    seed: int = 0,
) -> Alternative | None:
    """The best answer that differs in at least one site of each variable named, else in any."""
    if answer.values is None or answer.status not in CHECKED:
        return None
    groups = [[v] for v in problem.finite if v.name in names] or [list(problem.finite)]
    return _next(problem, [(g, answer.values) for g in groups], 1, budget, seed)


def _next(
    problem: Problem,
    apart: Sequence[tuple[list[Variable], Mapping[str, Any]]],
    distance: int,
    budget: Budget | None,
    seed: int,
) -> Alternative | None:
    energy = problem.energy
    for variables, values in apart:
        energy = energy + Apart(
            *variables, values=[values[v.name] for v in variables], distance=distance
        )
    further = replace(problem, energy=energy)
    found = verify(further, last(solve(further, budget=budget, seed=seed)))[0]
    if found.status not in CHECKED or found.values is None:
        return None
    return Alternative(found.values, found.energy or 0.0)

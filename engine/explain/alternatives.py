"""Other answers to the same query: the k best, far enough apart, and whether there is any."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.answer import Alternative, Answer, Status
from engine.compare import room
from engine.domain import Finite, Variable, flatten
from engine.energy import Term
from engine.factors import Clauses, Factors, Sums, floats, ints
from engine.judgement import verify
from engine.minimizer import Minimizer
from engine.problem import Problem
from engine.settle import last
from engine.solve import Budget, solve

FOUND = (Status.OPTIMAL, Status.SATISFIED, Status.SCORED)  # what has others beside it


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
        variables = [view.variable for view in self.scope]
        names = [variable.name for variable in variables]
        new, old = (dict(zip(names, of, strict=True)) for of in (values, self.values))
        return len(differing(variables, new, old)) >= self.distance

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
    minimizer: Minimizer | None = None,
    budget: Budget | None = None,
    seed: int = 0,
) -> tuple[Alternative, ...]:
    """Up to `count` next best answers of a one-row problem, each at least `distance` sites away
    from the answer and from each other; fewer only when there are no more, or time ran out."""
    finite = list(problem.finite)
    if answer.values is None or answer.status not in FOUND or not finite:
        return ()
    found: list[Alternative] = []
    if not any(part.weight is not None for part in problem.summands):
        # met on the way: as good as any other where nothing is soft
        found = _spread(answer, finite, distance)[:count]
    while len(found) < count:
        known: list[Mapping[str, Any]] = [answer.values, *(a.values for a in found)]
        apart = [(finite, values) for values in known]
        other = next_best(
            problem, apart, distance=distance, minimizer=minimizer, budget=budget, seed=seed
        )
        if other.status not in FOUND or other.values is None:
            break
        found.append(Alternative(other.values, other.energy or 0.0))
    return tuple(found)


def unique(
    problem: Problem,
    answer: Answer,
    *,
    minimizer: Minimizer | None = None,
    budget: Budget | None = None,
    seed: int = 0,
) -> bool | None:
    """Whether no other values are as good as these, which are proved least; None: not decided."""
    finite = list(problem.finite)
    if answer.values is None or answer.energy is None or len(finite) < len(problem.variables):
        return None
    other = next_best(
        problem, [(finite, answer.values)], minimizer=minimizer, budget=budget, seed=seed
    )
    if other.status is Status.INFEASIBLE:
        return True
    if other.status in FOUND and other.energy is not None and other.energy <= answer.energy:
        return False if _level(problem, answer, other) else None
    least = answer.energy + room(problem, answer.energy)
    return True if other.bound is not None and other.bound > least else None


def _level(problem: Problem, answer: Answer, other: Answer) -> bool:
    """Whether another answer costs no more, where floats do not tell it from the first."""
    if problem.form.rest is not None or not problem.form.factors.resolves:
        return True
    costs = []
    for values in (answer.values, other.values):
        assert values is not None
        state = {v.name: v.domain.encode(values[v.name])[None] for v in problem.finite}
        costs.append(problem.exactly(problem.places(state)[0]))
    return costs[1] <= costs[0]


def next_best(
    problem: Problem,
    apart: Sequence[tuple[Sequence[Variable], Mapping[str, Any]]],
    *,
    distance: int = 1,
    minimizer: Minimizer | None = None,
    budget: Budget | None = None,
    seed: int = 0,
) -> Answer:
    """The best answer of a one-row problem that differs from each of these values in at least
    `distance` sites of the variables beside them."""
    energy = problem.energy
    for variables, values in apart:
        energy = energy + Apart(
            *variables, values=[values[v.name] for v in variables], distance=distance
        )
    further = replace(problem, energy=energy)
    return verify(further, last(solve(further, minimizer, budget=budget, seed=seed)))[0]


def _spread(answer: Answer, finite: Sequence[Variable], distance: int) -> list[Alternative]:
    """Those alternatives of an answer that are far enough from it and from each other."""
    kept: list[Alternative] = []
    for other in sorted(answer.alternatives, key=lambda a: a.energy):
        before = [answer.values or {}, *(a.values for a in kept)]
        if all(len(differing(finite, other.values, old)) >= distance for old in before):
            kept.append(other)
    return kept


def differing(
    variables: Sequence[Variable], new: Mapping[str, Any], old: Mapping[str, Any]
) -> list[tuple[Variable, int, Any, Any]]:
    """The sites at which two plain values of the variables differ: variable, flat place, both."""
    found = []
    for variable in variables:
        shape = variable.domain.shape
        pairs = zip(
            flatten(new[variable.name], shape), flatten(old[variable.name], shape), strict=True
        )
        found += [
            (variable, k, a, b)
            for k, (a, b) in enumerate(pairs)
            if type(a) is not type(b) or a != b  # 1, 1.0 and True are three values
        ]
    return found

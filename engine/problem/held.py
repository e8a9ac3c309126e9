"""What is left of a problem where its finite sites are decided: the numbers, and what is not
explicit of the energy."""

from dataclasses import replace

import numpy as np
import torch

from engine.domain import Domain, Finite
from engine.energy import Energy
from engine.problem.problem import Problem

KEPT = "held"  # in the memo of a form: the problem whose finite sites will be decided


def held_at(problem: Problem, places: np.ndarray, owner: np.ndarray) -> Problem:
    """The opaque rest of the energy over the numbers alone, one row for each of some decided
    states of the finite sites: places (L, n), of the rows owner (L,). What is explicit of these
    states is no part of it."""
    if KEPT not in problem.memo:
        rest = problem.factored()[1]
        assert rest is not None
        problem.memo[KEPT] = _over(problem, rest)
    base: Problem = problem.memo[KEPT]
    rows = owner.tolist()
    every: dict[str, Domain] = {}
    for name in base.every:
        domain = problem.domain(name).select(rows)
        if isinstance(domain, Finite) and name in problem.starts:
            start = problem.starts[name]
            index = torch.from_numpy(places[:, start : start + domain.sites]).to(domain.device)
            hot = torch.nn.functional.one_hot(index, len(domain.values)).bool()
            domain = replace(domain, allowed=hot.reshape(len(rows), *domain.event))
        every[name] = domain
    return _opaque(base._with(every, base))


def _over(problem: Problem, rest: Energy) -> Problem:
    """An energy over its own variables and inputs, without evidence."""
    base = problem.root or problem
    names = {v.name for v in rest.variables()}
    domains = {n: d for n, d in base.domains.items() if n in names}
    told = {n: d for n, d in base.told.items() if n in names}
    inputs = tuple(v for v in problem.inputs if v.name in names)
    made = Problem(rest, (), domains=domains, inputs=inputs, told=told, held=True)
    return _opaque(made)


def _opaque(problem: Problem) -> Problem:
    """The same problem, none of whose terms is asked for structure."""
    problem.structures.pieces.update(dict.fromkeys(range(len(problem.summands))))
    _ = problem.form
    return problem

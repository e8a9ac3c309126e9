"""A problem that falls apart: groups of variables that no summand, definition or rule connects."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from engine.domain import Domain, Real, Variable
from engine.energy import Sum, Summand
from engine.energy.definition import Computed, outputs_of
from engine.problem.problem import Problem

MOST = 32  # groups; further ones are put together


class Group(NamedTuple):
    """Variables that are searched together."""

    variables: tuple[Variable, ...]  # in order, constants that their summands see too
    places: tuple[int, ...]  # of the summands that see them


def groups_of(problem: Problem) -> tuple[Group, ...]:
    """The groups, told once for a structure: first everything that is explicit, where there is
    any, then each component that something opaque holds together, last what is opaque and sees
    constants and inputs alone. One group where all is explicit, or where views are computed from
    what is searched."""
    if "apart" not in problem.memo:
        problem.memo["apart"] = _groups(problem)
    return problem.memo["apart"]


def parts_of(problem: Problem) -> tuple[Problem, ...]:
    """The problem of each group, of the same rows; what its terms say is not asked for again."""
    if "_parts" not in vars(problem):
        vars(problem)["_parts"] = tuple(_part(problem, group) for group in groups_of(problem))
    return vars(problem)["_parts"]


def _groups(problem: Problem) -> tuple[Group, ...]:
    whole = Group(problem.variables, tuple(range(len(problem.summands))))
    if problem.factored()[1] is None or not problem.completion.settles:
        return (whole,)
    opened = {v.name for v in problem.open}
    joined = _joined(problem.summands, opened)
    seen = [[view.variable.name for view in s.term.scope] for s in problem.summands]
    without = sorted(problem.form.lacking)
    opaque = {joined[name] for place in without for name in seen[place] if name in joined}
    closed = [place for place in without if not any(name in joined for name in seen[place])]
    keys = [key for key in dict.fromkeys(joined.values()) if key in opaque]
    explicit = any(key not in opaque for key in joined.values())
    number = {key: min(k, MOST - 1) + explicit for k, key in enumerate(keys)}
    count = min(len(keys), MOST) + explicit
    if not count or count + bool(closed) < 2:
        return (whole,)
    names: list[set[str]] = [set() for _ in range(count)]
    places: list[list[int]] = [[] for _ in names]
    for name, key in joined.items():
        names[number.get(key, 0)].add(name)
    for place, every in enumerate(seen):
        if place not in closed:
            key = next((joined[name] for name in every if name in joined), "")
            places[number.get(key, 0)].append(place)
    if closed:
        names.append(set())
        places.append(closed)
    for own, mine in zip(names, places):
        own |= {name for k in mine for name in seen[k]}
    placed = frozenset[str]().union(*names)
    names[0] |= {v.name for v in problem.variables} - placed  # constants that nothing sees
    return tuple(
        Group(tuple(v for v in problem.variables if v.name in own), tuple(mine))
        for own, mine in zip(names, places)
    )


def _joined(summands: Sequence[Summand], opened: set[str]) -> dict[str, str]:
    """For each open variable the first that it hangs together with; those of no summand together
    with what is explicit."""
    root = {name: name for name in opened}

    def first(name: str) -> str:
        while root[name] != name:
            root[name] = root[root[name]]
            name = root[name]
        return name

    for s in summands:
        seen = [view.variable.name for view in s.term.scope if view.variable.name in opened]
        for name in seen[1:]:
            root[first(name)] = first(seen[0])
    return {name: first(name) for name in sorted(opened)}


def _part(problem: Problem, group: Group) -> Problem:
    """The problem of one group."""
    if len(groups_of(problem)) == 1:
        return problem
    base = problem.root or problem
    kept = vars(base).setdefault("_groups", {})
    if group not in kept:
        kept[group] = _base(base, group)
    root: Problem = kept[group]
    every = {name: _as_settled(problem, name, root) for name in root.every}
    part = root if base is problem else root._with(every, root)
    for k, place in enumerate(group.places):
        part.structures.pieces[k] = problem.structures.of(place)
    return part


def _as_settled(problem: Problem, name: str, root: Problem) -> Domain:
    """The domain of a variable in a part: what constants define elsewhere is given there."""
    domain = problem.every[name]
    own = {view.variable.name for d in root.definitions for view in outputs_of(d.term)}
    elsewhere = name in problem.completion.settled and name not in own
    if not elsewhere or not isinstance(domain, Real):
        return domain
    values = problem.completion.values[name].to(domain.low.dtype)
    return replace(domain, low=values, high=values)


def _base(base: Problem, group: Group) -> Problem:
    """The same without evidence; reduced, where the group holds what is computed."""
    own = [base.summands[place] for place in group.places]
    if any(isinstance(s.term, Computed) for s in own):
        own = [*(s for s in own if not isinstance(s.term, Computed)), *base.definitions]
    energy = Sum(*own)
    names = {v.name for v in energy.variables()}
    part = Problem(
        energy,
        group.variables,
        {v.name: base.domains[v.name] for v in group.variables},
        inputs=tuple(v for v in base.inputs if v.name in names),
        told={v.name: base.told[v.name] for v in base.inputs if v.name in names},
    )
    return part.reduced()

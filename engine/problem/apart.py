"""A problem that falls apart: groups of variables that no summand, definition or rule connects."""

from collections.abc import Sequence
from typing import NamedTuple

from engine.domain import Variable
from engine.energy import Sum, Summand
from engine.problem.problem import Problem

MOST = 32  # groups; further ones are put together


class Group(NamedTuple):
    """Variables that are searched together."""

    variables: tuple[Variable, ...]  # in order, constants that their summands see too
    places: tuple[int, ...]  # of the summands that see them


def groups_of(problem: Problem) -> tuple[Group, ...]:
    """The groups, told once for a structure: first everything that is explicit, where there is
    any, then each component that something opaque holds together. One group where all is explicit,
    or where views are computed."""
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
    if problem.factored()[1] is None or problem.definitions:
        return (whole,)
    opened = {v.name for v in problem.open}
    joined = _joined(problem.summands, opened)
    opaque = {
        joined[view.variable.name]
        for place, s in enumerate(problem.summands)
        if problem.form.pieces[place] is None
        for view in s.term.scope
        if view.variable.name in joined
    }
    keys = [key for key in dict.fromkeys(joined.values()) if key in opaque]
    explicit = any(key not in opaque for key in joined.values())
    number = {key: min(k, MOST - 1) + explicit for k, key in enumerate(keys)}
    count = min(len(keys), MOST) + explicit
    if count < 2:
        return (whole,)
    names: list[set[str]] = [set() for _ in range(count)]
    places: list[list[int]] = [[] for _ in names]
    for name, key in joined.items():
        names[number.get(key, 0)].add(name)
    for place, s in enumerate(problem.summands):
        seen = [view.variable.name for view in s.term.scope]
        key = next((joined[name] for name in seen if name in joined), "")
        places[number.get(key, 0)].append(place)
    for own, every in zip(names, places):
        own |= {view.variable.name for k in every for view in problem.summands[k].term.scope}
    placed = frozenset[str]().union(*names)
    names[0] |= {v.name for v in problem.variables} - placed  # constants that nothing sees
    return tuple(
        Group(tuple(v for v in problem.variables if v.name in own), tuple(every))
        for own, every in zip(names, places)
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
    every = {name: problem.every[name] for name in root.every}
    part = root if base is problem else root._with(every, root)
    for k, place in enumerate(group.places):
        part.structures.pieces[k] = problem.structures.of(place)
    return part


def _base(base: Problem, group: Group) -> Problem:
    """The same without evidence."""
    energy = Sum(*(base.summands[place] for place in group.places))
    names = {v.name for v in energy.variables()}
    return Problem(
        energy,
        group.variables,
        {v.name: base.domains[v.name] for v in group.variables},
        inputs=tuple(v for v in base.inputs if v.name in names),
        told={v.name: base.told[v.name] for v in base.inputs if v.name in names},
    )

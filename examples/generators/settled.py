"""What generators ask of the engine: a random solution, and whether clues leave only one."""

import random
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from engine.answer import Answer
from engine.domain import nest
from engine.minimizers.branch_and_bound import BranchAndBound
from engine.problem import Problem
from engine.settle import answers
from engine.solve import Budget
from modules.catalogue import Catalogue
from services.query import query_of
from services.reasoner.compile import compile_query

STEPS = 60  # of the search, for each row: past that, a clue is kept rather than tried further


@lru_cache
def catalogue() -> Catalogue:
    """The kinds that come with Basin."""
    return Catalogue(entry_points=False)


def problem_of(query: Mapping[str, Any]) -> Problem:
    """The problem of a plain query."""
    return compile_query(query_of(query), catalogue())


def settled(problem: Problem, evidences: Sequence[Mapping[str, Any]], unique: bool) -> list[Answer]:
    """One answer for each evidence; the search is bounded by steps, so it never depends on time."""
    budget = Budget(steps=STEPS * len(evidences))
    return answers(problem.given_rows(evidences), BranchAndBound(unique=unique), budget=budget)


def random_solution(query: Mapping[str, Any], name: str, rng: random.Random, pins: int) -> list:
    """Values of a variable, flat, in a solution that random pins and a random naming lead to.

    Only for rules that do not care which value is which. Pins that clash are drawn again, fewer
    each time.
    """
    problem = problem_of(query)
    values = list(query["variables"][name]["values"])
    shape = tuple(query["variables"][name]["shape"])
    count = 1
    for n in shape:
        count *= n
    while True:
        tries = [_pinned(count, values, rng, pins) for _ in range(4)]
        found = settled(problem, [{name: nest(flat, shape)} for flat in tries], unique=False)
        good = next((a for a in found if a.values is not None and a.holds), None)
        if good is not None and good.values is not None:
            renamed = dict(zip(values, rng.sample(values, len(values)), strict=True))
            return [renamed[value] for value in flat_of(good.values[name])]
        if pins == 0:
            raise ValueError("the rules have no solution")
        pins -= 1 if pins < 4 else 2


def _pinned(count: int, values: list, rng: random.Random, pins: int) -> list:
    flat: list[Any] = [None] * count
    for site in rng.sample(range(count), min(pins, count)):
        flat[site] = rng.choice(values)
    return flat


def dug(
    query: Mapping[str, Any],
    name: str,
    full: Sequence[Any],
    rng: random.Random,
    keep: int = 0,
    ahead: int = 16,
) -> dict[str, Any]:
    """The query with as few values of `full` given as keep the solution unique, at least `keep`.

    Cells are left out in random order; `ahead` of them are tried side by side.
    """
    problem = problem_of({**query, "evidence": {}})
    shape = tuple(query["variables"][name]["shape"])
    order = rng.sample(range(len(full)), len(full))
    given = set(order)
    while order and len(given) > keep:
        batch = order[: min(ahead, len(given) - keep)]
        rows = [given - set(batch[: k + 1]) for k in range(len(batch))]
        found = settled(problem, [_given(name, full, row, shape) for row in rows], unique=True)
        left_out = 0
        while left_out < len(batch) and found[left_out].unique:
            left_out += 1
        given -= set(batch[:left_out])
        order = order[left_out + (left_out < len(batch)) :]  # the first that must stay is settled
        ahead = min(32, 2 * ahead) if left_out == len(batch) else max(2, left_out)
    return {**query, "evidence": _given(name, full, given, shape)}


def _given(name: str, full: Sequence[Any], sites: set[int], shape: tuple[int, ...]) -> dict:
    return {name: nest([v if k in sites else None for k, v in enumerate(full)], shape)}


def flat_of(nested: Any) -> list[Any]:
    """Nested lists as one list."""
    if not isinstance(nested, list):
        return [nested]
    return [value for part in nested for value in flat_of(part)]

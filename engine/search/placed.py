"""States of one row out of the places of its sites."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from engine.decimals import Ints
from engine.domain import State
from engine.minimizer import Best, score
from engine.problem import Problem
from engine.rows import UNKNOWN, Report


class Placed(Mapping[str, Tensor]):
    """States given by places of values, all sites side by side; taken apart when looked at."""

    def __init__(self, problem: Problem, places: np.ndarray, others: State):
        self.problem, self.places, self.others = problem, places, others
        self._made: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        if not self._made:
            self._made = {**self.others, **self.problem.state(self.places)}
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter((*self.others, *(v.name for v in self.problem.finite)))

    def __len__(self) -> int:
        return len(self.others) + len(self.problem.finite)


class PlacedOthers(Sequence[tuple[State, ...]]):
    """Further solutions of each row as states, made when they are looked at."""

    def __init__(self, problem: Problem, others: Sequence[tuple[np.ndarray, ...]], fixed: State):
        self.problem, self.others, self.fixed = problem, others, fixed

    def __len__(self) -> int:
        return len(self.others)

    def __getitem__(self, row):
        fixed = {name: x[row : row + 1] for name, x in self.fixed.items()}
        return tuple(Placed(self.problem, p[None], fixed) for p in self.others[row])


class Standing(Protocol):
    """Where every row of a search stands whose best states are places of values."""

    @property
    def places(self) -> Tensor: ...  # (R, n) on the host
    @property
    def fixed(self) -> dict[str, Tensor]: ...  # (R, *event) of the variables that are not finite
    @property
    def energy(self) -> Tensor: ...  # (R,) infinite while there is no such state
    @property
    def bound(self) -> Tensor: ...  # (R,)
    @property
    def done(self) -> Tensor: ...  # (R,) bool


def placed_report(
    problem: Problem,
    s: Standing,
    violation: Tensor | None = None,
    unique: Tensor | None = None,
    others: Sequence[tuple[np.ndarray, ...]] | None = None,
) -> Report:
    """What such a search says. violation: left out, its states keep every rule; unique: left out,
    not known; others: left out, none."""
    if violation is None:
        violation = torch.where(s.energy < math.inf, 0.0, math.inf).double()
    if unique is None:
        unique = torch.full_like(s.done, UNKNOWN, dtype=torch.int8)
    none: Sequence[tuple[np.ndarray, ...]] = ((),) * len(s.done)
    placed = Placed(problem, s.places.numpy(), s.fixed)
    more = PlacedOthers(problem, none if others is None else others, s.fixed)
    told = Report(placed, s.energy, violation, s.bound, s.done, unique, more)
    return told.to(problem.device)


def first_places(problem: Problem) -> Tensor:
    """The first allowed value of every visible site, on the host. -> (R, n) int64"""
    finite = [problem.domain(v.name) for v in problem.finite]
    columns = [d.allowed.int().argmax(-1).reshape(d.rows, -1) for d in finite]  # type: ignore[attr-defined]
    none = torch.zeros(problem.rows, 0, dtype=torch.int64)
    return torch.cat([none, *(column.cpu() for column in columns)], 1)


def repeat_state(state: State, count: int) -> State:
    return {name: x[:1].expand(count, *x.shape[1:]) for name, x in state.items()}


def units_of(problem: Problem, best: Best, row: int, none: int) -> int:
    """The energy of the best state of a row in units of its scale; `none` where it breaks rules."""
    if not best.known(row):
        return none
    return problem.explicits[row].scale.from_on(float(best.energy[row]))


def taken(problem: Problem, best: Best, row: int, x: Ints) -> Best:
    """The best states with that of one row, where it is better; x (n,): its places."""
    own = problem.select([row]) if problem.rows > 1 else problem
    state = own.state(x[None, : own.form.factors.visible])
    state = {n: state.get(n, t[row : row + 1]) for n, t in best.x.items()}
    told = score(own, state)
    mine = Best(
        {n: t[row : row + 1] for n, t in best.x.items()},
        best.energy[row : row + 1],
        best.violation[row : row + 1],
    )
    mine = mine.joined(state, *told, torch.ones(1, dtype=torch.bool, device=problem.device))
    at = torch.tensor([row], device=problem.device)
    return Best(
        {n: t.index_copy(0, at, mine.x[n]) for n, t in best.x.items()},
        best.energy.index_copy(0, at, mine.energy),
        best.violation.index_copy(0, at, mine.violation),
    )

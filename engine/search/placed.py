"""States of one row out of the places of its sites."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from engine.domain import State
from engine.problem import Problem


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


def first_places(problem: Problem) -> Tensor:
    """The first allowed value of every visible site, on the host. -> (R, n) int64"""
    finite = [problem.domain(v.name) for v in problem.finite]
    columns = [d.allowed.int().argmax(-1).reshape(d.rows, -1) for d in finite]  # type: ignore[attr-defined]
    none = torch.zeros(problem.rows, 0, dtype=torch.int64)
    return torch.cat([none, *(column.cpu() for column in columns)], 1)


def repeat_state(state: State, count: int) -> State:
    return {name: x[:1].expand(count, *x.shape[1:]) for name, x in state.items()}

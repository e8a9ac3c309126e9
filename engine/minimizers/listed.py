"""Complete search where all rules are lists of allowed combinations: dictionaries, tables."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine.domain import State
from engine.errors import BadQuery, Mistake
from engine.kernels import listed
from engine.kernels.listed import Lists
from engine.minimizer import Minimizer
from engine.problem import Problem
from engine.random import Stream
from engine.rows import Report
from engine.search.lists import lists_of, open_bits
from engine.search.placed import first_places, placed_report

GROWS = 1.3  # a run, from one to the next


class ListedState(NamedTuple):
    """Where every row stands."""

    lists: Lists
    allowed: tuple[np.ndarray, ...]  # of each row (n,) uint64
    fixed: dict[str, Tensor]  # (R, *event) states of the variables that are not finite
    places: Tensor  # (R, n) the solution
    paths: tuple[np.ndarray, ...]  # of each row, the branches of its present run
    weights: tuple[np.ndarray, ...]  # of each row
    runs: Tensor  # (R,) int64 begun before the present one
    failures: Tensor  # (R,) int64 of the present run
    energy: Tensor  # (R,) 0 where solved, else infinite
    bound: Tensor  # (R,)
    done: Tensor  # (R,) bool


@dataclass(frozen=True)
class Listed(Minimizer[ListedState]):
    """Needs the whole energy as lists of allowed combinations over sites of at most 64 values.

    Finds one solution, or proves that there is none: a run that ends without a limit has looked at
    everything. Runs grow, and what they learn of the scopes stays.
    first: failures of the first run. visit: failures of one step of a row.
    """

    first: int = 200
    visit: int = 100

    def __post_init__(self):
        for name in ("first", "visit"):
            if getattr(self, name) < 1:
                raise BadQuery(Mistake(name, f"{getattr(self, name)!r}", "give at least 1"))

    def refuses(self, problem: Problem) -> str | None:
        if problem.factored()[1] is not None or not problem.finite:
            return "listed needs explicit structure over finite variables; use branch_and_bound"
        made = lists_of(problem)
        if isinstance(made, str):
            return f"listed has no form for {made}; use branch_and_bound"
        return None

    def prepare(self, problem: Problem) -> Iterator[None]:
        yield from problem.prepare()
        self.refuses(problem)
        yield

    def init(self, problem: Problem, x: State, rng: Stream) -> ListedState:
        del rng
        why = self.refuses(problem)
        if why is not None:
            raise BadQuery(why)
        made, rows = lists_of(problem), problem.rows
        assert not isinstance(made, str)
        free = [v for v in problem.open if v not in problem.finite]
        nothing = torch.zeros(rows, dtype=torch.int64)
        return ListedState(
            made,
            tuple(open_bits(problem)),
            {v.name: x[v.name][:: len(x[v.name]) // rows] for v in free},
            first_places(problem),
            (np.zeros((0, 3), dtype=np.int64),) * rows,
            (np.ones(len(made.words)),) * rows,
            nothing,
            nothing.clone(),
            torch.full((rows,), math.inf, dtype=torch.float64),
            torch.zeros(rows, dtype=torch.float64),
            torch.zeros(rows, dtype=torch.bool),
        )

    def step(self, problem: Problem, s: ListedState, rng: Stream) -> ListedState:
        names = ("places", "runs", "failures", "energy", "bound", "done")
        new = {name: getattr(s, name).clone() for name in names}
        paths, weights = list(s.paths), list(s.weights)
        for r in (~s.done).nonzero().reshape(-1).tolist():
            run = int(s.runs[r])
            left = int(self.first * GROWS**run) - int(s.failures[r])
            weight = s.weights[r].copy()
            key = rng.words[r].cpu().numpy().astype(np.uint64)
            found = listed.search(
                s.lists, s.allowed[r], s.paths[r], weight, key, run, min(left, self.visit)
            )
            status, paths[r], domain, failed = found
            weights[r] = weight
            new["failures"][r] += failed
            if status == listed.SATISFIED:
                visible = domain[: problem.form.factors.visible].astype(np.float64)
                new["places"][r] = torch.from_numpy(np.log2(visible).round().astype(np.int64))
                new["energy"][r], new["done"][r] = 0.0, True
            elif status == listed.REFUTED:
                new["bound"][r], new["done"][r] = math.inf, True
            elif failed >= left:
                paths[r] = paths[r][:0]
                new["runs"][r] += 1
                new["failures"][r] = 0
        return s._replace(paths=tuple(paths), weights=tuple(weights), **new)

    def width(self, s: ListedState) -> int:
        del s
        return 1

    def report(self, problem: Problem, s: ListedState) -> Report:
        return placed_report(problem, s)

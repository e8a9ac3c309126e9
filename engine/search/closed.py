"""Minimizers that settle each row at once, by a method that closes its structure: costs of single
sites beside one rule that the method knows."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine.decimals import Ints
from engine.domain import State
from engine.errors import BadQuery
from engine.factors import Factors
from engine.minimizer import Minimizer
from engine.problem import Problem
from engine.random import Stream
from engine.rows import UNKNOWN, Report, particles_of
from engine.search.placed import first_places, placed_report
from engine.search.prices import Prices


class Closing(NamedTuple):
    """The least state of a row, and what its method says of it."""

    chosen: Ints  # (n,) place of the value of each site
    least: int  # proved: no state costs less, in units above `Prices.least`
    unique: int


class ClosedState(NamedTuple):
    """Where every row stands."""

    fixed: dict[str, Tensor]  # (R, *event) states of the variables that are not finite
    places: Tensor  # (R, n) the least state
    energy: Tensor  # (R,) of it, infinite where there is none
    bound: Tensor  # (R,)
    done: Tensor  # (R,) bool
    unique: Tensor  # (R,) int8


class Closed(Minimizer[ClosedState], ABC):
    """Abstract: every row is settled in its first step."""

    @abstractmethod
    def unlike(self, factors: Factors) -> str | None:
        """Why a structure whose costs are all of single sites is not for it; None: it is."""

    @abstractmethod
    def closing(
        self, problem: Problem, factors: Factors, prices: Prices, open_: np.ndarray
    ) -> Closing | None:
        """The least state of a row; None where there is none. open_: (C,) literals that evidence
        and tables leave, at least one a site."""

    def refuses(self, problem: Problem) -> str | None:
        why = self.structure(problem)
        if why is None and any(own.scale.error for own in problem.explicits):
            return f"{type(self).__name__} needs costs with a common unit"
        return why

    def structure(self, problem: Problem) -> str | None:
        """Why the structure is of another sort; told once for all rows that share it."""
        key = ("closed", type(self))
        if key not in problem.memo:
            problem.memo[key] = self._unlike(problem)
        return problem.memo[key]

    def _unlike(self, problem: Problem) -> str | None:
        factors, rest = problem.factored()
        name = type(self).__name__
        if rest is not None:
            return f"{name} needs explicit structure"
        single = all(t.arity == 1 and t.when is None for t in factors.tables)
        if not single or not factors.soft or len(factors.sizes) > factors.visible:
            return f"{name} needs costs of single sites"
        return self.unlike(factors)

    def prepare(self, problem: Problem) -> Iterator[None]:
        yield from problem.prepare()

    def init(self, problem: Problem, x: State, rng: Stream) -> ClosedState:
        del rng
        why = self.refuses(problem)
        if why is not None:
            raise BadQuery(why)
        rows, particles = problem.rows, particles_of(problem, x)
        free = [v for v in problem.open if v not in problem.finite]
        none = torch.full((rows,), math.inf, dtype=torch.float64)
        return ClosedState(
            {v.name: x[v.name][::particles] for v in free},
            first_places(problem),
            none,
            -none,
            torch.zeros(rows, dtype=torch.bool),
            torch.full((rows,), UNKNOWN, dtype=torch.int8),
        )

    def step(self, problem: Problem, s: ClosedState, rng: Stream) -> ClosedState:
        del rng
        names = ("places", "energy", "bound", "done", "unique")
        out = {name: getattr(s, name).clone() for name in names}
        for row in (~s.done).nonzero().reshape(-1).tolist():
            self._settle(problem, row, out)
        return s._replace(**out)

    def _settle(self, problem: Problem, row: int, out: dict[str, Tensor]) -> None:
        factors = problem.concrete(row)
        single = replace(factors, tables=tuple(t for t in factors.tables if t.arity == 1))
        prices, scale = Prices.of(single), problem.explicits[row].scale
        open_ = prices.open & (problem.allowed[row] != 0)
        offset = np.concatenate([[0], np.cumsum(factors.sizes)])
        found = None
        if np.logical_or.reduceat(open_, offset[:-1]).all():
            own = problem.select([row]) if problem.rows > 1 else problem
            found = self.closing(own, factors, prices, open_)
        out["done"][row] = True
        if found is None:
            out["bound"][row] = math.inf
            return
        total = prices.least + int(prices.price[offset[:-1] + found.chosen].sum())
        total += self._beside(factors, found.chosen)
        out["places"][row] = torch.from_numpy(found.chosen[: factors.visible])
        out["energy"][row] = scale.value(total)
        out["bound"][row] = scale.value(min(total, prices.least + found.least))
        out["unique"][row] = found.unique

    def _beside(self, factors: Factors, chosen: Ints) -> int:
        """What a state pays beside the prices of single sites, in units. chosen: (n,)"""
        del factors, chosen
        return 0

    def report(self, problem: Problem, s: ClosedState) -> Report:
        return placed_report(problem, s, unique=s.unique)

    def width(self, s: ClosedState) -> int:
        del s
        return 16

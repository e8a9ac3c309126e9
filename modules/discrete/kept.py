"""Clues are kept: where a clue is no blank, the solution has its value."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from pydantic import Field
from torch import Tensor

from engine.domain import Domain, Finite, Variable, View
from engine.errors import BadQuery, Mistake
from engine.factors import Counted, Factors
from modules.parameters import Strict, Value
from modules.shared.sites import Layout, OverSites


class Parameters(Strict):
    """What stands for a blank."""

    blank: Value = Field(0, description="The value of a clue that says nothing.")


class Kept(OverSites):
    """Where a clue is no blank, the solution has its value: a puzzle and what solves it.

    E = number of sites where the clue is neither blank nor the value of the solution; a part each.
    Sites correspond in their order. Affine: no (products of two sites). Structure: for each site
    and value v, at most one of {clue is v} and {solution is w, w other than v}. BadQuery: scopes of
    different numbers of sites, a clue's value that the solution lacks, a blank that is no value of
    the clues.
    """

    affine = False

    def __init__(self, clues: Variable | View, solution: Variable | View, blank: Any = 0):
        super().__init__(clues, solution)
        own, other = (Layout([view]) for view in self.scope)
        if own.sites != other.sites:
            said = f"{own.sites} clues for {other.sites} sites of the solution"
            raise BadQuery(Mistake("scope", said, "give both the same shape"))
        self.blank = own.domains[0].place(blank, "blank")
        values = list(own.lookups[0])
        self.said = [k for k in range(len(values)) if k != self.blank]
        missing = [values[k][1] for k in self.said if values[k] not in other.lookups[0]]
        if missing:
            said = f"{missing[0]!r} is no value of the solution"
            raise BadQuery(Mistake("scope[1]", said, "give it all values of the clues"))
        self.meant = [other.lookups[0][values[k]] for k in self.said]  # places in the solution
        self.sites, self.width = own.sites, len(other.lookups[0])

    def energy(self, clues: Tensor, solution: Tensor) -> Tensor:  # (B, *shape, k) each -> (B,)
        a = clues.reshape(len(clues), self.sites, -1)[:, :, self.said]
        b = solution.reshape(len(solution), self.sites, -1)[:, :, self.meant]
        return (a * (1 - b)).sum((1, 2))

    def violation(self, clues: Tensor, solution: Tensor) -> Tensor:  # -> (B, n)
        a = clues.reshape(len(clues), self.sites, -1)[:, :, self.said]
        b = solution.reshape(len(solution), self.sites, -1)[:, :, self.meant]
        return (a * (1 - b)).sum(2)

    def holds(self, *values: Any) -> bool:
        return not self._broken(values)

    def explain(self, *values: Any) -> list[str]:
        layout, flat = self.layout, self.layout.flat(values)
        return [
            f"{layout.at(site, flat[site])}, but {layout.at(other, flat[other])}"
            for site in self._broken(values)
            for other in (self.sites + site,)
        ]

    def _broken(self, values: Sequence[Any]) -> list[int]:
        flat = self.layout.flat(values)
        clues, solution = flat[: self.sites], flat[self.sites :]
        blank = self.layout.plain(list(self.layout.lookups[0])[self.blank][1])
        pairs = zip(clues, solution, strict=True)
        return [k for k, (a, b) in enumerate(pairs) if a != blank and a != b]

    def floor(self) -> float:
        return 0.0

    def factors(self, *domains: Domain) -> Factors:
        n, v, k = self.sites, len(self.said), self.width
        site = np.repeat(np.arange(n), v * k).reshape(n, v, k)
        value = np.broadcast_to(np.arange(k), (n, v, k)).copy()
        entry = site + n  # of the solution
        for j, (said, meant) in enumerate(zip(self.said, self.meant, strict=True)):
            entry[:, j, meant] = np.arange(n)  # the clue, in place of the value it says
            value[:, j, meant] = said
        groups, part = n * v, np.repeat(np.arange(n), v)
        zero = np.zeros(groups, dtype=np.int64)
        counted = Counted(
            np.arange(groups + 1) * k,
            entry.reshape(-1),
            value.reshape(-1),
            zero,
            part,
            zero,
            zero + 1,
        )
        return self.made(domains, counted=counted)

    @classmethod
    def example(cls) -> "Kept":
        clues = Variable("clues", Finite((0, 1, 2), (2,)))
        return cls(clues, Variable("solution", Finite((1, 2), (2,))))

    @classmethod
    def examples(cls, rng: random.Random, scope: Sequence[Variable] = ()) -> Iterator["Kept"]:
        while not scope:
            n, k = rng.randint(1, 3), rng.randint(1, 3)
            clues = Variable("clues", Finite(tuple(range(k + 1)), (n,)))
            yield cls(clues, Variable("solution", Finite(tuple(range(1, k + 2)), (n,))))

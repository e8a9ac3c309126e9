"""The sites of each line take pairwise different values."""

import random
from collections.abc import Iterator, Sequence
from functools import cached_property
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from engine.decimals import Ints
from engine.domain import Domain, Finite, Variable, View
from engine.factors import Factors, ints
from modules.parameters import Site, Strict
from modules.shared.examples import lines, scope_of, values_of
from modules.shared.literals import first_two
from modules.shared.sites import OverSites, by_length, different, put_lists, read_sites


class Parameters(Strict):
    """Lines of sites."""

    lines: list[list[Site]] = Field(
        description="Lines of sites; the sites of a line take pairwise different values."
    )


class AllDifferent(OverSites):
    """The sites of each line take pairwise different values: rows, columns, boxes of a Sudoku.

    E = sum over lines of 1 - product over values of P(count of the value <= 1), the sites
    independent; decided: the number of lines with a repeated value. Not affine; no unit.
    `lines[i][j]` is a site. Values of different variables match when type and value are alike.
    BadQuery: a site out of range, an empty line, a site that stands twice in a line.
    """

    affine = False

    def __init__(self, *scope: Variable | View, lines: Sequence[Sequence[int]]):
        super().__init__(*scope)
        self.lines = read_sites(self.layout, lines, "lines")
        long = [line for line in self.lines if len(line) > 1]
        self._getters = [(itemgetter(*line), len(line)) for line in long]

    @cached_property
    def _bunches(self) -> list[torch.Tensor]:
        """The lines of each length together."""
        return [torch.tensor([self.lines[k] for k in rows]) for rows in by_length(self.lengths())]

    def lengths(self) -> Ints:
        """The number of sites of each line."""
        return ints([len(line) for line in self.lines])

    def energy(self, *tensors: Tensor) -> Tensor:  # (B, *shape, k) -> (B,)
        x = self.layout.aligned(tensors)  # (B, n, U)
        total = x.new_zeros(x.shape[0])
        for failing in self._failing(x):
            total = total + failing.sum(-1)
        return total

    def violation(self, *tensors: Tensor) -> Tensor:  # (B, *shape, k) -> (B, lines)
        x = self.layout.aligned(tensors)
        out = x.new_zeros(x.shape[0], len(self.lines))
        return put_lists(out, by_length(self.lengths()), self._failing(x))

    def _failing(self, x: Tensor) -> Iterator[Tensor]:
        """The chance that a line repeats a value. (B, n, U) -> (B, m), one per length"""
        for bunch in self._bunches:
            none, one = first_two(x[:, bunch.to(x.device)].transpose(-1, -2))  # (B, m, U)
            yield 1 - (none + one).prod(-1)

    def holds(self, *values: Any) -> bool:
        flat = self.layout.flat(values)
        return all(len(set(get(flat))) == length for get, length in self._getters)

    def factors(self, *domains: Domain) -> Factors:
        start = np.concatenate([[0], np.cumsum(self.lengths())]).astype(np.int64)
        site = ints([site for line in self.lines for site in line])
        return different(self, domains, start, site)

    def floor(self) -> float:
        return 0.0

    def says(self, part: int) -> str:
        return f"line {part}: {self.layout.names(self.lines[part])} all differ"

    def explain(self, *values: Any) -> list[str]:
        flat = self.layout.flat(values)
        said = []
        for k, line in enumerate(self.lines):
            stands: dict[Any, list[int]] = {}
            for site in line:
                stands.setdefault(flat[site], []).append(site)
            for value, sites in stands.items():
                if len(sites) > 1:
                    where = self.layout.names(sites)
                    said.append(f"line {k}: value {self.layout.shown(value)} stands at {where}")
        return said

    @classmethod
    def example(cls) -> "AllDifferent":
        x = Variable("x", Finite((1, 2, 3), (2, 2)))
        return cls(x, lines=[[0, 1, 3], [2, 3]])

    @classmethod
    def examples(
        cls, rng: random.Random, scope: Sequence[Variable] = ()
    ) -> Iterator["AllDifferent"]:
        while True:
            own = scope or scope_of(rng)
            yield cls(*own, lines=lines(rng, values_of(own)))

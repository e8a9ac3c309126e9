"""The sites of each line take pairwise different values."""

import random
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import combinations
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from engine.decimals import Ints
from engine.domain import Domain, Finite, Variable, View
from engine.factors import Clauses, Factors, ints
from engine.factors.families import starts
from modules.parameters import GUARD, Literals, Site, Strict
from modules.shared.examples import lines, literal, scope_of, values_of
from modules.shared.guards import Guard
from modules.shared.literals import first_two
from modules.shared.sites import OverSites, by_length, different, put_lists, read_sites


class Parameters(Strict):
    """Lines of sites."""

    lines: list[list[Site]] = Field(
        description="Lines of sites; the sites of a line take pairwise different values."
    )
    guard: Literals = GUARD


class AllDifferent(OverSites):
    """The sites of each line take pairwise different values: rows, columns, boxes of a Sudoku.

    E = sum over lines of 1 - product over values of P(count of the value <= 1), the sites
    independent; decided: the number of lines with a repeated value. Not affine; no unit.
    `lines[i][j]` is a site. Values of different variables match when type and value are alike.
    A guard is told of in `modules.shared.guards`. BadQuery: a site out of range, an empty line, a
    site that stands twice in a line.
    """

    affine = False

    def __init__(
        self, *scope: Variable | View, lines: Sequence[Sequence[int]], guard: Sequence[Any] = ()
    ):
        super().__init__(*scope)
        self.guard = Guard(self.layout, guard)
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
        return self._guarded(tensors, total)

    def _guarded(self, tensors: Sequence[Tensor], own: Tensor) -> Tensor:
        """What fails, where the guard holds. (B, ...) -> (B, ...)"""
        if not self.guard:
            return own
        return self.guard.weighed(self.layout.columns(tensors), own, own)

    def violation(self, *tensors: Tensor) -> Tensor:  # (B, *shape, k) -> (B, lines)
        x = self.layout.aligned(tensors)
        out = x.new_zeros(x.shape[0], len(self.lines))
        return self._guarded(tensors, put_lists(out, by_length(self.lengths()), self._failing(x)))

    def _failing(self, x: Tensor) -> Iterator[Tensor]:
        """The chance that a line repeats a value. (B, n, U) -> (B, m), one per length"""
        for bunch in self._bunches:
            none, one = first_two(x[:, bunch.to(x.device)].transpose(-1, -2))  # (B, m, U)
            yield 1 - (none + one).prod(-1)

    def holds(self, *values: Any) -> bool:
        flat = self.layout.flat(values)
        right = all(len(set(get(flat))) == length for get, length in self._getters)
        return self.guard.judged(flat, right)

    def factors(self, *domains: Domain) -> Factors:
        start = np.concatenate([[0], np.cumsum(self.lengths())]).astype(np.int64)
        site = ints([site for line in self.lines for site in line])
        if self.guard:
            return self._clauses(domains)
        return different(self, domains, start, site)

    def _clauses(self, domains: Sequence[Domain]) -> Factors:
        """Under the guard: no two sites of a line have one value, clause by clause; a line longer
        than the values of its sites fails it."""
        ranks, entry = self.layout.ranks(), self.layout.entry
        off = [(s, v, False) for s, v, _ in self.guard.when]
        clauses, part = [], []
        for k, line in enumerate(self.lines):
            by_value: dict[int, list[tuple[int, int]]] = {}
            for site in line:
                for place, rank in enumerate(ranks[int(entry[site])].tolist()):
                    by_value.setdefault(rank, []).append((site, place))
            rows = [
                [*off, (*a, False), (*b, False)]
                for literals in by_value.values()
                for a, b in combinations(literals, 2)
            ]
            if len(line) > len(by_value):
                rows.append(off)
            clauses += rows
            part += [k] * len(rows)
        flat = ints([int(x) for row in clauses for literal in row for x in literal]).reshape(-1, 3)
        made = Clauses(
            starts(ints([len(row) for row in clauses])),
            flat[:, 0],
            flat[:, 1],
            np.zeros(len(clauses), dtype=np.int64),
            ints(part),
            flat[:, 2] == 1,
        )
        return self.made(domains, clauses=made)

    def floor(self) -> float:
        return 0.0

    def says(self, part: int) -> str:
        line = f"line {part}: {self.layout.names(self.lines[part])} all differ"
        return f"{line}, {self.guard.words()[:-2]}" if self.guard else line

    def explain(self, *values: Any) -> list[str]:
        flat = self.layout.flat(values)
        said: list[str] = []
        if not self.guard.true(flat):
            return said
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
            values = values_of(own)
            guard = [literal(rng, values)] if rng.random() < 0.3 else []
            yield cls(*own, lines=lines(rng, values), guard=guard)

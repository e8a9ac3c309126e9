"""Tasks on one machine run one after the other."""

import random
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from engine.domain import Domain, Finite, Variable, View
from engine.factors import Factors, floats, ints
from engine.factors import Table as Costs
from engine.factors.comparisons import OPEN, Comparison, Comparisons
from modules.parameters import Site, Strict
from modules.shared.tasks import Tasks

TABLED = 1 << 22  # combinations of pairs that are written out where overlaps are paid for


class Parameters(Strict):
    """Tasks by the sites of their starts, and how long they last."""

    sites: list[Site] = Field(description="The sites whose values say when each task starts.")
    durations: list[Annotated[int, Field(strict=True, ge=0)]] = Field(
        description="How long each task lasts, a whole number."
    )


class NoOverlap(Tasks):
    """Of any two tasks one ends before the other starts: what a machine does, a room, a person.

    E = sum over pairs of the chance that neither start + duration <= start of the other, the sites
    independent; decided: the number of overlapping pairs. Affine in each site; no unit. Values are
    whole numbers. A task of duration 0 may stand between others, not inside one. Parts are the
    pairs (0, 1), (0, 2), ..., (1, 2), ... of the tasks. BadQuery: a site out of range or named
    twice, a value that is no whole number, a duration below 0.
    """

    def __init__(self, *scope: Variable | View, sites: Sequence[int], durations: Sequence[int]):
        super().__init__(*scope, sites=sites, durations=durations)
        self.a, self.b = np.triu_indices(len(self.sites), 1)

    def violation(self, *tensors: Tensor) -> Tensor:  # (B, *shape, k) -> (B, pairs)
        x = self.layout.columns(tensors)
        own = [
            x[:, int(self.layout.offset[s]) : int(self.layout.offset[s + 1])] for s in self.sites
        ]
        pairs = zip(self.a.tolist(), self.b.tolist(), strict=True)
        every = [
            torch.einsum("bi,ij,bj->b", own[a], self._overlap(a, b).to(x), own[b]) for a, b in pairs
        ]
        return torch.stack(every, 1) if every else x.new_zeros(len(x), 0)

    def energy(self, *tensors: Tensor) -> Tensor:  # (B, *shape, k) -> (B,)
        return self.violation(*tensors).sum(1)

    def cost(self, *tensors: Tensor) -> Tensor:  # (B, *shape) int64 -> (B,)
        start = self.starts_of(tensors)
        end = start + self._long.to(start.device)
        a, b = (torch.from_numpy(x).to(start.device) for x in (self.a, self.b))
        return ((end[:, a] > start[:, b]) & (end[:, b] > start[:, a])).sum(1).double()

    def _overlap(self, a: int, b: int) -> Tensor:
        """Which starts of two tasks overlap. -> (k_a, k_b) bool"""
        first, second = (torch.from_numpy(self.worths[x]) for x in (a, b))
        long = self.durations
        one = first[:, None] + int(long[a]) > second
        return one & (second + int(long[b]) > first[:, None])

    def holds(self, *values: Any) -> bool:
        return not any(True for _ in self._overlapping(values))

    def _overlapping(self, values: Sequence[Any]) -> Iterator[int]:
        """The pairs that overlap."""
        start, long = self.begun(values), self.durations.tolist()
        for k, (a, b) in enumerate(zip(self.a.tolist(), self.b.tolist(), strict=True)):
            if start[a] + long[a] > start[b] and start[b] + long[b] > start[a]:
                yield k

    def structured(self, weight: float | None, *domains: Domain) -> Factors | None:
        """At a price, a table for each pair."""
        return self.factors(*domains) if weight is None else self._tables(weight, domains)

    def factors(self, *domains: Domain) -> Factors:
        sizes, first = Factors.sizes_of(domains), self.layout.sites
        rules, part, hidden = [], [], 0
        for k, (a, b) in enumerate(zip(self.a.tolist(), self.b.tolist(), strict=True)):
            if not self.durations[a] and not self.durations[b]:
                continue  # they never overlap
            order = first + hidden  # a hidden site says which of the two goes first
            hidden += 1
            part += [k, k]
            for site, one, other in ((0, a, b), (1, b, a)):
                sites = (self.sites[one], self.sites[other])
                worths = (self.worths[one] + self.durations[one], -self.worths[other])
                rules.append(Comparison(sites, worths, -OPEN, 0, ((order, site, True),)))
        family = Comparisons(tuple(rules), np.zeros(len(rules), dtype=np.int64), ints(part))
        every = np.concatenate([sizes, np.full(hidden, 2)]).astype(np.int64)
        return Factors(every, first, others=(family,) if rules else (), functional=True)

    def _tables(self, weight: float, domains: Sequence[Domain]) -> Factors | None:
        pairs = list(zip(self.a.tolist(), self.b.tolist(), strict=True))
        if sum(len(self.worths[a]) * len(self.worths[b]) for a, b in pairs) > TABLED:
            return None
        tables = []
        for k, (a, b) in enumerate(pairs):
            bad = np.argwhere(self._overlap(a, b).numpy()).astype(np.int64)
            scope = ints([self.sites[a], self.sites[b]])[None]
            price = floats([1.0] * len(bad))
            tables.append(Costs(scope, bad, price, 0.0, ints([0]), ints([k])).weighed(weight))
        return self.made(domains, tables=tuple(tables))

    def says(self, part: int) -> str:
        names = [self.layout.name(self.sites[int(x[part])]) for x in (self.a, self.b)]
        long = [int(self.durations[int(x[part])]) for x in (self.a, self.b)]
        each = " and ".join(f"{n}, which lasts {d}," for n, d in zip(names, long, strict=True))
        return f"pair {part}: {each} do not overlap"

    def explain(self, *values: Any) -> list[str]:
        start = self.begun(values)
        return [
            f"pair {k}: {self.spans(start, int(self.a[k]))} overlaps "
            f"{self.spans(start, int(self.b[k]))}"
            for k in self._overlapping(values)
        ]

    @classmethod
    def example(cls) -> "NoOverlap":
        start = Variable("start", Finite((0, 1, 2, 3, 4), (3,)))
        return cls(start, sites=[0, 1, 2], durations=[2, 1, 2])

    @classmethod
    def examples(cls, rng: random.Random, scope: Sequence[Variable] = ()) -> Iterator["NoOverlap"]:
        while not scope:
            values = rng.choice([(0, 1, 2, 3), (2, 0, 1), (5, 3, 9, 4)])
            first = Variable("a", Finite(values, (2,)))
            more = Variable("b", Finite(rng.choice([values, (1, 2)])))
            own = [first, more] if rng.random() < 0.5 else [first]
            sites = rng.sample(range(len(own) + 1), rng.randint(1, len(own) + 1))
            yield cls(*own, sites=sites, durations=[rng.randint(0, 3) for _ in sites])

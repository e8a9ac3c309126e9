"""Successors of nodes form one circuit through all of them: a tour."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from engine.domain import Domain, Finite, Variable, View
from engine.factors import Factors, ints
from engine.factors.circuits import Circuit as Ring
from engine.factors.circuits import Circuits
from modules.parameters import Site, Strict
from modules.shared.numbers import read_whole
from modules.shared.sites import OverSites, read_sites

MOST = 1 << 21  # clauses beyond which nothing is made explicit


class Parameters(Strict):
    """The nodes of a tour, one a site."""

    sites: list[Site] | None = Field(
        None,
        description="The sites of nodes 0, 1, 2, ...: the value of each is the number of the node "
        "that follows. All sites of the scope in order, if left out.",
    )


class Circuit(OverSites):
    """The value of each site is the node that follows, and one circuit goes through all nodes.

    E = sum over nodes of |expected number of nodes that it follows - 1| + 1 - (the largest product
    of chances along a way from node 0); decided: how often nodes are entered too rarely or too
    often, plus the nodes that the way from node 0 does not reach. Not affine; no unit. What steps
    cost counts nothing: weigh it beside this rule, a table a site. Parts are the nodes. A value
    that is no number of a node never holds; a single node follows itself. BadQuery: a site out of
    range or named twice, values that are no whole numbers.
    """

    affine = False

    def __init__(self, *scope: Variable | View, sites: Sequence[int] | None = None):
        super().__init__(*scope)
        every = range(self.layout.sites) if sites is None else sites
        (self.sites,) = read_sites(self.layout, [every], "sites")
        n = len(self.sites)
        worths = read_whole(self.layout, self.sites, "sites")
        self.heads = tuple(np.where((w >= 0) & (w < n), w, -1) for w in worths)
        arcs = [
            (int(self.layout.offset[site]) + place, tail, head)
            for tail, (site, heads) in enumerate(zip(self.sites, self.heads, strict=True))
            for place, head in enumerate(heads.tolist())
            if head >= 0
        ]
        self._arcs = torch.from_numpy(ints([x for arc in arcs for x in arc]).reshape(-1, 3))

    def _chances(self, tensors: Sequence[Tensor]) -> Tensor:
        """How likely each node is followed by each. -> (B, n, n)"""
        x, n = self.layout.columns(tensors), len(self.sites)
        column, tail, head = self._arcs.to(x.device).T
        out = x.new_zeros(len(x), n * n).index_add(1, tail * n + head, x[:, column])
        return out.unflatten(1, (n, n))

    def violation(self, *tensors: Tensor) -> Tensor:  # (B, *shape, k) -> (B, n)
        p = self._chances(tensors)
        reach = torch.cat([p.new_ones(len(p), 1), p.new_zeros(len(p), len(self.sites) - 1)], 1)
        for _ in range(len(self.sites) - 1):
            grown = torch.maximum(reach, (reach[:, :, None] * p).amax(1))
            if torch.equal(grown, reach):
                break
            reach = grown
        return (p.sum(1) - 1).abs() + 1 - reach

    def energy(self, *tensors: Tensor) -> Tensor:  # (B, *shape, k) -> (B,)
        return self.violation(*tensors).sum(1)

    def holds(self, *values: Any) -> bool:
        follow = self._follow(values)
        return set(follow) == set(range(len(follow))) and len(self._way(follow)) == len(follow)

    def _follow(self, values: Sequence[Any]) -> list[int]:
        """The node that follows each."""
        flat = (x[1] if isinstance(x, tuple) else x for x in self.layout.flat(values))
        every = list(flat)
        return [int(every[site]) for site in self.sites]

    @staticmethod
    def _way(follow: Sequence[int]) -> list[int]:
        """The nodes on the way from node 0, each once."""
        way, at = [], 0
        while at not in way and 0 <= at < len(follow):
            way.append(at)
            at = follow[at]
        return way

    def structured(self, weight: float | None, *domains: Domain) -> Factors | None:
        """Explicit as a constraint alone: its parts are not told apart there."""
        return self.factors(*domains) if weight is None else None

    def factors(self, *domains: Domain) -> Factors | None:
        if 2 * len(self.sites) ** 3 > MOST:
            return None
        zero = ints([0])
        family = Circuits((Ring(tuple(self.sites), self.heads),), zero, zero)
        return self.made(domains, others=(family,), functional=True)

    def floor(self) -> float:
        return 0.0

    def says(self, part: int) -> str:
        return f"node {part}: one circuit goes through it and all {len(self.sites)} nodes"

    def explain(self, *values: Any) -> list[str]:
        follow = self._follow(values)
        way, n = self._way(follow), len(follow)
        shown = " -> ".join(map(str, way[:8])) + (" -> ..." if len(way) > 8 else "")
        said = []
        for node in range(n):
            before = [k for k, head in enumerate(follow) if head == node]
            if len(before) != 1:
                said.append(f"node {node}: it follows {len(before)} nodes, not 1")
            elif node not in way:
                said.append(f"node {node}: the way from node 0 does not reach it ({shown})")
        return said

    @classmethod
    def example(cls) -> "Circuit":
        return cls(Variable("next", Finite((0, 1, 2, 3), (4,))))

    @classmethod
    def examples(cls, rng: random.Random, scope: Sequence[Variable] = ()) -> Iterator["Circuit"]:
        while not scope:
            values = rng.choice([(0, 1, 2), (2, 0, 1), (1, 0), (0, 1, 2, 7)])
            first = Variable("a", Finite(values, (2,)))
            more = Variable("b", Finite(rng.choice([values, (0, 2, 1)]), (2,)))
            own = [first, more] if rng.random() < 0.7 else [first]
            count = 2 * len(own)
            sites = rng.sample(range(count), rng.randint(1, count))
            yield cls(*own, sites=rng.choice([sites, sites, None]))

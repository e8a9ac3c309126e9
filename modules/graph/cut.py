"""Rewards each edge whose ends differ by its weight: maximum cut, Potts."""

import random
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from engine.decimals import Ints
from engine.domain import Domain, Finite, Variable, View
from engine.errors import Mistakes
from engine.factors import Factors, Table, floats
from modules.parameters import Number, Site, Strict
from modules.shared.examples import pairs, scope_of, values_of
from modules.shared.pairs import Weighed, agreement
from modules.shared.sites import (
    MISTAKES,
    ROUNDS,
    OverSites,
    check_site,
    finite,
    read_lists,
    rounds,
)


class Parameters(Strict):
    """The weighted edges of a graph whose nodes are the sites."""

    edges: list[tuple[Site, Site, Number]] = Field(
        description="Edges [a, b, weight]; the sites of the scope are the nodes."
    )


class Cut(OverSites):
    """Rewards each edge whose ends differ by its weight: E = -(weight of the cut).

    E = sum over edges of w * (<p_a, p_b> - 1), so decided -sum of w over edges with different
    ends. Affine in each site; in the unit of the weights, of any sign. `edges[i]` is
    [node, node, weight]; an edge from a node to itself is never cut and counts nothing. Values of
    different variables match when type and value are alike. BadQuery: a node out of range, a
    weight that is not finite.
    """

    def __init__(self, *scope: Variable | View, edges: Sequence[Sequence[Any]]):
        super().__init__(*scope)
        a, b, weight = _read(self, edges)
        self.part = np.flatnonzero(a != b)
        self.a, self.b, self.weight = a[self.part], b[self.part], weight[self.part]

    def energy(self, *tensors: Tensor) -> Tensor:  # (B, *shape, k) -> (B,)
        same = agreement(self.layout.aligned(tensors), self.a, self.b)  # (B, m)
        weight = torch.from_numpy(self.weight).to(same.device)
        return ((same - 1).double() * weight).sum(-1)

    def cost(self, *tensors: Tensor) -> Tensor:  # (B, *shape) int64 -> (B,) float64
        return 0.0 - self.weighed.parted(tensors)

    def changes(self, sites: Tensor, *decided: Tensor) -> Tensor:
        return self.weighed.changes(sites, decided)

    @cached_property
    def weighed(self) -> Weighed:
        """The weights of edges, summed over decided sites."""
        return Weighed(self.layout, self.a, self.b, self.weight)

    def factors(self, *domains: Domain) -> Factors:
        """One table for all edges of one weight (and between the same scope entries)."""
        entry = self.layout.entry
        key = np.stack([entry[self.a], entry[self.b]], 1)
        _, pattern = np.unique(key, axis=0, return_inverse=True)
        _, level = np.unique(self.weight, return_inverse=True)
        _, group = np.unique(
            pattern.reshape(-1) * (len(self.weight) + 1) + level, return_inverse=True
        )
        order = np.argsort(group, kind="stable")
        bunches = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
        tables = [self._table(edges) for edges in bunches if len(edges)]
        return self.made(
            domains,
            tables=tuple(table for table in tables if table is not None),
            interchangeable=self.layout.uniform,
        )

    def _table(self, edges: Ints) -> Table | None:
        weight = float(self.weight[edges[0]])
        if weight == 0:
            return None
        ranks = self.layout.ranks()
        left = ranks[self.layout.entry[self.a[edges[0]]]]
        right = ranks[self.layout.entry[self.b[edges[0]]]]
        tuples = np.argwhere(left[:, None] != right[None, :])
        return Table(
            np.stack([self.a[edges], self.b[edges]], 1),
            tuples,
            np.full(len(tuples), -weight),
            term=np.zeros(len(edges), dtype=np.int64),
            part=self.part[edges],
        )

    def floor(self) -> float:
        return -float(np.clip(self.weight, 0, None).sum())

    @classmethod
    def example(cls) -> "Cut":
        side = Variable("side", Finite((0, 1), (4,)))
        return cls(side, edges=[[0, 1, 1.0], [1, 2, -0.5], [2, 3, 2.0], [0, 3, 1.0]])

    @classmethod
    def examples(cls, rng: random.Random, scope: Sequence[Variable] = ()) -> Iterator["Cut"]:
        while True:
            own = scope or scope_of(rng)
            edges = [(a, b, rng.choice([1, -1, 2.5, 0])) for a, b in pairs(rng, values_of(own))]
            yield cls(*own, edges=edges)


def _read(term: OverSites, edges: Any) -> tuple[Ints, Ints, np.ndarray]:
    """Both ends and the weight of each edge. Raises BadQuery with every mistake."""
    wrong = Mistakes(MISTAKES)
    read: list[tuple[int, int, float]] = []
    for k, edge in enumerate(read_lists(edges, "edges")):
        path = f"edges[{k}]"
        if len(edge) != 3:
            remedy = "write it as [node, node, weight]"
            wrong.add(path, f"{list(edge)!r} has {len(edge)} entries", remedy)
            continue
        ends = [
            check_site(term.layout, site, f"{path}[{j}]", wrong) for j, site in enumerate(edge[:2])
        ]
        if not finite(edge[2]):
            wrong.add(f"{path}[2]", f"{edge[2]!r} is no finite number", "give a finite weight")
        elif rounds(edge[2]):
            wrong.add(f"{path}[2]", f"{edge[2]!r} has too many digits for a weight", ROUNDS)
        elif all(ends):
            read.append((int(edge[0]), int(edge[1]), float(edge[2])))
    wrong.check()
    a, b, weight = zip(*read, strict=True) if read else ((), (), ())
    return np.array(a, dtype=np.int64), np.array(b, dtype=np.int64), floats(weight)

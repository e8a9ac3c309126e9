"""The chosen edges are a tree that holds every node."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from engine.decimals import Ints
from engine.domain import Domain, Finite, Variable, View
from engine.factors import Clauses, Factors, ints
from modules.parameters import OverEdges, Site
from modules.shared.examples import links
from modules.shared.marked import Marked, read_links
from modules.shared.oriented import Oriented


class Parameters(OverEdges):
    """The edges of a graph, one a site."""

    root: Site | None = Field(
        None, description="A node that the tree holds; it may have no edge. The first, if left out."
    )


class SpanningTree(Marked):
    """The chosen edges are a tree over all nodes; edges are sites of 0 and 1, and 1 is chosen.

    E = sum over nodes of 1 - (the largest product of chances along a walk from the root), plus the
    amount by which the expected number of edges misses the number of nodes - 1; decided: the number
    of nodes that the root does not reach, plus the edges too many or too few. Not affine; no unit.
    What the edges cost counts nothing: weigh it beside this rule. Parts are the nodes but the root,
    ascending, then the number of edges. Where the graph hangs not together nothing satisfies it.
    `edges[i]` is [node, node]; an edge from a node to itself is never chosen. `root` only says from
    where levels are counted, and that it is a node. BadQuery: not one edge a site, values other
    than 0 and 1.
    """

    affine = False

    def __init__(
        self, *scope: Variable | View, edges: Sequence[Sequence[int]], root: int | None = None
    ):
        super().__init__(*scope)
        self.links = read_links(self.layout.sites, edges, root=root)
        self.root = 0 if root is None else self.links.place[int(root)]
        self.others = [k for k in range(self.links.nodes) if k != self.root]

    def violation(self, *tensors: Tensor) -> Tensor:  # (B, *shape, 2) -> (B, nodes)
        p = self.chances(tensors)
        if not self.links.nodes:
            return p.new_zeros(p.shape[0], 1)
        reached = self.links.reached(p, self.root)[:, self.others]
        miss = (p.sum(1) - (self.links.nodes - 1)).abs()
        return torch.cat([1 - reached, miss[:, None]], 1)

    def energy(self, *tensors: Tensor) -> Tensor:  # (B, *shape, 2) -> (B,)
        return self.violation(*tensors).sum(1)

    def holds(self, *values: Any) -> bool:
        leader = list(range(self.links.nodes))

        def find(node: int) -> int:
            while leader[node] != node:
                leader[node] = node = leader[leader[node]]
            return node

        joined = 0
        for chosen, (a, b) in zip(self.chosen(values), self.links.pairs, strict=True):
            if not chosen:
                continue
            a, b = find(a), find(b)
            if a == b:
                return False
            leader[a], joined = b, joined + 1
        return joined == self.links.nodes - 1

    def structured(self, weight: float | None, *domains: Domain) -> Factors | None:
        """Explicit as a constraint alone: its parts are not told apart there."""
        return self.factors(*domains) if weight is None else None

    def factors(self, *domains: Domain) -> Factors | None:
        links, sizes = self.links, Factors.sizes_of(domains)
        if not Oriented.fits(links):
            return None
        if len(links.component([True] * len(links.pairs), self.root)) < links.nodes:
            return self.made(domains, clauses=Clauses(ints([0, 0]), term=ints([0]), part=ints([0])))
        own = Oriented(links, self.root, sizes, self.on, off=False)
        for node in self.others:
            own.count(own.into(node), 1, 1)
        for edges in links.incident:
            if edges:  # follows; said for the sake of bounds
                own.require([(k, int(self.on[k]), True) for k in edges])
        return own.made()

    def cheapest(self, costs: Ints, allowed: np.ndarray) -> Ints | None:
        """The tree of least weight through all edges that must be chosen. Source: Kruskal,
        Proceedings of the AMS 7, 1956."""
        on, row = self.on, np.arange(len(self.on))
        must, may = ~allowed[row, 1 - on], allowed[row, on]
        weight = costs[row, on] - costs[row, 1 - on]
        order = np.lexsort((weight, ~must))
        leader = list(range(self.links.nodes))

        def find(node: int) -> int:
            while leader[node] != node:
                leader[node] = node = leader[leader[node]]
            return node

        out, joined = 1 - on, 0
        for k in order[may[order]].tolist():
            a, b = self.links.pairs[k]
            a, b = find(a), find(b)
            if a != b:
                leader[a], joined = b, joined + 1
                out[k] = on[k]
            elif must[k]:
                return None
        return out if joined == max(self.links.nodes - 1, 0) else None

    def says(self, part: int) -> str:
        if part < len(self.others):
            root = self.links.names[self.root]
            return f"node {self.links.names[self.others[part]]}: hangs together with node {root}"
        return f"the tree has {self.links.nodes - 1} edges"

    def explain(self, *values: Any) -> list[str]:
        chosen, links = self.chosen(values), self.links
        reached = links.component(chosen, self.root) if links.nodes else set()
        root = links.names[self.root] if links.nodes else None
        said = [
            f"node {links.names[k]}: chosen edges do not join it to node {root}"
            for k in self.others
            if k not in reached
        ]
        if sum(chosen) != max(links.nodes - 1, 0):
            said.append(f"{sum(chosen)} edges are chosen, not {links.nodes - 1}")
        return said

    @classmethod
    def example(cls) -> "SpanningTree":
        taken = Variable("taken", Finite((0, 1), (5,)))
        return cls(taken, edges=[[0, 1], [1, 2], [2, 0], [2, 3], [3, 0]])

    @classmethod
    def examples(
        cls, rng: random.Random, scope: Sequence[Variable] = ()
    ) -> Iterator["SpanningTree"]:
        while not scope:
            taken, edges, nodes = links(rng)
            yield cls(taken, edges=edges, root=rng.choice([None, *nodes]))

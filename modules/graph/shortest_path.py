"""The chosen edges are a path between two nodes."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from engine.domain import Domain, Finite, Variable, View
from engine.factors import Clauses, Factors, ints
from modules.parameters import OverEdges, Site
from modules.shared.examples import links
from modules.shared.marked import Marked, read_links
from modules.shared.oriented import Oriented


class Parameters(OverEdges):
    """The edges of a graph, one a site, and the ends of a path in it."""

    start: Site = Field(description="The node where it begins.")
    goal: Site = Field(description="The node where it ends.")


class ShortestPath(Marked):
    """The chosen edges, sites of 0 and 1, are a path that visits no node twice.

    It leads from `start` to `goal`; 1 is chosen.
    E = sum over nodes of P(the number of its chosen edges does not fit: 1 at both ends of the path,
    else 0 or 2), sites independent, plus sum over edges of p times 1 - (the largest product of
    chances along a walk from the start to it); decided: the number of nodes that do not fit, and of
    chosen edges that do not hang together with the start. Not affine; no unit. What the edges cost
    counts nothing: weigh their lengths beside this rule, and the path is a shortest one. Parts are
    the nodes, ascending, then the edges. Where start and goal are one, no edge is chosen.
    `edges[i]` is [node, node]; an edge from a node to itself is never chosen. BadQuery: not one
    edge a site, values other than 0 and 1.
    """

    affine = False

    def __init__(
        self, *scope: Variable | View, edges: Sequence[Sequence[int]], start: int, goal: int
    ):
        super().__init__(*scope)
        self.links = read_links(self.layout.sites, edges, start=start, goal=goal)
        self.start, self.goal = self.links.place[int(start)], self.links.place[int(goal)]

    def _wanted(self, node: int) -> tuple[int, ...]:
        """How many chosen edges a node may have."""
        if self.start == self.goal:
            return (0,)
        return (1,) if node in (self.start, self.goal) else (0, 2)

    def violation(self, *tensors: Tensor) -> Tensor:  # (B, *shape, 2) -> (B, nodes + edges)
        p, links = self.chances(tensors), self.links
        degrees = []
        for node, edges in enumerate(links.incident):
            counts = _counts(p[:, edges])
            degrees.append(1 - torch.stack([counts[k] for k in self._wanted(node)]).sum(0))
        reached = links.reached(p, self.start)
        a, b = (torch.from_numpy(x).to(p.device) for x in (links.a, links.b))
        near = torch.where(a == b, torch.zeros_like(p), torch.maximum(reached[:, a], reached[:, b]))
        return torch.cat([torch.stack(degrees, 1), p * (1 - near)], 1)

    def energy(self, *tensors: Tensor) -> Tensor:  # (B, *shape, 2) -> (B,)
        return self.violation(*tensors).sum(1)

    def holds(self, *values: Any) -> bool:
        chosen, links = self.chosen(values), self.links
        left = {k for k, one in enumerate(chosen) if one}
        at, seen = self.start, {self.start}
        while at != self.goal:
            ways = [k for k in links.incident[at] if k in left]
            if len(ways) != 1:
                return False
            left.remove(ways[0])
            a, b = links.pairs[ways[0]]
            at = b if at == a else a
            if at in seen:
                return False
            seen.add(at)
        return not left

    def structured(self, weight: float | None, *domains: Domain) -> Factors | None:
        """Explicit as a constraint alone: its parts are not told apart there."""
        return self.factors(*domains) if weight is None else None

    def factors(self, *domains: Domain) -> Factors | None:
        links, sizes = self.links, Factors.sizes_of(domains)
        if not Oriented.fits(links):
            return None
        if self.goal not in links.component([True] * len(links.pairs), self.start):
            return self.made(domains, clauses=Clauses(ints([0, 0]), term=ints([0]), part=ints([0])))
        own = Oriented(links, self.start, sizes, self.on, off=True)
        ends = self.start != self.goal
        for node in range(links.nodes):
            off = [] if node == self.start else [(int(own.level[node]), 0)]
            begins, stops = node == self.start and ends, node == self.goal and ends
            if begins:
                own.count(own.out(node), 1, 1)
            elif stops:
                own.count(own.into(node), 1, 1)
                own.count([*own.out(node), *off], 0, 0)
            elif node == self.start:
                own.count(own.out(node), 0, 0)
            else:
                own.count([*own.into(node), *off], 1, 1)
                own.count([*own.out(node), *off], 1, 1)
        return own.made()

    def says(self, part: int) -> str:
        names, links = self.links.names, self.links
        if part < links.nodes:
            few = " or ".join(map(str, self._wanted(part)))
            return f"node {names[part]}: {few} of its edges are chosen"
        k = part - links.nodes
        return f"edge {k}: hangs together with node {names[self.start]} if it is chosen"

    def explain(self, *values: Any) -> list[str]:
        chosen, links, said = self.chosen(values), self.links, []
        for node, edges in enumerate(links.incident):
            count = sum(chosen[k] for k in edges)
            if count not in self._wanted(node):
                few = " or ".join(map(str, self._wanted(node)))
                said.append(f"node {links.names[node]}: {count} of its edges are chosen, not {few}")
        reached = links.component(chosen, self.start)
        for k, (a, b) in enumerate(links.pairs):
            if chosen[k] and (a == b or a not in reached):
                start = links.names[self.start]
                pair = [links.names[a], links.names[b]]
                said.append(f"edge {k}: {pair} does not hang together with node {start}")
        return said

    @classmethod
    def example(cls) -> "ShortestPath":
        taken = Variable("taken", Finite((0, 1), (5,)))
        return cls(taken, edges=[[0, 1], [1, 2], [2, 0], [2, 3], [3, 0]], start=0, goal=3)

    @classmethod
    def examples(
        cls, rng: random.Random, scope: Sequence[Variable] = ()
    ) -> Iterator["ShortestPath"]:
        while not scope:
            taken, edges, nodes = links(rng)
            yield cls(taken, edges=edges, start=rng.choice(nodes), goal=rng.choice(nodes))


def _counts(p: Tensor) -> list[Tensor]:
    """The chances that none, one and two of independent events happen. (B, k) -> three of (B,)"""
    none, one, two = p.new_ones(p.shape[0]), p.new_zeros(p.shape[0]), p.new_zeros(p.shape[0])
    for x in p.unbind(1):
        none, one, two = none * (1 - x), one * (1 - x) + none * x, two * (1 - x) + one * x
    return [none, one, two]

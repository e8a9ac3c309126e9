"""No two chosen edges meet in a node."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.domain import Domain, Finite, Variable, View
from engine.factors import Clauses, Counted, Factors, ints
from modules.parameters import OverEdges
from modules.shared.examples import links
from modules.shared.literals import first_two
from modules.shared.marked import Marked, read_links
from modules.shared.sites import NAMED, by_length, put_lists

Parameters = OverEdges


class Matching(Marked):
    """At each node at most one edge is chosen; edges are sites of 0 and 1, and 1 is chosen.

    E = sum over nodes of P(more than one of its edges is chosen), sites independent, plus the
    chances of the edges from a node to itself, which never belong to a matching; decided: the
    number of nodes with several chosen edges, and of such edges. Affine in each site; no unit. How
    much is matched counts nothing: weigh it beside this rule. Parts are the nodes with more than
    one edge, ascending, then those edges. BadQuery: not one edge a site, values other than 0 and 1.
    """

    def __init__(self, *scope: Variable | View, edges: Sequence[Sequence[int]]):
        super().__init__(*scope)
        links = read_links(self.layout.sites, edges)
        several = [k for k, own in enumerate(links.incident) if len(own) > 1]
        self.nodes = [links.names[k] for k in several]
        self.lists = [links.incident[k] for k in several]
        self.loops = np.flatnonzero(links.a == links.b)
        self.pairs = [[links.names[x] for x in pair] for pair in links.pairs]
        self.numbers = by_length(ints(map(len, self.lists)))

    def _failing(self, p: Tensor) -> Iterator[Tensor]:
        """The chance that a node has several chosen edges. (B, n) -> (B, m), one per degree"""
        for rows in self.numbers:
            lists = torch.tensor([self.lists[k] for k in rows.tolist()], device=p.device)
            none, one = first_two(p[:, lists])
            yield 1 - none - one

    def violation(self, *tensors: Tensor) -> Tensor:  # (B, *shape, 2) -> (B, nodes and loops)
        p = self.chances(tensors)
        out = put_lists(p.new_zeros(p.shape[0], len(self.lists)), self.numbers, self._failing(p))
        return torch.cat([out, p[:, torch.from_numpy(self.loops).to(p.device)]], 1)

    def energy(self, *tensors: Tensor) -> Tensor:  # (B, *shape, 2) -> (B,)
        return self.violation(*tensors).sum(1)

    def holds(self, *values: Any) -> bool:
        used: set[int] = set()
        for chosen, (a, b) in zip(self.chosen(values), self.pairs, strict=True):
            if chosen and (a == b or a in used or b in used):
                return False
            used |= {a, b} if chosen else set()
        return True

    def factors(self, *domains: Domain) -> Factors:
        m, site = len(self.lists), ints([s for own in self.lists for s in own])
        lengths, zero = ints(map(len, self.lists)), np.zeros(m, dtype=np.int64)
        start = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        loops = len(self.loops)
        return self.made(
            domains,
            counted=Counted(start, site, self.on[site], zero, np.arange(m), zero, zero + 1),
            clauses=Clauses(
                np.arange(loops + 1),
                self.loops,
                1 - self.on[self.loops],
                np.zeros(loops, dtype=np.int64),
                m + np.arange(loops),
                np.ones(loops, dtype=bool),
            ),
        )

    def says(self, part: int) -> str:
        if part < len(self.lists):
            return f"node {self.nodes[part]}: at most one of its edges is chosen"
        return f"edge {self.loops[part - len(self.lists)]}: is not chosen, as both ends are one"

    def explain(self, *values: Any) -> list[str]:
        chosen, said = self.chosen(values), []
        for node, sites in zip(self.nodes, self.lists, strict=True):
            own = [f"{k} {self.pairs[k]}" for k in sites if chosen[k]]
            if len(own) > 1:
                more = f", {len(own) - NAMED} others" if len(own) > NAMED else ""
                said.append(
                    f"node {node}: {len(own)} edges are chosen ({', '.join(own[:NAMED])}{more})"
                )
        loops = [k for k in self.loops.tolist() if chosen[k]]
        return said + [f"edge {k}: joins node {self.pairs[k][0]} to itself" for k in loops]

    @classmethod
    def example(cls) -> "Matching":
        taken = Variable("taken", Finite((0, 1), (4,)))
        return cls(taken, edges=[[0, 1], [1, 2], [2, 0], [2, 3]])

    @classmethod
    def examples(cls, rng: random.Random, scope: Sequence[Variable] = ()) -> Iterator["Matching"]:
        while not scope:
            taken, edges, _ = links(rng)
            yield cls(taken, edges=edges)

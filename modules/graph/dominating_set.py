"""Each node is chosen, or joined to a chosen one."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

from engine.domain import Finite, Variable
from modules.parameters import OverNodes
from modules.shared.examples import graph
from modules.shared.marked import SomeOf

Parameters = OverNodes


class DominatingSet(SomeOf):
    """Each node is chosen or has a chosen neighbour; nodes are sites of 0 and 1, and 1 is chosen.

    E = sum over nodes of the product of 1 - p over itself and its neighbours, p the chances that
    they are chosen; decided: the number of nodes that are not dominated. Affine in each site; no
    unit. How large the set is counts nothing: weigh it beside this rule. `edges[i]` is
    [node, node]; an edge from a node to itself says nothing, and a node without edges has to be
    chosen. BadQuery: a node out of range, values other than 0 and 1.
    """

    wanted = 1

    def _lists(self, edges: list[tuple[int, int]]) -> list[list[int]]:
        near: list[dict[int, None]] = [{site: None} for site in range(self.layout.sites)]
        for a, b in edges:
            near[a][b] = near[b][a] = None
        return [list(sites) for sites in near]

    def says(self, part: int) -> str:
        return f"node {part}: one of {self.some(self.lists[part])} is chosen"

    def explain(self, *values: Any) -> list[str]:
        return [
            f"node {k}: of itself and its neighbours ({self.some(self.lists[k])}) none is chosen"
            for k in self.missed(values)
        ]

    @classmethod
    def example(cls) -> "DominatingSet":
        chosen = Variable("chosen", Finite((0, 1), (4,)))
        return cls(chosen, edges=[[0, 1], [1, 2], [2, 0], [2, 3]])

    @classmethod
    def examples(
        cls, rng: random.Random, scope: Sequence[Variable] = ()
    ) -> Iterator["DominatingSet"]:
        while not scope:
            variables, edges = graph(rng)
            yield cls(*variables, edges=edges)

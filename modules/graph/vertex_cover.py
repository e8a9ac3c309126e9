"""Each edge has a chosen end."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

from engine.domain import Finite, Variable
from modules.parameters import OverNodes
from modules.shared.examples import graph
from modules.shared.marked import EachEdge

Parameters = OverNodes


class VertexCover(EachEdge):
    """Each edge has a chosen end; nodes are sites of 0 and 1, and 1 is chosen.

    E = sum over edges of (1 - p_a)(1 - p_b), p the chances that its ends are chosen; decided: the
    number of edges without a chosen end. Affine in each site; no unit. How large the cover is
    counts nothing: weigh it beside this rule. `edges[i]` is [node, node]; a node with an edge to
    itself is always chosen. BadQuery: a node out of range, values other than 0 and 1.
    """

    wanted = 1

    def says(self, part: int) -> str:
        return f"edge {part}: one of {self.some(self.lists[part])} is chosen"

    def explain(self, *values: Any) -> list[str]:
        return [
            f"edge {k}: of {self.layout.names(self.lists[k])} none is chosen"
            for k in self.missed(values)
        ]

    @classmethod
    def example(cls) -> "VertexCover":
        chosen = Variable("chosen", Finite((0, 1), (4,)))
        return cls(chosen, edges=[[0, 1], [1, 2], [2, 0], [2, 3]])

    @classmethod
    def examples(
        cls, rng: random.Random, scope: Sequence[Variable] = ()
    ) -> Iterator["VertexCover"]:
        while not scope:
            variables, edges = graph(rng)
            yield cls(*variables, edges=edges)

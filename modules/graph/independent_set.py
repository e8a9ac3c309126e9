"""No two chosen nodes are joined by an edge."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

from engine.domain import Finite, Variable
from modules.parameters import OverNodes
from modules.shared.examples import graph
from modules.shared.marked import EachEdge

Parameters = OverNodes


class IndependentSet(EachEdge):
    """No edge joins two chosen nodes; nodes are sites of 0 and 1, and 1 is chosen.

    E = sum over edges of p_a p_b, the chances that its ends are chosen; decided: the number of
    edges inside the set. Affine in each site; no unit. How large the set is counts nothing: weigh
    it beside this rule. `edges[i]` is [node, node]; a node with an edge to itself is never chosen.
    BadQuery: a node out of range, values other than 0 and 1.
    """

    wanted = 0

    def says(self, part: int) -> str:
        return f"edge {part}: not all of {self.some(self.lists[part])} are chosen"

    def explain(self, *values: Any) -> list[str]:
        return [
            f"edge {k}: {self.layout.names(self.lists[k])} "
            f"{'are both chosen' if len(self.lists[k]) > 1 else 'is chosen beside itself'}"
            for k in self.missed(values)
        ]

    @classmethod
    def example(cls) -> "IndependentSet":
        chosen = Variable("chosen", Finite((0, 1), (4,)))
        return cls(chosen, edges=[[0, 1], [1, 2], [2, 0], [2, 3]])

    @classmethod
    def examples(
        cls, rng: random.Random, scope: Sequence[Variable] = ()
    ) -> Iterator["IndependentSet"]:
        while not scope:
            variables, edges = graph(rng)
            yield cls(*variables, edges=edges)

"""The ends of each edge have different colours."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

from engine.domain import Domain, Finite, Variable, View
from engine.factors import Factors
from modules.parameters import OverNodes
from modules.shared.examples import pairs, scope_of, values_of
from modules.shared.pairs import Unequal, interleaved
from modules.shared.sites import different

Parameters = OverNodes


class Coloring(Unequal):
    """The ends of each edge have different colours; nodes are sites, colours are values.

    E = sum over edges of <p_a, p_b>; decided: the number of edges of one colour. Affine in each
    site; no unit. `edges[i]` is [node, node]; an edge named twice counts twice. Colours are
    interchangeable. BadQuery: a node out of range, an edge from a node to itself (no colouring
    satisfies it).
    """

    def __init__(self, *scope: Variable | View, edges: Sequence[Sequence[int]]):
        super().__init__(*scope, pairs=edges, path="edges")

    def factors(self, *domains: Domain) -> Factors:
        return different(self, domains, *interleaved(self.a, self.b))

    def explain(self, *values: Any) -> list[str]:
        flat = self.layout.flat(values)
        return [
            f"edge {k}: {self.layout.names([self.a[k], self.b[k]])} "
            f"both have colour {self.layout.shown(flat[self.a[k]])}"
            for k, same in enumerate(self.agreeing(*values))
            if same
        ]

    @classmethod
    def example(cls) -> "Coloring":
        color = Variable("color", Finite((0, 1, 2), (4,)))
        return cls(color, edges=[[0, 1], [1, 2], [2, 0], [2, 3]])

    @classmethod
    def examples(cls, rng: random.Random, scope: Sequence[Variable] = ()) -> Iterator["Coloring"]:
        while True:
            own = scope or scope_of(rng)
            yield cls(*own, edges=pairs(rng, values_of(own)))

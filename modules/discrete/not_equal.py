"""The two sites of each pair take different values."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import Field

from engine.domain import Domain, Finite, Variable, View
from engine.factors import Factors
from modules.parameters import Site, Strict
from modules.shared.examples import pairs, scope_of, values_of
from modules.shared.pairs import Unequal, interleaved
from modules.shared.sites import different


class Parameters(Strict):
    """Pairs of sites."""

    pairs: list[tuple[Site, Site]] = Field(
        description="Pairs of sites; the two take different values."
    )


class NotEqual(Unequal):
    """The two sites of each pair take different values.

    E = sum over pairs of <p_a, p_b>; decided: the number of pairs that agree. Affine in each site;
    no unit. `pairs[i]` is [site, site]. Values of different variables match when type and value
    are alike. BadQuery: a site out of range, a pair of one site with itself.
    """

    def __init__(self, *scope: Variable | View, pairs: Sequence[Sequence[int]]):
        super().__init__(*scope, pairs=pairs, path="pairs")

    def factors(self, *domains: Domain) -> Factors:
        return different(self, domains, *interleaved(self.a, self.b))

    def explain(self, *values: Any) -> list[str]:
        flat = self.layout.flat(values)
        return [
            f"pair {k}: {self.layout.names([self.a[k], self.b[k]])} "
            f"both have value {self.layout.shown(flat[self.a[k]])}"
            for k, same in enumerate(self.agreeing(*values))
            if same
        ]

    @classmethod
    def example(cls) -> "NotEqual":
        return cls(Variable("x", Finite((0, 1, 2), (4,))), pairs=[[0, 1], [1, 2], [3, 0]])

    @classmethod
    def examples(cls, rng: random.Random, scope: Sequence[Variable] = ()) -> Iterator["NotEqual"]:
        while True:
            own = scope or scope_of(rng)
            yield cls(*own, pairs=pairs(rng, values_of(own)))

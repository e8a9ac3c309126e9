"""At least one literal of each group is true."""

import random
from collections.abc import Iterator, Sequence

import numpy as np
from pydantic import Field
from torch import Tensor

from engine.domain import Domain, Finite, Variable
from engine.factors import Clauses, Factors
from modules.parameters import Literal, Strict
from modules.shared.examples import groups, scope_of, values_of
from modules.shared.literals import Counting


class Parameters(Strict):
    """Groups of literals."""

    groups: list[list[Literal]] = Field(
        description="Groups of [site, value]; at least one of each group is true."
    )


class AtLeastOne(Counting):
    """At least one literal of each group is true.

    E = sum over groups of P(count = 0), the sites independent; decided: the number of failing
    groups. Affine in each site; no unit. `groups[i][j]` is [site, value]. BadQuery: a site out of
    range, an unknown value, an empty group, a literal that stands twice in a group.
    """

    def _chance(self, none: Tensor, one: Tensor) -> Tensor:
        return 1 - none

    def _fits(self, count: int) -> bool:
        return count >= 1

    def _words(self) -> str:
        return "at least one literal must hold"

    def factors(self, *domains: Domain) -> Factors:
        literals, m = self.literals, self.literals.count
        clauses = Clauses(
            literals.start,
            literals.site,
            literals.place,
            np.zeros(m, dtype=np.int64),
            np.arange(m),
            np.ones(len(literals.site), dtype=bool),
        )
        return self.made(domains, clauses=clauses)

    @classmethod
    def example(cls) -> "AtLeastOne":
        x = Variable("x", Finite((0, 1, 2), (3,)))
        return cls(x, groups=[[(0, 1), (1, 1), (2, 1)], [(0, 0), (0, 2), (1, 0)]])

    @classmethod
    def examples(cls, rng: random.Random, scope: Sequence[Variable] = ()) -> Iterator["AtLeastOne"]:
        while True:
            own = scope or scope_of(rng)
            yield cls(*own, groups=groups(rng, values_of(own)))

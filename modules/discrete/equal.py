"""The two sites of each pair take the same value."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from pydantic import Field
from torch import Tensor

from engine.decimals import Ints
from engine.domain import Domain, Finite, Variable, View
from engine.factors import Clauses, Factors
from modules.parameters import Site, Strict
from modules.shared.examples import pairs, scope_of, values_of
from modules.shared.pairs import Pairs


class Parameters(Strict):
    """Pairs of sites."""

    pairs: list[tuple[Site, Site]] = Field(
        description="Pairs of sites; the two take the same value."
    )


class Equal(Pairs):
    """The two sites of each pair take the same value.

    E = sum over pairs of 1 - <p_a, p_b>; decided: the number of pairs that differ. Affine in each
    site; no unit. `pairs[i]` is [site, site]. Values of different variables match when type and
    value are alike. BadQuery: a site out of range, a pair of one site with itself.
    """

    def __init__(self, *scope: Variable | View, pairs: Sequence[Sequence[int]]):
        super().__init__(*scope, pairs=pairs, path="pairs")

    def energy(self, *tensors: Tensor) -> Tensor:  # (B, *shape, k) -> (B,)
        return self.violation(*tensors).sum(-1)

    def violation(self, *tensors: Tensor) -> Tensor:  # (B, *shape, k) -> (B, pairs)
        return 1 - self.agreement(*tensors)

    def holds(self, *values: Any) -> bool:
        return False not in self.agreeing(*values)

    def factors(self, *domains: Domain) -> Factors:
        """Each end implies the other: (a is not v, or b is v), and the same from b to a."""
        pieces = [
            piece
            for first, second in ((self.a, self.b), (self.b, self.a))
            for piece in self._implied(first, second)
        ]
        part, length, site, place, sign = map(np.concatenate, zip(*pieces, strict=True))
        clauses = Clauses(
            np.concatenate([[0], np.cumsum(length)]).astype(np.int64),
            site.astype(np.int64),
            place.astype(np.int64),
            np.zeros(len(part), dtype=np.int64),
            part.astype(np.int64),
            sign.astype(bool),
        )
        return self.made(domains, clauses=clauses, interchangeable=self.layout.uniform)

    def _implied(self, first: Ints, second: Ints) -> list[tuple[np.ndarray, ...]]:
        """(parts, lengths, sites, places, signs) of the clauses from the first end to the other,
        one bunch for each pair of scope entries; a value that the other lacks is forbidden."""
        layout = self.layout
        entries = np.stack([layout.entry[first], layout.entry[second]], 1)
        bunches: list[tuple[np.ndarray, ...]] = [(np.zeros(0, dtype=np.int64),) * 5]
        for one, other in np.unique(entries, axis=0):
            pairs = np.flatnonzero((entries == (one, other)).all(1))
            here, there = layout.lookups[one], layout.lookups[other]
            for value, place in here.items():
                partner = there.get(value)
                width = 1 if partner is None else 2
                sites = [first[pairs], second[pairs]][:width]
                places = [place, partner][:width]
                bunches.append(
                    (
                        pairs,
                        np.full(len(pairs), width),
                        np.stack(sites, 1).reshape(-1),
                        np.tile(places, len(pairs)),
                        np.tile([False, True][:width], len(pairs)),
                    )
                )
        return bunches

    def says(self, part: int) -> str:
        return f"{self.ends(part)} are equal"

    def explain(self, *values: Any) -> list[str]:
        flat = self.layout.flat(values)
        return [
            f"pair {k}: {self.layout.at(self.a[k], flat[self.a[k]])}, but "
            f"{self.layout.at(self.b[k], flat[self.b[k]])}"
            for k, same in enumerate(self.agreeing(*values))
            if not same
        ]

    @classmethod
    def example(cls) -> "Equal":
        return cls(Variable("x", Finite((0, 1, 2), (4,))), pairs=[[0, 1], [3, 2]])

    @classmethod
    def examples(cls, rng: random.Random, scope: Sequence[Variable] = ()) -> Iterator["Equal"]:
        while True:
            own = scope or scope_of(rng)
            yield cls(*own, pairs=pairs(rng, values_of(own)))

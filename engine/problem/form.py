"""What the summands of a problem say explicitly, prepared once for all rows that say the same."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from engine.decimals import Ints
from engine.energy import Energy, Sum, Summand
from engine.factors import Factors
from engine.factors.explicit import Explicit


@dataclass(frozen=True, eq=False)
class Form:
    """The explicit structure of an energy, and the rest of it.

    pieces: what each summand says over the sites of its scope, None where it says nothing.
    factors: all of them over the finite sites of the problem. Tables that vary have no costs here:
    those of a row lie beside its domains (`Problem.costs`). memo: what was prepared from it.
    """

    pieces: tuple[Factors | None, ...]
    factors: Factors
    rest: Energy | None
    weighed: frozenset[int]  # places of the summands that have a weight
    memo: dict[Hashable, Any] = field(default_factory=dict)

    @staticmethod
    def of(
        summands: Sequence[Summand],
        pieces: tuple[Factors | None, ...],
        sites: Sequence[np.ndarray],
        sizes: Ints,
    ) -> "Form":
        """sites: where those of each summand stand; sizes: of all finite sites."""
        every = zip(summands, pieces, strict=True)
        rest = [summand for summand, piece in every if piece is None]
        told = [
            (piece.owned_by(place), sites[place])
            for place, piece in enumerate(pieces)
            if piece is not None
        ]
        left = Sum(*rest) if rest else None
        weighed = frozenset(k for k, s in enumerate(summands) if s.weight is not None)
        return Form(pieces, Factors.merge(sizes, told).lowered(), left, weighed)

    def fits(self, pieces: Sequence[Factors | None]) -> bool:
        """Whether these are the same pieces, in all but the costs of tables that vary."""
        return all(
            mine is own or (mine is not None and own is not None and mine.like(own))
            for mine, own in zip(self.pieces, pieces, strict=True)
        )

    @cached_property
    def explicit(self) -> Explicit:
        """What the explicit summands cost, exactly, but for what varies."""
        return Explicit.of(self.factors, self.weighed)

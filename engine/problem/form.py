"""What the summands of a problem say explicitly, prepared once for all rows that say the same."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from engine.decimals import Ints
from engine.energy import Energy, Sum, Summand
from engine.factors import Factors
from engine.factors.explicit import Explicit


class Piece(NamedTuple):
    """What some summands say together, most often one alone."""

    places: tuple[int, ...]  # of the summands
    factors: Factors | None  # over the sites of their scope; None: it is not explicit
    sites: np.ndarray  # where these stand

    def like(self, other: "Piece") -> bool:
        """The same summands say the same, in all but the costs of tables that vary."""
        mine, own = self.factors, other.factors
        same = mine is own or (mine is not None and own is not None and mine.like(own))
        return self.places == other.places and same

    def owned(self) -> Factors:
        """The structure, marked as that of its summands."""
        assert self.factors is not None
        if len(self.places) == 1:
            return self.factors.owned_by(self.places[0])
        own = np.array(self.places, dtype=np.int64)
        return self.factors.mapped(lambda family: family.marked(own[family.term], family.part))


@dataclass(frozen=True, eq=False)
class Form:
    """The explicit structure of an energy, and the rest of it.

    pieces: what the summands say over the sites of their scopes. factors: all of them over the
    finite sites of the problem. Tables that vary have no costs here: those of a row lie beside its
    domains (`Problem.costs`). memo: what was prepared from it.
    """

    pieces: tuple[Piece, ...]
    factors: Factors
    rest: Energy | None
    weighed: frozenset[int]  # places of the summands that have a weight
    memo: dict[Hashable, Any] = field(default_factory=dict)

    @staticmethod
    def of(summands: Sequence[Summand], pieces: tuple[Piece, ...], sizes: Ints) -> "Form":
        """sizes: of all finite sites."""
        lacking = sorted(k for piece in pieces if piece.factors is None for k in piece.places)
        told = [(piece.owned(), piece.sites) for piece in pieces if piece.factors is not None]
        left = Sum(*(summands[k] for k in lacking)) if lacking else None
        weighed = frozenset(k for k, s in enumerate(summands) if s.weight is not None)
        return Form(pieces, Factors.merge(sizes, told).lowered(), left, weighed)

    @cached_property
    def lacking(self) -> frozenset[int]:
        """Places of the summands that are not explicit."""
        return frozenset(k for piece in self.pieces if piece.factors is None for k in piece.places)

    def fits(self, pieces: Sequence[Piece]) -> bool:
        """Whether these are the same pieces, in all but the costs of tables that vary."""
        return len(pieces) == len(self.pieces) and all(
            mine is own or mine.like(own) for mine, own in zip(self.pieces, pieces, strict=True)
        )

    @cached_property
    def explicit(self) -> Explicit:
        """What the explicit summands cost, exactly, but for what varies."""
        return Explicit.of(self.factors, self.weighed)

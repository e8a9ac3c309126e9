"""What every family of explicit structure knows of itself."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from engine.decimals import Floats as Floats
from engine.decimals import Ints as Ints

if TYPE_CHECKING:
    from engine.factors.factors import Factors


class Family(ABC):
    """Abstract: factors of one kind over numbered sites, each of them a part of a term."""

    term: Ints  # (m,) place of the term in the energy
    part: Ints  # (m,) place of the part in the term

    @property
    @abstractmethod
    def count(self) -> int:
        """How many factors."""

    @abstractmethod
    def scopes_of(self) -> Sequence[Ints]:
        """The sites that each factor looks at."""

    @abstractmethod
    def costs_at(self, places: Ints, row: int = 0) -> Floats:
        """What each factor costs where the sites have these places, infinite where it forbids.

        It shares no arithmetic with the searches. (n,) -> (m,)
        """

    @abstractmethod
    def picked(self, which: slice) -> Self:
        """Some of the factors."""

    @abstractmethod
    def renumbered(self, where: Ints) -> Self:
        """The same with site s called where[s]."""

    @abstractmethod
    def marked(self, term: Ints, part: Ints) -> Self:
        """The same factors as parts of other terms. (m,), (m,)"""

    @classmethod
    @abstractmethod
    def joined(cls, families: Sequence[Self]) -> Self:
        """Several families of this class as one, in order."""


class Derived(Family):
    """Abstract: a family of rules that says itself in counts, clauses, sums and tables.

    The searches know those; this is all that they, prices, conditions and hosts ask of any other.
    """

    @abstractmethod
    def lowered(self, sizes: Ints) -> "Factors":
        """The same rules over sites of these sizes, the hidden ones that it takes behind them."""

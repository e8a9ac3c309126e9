"""Numbers read from strips of ink: what each value of a site costs, given its picture."""

import math
import random
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, get_args

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from engine.decimals import Ints
from engine.domain import Domain, Finite, Given, Input, Real, Variable, View
from engine.energy import Term
from engine.errors import BadQuery, Mistake
from engine.factors import Factors
from modules.image._boards.reading import (
    WEIGHTS,
    Read,
    Signs,
    check_signs,
    check_strips,
    reading_of,
    same_pictures,
    text_of,
    text_prices,
)
from modules.image._boards.strips import HIGH
from modules.parameters import Number, Strict, Value
from modules.shared.files import File
from modules.shared.sites import Layout

Notation = Literal["decimal", "letters", "either"]
Way = tuple[Signs, dict[int, tuple[Ints, Ints]]]  # what tells texts, and their signs


class Parameters(Strict):
    """Which classifier reads characters, and how numbers are written."""

    weights: File = Field(
        description="A file of `basin train image.classifier` whose labels are the signs; a bare "
        "name is also looked for beside the kinds that ship with Basin.",
    )
    notation: Notation = Field(
        "decimal",
        description="How numbers are written: in digits, with the letters A-G (in either case) for "
        "10 to 16, or either, the same in all pictures of a row: that which costs less.",
    )
    blank: Value | None = Field(None, description="A value that no picture of ink shows.")
    within: Annotated[Number, Field(ge=0)] | None = Field(
        None,
        description="Nats above the cheapest of a picture from which on a value is forbidden.",
    )


class Numeral(Term):
    """The price of reading numbers in strips of ink: -ln of the chances of their characters.

    E = sum over present pictures of price(text of the number | picture); price(text) = min over
    ways to part the ink into characters of what speaks against that way, plus the sum of -ln
    p(sign | picture of the character), p of `image.classifier`. Ink is parted where it is not
    connected, and wide pieces at columns that little ink crosses, as characters may touch. In
    nats, in steps of 1/1024. Pictures: (n, 32, width), ink 1 on paper 0, in the order of the
    sites; an absent one costs nothing. Affine: one table over each site. BadQuery: pictures of
    another height or number, values that are no numbers that can be written so, weights that
    lack a sign.
    """

    affine = True
    calibrated = True
    partial = True
    fixed_structure = True

    def __init__(
        self,
        pictures: Input | View,
        *numbers: Variable | View,
        weights: str,
        notation: Notation = "decimal",
        blank: Any = None,
        within: float | None = None,
    ):
        super().__init__(pictures, *numbers)
        self.layout = Layout(self.scope[1:])
        check_strips(self.scope[0], self.layout.sites)
        if not self.layout.uniform:
            problem, remedy = "names variables of different values", "give all of them the same"
            raise BadQuery(Mistake("scope", problem, remedy))
        values = [value for _, value in self.layout.union]
        self.blank = None if blank is None else self.layout.domains[0].place(blank, "blank")
        self.within = math.inf if within is None else within
        # some values are forbidden otherwise
        self.affine = blank is None and within is None  # type: ignore[misc]
        self.reading = reading_of(weights)
        ways: list[Notation] = ["decimal", "letters"] if notation == "either" else [notation]
        self.count = len(values)
        texts = [self._texts(way, values) for way in ways]
        self.ways = [self._way(own, own) for own in texts]
        self.shared = [self._way(own, sum(texts, [])) for own in texts]  # among the signs of both

    def _texts(self, way: str, values: Sequence[Any]) -> list[str]:
        """How each value is written in one notation."""
        return [
            "" if k == self.blank else text_of(value, way, f"values[{k}]")
            for k, value in enumerate(values)
        ]

    def _way(self, texts: Sequence[str], every: Sequence[str]) -> Way:
        """Texts, told by what may stand in any of all these."""
        signs = Signs(self.reading.characters.labels, sorted(set("".join(every))))
        check_signs(signs)
        return signs, signs.spelled(texts)

    def costs(self, seen: Given) -> np.ndarray:  # (B, n, h, w) -> (B, n, k)
        values, present = (x.cpu().numpy() for x in seen)
        out = np.zeros((*values.shape[:2], self.count))
        for row in range(len(values)):
            if row and same_pictures(values, present, row):
                out[row] = out[row - 1]
                continue
            reads = self.reading.reads(values[row, present[row]].astype(np.float32))
            chosen = self._chosen(reads)
            dear = chosen - chosen[:, self.shown].min(1, initial=np.inf)[:, None] > self.within
            out[row, present[row]] = np.where(dear, np.inf, chosen)
            if self.blank is not None:
                out[row, present[row], self.blank] = np.inf
        return out

    def _chosen(self, reads: Sequence[Read]) -> np.ndarray:
        """The price of each value in each picture, in the notation that costs less: told by the
        chances of all signs of both, as each alone takes what it lacks for what it has. -> (m, k)
        """
        least = []
        for way in self.shared if len(self.ways) > 1 else ():
            prices = self._prices(way, reads)
            least.append(prices[:, self.shown].min(1, initial=np.inf).sum())
        return self._prices(self.ways[int(np.argmin(least)) if least else 0], reads)

    def _prices(self, way: Way, reads: Sequence[Read]) -> np.ndarray:  # -> (m, k)
        every = [text_prices(read, *way, self.count) for read in reads]
        return np.array(every).reshape(len(reads), self.count)

    @property
    def shown(self) -> list[int]:
        """The values that a picture may show."""
        return [k for k in range(self.count) if k != self.blank]

    def energy(self, seen: Given, *numbers: Tensor) -> Tensor:  # (B, *shape, k) -> (B,)
        x = self.layout.aligned(numbers)
        told = torch.from_numpy(self.costs(seen)).to(x)
        shut = told.isinf()
        total = (told.masked_fill(shut, 0.0) * x).sum((1, 2))
        return total.masked_fill((shut & (x > 0)).any(2).any(1), torch.inf)

    def factors(self, *domains: Domain) -> Factors:
        told: Any = domains[0]
        return Factors.unary(self.costs(Given(told.tensor, told.present)))

    def floor(self) -> float:
        return 0.0

    @classmethod
    def example(cls) -> "Numeral":
        pictures = Input("pictures", Real((2, HIGH, 32), 0.0, 1.0))
        numbers = Variable("numbers", Finite((1, 2, 13), (2,)))
        return cls(pictures, numbers, weights=WEIGHTS)

    @classmethod
    def examples(cls, rng: random.Random, scope: Sequence[Variable] = ()) -> Iterator["Numeral"]:
        while not scope:
            n = rng.randint(1, 3)
            pictures = Input("pictures", Real((n, HIGH, 32), 0.0, 1.0))
            values = tuple(rng.sample(range(17), rng.randint(1, 4)))
            numbers = Variable("numbers", Finite(values, (n,)))
            way = rng.choice(get_args(Notation))
            yield cls(pictures, numbers, weights=WEIGHTS, notation=way)

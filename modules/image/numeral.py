"""Numbers read from strips of ink: what each value of a site costs, given its picture."""

import math
import random
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, get_args

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from engine.decimals import Floats, Ints
from engine.domain import Domain, Finite, Given, Input, Real, Variable, View
from engine.energy import Term
from engine.errors import BadQuery, Mistake
from engine.factors import Factors
from modules.image._boards.hand import with_sizes
from modules.image._boards.reading import (
    LETTERS,
    SHUT,
    UNIT,
    WEIGHTS,
    Read,
    Signs,
    check_signs,
    check_sizes,
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
    sites; an absent one costs nothing. Affine: one table over each site.

    A second input (n,) may tell how large the ink of each picture is, all by one measure: where
    numbers are written with letters, digits and letters of one row are then told apart by their
    sizes too, as one hand writes either at about one size. BadQuery: pictures of another height or
    number, values that are no numbers that can be written so, weights that lack a sign.
    """

    affine = True
    calibrated = True
    partial = True
    fixed_structure = True

    def __init__(
        self,
        pictures: Input | View,
        *scope: Input | Variable | View,
        weights: str,
        notation: Notation = "decimal",
        blank: Any = None,
        within: float | None = None,
    ):
        super().__init__(pictures, *scope)
        self.sized = any(isinstance(view.variable, Input) for view in self.scope[1:2])
        self.layout = Layout(self.scope[2 if self.sized else 1 :])
        check_strips(self.scope[0], self.layout.sites)
        if self.sized:
            check_sizes(self.scope[1], self.layout.sites)
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
        self.kinds = [np.array([text in LETTERS for text in own], np.int64) for own in texts]
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

    def costs(self, seen: Given, sizes: Given | None = None) -> np.ndarray:
        """The price of each value at each site. (B, n, h, w), (B, n) -> (B, n, k)"""
        values, present = (x.cpu().numpy() for x in seen)
        large = np.full(present.shape, np.nan) if sizes is None else _known(sizes)
        out = np.zeros((*values.shape[:2], self.count))
        for row in range(len(values)):
            alike = row and np.array_equal(large[row], large[row - 1], equal_nan=True)
            if alike and same_pictures(values, present, row):
                out[row] = out[row - 1]
                continue
            there = present[row]
            chosen = self._chosen(
                self.reading.reads(values[row, there].astype(np.float32)), large[row, there]
            )
            dear = chosen - chosen[:, self.shown].min(1, initial=np.inf)[:, None] > self.within
            out[row, there] = np.where(dear, np.inf, chosen)
            if self.blank is not None:
                out[row, there, self.blank] = np.inf
        return out

    def _chosen(self, reads: Sequence[Read], sizes: Floats) -> np.ndarray:
        """The price of each value in each picture, in the notation that costs less: told by the
        chances of all signs of both, as each alone takes what it lacks for what it has. -> (m, k)
        """
        least = []
        for way in self.shared if len(self.ways) > 1 else ():
            prices = self._prices(way, reads)
            least.append(prices[:, self.shown].min(1, initial=np.inf).sum())
        which = int(np.argmin(least)) if least else 0
        return self._sized(self._prices(self.ways[which], reads), self.kinds[which], sizes)

    def _prices(self, way: Way, reads: Sequence[Read]) -> np.ndarray:  # -> (m, k)
        every = [text_prices(read, *way, self.count) for read in reads]
        return np.array(every).reshape(len(reads), self.count)

    def _sized(self, prices: Floats, kinds: Ints, sizes: Floats) -> Floats:
        """Prices of the values that a picture may show, by its size too. (m, k), (m,) -> (m, k)"""
        out = prices.copy()
        told = with_sizes(prices[:, self.shown], kinds[self.shown], sizes)
        out[:, self.shown] = np.round(np.clip(told, 0.0, SHUT) * UNIT) / UNIT
        return out

    @property
    def shown(self) -> list[int]:
        """The values that a picture may show."""
        return [k for k in range(self.count) if k != self.blank]

    def energy(self, seen: Given, *rest: Any) -> Tensor:  # (B, *shape, k) each -> (B,)
        sizes, numbers = (rest[0], rest[1:]) if self.sized else (None, rest)
        x = self.layout.aligned(numbers)
        told = torch.from_numpy(self.costs(seen, sizes)).to(x)
        shut = told.isinf()
        total = (told.masked_fill(shut, 0.0) * x).sum((1, 2))
        return total.masked_fill((shut & (x > 0)).any(2).any(1), torch.inf)

    def factors(self, *domains: Domain) -> Factors:
        told: Any = domains[: 1 + self.sized]
        return Factors.unary(self.costs(*(Given(one.tensor, one.present) for one in told)))

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
            sizes = [Input("sizes", Real((n,), 0.0, 1.0))] if rng.random() < 0.5 else []
            way = rng.choice(get_args(Notation))
            yield cls(pictures, *sizes, numbers, weights=WEIGHTS, notation=way)


def _known(sizes: Given) -> Floats:
    """Sizes, nan where they are not told. -> (B, n)"""
    values, present = (x.cpu().numpy() for x in sizes)
    return np.where(present, values.astype(np.float64), np.nan)

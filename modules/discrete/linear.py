"""A weighted sum of literals is at most, at least, or exactly a constant."""

import math
import random
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any
from typing import Literal as OneOf

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from engine.decimals import decimal
from engine.domain import Domain, Finite, Variable, View
from engine.errors import BadQuery, Mistake, known
from engine.factors import Factors, Sums, floats
from modules.parameters import Number, Strict, WeighedLiteral
from modules.shared.examples import literal, scope_of, values_of
from modules.shared.literals import read_literals
from modules.shared.sites import NAMED, OverSites, finite, read_lists

COMPARE = {"<=": "at most", ">=": "at least", "==": "exactly"}
LARGEST = 2**61  # of the sum of magnitudes, as whole numbers; above, a tolerance compares
ALLOWED = 1e-9  # of the sum of all magnitudes, then
PLACES = 10**12  # a larger common denominator comes from computed numbers
SINGLE = 2**52  # of the sum of magnitudes, below which float64 holds every sum
LOW = 1 << 30  # whole numbers are summed as multiples of this, and what is left over
STRICT = {
    "<": "write <= with a smaller constant; known: <=, ==, >=",
    ">": "write >= with a larger constant; known: <=, ==, >=",
}


class Parameters(Strict):
    """A linear comparison."""

    terms: list[WeighedLiteral] = Field(
        description="[site, value, coefficient]: the coefficient counts where the site has the "
        "value; coefficients of a repeated literal add up."
    )
    compare: OneOf["<=", ">=", "=="] = Field(description="How the sum compares to the constant.")
    constant: Number = Field(description="What the sum is compared to.")


class Linear(OverSites):
    """sum of coefficient * [site = value] <= constant (or >=, or ==).

    E = the amount by which the expected sum misses: max(0, sum - constant), max(0, constant - sum)
    or |sum - constant|; one part. Not affine; in the unit of the coefficients. Numbers count as
    the decimals they are written as (0.1 + 0.2 == 0.3 holds), whole ones as they are; where a
    computed number such as 1 / 3 is among them, one of more than twelve decimal places, or their
    sum has more than eighteen digits, a miss below 1e-9 of the sum of magnitudes is none.
    BadQuery: a site out of range, an unknown value, a number that is not finite, no terms at all.
    """

    affine = False
    tolerance = 0.0  # decided states are compared exactly

    def __init__(
        self, *scope: Variable | View, terms: Sequence[Any], compare: str, constant: float
    ):
        super().__init__(*scope)
        read = read_lists(terms, "terms")
        if compare not in COMPARE:
            remedy = STRICT.get(compare) or known(compare, COMPARE)
            raise BadQuery(Mistake("compare", f"{compare!r} is unknown", remedy))
        if not finite(constant):
            raise BadQuery(
                Mistake("constant", f"{constant!r} is no finite number", "give a finite number")
            )
        if not read:
            raise BadQuery(Mistake("terms", "is empty", "name at least one literal"))
        site, place, numbers = read_literals(self.layout, read, "terms[{}]".format, float)
        self.compare, self.constant = compare, decimal(constant)
        self.site, self.place = site, place
        self.plain = list(
            zip(
                site.tolist(),
                self.layout.values_at(site, place),
                map(decimal, numbers),
                strict=True,
            )
        )
        every = [self.constant, *(c for _, _, c in self.plain)]
        size = sum(map(abs, every), Fraction(0))
        scale = math.lcm(*(x.denominator for x in every))
        exact = scale <= PLACES and size * scale < LARGEST
        self.allowed = Fraction(0) if exact else Fraction(ALLOWED) * size
        self.scale = Fraction(scale) if exact else _power_below(size)
        self._column = torch.from_numpy(self.layout.offset[site] + place)
        whole = [round(x * self.scale) for x in every]
        parts = _split if size * self.scale >= SINGLE else _single
        self._goal, *self._factor = (parts(x) for x in whole)

    def energy(self, *tensors: Tensor) -> Tensor:  # (B, *shape, k) -> (B,) float64
        x = self.layout.columns(tensors).double()
        factor = torch.tensor(self._factor, dtype=torch.float64, device=x.device)  # (m, 2)
        goal = torch.tensor(self._goal, dtype=torch.float64, device=x.device)
        # whole numbers, long ones in two halves, so that decided states are compared exactly
        miss = (x[:, self._column.to(x.device)] @ factor - goal).sum(-1)
        if self.compare != "<=":
            miss = -miss if self.compare == ">=" else miss.abs()
        miss = miss / float(self.scale)
        return torch.where(miss > float(self.allowed), miss, torch.zeros_like(miss))

    def holds(self, *values: Any) -> bool:
        return self._miss(self._sum(values)) <= self.allowed

    def _sum(self, values: Sequence[Any]) -> Fraction:
        flat = self.layout.flat(values)
        return sum((c for s, v, c in self.plain if flat[s] == v), Fraction(0))

    def _miss(self, total: Fraction) -> Fraction:
        over = total - self.constant
        if self.compare == "==":
            return abs(over)
        return over if self.compare == "<=" else -over

    def factors(self, *domains: Domain) -> Factors:
        site, place, coefficient = self.site, self.place, [c for _, _, c in self.plain]
        constant = self.constant
        if not self.allowed and any(map(_long, coefficient)):
            halves = [_split(int(c)) for c in coefficient]
            site, place = np.tile(site, 2), np.tile(place, 2)
            coefficient = [Fraction(h[k]) for k in (0, 1) for h in halves]
        if not self.allowed and _long(constant):
            # every value of a site counts what is left over of the constant
            constant, left = (Fraction(half) for half in _split(int(constant)))
            first = int(self.site[0])
            values = np.arange(int(self.layout.sizes[first]))
            site = np.concatenate([site, np.full(len(values), first)])
            place = np.concatenate([place, values])
            coefficient = [*coefficient, *[-left] * len(values)]
        low = constant - self.allowed if self.compare != "<=" else -math.inf
        high = constant + self.allowed if self.compare != ">=" else math.inf
        one = np.zeros(1, dtype=np.int64)
        sums = Sums(
            np.array([0, len(site)]),
            site,
            place,
            one,
            one,
            floats(map(float, coefficient)),
            floats([float(low)]),
            floats([float(high)]),
        )
        return self.made(domains, sums=sums)

    def floor(self) -> float:
        return 0.0

    def says(self, part: int) -> str:
        del part
        terms = [f"{float(c):g} if {self.layout.at(s, v)}" for s, v, c in self.plain[:NAMED]]
        more = f" + {len(self.plain) - NAMED} others" if len(self.plain) > NAMED else ""
        return f"{' + '.join(terms)}{more} {COMPARE[self.compare]} {float(self.constant):g}"

    def explain(self, *values: Any) -> list[str]:
        total = self._sum(values)
        if self._miss(total) <= self.allowed:
            return []
        asked = f"{COMPARE[self.compare]} {float(self.constant):g}"
        flat = self.layout.flat(values)
        counted = [self.layout.at(s, v) for s, v, c in self.plain if flat[s] == v and c]
        terms = "; ".join(counted[:NAMED]) + ("; ..." if len(counted) > NAMED else "")
        return [f"the sum is {float(total):g}, not {asked} ({terms or 'no literal holds'})"]

    @classmethod
    def example(cls) -> "Linear":
        x = Variable("x", Finite((0, 1, 2), (3,)))
        terms = [(s, v, 0.5 * v) for s in range(3) for v in (1, 2)]
        return cls(x, terms=terms, compare="<=", constant=1.5)

    @classmethod
    def examples(cls, rng: random.Random, scope: Sequence[Variable] = ()) -> Iterator["Linear"]:
        numbers = [1, 2, -1, -3, 0.1, 0.2, 0.25, -1.5]
        while True:
            own = scope or scope_of(rng)
            values = values_of(own)
            yield cls(
                *own,
                terms=[
                    (*literal(rng, values), rng.choice(numbers)) for _ in range(rng.randint(1, 5))
                ],
                compare=rng.choice(list(COMPARE)),
                constant=rng.choice([0, 1, 2, -1, 0.3, 0.5]),
            )


def _single(number: int) -> tuple[float, ...]:
    """A whole number whose sums float64 holds."""
    return (float(number),)


def _long(number: Fraction) -> bool:
    """A whole number that float64 holds in two halves only."""
    return number.denominator == 1 and int(float(number.numerator)) != number.numerator


def _split(number: int) -> tuple[float, ...]:
    """A whole number as a multiple of LOW and what is left over; sums of either are exact."""
    left = number % LOW
    return float(number - left), float(left)


def _power_below(size: Fraction) -> Fraction:
    """A power of two that scales `size` to a whole number of about 60 bits."""
    power = 60 - size.numerator.bit_length() + size.denominator.bit_length()
    return Fraction(2) ** power

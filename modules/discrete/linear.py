"""A weighted sum of literals is at most, at least, or exactly a constant."""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any
from typing import Literal as OneOf

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from engine.domain import Domain, Finite, Variable, View
from engine.errors import BadQuery, Mistake, known
from engine.factors import Factors, Sums, floats
from modules.discrete.literals import read_literals
from modules.parameters import Number, Strict, WeighedLiteral
from modules.sites import NAMED, OverSites, finite, read_lists

COMPARE = {"<=": "at most", ">=": "at least", "==": "exactly"}
STRICT = {
    "<": "write <= with a smaller constant; known: <=, ==, >=",
    ">": "write >= with a larger constant; known: <=, ==, >=",
}
DIGITS = 2**40  # a larger common denominator than this is compared with a tolerance
TOLERANCE = 1e-9  # of the sum of all magnitudes, then


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
    the decimals they are written as (0.1 + 0.2 == 0.3 holds); where those need more than twelve
    digits, a miss below 1e-9 of the sum of magnitudes is none. BadQuery: a site out of range, an
    unknown value, a number that is not finite, no terms at all.
    """

    affine = False

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
        self.compare, self.constant = compare, float(constant)
        self.site, self.place, self.coefficient = site, place, floats(numbers)
        self.plain = list(
            zip(
                site.tolist(),
                self.layout.values_at(site, place),
                map(_decimal, numbers),
                strict=True,
            )
        )
        self.scale = math.lcm(
            _decimal(constant).denominator, *(c.denominator for _, _, c in self.plain)
        )
        exact = self.scale <= DIGITS and np.abs(self.coefficient).sum() * self.scale < 2**52
        size = abs(self.constant) + float(np.abs(self.coefficient).sum())
        self.tolerance = 0.0 if exact else TOLERANCE * size
        self.scale = self.scale if exact else 1
        self._column = torch.from_numpy(self.layout.offset[site] + place)
        self._factor = torch.tensor([float(c * self.scale) for _, _, c in self.plain]).double()
        self._goal = float(_decimal(constant) * self.scale)

    def energy(self, *tensors: Tensor) -> Tensor:  # (B, *shape, k) -> (B,) float64
        x = self.layout.columns(tensors).double()
        factor = self._factor.to(x.device)
        # whole numbers after scaling, so that decided states are compared exactly
        miss = (x[:, self._column.to(x.device)] * factor).sum(-1) - self._goal
        if self.compare != "<=":
            miss = -miss if self.compare == ">=" else miss.abs()
        miss = miss / self.scale
        return torch.where(miss > self.tolerance, miss, torch.zeros_like(miss))

    def holds(self, *values: Any) -> bool:
        return self._miss(self._sum(values)) <= Fraction(self.tolerance)

    def _sum(self, values: Sequence[Any]) -> Fraction:
        flat = self.layout.flat(values)
        return sum((c for s, v, c in self.plain if flat[s] == v), Fraction(0))

    def _miss(self, total: Fraction) -> Fraction:
        over = total - _decimal(self.constant)
        if self.compare == "==":
            return abs(over)
        return over if self.compare == "<=" else -over

    def factors(self, *domains: Domain) -> Factors:
        low, high = -math.inf, math.inf
        if self.compare != "<=":
            low = self.constant - self.tolerance
        if self.compare != ">=":
            high = self.constant + self.tolerance
        one = np.zeros(1, dtype=np.int64)
        sums = Sums(
            np.array([0, len(self.site)]),
            self.site,
            self.place,
            one,
            one,
            self.coefficient,
            floats([low]),
            floats([high]),
        )
        return self.made(domains, sums=sums)

    def floor(self) -> float:
        return 0.0

    def says(self, part: int) -> str:
        del part
        terms = [f"{float(c):g} if {self.layout.at(s, v)}" for s, v, c in self.plain[:NAMED]]
        more = f" + {len(self.plain) - NAMED} others" if len(self.plain) > NAMED else ""
        return f"{' + '.join(terms)}{more} {COMPARE[self.compare]} {self.constant:g}"

    def explain(self, *values: Any) -> list[str]:
        total = self._sum(values)
        if self._miss(total) <= Fraction(self.tolerance):
            return []
        asked = f"{COMPARE[self.compare]} {self.constant:g}"
        flat = self.layout.flat(values)
        counted = [self.layout.at(s, v) for s, v, c in self.plain if flat[s] == v and c]
        terms = "; ".join(counted[:NAMED]) + ("; ..." if len(counted) > NAMED else "")
        return [f"the sum is {float(total):g}, not {asked} ({terms or 'no literal holds'})"]

    @classmethod
    def example(cls) -> "Linear":
        x = Variable("x", Finite((0, 1, 2), (3,)))
        terms = [(s, v, 0.5 * v) for s in range(3) for v in (1, 2)]
        return cls(x, terms=terms, compare="<=", constant=1.5)


def _decimal(number: float) -> Fraction:
    """The decimal that a number is written as, exactly."""
    return Fraction(repr(float(number)))

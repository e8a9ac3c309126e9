"""Costs as whole numbers of one unit, so that sums and comparisons of decimals are exact.

A float stands for the shortest decimal that is written for it: 0.1 is one tenth. Where the
decimals of an energy have a common denominator under which its largest total stays below 2^61,
everything is counted in that unit and nothing is rounded. Elsewhere the unit is a power of two,
and `Scale.error` says how far a total may lie from its decimals. A cost at a weight is the product
of their decimals, whatever float lies next to it (`Products`).
"""

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.errors import BadQuery, Mistake

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LARGEST = 2**61  # of a total, in units
LONG = 2**160  # of a total in units of any size
FINE = 2**51  # totals below are told apart by float64, whatever their unit
DIGITS = 10**15  # whole numbers below, over a power of ten, are the shortest decimal of a float
MOST = 1e300  # of the total of all costs
LONGEST = 1000  # a unit is less than 2^1000 and so a float64
LARGEST_FLOAT = sys.float_info.max
TENS = 22  # powers of ten up to 10^22 are exact in float64
MANY = 50_000  # numbers that are read one by one
FEW = 4_096  # numbers of a table that is read together with others


def decimal(number: float) -> Fraction:
    """The shortest decimal of a float, exactly; whole numbers, as all floats from 2^53 on are, are
    what they are."""
    if isinstance(number, int) or abs(number) >= 2**53:
        return Fraction(number)
    return Fraction(repr(float(number)))


@dataclass(frozen=True)
class Scale:
    """The unit in which the costs of an energy are counted.

    unit: so many units make a cost of 1. error: units by which a total may lie from its decimals;
    0 where they are exact. total: a bound of the magnitude of any total, in units.
    """

    unit: Fraction = Fraction(1)
    error: int = 0
    total: int = 0

    @property
    def fine(self) -> bool:
        """Exact, and different totals are different float64 numbers."""
        return self.error == 0 and self.total < FINE

    @property
    def off(self) -> float:
        """How far a total in units may lie from its decimals, as a cost: 0 where units are exact.
        Of the size of all costs, not of those that are compared."""
        return float(self.error / self.unit)

    @property
    def long(self) -> bool:
        """Totals are more than 64 bits hold: they are counted in whole numbers of Python."""
        return self.total >= LARGEST

    def units(self, costs: Floats, read: Callable[[float], Fraction] = decimal) -> Ints:
        """Finite costs as whole numbers of units: of the number that a float stands for, as `read`
        says, where units are exact; else of the float."""
        unit, kind = self.unit, object if self.long else np.int64
        most = np.abs(costs).max(initial=0.0)
        if not self.error and unit <= 10**TENS and most * float(unit) < FINE / 2:
            return np.rint(costs * float(unit)).astype(np.int64).astype(kind)
        power = unit.numerator.bit_length() - unit.denominator.bit_length()
        if self.error or (read is Fraction and unit == Fraction(2) ** power and not self.long):
            return np.rint(np.ldexp(costs, power)).astype(np.int64)
        distinct, place = np.unique(costs, return_inverse=True)
        counts = [round(read(x) * unit) for x in distinct.tolist()]
        return np.array(counts, dtype=kind)[place].reshape(costs.shape)

    def value(self, units: int) -> float:
        """A number of units as a cost: the nearest float64."""
        return _nearest(Fraction(int(units)) / self.unit)

    def values(self, units: Ints) -> Floats:
        """Numbers of units as costs, each the nearest float64."""
        if self.unit.denominator == 1 and int(self.unit) < 2**53 and self.total < 2**53:
            return units / float(int(self.unit))
        return np.array([self.value(u) for u in units.reshape(-1).tolist()]).reshape(units.shape)

    def below(self, units: int) -> float:
        """A number of units that is proved to be a bound, as a cost that surely is one."""
        bound = self.value(int(units) - self.error)
        return bound if self.fine else math.nextafter(bound, -math.inf)

    def sum_below(self, cost: float) -> float:
        """A float64 sum of costs that is meant as a bound, as one that surely is."""
        if self.fine and math.isfinite(cost):
            return self.value(round(cost * float(self.unit)))
        return surely_below(cost)

    def rounded(self, cost: Fraction) -> int:
        """The number of units next to a cost."""
        return round(cost * self.unit)

    def from_on(self, cost: float | Fraction) -> int:
        """The number of units from which on no total lies below this cost."""
        return math.ceil(Fraction(cost) * self.unit) + self.error


@dataclass(frozen=True, eq=False)
class Products:
    """Floats that stand for products of several decimals, which have more digits than a float.

    Where two products have one nearest float, it stands for itself: they are not told apart.
    """

    weights: tuple[float, ...]  # in the order in which they were multiplied with
    floats: Floats  # (K,) each next to its product
    written: Floats  # (K,) what is multiplied with all weights

    @cached_property
    def _exact(self) -> dict[float, Fraction]:
        weight = math.prod((decimal(own) for own in self.weights), start=Fraction(1))
        each = zip(self.floats.tolist(), self.written.tolist(), strict=True)
        return {x: weight * decimal(own) for x, own in each}

    def read(self, number: float) -> Fraction:
        """What a float stands for: one that is no product, for its decimal."""
        exact = self._exact.get(number)
        return decimal(number) if exact is None else exact

    @staticmethod
    def joined(every: "Sequence[Products]") -> "Products | None":
        """Several of the same weights as one; None where a float stands for two products."""
        pairs = np.concatenate([np.stack([own.floats, own.written], 1) for own in every])
        pairs = np.unique(pairs, axis=0)
        if len(np.unique(pairs[:, 0])) < len(pairs):
            return None
        return Products(every[0].weights, pairs[:, 0], pairs[:, 1])


def surely_below(bound: float) -> float:
    """A bound that was summed in float64, lowered by more than the sum was rounded."""
    return bound - abs(bound) * 2.0**-40 if math.isfinite(bound) else bound


class Paid(NamedTuple):
    """What is paid so many times: one of these costs (n,), or of (times, n) one of each list."""

    times: int
    costs: Floats
    computed: bool = False  # they are no decimals but floats
    products: Products | None = None  # what they stand for where they are products


def scale_of(costs: Iterable[Paid], limit: int = LARGEST) -> Scale:
    """The scale of an energy that pays one of the finite costs of each entry, as often as it says.

    Units are exact where they keep its total below `limit`.
    """
    entries = [entry for entry in costs if entry.costs.size]
    if not entries:
        return Scale(Fraction(1), 0, 0)
    flat = [entry.costs.reshape(-1) for entry in entries]
    every = np.abs(np.concatenate([np.zeros(0), *flat]))
    first = np.cumsum([0, *map(len, flat)])[:-1]
    largest = np.maximum.reduceat(np.where(np.isfinite(every), every, 0.0), first)
    paid, total = 0, Fraction(0)
    decimals: list[Floats] = []
    computed: list[Floats] = []
    denominators: set[int] = set()  # of products
    for entry, most in zip(entries, largest.tolist(), strict=True):
        if most:
            paid += entry.times
            total += entry.times * Fraction(most) if entry.costs.ndim == 1 else _most(entry.costs)
            values = entry.costs.reshape(-1)
            if entry.products is None:
                (computed if entry.computed else decimals).append(values)
            else:
                exact = map(entry.products.read, _distinct([values]).tolist())
                denominators.update(number.denominator for number in exact)
    if total >= MOST:
        raise BadQuery(
            Mistake("terms", f"their costs add up to more than {MOST:g}", "give a larger unit")
        )
    unit = _unit(decimals, computed, denominators, total, limit)
    if unit is not None:
        return Scale(Fraction(unit), 0, math.ceil(total * unit))
    power = min(LONGEST, LARGEST.bit_length() - 3 - _log2(total))
    fraction = Fraction(2) ** power
    reach = math.ceil(total * fraction)
    # a half for rounding each, and half of the last bit that floats lie from their decimals
    read = (reach >> 53) + 1 if decimals or denominators else 0
    return Scale(fraction, paid + read, reach + paid)


def _most(lists: Floats) -> Fraction:
    """At least the sum of the largest finite magnitudes of several lists, or `MOST`. (m, n)"""
    largest = np.minimum(np.abs(np.where(np.isfinite(lists), lists, 0.0)).max(1), MOST)
    return Fraction(math.nextafter(math.fsum(largest.tolist()), math.inf))


def _unit(
    decimals: list[Floats],
    computed: list[Floats],
    denominators: set[int],
    total: Fraction,
    limit: int,
) -> int | None:
    """The least number that makes all finite ones of these whole; None where that takes too long,
    or where a total would not stay below `limit`."""
    most = min(limit / total, Fraction(2**LONGEST)) if total else Fraction(2**LONGEST)
    unit = math.lcm(_binary(_distinct(computed)) if computed else 1, *denominators)
    few = _distinct([x for x in decimals if len(x) < FEW])
    pooled = np.array_split(few, len(few) // MANY + 1)
    for values in (*pooled, *(_distinct([x]) for x in decimals if len(x) >= FEW)):
        own = denominator(values, most)
        if own is None:
            return None
        unit = math.lcm(unit, own)
    return unit if unit < most else None


def _distinct(values: list[Floats]) -> Floats:
    """All finite numbers of several lists, in order."""
    every = np.concatenate([np.zeros(0), *values])
    return np.unique(every[np.isfinite(every)])


def _log2(number: Fraction) -> int:
    """A whole number that is at least the logarithm."""
    return number.numerator.bit_length() - number.denominator.bit_length() + 1


def denominator(values: Floats, most: Fraction | None = None) -> int | None:
    """The least number that makes all these decimals whole; None where that takes too long, or
    where it is found to be `most` or more on the way."""
    tens = _tens(values)
    if tens is not None:
        whole, power = tens
        return 10**power // math.gcd(10**power, int(np.gcd.reduce(whole, initial=0)))
    if len(values) > MANY:
        return None
    out = 1
    for x in values.tolist():
        out = math.lcm(out, decimal(x).denominator)
        if most is not None and out >= most:
            return None
    return out


def _binary(values: Floats) -> int:
    """The least power of two that makes all these floats whole, as the binary numbers they are."""
    mantissa, exponent = np.frexp(values)
    whole = np.ldexp(mantissa, 53).astype(np.int64)  # values = whole * 2^(exponent - 53)
    twos = np.frexp((whole & -whole).astype(np.float64))[1] - 1  # that divide it; -1 where it is 0
    places = np.where(whole == 0, 0, 53 - exponent - twos)
    return 1 << max(0, int(places.max(initial=0)))


def _tens(values: Floats) -> tuple[Ints, int] | None:
    """Decimals as whole numbers over the least power of ten; None where they have more than 15
    digits."""
    largest = float(np.abs(values).max(initial=0.0))
    for power in range(TENS + 1):
        ten = float(10**power)
        if largest >= DIGITS / ten:
            return None
        scaled = np.rint(values * ten)
        if (scaled / ten == values).all():
            return scaled.astype(np.int64), power
    return None


def added(values: Floats) -> Fraction:
    """The sum of decimals."""
    if (np.rint(values) == values).all() and np.abs(values).sum() < FINE:
        return Fraction(int(values.sum()))
    tens = _tens(values)
    if tens is not None:
        return Fraction(sum(tens[0].tolist()), 10 ** tens[1])
    return sum(map(decimal, values.tolist()), Fraction(0))


def added_floats(values: Floats) -> Fraction:
    """The sum of floats, as the binary numbers they are."""
    mantissa, exponent = np.frexp(values)
    whole = np.ldexp(mantissa, 53).astype(np.int64)  # values = whole * 2^(exponent - 53)
    least = int(exponent.min(initial=0))
    shifted = zip(whole.tolist(), (exponent - least).tolist(), strict=True)
    return Fraction(sum(x << k for x, k in shifted)) * Fraction(2) ** (least - 53)


def whole(values: Floats, unit: int) -> list[int]:
    """Finite decimals times `unit`, where that makes them whole, exactly."""
    if unit < FINE and float(np.abs(values).max(initial=0.0)) * unit < FINE / 2:
        return np.rint(values * float(unit)).astype(np.int64).tolist()
    return [int(decimal(x) * unit) for x in values.tolist()]


def times(
    weight: float, costs: Floats, before: Products | None = None
) -> tuple[Floats, Products | None]:
    """The floats next to the decimals of weight * cost, and what they stand for where these are not
    all decimals of floats: told for up to `MANY` different costs, more of them are floats.

    Infinite costs stay infinite. before: what the costs stand for
    """
    if weight == 1:
        return costs, before
    short = short_times(weight, costs) if before is None else None
    if short is not None:
        return short, None
    finite = np.isfinite(costs)
    distinct, place = np.unique(np.where(finite, costs, 0.0), return_inverse=True)
    products = None
    if len(distinct) > MANY:
        out = weight * distinct
    else:
        out, products = _products(weight, distinct, before)
    return np.where(finite, out[place].reshape(costs.shape), costs), products


def short_times(weight: float, costs: Floats) -> Floats | None:
    """The decimals of weight * cost, where they have so few digits that all are decimals of floats;
    None: they have more. Infinite costs stay infinite."""
    finite = np.isfinite(costs)
    distinct, place = np.unique(np.where(finite, costs, 0.0), return_inverse=True)
    one, many = _tens(np.array([weight])), _tens(distinct)
    if one is None or many is None or one[1] + many[1] > TENS:
        return None
    number = one[0].astype(object)[0] * many[0].astype(object)
    if max(map(abs, number), default=0) >= DIGITS:
        return None
    out = number.astype(np.float64) / float(10 ** (one[1] + many[1]))
    return np.where(finite, out[place].reshape(costs.shape), costs)


def _products(
    weight: float, costs: Floats, before: Products | None
) -> tuple[Floats, Products | None]:
    """The floats next to products of distinct decimals, or of products of these."""
    read = decimal if before is None else before.read
    exact = [decimal(weight) * read(x) for x in costs.tolist()]
    out = np.array([_nearest(x) for x in exact])
    if all(decimal(a) == b for a, b in zip(out.tolist(), exact, strict=True)):
        return out, None
    weights: tuple[float, ...] = (weight,)
    written = costs
    if before is not None:
        known = dict(zip(before.floats.tolist(), before.written.tolist(), strict=True))
        if not all(x in known or x == 0 for x in costs.tolist()):
            return out, None  # some are floats already, and so are all from now on
        written = np.array([known.get(x, 0.0) for x in costs.tolist()])
        weights = (*before.weights, weight)
    _, which, often = np.unique(out, return_inverse=True, return_counts=True)
    alone = (often[which] == 1) & (out != 0)
    return out, Products(weights, out[alone], written[alone])


def _nearest(number: Fraction) -> float:
    """The nearest float64; the largest one beyond it."""
    try:
        return float(number)
    except OverflowError:
        return LARGEST_FLOAT if number > 0 else -LARGEST_FLOAT

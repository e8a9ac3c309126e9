"""Costs as whole numbers of one unit, so that sums and comparisons of decimals are exact.

A float stands for the shortest decimal that is written for it: 0.1 is one tenth. Where the
decimals of an energy have a common denominator under which its largest total stays below 2^61,
everything is counted in that unit and nothing is rounded. Elsewhere the unit is a power of two,
and `Scale.error` says how far a total may lie from its decimals.
"""

import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from engine.errors import BadQuery, Mistake

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LARGEST = 2**61  # of a total, in units
WIDEST = 2**160  # of a total in units of any size
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
    def slack(self) -> float:
        """How far two totals that are level in units may lie apart: 0 where units are exact."""
        if not self.error:
            return 0.0
        return float((2 * self.error + (self.total >> 51) + 2) / self.unit)

    @property
    def wide(self) -> bool:
        """Totals are more than 64 bits hold: they are counted in whole numbers of Python."""
        return self.total >= LARGEST

    def units(self, costs: Floats, read: Callable[[float], Fraction] = decimal) -> Ints:
        """Finite costs as whole numbers of units: of the number that a float stands for, as `read`
        says, where units are exact; else of the float."""
        unit, kind = self.unit, object if self.wide else np.int64
        most = np.abs(costs).max(initial=0.0)
        if not self.error and unit <= 10**TENS and most * float(unit) < FINE / 2:
            return np.rint(costs * float(unit)).astype(np.int64).astype(kind)
        power = unit.numerator.bit_length() - unit.denominator.bit_length()
        if self.error or (read is Fraction and unit == Fraction(2) ** power and not self.wide):
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


def surely_below(bound: float) -> float:
    """A bound that was summed in float64, lowered by more than the sum was rounded."""
    return bound - abs(bound) * 2.0**-40 if math.isfinite(bound) else bound


def scale_of(costs: Iterable[tuple[int, Floats, float, bool]], limit: int = LARGEST) -> Scale:
    """The scale of an energy that pays, for each entry, `count` times one of its finite costs.

    (count, costs (n,), error, computed): each may lie so far from the decimal that it stands for;
    computed ones are no decimals but floats. Of costs (count, n) it pays one of each list. Units
    are exact where they keep its total below `limit`.
    """
    entries = [entry for entry in costs if entry[1].size]
    if not entries:
        return Scale(Fraction(1), 0, 0)
    flat = [values.reshape(-1) for _, values, _, _ in entries]
    every = np.abs(np.concatenate([np.zeros(0), *flat]))
    first = np.cumsum([0, *map(len, flat)])[:-1]
    largest = np.maximum.reduceat(np.where(np.isfinite(every), every, 0.0), first)
    paid, off, total, exact = 0, 0.0, Fraction(0), True
    decimals: list[Floats] = []
    computed: list[Floats] = []
    for (count, values, error, binary), most in zip(entries, largest.tolist(), strict=True):
        if most:
            paid += count
            off += count * error
            total += count * Fraction(most) if values.ndim == 1 else _most(values)
            exact = exact and not error
            (computed if binary else decimals).append(values.reshape(-1))
    if total >= MOST:
        raise BadQuery(
            Mistake("terms", f"their costs add up to more than {MOST:g}", "give a larger unit")
        )
    unit = _unit(decimals, computed, total, limit) if exact else None
    if unit is not None:
        return Scale(Fraction(unit), 0, math.ceil(total * unit))
    power = min(LONGEST, LARGEST.bit_length() - 3 - _log2(total))
    fraction = Fraction(2) ** power
    reach = math.ceil(total * fraction)
    # a half for rounding each, and half of the last bit that floats lie from their decimals
    read = (reach >> 53) + 1 if decimals else 0
    error = paid + read + math.ceil(Fraction(off) * fraction)
    return Scale(fraction, error, reach + paid)


def _most(lists: Floats) -> Fraction:
    """At least the sum of the largest finite magnitudes of several lists. (m, n)"""
    largest = np.abs(np.where(np.isfinite(lists), lists, 0.0)).max(1)
    return Fraction(math.nextafter(math.fsum(largest.tolist()), math.inf))


def _unit(
    decimals: list[Floats], computed: list[Floats], total: Fraction, limit: int
) -> int | None:
    """The least number that makes all finite ones of these whole; None where that takes too long,
    or where a total would not stay below `limit`."""
    most = min(limit / total, Fraction(2**LONGEST)) if total else Fraction(2**LONGEST)
    unit = _binary(_distinct(computed)) if computed else 1
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


def minus(costs: Floats, base: float) -> tuple[Floats, float]:
    """The decimals of cost - base as floats, and how far one lies from its decimal at most."""
    finite = np.isfinite(costs)
    distinct, place = np.unique(np.where(finite, costs, base), return_inverse=True)
    exact = [decimal(x) - decimal(base) for x in distinct.tolist()]
    out = np.array([_nearest(x) for x in exact])
    return np.where(finite, out[place].reshape(costs.shape), costs), _off(out, exact)


def times(weight: float, costs: Floats) -> tuple[Floats, float]:
    """The decimals of weight * cost as floats, and how far one lies from its decimal at most.

    Infinite costs stay infinite.
    """
    if weight == 1:
        return costs, 0.0
    finite = np.isfinite(costs)
    distinct, place = np.unique(np.where(finite, costs, 0.0), return_inverse=True)
    one, many = _tens(np.array([weight])), _tens(distinct)
    out, error = None, 0.0
    if one is not None and many is not None and one[1] + many[1] <= TENS:
        number = one[0].astype(object)[0] * many[0].astype(object)
        if max(map(abs, number), default=0) < DIGITS:
            out = number.astype(np.float64) / float(10 ** (one[1] + many[1]))
    if out is None and len(distinct) > MANY:
        out = weight * distinct
        error = float(np.abs(out).max()) * 2.0**-52
    if out is None:
        exact = [decimal(weight) * decimal(x) for x in distinct.tolist()]
        out = np.array([_nearest(x) for x in exact])
        error = _off(out, exact)
    return np.where(finite, out[place].reshape(costs.shape), costs), error


def _off(floats: Floats, exact: list[Fraction]) -> float:
    """How far floats lie at most from the numbers they stand for: 0 where they are exact."""
    if all(decimal(a) == b for a, b in zip(floats.tolist(), exact, strict=True)):
        return 0.0
    return math.ulp(float(np.abs(floats).max()))  # also where numbers are as small as can be


def _nearest(number: Fraction) -> float:
    """The nearest float64; the largest one beyond it."""
    try:
        return float(number)
    except OverflowError:
        return LARGEST_FLOAT if number > 0 else -LARGEST_FLOAT

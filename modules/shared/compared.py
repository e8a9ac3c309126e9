"""Linear comparisons: sums of literals and of values against constants, exact in whole numbers.

A rule is a list of literals with exact numbers. Several are summed together, as arrays; each is
judged by itself, in plain Python.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine.decimals import LONGEST, Ints
from engine.factors import Sums, floats, ints
from engine.factors.comparisons import OPEN, Comparison
from engine.factors.families import starts
from modules.shared.guards import Guard
from modules.shared.sites import NAMED, Layout, by_length

COMPARE = {"<=": "at most", ">=": "at least", "==": "exactly"}
LARGEST = 2**61  # of the sum of magnitudes, as whole numbers; above, a tolerance compares
ALLOWED = 1e-9  # of the sum of all magnitudes, then
PLACES = 10**12  # a larger common denominator comes from computed numbers
SINGLE = 2**52  # of the sum of magnitudes, below which float64 holds every sum
WIDEST = 2**50  # of what a comparison of whole numbers adds up
LOW = 1 << 30  # whole numbers are summed as multiples of this, and what is left over
SIGN = {"<=": 1.0, ">=": -1.0, "==": 0.0}
Exact = int | Fraction
Held = Callable[[Tensor, Tensor], Tensor]  # of sites and places, how much of each literal holds:
# (L,) or (r, k) each -> (B, L) or (B, r, k)


@dataclass(frozen=True, eq=False)
class Rule:
    """A sum of literals, compared with a constant where its guard holds."""

    layout: Layout
    site: list[int]  # (L,) values of whole sites spelled out behind the literals
    place: list[int]
    plain: list[tuple[int, Any, Exact]]  # site, value and what it counts
    by_value: list[tuple[int, float]]  # the sites that count by their values
    compare: str
    constant: Exact
    guard: Guard

    @cached_property
    def coefficients(self) -> list[Exact]:
        return [c for _, _, c in self.plain]

    @cached_property
    def _measured(self) -> tuple[Fraction, Fraction]:
        """`allowed` and `scale`."""
        every = [self.constant, *self.coefficients]
        whole = [abs(x) for x in every if isinstance(x, int)]
        if len(whole) == len(every):
            size, scale = Fraction(sum(whole)), 1
        else:
            size = Fraction(sum(_size(x) for x in every))
            scale = math.lcm(*(x.denominator for x in every))
        if scale <= PLACES and size * scale < LARGEST:
            return Fraction(0), Fraction(scale)
        return Fraction(ALLOWED) * size, _power_below(size)

    @property
    def allowed(self) -> Fraction:
        """A miss that is none."""
        return self._measured[0]

    @property
    def scale(self) -> Fraction:
        """What makes its numbers whole."""
        return self._measured[1]

    @cached_property
    def whole(self) -> list[int]:
        """The constant and what the literals count, as whole numbers."""
        every = [self.constant, *self.coefficients]
        if self.scale == 1 and all(type(x) is int for x in every):
            return every  # type: ignore[return-value]
        return [round(x * self.scale) for x in every]

    @cached_property
    def short(self) -> bool:
        """float64 holds every sum."""
        return sum(abs(x) for x in self.whole) < SINGLE

    def total(self, flat: Sequence[Any]) -> Fraction:
        return Fraction(sum(c for s, v, c in self.plain if flat[s] == v))

    def miss(self, total: Fraction) -> Fraction:
        over = total - self.constant
        if self.compare == "==":
            return abs(over)
        return over if self.compare == "<=" else -over

    def holds(self, flat: Sequence[Any]) -> bool:
        """At plain values, as `Layout.flat` gives them."""
        return self.guard.judged(flat, self.miss(self.total(flat)) <= self.allowed)

    def comparisons(self, hidden: int) -> list[Comparison] | None:
        """Comparisons of whole numbers; None where these are too large. hidden: the number of a
        hidden site, which says whether the sum is more or less than what it must not be."""
        coefficients = self.coefficients
        whole = all(type(c) is int for c in coefficients)
        unit = 1 if whole else math.lcm(1, *(c.denominator for c in coefficients))
        if self.allowed or unit >= PLACES:
            return None
        worths = {s: [0] * int(self.layout.sizes[s]) for s in self.site}
        size = Fraction(sum(abs(int(c)) if whole else _size(c) for c in coefficients))
        for s, v, c in zip(self.site, self.place, coefficients, strict=True):
            worths[s][v] += int(c * unit)
        if size * unit >= WIDEST or _size(self.constant) * unit >= WIDEST:
            return None
        goal = self.constant * unit
        low, high = math.ceil(goal), math.floor(goal)
        edges = {"<=": (-OPEN, high), ">=": (low, OPEN), "==": (low, high)}[self.compare]
        sites, every = tuple(worths), tuple(map(ints, worths.values()))
        rules = [Comparison(sites, every, *edges, self.guard.when)]
        if self.guard.both_ways:
            fails = self.guard.otherwise
            if self.compare == "==" and low == high:
                rules.append(Comparison(sites, every, -OPEN, low - 1, (*fails, (hidden, 0, True))))
                rules.append(Comparison(sites, every, high + 1, OPEN, (*fails, (hidden, 1, True))))
            elif self.compare == "<=":
                rules.append(Comparison(sites, every, high + 1, OPEN, fails))
            elif self.compare == ">=":
                rules.append(Comparison(sites, every, -OPEN, low - 1, fails))
        return rules

    def says(self) -> str:
        """What it asks for, in words."""
        values = sum(int(self.layout.sizes[s]) for s, _ in self.by_value)
        plain = self.plain[: len(self.plain) - values]
        terms = [f"{float(c):g} times {self.layout.name(s)}" for s, c in self.by_value]
        terms += [f"{float(c):g} if {self.layout.at(s, v)}" for s, v, c in plain]
        more = f" + {len(terms) - NAMED} others" if len(terms) > NAMED else ""
        said = f"{' + '.join(terms[:NAMED])}{more} {COMPARE[self.compare]}"
        return f"{self.guard.words()}{said} {float(self.constant):g}"

    def explained(self, flat: Sequence[Any]) -> str | None:
        """Why it fails at plain values; None: it holds."""
        total = self.total(flat)
        held = self.miss(total) <= self.allowed
        if self.guard.judged(flat, held):
            return None
        if held:
            return self.guard.unwanted()
        asked = f"{COMPARE[self.compare]} {float(self.constant):g}"
        counted = [self.layout.at(s, v) for s, v, c in self.plain if flat[s] == v and c]
        terms = "; ".join(counted[:NAMED]) + ("; ..." if len(counted) > NAMED else "")
        said = f"the sum is {float(total):g}, not {asked} ({terms or 'no literal holds'})"
        return self.guard.words() + said


class Together(NamedTuple):
    """Rules as arrays, to be summed in one go."""

    owner: Tensor  # (L,) the rule of each literal
    site: Tensor  # (L,)
    place: Tensor
    factor: Tensor  # (L, halves) float64 whole numbers, long ones in two halves
    goal: Tensor  # (m, halves)
    sign: Tensor  # (m,) 0: exactly
    scale: Tensor  # (m,)
    allowed: Tensor  # (m,)
    guards: list[tuple[Tensor, Tensor, Tensor]]  # rules (r,), sites and places (r, k) of guards of
    # each length
    both_ways: Tensor  # (m,) bool

    def costs(self, held: Held) -> Tensor:
        """What each rule costs. -> (B, m) float64"""
        missed = self._missed(held)
        if not self.guards:
            return missed
        chance, where = torch.ones_like(missed), missed.device
        for rules, site, place in self.guards:
            own = held(site, place).prod(-1).to(chance)
            chance = chance.index_copy(1, rules.to(where), own)
        cost = chance * missed
        wrong = cost + (1 - chance) * (missed == 0)
        return torch.where(self.both_ways.to(where), wrong, cost)

    def _missed(self, held: Held) -> Tensor:
        """The amount by which each sum misses. -> (B, m) float64"""
        true = held(self.site, self.place).double()
        where = true.device
        counted = true[:, :, None] * self.factor.to(where)
        # whole numbers, long ones in two halves, so that decided states are compared exactly
        total = counted.new_zeros(len(true), *self.goal.shape)
        total = total.index_add(1, self.owner.to(where), counted)
        over, sign = (total - self.goal.to(where)).sum(-1), self.sign.to(where)
        miss = torch.where(sign == 0, over.abs(), sign * over) / self.scale.to(where)
        return torch.where(miss > self.allowed.to(where), miss, 0.0)


def together(rules: Sequence[Rule]) -> Together:
    """Rules over one layout as arrays."""
    parts = _single if all(r.short for r in rules) else _split
    goal = [parts(r.whole[0]) for r in rules]
    factor = [parts(x) for r in rules for x in r.whole[1:]]
    halves = len(parts(0))

    def told(numbers: Any, *shape: int) -> Tensor:
        return torch.tensor(numbers, dtype=torch.float64).reshape(*shape)

    lengths = torch.tensor([len(r.site) for r in rules], dtype=torch.int64)
    return Together(
        torch.repeat_interleave(torch.arange(len(rules)), lengths),
        torch.from_numpy(ints(chain.from_iterable(r.site for r in rules))),
        torch.from_numpy(ints(chain.from_iterable(r.place for r in rules))),
        told(factor, -1, halves),
        told(goal, -1, halves),
        told([SIGN[r.compare] for r in rules], -1),
        told([float(r.scale) for r in rules], -1),
        told([float(r.allowed) for r in rules], -1),
        _guards(rules),
        torch.tensor([r.guard.both_ways for r in rules], dtype=torch.bool),
    )


def _guards(rules: Sequence[Rule]) -> list[tuple[Tensor, Tensor, Tensor]]:
    """The guards of each length."""
    mine = [k for k, r in enumerate(rules) if r.guard]
    out = []
    for some in by_length(ints([len(rules[k].guard.plain) for k in mine])):
        which = [mine[k] for k in some.tolist()]
        site, place = (
            torch.from_numpy(np.stack(own))
            for own in zip(*((rules[k].guard.site, rules[k].guard.place) for k in which))
        )
        out.append((torch.tensor(which), site, place))
    return out


def sums_of(rules: Sequence[Rule], term: Ints, part: Ints) -> Sums:
    """Sums of literals that say what rules say, their guards left out. term, part: (m,)"""
    lengths: list[int] = []
    sites: list[int] = []
    places: list[int] = []
    numbers: list[float] = []
    low: list[float] = []
    high: list[float] = []
    for rule in rules:
        site, place, coefficient = rule.site, rule.place, rule.coefficients
        constant = rule.constant
        long = not rule.short and not rule.allowed
        if long and any(map(_long, coefficient)):
            halves = [_split(int(c)) for c in coefficient]
            site, place = site * 2, place * 2
            coefficient = [Fraction(h[k]) for k in (0, 1) for h in halves]
        if long and _long(constant):
            # every value of a site counts what is left over of the constant
            constant, left = (Fraction(half) for half in _split(int(constant)))
            values = range(int(rule.layout.sizes[rule.site[0]]))
            site, place = [*site, *[rule.site[0]] * len(values)], [*place, *values]
            coefficient = [*coefficient, *[-left] * len(values)]
        lengths.append(len(site))
        sites += site
        places += place
        numbers += map(float, coefficient)
        compare, allowed = rule.compare, rule.allowed
        low.append(float(constant - allowed) if compare != "<=" else -math.inf)
        high.append(float(constant + allowed) if compare != ">=" else math.inf)
    return Sums(
        starts(ints(lengths)),
        ints(sites),
        ints(places),
        term,
        part,
        floats(numbers),
        floats(low),
        floats(high),
    )


def kin_of(rules: Sequence[Rule]) -> Hashable | None:
    """What rules have in common that are sums of literals, exactly in whole numbers that float64
    holds, without a guard; None: some are none."""
    plain = (not r.guard and not r.by_value and not r.allowed and r.short for r in rules)
    return "sums" if all(plain) else None


def _single(number: int) -> tuple[float, ...]:
    """A whole number whose sums float64 holds."""
    return (float(number),)


def _size(number: Exact) -> Fraction:
    """The magnitude of a number."""
    return abs(Fraction(number))


def _long(number: Exact) -> bool:
    """A whole number that float64 holds in two halves only."""
    return number.denominator == 1 and int(float(number.numerator)) != number.numerator


def _split(number: int) -> tuple[float, ...]:
    """A whole number as a multiple of LOW and what is left over; sums of either are exact."""
    left = number % LOW
    return float(number - left), float(left)


def _power_below(size: Fraction) -> Fraction:
    """A power of two that scales `size` to a whole number of about 60 bits, as far as float64 holds
    it."""
    power = 60 - size.numerator.bit_length() + size.denominator.bit_length()
    return Fraction(2) ** min(power, LONGEST)

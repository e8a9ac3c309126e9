"""A weighted sum of literals and of whole values is at most, at least, or exactly a constant."""

import math
import random
from collections.abc import Hashable, Iterable, Iterator, Sequence
from fractions import Fraction
from functools import cached_property
from typing import Any
from typing import Literal as OneOf

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from engine.decimals import Ints, decimal
from engine.domain import Domain, Finite, Variable, View
from engine.errors import BadQuery, Mistake, known
from engine.factors import Factors, Sums, floats, ints
from engine.factors.comparisons import OPEN, Comparison, Comparisons
from modules.parameters import (
    BOTH_WAYS,
    GUARD,
    Literals,
    Number,
    Strict,
    WeighedLiteral,
    WeighedValue,
)
from modules.shared.examples import literal, scope_of, values_of
from modules.shared.guards import Guard, under
from modules.shared.literals import read_literals
from modules.shared.numbers import read_amounts, values_of_site
from modules.shared.sites import NAMED, OverSites, finite, read_lists

COMPARE = {"<=": "at most", ">=": "at least", "==": "exactly"}
LARGEST = 2**61  # of the sum of magnitudes, as whole numbers; above, a tolerance compares
ALLOWED = 1e-9  # of the sum of all magnitudes, then
PLACES = 10**12  # a larger common denominator comes from computed numbers
SINGLE = 2**52  # of the sum of magnitudes, below which float64 holds every sum
WIDEST = 2**50  # of what a comparison of whole numbers adds up
PIECE = 1 << 20  # numbers that are summed at once
Exact = int | Fraction
LOW = 1 << 30  # whole numbers are summed as multiples of this, and what is left over
STRICT = {
    "<": "write <= with a smaller constant; known: <=, ==, >=",
    ">": "write >= with a larger constant; known: <=, ==, >=",
}


class Parameters(Strict):
    """A linear comparison."""

    terms: list[WeighedLiteral] = Field(
        [],
        description="[site, value, coefficient]: the coefficient counts where the site has the "
        "value; coefficients of a repeated literal add up.",
    )
    values: list[WeighedValue] = Field(
        [], description="[site, coefficient]: it counts times the value of the site, a number."
    )
    compare: OneOf["<=", ">=", "=="] = Field(description="How the sum compares to the constant.")
    constant: Number = Field(description="What the sum is compared to.")
    guard: Literals = GUARD
    both_ways: bool = BOTH_WAYS


class Linear(OverSites):
    """sum of coefficient * [site = value] <= constant (or >=, or ==).

    E = the amount by which the expected sum misses: max(0, sum - constant), max(0, constant - sum)
    or |sum - constant|; one part. Not affine; in the unit of the coefficients. Numbers count as
    the decimals they are written as (0.1 + 0.2 == 0.3 holds), whole ones as they are; where a
    computed number such as 1 / 3 is among them, one of more than twelve decimal places, or their
    sum has more than eighteen digits, a miss below 1e-9 of the sum of magnitudes is none.
    `values` count coefficients times the values of whole sites, and let a search go by bounds on
    sites instead of single values. A guard is told of in `modules.shared.guards`.
    BadQuery: a site out of range, an unknown value, a number that is not finite, no terms at all, a
    site without numbers for values.
    """

    affine = False
    tolerance = 0.0  # decided states are compared exactly

    def __init__(
        self,
        *scope: Variable | View,
        compare: str,
        constant: float,
        terms: Sequence[Any] = (),
        values: Sequence[Any] = (),
        guard: Sequence[Any] = (),
        both_ways: bool = False,
    ):
        super().__init__(*scope)
        self.guard = Guard(self.layout, guard, both_ways)
        read = read_lists(terms, "terms")
        if compare not in COMPARE:
            remedy = STRICT.get(compare) or known(compare, COMPARE)
            raise BadQuery(Mistake("compare", f"{compare!r} is unknown", remedy))
        if not finite(constant):
            raise BadQuery(
                Mistake("constant", f"{constant!r} is no finite number", "give a finite number")
            )
        self.by_value = read_amounts(self.layout, values, "values")
        if not read and not self.by_value:
            remedy = "name at least one literal, or a site under values"
            raise BadQuery(Mistake("terms", "is empty", remedy))
        site, place, numbers = read_literals(self.layout, read, "terms[{}]".format, float)
        if self.by_value:
            site, place, numbers = self._with_amounts(site, place, numbers)
        self.compare = compare
        self.constant: Exact = _exact(constant)
        self.site, self.place = site, place
        self.plain: list[tuple[int, Any, Exact]] = list(
            zip(
                site.tolist(),
                self.layout.values_at(site, place),
                map(_exact, numbers),
                strict=True,
            )
        )
        every: list[Exact] = [self.constant, *(c for _, _, c in self.plain)]
        size = Fraction(sum(_size(x) for x in every))
        scale = math.lcm(*(x.denominator for x in every))
        exact = scale <= PLACES and size * scale < LARGEST
        self.allowed = Fraction(0) if exact else Fraction(ALLOWED) * size
        self.scale = Fraction(scale) if exact else _power_below(size)
        self._column = torch.from_numpy(self.layout.offset[site] + place)
        scale_is_one = self.scale == 1  # then whole numbers stay as they are
        whole = [x if scale_is_one and type(x) is int else round(x * self.scale) for x in every]
        parts = _split if size * self.scale >= SINGLE else _single
        told = torch.tensor([parts(x) for x in whole], dtype=torch.float64)
        self._goal, self._factor = told[0], told[1:]  # (halves,), (m, halves)

    def _with_amounts(
        self, site: Ints, place: Ints, numbers: Sequence[float]
    ) -> tuple[Ints, Ints, list[Any]]:
        """Literals, and behind them those that say what values of whole sites count."""
        sites, places = [site], [place]
        more: list[Any] = list(numbers)
        for own, coefficient in self.by_value:
            times = _exact(coefficient)
            worth = [times * _exact(v) for v in values_of_site(self.layout, own)]
            sites.append(np.full(len(worth), own))
            places.append(np.arange(len(worth)))
            more += worth
        return np.concatenate(sites), np.concatenate(places), more

    def energy(self, *tensors: Tensor) -> Tensor:  # (B, *shape, k) -> (B,) float64
        x = self.layout.columns(tensors).double()
        own = self._missed(x)
        return self.guard.weighed(x, own, own == 0) if self.guard else own

    def _missed(self, x: Tensor) -> Tensor:
        """The amount by which sums miss. (B, C) -> (B,) float64"""
        # whole numbers, long ones in two halves, so that decided states are compared exactly
        true = x[:, self._column.to(x.device)]
        miss = (true @ self._factor.to(x.device) - self._goal.to(x.device)).sum(-1)
        if self.compare != "<=":
            miss = -miss if self.compare == ">=" else miss.abs()
        miss = miss / float(self.scale)
        return torch.where(miss > float(self.allowed), miss, torch.zeros_like(miss))

    def holds(self, *values: Any) -> bool:
        flat = self.layout.flat(values)
        return self.guard.judged(flat, self._miss(self._sum(flat)) <= self.allowed)

    def _sum(self, flat: Sequence[Any]) -> Fraction:
        return Fraction(sum(c for s, v, c in self.plain if flat[s] == v))

    def _miss(self, total: Fraction) -> Fraction:
        over = total - self.constant
        if self.compare == "==":
            return abs(over)
        return over if self.compare == "<=" else -over

    def structured(self, weight: float | None, *domains: Domain) -> Factors | None:
        """At a price, the sum of literals: its amount is paid, which a comparison does not tell."""
        if weight is None:
            return self.factors(*domains)
        return None if self.guard else self._sums(domains).priced(weight)

    def factors(self, *domains: Domain) -> Factors | None:
        if not self.guard and not self.by_value:
            return self._sums(domains)
        made = self._compared(domains)
        if made is not None or self.guard.both_ways:
            return made
        own = self._sums(domains)
        return under(own, self.guard.when) if self.guard else own

    def _compared(self, domains: Sequence[Domain]) -> Factors | None:
        """The rule as a comparison of whole numbers; None where they are too large."""
        coefficients = [c for _, _, c in self.plain]
        whole = all(type(c) is int for c in coefficients)
        unit = 1 if whole else math.lcm(1, *(c.denominator for c in coefficients))
        if self.allowed or unit >= PLACES:
            return None
        worths = {s: [0] * int(self.layout.sizes[s]) for s in self.site.tolist()}
        size = Fraction(sum(abs(int(c)) if whole else _size(c) for c in coefficients))
        for s, v, c in zip(self.site.tolist(), self.place.tolist(), coefficients, strict=True):
            worths[s][v] += int(c * unit)
        if size * unit >= WIDEST or _size(self.constant) * unit >= WIDEST:
            return None
        goal = self.constant * unit
        low, high = math.ceil(goal), math.floor(goal)
        edges = {"<=": (-OPEN, high), ">=": (low, OPEN), "==": (low, high)}[self.compare]
        sites, every = tuple(worths), tuple(map(ints, worths.values()))
        rules = [Comparison(sites, every, *edges, self.guard.when)]
        hidden = 0
        if self.guard.both_ways:
            fails = self.guard.otherwise
            if self.compare == "==" and low == high:
                hidden, at = 1, self.layout.sites  # whether it is more, or less
                rules.append(Comparison(sites, every, -OPEN, low - 1, (*fails, (at, 0, True))))
                rules.append(Comparison(sites, every, high + 1, OPEN, (*fails, (at, 1, True))))
            elif self.compare == "<=":
                rules.append(Comparison(sites, every, high + 1, OPEN, fails))
            elif self.compare == ">=":
                rules.append(Comparison(sites, every, -OPEN, low - 1, fails))
        zero = np.zeros(len(rules), dtype=np.int64)
        sizes = np.concatenate([Factors.sizes_of(domains), np.full(hidden, 2)]).astype(np.int64)
        family = Comparisons(tuple(rules), zero, zero)
        return Factors(sizes, self.layout.sites, others=(family,), functional=not hidden)

    def _sums(self, domains: Sequence[Domain]) -> Factors:
        """The sum of literals."""
        site, place, coefficient = self.site, self.place, [c for _, _, c in self.plain]
        constant: Exact = self.constant
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

    @cached_property
    def kin(self) -> Hashable | None:
        """Sums of literals, exactly in whole numbers that float64 holds, without a guard."""
        plain = not self.guard and not self.by_value and not self.allowed
        return "sums" if plain and len(self._factor) and self._factor.shape[1] == 1 else None

    @classmethod
    def structured_together(
        cls, terms: Sequence["Linear"], weights: Sequence[float | None], *domains: Domain
    ) -> Factors | None:
        if weights[0] is not None:
            return None  # each has hidden sites
        m = len(terms)
        constant = np.array([float(term.constant) for term in terms])
        compare = np.array([term.compare for term in terms])
        sums = Sums(
            np.concatenate([[0], np.cumsum([len(term.site) for term in terms])]),
            np.concatenate([term.site for term in terms]),
            np.concatenate([term.place for term in terms]),
            np.arange(m),
            np.zeros(m, dtype=np.int64),
            floats([float(c) for term in terms for _, _, c in term.plain]),
            np.where(compare == "<=", -math.inf, constant),
            np.where(compare == ">=", math.inf, constant),
        )
        return terms[0].made(domains, sums=sums)

    @classmethod
    def cost_together(cls, terms: Sequence["Linear"], *decided: Tensor) -> Tensor | None:
        x = terms[0].layout.decided(decided)  # (B, n)
        length = torch.tensor([len(term.site) for term in terms])
        owner = torch.repeat_interleave(torch.arange(len(terms)), length).to(x.device)

        def joined(every: Iterable[Any]) -> Tensor:
            return torch.from_numpy(np.concatenate([np.asarray(own) for own in every])).to(x.device)

        site, place = joined(t.site for t in terms), joined(t.place for t in terms)
        factor = torch.cat([t._factor[:, 0] for t in terms]).to(x.device)
        goal = torch.cat([t._goal for t in terms]).to(x.device)
        scale = joined([[float(t.scale)] for t in terms])
        each = max(1, PIECE // max(1, len(site)))
        out = []
        for some in x.split(each):
            true = torch.where(some[:, site] == place, factor, 0.0)
            own = torch.zeros(len(some), len(terms), dtype=torch.float64, device=x.device)
            out.append(own.index_add(1, owner, true) - goal)
        miss = torch.cat(out) if out else torch.zeros(0, len(terms), dtype=torch.float64)
        sign = joined([[{"<=": 1.0, ">=": -1.0, "==": 0.0}[t.compare]] for t in terms])
        miss = torch.where(sign == 0, miss.abs(), sign * miss)
        return miss.clamp(min=0.0) / scale

    @classmethod
    def holds_together(cls, terms: Sequence["Linear"], *values: Any) -> list[bool]:
        flat = terms[0].layout.flat(values)
        return [term._miss(term._sum(flat)) <= term.allowed for term in terms]

    def floor(self) -> float:
        return 0.0

    def says(self, part: int) -> str:
        del part
        values = sum(int(self.layout.sizes[s]) for s, _ in self.by_value)
        plain = self.plain[: len(self.plain) - values]
        terms = [f"{float(c):g} times {self.layout.name(s)}" for s, c in self.by_value]
        terms += [f"{float(c):g} if {self.layout.at(s, v)}" for s, v, c in plain]
        more = f" + {len(terms) - NAMED} others" if len(terms) > NAMED else ""
        said = f"{' + '.join(terms[:NAMED])}{more} {COMPARE[self.compare]}"
        return f"{self.guard.words()}{said} {float(self.constant):g}"

    def explain(self, *values: Any) -> list[str]:
        flat = self.layout.flat(values)
        total = self._sum(flat)
        held = self._miss(total) <= self.allowed
        if self.guard.judged(flat, held):
            return []
        if held:
            return [self.guard.unwanted()]
        asked = f"{COMPARE[self.compare]} {float(self.constant):g}"
        counted = [self.layout.at(s, v) for s, v, c in self.plain if flat[s] == v and c]
        terms = "; ".join(counted[:NAMED]) + ("; ..." if len(counted) > NAMED else "")
        said = f"the sum is {float(total):g}, not {asked} ({terms or 'no literal holds'})"
        return [self.guard.words() + said]

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
            terms = [(*literal(rng, values), rng.choice(numbers)) for _ in range(rng.randint(1, 5))]
            sites = [k for k, v in enumerate(values) if all(type(x) is int for x in v)]
            some = sites[:3] if rng.random() < 0.4 else []
            guard = [literal(rng, values)] if rng.random() < 0.3 else []
            yield cls(
                *own,
                terms=terms,
                values=[(site, rng.choice(numbers)) for site in some],
                compare=rng.choice(list(COMPARE)),
                constant=rng.choice([0, 1, 2, -1, 0.3, 0.5]),
                guard=guard,
                both_ways=bool(guard) and rng.random() < 0.5,
            )


def _exact(number: float | Fraction) -> Exact:
    """A number as the decimal it is written as; whole numbers and fractions stay as they are."""
    return number if isinstance(number, (int, Fraction)) else decimal(number)


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
    """A power of two that scales `size` to a whole number of about 60 bits."""
    power = 60 - size.numerator.bit_length() + size.denominator.bit_length()
    return Fraction(2) ** power

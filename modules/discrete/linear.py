"""Weighted sums of literals and of whole values are at most, at least, or exactly a constant."""

import random
from collections.abc import Hashable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any
from typing import Literal as OneOf

import numpy as np
import torch
from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticKnownError
from torch import Tensor

from engine.domain import Domain, Finite, Variable, View
from engine.factors import Factors, Sums, ints
from engine.factors.comparisons import Comparison, Comparisons
from modules.parameters import (
    BOTH_WAYS,
    GUARD,
    Literals,
    Number,
    Strict,
    WeighedLiteral,
    WeighedValue,
)
from modules.shared.compared import (
    COMPARE,
    Rule,
    Together,
    kin_of,
    sums_of,
    together,
)
from modules.shared.examples import literal, scope_of, values_of
from modules.shared.guards import under
from modules.shared.rules import check_form, read_all, read_rules
from modules.shared.sites import OverSites

PIECE = 1 << 20  # numbers that are summed at once
TERMS: Any = Field(
    [],
    description="[site, value, coefficient]: the coefficient counts where the site has the "
    "value; coefficients of a repeated literal add up.",
)
VALUES: Any = Field(
    [], description="[site, coefficient]: it counts times the value of the site, a number."
)
How = OneOf["<=", ">=", "=="]


class Comparing(Strict):
    """One of several linear comparisons."""

    terms: list[WeighedLiteral] = TERMS
    values: list[WeighedValue] = VALUES
    compare: How = Field(description="How the sum compares to the constant.")
    constant: Number = Field(description="What the sum is compared to.")
    guard: Literals = GUARD
    both_ways: bool = BOTH_WAYS


class Parameters(Strict):
    """A linear comparison, or several of them under `rules`."""

    rules: list[Comparing] | None = Field(
        None,
        description="Instead of all others: several comparisons, each of which says what this term "
        "would say by itself.",
    )
    terms: list[WeighedLiteral] = TERMS
    values: list[WeighedValue] = VALUES
    compare: How | None = Field(
        None, validate_default=True, description="How the sum compares to the constant."
    )
    constant: Number | None = Field(
        None, validate_default=True, description="What the sum is compared to."
    )
    guard: Literals = GUARD
    both_ways: bool = BOTH_WAYS

    @field_validator("compare", "constant", mode="before")
    @classmethod
    def _told(cls, value: Any, info: ValidationInfo) -> Any:
        """What one comparison lacks is told beside what else is wrong with it."""
        if value is None and info.data.get("rules", ()) is None:
            raise PydanticKnownError("missing")
        return value


class Linear(OverSites):
    """sum of coefficient * [site = value] <= constant (or >=, or ==), once or for each of `rules`.

    E = the amount by which the expected sum misses: max(0, sum - constant), max(0, constant - sum)
    or |sum - constant|; of several rules the sum of these, each rule a part. Not affine; in the
    unit of the coefficients. Numbers count as the decimals they are written as (0.1 + 0.2 == 0.3
    holds), whole ones as they are; where a computed number such as 1 / 3 is among those of a rule,
    one of more than twelve decimal places, or their sum has more than eighteen digits, a miss below
    1e-9 of the sum of magnitudes is none.
    `values` count coefficients times the values of whole sites, and let a search go by bounds on
    sites instead of single values. A guard is told of in `modules.shared.guards`.
    BadQuery: a site out of range, an unknown value, a number that is not finite, no terms at all, a
    site without numbers for values, `rules` beside a comparison of its own.
    """

    affine = False
    tolerance = 0.0  # decided states are compared exactly

    def __init__(
        self,
        *scope: Variable | View,
        compare: str | None = None,
        constant: float | None = None,
        terms: Sequence[Any] = (),
        values: Sequence[Any] = (),
        guard: Sequence[Any] = (),
        both_ways: bool = False,
        rules: Sequence[Any] | None = None,
    ):
        super().__init__(*scope)
        own = {
            "terms": terms,
            "values": values,
            "compare": compare,
            "constant": constant,
            "guard": guard,
            "both_ways": both_ways,
        }
        self.several = rules is not None
        check_form(own, self.several)
        self.rules: list[Rule] = (
            read_all(self.layout, [own]) if rules is None else read_rules(self.layout, rules)
        )

    @cached_property
    def _together(self) -> Together:
        return together(self.rules)

    def violation(self, *tensors: Tensor) -> Tensor:  # (B, *shape, k) -> (B, rules) float64
        x = self.layout.columns(tensors)
        offset = torch.from_numpy(self.layout.offset)
        return self._together.costs(lambda site, place: x[:, (offset[site] + place).to(x.device)])

    def energy(self, *tensors: Tensor) -> Tensor:  # (B, *shape, k) -> (B,) float64
        return self.violation(*tensors).sum(-1)

    def holds(self, *values: Any) -> bool:
        flat = self.layout.flat(values)
        return all(rule.holds(flat) for rule in self.rules)

    def structured(self, weight: float | None, *domains: Domain) -> Factors | None:
        """At a price, sums of literals: their amounts are paid, which comparisons do not tell."""
        if weight is None:
            return self.factors(*domains)
        if any(rule.guard.both_ways for rule in self.rules):
            return None
        every = range(len(self.rules))
        return self.made(domains, sums=self._loose(every, domains)).priced(weight)

    def factors(self, *domains: Domain) -> Factors | None:
        loose, compared, hidden = list[int](), list[tuple[int, list[Comparison]]](), 0
        for k, rule in enumerate(self.rules):
            if not rule.guard and not rule.by_value:
                loose.append(k)
                continue
            made = rule.comparisons(self.layout.sites + hidden)
            if made is not None:
                compared.append((k, made))
                hidden += len(made) > 2  # and whether it is more, or less
            elif rule.guard.both_ways:
                return None
            else:
                loose.append(k)
        sizes = np.concatenate([Factors.sizes_of(domains), np.full(hidden, 2)]).astype(np.int64)
        part = ints([k for k, made in compared for _ in made])
        every = tuple(rule for _, made in compared for rule in made)
        family = Comparisons(every, 0 * part, part)
        return Factors(
            sizes,
            self.layout.sites,
            sums=self._loose(loose, domains),
            others=(family,) if every else (),
            functional=not hidden,
        )

    def _loose(self, which: Sequence[int], domains: Sequence[Domain]) -> Sums:
        """Some rules as sums of literals, under their guards."""
        free = [k for k in which if not self.rules[k].guard]
        out = [sums_of([self.rules[k] for k in free], ints([0] * len(free)), ints(free))]
        for k in which:
            if self.rules[k].guard:
                own = sums_of([self.rules[k]], ints([0]), ints([k]))
                out.append(under(self.made(domains, sums=own), self.rules[k].guard.when).sums)
        return Sums.joined(out)

    @cached_property
    def kin(self) -> Hashable | None:
        return kin_of(self.rules)

    @classmethod
    def structured_together(
        cls, terms: Sequence["Linear"], weights: Sequence[float | None], *domains: Domain
    ) -> Factors | None:
        if weights[0] is not None:
            return None  # each has hidden sites
        owner = np.repeat(np.arange(len(terms)), [len(t.rules) for t in terms])
        part = np.concatenate([np.arange(len(t.rules)) for t in terms])
        rules = [rule for term in terms for rule in term.rules]
        return terms[0].made(domains, sums=sums_of(rules, owner, part))

    def cost(self, *decided: Tensor) -> Tensor:  # (B, *shape) int64 -> (B,) float64
        return self._costs(self._together, *decided).sum(-1)

    @classmethod
    def cost_together(cls, terms: Sequence["Linear"], *decided: Tensor) -> Tensor | None:
        rules = [rule for term in terms for rule in term.rules]
        owner = torch.tensor([k for k, term in enumerate(terms) for _ in term.rules])
        own = terms[0]._costs(together(rules), *decided)
        return own.new_zeros(len(own), len(terms)).index_add(1, owner.to(own.device), own)

    def _costs(self, rules: Together, *decided: Tensor) -> Tensor:
        """What rules over its layout cost. (B, *shape) int64 -> (B, m) float64"""
        x = self.layout.decided(decided)  # (B, n)
        each = max(1, PIECE // max(1, len(rules.site)))
        return torch.cat([rules.costs(partial(_held, some)) for some in x.split(each)])

    @classmethod
    def holds_together(cls, terms: Sequence["Linear"], *values: Any) -> list[bool]:
        flat = terms[0].layout.flat(values)
        return [all(rule.holds(flat) for rule in term.rules) for term in terms]

    def floor(self) -> float:
        return 0.0

    def says(self, part: int) -> str:
        return f"rule {part}: {self.rules[part].says()}" if self.several else self.rules[0].says()

    def explain(self, *values: Any) -> list[str]:
        flat = self.layout.flat(values)
        said = ((k, rule.explained(flat)) for k, rule in enumerate(self.rules))
        return [f"rule {k}: {why}" if self.several else why for k, why in said if why]

    @classmethod
    def example(cls) -> "Linear":
        x = Variable("x", Finite((0, 1, 2), (3,)))
        terms = [(s, v, 0.5 * v) for s in range(3) for v in (1, 2)]
        return cls(x, terms=terms, compare="<=", constant=1.5)

    @classmethod
    def examples(cls, rng: random.Random, scope: Sequence[Variable] = ()) -> Iterator["Linear"]:
        while True:
            own = scope or scope_of(rng)
            values = values_of(own)
            if rng.random() < 0.5:
                yield cls(*own, **_drawn(rng, values))
            else:
                yield cls(*own, rules=[_drawn(rng, values) for _ in range(rng.randint(0, 3))])


def _drawn(rng: random.Random, values: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
    """The parameters of one comparison."""
    numbers = [1, 2, -1, -3, 0.1, 0.2, 0.25, -1.5]
    terms = [(*literal(rng, values), rng.choice(numbers)) for _ in range(rng.randint(1, 5))]
    sites = [k for k, v in enumerate(values) if all(type(x) is int for x in v)]
    some = sites[:3] if rng.random() < 0.4 else []
    guard = [literal(rng, values)] if rng.random() < 0.3 else []
    return {
        "terms": terms,
        "values": [(site, rng.choice(numbers)) for site in some],
        "compare": rng.choice(list(COMPARE)),
        "constant": rng.choice([0, 1, 2, -1, 0.3, 0.5]),
        "guard": guard,
        "both_ways": bool(guard) and rng.random() < 0.5,
    }


def _held(x: Tensor, site: Tensor, place: Tensor) -> Tensor:
    """Which literals hold in decided states x (B, n)."""
    return x[:, site.to(x.device)] == place.to(x.device)

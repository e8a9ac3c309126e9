"""At least one literal of each clause is as its sign says."""

import random
from collections.abc import Hashable, Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from engine.decimals import Ints
from engine.domain import Domain, Finite, Variable, View
from engine.factors import Clauses, Factors
from modules.parameters import SignedLiteral, Strict
from modules.shared.examples import literal, scope_of, values_of
from modules.shared.literals import Literals, Masses
from modules.shared.sites import NAMED, OverSites, put_lists

PIECE = 1 << 20  # literals looked at in one go


class Parameters(Strict):
    """Clauses of signed literals."""

    clauses: list[list[SignedLiteral]] = Field(
        description="Clauses of [site, value, sign]: true asks for the value, false forbids it."
    )


class _Kept(NamedTuple):
    """The literals that matter, clause by clause, and the clauses that are always true."""

    owner: Ints  # (L,) the clause
    site: Ints
    place: Ints
    column: Ints
    sign: np.ndarray  # (L,) bool
    always: np.ndarray  # (m,) bool
    part: Ints  # (m,) place of the clause in its term

    def clauses(self, term: Ints) -> Clauses:
        """Those that can fail; an empty one stays. term: (m,) the place of the term of each"""
        rest = np.flatnonzero(~self.always)
        lengths = np.bincount(self.owner, minlength=len(self.always))[rest]
        start = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return Clauses(start, self.site, self.place, term[rest], self.part[rest], self.sign)


class Clause(OverSites):
    """Each clause has a literal that is as its sign says: conjunctive normal form.

    E = sum over clauses of the product over its sites of 1 - (mass of the values that satisfy the
    clause there); decided: the number of failing clauses. Affine in each site; no unit.
    `clauses[i][j]` is [site, value, sign]. An empty clause always fails, a tautology never does,
    and a repeated literal counts once. BadQuery: a site out of range, an unknown value.
    """

    def __init__(self, *scope: Variable | View, clauses: Sequence[Sequence[Any]]):
        super().__init__(*scope)
        read = Literals(self.layout, clauses, "clauses", bool)
        values = self.layout.values_at(read.site, read.place)
        plain = list(zip(read.site.tolist(), values, read.third, strict=True))
        ends = read.start.tolist()
        self.plain = [plain[a:b] for a, b in zip(ends[:-1], ends[1:], strict=True)]
        self.count = read.count
        self.empty = int((np.diff(read.start) == 0).sum())
        self._read = read

    @cached_property
    def _kept(self) -> "_Kept":
        return _kept_of([self])

    @cached_property
    def _masses(self) -> Masses:
        """Mass that fails: 1 - sum of the values asked for, or the mass of the one forbidden."""
        k = self._kept
        factor = np.where(k.sign, -1.0, 1.0)
        return Masses(k.owner, k.site, k.column, factor, k.sign.astype(np.float64))

    def energy(self, *tensors: Tensor) -> Tensor:  # (B, *shape, k) -> (B,)
        x = self.layout.columns(tensors)
        total = x.new_full((x.shape[0],), float(self.empty))
        for failing in self._masses(x):
            total = total + failing.prod(-1).sum(-1)
        return total

    def violation(self, *tensors: Tensor) -> Tensor:  # (B, *shape, k) -> (B, clauses)
        x = self.layout.columns(tensors)
        empty = torch.from_numpy(np.diff(self._read.start) == 0).to(x)
        failing = (own.prod(-1) for own in self._masses(x))
        return put_lists(empty.repeat(x.shape[0], 1), self._masses.lists, failing)

    def holds(self, *values: Any) -> bool:
        return self._true(self.layout.flat(values))

    def factors(self, *domains: Domain) -> Factors:
        kept = self._kept
        return self.made(domains, clauses=kept.clauses(np.zeros(self.count, dtype=np.int64)))

    @property
    def kin(self) -> Hashable | None:
        return "clauses"

    @classmethod
    def structured_together(
        cls, terms: Sequence["Clause"], weights: Sequence[float | None], *domains: Domain
    ) -> Factors | None:
        told = _kept_of(terms).clauses(np.repeat(np.arange(len(terms)), [t.count for t in terms]))
        own = terms[0].made(domains, clauses=told)
        priced = [weight for weight in weights if weight is not None]
        return own.priced_apart(priced) if priced else own

    @classmethod
    def cost_together(cls, terms: Sequence["Clause"], *decided: Tensor) -> Tensor | None:
        x = terms[0].layout.decided(decided)  # (B, n)
        kept, count = _kept_of(terms), [term.count for term in terms]
        owner, site, place, sign, always = (
            torch.from_numpy(a).to(x.device)
            for a in (kept.owner, kept.site, kept.place, kept.sign, kept.always)
        )
        term = torch.repeat_interleave(torch.arange(len(terms)), torch.tensor(count)).to(x.device)
        none = torch.zeros(0, len(terms), dtype=torch.float64, device=x.device)
        parts = [none]
        for some in x.split(max(1, PIECE // max(1, len(site) + len(term)))):
            true = ((some[:, site] == place) == sign).double()
            each = always.double().repeat(len(some), 1).index_add(1, owner, true)
            own = none.new_zeros(len(some), len(terms))
            parts.append(own.index_add(1, term, (each == 0).double()))
        return torch.cat(parts)

    @classmethod
    def holds_together(cls, terms: Sequence["Clause"], *values: Any) -> list[bool]:
        flat = terms[0].layout.flat(values)
        return [term._true(flat) for term in terms]

    def _true(self, flat: Sequence[Any]) -> bool:
        return all(any((flat[s] == v) is sign for s, v, sign in c) for c in self.plain)

    def floor(self) -> float:
        return float(self.empty)

    def says(self, part: int) -> str:
        every = self.plain[part]
        literals = [f"{self.layout.at(s, v, sign)}" for s, v, sign in every[:NAMED]]
        more = f" or {len(every) - NAMED} others" if len(every) > NAMED else ""
        return f"clause {part}: {' or '.join(literals) or 'none, so it cannot hold'}{more}"

    def explain(self, *values: Any) -> list[str]:
        flat = self.layout.flat(values)
        said = []
        for k, clause in enumerate(self.plain):
            if any((flat[s] == v) is sign for s, v, sign in clause):
                continue
            there = "; ".join(
                f"{self.layout.at(s, flat[s])}, not {self.layout.shown(v)}"
                if sign
                else f"{self.layout.at(s, v)}"
                for s, v, sign in clause[:NAMED]
            )
            why = f"no literal holds ({there})" if clause else "is empty, so it cannot hold"
            said.append(f"clause {k}: {why}")
        return said

    @classmethod
    def example(cls) -> "Clause":
        x = Variable("x", Finite((0, 1, 2), (3,)))
        return cls(
            x,
            clauses=[
                [(0, 1, True), (1, 1, False)],
                [(0, 0, True), (0, 2, True), (2, 1, True)],
                [(1, 0, False), (2, 2, False)],
            ],
        )

    @classmethod
    def examples(cls, rng: random.Random, scope: Sequence[Variable] = ()) -> Iterator["Clause"]:
        while True:
            own = scope or scope_of(rng)
            values = values_of(own)
            clauses = [
                [(*literal(rng, values), rng.random() < 0.5) for _ in range(rng.randint(0, 4))]
                for _ in range(rng.randint(0, 3))
            ]
            yield cls(*own, clauses=clauses)


def _kept_of(terms: Sequence[Clause]) -> _Kept:
    """The clauses of terms of one scope, one after the other: each literal once, no literal that
    another implies, and no tautology."""
    layout, reads = terms[0].layout, [term._read for term in terms]
    count = [term.count for term in terms]
    first = np.cumsum(count) - count
    owner = np.concatenate([r.owner() + a for r, a in zip(reads, first, strict=True)])
    site = np.concatenate([r.site for r in reads])
    place = np.concatenate([r.place for r in reads])
    column = np.concatenate([r.column for r in reads])
    sign = np.array([own for r in reads for own in r.third], dtype=bool)
    width = layout.offset[-1]
    _, kept = np.unique((owner * width + column) * 2 + sign, return_index=True)
    owner, site, place, column, sign = (a[kept] for a in (owner, site, place, column, sign))
    # both signs of one literal, or two values forbidden at one site: always true
    signs = _totals(owner * width + column, np.ones(len(owner)))
    negatives = _totals(owner * layout.sites + site, ~sign)
    always = np.zeros(sum(count), dtype=bool)
    always[owner[(negatives > 1) | (signs > 1)]] = True
    # "not v" holds wherever another value of the same site is asked for
    useful = ~always[owner] & (~sign | (negatives == 0))
    owner, site, place, column, sign = (a[useful] for a in (owner, site, place, column, sign))
    part = np.arange(sum(count)) - np.repeat(first, count)
    return _Kept(owner, site, place, column, sign, always, part)


def _totals(key: Ints, weight: np.ndarray) -> np.ndarray:
    """For each entry the sum of the weights of all entries with its key."""
    _, group = np.unique(key, return_inverse=True)
    return np.bincount(group, weights=weight)[group]

"""At least one literal of each clause is as its sign says."""

import random
from collections.abc import Iterator, Sequence
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
        """Each literal once, no literal that another implies, and no tautology."""
        read = self._read
        owner, site, place = read.owner(), read.site, read.place
        sign = np.array(read.third, dtype=bool)
        width = self.layout.offset[-1]
        _, kept = np.unique((owner * width + read.column) * 2 + sign, return_index=True)
        owner, site, place, sign = (a[kept] for a in (owner, site, place, sign))
        column = read.column[kept]
        # both signs of one literal, or two values forbidden at one site: always true
        signs = _totals(owner * width + column, np.ones(len(owner)))
        negatives = _totals(owner * self.layout.sites + site, ~sign)
        always = np.zeros(self.count, dtype=bool)
        always[owner[(negatives > 1) | (signs > 1)]] = True
        # "not v" holds wherever another value of the same site is asked for
        useful = ~always[owner] & (~sign | (negatives == 0))
        owner, site, place, column, sign = (a[useful] for a in (owner, site, place, column, sign))
        return _Kept(owner, site, place, column, sign, always)

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
        flat = self.layout.flat(values)
        return all(any((flat[s] == v) is sign for s, v, sign in c) for c in self.plain)

    def factors(self, *domains: Domain) -> Factors:
        kept = self._kept
        part = np.flatnonzero(~kept.always)  # an empty clause stays
        lengths = np.bincount(kept.owner, minlength=self.count)[part]
        clauses = Clauses(
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            kept.site,
            kept.place,
            np.zeros(len(part), dtype=np.int64),
            part,
            kept.sign,
        )
        return self.made(domains, clauses=clauses)

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


def _totals(key: Ints, weight: np.ndarray) -> np.ndarray:
    """For each entry the sum of the weights of all entries with its key."""
    _, group = np.unique(key, return_inverse=True)
    return np.bincount(group, weights=weight)[group]

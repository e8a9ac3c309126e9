"""Preferred values as a hint: where a search starts, at no cost."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from engine.domain import Domain, Finite, Variable, View, flatten
from engine.energy.term import Known
from engine.errors import BadQuery, Mistake, Mistakes
from engine.factors import Factors
from engine.random import Stream
from modules.parameters import Strict, Value
from modules.shared.examples import scope_of, values_of
from modules.shared.sites import MISTAKES, OverSites, listed


class Parameters(Strict):
    """Values that sites will probably have: an earlier answer, a plan, a guess."""

    values: list[Value | None | list[Any]] = Field(
        description="A value for each site of the variable, null where none is known; nested as "
        "the variable is shaped, or flat."
    )


class Hint(OverSites):
    """Searches start from these values; they cost nothing, forbid nothing, and prove nothing.

    E = 0; no unit. A share of the particles starts with these values, the sites without one drawn
    at random; what evidence rules out is moved. An answer may differ from all of them. BadQuery:
    more than one variable, other than one value a site, a value that it does not take.
    """

    place: Tensor  # (*shape,) of each value, -1: none is known

    def __init__(self, x: Variable | View, *, values: Sequence[Any]):
        super().__init__(x)
        flat, shape = listed(values), self.scope[0].shape
        if flat is None:
            raise BadQuery(Mistake("values", f"{values!r} is no list", "write it as [...]"))
        if any(isinstance(v, (list, tuple)) for v in flat):
            try:
                flat = flatten(flat, shape)
            except BadQuery as error:
                raise error.under("values") from None
        if len(flat) != self.layout.sites:
            problem = f"holds {len(flat)} values for {self.layout.sites} sites"
            raise BadQuery(Mistake("values", problem, "give one a site, null where none is known"))
        domain, wrong, place = self.layout.domains[0], Mistakes(MISTAKES), []
        for k, value in enumerate(flat):
            try:
                place.append(-1 if value is None else domain.place(value, f"values[{k}]"))
            except BadQuery as error:
                for mistake in error.mistakes:
                    wrong.add(mistake.path, mistake.problem, mistake.remedy)
        wrong.check()
        self.register_buffer("place", torch.tensor(place).reshape(shape), persistent=False)

    def energy(self, x: Tensor) -> Tensor:  # (B, *shape, k) -> (B,)
        return 0 * x.flatten(1).sum(1)

    def holds(self, *values: Any) -> bool:
        del values
        return True

    def factors(self, *domains: Domain) -> Factors:
        return self.made(domains, interchangeable=True)

    def floor(self) -> float:
        return 0.0

    def propose(
        self, particles: int, rng: Stream, known: Known, *domains: Domain
    ) -> tuple[Tensor, ...] | None:
        del known
        x = domains[0].sample(particles, rng)
        return (torch.where(self.place >= 0, self.place.to(x.dtype), x),)

    @classmethod
    def example(cls) -> "Hint":
        return cls(Variable("x", Finite(("a", "b", "c"), (3,))), values=["b", None, "a"])

    @classmethod
    def examples(cls, rng: random.Random, scope: Sequence[Variable] = ()) -> Iterator["Hint"]:
        while not scope:
            own = scope_of(rng)[:1]
            yield cls(own[0], values=[rng.choice([None, *v]) for v in values_of(own)])

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
from modules.shared.sites import MISTAKES, OverSites


class Parameters(Strict):
    """Values that sites will probably have: an earlier answer, a plan, a guess."""

    values: list[Value | None | list[Any]] = Field(
        description="A value for each site of the variable, null where none is known; nested as "
        "the variable is shaped, or flat."
    )


class Hint(OverSites):
    """Searches start from these values; they cost nothing, forbid nothing, and prove nothing.

    E = 0; no unit. A share of the particles starts with these values, the sites without one drawn
    at random; what evidence rules out is moved. An answer may differ from all of them. Required or
    weighted makes no difference. Searches without particles (`branch_and_bound` by name) hear of it
    from those beside them, not alone. BadQuery: more than one variable, another number of values
    than it has sites, a value that it does not take (1, 1.0 and true are three values).
    """

    place: Tensor  # (*shape,) of each value, -1: none is known

    def __init__(self, x: Variable | View, *, values: Sequence[Any]):
        super().__init__(x)
        shape = self.scope[0].shape  # of a view that of its sites
        nested = len(shape) > 1 and any(isinstance(v, (list, tuple)) for v in values)
        flat = flatten(values, shape) if nested else list(values)
        if len(flat) != self.layout.sites:
            problem = f"holds {len(flat)} values for {self.layout.sites} sites"
            raise BadQuery(Mistake("values", problem, "give one a site, null where none is known"))
        lookup, wrong = self.layout.lookups[0], Mistakes(MISTAKES)
        place = []
        for k, value in enumerate(flat):
            at = -1 if value is None else lookup.get((type(value), value))
            if at is None:
                allowed = ", ".join(repr(v) for v in self.layout.domains[0].values[:8])
                wrong.add(f"values[{k}]", f"{value!r}", f"give one of {allowed}, or null")
            place.append(-1 if at is None else at)
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

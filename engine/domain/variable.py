"""Variables, and views of some of their sites."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.domain.base import Domain
from engine.domain.finite import Finite
from engine.domain.real import Real
from engine.domain.told import Given, Told
from engine.errors import BadQuery, Mistake, shown
from engine.plain import nest


@dataclass(frozen=True, eq=False)
class Variable:
    """A named array of sites. Identity is identity: two objects with one name are an error."""

    name: str
    domain: Domain

    def __post_init__(self):
        _check_variable(self)

    def __getitem__(self, index: Any) -> "View":
        return self.view[index]

    @cached_property
    def view(self) -> "View":
        """All sites of the variable."""
        shape = self.domain.shape
        return View(self, np.arange(self.domain.sites).reshape(shape))


def _check_variable(variable: Variable) -> None:
    """Raises BadQuery where a name is no text, or what stands for a domain is none."""
    kind = type(variable).__name__
    if not isinstance(variable.name, str):
        said = f"{shown(variable.name)} is no name"
        raise BadQuery(Mistake(f"{kind}.name", said, f'write {kind}("x", domain)'))
    if not isinstance(variable.domain, Domain):
        said = f"{shown(variable.domain)} is no domain"
        remedy = "give Finite(values, shape) or Real(shape, low, high)"
        raise BadQuery(Mistake(variable.name, said, remedy))


def _even(domain: Domain) -> bool:
    """Whether a domain says the same of all its sites."""
    if isinstance(domain, Finite):
        return bool(domain.allowed.all())
    if isinstance(domain, Real):
        edges = (domain.low, domain.high)
        return all(bool((edge == edge.reshape(-1)[0]).all()) for edge in edges)
    return True


@dataclass(frozen=True, eq=False)
class Input(Variable):
    """A named array that a query is told and never asks for: a picture, a text, node features.

    Its domain says what it may be told; `Real` and `Finite` say the same in the words of a
    variable.
    """

    def __post_init__(self):
        _check_variable(self)
        domain = self.domain
        if domain.rows > 1 or not _even(domain):
            raise BadQuery(
                Mistake(
                    self.name,
                    "has edges or values that differ by site, and those of an input are the same "
                    "at every site and in every row",
                    "give one low and one high, or all values; or make it two inputs",
                )
            )
        if isinstance(domain, Finite):
            told = Told(domain.shape, values=domain.values)
        elif isinstance(domain, Real):
            told = Told(domain.shape, float(domain.low.min()), float(domain.high.max()))
        else:
            return
        object.__setattr__(self, "domain", told)


@dataclass(frozen=True, eq=False)
class View:
    """Some sites of a variable, taken by indexing: `grid[0, :]`, `grid[::2]`, `grid.view`."""

    variable: Variable
    places: np.ndarray  # flat places, in the shape of the view

    @property
    def shape(self) -> tuple[int, ...]:
        return self.places.shape

    @property
    def told(self) -> bool:
        """True when it is of an input."""
        return isinstance(self.variable, Input)

    @cached_property
    def whole(self) -> bool:
        """True when the view is the variable itself."""
        domain = self.variable.domain
        return self.shape == domain.shape and bool(
            (self.places.reshape(-1) == np.arange(domain.sites)).all()
        )

    def __getitem__(self, index: Any) -> "View":
        try:
            view = View(self.variable, np.array(self.places[index], order="C"))
        except IndexError as error:
            raise BadQuery(
                Mistake(
                    self.variable.name, f"view out of range: {error}", f"the shape is {self.shape}"
                )
            ) from None
        if not view.places.size:
            said = f"the view {index!r} has no sites"
            raise BadQuery(Mistake(self.variable.name, said, f"the shape is {self.shape}"))
        return view

    def of(self, domain: Domain) -> Domain:
        """The domain of these sites only, with the rows of `domain`."""
        if self.whole:
            return domain
        if isinstance(domain, Told):
            return self._told(domain)
        flat = torch.as_tensor(self.places.reshape(-1), dtype=torch.long)
        if isinstance(domain, Finite):
            allowed = domain.allowed.reshape(domain.rows, domain.sites, -1)[:, flat]
            return Finite(
                domain.values, self.shape, allowed.reshape(-1, *self.shape, len(domain.values))
            )
        assert isinstance(domain, Real)
        low, high = (
            e.expand(domain.rows, *domain.shape).reshape(domain.rows, -1)[:, flat]
            for e in (domain.low, domain.high)
        )
        return Real(self.shape, low.reshape(-1, *self.shape), high.reshape(-1, *self.shape))

    def _told(self, domain: Told) -> Told:
        seen = self.given(Given(domain.tensor, domain.present))
        return replace(domain, shape=self.shape, tensor=seen.values, present=seen.present)

    def given(self, told: Given) -> Given:
        """These sites of an input, and which entries of their first axis are there as a whole."""
        if self.whole:
            return told
        size = max(1, self.variable.domain.sites // max(1, told.present.shape[-1]))
        first = torch.as_tensor(self.places.reshape(-1) // size, dtype=torch.long)
        there = told.present[:, first].reshape(-1, self.shape[0] if self.shape else 1, self._rest)
        return Given(self.tensor(told.values), there.all(-1))

    @property
    def _rest(self) -> int:
        """Sites of one entry along the first axis."""
        return max(1, self.places.size // (self.shape[0] if self.shape and self.shape[0] else 1))

    def tensor(self, x: Tensor) -> Tensor:
        """These sites of a state tensor. (B, *event) -> (B, *shape[, k])"""
        if self.whole:
            return x
        tail = x.shape[1 + len(self.variable.domain.shape) :]
        flat = torch.as_tensor(self.places.reshape(-1), dtype=torch.long, device=x.device)
        flat_x = x.reshape(x.shape[0], self.variable.domain.sites, *tail)
        return flat_x[:, flat].reshape(x.shape[0], *self.shape, *tail)

    def placed(self, x: Tensor, part: Tensor) -> Tensor:
        """A state tensor with these sites taken from `part`: the inverse of `tensor`."""
        if self.whole:
            return part
        flat = torch.as_tensor(self.places.reshape(-1), dtype=torch.long, device=x.device)
        sites = x.reshape(x.shape[0], self.variable.domain.sites, -1)
        return sites.index_copy(1, flat, part.reshape(x.shape[0], len(flat), -1)).reshape(x.shape)

    def plain(self, value: Any) -> Any:
        """These sites of a person's value (nested lists)."""
        if self.whole:
            return value
        if isinstance(value, Given):
            return self._plain_given(value)
        found = []
        for place in self._places:
            entry = value
            for k in place:
                entry = entry[k]
            found.append(entry)
        return nest(found, self.shape)

    def _plain_given(self, told: Given) -> Given:
        present = torch.as_tensor(told.present)[None]
        named = isinstance(told.values, list)
        values = np.array(told.values, dtype=object) if named else told.values
        seen = values.reshape(-1)[self.places]
        there = self.given(Given(torch.zeros(1, *self.variable.domain.shape), present)).present[0]
        return Given(seen.tolist() if named else seen, there.numpy())

    @cached_property
    def _places(self) -> list[tuple[int, ...]]:
        """Where each site stands in the variable."""
        shape, flat = self.variable.domain.shape, self.places.reshape(-1)
        if not shape:
            return [()] * len(flat)
        return list(zip(*(k.tolist() for k in np.unravel_index(flat, shape)), strict=True))

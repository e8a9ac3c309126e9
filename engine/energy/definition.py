"""A term that computes views of variables from others: rolled-out states, a decoded picture."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from engine.domain import Domain, Finite, Given, Told, View
from engine.energy.algebra import Summand
from engine.energy.term import Term
from engine.errors import BadQuery, Mistake


class Definition(Term):
    """outputs = define(inputs), where the outputs are the last `defines` entries of the scope.

    As a term its residual is outputs - define(inputs), and its energy half the square of that; it
    is required unless it is given a weight, and holds where that energy is at most `tolerance`.
    Where a problem is `reduced` the outputs are computed and not searched.
    """

    defines: ClassVar[int] = 1
    required_by_default: ClassVar[bool] = True

    def energy(self, *tensors: Any) -> Tensor:
        return 0.5 * self.residual(*tensors).square().sum(1)

    def residual(self, *tensors: Any) -> Tensor:
        inputs, outputs = tensors[: -self.defines], tensors[-self.defines :]
        pairs = zip(outputs, defined_by(self, inputs), strict=True)
        return torch.cat([(own - made).reshape(len(own), -1) for own, made in pairs], 1)

    def holds(self, *values: Any) -> bool | None:
        with torch.no_grad():
            entries = [self._entry(view, x) for view, x in zip(self.scope, values, strict=True)]
            return bool(self.energy(*entries) <= self.tolerance)

    def _entry(self, view: View, value: Any) -> Any:
        """Plain values of a scope entry as `energy` takes them: a batch of one."""
        domain = view.of(view.variable.domain)
        if isinstance(domain, Finite):
            return domain.hot(domain.encode(value)[None], self.dtype)
        if not isinstance(domain, Told):
            return domain.encode(value)[None].to(self.dtype)
        told = domain.narrow([value]).given(1)
        values = told.values.to(self.dtype) if told.values.is_floating_point() else told.values
        return Given(values, told.present) if self.partial else values


def defined_by(term: Term, inputs: Sequence[Any]) -> tuple[Tensor, ...]:
    """What a term defines, one tensor for each view."""
    made = term.define(*inputs)
    every = (made,) if isinstance(made, Tensor) else tuple(made)
    if len(every) != term.defines:
        raise ValueError(f"{term.label} defines {term.defines} views, and gave {len(every)}")
    return every


def outputs_of(term: Term) -> tuple[View, ...]:
    """The views that a term defines."""
    return term.scope[len(term.scope) - term.defines :]


def inputs_of(term: Term) -> tuple[View, ...]:
    """The views that it defines them from."""
    return term.scope[: len(term.scope) - term.defines]


class Computed(Term):
    """Stands in a reduced problem for what it computes: that may lie outside its domain, which no
    rule of the rest can say."""

    required_by_default: ClassVar[bool] = True
    needs_inputs: ClassVar[bool] = False

    def __init__(self, definition: Term):
        super().__init__(*definition.scope)
        self.partial, self.dtype = True, definition.dtype  # type: ignore[misc]

    def energy(self, *tensors: Any) -> Tensor:
        first = next(x for x in tensors if isinstance(x, Tensor))
        return first.new_zeros(len(first))  # `Problem.totals` counts how far outside it lies

    def violation(self, *tensors: Any) -> Tensor:
        return self.energy(*tensors)[:, None][:, :0]  # no part of its own

    def holds(self, *values: Any) -> bool | None:
        del values
        return None

    def factors(self, *domains: Domain) -> None:
        del domains


def in_order(summands: Sequence[Summand]) -> tuple[Summand, ...]:
    """The required summands that define views, each after those that define what it needs.

    Raises BadQuery where a site is defined twice, from itself, or is not a real number.
    """
    left = [s for s in summands if s.required and s.term.defines]
    owner: dict[tuple[str, int], Summand] = {}
    for summand in left:
        twice = _twice(summand)
        for view in outputs_of(summand.term):
            if isinstance(view.variable.domain, Finite) or view.told:
                raise _wrong(summand, view, "is no variable of real numbers")
            for site in _sites(view):
                if owner.setdefault(site, summand) is not summand or site in twice:
                    raise _wrong(summand, view, "is defined twice")
    needs = {
        id(s): {id(owner[site]) for v in inputs_of(s.term) for site in _sites(v) if site in owner}
        for s in left
    }
    ordered: list[Summand] = []
    while left:
        done = {id(s) for s in ordered}
        ready = [s for s in left if needs[id(s)] <= done]
        if not ready:
            raise _wrong(left[0], outputs_of(left[0].term)[0], "is defined from itself")
        ordered += ready
        left = [s for s in left if s not in ready]
    return tuple(ordered)


def _sites(view: View) -> list[tuple[str, int]]:
    return [(view.variable.name, site) for site in view.places.reshape(-1).tolist()]


def _twice(summand: Summand) -> set[tuple[str, int]]:
    """Sites that one term defines more than once."""
    every = [site for view in outputs_of(summand.term) for site in _sites(view)]
    return (
        {site for site in every if every.count(site) > 1} if len(set(every)) < len(every) else set()
    )


def _wrong(summand: Summand, view: View, problem: str) -> BadQuery:
    return BadQuery(
        Mistake(
            summand.label, f"{view.variable.name} {problem}", "define each site once, of others"
        )
    )

"""The algebra of energies: terms, weighted sums, required rules, and the choice between energies.

`a + b` adds, `2.0 * a` weighs, `required(a)` turns a rule into a constraint, `a | b` is the hard
minimum and `soft_min(a, b, temperature)` its smooth sister. A term that can decide whether it holds
is a rule, and required unless it is given a weight.
"""

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from engine.domain import Given, State, Variable
from engine.energy.parts import ByPart, Constraints, fineness, side_by_side, within
from engine.errors import BadQuery, Mistake

if TYPE_CHECKING:
    from engine.energy.choice import AnyOf
    from engine.energy.term import Term


@dataclass(frozen=True, eq=False)
class Summand:
    """One summand: a term with its weight, or a required rule (weight None)."""

    term: "Term"
    weight: float | None
    name: str = ""

    @property
    def required(self) -> bool:
        return self.weight is None

    @property
    def label(self) -> str:
        """The name of the term in answers."""
        return self.name or self.term.label


class Energy(nn.Module, ABC):
    """A function of a state to be minimized: (batch, ...) tensors -> (batch,) float64."""

    @abstractmethod
    def summands(self) -> tuple[Summand, ...]:
        """The normal form: a list of weighted or required terms, in order."""

    def forward(self, state: State) -> Tensor:
        """Sum of weight * term over the weighted summands, in float64 and in order. -> (B,)"""
        return total_of(state, self._weighted(state)())

    def floor(self) -> float:
        """Sum of weight * floor over the weighted summands: a proved lower bound of the energy."""
        return sum(
            p.weight * p.term.lowest_anywhere() for p in self.summands() if p.weight is not None
        )

    def total_violation(self, state: State) -> Tensor:
        """Sum of the energies of the required terms: 0 where all of them hold. -> (B,)"""
        return total_of(state, self._required(state)())

    def totals(self, state: State) -> tuple[Tensor, Tensor]:
        """Energy and violation, with all terms under way at once. -> (B,), (B,)"""
        energy, violation = self._weighted(state), self._required(state)
        return total_of(state, energy()), total_of(state, violation())

    def by_part(self, state: State) -> ByPart:
        """`totals` with the violation part by part, all terms under way at once."""
        energy, parts = self._weighted(state), begin_parts(self._required_terms(), state)
        return parts(total_of(state, energy()))

    def violations(self, state: State) -> Tensor:
        """What each part of the required terms is violated by, side by side: 0 where it holds, and
        where a row lacks an input that the term sees. -> (B, m) float64"""
        return begin_parts(self._required_terms(), state)(total_of(state, ())).parts

    def constraints(self, state: State) -> Constraints:
        """`by_part`, but with the sign of each entry where a required term has a residual."""
        energy, every = self._weighted(state), self._required_terms()
        waits = [t.parts_started(state) for t in every if not t.squared]
        total, parts = total_of(state, energy()), iter(waits)
        violation, values, fine = torch.zeros_like(total), [total[:, None][:, :0]], [total[:0]]
        for term in every:
            r = term.residual_at(state)
            own = next(parts)().double() if r is None else r
            amount = own.sum(1) if r is None else 0.5 * r.square().sum(1)
            violation = violation + within(amount, term.tolerance)
            values.append(own)
            allowed = term.tolerance if r is None else math.sqrt(2 * term.tolerance)
            fine.append(total.new_full((own.shape[1],), fineness(term.dtype, allowed)))
        side = torch.cat(values, 1)
        zero = torch.zeros_like(side)
        return Constraints(total, violation, side, zero, zero, torch.cat(fine))

    def _required_terms(self) -> list["Term"]:
        return [p.term for p in self.summands() if p.weight is None]

    def _weighted(self, state: State) -> Callable[[], list[Tensor]]:
        return begin_shares([p for p in self.summands() if p.weight is not None], state)

    def _required(self, state: State) -> Callable[[], list[Tensor]]:
        return begin_violations([p for p in self.summands() if p.weight is None], state)

    def variables(self) -> tuple[Variable, ...]:
        """Every variable once, in order of first use."""
        seen: dict[str, Variable] = {}
        for summand in self.summands():
            for view in summand.term.scope:
                other = seen.setdefault(view.variable.name, view.variable)
                if other is not view.variable:
                    raise BadQuery(
                        Mistake(
                            view.variable.name,
                            "names two different variables",
                            "use one Variable object, or two names",
                        )
                    )
        return tuple(seen.values())

    def __add__(self, other: "Energy") -> "Sum":
        if not isinstance(other, Energy):
            return NotImplemented
        return Sum(*self.summands(), *other.summands())

    def __radd__(self, other: Any) -> "Energy":
        return self if other == 0 else NotImplemented  # so that sum(...) works

    def __rmul__(self, weight: float) -> "Sum":
        if isinstance(weight, bool) or not isinstance(weight, (int, float)):
            return NotImplemented
        if not 0 < weight < math.inf:
            raise BadQuery(Mistake("weight", f"{weight!r}", "give a number above 0 and finite"))
        return Sum(*self._weighed(float(weight)))

    def __mul__(self, weight: float) -> "Sum":
        return self.__rmul__(weight)

    def _weighed(self, weight: float) -> Iterator[Summand]:
        for summand in self.summands():
            scaled = None if summand.weight is None else weight * summand.weight
            yield Summand(summand.term, scaled, summand.name)

    def __or__(self, other: "Energy") -> "AnyOf":
        if not isinstance(other, Energy):
            return NotImplemented
        from engine.energy.choice import AnyOf, branches_of  # made of terms, which are energies

        return AnyOf(*branches_of(self), *branches_of(other))


def begin_shares(summands: Sequence[Summand], state: State) -> Callable[[], list[Tensor]]:
    """Begins every summand; the call returned gives weight * energy of each in float64, the weight
    of a required one being 1. -> (B,) each"""
    waits = [
        (
            1.0 if summand.weight is None else summand.weight,
            summand.term.started(state),
        )
        for summand in summands
    ]
    return lambda: [weight * energy().double() for weight, energy in waits]


def begin_violations(summands: Sequence[Summand], state: State) -> Callable[[], list[Tensor]]:
    """Begins every required term; the call returned gives what each is violated by, 0 where that
    is at most its tolerance. -> (B,) each"""
    energies = begin_shares(summands, state)

    def violations() -> list[Tensor]:
        pairs = zip(summands, energies(), strict=True)
        return [within(e, summand.term.tolerance) for summand, e in pairs]

    return violations


def begin_parts(terms: Sequence["Term"], state: State) -> Callable[[Tensor], ByPart]:
    """Begins every one of some required terms; the call returned puts their parts beside an
    energy."""
    waits, tolerances = [t.parts_started(state) for t in terms], [t.tolerance for t in terms]
    return lambda energy: side_by_side(energy, [wait().double() for wait in waits], tolerances)


def total_of(state: State, shares: Iterable[Tensor]) -> Tensor:
    """Sum in order. -> (B,) float64"""
    first = next(iter(state.values()))
    if isinstance(first, Given):
        first = first.values
    out = torch.zeros(first.shape[0], dtype=torch.float64, device=first.device)
    for share in shares:
        out = out + share
    return out


def home_of(module: nn.Module) -> torch.device:
    """Where the parameters and buffers of a module lie; the host where it has none."""
    tensors = itertools.chain(module.parameters(), module.buffers())
    return next((t.device for t in tensors), torch.device("cpu"))


class Sum(Energy):
    """A weighted sum of terms and required rules."""

    def __init__(self, *summands: Summand):
        super().__init__()
        self._summands = summands
        self.terms = nn.ModuleList(summand.term for summand in summands)

    def summands(self) -> tuple[Summand, ...]:
        return self._summands

"""Terms of one class over the same variables, asked together: one pass over arrays, not a call
each."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from engine.domain import Domain, State
from engine.energy.algebra import Summand
from engine.energy.term import Term, plain_scope
from engine.factors import Factors

FEW = 4  # terms that are asked together, at least


@dataclass(frozen=True, eq=False)
class Kin:
    """Summands whose terms have one `Term.kin`, and see the same variables as a whole."""

    places: tuple[int, ...]  # in the sum
    terms: tuple[Term, ...]
    weights: tuple[float | None, ...]

    def structured(self, domains: Sequence[Domain]) -> Factors | None:
        """What they say explicitly, each factor marked by the place of its term among them; None:
        each is to be asked by itself."""
        return type(self.terms[0]).structured_together(self.terms, self.weights, *domains)

    def energies(self, state: State) -> Tensor | None:
        """The energy of each in decided states, without the weight; None: each is to be asked by
        itself. -> (B, m) float64"""
        first = self.terms[0]
        tensors = first.views(state)
        if not first.decided_in(tensors):
            return None
        own = type(first).cost_together(self.terms, *first.placed(tensors))
        return None if own is None else own.double()

    def verdicts(self, values: Mapping[str, Any]) -> Sequence[bool | None]:
        """What each says of plain values of all variables."""
        return type(self.terms[0]).holds_together(self.terms, *plain_scope(self.terms[0], values))


def kin_of(summands: Sequence[Summand]) -> tuple[Kin, ...]:
    """The summands that are asked together, by class, scope and `kin`; costs apart from rules.

    A class that does not say `kin` itself is asked term by term, whatever it inherits: it may have
    changed what its terms say.
    """
    alike: dict[Hashable, list[int]] = {}
    for place, summand in enumerate(summands):
        term = summand.term
        if "kin" not in vars(type(term)):
            continue
        key = term.kin
        if key is not None and all(view.whole and not view.told for view in term.scope):
            scope = tuple(id(view.variable) for view in term.scope)
            alike.setdefault((type(term), scope, key, summand.required), []).append(place)
    return tuple(
        Kin(
            tuple(places),
            tuple(summands[k].term for k in places),
            tuple(summands[k].weight for k in places),
        )
        for places in alike.values()
        if len(places) >= FEW
    )


@torch.no_grad()
def violations_together(every: Sequence[Kin], state: State) -> tuple[list[Tensor], frozenset[int]]:
    """What decided states violate of the rules that are asked together, and the places of these.
    -> (B,) float64 each"""
    out: list[Tensor] = []
    told: set[int] = set()
    for kin in every:
        own = kin.energies(state) if kin.weights[0] is None else None
        if own is not None:
            tolerance = own.new_tensor([term.tolerance for term in kin.terms])
            out.append(torch.where(own <= tolerance, 0.0, own).sum(1))
            told |= set(kin.places)
    return out, frozenset(told)


@torch.no_grad()
def energies_together(every: Sequence[Kin], state: State) -> dict[int, Tensor]:
    """The energy of each in decided states, by its place. -> (B,) float64 each"""
    out: dict[int, Tensor] = {}
    for kin in every:
        own = kin.energies(state)
        if own is not None:
            out |= zip(kin.places, own.unbind(1), strict=True)
    return out

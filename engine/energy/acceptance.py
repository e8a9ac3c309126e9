"""Acceptance bands: the sites that a term stands by, of what it is asked about."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from engine.domain import Domain, State, Told
from engine.domain.told import batch_of
from engine.errors import BadQuery, Mistake

if TYPE_CHECKING:
    from engine.energy.term import Term


def sites_of(domains: Sequence[Domain]) -> int:
    """How many sites a scope has, its inputs left out."""
    return sum(domain.sites for domain in domains if not isinstance(domain, Told))


def at_every_site(inside: Tensor, domains: Sequence[Domain]) -> Tensor:
    """A verdict on rows as one on all of their sites. (R,) -> (R, sites)"""
    return inside.reshape(-1, 1).expand(-1, sites_of(domains))


def accepted_sites(term: "Term", domains: Sequence[Domain], state: State) -> Tensor | None:
    """What `Term.accepts` says of the decided states of its rows; True where a row lacks an input
    that the term sees. None: it has no band. Raises BadQuery unless it says so of every site.
    -> (R, sites) bool, on the host
    """
    tensors = term.hot(term.views(state))
    said = term.accepts(domains, tensors)
    if said is None:
        return None
    wanted = (batch_of(tensors), sites_of(domains))
    if tuple(said.shape) != wanted:
        got = f"accepts gave shape {[*said.shape]}"
        raise BadQuery(Mistake(term.label, got, f"say of every site: {[*wanted]}"))
    inside, there = said.bool().cpu(), term.there(state)
    return inside if there is None else inside | ~there.cpu()[:, None]


def places_of(term: "Term") -> list[tuple[str, np.ndarray]]:
    """The variables in the scope of a term, its inputs left out, with the flat places seen of each,
    in the order of its sites."""
    return [(v.variable.name, v.places.reshape(-1)) for v in term.scope if not v.told]


def of_branches(energies: Tensor, inside: Tensor, alike: float) -> Tensor:
    """What the branch that counts says, the one of least energy; of several that are level the one
    that stands by most. energies (branches, R), inside (branches, R, sites) -> (R, sites)"""
    least = energies.min(0).values
    counts = energies <= least + alike * least.abs().clamp(min=1.0)
    most = torch.where(counts, inside.sum(2), -1).argmax(0)  # (R,)
    return inside[most, torch.arange(inside.shape[1])]

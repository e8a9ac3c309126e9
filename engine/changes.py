"""What setting single sites does to the decided states of a problem: all values of a site at once.

The numbers of `Term.changes`, summed over the terms that see a site: the others say nothing of it,
whatever they cost. A site is its number among the finite sites of the problem, variable by
variable; which values evidence rules out is the caller's to say.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from engine.domain import State
from engine.domain.told import put_back, states_at
from engine.energy import Summand, Term
from engine.energy.changes import Together, evaluated_changes, settled
from engine.energy.returned import changes_of
from engine.problem import Problem

Sites = np.ndarray  # (m,) int64, all different


def energy_changes(problem: Problem, sites: Sites, x: State) -> Tensor:
    """The weighted energy after setting each of these sites to each of its values, less what it is
    now: +inf where it is infinite after, and beyond the values of a site; -inf where only now it
    is; 0 for the value that stands. Where gradients are on, with one towards parameters.
    {name: (B, *shape)} -> (B, m, k) float64"""
    x = problem.whole(x)
    weighted = [summand for summand in problem.summands if summand.weight is not None]

    def share(summand: Summand, change: Tensor) -> Tensor:
        return (summand.weight or 0.0) * change

    return _summed(problem, weighted, sites, x, share)


def violation_changes(problem: Problem, sites: Sites, x: State) -> Tensor:
    """The same of the violation of the required terms, each 0 up to its tolerance. -> (B, m, k)"""
    x = problem.whole(x)
    required = [summand for summand in problem.summands if summand.weight is None]

    def share(summand: Summand, change: Tensor) -> Tensor:
        term = summand.term
        now = term(x).double()[:, None, None]
        before, after = (torch.where(e <= term.tolerance, 0.0, e) for e in (now, now + change))
        return torch.where(change == -torch.inf, change, after - before)

    return _summed(problem, required, sites, x, share)


def allowed_values(problem: Problem, sites: Sites) -> Tensor:
    """Which values the evidence of each row leaves at these sites. -> (R, m, k) bool"""
    counts = np.concatenate(
        [
            np.zeros(0, np.int64),
            *(np.full(v.domain.sites, v.domain.event[-1]) for v in problem.finite),
        ]
    )
    first, size = (np.cumsum(counts) - counts)[sites], counts[sites]
    value = np.arange(size.max(initial=0))
    inside = value < size[:, None]
    column = np.where(inside, first[:, None] + value, 0)
    return torch.from_numpy(problem.possible[:, column] & inside).to(problem.device)


def places_at(problem: Problem, sites: Sites, x: State) -> Tensor:
    """The places that stand at these sites of decided states. -> (B, m) int64"""
    owner, first = _owner(problem, sites), next(iter(x.values()))
    out = torch.zeros(len(first), len(sites), dtype=torch.long, device=first.device)
    for k in np.unique(owner).tolist():
        name, mine = problem.finite[k].name, np.flatnonzero(owner == k)
        flat = x[name].reshape(len(first), problem.finite[k].domain.sites)
        out[:, mine] = flat[:, sites[mine] - problem.starts[name]].long()
    return out


def _owner(problem: Problem, sites: Sites) -> np.ndarray:
    """Which of the finite variables each site belongs to. -> (m,)"""
    if len(problem.finite) == 1:
        return np.zeros(len(sites), dtype=np.int64)
    ends = np.cumsum([v.domain.sites for v in problem.finite])
    return np.searchsorted(ends, sites, side="right")


def _summed(
    problem: Problem,
    summands: list[Summand],
    sites: Sites,
    x: State,
    share: Callable[[Summand, Tensor], Tensor],
) -> Tensor:
    """The sum of the shares of some summands."""
    stands = places_at(problem, sites, x)
    device = stands.device
    counts = np.array([v.domain.event[-1] for v in problem.finite], dtype=np.int64)
    size = torch.from_numpy(counts[_owner(problem, sites)]).to(device)
    most = int(size.max()) if len(sites) else 0
    total = torch.zeros(*stands.shape, most, dtype=torch.float64, device=device)
    for summand in summands:
        for at, change in _changes_of(problem, summand.term, sites, x):
            change = share(summand, change)
            change = torch.nn.functional.pad(change, (0, most - change.shape[-1]))
            total = total.index_add(1, torch.from_numpy(at).to(device), change)
    return settled(total, stands, size)


def _changes_of(problem: Problem, term: Term, sites: Sites, x: State):
    """The changes of one term at those sites that it sees: their places among the sites, and
    (B, m', k). Sites that stand in its scope more than once are evaluated."""
    at = _seen(problem, term, sites)
    if not len(at.bunch):
        return
    decided, there = term.placed(term.views(x)), term.there(x)
    if there is not None:  # a slope through what a row lacks may be no number
        decided = states_at(decided, there.nonzero()[:, 0])
        if not there.any():
            return

    def of_all(change: Tensor) -> Tensor:  # (n, m, k) -> (B, m, k)
        return change if there is None else put_back(change, there.nonzero()[:, 0], len(there))

    device = next(t.device for t in decided if isinstance(t, Tensor))
    bunch, entry, site = (t.numpy() for t in at)
    alone = np.bincount(bunch)[bunch] == 1
    if alone.any():
        own = np.stack([entry[alone], site[alone]], 1)
        change = changes_of(term, torch.from_numpy(own).to(device), decided)
        yield bunch[alone], of_all(change)
    if not alone.all():
        found, again = np.unique(bunch[~alone], return_inverse=True)
        every = (again.reshape(-1), entry[~alone], site[~alone])
        more = Together(*(torch.from_numpy(t).to(device) for t in every))
        yield found, of_all(evaluated_changes(term, more, decided))


def _seen(problem: Problem, term: Term, sites: Sites) -> Together:
    """Where the sites stand in the scope of a term."""
    order = np.argsort(sites, kind="stable")
    ordered = sites[order]
    found = []
    for e, view in enumerate(term.scope):
        start = problem.starts.get(view.variable.name)
        if start is None or not len(sites):
            continue
        if view.whole:
            bunch = np.flatnonzero((sites >= start) & (sites < start + view.places.size))
            place = sites[bunch] - start
        else:
            own = start + view.places.reshape(-1)
            near = np.searchsorted(ordered, own).clip(max=len(sites) - 1)
            place = np.flatnonzero(ordered[near] == own)
            bunch = order[near[place]]
        found.append(np.stack([bunch, np.full(len(bunch), e), place]))
    every = np.concatenate([np.zeros((3, 0), np.int64), *found], 1)
    return Together(*torch.from_numpy(every[:, np.argsort(every[0], kind="stable")].copy()))

"""What a term says explicitly beside what is given; a small one as one table of its energies."""

import math
from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from engine.domain import Domain, Finite, Given, Real, Told
from engine.domain.told import spread
from engine.factors import Factors

if TYPE_CHECKING:
    from engine.energy.term import Term


JUDGED = 16  # combinations whose verdicts are asked for in one go
ENUMERATED = 4096  # combinations up to which a term's default structure is one enumerated table
ELEMENTS = 4_000_000  # numbers handed to a term in one go


def structure_of(term: "Term", weight: float | None, domains: Sequence[Domain]) -> Factors | None:
    """The structure of a term over the finite sites of its scope, given the rest; nothing in a row
    that lacks an input. None: it has none."""
    return absences(term.structured(weight, *domains), domains)


def absences(own: Factors | None, domains: Sequence[Domain]) -> Factors | None:
    """A structure that says nothing in rows that lack an input; None where it cannot be so."""
    told = [domain.there for domain in domains if isinstance(domain, Told)]
    if own is None or not told:
        return own
    there = torch.stack(told).all(0).cpu().numpy()
    if there.all():
        return own
    if not there.any():
        return Factors(own.sizes[: own.visible], own.visible)
    if own.counted.count or own.clauses.count or own.sums.count or own.different.count:
        return None  # rules do not differ by row
    tables = [
        replace(
            t,
            costs=np.where(there.reshape(-1, *[1] * (1 + t.apart)), t.costs, 0.0),
            default=0.0 * t.default,
        )
        for t in own.tables
        if t.default == 0
    ]
    return replace(own, tables=tuple(tables)) if len(tables) == len(own.tables) else None


def enumerate_table(
    term: "Term", domains: Sequence[Domain], weight: float | None = 1.0
) -> Factors | None:
    """A term over few combinations as one table: weight times the energy of each; weight None:
    infinite where the rule does not hold. None also where an energy is no number, and where the
    rule cannot say whether it holds. Beside constants the costs are those of each row."""
    pieces = enumerate_in_pieces(term, domains, weight)
    while True:
        try:
            next(pieces)
        except StopIteration as end:
            return end.value


def enumerate_in_pieces(
    term: "Term", domains: Sequence[Domain], weight: float | None
) -> Generator[None, None, Factors | None]:
    """`enumerate_table` in pieces, for whoever looks at the clock between them."""
    finite = [domain for domain in domains if isinstance(domain, Finite)]
    given = len(finite) < len(domains)
    if given and not all(bool(d.decided.all()) for d in domains if not isinstance(d, Finite)):
        return None
    choices = _choices(finite, given)
    if math.prod(len(c) for c in choices) > ENUMERATED or not choices:
        return None
    tuples = torch.cartesian_prod(*(torch.tensor(c) for c in choices)).reshape(-1, len(choices))
    tensors, start, device = [], 0, finite[0].device
    for domain in finite:
        places = tuples[:, start : start + domain.sites].to(device)
        tensors.append(places.reshape(-1, *domain.shape))
        start += domain.sites
    costs = _energies(term, domains, tensors) if given else _plain_energies(term, tensors)
    if bool((costs.isnan() | (costs == -math.inf)).any()):
        return None
    sizes, listed = Factors.sizes_of(finite), tuples.numpy()
    if weight is not None:
        table = Factors.table(sizes, listed, costs.cpu().numpy(), math.inf, computed=True)
        return replace(table, tables=tuple(t.weighed(weight) for t in table.tables))
    verdicts = []
    for row in range(max(d.rows for d in domains) if given else 1):
        own = yield from _verdicts(term, domains, tensors, row)
        if None in own:
            return None
        verdicts.append([holds is False for holds in own])
    forbidden = np.array(verdicts if given else verdicts[0])
    return Factors.table(sizes, listed, np.where(forbidden, math.inf, 0.0), math.inf)


def _choices(finite: Sequence[Finite], given: bool) -> list[list[int]]:
    """The values of each site that are listed: what evidence leaves in some row; beside constants
    all of them, where these are few, so that the list is the same for every evidence."""
    every = [list(range(len(d.values))) for d in finite for _ in range(d.sites)]
    if given and math.prod(len(c) for c in every) <= ENUMERATED:
        return every
    choices: list[list[int]] = []
    for domain in finite:
        flat = domain.allowed.any(0).reshape(domain.sites, -1)
        choices += [site.nonzero().reshape(-1).tolist() for site in flat]
    return choices


@torch.no_grad()
def _plain_energies(term: "Term", tensors: Sequence[Tensor]) -> Tensor:
    """(T, *shape) each -> (T,) float64"""
    return term.cost(*tensors).double()


def _energies(term: "Term", domains: Sequence[Domain], tensors: Sequence[Tensor]) -> Tensor:
    """The energy of every combination beside the constants of every row, as many rows at once as
    memory has room for. (T, *shape) of the finite entries -> (R, T) float64"""
    rows = max(domain.rows for domain in domains)
    single = term.affine and len(tensors) == 1 and tensors[0][0].numel() == 1
    single = single and rows > 2 and _straight(term, domains, tensors, rows)
    count = 1 if single else len(tensors[0])
    numbers = sum(math.prod(d.event) for d in domains)
    step = max(1, ELEMENTS // max(1, numbers * count))
    out = []
    for first in range(0, rows, step):
        some = range(first, min(first + step, rows))
        entries = _entries(term, domains, tensors, some, count)
        out.append(_slopes(term, domains, entries) if single else _each(term, entries, count))
    return torch.cat(out)


def _straight(
    term: "Term", domains: Sequence[Domain], tensors: Sequence[Tensor], rows: int
) -> bool:
    """Whether one gradient tells the energies of all values, as terms that are affine promise,
    tried at the first and the last row."""
    for row in {0, rows - 1}:
        one = range(row, row + 1)
        every = _each(term, _entries(term, domains, tensors, one, len(tensors[0])), len(tensors[0]))
        by_slope = _slopes(term, domains, _entries(term, domains, tensors, one, 1))
        if not torch.allclose(every, by_slope, rtol=1e-5, atol=1e-6, equal_nan=True):
            return False
    return True


def _entries(
    term: "Term", domains: Sequence[Domain], tensors: Sequence[Tensor], rows: range, count: int
) -> list[Any]:
    """The tensors of a scope: the first `count` combinations beside the constants of each row."""
    combinations, batch = iter(tensors), len(rows) * count
    entries: list[Any] = []
    for domain in domains:
        if isinstance(domain, Finite):
            places = next(combinations)[:count]
            entries.append(places.repeat(len(rows), *[1] * (places.dim() - 1)))
            continue
        own = domain.select(list(rows)) if domain.rows > 1 else domain
        if isinstance(own, Told):
            values, present = own.given(batch)
            values = values.to(term.dtype) if values.is_floating_point() else values
            entries.append(Given(values, present) if term.partial else values)
        else:
            entries.append(spread(_constant(own), batch).to(term.dtype))
    return entries


def _constant(domain: Domain) -> Tensor:
    """The numbers of a domain that evidence decides. -> (R, *shape)"""
    assert isinstance(domain, Real)
    return domain.low.expand(domain.rows, *domain.shape)


@torch.no_grad()
def _each(term: "Term", entries: Sequence[Any], count: int) -> Tensor:
    """-> (rows, count) float64"""
    return term.cost(*entries).double().view(-1, count)


def _slopes(term: "Term", domains: Sequence[Domain], entries: list[Any]) -> Tensor:
    """The energies of all values of the only finite site, by one gradient: it is affine there.
    -> (rows, k) float64"""
    at = next(k for k, domain in enumerate(domains) if isinstance(domain, Finite))
    hot = term.hot(entries)[at].requires_grad_()
    with torch.enable_grad():
        energy = term.energy(*entries[:at], hot, *entries[at + 1 :])
        (slope,) = torch.autograd.grad(energy.sum(), hot, allow_unused=True)
    slope = (torch.zeros_like(hot) if slope is None else slope).reshape(len(hot), -1).double()
    return energy.detach().double()[:, None] + (slope - slope[:, :1])


def _verdicts(
    term: "Term", domains: Sequence[Domain], tensors: Sequence[Tensor], row: int
) -> Generator[None, None, list[bool | None]]:
    """Whether every combination satisfies a rule, beside the constants of one row."""
    combinations, count = iter(tensors), len(tensors[0])
    columns: list[Sequence[Any]] = []
    for domain in domains:
        if isinstance(domain, Finite):
            columns.append(domain.decode(next(combinations)))
        elif isinstance(domain, Told):
            told = domain.plain(row if domain.rows > 1 else 0)
            columns.append([told if term.partial else told.values] * count)
        else:
            own = domain.select([row]) if domain.rows > 1 else domain
            columns.append(domain.decode(_constant(own)) * count)
    every = list(zip(*columns, strict=True))
    verdicts: list[bool | None] = []
    for first in range(0, len(every), JUDGED):
        verdicts += term.verdicts(every[first : first + JUDGED])
        if None in verdicts:
            return verdicts
        yield
    return verdicts

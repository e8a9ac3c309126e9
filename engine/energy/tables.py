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
from engine.energy.returned import cost_of
from engine.factors import Factors

if TYPE_CHECKING:
    from engine.energy.term import Term


JUDGED = 16  # combinations whose verdicts are asked for in one go
ENUMERATED = 4096  # combinations up to which a term's default structure is one enumerated table
ELEMENTS = 4_000_000  # numbers handed to a term in one go


class Uneven(Exception):
    """Rows that cannot share one structure: `pattern` (R,) tells which may."""

    def __init__(self, pattern: np.ndarray):
        super().__init__(pattern)
        self.pattern = pattern


def structure_of(term: "Term", weight: float | None, domains: Sequence[Domain]) -> Factors | None:
    """The structure of a term over the finite sites of its scope, given the rest; nothing in a row
    that lacks an input. None: it has none. Raises Uneven where rows cannot share one."""
    return absences(term, term.structured(weight, *domains), domains)


def absences(term: "Term", own: Factors | None, domains: Sequence[Domain]) -> Factors | None:
    """A structure that says nothing in rows that lack an input, each site once a scope. Raises
    Uneven where it cannot be so while others have it."""
    there, own = _there(term, domains), own and own.distinct()
    if own is None or there.all():
        return own
    if own.rules or any(table.default for table in own.tables):  # these do not differ by row
        if there.any():
            raise Uneven(there)
        return Factors(own.sizes[: own.visible], own.visible)
    tables = (
        replace(t, costs=np.where(there.reshape(-1, *[1] * (1 + t.apart)), t.costs, 0.0))
        for t in own.tables
    )
    return replace(own, tables=tuple(tables))


def _there(term: "Term", domains: Sequence[Domain]) -> np.ndarray:
    """Rows of domains in which the term has the inputs that it needs. -> (R,) bool"""
    told = [d.there for d in domains if isinstance(d, Told) and term.needs_inputs]
    rows = max((domain.rows for domain in domains), default=1)
    out = np.ones(rows, dtype=bool)
    for there in told:
        out = out & there.cpu().numpy()
    return out


def enumerate_table(
    term: "Term", domains: Sequence[Domain], weight: float | None = 1.0
) -> Factors | None:
    """A term over few combinations as one table: weight times the energy of each; weight None:
    infinite where the rule does not hold. None also where an energy is no number, and where the
    rule cannot say whether it holds. Beside constants the costs are those of each row; raises
    Uneven where only some rows have such a table."""
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
    choices, rows = _choices(finite, given), max(d.rows for d in domains)
    if not choices:
        return None
    count = math.prod(len(c) for c in choices)
    if given and rows > 1 and count < _all_of(finite):
        raise Uneven(np.arange(rows))  # each row lists what its own evidence leaves
    if count > ENUMERATED:
        return None
    tuples = torch.cartesian_prod(*(torch.tensor(c) for c in choices)).reshape(-1, len(choices))
    tensors, start, device = [], 0, finite[0].device
    for domain in finite:
        places = tuples[:, start : start + domain.sites].to(device)
        tensors.append(places.reshape(-1, *domain.shape))
        start += domain.sites
    sizes, listed = Factors.sizes_of(finite), tuples.numpy()
    if not given:
        costs = _plain_energies(term, tensors)[None]
        there = np.ones(1, dtype=bool)
    else:
        there = _there(term, domains)
        costs = _energies(term, domains, tensors, there)
    sound = ~(costs.isnan() | (costs == -math.inf)).any(1).cpu().numpy()
    if not _alike(sound):
        return None
    default = 0.0 if given and count == _all_of(finite) else math.inf  # nothing is left unlisted
    own = costs.cpu().numpy() if given else costs[0].cpu().numpy()
    if weight is not None:
        table = Factors.table(sizes, listed, own, default, computed=True)
        return replace(table, tables=tuple(t.weighed(weight) for t in table.tables))
    verdicts, decided = np.zeros(own.shape, dtype=bool), np.ones(len(costs), dtype=bool)
    for row in np.flatnonzero(there).tolist():
        said = yield from _verdicts(term, domains, tensors, row)
        decided[row] = None not in said
        if decided[row]:
            verdicts.reshape(len(costs), -1)[row] = [holds is False for holds in said]
        elif len(costs) == 1:
            return None
    if not _alike(decided):
        return None
    return Factors.table(sizes, listed, np.where(verdicts, math.inf, 0.0), default)


def _alike(fine: np.ndarray) -> bool:
    """Whether all rows are fine, or none is. Raises Uneven where only some are."""
    if fine.all() or not fine.any():
        return bool(fine.all())
    raise Uneven(fine)


def _all_of(finite: Sequence[Finite]) -> int:
    """Combinations of all values."""
    return math.prod(len(d.values) ** d.sites for d in finite)


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
    return cost_of(term, tensors).double()


def _energies(
    term: "Term", domains: Sequence[Domain], tensors: Sequence[Tensor], there: np.ndarray
) -> Tensor:
    """The energy of every combination beside the constants of every row, 0 where a row lacks an
    input; as many rows at once as memory has room for. (T, *shape) of the finite entries ->
    (R, T) float64"""
    count = len(tensors[0])
    numbers = sum(math.prod(d.event) for d in domains)
    step = max(1, ELEMENTS // max(1, numbers * count))
    out = torch.zeros(len(there), count, dtype=torch.float64)
    asked = np.flatnonzero(there)
    for some in np.array_split(asked, max(1, -(-len(asked) // step))):
        if len(some):
            entries = _entries(term, domains, tensors, some.tolist())
            out[some] = _each(term, entries, count).cpu()
    return out


def _entries(
    term: "Term", domains: Sequence[Domain], tensors: Sequence[Tensor], rows: list[int]
) -> list[Any]:
    """The tensors of a scope: all combinations beside the constants of each of some rows."""
    combinations, batch = iter(tensors), len(rows) * len(tensors[0])
    entries: list[Any] = []
    for domain in domains:
        if isinstance(domain, Finite):
            places = next(combinations)
            entries.append(places.repeat(len(rows), *[1] * (places.dim() - 1)))
            continue
        own = domain.select(rows) if domain.rows > 1 else domain
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
    return cost_of(term, entries).double().view(-1, count)


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

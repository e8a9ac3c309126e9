"""What setting one site does to the energy of decided states: all values of a site at once.

    change(site, v) = E(the state with v at the site) - E(the state)

+inf where the energy after is no finite number and beyond the values of a site, -inf where only the
energy now is none; 0 for the value that stands. An energy that is affine in each site tells all of
them by one gradient: the slope of a literal less that of the one that stands. Any other is
evaluated.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from engine.domain import Finite, Given, one_hot
from engine.domain.told import batch_of, part_of, width_of
from engine.energy.returned import cost_of, energy_of

if TYPE_CHECKING:
    from engine.energy.term import Term

ELEMENTS = 2_000_000  # numbers of relaxed states that are looked at in one go


class Together(NamedTuple):
    """Places in a scope that are set to one value, bunch by bunch."""

    bunch: Tensor  # (L,) int64, rising from 0: the bunch of each place
    entry: Tensor  # (L,) int64 of the scope; those of a bunch are of one variable
    site: Tensor  # (L,) int64 flat, in the entry

    @staticmethod
    def apart(sites: Tensor) -> "Together":
        """Each site, (m, 2), by itself."""
        return Together(torch.arange(len(sites), device=sites.device), sites[:, 0], sites[:, 1])

    @property
    def count(self) -> int:
        """How many bunches there are."""
        return int(self.bunch[-1]) + 1 if len(self.bunch) else 0

    @property
    def firsts(self) -> tuple[Tensor, Tensor]:
        """Entry and site of the first place of each bunch. -> (bunches,) each"""
        new = torch.ones_like(self.bunch, dtype=torch.bool)
        new[1:] = self.bunch.diff() > 0
        return self.entry[new], self.site[new]

    def part(self, start: int, end: int) -> "Together":
        """Some of the bunches, counted from 0."""
        mine = (self.bunch >= start) & (self.bunch < end)
        return Together(self.bunch[mine] - start, self.entry[mine], self.site[mine])


def single_changes(term: "Term", sites: Tensor, decided: Sequence[Any]) -> Tensor:
    """The default of `Term.changes`. (m, 2), (B, *shape) each -> (B, m, k) float64"""
    if term.affine:
        return _by_slopes(term, sites[:, 0], sites[:, 1], decided)
    return evaluated_changes(term, Together.apart(sites), decided)


def evaluated_changes(term: "Term", at: Together, decided: Sequence[Any]) -> Tensor:
    """By evaluation, each bunch set to each of its values. (B, *shape) each ->
    (B, bunches, k) float64"""
    batch, sizes, count = batch_of(decided), values_of(term), at.count
    entry, site = at.firsts
    stands, size = standing(entry, site, decided), sizes.to(site.device)[entry]  # (B, m), (m,)
    most = int(size.max()) if count else 0
    step = torch.arange(1, max(1, most), device=site.device)
    value = torch.where(step < size[:, None], (stands[..., None] + step) % size[:, None], step)
    after = torch.zeros(batch, count, max(0, most - 1), dtype=torch.float64, device=site.device)
    literals = _literals(decided, sizes) * max(1, most - 1)
    wide = max(1, ELEMENTS // max(1, literals))  # bunches of one state in one go
    pieces = []
    for first in range(0, count if most > 1 else 0, wide):
        some = at.part(first, first + wide)
        each = max(1, ELEMENTS // max(1, literals * some.count))  # states in one go
        rows = []
        for i in range(0, batch, each):
            own = value[i : i + each, first : first + wide]
            rows.append(_costs(term, _changed(_some(decided, i, each), some, own, sizes)))
        pieces.append(torch.cat(rows).reshape(batch, -1, most - 1))
    after = torch.cat(pieces, 1) if pieces else after
    rise = after - _costs(term, decided)[:, None, None]
    change = rise.new_zeros(batch, count, most).scatter(-1, value, rise)
    return settled(change, stands, size)


def _costs(term: "Term", decided: Sequence[Any]) -> Tensor:
    """What decided states cost, infinite where that is no number. -> (B,) float64"""
    cost = cost_of(term, decided).double()
    return torch.where(cost.isfinite(), cost, torch.inf)


def settled(change: Tensor, stands: Tensor, size: Tensor) -> Tensor:
    """Changes (B, m, k) with 0 for the value that stands (B, m), and +inf for what never may be:
    beyond the number of values (m,), or infinite before and after."""
    value = torch.arange(change.shape[-1], device=change.device)
    change = torch.where(change.isnan() | (value >= size[:, None]), torch.inf, change)
    return torch.where(value == stands[..., None], 0.0, change)


def standing(entry: Tensor, site: Tensor, decided: Sequence[Any]) -> Tensor:
    """The places that stand at some sites. (m,), (m,) -> (B, m) int64"""
    out = torch.zeros(batch_of(decided), len(site), dtype=torch.long, device=site.device)
    for e in entry.unique().tolist():
        mine = entry == e
        out[:, mine] = _flat(decided[e])[:, site[mine]].long()
    return out


def values_of(term: "Term") -> Tensor:
    """The number of values of each scope entry, 0 where it is not finite. -> (entries,) int64"""
    domains = [view.variable.domain for view in term.scope]
    return torch.tensor([len(d.values) if isinstance(d, Finite) else 0 for d in domains])


def _by_slopes(term: "Term", entry: Tensor, site: Tensor, decided: Sequence[Any]) -> Tensor:
    """Of an affine term, by one gradient. -> (B, m, k) float64"""
    sizes = values_of(term)
    size = sizes.to(site.device)[entry]
    most = int(size.max()) if len(size) else 0
    each = max(1, ELEMENTS // max(1, _literals(decided, sizes)))
    out = []
    for i in range(0, batch_of(decided), each):
        part = _some(decided, i, each)
        stands = standing(entry, site, part)
        rise = torch.zeros(*stands.shape, most, dtype=torch.float64, device=site.device)
        for e, slope in _slopes(term, entry.unique().tolist(), sizes, part).items():
            mine = (entry == e).nonzero()[:, 0]
            rows = slope[:, site[mine]].double()  # (b, m', k')
            rows = rows - rows.gather(-1, stands[:, mine, None])
            rise = rise.index_copy(
                1, mine, torch.nn.functional.pad(rows, (0, most - rows.shape[-1]))
            )
        out.append(settled(torch.where(rise.isfinite(), rise, torch.inf), stands, size))
    none = torch.zeros(0, len(site), most, dtype=torch.float64, device=site.device)
    return torch.cat([none, *out])


def _slopes(
    term: "Term", used: Sequence[int], sizes: Tensor, decided: Sequence[Any]
) -> dict[int, Tensor]:
    """The slope of every literal of some entries at decided states; where gradients are on, with
    one towards the parameters. -> {entry: (B, n, k)}"""
    leaves = {e: one_hot(decided[e], int(sizes[e]), term.dtype).requires_grad_(True) for e in used}
    train = torch.is_grad_enabled() and any(x.requires_grad for x in (*term.parameters(), *decided))
    slopes: Sequence[Tensor | None] = [None] * len(used)
    with torch.enable_grad():
        energy = energy_of(term, term.hot([leaves.get(e, x) for e, x in enumerate(decided)]))
        if energy.requires_grad:
            every = list(leaves.values())
            slopes = torch.autograd.grad(energy.sum(), every, create_graph=train, allow_unused=True)
    return {
        e: (torch.zeros_like(x) if g is None else g).reshape(len(x), -1, x.shape[-1])
        for (e, x), g in zip(leaves.items(), slopes, strict=True)
    }


def _changed(decided: Sequence[Any], at: Together, value: Tensor, sizes: Tensor) -> list[Any]:
    """The states with each bunch set to each value (b, bunches, steps); a step that a bunch lacks
    leaves it alone. (b, *shape) each -> (b * bunches * steps, *shape)"""
    out: list[Any] = []
    for e, x in enumerate(decided):
        if isinstance(x, Given):
            out.append(Given(*(_repeated(t, value) for t in x)))
            continue
        wide = x[:, None, None].expand(*value.shape, *x.shape[1:])
        mine = at.entry == e
        if bool(mine.any()):
            bunch, steps = at.bunch[mine], int(sizes[e]) - 1
            wide = wide.reshape(*value.shape, -1).clone()
            own = value[:, bunch, :steps].transpose(0, 1)  # (L, b, steps)
            wide[:, bunch, :steps, at.site[mine]] = own.to(x.dtype)
        out.append(wide.reshape(-1, *x.shape[1:]))
    return out


def _repeated(x: Tensor, value: Tensor) -> Tensor:
    """(b, ...) -> (b * bunches * steps, ...)"""
    return x[:, None, None].expand(*value.shape, *x.shape[1:]).reshape(-1, *x.shape[1:])


def _some(decided: Sequence[Any], first: int, count: int) -> list[Any]:
    """Some of the states of a scope."""
    return [part_of(x, slice(first, first + count)) for x in decided]


def _flat(x: Tensor) -> Tensor:
    """(B, *shape) -> (B, n)"""
    return x.flatten(1) if x.dim() > 1 else x[:, None]


def _literals(decided: Sequence[Any], sizes: Tensor) -> int:
    """The numbers of one state, relaxed."""
    pairs = zip(decided, sizes.tolist(), strict=True)
    return sum(width_of(x) * max(1, k) for x, k in pairs)
